//! Filing an operation: what it is, how risky it is, and whether anybody could agree to it.

use super::course::Wish;
use super::environment::Environment;
use super::requirement::{self, Requirement};
use super::{
    Entry, actor, arm, denied, dependency, form as paper, next_number, require_client, require_factor, review_queue,
    seal, step_record, window,
};
use crate::activation::candidates;
use crate::audit::buffer;
use crate::cache::{self, Person};
use crate::core::operation::{Event, Status, missing, next};
use crate::core::redact::redact_limited;
use crate::core::script::{digest_with, hex, holds_password, uses_cursor};
use crate::core::tier::Tier;
use crate::error::{Fault, Outcome, answer};
use crate::person::{legible, one_text, optional, required};
use crate::watch::dry_run::{self, Step};
use crate::{own, session, settings};
use pgrx::datum::Interval;
use pgrx::prelude::*;
use pgrx::spi::SpiClient;
use serde_json::{Value, json};

/// Longest script text in a record, bytes; the whole script is in the operation.
const RECORDED_BYTES: usize = 4096;

/// What the applicant says about the script.
struct Form<'a> {
    script: &'a str,
    purpose: &'a str,
    impact: Option<&'a str>,
    expected_rows: Option<i64>,
    rollback_plan: Option<&'a str>,
    not_before: Option<TimestampWithTimeZone>,
    not_after: Option<TimestampWithTimeZone>,
    runs: i32,
    run_as: pg_sys::Oid,
    /// As many as the applicant asks for; the policy may demand more.
    approvals: i32,
    course: Wish,
    /// A form of the manual's appendix.
    form: Option<Value>,
}

#[pg_extern(sql = false)]
#[allow(clippy::too_many_arguments)]
fn request(
    script: Option<&str>,
    purpose: Option<&str>,
    impact: Option<&str>,
    expected_rows: Option<i64>,
    rollback_plan: Option<&str>,
    not_before: Option<TimestampWithTimeZone>,
    not_after: Option<TimestampWithTimeZone>,
    runs: Option<i32>,
    run_as: Option<pg_sys::Oid>,
    approvals: Option<i32>,
    stepwise: Option<bool>,
    every: Option<Interval>,
    data_digests: Option<Vec<Option<String>>>,
    form: Option<pgrx::JsonB>,
    exactly: Option<bool>,
) -> String {
    answer((|| {
        let applicant = actor("REQUEST", "", "apply")?;
        require_client("REQUEST", "")?;
        // Safe: the role that SET ROLE chose, whatever function calls us.
        let run_as = run_as.unwrap_or_else(|| unsafe { pg_sys::GetOuterUserId() });
        let runs = runs.unwrap_or(1);
        let form = Form {
            script: script.unwrap_or(""),
            purpose: required("purpose", purpose)?,
            impact,
            expected_rows,
            rollback_plan,
            not_before,
            not_after,
            runs,
            run_as,
            approvals: approvals.unwrap_or(0),
            course: Wish::new(stepwise, every, runs, exactly)?,
            form: form.map(|form| form.0),
        };
        check(&form)?;
        check_membership("REQUEST", "", run_as)?;
        file(&form, &applicant, data_digests)
    })())
}

fn check(form: &Form<'_>) -> Outcome<()> {
    legible("script", form.script)?;
    legible("impact", form.impact.unwrap_or(""))?;
    legible("rollback_plan", form.rollback_plan.unwrap_or(""))?;
    if form.runs < 1 {
        return Err(Fault::bad_argument("runs must be at least 1"));
    }
    if !(0..=9).contains(&form.approvals) {
        return Err(Fault::bad_argument("approvals are 0 to 9"));
    }
    if form.expected_rows.is_some_and(|rows| rows < 0) {
        return Err(Fault::bad_argument("expected_rows must not be negative"));
    }
    if holds_password(form.script) {
        return Err(Fault::bad_argument("a script must not contain a password")
            .detail("Scripts are kept, shown to approvers and cannot be unread. SCRAM verifiers pass.")
            .hint("Have the person change the password themselves: \\password"));
    }
    if uses_cursor(form.script) {
        return Err(Fault::unsupported("WHERE CURRENT OF cannot stand in an operation")
            .detail("The row would be chosen by a cursor of the session, so nobody could approve which one."));
    }
    Ok(())
}

/// The login itself must be a member, whatever role it has put on.
pub fn check_membership(step: &str, op_no: &str, run_as: pg_sys::Oid) -> Outcome<()> {
    // Safe: look-ups in the role cache.
    let (exists, member) = unsafe {
        let exists = !pg_sys::GetUserNameFromId(run_as, true).is_null();
        (exists, exists && pg_sys::is_member_of_role(session::login(), run_as))
    };
    if !exists {
        return Err(Fault::unknown(format!("the role to run as ({}) does not exist", run_as.to_u32())));
    }
    if member {
        return Ok(());
    }
    let (login, role) = (session::login_name(), session::role_name(run_as));
    Err(denied(
        step,
        op_no,
        format!("{} refused: login \"{login}\" is no member of role \"{role}\"", step.to_lowercase()),
    )
    .detail("A script runs as a role that its applicant may put on."))
}

