//! The messages a source sends: an exact number of octets, a header of their own, a body that
//! all of them share, so that sending one costs the formatting of a few hundred octets.

use std::fmt::Write as _;
use std::io::Write as _;
use std::rc::Rc;

use crate::token::RunId;

/// An address in which `%d` stands for the number of the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressPattern(String);

impl AddressPattern {
    /// Accepts what may stand between the angle brackets of a path, empty for the null
    /// reverse-path; refuses spaces, brackets and what is not printable ASCII.
    pub fn parse(text: &str) -> Result<Self, String> {
        let safe = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'<' | b'>');
        if text.len() <= ADDRESS_LENGTH_MAX && text.bytes().all(safe) {
            return Ok(Self(text.to_owned()));
        }
        Err(format!("an address has at most {ADDRESS_LENGTH_MAX} printable characters"))
    }

    /// Appends the address for one message.
    pub fn write(&self, sequence: u64, out: &mut Vec<u8>) {
        let mut parts = self.0.split("%d");
        out.extend_from_slice(parts.next().unwrap_or_default().as_bytes());
        for part in parts {
            write!(out, "{sequence}").expect("a Vec takes all");
            out.extend_from_slice(part.as_bytes());
        }
    }

    fn is_null(&self) -> bool {
        self.0.is_empty()
    }
}

/// What all messages of a run have in common.
#[derive(Debug)]
pub struct MessagePattern {
    pub run: RunId,
    pub from: AddressPattern,
    pub to: Vec<AddressPattern>,
    /// Domain of the Message-ID.
    pub domain: String,
    /// The Date field's value, the same for the whole run.
    pub date: String,
    /// Octets of each content, header and body, without the line that ends it.
    pub size: usize,
}

impl MessagePattern {
    /// Appends the token of a message.
    pub fn write_token(&self, sequence: u64, out: &mut Vec<u8>) {
        write!(out, "{}-{sequence}", self.run).expect("a Vec takes all");
    }

    /// Replaces `out` by the header of a message and the empty line behind it.
    pub fn write_header(&self, sequence: u64, out: &mut Vec<u8>) {
        out.clear();
        let Self { run, domain, date, .. } = self;
        write!(out, "X-Perf-Token: {run}-{sequence}\r\n").expect("a Vec takes all");
        write!(out, "Message-ID: <{run}-{sequence}@{domain}>\r\nFrom: <").expect("a Vec takes all");
        if self.from.is_null() {
            write!(out, "MAILER-DAEMON@{domain}").expect("a Vec takes all");
        } else {
            self.from.write(sequence, out);
        }
        out.extend_from_slice(b">\r\nTo: ");
        for (index, recipient) in self.to.iter().take(RECIPIENTS_SHOWN_MAX).enumerate() {
            out.extend_from_slice(if index == 0 { b"<" } else { b",\r\n\t<" });
            recipient.write(sequence, out);
            out.push(b'>');
        }
        write!(out, "\r\nSubject: Load message {sequence} of run {run}\r\nDate: {date}\r\n\r\n")
            .expect("a Vec takes all");
    }

    /// The smallest size that has room for the header of any message up to this one, and a line.
    pub fn size_min(&self, sequence_max: u64) -> usize {
        let mut header = Vec::new();
        self.write_header(sequence_max, &mut header);
        header.len() + 2
    }

    /// The body that fills a content up to its size, with the line `.` that ends it.
    ///
    /// # Panics
    ///
    /// When the size is below [`MessagePattern::size_min`].
    pub fn body_with_final_dot(&self, header_length: usize) -> Rc<[u8]> {
        assert!(header_length + 2 <= self.size, "the size was checked against size_min");
        let mut body = Vec::with_capacity(self.size - header_length + 3);
        fill_with_lines(self.size - header_length, &mut body);
        body.extend_from_slice(b".\r\n");
        body.into()
    }
}

/// The body made last. Headers of a run have few lengths, so there are few bodies.
#[derive(Debug, Default)]
pub struct BodyCache {
    made: Option<(usize, Rc<[u8]>)>,
}

impl BodyCache {
    /// The body with its final dot for a header of this length.
    pub fn body(&mut self, pattern: &MessagePattern, header_length: usize) -> Rc<[u8]> {
        match &self.made {
            Some((length, body)) if *length == header_length => Rc::clone(body),
            _ => {
                let body = pattern.body_with_final_dot(header_length);
                self.made = Some((header_length, Rc::clone(&body)));
                body
            }
        }
    }
}

