//! The longest term of a window: a row of the policy.

use crate::error::{Fault, Outcome, answer};
use crate::own;
use crate::policy::{changed, require_privilege};
use pgrx::datum::Interval;
use pgrx::prelude::*;

#[pg_extern(sql = false)]
fn set_break_glass_limit(max_duration: Option<Interval>) {
    answer((|| {
        require_privilege("set_break_glass_limit")?;
        let term = max_duration.ok_or_else(|| Fault::bad_argument("which term?").hint("max_duration => '1 hour'"))?;
        own::run(|client| {
            let row = "UPDATE steward.break_glass_limit SET max_duration = $1";
            own::execute(client, row, &[term.into()]).map(drop)
        })?;
        changed("set_break_glass_limit", "break_glass_limit")
    })())
}

/// Seconds, as the policy stands now. Without a row there is no window.
pub fn longest_seconds() -> Outcome<i64> {
    let term = c"SELECT trunc(extract(epoch FROM max_duration))::int8::text FROM steward.break_glass_limit";
    let rows = own::latest_rows(term);
    let seconds = rows.first().and_then(|row| row[0].as_deref()?.parse().ok());
    seconds.ok_or_else(|| {
        Fault::wrong_state("the policy has no longest term for emergency windows")
            .hint("SELECT steward.set_break_glass_limit('1 hour');")
    })
}
