//! Who signs: the person who votes, and what the views say of rows that are open.

use super::{Operation, actor};
use crate::cache::Person;
use crate::error::{Outcome, answer};
use crate::session;
use pgrx::prelude::*;
use std::rc::Rc;

/// The person who votes: an approver, or somebody whom a row of this operation means and whose post gives what it asks.
pub fn approver(op_no: &str) -> Outcome<Rc<Person>> {
    if let Some(person) = session::person().filter(|person| person.usable() && !person.may("approve"))
        && let Ok(operation) = Operation::look(op_no)
    {
        let (requirement, applicant) = (operation.requirement(true)?, operation.applicant());
        if (0..requirement.rows.len()).any(|row| requirement.fits(row, &person, applicant.kin())) {
            return Ok(person);
        }
    }
    actor("APPROVE", op_no, "approve")
}

/// Whether a person may approve, or is meant by a row of this operation.
pub fn may_sign(operation: &Operation, person: &Person) -> Outcome<bool> {
    let (requirement, applicant) = (operation.requirement(false)?, operation.applicant());
    let meant = || (0..requirement.rows.len()).any(|row| requirement.fits(row, person, applicant.kin()));
    Ok(person.may("approve") || meant())
}

#[pg_extern(sql = false)]
fn _approvals_open(op_no: &str) -> Vec<String> {
    answer((|| {
        let operation = Operation::look(op_no)?;
        let requirement = operation.requirement(true)?;
        Ok(requirement.open(&operation.signers(), operation.applicant().kin()))
    })())
}

#[pg_extern(sql = false)]
fn _may_sign(op_no: &str) -> bool {
    answer((|| {
        let Some(person) = session::person().filter(|person| person.usable()) else { return Ok(false) };
        let operation = Operation::look(op_no)?;
        let (requirement, applicant) = (operation.requirement(true)?, operation.applicant());
        let mut signers = operation.signers();
        if signers.iter().any(|signer| signer.name == person.name) {
            return Ok(true);
        }
        let before = requirement.filled(&signers, applicant.kin());
        signers.push(person);
        Ok(requirement.filled(&signers, applicant.kin()) > before)
    })())
}
