//! The content of one message while it comes in: header and body apart, limits watched.
//!
//! A limit that is passed does not end the content, only its storage: what follows is still
//! counted and judged, so that the same octets get the same reply in whatever pieces they came.

use alloc::vec::Vec;
use core::mem;

use bytes::{Bytes, BytesMut};
use memchr::memchr;

use super::{Settings, replies};
use crate::{message::Body, smtp::reply::Reply, spool::Piece};

#[derive(Debug)]
pub(super) struct Content {
    limits: ContentLimits,
    part: Part,
    /// Whole lines of header block, and the line that has not ended.
    header: Vec<u8>,
    /// Where the line that has not ended begins.
    line_start: usize,
    hops: u32,
    spilled: Vec<Piece>,
    blocks: Vec<Bytes>,
    block: BytesMut,
    in_memory: u64,
    size: u64,
    is_eight_bit: bool,
    last: [u8; 2],
    faults: Faults,
}

/// The content of one message, whole and within the limits.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) header: Bytes,
    pub(super) body: Body,
    pub(super) size: u64,
    pub(super) is_eight_bit: bool,
}

/// What is wrong with the content. Which reply it gets depends on the kinds of faults, not on
/// which was met first, for that may depend on how the octets were split.
#[derive(Clone, Copy, Debug, Default)]
struct Faults {
    size: bool,
    header: bool,
    hops: bool,
    line: bool,
    bare: bool,
    storage: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Part {
    Header,
    Body,
}

#[derive(Clone, Copy, Debug)]
struct ContentLimits {
    size: u64,
    header_size: usize,
    hops: u32,
    spill_size: u64,
}

impl Content {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            limits: ContentLimits {
                size: settings.max_message_size,
                header_size: settings.max_header_size as usize,
                hops: settings.max_hops,
                spill_size: u64::from(settings.spill_size),
            },
            part: Part::Header,
            header: Vec::new(),
            line_start: 0,
            hops: 0,
            spilled: Vec::new(),
            blocks: Vec::new(),
            block: BytesMut::new(),
            in_memory: 0,
            size: 0,
            is_eight_bit: false,
            last: [0; 2],
            faults: Faults::default(),
        }
    }

    /// Takes octets from which the transfer coding has been removed.
    pub(super) fn push(&mut self, text: &[u8]) {
        match text {
            [] => return,
            [.., a, b] => self.last = [*a, *b],
            [b] => self.last = [self.last[1], *b],
        }
        self.size += text.len() as u64;
        self.is_eight_bit = self.is_eight_bit || !text.is_ascii();
        let text = if self.part == Part::Header { self.push_header(text) } else { text };
        self.push_body(text);
        if self.size > self.limits.size {
            self.refuse(|faults| faults.size = true);
        }
    }

    /// What the decoder has seen.
    pub(super) fn note(&mut self, has_bare: bool, has_long_line: bool) {
        if has_bare || has_long_line {
            self.refuse(|faults| {
                faults.bare = has_bare;
                faults.line = has_long_line;
            });
        }
    }

    /// Body to be moved to the spool, if there is too much of it in memory.
    pub(super) fn spill(&mut self) -> Option<Vec<Bytes>> {
        if self.in_memory <= self.limits.spill_size {
            return None;
        }
        self.close_block(0);
        self.in_memory = 0;
        Some(mem::take(&mut self.blocks))
    }

    /// Where what [`Self::spill`] gave went, or none if it could not be stored.
    pub(super) fn spilled(&mut self, piece: Option<Piece>) {
        match piece {
            Some(piece) => self.spilled.push(piece),
            None => self.refuse(|faults| faults.storage = true),
        }
    }

    /// The reply, if what has come so far is already refused.
    pub(super) fn refusal(&self) -> Option<Reply> {
        let faults = self.faults;
        [
            (faults.size, replies::TOO_LARGE),
            (faults.header, replies::HEADER_TOO_LARGE),
            (faults.hops, replies::TOO_MANY_HOPS),
            (faults.line, replies::CONTENT_LINE_TOO_LONG),
            (faults.bare, replies::BARE_IN_CONTENT),
            (faults.storage, replies::NO_STORAGE),
        ]
        .into_iter()
        .find_map(|(is_present, reply)| is_present.then_some(reply))
    }

    /// The content, which has ended.
    ///
    /// A last line without CRLF, which only BDAT can send, is given one: no later hop that is
    /// sent DATA could do without.
    pub(super) fn finish(mut self) -> Result<Whole, Reply> {
        if self.size > 0 && self.last != *b"\r\n" {
            self.push(b"\r\n");
        }
        if let Some(reply) = self.refusal() {
            return Err(reply);
        }
        self.close_block(0);
        Ok(Whole {
            header: self.header.into(),
            body: Body { spilled: self.spilled, chunks: self.blocks },
            size: self.size,
            is_eight_bit: self.is_eight_bit,
        })
    }

    /// Takes what belongs to the header block and gives back the rest.
    fn push_header<'a>(&mut self, mut text: &'a [u8]) -> &'a [u8] {
        while self.part == Part::Header && !text.is_empty() {
            let size = memchr(b'\n', text).map_or(text.len(), |lf| lf + 1);
            self.header.extend_from_slice(&text[..size]);
            text = &text[size..];
            // The empty line does not count, so a line in progress has two octets of grace.
            let is_too_large = self.header.len() > self.limits.header_size + 2;
            if is_too_large {
                self.end_header_too_large();
            } else if self.header[self.line_start..].ends_with(b"\r\n") {
                self.proceed_header_line();
            }
        }
        text
    }

    fn proceed_header_line(&mut self) {
        match HeaderLine::of(&self.header[self.line_start..], self.line_start == 0) {
            HeaderLine::Field { is_received } => {
                self.hops += u32::from(is_received);
                if self.hops > self.limits.hops {
                    self.refuse(|faults| faults.hops = true);
                }
            }
            HeaderLine::Continuation => {}
            HeaderLine::Empty => {
                self.header.truncate(self.line_start);
                self.part = Part::Body;
                self.push_body(b"\r\n");
                return;
            }
            HeaderLine::Foreign => {
                // Text where a field should be: the body begins here. It is given the empty line
                // that is missing, or the fields we add would swallow it.
                let line = self.header.split_off(self.line_start);
                self.part = Part::Body;
                self.size += 2;
                self.push_body(b"\r\n");
                self.push_body(&line);
                return;
            }
        }
        self.line_start = self.header.len();
        if self.line_start > self.limits.header_size {
            self.end_header_too_large();
        }
    }

    fn end_header_too_large(&mut self) {
        self.part = Part::Body;
        self.header = Vec::new();
        self.refuse(|faults| faults.header = true);
    }

    fn push_body(&mut self, mut text: &[u8]) {
        if self.faults.is_any() {
            return;
        }
        self.in_memory += text.len() as u64;
        while !text.is_empty() {
            let room = self.block.capacity() - self.block.len();
            if room == 0 {
                self.close_block(text.len());
                continue;
            }
            let (now, later) = text.split_at(text.len().min(room));
            self.block.extend_from_slice(now);
            text = later;
        }
    }

    /// Starts another block with room for at least part of `needed` octets. Blocks grow with the
    /// message: a small one must not hold 64 KiB for as long as it is queued.
    fn close_block(&mut self, needed: usize) {
        let grown = usize::try_from(self.in_memory).unwrap_or(MAX_BLOCK_SIZE);
        let capacity = match needed {
            0 => 0,
            _ => needed.max(grown).clamp(MIN_BLOCK_SIZE, MAX_BLOCK_SIZE),
        };
        let full = mem::replace(&mut self.block, BytesMut::with_capacity(capacity));
        if !full.is_empty() {
            self.blocks.push(full.freeze());
        }
    }

    fn refuse(&mut self, note: impl FnOnce(&mut Faults)) {
        note(&mut self.faults);
        self.blocks = Vec::new();
        self.block = BytesMut::new();
        self.in_memory = 0;
    }
}

