//! Content as it comes over the wire, made plain: dot-stuffing undone (RFC 5321 4.5.2), its end
//! found, bare line endings treated by policy.
//!
//! A line ends with CRLF and with nothing else, whatever the policy; so there is exactly one octet
//! string that ends the content, and no server behind us can see another message in it.

use memchr::memchr3;

use crate::smtp::server::BareLineEndings;

/// Undoes the transfer coding of one message's content, in whatever pieces it arrives.
#[derive(Debug)]
pub struct Decoder {
    coding: Coding,
    bare: BareLineEndings,
    max_line_size: u64,
    position: Position,
    /// Octets of the current line before the next one to come.
    line_size: u64,
    has_bare: bool,
    has_long_line: bool,
}

/// How the end of the content is known.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Coding {
    /// DATA: lines are dot-stuffed, a lone dot ends the content.
    Dots,
    /// BDAT: somebody counts.
    Counted,
}

/// What the beginning of some wire octets means.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Decoded<'a> {
    /// Octets of content.
    pub text: &'a [u8],
    /// Octets of the wire that are done with.
    pub used: usize,
    /// They end the content; nothing behind them belongs to it.
    pub is_end: bool,
}

impl Decoder {
    /// A decoder at the first octet of content.
    #[must_use]
    pub const fn new(coding: Coding, bare: BareLineEndings, max_line_size: u32) -> Self {
        Self {
            coding,
            bare,
            max_line_size: max_line_size as u64,
            position: Position::LineStart,
            line_size: 0,
            has_bare: false,
            has_long_line: false,
        }
    }

    /// Decodes some of `wire`, which must not be empty; call it until all of it is used.
    pub fn decode<'a>(&mut self, wire: &'a [u8]) -> Decoded<'a> {
        let next = *wire.first().expect("the caller has something to decode");
        match (self.position, next) {
            (Position::Dot, b'\r') => self.at(Position::DotCr, 1),
            // The dot was stuffing.
            (Position::Dot, _) => self.at(Position::Middle, 0),
            (Position::DotCr, b'\n') => Decoded { text: b"", used: 1, is_end: true },
            (Position::DotCr, _) => self.at(Position::Cr, 0),
            (Position::Cr, b'\n') => {
                self.line_size = 0;
                self.position = Position::LineStart;
                Decoded { text: b"\r\n", used: 1, is_end: false }
            }
            (Position::Cr, _) => Decoded { text: self.bare_cr(), used: 0, is_end: false },
            (Position::LineStart, b'.') if self.coding == Coding::Dots => self.at(Position::Dot, 1),
            (Position::LineStart | Position::Middle, _) => self.decode_run(wire),
        }
    }

    /// The octets that were held back when a counted content ends.
    pub fn finish(&mut self) -> &'static [u8] {
        if self.position == Position::Cr { self.bare_cr() } else { b"" }
    }

    /// Whether a bare CR, bare LF or NUL was met that the policy rejects.
    #[must_use]
    pub const fn has_bare(&self) -> bool {
        self.has_bare
    }

    /// Whether a line was longer than the limit.
    #[must_use]
    pub const fn has_long_line(&self) -> bool {
        self.has_long_line
    }

    const fn at<'a>(&mut self, position: Position, used: usize) -> Decoded<'a> {
        self.position = position;
        Decoded { text: b"", used, is_end: false }
    }

    /// Goes as far as the wire can be taken literally: usually over many lines, copying nothing.
    fn decode_run<'a>(&mut self, wire: &'a [u8]) -> Decoded<'a> {
        let mut line_start = 0;
        let mut from = 0;
        loop {
            let found = memchr3(b'\r', b'\n', 0, &wire[from..]);
            let at = found.map_or(wire.len(), |offset| from + offset);
            self.has_long_line |= self.line_size + (at - line_start) as u64 > self.max_line_size;
            if at > from || found.is_none() {
                self.position = Position::Middle;
            }
            let literal = |used| Decoded { text: &wire[..at], used, is_end: false };
            if found.is_none() {
                self.line_size += (at - line_start) as u64;
                return literal(at);
            }
            match (wire[at], wire.get(at + 1)) {
                (b'\r', Some(b'\n')) => {
                    from = at + 2;
                    line_start = from;
                    self.line_size = 0;
                    self.position = Position::LineStart;
                    let is_dot_next = wire.get(from) == Some(&b'.');
                    if from == wire.len() || is_dot_next && self.coding == Coding::Dots {
                        return Decoded { text: &wire[..from], used: from, is_end: false };
                    }
                }
                (b'\r', _) => {
                    self.line_size += (at - line_start) as u64;
                    self.position = Position::Cr;
                    return literal(at + 1);
                }
                (bare, _) => {
                    self.position = Position::Middle;
                    if self.bare == BareLineEndings::Clean {
                        self.line_size += (at - line_start) as u64;
                        return if at > 0 { literal(at) } else { Self::clean(bare) };
                    }
                    self.has_bare |= self.bare == BareLineEndings::Reject;
                    from = at + 1;
                }
            }
        }
    }

    const fn clean<'a>(bare: u8) -> Decoded<'a> {
        let text: &[u8] = if bare == b'\n' { b"\r\n" } else { b"" };
        Decoded { text, used: 1, is_end: false }
    }

    fn bare_cr(&mut self) -> &'static [u8] {
        self.position = Position::Middle;
        self.line_size += 1;
        self.has_bare |= self.bare == BareLineEndings::Reject;
        if self.bare == BareLineEndings::Clean { b"\r\n" } else { b"\r" }
    }
}

