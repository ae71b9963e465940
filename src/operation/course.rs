//! Operations that run statement by statement, and operations that run again and again: what is asked for when they are
//! filed, how it is kept, and what of the script the next run is. When a run is due is said in `core::course`; what
//! becomes of votes in a year, in `standing`.

use super::{Operation, number, odd};
use crate::core::course::{Course, SPANS};
use crate::error::{Fault, Outcome};
use crate::person::one_text;
use crate::watch::dry_run::Step as Statement;
use crate::{own, settings};
use pgrx::datum::Interval;
use pgrx::spi::SpiClient;
use serde_json::Value;

/// What the applicant asks for.
pub struct Wish {
    stepwise: bool,
    /// Microseconds.
    every: Option<i64>,
    /// As many rows as expected, and not fewer.
    exactly: bool,
}

impl Wish {
    pub fn is_stepwise(&self) -> bool {
        self.stepwise
    }

    pub fn new(stepwise: Option<bool>, every: Option<Interval>, runs: i32, exactly: Option<bool>) -> Outcome<Wish> {
        let (stepwise, exactly) = (stepwise.unwrap_or(false), exactly.unwrap_or(false));
        let every = every.map(|every| i64::try_from(every.as_micros()).unwrap_or(i64::MAX));
        if every.is_some_and(|every| !SPANS.contains(&every)) {
            return Err(Fault::bad_argument("every is one second to 366 days")
                .detail("A month counts 30 days.")
                .hint("every => '23 hours' for a nightly job"));
        }
        if stepwise && (every.is_some() || runs != 1) {
            return Err(Fault::bad_argument("a stepwise operation runs each of its steps once")
                .hint("Leave out runs and every."));
        }
        if every.is_some() && runs < 2 {
            return Err(Fault::bad_argument("every needs runs: how often may it run in all?").hint("runs => 365"));
        }
        Ok(Wish { stepwise, every, exactly })
    }

    /// Approvals that there must be at least: nobody lets their own work run every night.
    pub fn approvals(&self) -> u32 {
        u32::from(self.every.is_some())
    }

    /// Whether a second person must stand by, whatever the tier.
    pub fn witness(&self) -> bool {
        self.stepwise
    }

    /// Nobody looks at the rows of a run at night, so what is approved for a year says how many they are.
    pub fn check_limit(&self, changes: bool, expected_rows: Option<i64>) -> Outcome<()> {
        if self.exactly && (expected_rows.is_none() || !changes || self.every.is_some()) {
            return Err(Fault::bad_argument(
                "exactly needs expected_rows and a script that writes, and is not for a standing operation",
            )
            .detail("expected_rows of a standing operation is the most that a run may touch."));
        }
        if self.every.is_none() || !changes || expected_rows.is_some() {
            return Ok(());
        }
        Err(Fault::bad_argument("a standing operation that may write needs expected_rows")
            .detail("It is the most that one run may touch; a run that would touch more is undone.")
            .hint("expected_rows => 5000"))
    }

    /// A scheduler arms no session, and the order of an armed run is the script's anyway.
    pub fn check_arm(&self, needs_arm: bool) -> Outcome<()> {
        if needs_arm && self.exactly {
            return Err(
                Fault::unsupported("what runs with steward.arm cannot be undone as a whole").hint("Leave out exactly.")
            );
        }
        if !needs_arm || !self.stepwise && self.every.is_none() {
            return Ok(());
        }
        Err(Fault::unsupported("what runs with steward.arm can be neither stepwise nor standing")
            .hint("Leave out stepwise and every."))
    }

    /// For the record of the request.
    pub fn told(&self) -> String {
        match self.every {
            Some(every) => format!("standing, every {} s", every as f64 / 1e6),
            None if self.stepwise => "stepwise".to_owned(),
            None => "whole".to_owned(),
        }
    }

    /// Beside the columns that every operation has.
    pub fn write(&self, client: &mut SpiClient<'_>, op_no: &str, steps: usize) -> Outcome<()> {
        let update = "UPDATE steward._operation SET stepwise = $2, every = make_interval(secs => $3 / 1000000.0),
            runs_allowed = CASE WHEN $2 THEN $4 ELSE runs_allowed END, exactly = $5 WHERE op_no = $1";
        let every = self.every.map(|every| every as f64);
        own::execute(
            client,
            update,
            &[op_no.into(), self.stepwise.into(), every.into(), (steps as i32).into(), self.exactly.into()],
        )
        .map(drop)
    }
}

