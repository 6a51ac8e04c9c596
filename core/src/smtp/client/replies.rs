//! Replies that came and are not looked at yet: read one at a time, when the state that waits for
//! it is known.
//!
//! The parser bounds what it keeps of a reply; how long a reply may go on is bounded here.

use alloc::vec::Vec;
use core::fmt;

use crate::smtp::reply::{BadReply, Reply, ReplyParser};

/// What the server sent and nobody has looked at, and the reply that has come in part.
#[derive(Debug, Default)]
pub(super) struct Replies {
    parser: ReplyParser,
    input: Vec<u8>,
    /// Octets of `input` already looked at.
    used: usize,
    /// Octets of the reply that has come in part.
    reply_octets: usize,
}

/// Why what came is not a reply. The connection cannot be used any longer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Unreadable {
    Bad(BadReply),
    /// One reply has more than [`REPLY_OCTETS_MAX`] octets.
    Endless,
}

impl Replies {
    /// Takes what came. The driver's buffer bounds how much that is.
    pub(super) fn receive(&mut self, bytes: &[u8]) {
        self.input.drain(..self.used);
        self.used = 0;
        self.input.extend_from_slice(bytes);
    }

    /// Whether nothing has come but replies that were given out.
    pub(super) fn is_empty(&self) -> bool {
        self.used == self.input.len() && !self.parser.is_partial()
    }

    /// The next reply, if all of it has come.
    pub(super) fn next(&mut self) -> Result<Option<Reply>, Unreadable> {
        let (taken, reply) = self.parser.receive(&self.input[self.used..]);
        self.used += taken;
        self.reply_octets += taken;
        if self.reply_octets > REPLY_OCTETS_MAX {
            return Err(Unreadable::Endless);
        }
        let reply = reply.map_err(Unreadable::Bad)?;
        if reply.is_some() {
            self.reply_octets = 0;
        }
        Ok(reply)
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bad(bad) => write!(out, "the server does not speak SMTP: {bad}"),
            Self::Endless => out.write_str("the server's reply does not end"),
        }
    }
}

/// Octets of one reply, with codes and line endings: eight times what is kept of it.
const REPLY_OCTETS_MAX: usize = 64 * 1024;
