//! The rows that an operation said it would touch, beside those that it did. More of them undo the run; fewer are told to
//! whoever runs, watches and reviews it, and undo the run where it was filed so.

use super::{Operation, step_record};
use crate::audit::buffer;
use crate::core::course::Course;
use crate::core::record::Outcome as Ending;
use crate::error::{Fault, Outcome};
use crate::own;
use crate::person::one_text;
use serde_json::{Value, json};

/// Its name in details, and the record that alert rules speak of.
const MISSING: &str = "rows_missing";
const RECORD: &str = "ROWS MISSING";

impl Operation {
    /// Rows that are missing after a run that touched so many; None: none. With the last step of a stepwise operation those
    /// of all steps. What a standing operation says is the most that a run may touch, so none are missing there.
    pub fn rows_missing(&self, touched: u64) -> Option<i64> {
        let last = match self.course {
            Course::Whole => true,
            Course::Stepwise { .. } => self.runs_done + 1 >= self.runs_allowed,
            Course::Standing { .. } => false,
        };
        let so_far = i64::try_from(self.course.touched().saturating_add(touched)).unwrap_or(i64::MAX);
        self.expected_rows.map(|expected| expected.saturating_sub(so_far)).filter(|missing| last && *missing > 0)
    }

    /// Undoes a run that has touched more rows than were approved or, if so many were filed exactly, fewer.
    pub fn check_rows(&self, touched: u64) -> Outcome<()> {
        let Some(expected) = self.expected_rows else { return Ok(()) };
        let so_far = self.course.touched().saturating_add(touched);
        let undone = |what: &str| {
            Err(Fault::refused(format!("{} touched {what} rows than were approved: everything is undone", self.op_no))
                .detail(format!("It touched {so_far} rows; expected_rows is {expected}."))
                .hint("File it again with the number of rows it really touches."))
        };
        if so_far > expected as u64 {
            return undone("more");
        }
        if self.exactly && self.rows_missing(touched).is_some() { undone("fewer") } else { Ok(()) }
    }

    /// Tells of rows that are missing after a run: the session, and in a record of its own.
    pub fn tell_missing(&self, missing: Option<i64>) {
        let Some(missing) = missing else { return };
        let expected = self.expected_rows.unwrap_or_default();
        let mut record = step_record(RECORD, &self.op_no);
        record.tier = Some(self.tier);
        record.outcome = Ending::Failure;
        record.details = Some(json!({ "expected_rows": expected, MISSING: missing }).to_string());
        buffer::push(record);
        Fault::remark(format!("{} touched {missing} rows fewer than expected", self.op_no))
            .detail(format!("expected_rows is {expected}. It has run all the same; its review takes a comment."))
            .hint("Look at what it did: every row that the script did not find is one that somebody thought was there.")
            .warn();
    }
}

/// Details of a run, with the rows that are missing after it.
pub fn told(mut details: Value, missing: Option<i64>) -> Value {
    if let Some(missing) = missing {
        details[MISSING] = missing.into();
    }
    details
}

/// Refuses to accept without a word what touched fewer rows than expected: whoever reviews it has seen that.
pub fn check_review(op_no: &str, comment: Option<&str>) -> Outcome<()> {
    if comment.is_some_and(|comment| !comment.trim().is_empty()) {
        return Ok(());
    }
    let sum = "SELECT sum((details ->> 'rows_missing')::bigint)::text FROM steward._operation_event
        WHERE op_no = $1 AND event = 'EXECUTE'";
    match own::run(|client| one_text(client, sum, &[op_no.into()]))? {
        None => Ok(()),
        Some(missing) => Err(Fault::bad_argument(format!(
            "{op_no} touched {missing} rows fewer than expected: comment must say why that is right"
        ))
        .hint(format!("SELECT steward.review('{op_no}', 'accepted', '…');"))),
    }
}
