//! What becomes of votes in a standing operation: approvals lapse after a year and are given anew before, a confirmation
//! counts as long as the approvals that it followed, and runs are reviewed while others are still to come.

use super::Operation;
use crate::cache::Person;
use crate::core::course::APPROVAL_DAYS;
use crate::core::operation::{Event, Status, Step};
use crate::error::{Fault, Outcome};

impl Operation {
    /// How this person's approval counts: as a first one, or once more.
    pub fn approving(&self, person: &Person) -> Step {
        let last = self.approvals().filter(|(name, _)| **name == person.name).map(|(_, at)| at).max();
        if last.is_some_and(|at| self.course.renewable(at)) { Step::Renew } else { Step::Approve }
    }

    /// Why an approval of that moment is over, as a sentence.
    pub fn lapse(&self, name: &str, at: i64) -> Option<String> {
        self.course.lapsed(at).then(|| format!("{name} gave it {APPROVAL_DAYS} days ago or earlier."))
    }

    /// Whether a second person stands by: for the minutes of a run; or, where nobody sits beside the runs, for the
    /// signatures that there were when it was said. A renewal, of an approval or of the signature of a row, is confirmed
    /// anew.
    pub fn confirmation_counts(&self) -> Outcome<bool> {
        if !self.course.standing() {
            return Ok(self.confirmation_holds && self.step_confirmed());
        }
        self.confirmed_at.map_or(Ok(false), |confirmed| self.filled_until(confirmed))
    }

    /// A review concerns what was done so far. Runs that are left go on, unless it is rejected.
    pub fn reviewing(&self, accepted: bool) -> Outcome<Event> {
        if !matches!(self.standing(), Status::Approved | Status::Failed) {
            return Ok(Event::Review);
        }
        if self.review_owed {
            return Ok(Event::ReviewRuns { accepted });
        }
        Err(Fault::wrong_state(format!("no run of {} waits for a review", self.op_no))
            .detail(format!("Runs so far: {} of {}.", self.runs_done, self.runs_allowed)))
    }
}
