//! How a verb ends: the codes of sysexits, which shells and service managers know.

use std::process::ExitCode;

/// The end of a verb.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Exit {
    /// It did what was asked.
    Ok,
    /// It did its work, and the answer is no: a check or a demonstration failed.
    Failed,
    /// The command line was wrong (64).
    Usage,
    /// Input was wrong (65).
    BadInput,
    /// A daemon or a kernel feature it needs is not there (69).
    Unavailable,
    /// A file could not be written (73).
    CannotCreate,
    /// The operating system refused something (71).
    System,
    /// The configuration was wrong (78).
    Configuration,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Ok => 0,
            Exit::Failed => 1,
            Exit::Usage => 64,
            Exit::BadInput => 65,
            Exit::Unavailable => 69,
            Exit::System => 71,
            Exit::CannotCreate => 73,
            Exit::Configuration => 78,
        })
    }
}