/// Of an operation whose row is locked; or of one that a view `looks` at, without a transaction id.
pub fn read(client: &mut SpiClient<'_>, op_no: &str, looks: bool) -> Outcome<Course> {
    let read = "SELECT stepwise, confirmed_step, rows_touched, (extract(epoch FROM every) * 1000000)::int8,
            (extract(epoch FROM executed_at - of_time) * 1000000)::int8,
            (extract(epoch FROM clock_timestamp() - of_time) * 1000000)::int8
        FROM steward._operation, (SELECT timestamptz '2000-01-01 00:00:00+00') AS start(of_time) WHERE op_no = $1";
    let ask = if looks { own::select } else { own::query };
    let row = ask(client, read, &[op_no.into()])?.first();
    if super::value::<bool>(&row, 1)? {
        let confirmed = row.get::<i32>(2)?.map(|_| number(&row, 2)).transpose()?;
        let touched = super::value::<i64>(&row, 3)?.try_into().map_err(|_| odd("rows"))?;
        return Ok(Course::Stepwise { confirmed, touched });
    }
    Ok(match row.get::<i64>(4)? {
        Some(every) => Course::Standing { every, last_run: row.get(5)?, now: super::value(&row, 6)? },
        None => Course::Whole,
    })
}

impl Operation {
    /// From 1; the order is the script's, and nobody names another.
    fn next_step(&self) -> u32 {
        self.runs_done + 1
    }

    /// What the next run executes of the statements of the script.
    pub fn due(&self, statements: Vec<Statement>) -> Outcome<Vec<Statement>> {
        if !self.course.stepwise() {
            return Ok(statements);
        }
        let next = self.next_step();
        let due: Vec<_> = statements.into_iter().filter(|statement| statement.number as u32 == next).collect();
        if due.is_empty() { Err(odd("no such step")) } else { Ok(due) }
    }

    /// A confirmation is for one step, and says which: two persons who read at different moments mean different ones.
    pub fn check_step(&self, step: Option<i32>) -> Outcome<()> {
        let next = self.next_step();
        match (self.course.stepwise(), step) {
            (false, None) => Ok(()),
            (false, Some(_)) => Err(Fault::bad_argument(format!("{} does not run in steps", self.op_no))),
            (true, Some(step)) if u32::try_from(step) == Ok(next) => Ok(()),
            (true, None) => Err(Fault::bad_argument(format!("{} runs in steps: which one is confirmed?", self.op_no))),
            (true, Some(step)) => Err(Fault::wrong_state(format!("step {step} of {} is not the next one", self.op_no))
                .detail(format!("Steps done: {} of {}.", self.runs_done, self.runs_allowed))),
        }
        .map_err(|fault| fault.hint(self.confirm_call()))
    }

    /// The confirmation is for the statement that runs next.
    pub fn step_confirmed(&self) -> bool {
        match self.course {
            Course::Stepwise { confirmed, .. } => confirmed == Some(self.next_step()),
            _ => true,
        }
    }

    /// What the second person types.
    pub fn confirm_call(&self) -> String {
        let step = if self.course.stepwise() { format!(", {}", self.next_step()) } else { String::new() };
        format!("SELECT steward.confirm('{}', '{}'{step});", self.op_no, self.short_digest())
    }

    /// The last run is not long enough ago.
    pub fn too_soon(&self) -> Outcome<()> {
        let Some(next) = self.course.too_soon() else { return Ok(()) };
        let moment =
            "SELECT to_char((timestamptz '2000-01-01 00:00:00+00' + $1 * interval '1 microsecond') AT TIME ZONE $2,
                'YYYY-MM-DD HH24:MI:SS.MS ') || $2";
        let next = own::run(|client| one_text(client, moment, &[next.into(), settings::time_zone().into()]))?;
        let next = next.unwrap_or_else(|| "the end of time".to_owned());
        Err(Fault::wrong_state(format!("{} ran a short while ago", self.op_no))
            .detail(format!("The next run is allowed at {next}."))
            .hint(format!("SELECT every, next_run FROM steward.show('{}');", self.op_no)))
    }

    /// Details of a step of somebody, with the statement it was about.
    pub fn told(&self, mut details: Value) -> Value {
        if self.course.stepwise() {
            details["step"] = self.next_step().into();
        }
        details
    }
}
