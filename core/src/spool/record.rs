//! What the log is made of: typed, length-prefixed, checksummed records.
//!
//! Nothing is found by looking for line ends or separators, so no sender's octets can pass for
//! structure; a reader learns every length from a header that has its own checksum.

use alloc::{sync::Arc, vec::Vec};

use bytes::{BufMut, Bytes, BytesMut};
use crc32c::{crc32c, crc32c_append};

use super::{Piece, Place, envelope, progress::Progress};
use crate::{
    envelope::Envelope,
    event::Direction,
    id::{Mid, Rids},
    message::Body,
    time::Date,
};

/// One thing to be made durable.
#[derive(Clone, Debug)]
pub enum Record {
    /// Octets of the body of a message that is still arriving (or being copied forward).
    Part { mid: Mid, bytes: Vec<Bytes> },
    /// A whole message: what it says is accepted once it is durable.
    Message(Message),
    /// What became of some recipients.
    Outcome { mid: Mid, rids: Rids, outcome: Outcome },
    /// Nothing is left to do for the message.
    Finished { mid: Mid },
}

/// A message to be committed.
#[derive(Clone, Debug)]
pub struct Message {
    /// Its number.
    pub mid: Mid,
    /// All but the content.
    pub accepted: Accepted,
    /// The header block with its last CRLF, without the empty line.
    pub header: Vec<Bytes>,
    /// The rest. What is spilled lies in parts of the same log.
    pub body: Body,
}

/// What delivery must know of a message beside its content.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Accepted {
    /// Sender, recipients and what they asked for.
    pub envelope: Arc<Envelope>,
    /// When it was accepted: its time in the queue counts from here.
    pub received: Date,
    /// Which way it goes.
    pub direction: Direction,
    /// Whether the content holds octets above 127.
    pub eight_bit: bool,
    /// The listener it came by; empty for mail made inside the gateway.
    pub listener: Arc<str>,
}

/// What became of a recipient.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// The next hop has taken responsibility.
    Delivered,
    /// It has failed for good.
    Bounced,
    /// It will be tried again at `until`, after `attempts` failed attempts.
    Deferred { until: Date, attempts: u32 },
}

impl Record {
    /// Octets on disk, padding included, without looking at the content.
    pub(super) fn size(&self, meta: usize) -> u64 {
        let none: &[Bytes] = &[];
        let (header, body) = match self {
            Self::Part { bytes, .. } => (none, bytes.as_slice()),
            Self::Message(message) => (message.header.as_slice(), message.body.chunks.as_slice()),
            Self::Outcome { .. } | Self::Finished { .. } => (none, none),
        };
        let content = header.iter().chain(body);
        padded(HEADER as u64 + meta as u64 + content.map(|chunk| chunk.len() as u64).sum::<u64>())
    }
}

impl Message {
    /// All but the content, and what became of its recipients so far, as the record keeps it.
    pub(super) fn meta(&self, progress: &Progress) -> Vec<u8> {
        envelope::encode_message(&self.accepted, &self.body.spilled, progress)
    }
}

/// Which record a header begins.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    /// The first of a segment; its MID is the highest so far.
    Begin,
    Part,
    Message,
    Outcome,
    Finished,
}

/// The fixed start of every record: [`HEADER`] octets, little-endian.
///
/// ```text
///  0 magic  4 kind  5 version  6 log  8 segment  16 mid  24 meta length  28 header length
/// 32 body length  36 meta CRC  40 header CRC  44 body CRC  48 offset  56 salt  60 CRC of 0..60
/// ```
///
/// Log, segment and offset say where it belongs, so that a stale or misplaced copy is not taken
/// for a record. The salt is a number that no sender can know: octets of a message that look like
/// a record are not taken for one, even where damage makes the reader search for the next record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    pub(super) log: u16,
    pub(super) segment: u64,
    pub(super) offset: u64,
    pub(super) salt: u32,
    pub(super) mid: Mid,
    pub(super) meta: Section,
    pub(super) header: Section,
    pub(super) body: Section,
}

/// One of the three runs of octets that follow the header of a record.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Section {
    pub(super) length: u32,
    pub(super) checksum: u32,
}

/// A record ready to be laid out: everything but where it will lie.
pub(super) struct Draft {
    pub(super) kind: Kind,
    pub(super) mid: Mid,
    meta: Vec<u8>,
    header: Vec<Bytes>,
    body: Vec<Bytes>,
    sections: [Section; 3],
}

