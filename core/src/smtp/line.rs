//! Command lines: found in whatever pieces they arrive, each judged once, never executed in part.
//!
//! Framing decides what is a command at all, so it is one small machine with one rule: a faulty
//! line is answered once and swallowed up to its true end.

use core::fmt;

use memchr::{memchr, memchr2};

use crate::smtp::server::BareLineEndings;

/// Finds command lines at the beginning of the pending input.
#[derive(Debug)]
pub struct Lines {
    limit: usize,
    bare: BareLineEndings,
    swallowing: Option<Swallowing>,
}

/// What the pending input begins with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Found<'a> {
    /// Nothing complete; the first octets, as many as said, are of no more use.
    Nothing { used: usize },
    /// A line, without its ending.
    Line { line: &'a [u8], used: usize },
    /// A line that must not be obeyed. `line` is what there is of it.
    Fault { fault: LineFault, line: &'a [u8], used: usize },
}

/// What is wrong with a command line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LineFault {
    /// It is longer than the limit.
    TooLong,
    /// CR or LF that are not CRLF, or NUL.
    BareLineEnding,
}

impl Lines {
    /// Lines of at most `limit` octets, CRLF included.
    #[must_use]
    pub const fn new(limit: usize, bare: BareLineEndings) -> Self {
        Self { limit, bare, swallowing: None }
    }

    /// Looks at the beginning of `input`, from which the octets used so far were removed.
    pub fn find<'a>(&mut self, input: &'a [u8]) -> Found<'a> {
        let mut skipped = 0;
        if let Some(swallowing) = self.swallowing {
            let (used, left) = self.swallow(swallowing, input);
            self.swallowing = left;
            if left.is_some() {
                return Found::Nothing { used };
            }
            skipped = used;
        }
        self.find_line(&input[skipped..], skipped)
    }

    fn find_line<'a>(&mut self, input: &'a [u8], skipped: usize) -> Found<'a> {
        let window = &input[..input.len().min(self.limit)];
        let Some(end) = memchr(b'\n', window) else {
            if window.len() < self.limit {
                return Found::Nothing { used: skipped };
            }
            let after_cr = window.last() == Some(&b'\r');
            self.swallowing = Some(Swallowing { after_cr });
            let used = skipped + window.len();
            return Found::Fault { fault: LineFault::TooLong, line: window, used };
        };
        let (line, is_whole) = match window[..end].strip_suffix(b"\r") {
            Some(line) => (line, true),
            None => (&window[..end], self.lf_ends()),
        };
        let used = skipped + end + 1;
        if !is_whole {
            self.swallowing = Some(Swallowing { after_cr: false });
        }
        if !is_whole || memchr2(b'\r', 0, line).is_some() {
            return Found::Fault { fault: LineFault::BareLineEnding, line, used };
        }
        Found::Line { line, used }
    }

    /// Goes to the true end of a faulty line: an LF alone in it does not make a second command.
    fn swallow(&self, swallowing: Swallowing, input: &[u8]) -> (usize, Option<Swallowing>) {
        let mut after_cr = swallowing.after_cr;
        let mut used = 0;
        while let Some(end) = memchr(b'\n', &input[used..]) {
            if end > 0 {
                after_cr = input[used + end - 1] == b'\r';
            }
            used += end + 1;
            if after_cr || self.lf_ends() {
                return (used, None);
            }
            after_cr = false;
        }
        if used < input.len() {
            after_cr = input.last() == Some(&b'\r');
        }
        (input.len(), Some(Swallowing { after_cr }))
    }

    fn lf_ends(&self) -> bool {
        self.bare != BareLineEndings::Reject
    }
}

impl fmt::Display for LineFault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::TooLong => "line too long",
            Self::BareLineEnding => "bare CR, bare LF or NUL in a command",
        })
    }
}

#[derive(Clone, Copy, Debug)]
struct Swallowing {
    after_cr: bool,
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::{string::String, vec::Vec};

    use super::*;

    #[test]
    fn only_crlf_ends_a_line() {
        let lines = |wire| every_split(wire, BareLineEndings::Reject);
        assert_eq!(lines(b"NOOP\r\nRSET\r\n"), ["NOOP", "RSET"]);
        assert_eq!(lines(b"NOOP\nRSET\r\nHELP\r\n"), ["!bare NOOP", "HELP"]);
        assert_eq!(lines(b"NOOP\rRSET\r\nHELP\r\n"), ["!bare NOOP\rRSET", "HELP"]);
        assert_eq!(lines(b"a\nb\nc\n\r\nHELP\r\n"), ["!bare a", "HELP"]);
        assert_eq!(lines(b"a\0\r\n\r\n"), ["!bare a\0", ""]);
        assert_eq!(lines(b"a\r\r\nb\r\n"), ["!bare a\r", "b"]);
    }

    #[test]
    fn a_lenient_reader_takes_lf_but_no_cr_within() {
        let lines = |wire| every_split(wire, BareLineEndings::Clean);
        assert_eq!(lines(b"NOOP\nRSET\r\n"), ["NOOP", "RSET"]);
        assert_eq!(lines(b"NO\rOP\nRSET\r\n"), ["!bare NO\rOP", "RSET"]);
    }

    #[test]
    fn a_long_line_is_one_fault_wherever_it_is_split() {
        for filler in 6..20 {
            let mut wire = Vec::from([b'x'; 20]);
            wire.truncate(filler);
            wire.extend_from_slice(b"\r\nNOOP\r\n");
            let got = every_split(&wire, BareLineEndings::Reject);
            if filler <= LIMIT - 2 {
                assert_eq!(got[0].len(), filler);
            } else {
                assert!(got[0].starts_with("!long"), "{filler}");
            }
            assert_eq!(got[1..], ["NOOP"], "{filler}");
        }
    }

    const LIMIT: usize = 12;

    fn every_split(wire: &[u8], bare: BareLineEndings) -> Vec<String> {
        let whole = read(&[wire], bare);
        for at in 0..wire.len() {
            assert_eq!(read(&[&wire[..at], &wire[at..]], bare), whole, "split at {at}");
        }
        let single: Vec<&[u8]> = wire.chunks(1).collect();
        assert_eq!(read(&single, bare), whole);
        whole
    }

    fn read(pieces: &[&[u8]], bare: BareLineEndings) -> Vec<String> {
        let (mut lines, mut input, mut got) = (Lines::new(LIMIT, bare), Vec::new(), Vec::new());
        for piece in pieces {
            input.extend_from_slice(piece);
            loop {
                let (text, used) = match lines.find(&input) {
                    Found::Nothing { used } => (None, used),
                    Found::Line { line, used } => (Some(("", line)), used),
                    Found::Fault { fault: LineFault::TooLong, line, used } => {
                        (Some(("!long ", line)), used)
                    }
                    Found::Fault { line, used, .. } => (Some(("!bare ", line)), used),
                };
                let is_done = text.is_none();
                got.extend(text.map(|(mark, line)| mark.chars().chain(ascii(line)).collect()));
                input.drain(..used);
                if is_done {
                    break;
                }
            }
        }
        got
    }

    fn ascii(line: &[u8]) -> impl Iterator<Item = char> {
        line.iter().map(|&byte| char::from(byte))
    }
}
