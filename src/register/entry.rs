//! The entries of the register: added by one person, confirmed by another where the kind demands it, withdrawn with a
//! reason. Nothing is deleted, and what was recorded is not changed.

use super::kind::RecordKind;
use super::{actor, by_itself, lock, note, refused, sees};
use crate::alert::answer::own_act;
use crate::cache::Person;
use crate::core::register::{BACKUP_KINDS, CONFIRMERS, mistake};
use crate::error::{Fault, Outcome, answer};
use crate::operation::form::checked;
use crate::own;
use crate::person::{one_text, required};
use pgrx::JsonB;
use pgrx::prelude::*;
use serde_json::{Map, Value, json};

#[pg_extern(sql = false)]
fn add_record(
    kind: Option<&str>,
    subject: Option<&str>,
    fields: Option<JsonB>,
    done_at: Option<TimestampWithTimeZone>,
    call: pg_sys::FunctionCallInfo,
) -> i64 {
    answer((|| {
        let kind = required("kind", kind)?;
        if BACKUP_KINDS.contains(&kind) {
            return Err(Fault::bad_argument(format!("records of kind {kind} are made by the hook of a backup"))
                .detail("What it tells is compared with what this cluster knows.")
                .hint("\\df steward.register_backup"));
        }
        let fields = match fields {
            Some(JsonB(Value::Object(fields))) => fields,
            _ => return Err(Fault::bad_argument("fields are a JSON object").hint("fields => '{\"…\": \"…\"}'")),
        };
        add("add_record", kind, required("subject", subject)?, fields, done_at, call)
    })())
}

/// Puts something on record; its number.
pub fn add(
    function: &str,
    kind: &str,
    subject: &str,
    fields: Map<String, Value>,
    done_at: Option<TimestampWithTimeZone>,
    call: pg_sys::FunctionCallInfo,
) -> Outcome<i64> {
    let kind = RecordKind::named(kind)?;
    let person = actor(function)?;
    if !kind.may_record(&person, kind.of_person && person.name == subject) {
        return Err(refused(function, &format!("records of kind {} are somebody else's to make", kind.name))
            .hint(format!("SELECT recorders FROM steward.record_kind WHERE name = '{}';", kind.name)));
    }
    if kind.confirm {
        own_act(function)?;
    }
    check_subject(&kind, subject)?;
    let fields = checked(&kind.name, fields, &[])?;
    check_fields(&kind, &fields)?;
    by_itself(function, call)?;
    let (id, digest) = insert(&kind.name, subject, &Value::Object(fields), done_at, &person)?;
    let details = json!({ "record": id, "kind": kind.name, "digest": digest });
    note(function, subject, details);
    if kind.enforced {
        own::policy_changed()?;
    }
    Ok(id)
}

fn check_subject(kind: &RecordKind, subject: &str) -> Outcome<()> {
    let known = "SELECT name FROM steward.person WHERE name = $1";
    if !kind.of_person || own::run(|client| one_text(client, known, &[subject.into()]))?.is_some() {
        return Ok(());
    }
    Err(Fault::unknown(format!("person \"{subject}\" is not registered"))
        .detail(format!("Records of kind {} are about persons.", kind.name))
        .hint("SELECT name FROM steward.person;"))
}

fn check_fields(kind: &RecordKind, fields: &Map<String, Value>) -> Outcome<()> {
    let now = "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')";
    let now = own::run(|client| one_text(client, now, &[]))?.unwrap_or_default();
    match mistake(&kind.least, fields, &now) {
        None => check_operation(fields),
        Some(mistake) => Err(Fault::bad_argument(format!("record {}: {mistake}", kind.name)).hint(format!(
            "SELECT field, type, required, choices, label_en FROM steward.form WHERE name = '{}' ORDER BY line;",
            kind.name
        ))),
    }
}

/// What says that it belongs to an operation belongs to one that there is.
fn check_operation(fields: &Map<String, Value>) -> Outcome<()> {
    let Some(op_no) = fields.get("op_no").and_then(Value::as_str) else { return Ok(()) };
    let known = "SELECT op_no FROM steward._operation WHERE op_no = $1";
    match own::run(|client| one_text(client, known, &[op_no.into()]))? {
        Some(_) => Ok(()),
        None => Err(Fault::unknown(format!("there is no operation \"{op_no}\""))
            .hint("SELECT op_no, purpose, status FROM steward.operation;")),
    }
}

const INSERT: &str =
    "INSERT INTO steward._record (id, kind, subject, fields, done_at, valid_until, recorded_by, recorded_at, digest)
    SELECT (SELECT coalesce(max(id), 0) + 1 FROM steward._record), $1, $2, $3, n.done_at, n.valid_until, $5, n.at,
        steward._record_digest($1, $2, $3, n.done_at, n.valid_until, $5, n.at)
    FROM (SELECT t.done_at, t.at, CASE WHEN k.valid_until IS NULL THEN t.done_at + k.valid_for
            ELSE nullif(($3 ->> k.valid_until)::timestamptz, 'infinity') END AS valid_until
        FROM steward.record_kind k, (SELECT coalesce($4, clock_timestamp()) AS done_at, clock_timestamp() AS at) t
        WHERE k.name = $1) n
    WHERE n.done_at <= n.at AND isfinite(n.done_at) RETURNING id, digest";