fn file(form: &Form<'_>, applicant: &Person, data_digests: Option<Vec<Option<String>>>) -> Outcome<String> {
    let steps = {
        let _surroundings = Environment::enter(form.run_as);
        dry_run::examine(form.script)?
    };
    check_steps(&steps)?;
    let needs = arm::needs(&steps, data_digests)?;
    form.course.check_arm(needs.arm)?;
    let Risk { tier, rule, approvals } = risk(&steps, form.expected_rows);
    require_factor("REQUEST", "", tier, applicant)?;
    let demands = cache::policy().tier_policy(tier, &applicant.post);
    let request = paper::Request {
        steps: &steps,
        tier,
        purpose: form.purpose,
        expected_rows: form.expected_rows,
        runs: form.runs,
        stepwise: form.course.is_stepwise(),
    };
    let paper = paper::file(form.form.clone(), &request)?;
    let sign_offs = paper.as_ref().map_or(0, |paper| paper.sign_offs);
    let asked = form.course.approvals().max(form.approvals as u32).max(sign_offs);
    let approvals = approvals.max(demands.approvals.max(0) as u32).max(asked);
    // What cannot be seen from here may change something.
    let changes = steps.iter().any(|step| step.changes || step.opaque || step.decision == "unknown");
    form.course.check_limit(changes, form.expected_rows)?;
    let witness = demands.witness || form.course.witness() || changes && applicant.never_alone();
    let rules = requirement::rules(&steps, form.expected_rows);
    let policy = cache::policy();
    let required = Requirement::today(&policy, tier, &rules, approvals);
    check_people(&required, tier, approvals, applicant, witness)?;
    // Nothing to approve is approved at once, by the policy itself.
    let automatic = required.places() == 0;
    let status = match automatic {
        true => next(Status::Submitted, Event::Approve { given: 0, needed: 0 }),
        false => Some(Status::Submitted),
    };
    let status = status.ok_or_else(|| Fault::internal("a filed operation has no status"))?;
    review_queue::check_applicant("REQUEST", "", tier, applicant)?;
    window::check_term(tier, &rules, form.not_before, form.not_after)?;
    let filed = Filed {
        form,
        applicant,
        steps: steps.len(),
        tier,
        rule,
        approvals,
        witness,
        status,
        needs,
        required,
        rules,
        paper: paper.map(|paper| paper.text),
    };
    let (op_no, policy) = own::run(|client| Ok((filed.insert(client)?, dependency::policy_version(client)?)))?;
    filed.record(&op_no, &policy);
    Ok(op_no)
}

/// Somebody could agree to it: for every place another person.
fn check_people(required: &Requirement, tier: Tier, approvals: u32, applicant: &Person, witness: bool) -> Outcome<()> {
    let everybody = cache::policy().everybody();
    let nobody = |what: &str| {
        Fault::wrong_state(format!("nobody could approve this {} operation", tier.name()))
            .detail(format!("Besides {} there is not {what}.", applicant.name))
    };
    if required.has_rows()
        && let Some(what) = required.unfillable(applicant, witness, &everybody)
    {
        let hint = "SELECT steward.register_person(name, post, department => '…', supervisor => '…');";
        return Err(nobody(&what).hint(hint));
    }
    match missing(&applicant.name, approvals, witness, &candidates(&everybody)) {
        Some(what) => Err(nobody(&what).hint("SELECT steward.register_person(name, post, roles => '{login}');")),
        None => Ok(()),
    }
}

/// Everything must be able to run, by itself at least, and must have been understood.
fn check_steps(steps: &[Step]) -> Outcome<()> {
    if steps.is_empty() {
        return Err(Fault::bad_argument("script must not be empty"));
    }
    // What an earlier step may create cannot be looked up yet.
    let mut may_create = false;
    for step in steps {
        if let (Err(_), Err(reason)) = (&step.runnable, &step.armable) {
            return Err(Fault::unsupported(format!("step {} cannot run in an operation", step.number))
                .detail(format!("{reason}.")));
        }
        if step.decision == "unknown" && !may_create {
            return Err(Fault::bad_argument(format!("step {} cannot be judged", step.number))
                .detail(format!("It {}.", step.reason))
                .hint("Scripts are read with search_path pg_catalog: write names with their schema."));
        }
        may_create |= step.utility || step.opaque;
    }
    Ok(())
}

/// What a whole script is.
pub struct Risk {
    pub tier: Tier,
    /// Which rule says so.
    rule: String,
    /// The most that any rule demands.
    approvals: u32,
}

/// The highest tier of any step. Unknown rows count as bulk; unknown content as critical.
pub fn risk(steps: &[Step], expected_rows: Option<i64>) -> Risk {
    let mut worst = Risk { tier: Tier::Normal, rule: "none".to_owned(), approvals: 0 };
    let mut raise = |tier: Tier, rule: &str, approvals: u32| {
        worst.approvals = worst.approvals.max(approvals);
        if tier > worst.tier || worst.rule == "none" {
            worst.tier = tier;
            worst.rule = rule.to_owned();
        }
    };
    for step in steps {
        raise(step.tier, &step.rule, step.approvals);
        for limit in &step.row_rules {
            if expected_rows.is_none_or(|expected| expected as u64 >= limit.rows) {
                raise(limit.tier, &limit.rule, limit.approvals);
            }
        }
        if step.opaque {
            raise(Tier::Critical, "opaque", 0);
        }
    }
    worst
}

