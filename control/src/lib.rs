//! Everything that may be slow: names, logs, counts, numbers. One ordinary thread, one tokio loop.
//!
//! The data plane asks and tells over channels and never waits for more than an answer. Here time
//! may be spent: on a name server, on a disk.

pub mod bridge;
pub mod certificate;
pub mod console;
pub mod counters;
pub mod dns;
pub mod ids;
pub mod logs;
mod start;

pub use self::start::{Control, Plan, Trouble, start};
