//! The source: plays many clients that send mail. It is open loop when a rate is given, because
//! a source that waits for a slow server hides how slow the server is.

mod conversation;
mod load;
mod options;
mod reply;
mod schedule;
mod tally;

pub use load::run;
pub use options::Options;
pub use reply::{Malformed, Replies, Reply};
pub use schedule::Schedule;
pub use tally::{Outcome, SourceReport, Tally};