/// A request that passed every check.
struct Filed<'a> {
    form: &'a Form<'a>,
    applicant: &'a Person,
    steps: usize,
    tier: Tier,
    rule: String,
    approvals: u32,
    witness: bool,
    status: Status,
    needs: arm::Needs,
    required: Requirement,
    /// Every rule that matches.
    rules: Vec<String>,
    /// The form as it is signed.
    paper: Option<String>,
}

/// 22023 where the term is over before it begins, or is none.
const TERM: &str = "SELECT CASE WHEN NOT isfinite($1) THEN 'not_before must be a day'
    WHEN NOT isfinite($2) THEN 'not_after must be a day that comes'
    WHEN coalesce($2, now() + interval '7 days') <= clock_timestamp() THEN 'not_after is in the past'
    WHEN coalesce($2, now() + interval '7 days') <= coalesce($1, now()) THEN 'not_after must be later than not_before' END";

const TODAY: &str = "SELECT to_char(clock_timestamp() AT TIME ZONE $1, 'YYYYMMDD')";

const INSERT: &str = "INSERT INTO steward._operation (op_no, origin, script, digest, tier, rule, purpose, impact, expected_rows,
        rollback_plan, applicant, applicant_login, run_as, database, system_identifier, not_before, not_after, runs_allowed,
        approvals_needed, witness_needed, status, form)
    VALUES ($1, 'request', $2, $3, $4::steward.tier, $5, $6, $7, $8, $9, $10, $11, $12::oid::regrole, current_database(),
        (SELECT system_identifier::text FROM pg_control_system()), coalesce($13, now()), coalesce($14, now() + interval '7 days'),
        $15, $16, $17, $18, $19)";

impl Filed<'_> {
    /// What is voted on: the script, and with it the form and the digests of its data.
    fn digest(&self) -> [u8; 32] {
        digest_with(self.form.script, self.paper.as_deref(), &self.needs.digests.join(","))
    }

    fn insert(&self, client: &mut SpiClient<'_>) -> Outcome<String> {
        let form = self.form;
        if let Some(what) = one_text(client, TERM, &[form.not_before.into(), form.not_after.into()])? {
            return Err(Fault::bad_argument(what));
        }
        let day = one_text(client, TODAY, &[settings::time_zone().into()])?.unwrap_or_default();
        let op_no = next_number(client, &day)?;
        let sha = self.digest();
        let login = session::login_name();
        own::execute(
            client,
            INSERT,
            &[
                op_no.as_str().into(),
                form.script.into(),
                sha.to_vec().into(),
                self.tier.name().into(),
                self.rule.as_str().into(),
                form.purpose.into(),
                optional(form.impact),
                form.expected_rows.into(),
                optional(form.rollback_plan),
                self.applicant.name.as_str().into(),
                login.as_str().into(),
                form.run_as.into(),
                form.not_before.into(),
                form.not_after.into(),
                form.runs.into(),
                (self.approvals as i32).into(),
                self.witness.into(),
                self.status.name().into(),
                optional(self.paper.as_deref()),
            ],
        )?;
        let filed = Entry {
            op_no: &op_no,
            event: "REQUEST",
            person: Some(&self.applicant.name),
            login: &login,
            comment: Some(form.purpose),
            digest: Some(&sha),
            details: Some(json!({ "tier": self.tier.name(), "rule": self.rule, "form": self.paper })),
        };
        filed.write(client)?;
        form.course.write(client, &op_no, self.steps)?;
        self.needs.write(client, &op_no)?;
        dependency::write(client, &op_no, dependency::now(form.script))?;
        self.required.write(client, &op_no, &self.rules)?;
        if self.status == Status::Approved {
            let comment = Some("its tier demands no approval before it runs");
            Entry { event: "APPROVE", person: None, comment, details: None, ..filed }.write(client)?;
        }
        seal::first(client, &op_no)?;
        Ok(op_no)
    }

    fn record(&self, op_no: &str, policy: &str) {
        let mut record = step_record("REQUEST", op_no);
        record.tier = Some(self.tier);
        record.rule = Some(self.rule.clone());
        record.statement = Some(redact_limited(self.form.script, false, RECORDED_BYTES));
        let details = json!({
            "digest": hex(&self.digest()),
            "form": self.paper,
            "purpose": self.form.purpose,
            "expected_rows": self.form.expected_rows,
            "run_as": *session::role_name(self.form.run_as),
            "runs": self.form.runs,
            "course": self.form.course.told(),
            "status": self.status.name(),
            "policy": policy,
            "needs_arm": self.needs.arm,
            "data_digests": self.needs.digests,
        });
        record.details = Some(details.to_string());
        buffer::push(record);
    }
}
