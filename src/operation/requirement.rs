//! Who must agree to an operation: the rows of signatures that hold for it, the number of approvals beside them, and
//! whether those who have said yes, and still may, fill all of these places. How places are filled is said in
//! `core::approval`.

use super::{Operation, person_named};
use crate::cache::{self, Person, Policy};
use crate::core::approval::{Kin, Row, fill, in_force};
use crate::core::operation::Event;
use crate::core::tier::Tier;
use crate::error::{Fault, Outcome};
use crate::own;
use crate::policy::approval::read;
use crate::watch::dry_run::Step;
use crate::watch::named_rule::Closed;
use pgrx::spi::SpiClient;
use std::rc::Rc;

/// The places that have to be filled, each by another person: the rows, then as many approvers as the number says.
pub struct Requirement {
    pub(super) rows: Vec<Row>,
    number: u32,
}

impl Requirement {
    /// What today's policy asks for an operation of this tier that these rules match.
    pub fn today(policy: &Policy, tier: Tier, rules: &[String], number: u32) -> Requirement {
        let rows = policy.signatures.rows.iter().filter(|row| row.concerns(tier, rules)).cloned().collect();
        Requirement { rows, number }
    }

    pub fn places(&self) -> u32 {
        self.rows.len() as u32 + self.number
    }

    pub fn has_rows(&self) -> bool {
        !self.rows.is_empty()
    }

    pub(super) fn fits(&self, place: usize, person: &Person, applicant: Kin<'_>) -> bool {
        match self.rows.get(place) {
            Some(row) => person.may(&row.capability) && row.who.iter().any(|who| who.is(person.kin(), applicant)),
            None => person.name != applicant.name && person.may("approve"),
        }
    }

    /// For each place who fills it.
    fn fill(&self, persons: &[Rc<Person>], applicant: Kin<'_>) -> Vec<Option<usize>> {
        let places = self.places() as usize;
        fill(places, persons.len(), &|place, person| self.fits(place, &persons[person], applicant))
    }

    pub(super) fn filled(&self, persons: &[Rc<Person>], applicant: Kin<'_>) -> u32 {
        self.fill(persons, applicant).iter().flatten().count() as u32
    }

    /// The rows that nobody of these fills, in words.
    pub(super) fn open(&self, persons: &[Rc<Person>], applicant: Kin<'_>) -> Vec<String> {
        let filled = self.fill(persons, applicant);
        self.rows.iter().zip(filled).filter(|(_, by)| by.is_none()).map(|(row, _)| row.to_string()).collect()
    }

    /// What nobody could fill for this applicant, even if everybody agreed and, with `witness`, one more stood by. Persons
    /// are all different ones.
    pub fn unfillable(&self, applicant: &Person, witness: bool, everybody: &[Rc<Person>]) -> Option<String> {
        let places = self.places() as usize;
        let fits = |place: usize, person: usize| {
            let person = &everybody[person];
            match place {
                last if last == places => person.name != applicant.name && person.may("witness"),
                place => self.fits(place, person, applicant.kin()),
            }
        };
        let filled = fill(places + usize::from(witness), everybody.len(), &fits);
        let place = filled.iter().position(Option::is_none)?;
        Some(match self.rows.get(place) {
            Some(row) => format!("somebody for {row}"),
            None if place == places => "a second person other than the approvers".to_owned(),
            None => "an approver".to_owned(),
        })
    }

    /// Writes down what holds from now on, whatever becomes of the policy.
    pub fn write(&self, client: &mut SpiClient<'_>, op_no: &str, rules: &[String]) -> Outcome<()> {
        let matched = "UPDATE steward._operation SET matched_rules = $2 WHERE op_no = $1";
        own::execute(client, matched, &[op_no.into(), rules.to_vec().into()])?;
        let insert = "INSERT INTO steward._operation_approval (op_no, tier, rule, step, who, capability)
            VALUES ($1, $2::steward.tier, $3, $4, $5, $6)";
        for row in &self.rows {
            let who: Vec<String> = row.who.iter().map(ToString::to_string).collect();
            let rule = row.rule.as_deref().unwrap_or("");
            let arguments = [
                op_no.into(),
                row.tier.name().into(),
                rule.into(),
                row.step.into(),
                who.into(),
                row.capability.as_str().into(),
            ];
            own::execute(client, insert, &arguments)?;
        }
        Ok(())
    }
}

/// The rules that match a script; those that count rows only if it may touch as many.
pub fn rules(steps: &[Step], expected_rows: Option<i64>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for rule in steps.iter().flat_map(|step| &step.rules) {
        let reached = rule.min_rows.is_none_or(|rows| expected_rows.is_none_or(|expected| expected as u64 >= rows));
        if reached && !names.contains(&rule.name) {
            names.push(rule.name.clone());
        }
    }
    names
}

