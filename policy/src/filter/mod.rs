//! Message filters: the rule language of AsyncOS, from the operator's text to a verdict.
//!
//! Four steps, each in its own place: `syntax` knows the shape of the text, `meaning` what the
//! names stand for, `program` how to find out fast, `evaluate` what is true of one message.

mod bits;
#[cfg(test)]
mod differential;
mod evaluate;
mod lint;
mod literal;
mod matcher;
mod meaning;
mod pattern;
mod problem;
mod program;
mod rejection;
mod remote_ip;
mod scan;
mod syntax;
mod template;
mod vocabulary;

use alloc::{format, sync::Arc, vec, vec::Vec};
use core::net::IpAddr;

use ringpost_core::{
    envelope::Envelope, id::Mid, lookup::ClientName, message::header::Header, smtp::reply::Reply,
    time::Date,
};

pub use self::problem::Problem;
use self::{lint::Lints, problem::Problems, program::Program};

/// Compiles a script of any number of filters.
///
/// # Errors
///
/// Every problem of the script at once, in the order of the text.
pub fn compile(script: &str, names: &Names<'_>) -> Result<Filters, Vec<Problem>> {
    let mut problems = Problems::default();
    if script.len() > MAX_SCRIPT {
        let message = format!("the script has more than {MAX_SCRIPT} octets");
        problems.add(Problem::new(0..0, message));
        return Err(problems.into_sorted());
    }
    let read = syntax::parse(script, &mut problems);
    let filters = meaning::resolve(&read, names, &mut problems);
    if problems.count() > 0 {
        return Err(problems.into_sorted());
    }
    let lints = Lints::new(&filters);
    match Program::new(&filters) {
        Ok(program) => Ok(Filters { program, lints, length: filters.len() }),
        Err(problem) => Err(vec![problem]),
    }
}

/// What a script may refer to.
#[derive(Clone, Copy, Debug)]
pub struct Names<'a> {
    /// The listeners of the configuration, for `recv-listener`.
    pub listeners: &'a [Arc<str>],
}

/// The compiled filters of one script, in order; shared by all shards.
#[derive(Debug)]
pub struct Filters {
    program: Program,
    lints: Lints,
    length: usize,
}

impl Filters {
    /// Runs the active filters over a message, in order, until one of them decides.
    ///
    /// Edits of the header happen in `examined` as the actions run; later filters see them.
    #[must_use]
    pub fn evaluate(&self, examined: &mut Examined<'_>) -> Verdict {
        evaluate::evaluate(&self.program, examined)
    }

    /// How many filters there are, inactive ones included.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.length
    }

    /// Whether there is no filter.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What is legal but probably not meant, in the order of the text.
    #[must_use]
    pub fn lints(&self, sender_groups: &[Arc<str>]) -> Vec<Problem> {
        self.lints.of(sender_groups)
    }
}

/// One message as filters see it, and what is known about where it came from.
pub struct Examined<'a> {
    /// Who sent it to whom.
    pub envelope: &'a Envelope,
    /// The header; actions edit it.
    pub header: &'a mut Header,
    /// Octets of the whole message, header and attachments included.
    pub size: u64,
    /// Its number.
    pub mid: Mid,
    /// Where the client connected from.
    pub client: IpAddr,
    /// The client's name in the DNS.
    pub client_name: &'a ClientName,
    /// The listener that took it.
    pub listener: &'a str,
    /// The sender group the client was classified into, if it has a name.
    pub group: Option<&'a str>,
    /// The mail flow policy that applied.
    pub policy: &'a str,
    /// Our own host name.
    pub hostname: &'a str,
    /// Now.
    pub date: Date,
}

/// What the filters decided.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Verdict {
    /// What becomes of the message.
    pub disposition: Disposition,
    /// How many filters acted on it.
    pub matched: u32,
    /// The texts of `log-entry` actions, in order.
    pub log_entries: Vec<Arc<str>>,
    /// The first action that changed the message, and its filter: AsyncOS gives such a message a
    /// new MID.
    pub rewritten_by: Option<(&'static str, Arc<str>)>,
}

/// What becomes of a message.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Disposition {
    /// It goes on.
    #[default]
    Deliver,
    /// It vanishes; the client was told 250.
    Drop {
        /// The filter that decided.
        filter: Arc<str>,
    },
    /// It goes back to its sender as a DSN.
    Bounce {
        /// The filter that decided.
        filter: Arc<str>,
    },
    /// The client is told no at the end of the content, and nothing is kept.
    Reject {
        /// The filter that decided.
        filter: Arc<str>,
        /// 4yz or 5yz.
        reply: Reply,
    },
}

/// Octets of one script.
const MAX_SCRIPT: usize = 4 << 20;
