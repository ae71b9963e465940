//! What a suspension leaves of an operation: nothing that the person had filed, approved or confirmed counts any more, not
//! even after being reinstated, since the account may have been somebody else's by then.

use super::{Operation, person_named};
use crate::cache::Person;
use crate::error::{Fault, Outcome};
use std::rc::Rc;

impl Operation {
    /// Approvals by persons who may still approve: a right that was taken away takes its votes along.
    pub fn approvals_given(&self) -> u32 {
        self.approvals().filter(|(name, at)| self.vote_is_void(name, *at).is_none()).count() as u32
    }

    /// Everybody who has approved and stands by it, once each, whatever their posts let them sign.
    pub fn signers(&self) -> Vec<Rc<Person>> {
        let stand = self.approvals().filter(|(name, _)| **name != self.parts.applicant);
        stand.filter_map(|(name, at)| person_named(name).filter(|person| person.stands_by(at))).collect()
    }

    fn approvals(&self) -> impl Iterator<Item = (&String, i64)> {
        self.parts.approvers.iter().zip(self.approved_at.iter().copied())
    }

    /// Why an approval does not count, as a sentence.
    fn vote_is_void(&self, name: &str, at: i64) -> Option<String> {
        let person = person_named(name);
        match &person {
            _ if name == self.parts.applicant => Some(format!("{name} filed it.")),
            Some(person) if !person.usable() => Some(format!("{name} is suspended or past valid_until.")),
            Some(person) if !person.stands_by(at) => Some(format!("{name} was suspended after that.")),
            Some(person) if person.may("approve") => None,
            _ => Some(format!("{name} may no longer approve.")),
        }
    }

    /// Why approvals that were given do not count; empty if all do, those of who signs for a row included.
    pub fn void_approvals(&self, signing: &[String]) -> String {
        let counted = self.approvals().filter(|(name, _)| !signing.contains(name));
        let why = counted.filter_map(|(name, at)| self.vote_is_void(name, at));
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
