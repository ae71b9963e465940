//! Alerts: conditions over the stream of records as it is chained, and the cases that they open. `rule` is what they ask,
//! `watch` the sequencer's part, `answer` what people do about them, `listeners` who is told.
//!
//! Nothing here waits for anybody: what cannot be told is in the table all the same.

pub mod answer;
pub mod listeners;
mod rule;
pub mod watch;

pub use rule::load;