const FILED: &str = "SELECT tier::text, rule, step::text, array_to_json(who)::text, capability
    FROM steward._operation_approval WHERE op_no = $1 ORDER BY tier, rule, step";
const MATCHED: &str = "SELECT unnest(matched_rules) FROM steward._operation WHERE op_no = $1";

/// What one more approval would do.
pub struct Vote {
    /// For the life of the operation.
    pub event: Event,
    /// It fills no place that is open.
    idle: bool,
    open: Vec<String>,
}

impl Vote {
    /// Refuses an approval that nothing waits for.
    pub fn check(&self, operation: &Operation, person: &Person) -> Outcome<()> {
        if !self.idle {
            return Ok(());
        }
        Err(Fault::wrong_state(format!("{} does not wait for an approval by {}", operation.op_no, person.name))
            .detail(format!("Still open: {}.", self.open.join("; ")))
            .hint("SELECT approvals_open FROM steward.operation;"))
    }
}

/// The rows of an operation as they stand.
pub struct RowStanding {
    pub open: Vec<String>,
    pub filled_by: Vec<String>,
}

impl Operation {
    /// What must be signed: never less than when it was filed, and never less than today. `looks`: without a lock and a
    /// transaction id, for a view.
    pub(super) fn requirement(&self, looks: bool) -> Outcome<Requirement> {
        let (filed, rules) = own::run(|client| {
            let rows = |client: &mut SpiClient<'_>, query: &str| -> Outcome<Vec<Vec<Option<String>>>> {
                let arguments = [self.op_no.as_str().into()];
                let found = match looks {
                    true => own::select(client, query, &arguments)?,
                    false => own::query(client, query, &arguments)?,
                };
                let columns = found.columns()?;
                found.map(|row| (1..=columns).map(|column| Ok(row.get::<String>(column)?)).collect()).collect()
            };
            let filed = rows(client, FILED)?.iter().map(|row| read(row)).collect::<Outcome<Vec<Row>>>()?;
            Ok((filed, rows(client, MATCHED)?.into_iter().flatten().flatten().collect::<Vec<String>>()))
        })?;
        self.requirement_over(&filed, &rules)
    }

    fn requirement_over(&self, filed: &[Row], rules: &[String]) -> Outcome<Requirement> {
        let today = Requirement::today(&cache::policy(), self.tier, rules, self.approvals_needed());
        Ok(Requirement { rows: in_force(filed, &today.rows), number: today.number })
    }

    /// The applicant as far as relations go; whoever is no longer registered has none.
    pub(super) fn applicant(&self) -> Rc<Person> {
        person_named(&self.parts.applicant).unwrap_or_else(|| Rc::new(Person::stranger(&self.parts.applicant)))
    }

    /// Whether those of its signers who signed until a moment fill as many places as all of them do.
    pub(super) fn filled_until(&self, moment: i64) -> Outcome<bool> {
        let (requirement, applicant) = (self.requirement(false)?, self.applicant());
        let until = self.signers_when(|at| at <= moment && !self.course.lapsed(at));
        Ok(requirement.filled(&until, applicant.kin()) >= requirement.filled(&self.signers(), applicant.kin()))
    }

    /// What this person's approval would do beside those that count.
    pub fn vote(&self, person: &Rc<Person>) -> Outcome<Vote> {
        let (requirement, applicant) = (self.requirement(false)?, self.applicant());
        // Who will have to sign again soon may be followed by others now.
        let mut signers = self.signers_when(|at| !self.course.renewable(at));
        let before = requirement.filled(&signers, applicant.kin());
        let open = requirement.open(&signers, applicant.kin());
        signers.push(person.clone());
        let (after, needed) = (requirement.filled(&signers, applicant.kin()), requirement.places());
        let full = before >= needed;
        let given = if full { needed + 1 } else { after };
        Ok(Vote { event: Event::Approve { given, needed }, idle: !full && after == before, open })
    }

    /// Which rows are open, and who fills the others.
    pub fn row_standing(&self) -> Outcome<RowStanding> {
        let (requirement, signers, applicant) = (self.requirement(false)?, self.signers(), self.applicant());
        let filled = requirement.fill(&signers, applicant.kin());
        let signing = filled.iter().take(requirement.rows.len()).flatten();
        let filled_by = signing.map(|signer| signers[*signer].name.clone()).collect();
        Ok(RowStanding { open: requirement.open(&signers, applicant.kin()), filled_by })
    }

    /// Refuses a run whose places are not filled: those of its filing, of today's policy, and of the rules that match it
    /// today, which demand `number` approvals beside their rows.
    pub fn check_signed(&self, rules: &[String], number: u32) -> Outcome<()> {
        let mut requirement = self.requirement(false)?;
        requirement.number = requirement.number.max(number);
        let policy = cache::policy();
        let today = Requirement::today(&policy, self.tier, rules, 0);
        requirement.rows = in_force(&requirement.rows, &today.rows);
        let (signers, applicant) = (self.signers(), self.applicant());
        if requirement.filled(&signers, applicant.kin()) >= requirement.places() {
            return Ok(());
        }
        let open = requirement.open(&signers, applicant.kin());
        let fault = Fault::wrong_state(format!("{} is not approved", self.op_no));
        let given = self.approvals_given();
        Err(match open.is_empty() {
            true => fault.detail(format!(
                "Its rows of signatures are filled, but of the approvals beside them {given} are not enough."
            )),
            false => fault.detail(format!("Still open: {}.", open.join("; "))),
        }
        .hint(format!(
            "Whoever is meant reads steward.show('{0}') and calls: SELECT steward.approve('{0}', '{1}');",
            self.op_no,
            self.short_digest()
        )))
    }

    /// Rules whose signatures this operation does not have: what they match is closed to its run. A rule that counts rows
    /// is not reached where fewer are expected, since more than these undo the run.
    pub fn unsigned_rules(&self) -> Outcome<Vec<Closed>> {
        let policy = cache::policy();
        let mut named: Vec<&String> = policy.signatures.rows.iter().filter_map(|row| row.rule.as_ref()).collect();
        named.sort();
        named.dedup();
        let (signers, applicant) = (self.signers(), self.applicant());
        let mut closed = Vec::new();
        for rule in named.into_iter().filter(|rule| !self.stays_below(&policy, rule)) {
            let (known, number) = ([rule.clone()], policy.tier_policy(self.tier, &applicant.post).approvals);
            let requirement = Requirement::today(&policy, self.tier, &known, number.max(0) as u32);
            if requirement.filled(&signers, applicant.kin()) < requirement.places() {
                let open = requirement.open(&signers, applicant.kin()).join("; ");
                closed.push(Closed { rule: rule.clone(), why: format!("Its signatures are missing: {open}.") });
            }
        }
        Ok(closed)
    }

    /// The approvals that count for what its statements demand. Where somebody has signed and no approver, because only
    /// rows had to be filled, that is an operation all the same: it counts as one for rules with rows, and what demands a
    /// number of approvers is closed to it.
    pub fn covering_approvals(&self, closed: &mut Vec<Closed>) -> u32 {
        let given = self.approvals_given();
        if given > 0 || self.signers().is_empty() {
            return given;
        }
        let (policy, post) = (cache::policy(), self.applicant().post.clone());
        let tiers = [Tier::Normal, Tier::Important, Tier::Critical].into_iter().filter(|tier| *tier <= self.tier);
        if tiers.into_iter().any(|tier| policy.tier_policy(tier, &post).approvals > 0) {
            return given;
        }
        let demanding = policy.rules.all_rules().iter().filter(|rule| policy.signatures.number(rule) > 0);
        closed.extend(demanding.map(|rule| Closed {
            rule: rule.name.clone(),
            why: format!("It demands {} approvals; nobody who may approve has signed.", rule.approvals),
        }));
        1
    }

    /// Whether the operation expects fewer rows than a rule counts from.
    pub fn stays_below(&self, policy: &Policy, rule: &str) -> bool {
        let counted = policy.rules.named(rule).and_then(|rule| rule.min_rows);
        counted.is_some_and(|rows| self.expected_rows.is_some_and(|expected| (expected as u64) < rows))
    }
}

/// For `activate()`: what nobody could sign for this applicant, a sentence each. Every row is tried by itself, together
/// with those of its tier; what several rules ask of one script shows at its request.
pub fn unfillable(policy: &Policy, applicant: &Person, everybody: &[Rc<Person>]) -> Vec<String> {
    let mut sentences = Vec::new();
    for row in &policy.signatures.rows {
        let rules: Vec<String> = row.rule.iter().cloned().collect();
        for tier in [Tier::Normal, Tier::Important, Tier::Critical].into_iter().filter(|tier| row.tier <= *tier) {
            let demands = policy.tier_policy(tier, &applicant.post);
            let requirement = Requirement::today(policy, tier, &rules, demands.approvals.max(0) as u32);
            let Some(what) = requirement.unfillable(applicant, demands.witness, everybody) else { continue };
            let sentence = format!("For {} operations of {} there is not {what}.", tier.name(), applicant.name);
            if !sentences.contains(&sentence) {
                sentences.push(sentence);
            }
        }
    }
    sentences
}