impl Draft {
    pub(super) fn begin(highest: Mid) -> Self {
        Self::new(Kind::Begin, highest, Vec::new(), Vec::new(), Vec::new())
    }

    pub(super) fn part(mid: Mid, bytes: Vec<Bytes>) -> Self {
        Self::new(Kind::Part, mid, Vec::new(), Vec::new(), bytes)
    }

    /// `meta` as [`Message::meta`] gives it.
    pub(super) fn message(message: Message, meta: Vec<u8>) -> Self {
        let Message { mid, header, body, .. } = message;
        Self::new(Kind::Message, mid, meta, header, body.chunks)
    }

    /// `meta` as [`envelope::encode_outcome`] gives it.
    pub(super) fn outcome(mid: Mid, meta: Vec<u8>) -> Self {
        Self::new(Kind::Outcome, mid, meta, Vec::new(), Vec::new())
    }

    pub(super) fn finished(mid: Mid) -> Self {
        Self::new(Kind::Finished, mid, Vec::new(), Vec::new(), Vec::new())
    }

    fn new(kind: Kind, mid: Mid, meta: Vec<u8>, header: Vec<Bytes>, body: Vec<Bytes>) -> Self {
        let sections = [
            Section::of(core::iter::once(meta.as_slice())),
            Section::of(header.iter().map(Bytes::as_ref)),
            Section::of(body.iter().map(Bytes::as_ref)),
        ];
        Self { kind, mid, meta, header, body, sections }
    }

    /// Octets on disk, padding included.
    pub(super) fn size(&self) -> u64 {
        let [meta, header, body] = self.sections;
        padded(HEADER as u64 + meta.size() + header.size() + body.size())
    }

    /// Appends the record to a batch as it must stand at this place, and says where its content is.
    pub(super) fn lay(self, log: u16, segment: u64, offset: u64, salt: u32) -> (Vec<Bytes>, Place) {
        let size = self.size();
        let [meta, header, body] = self.sections;
        let Self { kind, mid, .. } = self;
        let start = Header { kind, log, segment, offset, salt, mid, meta, header, body };
        let mut first = BytesMut::with_capacity(HEADER + self.meta.len());
        first.put_slice(&start.encode());
        first.put_slice(&self.meta);
        let mut chunks = Vec::with_capacity(self.header.len() + self.body.len() + 2);
        chunks.push(first.freeze());
        chunks.extend(self.header);
        chunks.extend(self.body);
        let padding = size - start.length();
        if padding > 0 {
            chunks.push(Bytes::from_static(&ZEROS[..padding as usize]));
        }
        (chunks, start.place())
    }
}

impl Section {
    fn of<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> Self {
        let (length, checksum) = chunks.fold((0_u64, 0), |(length, checksum), chunk| {
            (length + chunk.len() as u64, crc32c_append(checksum, chunk))
        });
        // Longer ones are refused by their size before they are laid out; see `Log::append`.
        Self { length: u32::try_from(length).unwrap_or(u32::MAX), checksum }
    }

    fn size(self) -> u64 {
        u64::from(self.length)
    }
}

impl Header {
    /// Octets of the record without its padding.
    pub(super) fn length(&self) -> u64 {
        HEADER as u64 + self.meta.size() + self.header.size() + self.body.size()
    }

    /// Where the content lies.
    pub(super) fn place(&self) -> Place {
        let Self { log, segment, .. } = *self;
        let piece = |offset, section: Section| Piece {
            log,
            segment,
            offset,
            length: section.length,
            checksum: section.checksum,
        };
        let header = self.offset + HEADER as u64 + self.meta.size();
        let body = header + self.header.size();
        Place { header: piece(header, self.header), body: piece(body, self.body) }
    }