/// Appends exactly `length` octets of short lines, each ended by CRLF and none by a dot begun.
fn fill_with_lines(length: usize, out: &mut Vec<u8>) {
    let end = out.len() + length;
    let mut line = String::with_capacity(LINE_LENGTH);
    let mut number = 0;
    while out.len() < end {
        let left = end - out.len();
        // One octet cannot be a line: leave none or enough for another one.
        let with_end = match left {
            _ if left <= LINE_LENGTH => left,
            _ if left == LINE_LENGTH + 1 => LINE_LENGTH - 1,
            _ => LINE_LENGTH,
        };
        line.clear();
        write!(line, "{number:08} ").expect("a String takes all");
        let text = line.bytes().chain(ALPHABET.iter().copied().cycle());
        out.extend(text.take(with_end - 2));
        out.extend_from_slice(b"\r\n");
        number += 1;
    }
}

/// Octets of a path without its brackets (RFC 5321 4.5.3.1.3).
pub const ADDRESS_LENGTH_MAX: usize = 254;

/// Recipients of one message.
pub const RECIPIENTS_MAX: usize = 1000;

/// Recipients that the To field shows.
const RECIPIENTS_SHOWN_MAX: usize = 10;

/// Octets of a body line, its CRLF included.
const LINE_LENGTH: usize = 74;

const ALPHABET: &[u8] = b"abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ 0123456789 ";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::{Search, search};

    fn pattern(size: usize) -> MessagePattern {
        let address = |text| AddressPattern::parse(text).expect("it is printable");
        MessagePattern {
            run: RunId::parse("run1").expect("letters and digits"),
            from: address("sender@perf.example"),
            to: vec![address("user%d@perf.example"), address("all@perf.example")],
            domain: "source.perf.example".to_owned(),
            date: crate::date::rfc5322(0),
            size,
        }
    }

    fn content(pattern: &MessagePattern, sequence: u64) -> Vec<u8> {
        let mut content = Vec::new();
        pattern.write_header(sequence, &mut content);
        let body = pattern.body_with_final_dot(content.len());
        content.extend_from_slice(&body);
        assert_eq!(content.split_off(content.len() - 3), b".\r\n");
        content
    }

    #[test]
    fn a_content_has_exactly_the_size_asked_for() {
        let smallest = pattern(0).size_min(1000);
        for size in smallest..smallest + 3 * LINE_LENGTH {
            for sequence in [0, 9, 10, 1000] {
                let content = content(&pattern(size), sequence);
                assert_eq!(content.len(), size);
                assert!(content.ends_with(b"\r\n"));
            }
        }
    }

    #[test]
    fn lines_are_short_and_need_no_stuffing() {
        let content = content(&pattern(10_240), 5);
        let text = String::from_utf8(content).expect("only ASCII is written");
        for line in text.split_terminator("\r\n") {
            assert!(line.len() <= 78 && !line.starts_with('.') && !line.contains(['\r', '\n']));
        }
    }

    #[test]
    fn the_header_names_the_message() {
        let content = content(&pattern(4096), 42);
        assert_eq!(search(&content), Search::Found(b"run1-42"));
        let text = String::from_utf8(content).expect("only ASCII is written");
        assert!(text.contains("\r\nTo: <user42@perf.example>,\r\n\t<all@perf.example>\r\n"));
        assert!(text.contains("\r\nMessage-ID: <run1-42@source.perf.example>\r\n"));
    }

    #[test]
    fn one_body_serves_headers_of_one_length() {
        let (pattern, mut bodies) = (pattern(4096), BodyCache::default());
        let first = bodies.body(&pattern, 300);
        assert!(Rc::ptr_eq(&first, &bodies.body(&pattern, 300)));
        assert_eq!(bodies.body(&pattern, 301).len() + 1, first.len());
    }

    #[test]
    fn addresses_cannot_break_a_command() {
        assert!(AddressPattern::parse("a@b>\r\nRSET").is_err());
        assert!(AddressPattern::parse("a b@c").is_err());
        assert!(AddressPattern::parse("").is_ok_and(|address| address.is_null()));
    }
}
