//! A reply (RFC 5321 4.2): what a server says and a client hears, with its enhanced code.

use alloc::{borrow::Cow, string::String, vec::Vec};
use core::{fmt, mem};

use memchr::memchr;

use crate::event::Status;

/// A reply as a value. Most are constants: the text borrows.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reply {
    /// 200 to 599.
    pub code: u16,
    /// RFC 2034; none where the RFC allows none (greeting, EHLO, 3yz).
    pub status: Option<Status>,
    /// Lines of text, without code, status or line ending; at least one, each printable.
    pub text: Cow<'static, str>,
}

/// Reads replies from a server, in whatever pieces they arrive (RFC 5321 4.2.1).
///
/// Memory is bounded: at most [`MAX_LINES`] lines and [`MAX_TEXT_SIZE`] octets of text are kept of
/// one reply. What is beyond is read and dropped, so that the next reply is found where it starts.
#[derive(Debug, Default)]
pub struct ReplyParser {
    /// The line that has not ended yet, without what is beyond [`MAX_LINE_SIZE`].
    line: Vec<u8>,
    /// What the earlier lines of this reply gave.
    gathered: Option<Gathered>,
}

/// Why what a server said is not a reply. Nothing after it can be trusted: close the connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BadReply {
    /// A line does not begin with a code from 200 to 599 and a space, a hyphen or its end.
    Malformed,
    /// The lines of one reply have different codes.
    CodeChanged,
}

impl Reply {
    /// A reply with an enhanced status code; `text` may hold several lines separated by `\n`.
    #[must_use]
    pub const fn new(code: u16, status: Status, text: &'static str) -> Self {
        Self { code, status: Some(status), text: Cow::Borrowed(text) }
    }

    /// Whether trying again may help (4yz).
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        self.code / 100 == 4
    }

    /// Whether trying again is useless (5yz).
    #[must_use]
    pub const fn is_permanent(&self) -> bool {
        self.code / 100 == 5
    }

    /// Whether it says yes (2yz).
    #[must_use]
    pub const fn is_positive(&self) -> bool {
        self.code / 100 == 2
    }

    /// Writes it as it goes over the wire (RFC 5321 4.2.1), each line with code and status.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut lines = self.text.split('\n').peekable();
        while let Some(line) = lines.next() {
            let separator = if lines.peek().is_some() { '-' } else { ' ' };
            let mut line_out = Line(out);
            let written = match self.status {
                Some(status) => fmt::write(
                    &mut line_out,
                    format_args!("{}{separator}{status} {line}", self.code),
                ),
                None => fmt::write(&mut line_out, format_args!("{}{separator}{line}", self.code)),
            };
            written.expect("a Vec takes everything");
            out.extend_from_slice(b"\r\n");
        }
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.status {
            Some(status) => write!(out, "{} {status} {}", self.code, self.text.replace('\n', " ")),
            None => write!(out, "{} {}", self.code, self.text.replace('\n', " ")),
        }
    }
}

impl ReplyParser {
    /// A parser that waits for the first octet of a reply.
    #[must_use]
    pub const fn new() -> Self {
        Self { line: Vec::new(), gathered: None }
    }

    /// Takes octets up to the end of one reply, and says how many it took.
    ///
    /// The reply is none as long as it is not complete; then every octet was taken.
    ///
    /// # Errors
    /// [`BadReply`], after which the parser starts afresh, but the connection should not be used.
    pub fn receive(&mut self, bytes: &[u8]) -> (usize, Result<Option<Reply>, BadReply>) {
        let mut taken = 0;
        while let Some(length) = memchr(b'\n', &bytes[taken..]) {
            self.keep(&bytes[taken..taken + length]);
            taken += length + 1;
            let mut line = mem::take(&mut self.line);
            let outcome = self.proceed_line(line.strip_suffix(b"\r").unwrap_or(&line));
            line.clear();
            self.line = line;
            match outcome {
                Ok(None) => {}
                finished => {
                    self.gathered = None;
                    return (taken, finished);
                }
            }
        }
        self.keep(&bytes[taken..]);
        (bytes.len(), Ok(None))
    }