    pub(super) fn encode(&self) -> [u8; HEADER] {
        let mut octets = [0; HEADER];
        octets[..4].copy_from_slice(&MAGIC);
        octets[4] = self.kind.code();
        octets[5] = VERSION;
        octets[6..8].copy_from_slice(&self.log.to_le_bytes());
        octets[8..16].copy_from_slice(&self.segment.to_le_bytes());
        octets[16..24].copy_from_slice(&self.mid.0.to_le_bytes());
        octets[24..28].copy_from_slice(&self.meta.length.to_le_bytes());
        octets[28..32].copy_from_slice(&self.header.length.to_le_bytes());
        octets[32..36].copy_from_slice(&self.body.length.to_le_bytes());
        octets[36..40].copy_from_slice(&self.meta.checksum.to_le_bytes());
        octets[40..44].copy_from_slice(&self.header.checksum.to_le_bytes());
        octets[44..48].copy_from_slice(&self.body.checksum.to_le_bytes());
        octets[48..56].copy_from_slice(&self.offset.to_le_bytes());
        octets[56..60].copy_from_slice(&self.salt.to_le_bytes());
        let checksum = crc32c(&octets[..60]);
        octets[60..].copy_from_slice(&checksum.to_le_bytes());
        octets
    }

    /// None if these octets are not a header of this version.
    pub(super) fn decode(octets: &[u8; HEADER]) -> Option<Self> {
        if octets[..4] != MAGIC || octets[5] != VERSION {
            return None;
        }
        if crc32c(&octets[..60]) != four(octets, 60) {
            return None;
        }
        let section = |length, checksum| Section {
            length: four(octets, length),
            checksum: four(octets, checksum),
        };
        Some(Self {
            kind: Kind::from_code(octets[4])?,
            log: u16::from_le_bytes([octets[6], octets[7]]),
            segment: eight(octets, 8),
            mid: Mid(eight(octets, 16)),
            meta: section(24, 36),
            header: section(28, 40),
            body: section(32, 44),
            offset: eight(octets, 48),
            salt: four(octets, 56),
        })
    }
}

impl Kind {
    const fn code(self) -> u8 {
        match self {
            Self::Begin => 1,
            Self::Part => 2,
            Self::Message => 3,
            Self::Outcome => 4,
            Self::Finished => 5,
        }
    }

    const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Begin),
            2 => Some(Self::Part),
            3 => Some(Self::Message),
            4 => Some(Self::Outcome),
            5 => Some(Self::Finished),
            _ => None,
        }
    }
}

/// The place of the next record after one of `length` octets.
pub(super) const fn padded(length: u64) -> u64 {
    length.next_multiple_of(ALIGNMENT)
}

fn four(octets: &[u8; HEADER], at: usize) -> u32 {
    u32::from_le_bytes(octets[at..at + 4].try_into().expect("four octets"))
}

fn eight(octets: &[u8; HEADER], at: usize) -> u64 {
    u64::from_le_bytes(octets[at..at + 8].try_into().expect("eight octets"))
}

/// Octets of a record header.
pub(super) const HEADER: usize = 64;
/// Every record begins at a multiple of this, in octets.
pub(super) const ALIGNMENT: u64 = 8;
/// What every record begins with.
pub(super) const MAGIC: [u8; 4] = *b"\xA5RPS";
/// The format of records. A reader that knows another one leaves the file alone.
const VERSION: u8 = 1;
const ZEROS: [u8; ALIGNMENT as usize] = [0; ALIGNMENT as usize];

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec;

    use super::*;

    #[test]
    fn a_header_survives_its_encoding_and_no_flipped_bit_does() {
        let section = |length| Section { length, checksum: length ^ 0x5a5a };
        let header = Header {
            kind: Kind::Message,
            log: 3,
            segment: 1 << 40,
            offset: 4096,
            salt: 77,
            mid: Mid(u64::MAX),
            meta: section(1),
            header: section(2),
            body: section(u32::MAX),
        };
        let octets = header.encode();
        assert_eq!(Header::decode(&octets), Some(header));
        for bit in 0..HEADER * 8 {
            let mut damaged = octets;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::decode(&damaged), None, "bit {bit}");
        }
    }

    #[test]
    fn a_laid_record_says_where_its_content_is() {
        let body = vec![Bytes::from_static(b"abc"), Bytes::from_static(b"defg")];
        let draft = Draft::part(Mid(9), body);
        assert_eq!(draft.size(), 72);
        let (chunks, place) = draft.lay(1, 2, 4096, 0);
        let octets: Vec<u8> = chunks.concat();
        assert_eq!(octets.len(), 72);
        assert_eq!((place.body.offset, place.body.length), (4096 + 64, 7));
        assert!(place.body.verifies(&octets[64..71]));
        assert_eq!(place.header.length, 0);
    }
}