impl Faults {
    const fn is_any(self) -> bool {
        self.size || self.header || self.hops || self.line || self.bare || self.storage
    }
}

enum HeaderLine {
    Field { is_received: bool },
    Continuation,
    Empty,
    Foreign,
}

impl HeaderLine {
    /// Judges a line with its CRLF (RFC 5322 2.2).
    fn of(line: &[u8], is_first: bool) -> Self {
        match line {
            b"\r\n" => return Self::Empty,
            [b' ' | b'\t', ..] if !is_first => return Self::Continuation,
            _ => {}
        }
        let Some(colon) = memchr(b':', line) else {
            return Self::Foreign;
        };
        let name = line[..colon].trim_ascii_end();
        if name.is_empty() || !name.iter().all(u8::is_ascii_graphic) {
            return Self::Foreign;
        }
        Self::Field { is_received: name.eq_ignore_ascii_case(b"Received") }
    }
}

/// Octets of the first block of a body.
const MIN_BLOCK_SIZE: usize = 4_096;
/// Octets of a block of a long body.
const MAX_BLOCK_SIZE: usize = 65_536;

#[cfg(test)]
mod tests {
    extern crate std;

    use alloc::sync::Arc;
    use std::{format, string::String, vec};

    use super::*;
    use crate::smtp::server::{BareLineEndings, Limits, TlsOffer};

    fn settings() -> Settings {
        Settings {
            hostname: Arc::from("mx.example"),
            banner: None,
            banner_code: 220,
            max_message_size: 200_000,
            max_messages: 10,
            max_recipients: 10,
            max_header_size: 40,
            max_hops: 2,
            tls: TlsOffer::Off,
            bare: BareLineEndings::Reject,
            relay: false,
            limits: Limits::default(),
            spill_size: 1_000_000,
        }
    }