    /// Whether part of a reply has come in.
    #[must_use]
    pub const fn is_partial(&self) -> bool {
        !self.line.is_empty() || self.gathered.is_some()
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = MAX_LINE_SIZE - self.line.len();
        self.line.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn proceed_line(&mut self, line: &[u8]) -> Result<Option<Reply>, BadReply> {
        let (code, rest) = split_code(line).ok_or(BadReply::Malformed)?;
        let (is_last, text) = match rest {
            [] => (true, rest),
            [b' ', text @ ..] => (true, text),
            [b'-', text @ ..] => (false, text),
            _ => return Err(BadReply::Malformed),
        };
        let (status, text) = split_status(code, text);
        let gathered = self.gathered.get_or_insert_with(|| Gathered {
            code,
            status,
            text: String::new(),
            lines: 0,
        });
        if gathered.code != code {
            return Err(BadReply::CodeChanged);
        }
        gathered.add(text);
        if !is_last {
            return Ok(None);
        }
        let gathered = self.gathered.take().expect("a line was just added");
        Ok(Some(Reply { code, status: gathered.status, text: Cow::Owned(gathered.text) }))
    }
}

impl fmt::Display for BadReply {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Malformed => "malformed reply",
            Self::CodeChanged => "the lines of one reply have different codes",
        })
    }
}

impl core::error::Error for BadReply {}

#[derive(Debug)]
struct Gathered {
    code: u16,
    status: Option<Status>,
    text: String,
    lines: usize,
}

impl Gathered {
    fn add(&mut self, text: &[u8]) {
        let separator = usize::from(self.lines > 0);
        if self.lines == MAX_LINES || self.text.len() + separator >= MAX_TEXT_SIZE {
            return;
        }
        if separator == 1 {
            self.text.push('\n');
        }
        let room = MAX_TEXT_SIZE - self.text.len();
        self.text.extend(text.iter().take(room).map(|&byte| printable(byte)));
        self.lines += 1;
    }
}

/// `byte` as it may be shown in a log, a DSN or a reply of ours.
#[must_use]
pub(crate) const fn printable(byte: u8) -> char {
    match byte {
        b' '..=b'~' => byte as char,
        b'\t' => ' ',
        _ => '?',
    }
}

