//! What a suspension leaves of an operation: nothing that the person had filed, approved or confirmed counts any more, not
//! even after being reinstated, since the account may have been somebody else's by then.

use super::{Operation, person_named};
use crate::cache::Person;
use crate::error::{Fault, Outcome};
use std::collections::BTreeSet;
use std::rc::Rc;

impl Operation {
    /// Approvals by persons who may still approve: a right that was taken away takes its votes along. A person counts once.
    pub fn approvals_given(&self) -> u32 {
        let counting = self.approvals().filter(|(name, at)| self.vote_is_void(name, *at).is_none());
        counting.map(|(name, _)| name).collect::<BTreeSet<_>>().len() as u32
    }

    /// Everybody who has approved and stands by it, once each, whatever their posts let them sign.
    pub fn signers(&self) -> Vec<Rc<Person>> {
        self.signers_when(|at| !self.course.lapsed(at))
    }

    /// Those of them who approved at such a moment.
    pub(super) fn signers_when(&self, wanted: impl Fn(i64) -> bool) -> Vec<Rc<Person>> {
        let mut signers: Vec<Rc<Person>> = Vec::new();
        for (name, _) in self.approvals().filter(|(name, at)| **name != self.parts.applicant && wanted(*at)) {
            if signers.iter().all(|signer| signer.name != *name) {
                signers.extend(person_named(name).filter(|person| self.stands(person, &wanted)));
            }
        }
        signers
    }

    fn stands(&self, person: &Person, wanted: impl Fn(i64) -> bool) -> bool {
        self.approvals().any(|(name, at)| *name == person.name && wanted(at) && person.stands_by(at))
    }

    /// Who approved, and when; whoever did so again stands here twice.
    pub(super) fn approvals(&self) -> impl Iterator<Item = (&String, i64)> {
        self.parts.approvers.iter().zip(self.approved_at.iter().copied())
    }

    /// Why an approval does not count, as a sentence.
    fn vote_is_void(&self, name: &str, at: i64) -> Option<String> {
        let person = person_named(name);
        match &person {
            _ if name == self.parts.applicant => Some(format!("{name} filed it.")),
            Some(person) if !person.usable() => Some(format!("{name} is suspended or past valid_until.")),
            Some(person) if !person.stands_by(at) => Some(format!("{name} was suspended after that.")),
            Some(person) if person.may("approve") => self.lapse(name, at),
            _ => Some(format!("{name} may no longer approve.")),
        }
    }

    /// Why approvals that were given do not count; empty if all do, those of who signs for a row included.
    pub fn void_approvals(&self, signing: &[String]) -> String {
        let again = |name: &str, at: i64| self.approvals().any(|(other, later)| other == name && later > at);
        let last = self.approvals().filter(|(name, at)| !again(name, *at) && !signing.contains(name));
        let why = last.filter_map(|(name, at)| self.vote_is_void(name, at));
        why.map(|why| format!(" One approval does not count: {why}")).collect()
    }

    /// Whether the confirmation's person stands by it still.
    pub fn witness_stands_by(&self, person: &Person) -> bool {
        self.confirmed_at.is_some_and(|at| person.stands_by(at))
    }

    /// What a leaver filed goes no further: neither voted for nor executed. Ending it is always possible.
    pub fn check_frozen(&self) -> Outcome<()> {
        let applicant = &self.parts.applicant;
        let person = person_named(applicant);
        let why = match person {
            Some(person) if person.stands_by(self.filed_at) => return Ok(()),
            Some(person) if person.usable() => "was suspended after filing it: what was filed before stays frozen",
            _ => "is suspended or past valid_until",
        };
        Err(Fault::wrong_state(format!("{} is frozen", self.op_no))
            .detail(format!("Its applicant {applicant} {why}."))
            .hint("What is still wanted is filed again, by somebody who may."))
    }
}
