//! Alerts: conditions over the stream of records as it is chained, and the cases that they open. `rule` is what they ask,
//! `calendar` which days are free, `condition` what the server itself is asked, `watch` the sequencer's part, `query` questions of auditors and `worker` who asks them, `answer` what
//! people do about them, `listeners` who is told.
//!
//! Nothing here waits for anybody: what cannot be told is in the table all the same.

pub mod answer;
mod calendar;
pub mod condition;
pub mod listeners;
pub mod query;
mod rule;
pub mod watch;
mod worker;

pub use calendar::load as load_calendar;
pub use rule::load;
