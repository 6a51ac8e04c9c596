//! Reads the records of one segment out of its octets, given in blocks of any size.
//!
//! Damage costs what it hit: a header that verifies vouches for its lengths, so bad content is
//! stepped over; where a header is bad the next good one is searched for at every place a record
//! may begin.

use alloc::{boxed::Box, vec::Vec};

use crc32c::{crc32c, crc32c_append};
use memchr::memmem;

use super::{
    BLOCK, Place,
    envelope::{self, Meta},
    record::{ALIGNMENT, HEADER, Header, Kind, MAGIC, Outcome, padded},
};
use crate::id::{Mid, Rids};

/// A scan of one segment.
pub(super) struct Scan {
    log: u16,
    segment: u64,
    /// The salt of this segment, once a header was found.
    salt: Option<u32>,
    /// Offset of the first octet that was not looked at: the first of `carry`, if there is any.
    position: u64,
    /// The beginning of what may be a header.
    carry: Vec<u8>,
    /// The record that is being read.
    reading: Option<Reading>,
    /// Where the last good record ended.
    good: u64,
    /// Whether anything but zeros was seen since.
    dirty: bool,
}

/// Something a segment holds.
#[derive(Debug)]
pub(super) enum Found {
    /// The first record, or a part: only the number matters to recovery.
    Number(Mid),
    Message {
        mid: Mid,
        offset: u64,
        meta: Box<Meta>,
        place: Place,
    },
    Outcome {
        mid: Mid,
        rids: Rids,
        outcome: Outcome,
    },
    Finished {
        mid: Mid,
    },
    /// `length` octets at `offset` are no record, but valid records follow.
    Damaged {
        offset: u64,
        length: u64,
    },
}

/// A record whose header is good.
#[derive(Debug)]
struct Reading {
    header: Header,
    meta: Vec<u8>,
    /// Octets that were taken in after the header.
    taken: u64,
    header_checksum: u32,
    body_checksum: u32,
}

impl Scan {
    pub(super) fn new(log: u16, segment: u64) -> Self {
        let (carry, reading, good, dirty) = (Vec::new(), None, 0, false);
        Self { log, segment, salt: None, position: 0, carry, reading, good, dirty }
    }

    /// Takes in the next octets of the segment.
    pub(super) fn feed(&mut self, mut octets: &[u8], found: &mut dyn FnMut(Found)) {
        while !octets.is_empty() {
            let used = match &mut self.reading {
                Some(reading) => reading.take(octets),
                None if self.carry.is_empty() => self.seek(octets),
                None => self.complete(octets),
            };
            octets = &octets[used..];
            if self.reading.as_ref().is_some_and(Reading::is_complete) {
                self.finish(found);
            }
        }
    }

    /// Looks for a header. All octets before it, or before what may be the start of one, are used.
    fn seek(&mut self, octets: &[u8]) -> usize {
        // No header begins with a zero, and most of a segment that is not full is zeros.
        let mut from = octets.chunks(ZEROS.len()).take_while(|chunk| is_zero(chunk)).count();
        from = octets.len().min(from * ZEROS.len());
        while let Some(index) = memmem::find(&octets[from..], &MAGIC) {
            let at = from + index;
            from = at + 1;
            if !(self.position + at as u64).is_multiple_of(ALIGNMENT) {
                continue;
            }
            let Some(candidate) = octets[at..].first_chunk::<HEADER>() else {
                break;
            };
            if let Some(header) = self.accept(candidate, self.position + at as u64) {
                self.skip(&octets[..at]);
                self.begin(header);
                return at + HEADER;
            }
        }
        // A header may begin at any aligned place among the last octets.
        let unseen = (octets.len() + 1).saturating_sub(HEADER) as u64;
        let place = (self.position + unseen).next_multiple_of(ALIGNMENT) - self.position;
        let place = octets.len().min(place as usize);
        self.skip(&octets[..place]);
        self.carry.extend_from_slice(&octets[place..]);
        octets.len()
    }