fn split_code(line: &[u8]) -> Option<(u16, &[u8])> {
    let (digits, rest) = line.split_first_chunk::<3>()?;
    if !matches!(digits[0], b'2'..=b'5') || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some((digits.iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0')), rest))
}

/// An enhanced status code of the same class as the reply's, and the text behind it (RFC 2034 4).
fn split_status(code: u16, text: &[u8]) -> (Option<Status>, &[u8]) {
    let (word, rest) = match memchr(b' ', text) {
        Some(space) => (&text[..space], &text[space + 1..]),
        None => (text, &[][..]),
    };
    let mut numbers = word.split(|&byte| byte == b'.').map(status_number);
    match (numbers.next(), numbers.next(), numbers.next(), numbers.next()) {
        (Some(Some(class)), Some(Some(subject)), Some(Some(detail)), None)
            if class == code / 100 && class != 3 =>
        {
            let class = u8::try_from(class).expect("the class of a reply code is one digit");
            (Some(Status::new(class, subject, detail)), rest)
        }
        _ => (None, text),
    }
}

fn status_number(digits: &[u8]) -> Option<u16> {
    if digits.is_empty() || digits.len() > 3 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(digits.iter().fold(0, |number, digit| number * 10 + u16::from(digit - b'0')))
}

struct Line<'a>(&'a mut Vec<u8>);

impl fmt::Write for Line<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

/// Lines kept of one reply.
pub const MAX_LINES: usize = 64;
/// Octets of text kept of one reply.
pub const MAX_TEXT_SIZE: usize = 8_192;
/// Octets kept of one line of a reply; RFC 5321 4.5.3.1.5 allows 512.
pub const MAX_LINE_SIZE: usize = 2_048;

#[cfg(test)]
mod tests {
    extern crate std;

    use std::{string::ToString, vec};

    use super::*;

    #[test]
    fn a_reply_is_written_with_its_code_on_every_line() {
        let mut out = vec![];
        Reply::new(550, Status::new(5, 1, 1), "no\nsuch").write(&mut out);
        assert_eq!(out, b"550-5.1.1 no\r\n550 5.1.1 such\r\n");
    }

    #[test]
    fn replies_are_read_whole_and_octet_by_octet() {
        let wire = b"220 mx ready\r\n250-mx\r\n250-SIZE 10\r\n250 DSN\r\n550 5.1.1 gone\r\n354\r\n";
        let want = ["220 mx ready", "250 mx SIZE 10 DSN", "550 5.1.1 gone", "354 "];
        for size in [1, 2, 3, wire.len()] {
            assert_eq!(read_all(wire, size), Ok(want.map(ToString::to_string).to_vec()));
        }
    }

    #[test]
    fn a_status_of_another_class_is_text() {
        let (_, reply) = ReplyParser::new().receive(b"450 5.1.1 odd\r\n");
        let reply = reply.expect("well formed").expect("complete");
        assert_eq!((reply.status, &*reply.text), (None, "5.1.1 odd"));
        let (_, reply) = ReplyParser::new().receive(b"450-4.7.1 a\r\n450 4.7.1 b\r\n");
        let reply = reply.expect("well formed").expect("complete");
        assert_eq!((reply.status, &*reply.text), (Some(Status::new(4, 7, 1)), "a\nb"));
    }

    #[test]
    fn what_cannot_be_printed_is_replaced() {
        let (_, reply) = ReplyParser::new().receive(b"250 a\x1b[1m\xff\0b\r\n");
        assert_eq!(reply.expect("well formed").expect("complete").text, "a?[1m??b");
    }

    #[test]
    fn nonsense_is_an_error() {
        for wire in ["hello\r\n", "25\r\n", "199 x\r\n", "600 x\r\n", "2500\r\n", "\r\n"] {
            assert_eq!(read_all(wire.as_bytes(), 1), Err(BadReply::Malformed), "{wire:?}");
        }
        assert_eq!(read_all(b"250-a\r\n251 b\r\n", 9), Err(BadReply::CodeChanged));
    }

    #[test]
    fn excess_is_dropped_and_the_next_reply_is_found() {
        let mut wire = vec![];
        for _ in 0..1_000 {
            wire.extend_from_slice(b"250-");
            wire.extend(core::iter::repeat_n(b'x', 5_000));
            wire.extend_from_slice(b"\r\n");
        }
        wire.extend_from_slice(b"250 end\r\n220 next\r\n");
        let mut parser = ReplyParser::new();
        let (taken, reply) = parser.receive(&wire);
        let reply = reply.expect("well formed").expect("complete");
        assert!(reply.text.len() <= MAX_TEXT_SIZE && reply.text.split('\n').count() <= MAX_LINES);
        assert_eq!(&wire[taken..], b"220 next\r\n");
        assert!(!parser.is_partial());
    }

    fn read_all(wire: &[u8], size: usize) -> Result<Vec<String>, BadReply> {
        let (mut parser, mut replies) = (ReplyParser::new(), vec![]);
        for mut piece in wire.chunks(size) {
            while !piece.is_empty() {
                let (taken, reply) = parser.receive(piece);
                replies.extend(reply?.map(|reply| reply.to_string()));
                piece = &piece[taken..];
            }
        }
        Ok(replies)
    }
}