/// What stands before the next octet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Position {
    /// Nothing, or CRLF.
    LineStart,
    /// A dot at the beginning of a line, not yet given out.
    Dot,
    /// That, and CR.
    DotCr,
    /// CR, not yet given out.
    Cr,
    /// Anything else.
    Middle,
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::{vec, vec::Vec};

    use super::*;

    const POLICIES: [BareLineEndings; 3] =
        [BareLineEndings::Reject, BareLineEndings::Clean, BareLineEndings::Allow];

    /// What the rules say, written for reading: the end first, then the lines, then the octets.
    fn reference(wire: &[u8], bare: BareLineEndings) -> Outcome {
        let framed = [b"\r\n", wire].concat();
        let end = framed.windows(5).position(|window| window == b"\r\n.\r\n");
        let Some(end) = end else {
            return Outcome::Unfinished;
        };
        let used = end + 3;
        let (mut text, mut has_bare) = (vec![], false);
        let mut lines = vec![];
        let mut rest = &wire[..end];
        while let Some(at) = rest.windows(2).position(|window| window == b"\r\n") {
            lines.push(&rest[..at]);
            rest = &rest[at + 2..];
        }
        assert!(rest.is_empty(), "what is before the end is whole lines");
        for line in lines {
            for &octet in line.strip_prefix(b".").unwrap_or(line) {
                let is_bare = matches!(octet, b'\r' | b'\n' | 0);
                match bare {
                    BareLineEndings::Clean if octet == 0 => {}
                    BareLineEndings::Clean if is_bare => text.extend_from_slice(b"\r\n"),
                    _ => text.push(octet),
                }
                has_bare |= is_bare && bare == BareLineEndings::Reject;
            }
            text.extend_from_slice(b"\r\n");
        }
        Outcome::Ended { text, used, has_bare }
    }

    #[derive(Debug, Eq, PartialEq)]
    enum Outcome {
        Unfinished,
        Ended { text: Vec<u8>, used: usize, has_bare: bool },
    }

    fn decoded(pieces: &[&[u8]], bare: BareLineEndings) -> Outcome {
        let mut decoder = Decoder::new(Coding::Dots, bare, 1_000);
        let (mut text, mut used) = (vec![], 0);
        for mut piece in pieces.iter().copied() {
            while !piece.is_empty() {
                let decoded = decoder.decode(piece);
                text.extend_from_slice(decoded.text);
                used += decoded.used;
                piece = &piece[decoded.used..];
                if decoded.is_end {
                    return Outcome::Ended { text, used, has_bare: decoder.has_bare() };
                }
            }
        }
        Outcome::Unfinished
    }

    #[test]
    fn every_short_string_in_every_split_is_framed_as_the_rules_say() {
        const ALPHABET: [u8; 5] = [b'\r', b'\n', b'.', 0, b'a'];
        for length in 0..=7_u32 {
            for number in 0..5_usize.pow(length) {
                let mut wire: Vec<u8> =
                    (0..length).map(|place| ALPHABET[number / 5_usize.pow(place) % 5]).collect();
                // Every string is also tried with an end behind it, so that all of them matter.
                for tail in [&b""[..], b"\r\n.\r\nz"] {
                    wire.truncate(length as usize);
                    wire.extend_from_slice(tail);
                    check(&wire);
                }
            }
        }
    }

    fn check(wire: &[u8]) {
        for bare in POLICIES {
            let want = reference(wire, bare);
            for at in 0..=wire.len() {
                let (left, right) = wire.split_at(at);
                let got = decoded(&[left, right], bare);
                assert!(got == want, "{} at {at}: {got:?}, not {want:?}", wire.escape_ascii());
            }
        }
    }

    #[test]
    fn octet_by_octet_is_the_same_as_whole() {
        let wire = b"a\r\n..b\r\n.\rc\r\n\n.\r\n.\r\n\r\r\n.\r\r\n\0\r\n.x\r\n.\r\n";
        for bare in POLICIES {
            let single: Vec<&[u8]> = wire.chunks(1).collect();
            assert_eq!(decoded(&single, bare), reference(wire, bare));
        }
    }

    #[test]
    fn counted_content_knows_no_dots() {
        for (bare, want) in [
            (BareLineEndings::Reject, &b".\r\n..\r\n.\r\na\r"[..]),
            (BareLineEndings::Clean, b".\r\n..\r\n.\r\na\r\n"),
            (BareLineEndings::Allow, b".\r\n..\r\n.\r\na\r"),
        ] {
            for size in 1..13 {
                let mut decoder = Decoder::new(Coding::Counted, bare, 1_000);
                let mut text = vec![];
                for mut piece in b".\r\n..\r\n.\r\na\r".chunks(size) {
                    while !piece.is_empty() {
                        let decoded = decoder.decode(piece);
                        assert!(!decoded.is_end);
                        text.extend_from_slice(decoded.text);
                        piece = &piece[decoded.used..];
                    }
                }
                text.extend_from_slice(decoder.finish());
                assert_eq!(text, want);
                assert_eq!(decoder.has_bare(), bare == BareLineEndings::Reject);
            }
        }
    }

    #[test]
    fn the_longest_line_is_as_long_as_the_limit() {
        for size in [1, 2, 3, 100] {
            for (wire, is_long) in
                [(&b"12345\r\n12345\r\n"[..], false), (b"123456", true), (b"1\n3456\r\n", true)]
            {
                let mut decoder = Decoder::new(Coding::Dots, BareLineEndings::Reject, 5);
                for mut piece in wire.chunks(size) {
                    while !piece.is_empty() {
                        piece = &piece[decoder.decode(piece).used..];
                    }
                }
                assert_eq!(decoder.has_long_line(), is_long, "{}", wire.escape_ascii());
            }
        }
    }
}
