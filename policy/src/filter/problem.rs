//! What is wrong with a script, as data: whoever shows it knows the file and draws the arrows.

use alloc::{string::String, vec::Vec};
use core::{fmt, ops::Range};

/// Something an operator should know about a stretch of the script.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem {
    /// Octets of the script it is about.
    pub span: Range<usize>,
    /// What is wrong: one line without a full stop.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

/// The problems found so far, at most [`MAX_PROBLEMS`]: nobody reads more.
#[derive(Debug, Default)]
pub(super) struct Problems {
    found: Vec<Problem>,
    /// Those beyond the limit included.
    count: usize,
}

impl Problem {
    pub(super) fn new(span: Range<usize>, message: impl Into<String>) -> Self {
        Self { span, message: message.into(), help: None }
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl Problems {
    pub(super) fn add(&mut self, problem: Problem) {
        self.count += 1;
        if self.found.len() < MAX_PROBLEMS {
            self.found.push(problem);
        }
    }

    pub(super) const fn count(&self) -> usize {
        self.count
    }

    /// In the order of the text.
    pub(super) fn into_sorted(mut self) -> Vec<Problem> {
        self.found.sort_by_key(|problem| problem.span.start);
        self.found
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.message)?;
        match &self.help {
            Some(help) => write!(out, " (help: {help})"),
            None => Ok(()),
        }
    }
}

/// Problems reported of one script.
pub(super) const MAX_PROBLEMS: usize = 200;