/// Its number and its digest.
fn insert(
    kind: &str,
    subject: &str,
    fields: &Value,
    done_at: Option<TimestampWithTimeZone>,
    person: &Person,
) -> Outcome<(i64, String)> {
    let row = [kind.into(), subject.into(), JsonB(fields.clone()).into(), done_at.into(), person.name.as_str().into()];
    // Numbers have no gaps: one that is missing was taken away. Only who takes one waits for it, not who confirms.
    lock("LOCK TABLE steward._record IN SHARE UPDATE EXCLUSIVE MODE", &[])?;
    own::run(|client| {
        let row = own::query(client, INSERT, &row)?.next();
        let row = row.ok_or_else(|| Fault::bad_argument("done_at lies in the future").hint("done_at => now()"))?;
        Ok((row.get::<i64>(1)?.unwrap_or(0), row.get::<String>(2)?.unwrap_or_default()))
    })
}

/// What is asked of an entry before it is changed.
struct Standing {
    id: i64,
    kind: RecordKind,
    subject: String,
    recorded_by: String,
    confirmed: bool,
    withdrawn: bool,
    /// Until when it must be kept, if that is still to come.
    kept_until: Option<String>,
}

const STANDING: &str =
    "SELECT r.kind, r.subject, r.recorded_by, r.confirmed_at IS NOT NULL, r.withdrawn_at IS NOT NULL,
        (SELECT (r.done_at + k.keep_for)::text FROM steward.record_kind k
            WHERE k.name = r.kind AND r.done_at + k.keep_for > clock_timestamp())
    FROM steward._record r WHERE r.id = $1 FOR UPDATE OF r";

impl Standing {
    fn lock(id: Option<i64>) -> Outcome<Standing> {
        let id = id.unwrap_or(0);
        let unknown =
            || Fault::unknown(format!("there is no record {id}")).hint("SELECT id, kind, subject FROM steward.record;");
        lock("SELECT FROM steward._record WHERE id = $1 FOR UPDATE", &[id.into()])?;
        let (kind, mut standing) = own::run(|client| {
            let row = own::query(client, STANDING, &[id.into()])?.next().ok_or_else(unknown)?;
            let text = |column: usize| row.get::<String>(column).map(Option::unwrap_or_default);
            let standing = (text(2)?, text(3)?, row.get(4)?.unwrap_or(true), row.get(5)?.unwrap_or(true), row.get(6)?);
            Ok((text(1)?, standing))
        })?;
        let kept_until = standing.4.take();
        let (subject, recorded_by, confirmed, withdrawn, _): (_, _, _, _, Option<String>) = standing;
        Ok(Standing { id, kind: RecordKind::named(&kind)?, subject, recorded_by, confirmed, withdrawn, kept_until })
    }

    fn is_about(&self, person: &Person) -> bool {
        self.kind.of_person && self.subject == person.name
    }

    /// One step more, on record.
    fn step(&self, function: &str, change: &str, person: &Person, reason: Option<&str>) -> Outcome<()> {
        let reason_given = reason.map(str::to_owned);
        let row = [self.id.into(), person.name.as_str().into(), reason_given.into()];
        own::run(|client| own::execute(client, change, &row))?;
        note(function, &self.subject, json!({ "record": self.id, "kind": self.kind.name, "reason": reason }));
        if self.kind.enforced { own::policy_changed() } else { Ok(()) }
    }
}

#[pg_extern(sql = false)]
fn confirm_record(record_id: Option<i64>) {
    answer((|| {
        let function = "confirm_record";
        let person = actor(function)?;
        own_act(function)?;
        if !sees(&person) {
            return Err(refused(function, "the post does not confirm records")
                .detail(format!("It takes one of the capabilities {}.", CONFIRMERS.join(", "))));
        }
        let standing = Standing::lock(record_id)?;
        if standing.recorded_by == person.name || standing.is_about(&person) {
            return Err(refused(function, "somebody else confirms it")
                .detail(format!("{} has made it, and it is about {}.", standing.recorded_by, standing.subject)));
        }
        if !standing.kind.confirm || standing.confirmed || standing.withdrawn {
            return Err(Fault::wrong_state(format!("record {} does not wait for a confirmation", standing.id))
                .hint("SELECT * FROM steward.record WHERE status = 'unconfirmed';"));
        }
        let change = "UPDATE steward._record SET confirmed_by = $2, confirmed_at = clock_timestamp() WHERE id = $1";
        standing.step(function, change, &person, None)
    })())
}

#[pg_extern(sql = false)]
fn withdraw_record(record_id: Option<i64>, reason: Option<&str>) {
    answer((|| {
        let function = "withdraw_record";
        let person = actor(function)?;
        own_act(function)?;
        let reason = required("reason", reason)?;
        let standing = Standing::lock(record_id)?;
        // What two persons have said, neither of them takes back alone.
        let may = match standing.confirmed {
            true => sees(&person) && standing.recorded_by != person.name,
            false => standing.kind.may_record(&person, false) || person.may("audit") || person.may("configure"),
        };
        if !may || standing.is_about(&person) {
            return Err(refused(function, "somebody else withdraws it").detail(
                "Whoever may record the kind, audits or configures withdraws what is not confirmed; what is, only somebody else who \
                confirms; nobody what is about themselves.",
            ));
        }
        if standing.withdrawn {
            return Err(Fault::wrong_state(format!("record {} is withdrawn", standing.id)));
        }
        if let Some(kept_until) = &standing.kept_until {
            return Err(Fault::wrong_state(format!("record {} is kept until {kept_until}", standing.id))
                .detail(format!(
                    "Records of kind {} have a term before which they are not withdrawn.",
                    standing.kind.name
                ))
                .hint(format!("SELECT keep_for FROM steward.record_kind WHERE name = '{}';", standing.kind.name)));
        }
        let change = "UPDATE steward._record SET withdrawn_by = $2, withdrawn_at = clock_timestamp(), withdrawn_reason = $3 WHERE id = $1";
        standing.step(function, change, &person, Some(reason))
    })())
}