    /// Adds to the start of a header that stood at the end of the octets before.
    fn complete(&mut self, octets: &[u8]) -> usize {
        let used = octets.len().min(HEADER - self.carry.len());
        self.carry.extend_from_slice(&octets[..used]);
        let Some(candidate) = self.carry.first_chunk::<HEADER>() else {
            return used;
        };
        let header = self.accept(candidate, self.position);
        let carry = core::mem::take(&mut self.carry);
        match header {
            Some(header) => self.begin(header),
            None => {
                let mut places = (ALIGNMENT as usize..HEADER).step_by(ALIGNMENT as usize);
                let next = places.find(|&at| carry[at..].starts_with(&MAGIC)).unwrap_or(HEADER);
                self.skip(&carry[..next]);
                self.carry.extend_from_slice(&carry[next..]);
            }
        }
        used
    }

    fn accept(&self, candidate: &[u8; HEADER], offset: u64) -> Option<Header> {
        let header = Header::decode(candidate)?;
        let belongs = (header.log, header.segment, header.offset)
            == (self.log, self.segment, offset)
            && self.salt.is_none_or(|salt| salt == header.salt);
        belongs.then_some(header)
    }

    fn begin(&mut self, header: Header) {
        self.salt = Some(header.salt);
        let (header_checksum, body_checksum) = (0, 0);
        let meta = Vec::new();
        self.reading = Some(Reading { header, meta, taken: 0, header_checksum, body_checksum });
    }

    fn skip(&mut self, octets: &[u8]) {
        self.dirty |= !octets.chunks(ZEROS.len()).all(is_zero);
        self.position += octets.len() as u64;
    }

    fn finish(&mut self, found: &mut dyn FnMut(Found)) {
        let reading = self.reading.take().expect("a record was read");
        let offset = self.position;
        self.position += padded(reading.header.length());
        let Some(record) = reading.decode(self.log) else {
            self.dirty = true;
            return;
        };
        // Zeros up to the next block are how a batch ends.
        let gap = offset - self.good;
        let is_padding = gap == 0 || (gap < BLOCK && offset.is_multiple_of(BLOCK));
        if self.dirty || !is_padding {
            found(Found::Damaged { offset: self.good, length: gap });
        }
        self.dirty = false;
        self.good = self.position;
        found(record);
    }
}

impl Reading {
    fn is_complete(&self) -> bool {
        self.taken == padded(self.header.length()) - HEADER as u64
    }

    /// Takes what belongs to the record, one section at a time.
    fn take(&mut self, octets: &[u8]) -> usize {
        let Header { meta, header, body, .. } = self.header;
        let meta_end = u64::from(meta.length);
        let header_end = meta_end + u64::from(header.length);
        let body_end = header_end + u64::from(body.length);
        let total = padded(self.header.length()) - HEADER as u64;
        let ends = [meta_end, header_end, body_end, total];
        let section = ends.iter().position(|&end| self.taken < end).expect("it is not complete");
        let left = usize::try_from(ends[section] - self.taken).unwrap_or(usize::MAX);
        let octets = &octets[..octets.len().min(left)];
        match section {
            0 => self.meta.extend_from_slice(octets),
            1 => self.header_checksum = crc32c_append(self.header_checksum, octets),
            2 => self.body_checksum = crc32c_append(self.body_checksum, octets),
            _ => {}
        }
        self.taken += octets.len() as u64;
        octets.len()
    }

    /// None if a checksum is wrong or the meta section is not what the kind of record has.
    fn decode(&self, log: u16) -> Option<Found> {
        let Header { kind, mid, offset, meta, header, body, .. } = self.header;
        if crc32c(&self.meta) != meta.checksum
            || self.header_checksum != header.checksum
            || self.body_checksum != body.checksum
        {
            return None;
        }
        Some(match kind {
            Kind::Begin | Kind::Part => Found::Number(mid),
            Kind::Message => {
                let meta = Box::new(envelope::decode_message(&self.meta, log)?);
                Found::Message { mid, offset, meta, place: self.header.place() }
            }
            Kind::Outcome => {
                let (rids, outcome) = envelope::decode_outcome(&self.meta)?;
                Found::Outcome { mid, rids, outcome }
            }
            Kind::Finished => Found::Finished { mid },
        })
    }
}

/// At the speed of memory. At most as many octets as [`ZEROS`].
fn is_zero(chunk: &[u8]) -> bool {
    *chunk == ZEROS[..chunk.len()]
}

const ZEROS: [u8; 4096] = [0; 4096];