    fn read(text: &[u8], size: usize) -> Result<(String, String), u16> {
        let mut content = Content::new(&settings());
        for piece in text.chunks(size) {
            content.push(piece);
        }
        let whole = content.finish().map_err(|reply| reply.code)?;
        let body = whole.body.chunks.concat();
        assert_eq!(whole.size, (whole.header.len() + body.len()) as u64);
        let string = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok((string(&whole.header), string(&body)))
    }

    #[test]
    fn the_header_ends_at_the_empty_line_or_before_what_is_no_field() {
        for (text, header, body) in [
            ("", "", ""),
            ("\r\n", "", "\r\n"),
            ("\r\na\r\n", "", "\r\na\r\n"),
            ("A: b\r\n", "A: b\r\n", ""),
            ("A: b\r\n c\r\n\r\nd\r\n", "A: b\r\n c\r\n", "\r\nd\r\n"),
            ("A : b\r\n\r\n\r\n", "A : b\r\n", "\r\n\r\n"),
            ("hello\r\nA: b\r\n", "", "\r\nhello\r\nA: b\r\n"),
            ("A: b\r\nhello\r\n", "A: b\r\n", "\r\nhello\r\n"),
            (" A: b\r\n", "", "\r\n A: b\r\n"),
            ("A: b\r\n\r\nno end", "A: b\r\n", "\r\nno end\r\n"),
            ("A: b", "A: b\r\n", ""),
            ("A: b\n\nc\r\n\r\nd\r\n", "A: b\n\nc\r\n", "\r\nd\r\n"),
        ] {
            for size in [1, 2, 3, 5, 100] {
                let want = Ok((String::from(header), String::from(body)));
                assert_eq!(read(text.as_bytes(), size), want, "{text:?} by {size}");
            }
        }
    }

    #[test]
    fn the_header_may_be_as_large_as_the_limit() {
        let header = |size: usize| format!("A: {}\r\n", "x".repeat(size - 5));
        for split in [1, 7, 1_000] {
            for tail in ["", "\r\n", "\r\nbody\r\n"] {
                assert!(read((header(40) + tail).as_bytes(), split).is_ok());
                assert_eq!(read((header(41) + tail).as_bytes(), split), Err(552));
            }
            let lines = header(20) + &header(21) + "\r\n";
            assert_eq!(read(lines.as_bytes(), split), Err(552));
        }
    }

    #[test]
    fn hops_are_counted_in_the_header_only() {
        let two = "Received: a\r\nRECEIVED :b\r\n";
        assert!(read(format!("{two}\r\nReceived: c\r\n").as_bytes(), 4).is_ok());
        assert_eq!(read(format!("{two}Received:\r\n\r\n").as_bytes(), 4), Err(554));
    }

    #[test]
    fn size_is_limited_and_blocks_grow() {
        let body = vec![b'x'; 199_990];
        let text = [b"A: b\r\n\r\n", &body[..], b"\r\n"].concat();
        assert_eq!(read(&[&text, &b"\r\n"[..]].concat(), 1_000), Err(552));
        let mut content = Content::new(&settings());
        for piece in text.chunks(1_000) {
            content.push(piece);
        }
        let chunks = content.finish().expect("within the limit").body.chunks;
        assert!(chunks.len() < 10 && chunks[0].len() == MIN_BLOCK_SIZE);
        assert_eq!(chunks.iter().map(Bytes::len).max(), Some(MAX_BLOCK_SIZE));
    }

    #[test]
    fn what_is_spilled_leaves_memory() {
        let mut content = Content::new(&Settings { spill_size: 10, ..settings() });
        content.push(b"A: b\r\n\r\n12345678");
        assert!(content.spill().is_none());
        content.push(b"9\r\n");
        let spill = content.spill().expect("more than ten octets").concat();
        assert_eq!(spill, b"\r\n123456789\r\n");
        content.spilled(Some(Piece { log: 0, segment: 1, offset: 2, length: 13, checksum: 4 }));
        content.push(b"end\r\n");
        let whole = content.finish().expect("within the limits");
        assert_eq!((whole.body.size(), whole.body.chunks.concat()), (18, b"end\r\n".to_vec()));
    }

    #[test]
    fn content_that_cannot_be_stored_is_refused_for_now() {
        let mut content = Content::new(&Settings { spill_size: 0, ..settings() });
        content.push(b"\r\n");
        assert!(content.spill().is_some());
        content.spilled(None);
        content.push(b"more\r\n");
        assert!(content.spill().is_none());
        assert_eq!(content.finish().map(|_| ()).map_err(|reply| reply.code), Err(452));
    }
}
