//! The comparison: the same plan against several servers in one run, in turns, so that whatever
//! else the machine does meets all of them.

mod machine;
mod plan;
mod postfix;
mod processes;
mod programs;
mod ringpost;
mod round;
mod server;
mod summary;
mod table;

pub use machine::Machine;
pub use plan::{Plan, ServerName};
pub use processes::{ProcessStat, Usage};
pub use programs::Interruption;
pub use round::{Sample, run};
pub use summary::{Comparison, render};
pub use table::Table;
