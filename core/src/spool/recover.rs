//! What a restart finds: the messages not finished, and how each log goes on.
//!
//! All segments of all logs are folded, because the number of shards may have changed. The fold
//! changes nothing on the disk, so a crash during it costs nothing.

use alloc::{collections::BTreeMap, vec::Vec};

use smallvec::SmallVec;

use super::{
    Piece, Place,
    live::{Live, Segments},
    progress::{Progress, Remaining},
    record::Accepted,
    scan::{Found, Scan},
};
use crate::id::Mid;

/// The fold over all segments: logs in any order, the segments of one log in any order.
#[derive(Default)]
pub struct Recovery {
    entries: BTreeMap<Mid, Entry>,
    /// For each log its segments, and whether they hold outcomes or finishes.
    logs: BTreeMap<u16, BTreeMap<u64, bool>>,
    damaged: Vec<Damaged>,
    damaged_count: u64,
    highest: Mid,
    scan: Option<(u16, u64, Scan)>,
}

/// What was found.
pub struct Recovered {
    /// Messages that are not finished, in order of their numbers.
    pub messages: Vec<Queued>,
    /// Regions that are no record although records follow: bit rot, or what a crash left of a
    /// batch that was never acknowledged. At most [`MAX_DAMAGED`] are listed.
    pub damaged: Vec<Damaged>,
    /// All damaged regions, listed or not.
    pub damaged_count: u64,
    /// No greater number was ever given to a message.
    pub highest: Mid,
    resumes: BTreeMap<u16, Resume>,
}

/// A message that waits for delivery.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Queued {
    /// Its number.
    pub mid: Mid,
    /// The log it lives in.
    pub log: u16,
    /// All but the content.
    pub accepted: Accepted,
    /// The header block.
    pub header: Piece,
    /// The body, in order. A reader checks each piece: one whose record was damaged does not
    /// verify.
    pub body: Vec<Piece>,
    /// Recipients not yet delivered or bounced. May be empty: then only the finish was lost, and
    /// the driver appends it.
    pub remaining: Vec<Remaining>,
}

/// A region of a segment that is no record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Damaged {
    pub log: u16,
    pub segment: u64,
    /// Octets from the start of the file.
    pub offset: u64,
    /// Octets.
    pub length: u64,
}

/// How a log goes on; for [`super::log::Log::resume`].
pub struct Resume {
    pub(super) log: u16,
    pub(super) next_segment: u64,
    pub(super) highest: Mid,
    pub(super) live: Live,
}

/// What is known of one MID so far.
#[derive(Default)]
struct Entry {
    newest: Option<Newest>,
    progress: Progress,
    finished: bool,
    /// Segments with its outcomes.
    noted: SmallVec<[(u16, u64); 2]>,
}

/// The latest message record of a MID.
struct Newest {
    at: (u16, u64, u64),
    accepted: Accepted,
    spilled: Vec<Piece>,
    place: Place,
}

impl Recovery {
    /// Nothing read yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The octets that follow are those of this segment, from its start. Every file there is must
    /// be named here, even one without octets.
    ///
    /// The driver syncs each file before it reads it: after a mere kill of the process, what is
    /// read may not be durable yet, and all that follows is built on it. It reads past the page
    /// cache (`O_DIRECT`), which after a failed sync may show what is not on the disk.
    pub fn segment(&mut self, log: u16, segment: u64) {
        self.logs.entry(log).or_default().entry(segment).or_insert(false);
        self.scan = Some((log, segment, Scan::new(log, segment)));
    }

    /// The next octets of the segment; about 1 MiB at a time is right, any number is allowed.
    ///
    /// # Panics
    ///
    /// If no segment was named.
    pub fn block(&mut self, octets: &[u8]) {
        let (log, segment, mut scan) = self.scan.take().expect("a segment was named");
        scan.feed(octets, &mut |found| self.take(log, segment, found));
        self.scan = Some((log, segment, scan));
    }

    /// Ends the fold.
    #[must_use]
    pub fn finish(self) -> Recovered {
        let Self { entries, logs, damaged, damaged_count, highest, .. } = self;
        let mut resumes: BTreeMap<u16, Resume> = logs
            .into_iter()
            .map(|(log, found)| (log, Resume::found(log, found, highest)))
            .collect();
        let mut messages = Vec::new();
        for (mid, entry) in entries {
            let Entry { newest: Some(newest), progress, finished: false, noted } = entry else {
                continue;
            };
            let home = newest.at.0;
            for (log, segment) in noted.into_iter().filter(|&(log, _)| log != home) {
                let resume = resumes.get_mut(&log).expect("it was found there");
                resume.live.foreign(mid, segment);
            }
            let resume = resumes.get_mut(&home).expect("it was found there");
            let queued = newest.queued(mid, &progress);
            resume.live.recovered(mid, queued.segments(), progress);
            messages.push(queued);
        }
        Recovered { messages, damaged, damaged_count, highest, resumes }
    }

    fn take(&mut self, log: u16, segment: u64, found: Found) {
        match found {
            Found::Number(mid) => self.highest = self.highest.max(mid),
            Found::Message { mid, offset, meta, place } => {
                let entry = self.entry(mid);
                entry.progress.merge(&meta.progress);
                let at = (log, segment, offset);
                if !entry.finished && entry.newest.as_ref().is_none_or(|newest| newest.at < at) {
                    let (accepted, spilled) = (meta.accepted, meta.spilled);
                    entry.newest = Some(Newest { at, accepted, spilled, place });
                }
            }
            Found::Outcome { mid, rids, outcome } => {
                let entry = self.entry(mid);
                entry.progress.note(&rids, outcome);
                if !entry.noted.contains(&(log, segment)) {
                    entry.noted.push((log, segment));
                }
                self.note(log, segment);
            }
            Found::Finished { mid } => {
                let entry = self.entry(mid);
                *entry = Entry { finished: true, ..Entry::default() };
                self.note(log, segment);
            }
            Found::Damaged { offset, length } => {
                self.damaged_count += 1;
                if self.damaged.len() < MAX_DAMAGED {
                    self.damaged.push(Damaged { log, segment, offset, length });
                }
            }
        }
    }

    fn entry(&mut self, mid: Mid) -> &mut Entry {
        self.highest = self.highest.max(mid);
        self.entries.entry(mid).or_default()
    }

    fn note(&mut self, log: u16, segment: u64) {
        let segments = self.logs.get_mut(&log).expect("it was named");
        segments.insert(segment, true);
    }
}

impl Recovered {
    /// The logs that were found and not yet resumed. Those without a shard of their own are
    /// resumed by some shard too, or removed if [`Resume::is_empty`].
    pub fn logs(&self) -> impl Iterator<Item = u16> + '_ {
        self.resumes.keys().copied()
    }

    /// How this log goes on; it starts if it was not found. Once for each log.
    #[must_use]
    pub fn resume(&mut self, log: u16) -> Resume {
        self.resumes.remove(&log).unwrap_or_else(|| Resume::fresh(log, 0, self.highest))
    }
}

impl Queued {
    fn segments(&self) -> Segments {
        let mut segments: Segments = self.body.iter().map(|piece| piece.segment).collect();
        segments.push(self.header.segment);
        segments
    }
}

impl Resume {
    /// Whether nothing in the log is needed any more. Its directory may be removed once another
    /// log [has begun](super::log::Log::has_begun).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.live.is_empty()
    }

    pub(super) fn fresh(log: u16, next_segment: u64, highest: Mid) -> Self {
        Self { log, next_segment, highest, live: Live::default() }
    }

    fn found(log: u16, found: BTreeMap<u64, bool>, highest: Mid) -> Self {
        let last = found.last_key_value().map(|(&segment, _)| segment);
        let next_segment = last.map_or(0, |last| last.saturating_add(1));
        let mut live = Live::default();
        found.into_iter().for_each(|(segment, noted)| live.open(segment, noted));
        Self { log, next_segment, highest, live }
    }
}

impl Newest {
    fn queued(self, mid: Mid, progress: &Progress) -> Queued {
        let Self { at: (log, ..), accepted, spilled: mut body, place } = self;
        if place.body.length > 0 {
            body.push(place.body);
        }
        let remaining = progress.remaining(accepted.envelope.recipients.len());
        Queued { mid, log, accepted, header: place.header, body, remaining }
    }
}

/// Damaged regions that are listed; more are only counted.
pub const MAX_DAMAGED: usize = 1024;

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec;

    use super::*;
    use crate::spool::{
        log::Log,
        record::{Draft, Record},
        sample,
        segment::{DiskOp, Limits},
    };

    const LIMITS: Limits =
        Limits { segment_size: 65_536, max_segments: 9, max_pending: 1 << 20, max_dead: 9 };
    const SALT: u32 = 99;
    const SIZES: [usize; 6] = [0, 1, 300, 5_000, 12_000, 100];

    /// The octets of the one segment that these batches of records make.
    fn written(batches: &[Vec<Record>]) -> Vec<u8> {
        let mut octets = vec![0; 65_536];
        let mut log = Log::new(5, 0, SALT, LIMITS);
        let mut settle = |log: &mut Log| {
            while let Some(op) = log.next() {
                if let DiskOp::Write { segment, offset, bytes, .. } = op {
                    assert_eq!(segment, 0);
                    let chunk = bytes.concat();
                    octets[offset as usize..][..chunk.len()].copy_from_slice(&chunk);
                }
                log.done(Ok(()));
            }
        };
        settle(&mut log);
        for batch in batches {
            for record in batch {
                log.append(record.clone()).unwrap();
            }
            settle(&mut log);
        }
        octets
    }

    fn recovered(octets: &[u8], block: usize) -> Recovered {
        let mut recovery = Recovery::new();
        recovery.segment(5, 0);
        octets.chunks(block).for_each(|octets| recovery.block(octets));
        recovery.finish()
    }

    fn sample() -> Vec<u8> {
        let messages: Vec<_> =
            (1_u64..).zip(SIZES).map(|(mid, size)| sample::message(mid, size)).collect();
        let (first, second) = messages.split_at(4);
        written(&[first.to_vec(), second.to_vec()])
    }

    /// Messages whose content is what was written; panics if any was altered and still verifies.
    fn intact(recovered: &Recovered, octets: &[u8]) -> Vec<u64> {
        let is_intact = |queued: &&Queued| {
            queued.body.iter().all(|piece| {
                let start = piece.offset as usize;
                let read = &octets[start..start + piece.length as usize];
                let expected = sample::body(queued.mid.0, SIZES[queued.mid.0 as usize - 1]);
                assert_eq!(piece.verifies(read), read == expected);
                piece.verifies(read)
            })
        };
        recovered.messages.iter().filter(is_intact).map(|queued| queued.mid.0).collect()
    }

    #[test]
    fn the_size_of_blocks_does_not_matter() {
        let octets = sample();
        let whole = recovered(&octets, octets.len());
        assert_eq!(intact(&whole, &octets), [1, 2, 3, 4, 5, 6]);
        assert!(whole.damaged.is_empty() && whole.highest == Mid(6));
        for block in [1, 7, 63, 64, 65, 511, 4_096, 10_000] {
            let split = recovered(&octets, block);
            assert_eq!(split.messages, whole.messages, "{block}");
            assert!(split.damaged.is_empty());
        }
    }

    #[test]
    fn a_flipped_bit_costs_the_record_it_hit_and_no_other() {
        let octets = sample();
        let used = octets.iter().rposition(|&octet| octet != 0).expect("it is not empty") + 1;
        let step = 37;
        for bit in (0..used * 8).step_by(step) {
            let mut damaged = octets.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let recovered = recovered(&damaged, 1_000);
            let found = intact(&recovered, &damaged);
            assert!(found.len() >= SIZES.len() - 1, "bit {bit} left {found:?}");
            let is_last = found == [1, 2, 3, 4, 5];
            assert!(found.len() == SIZES.len() || is_last || recovered.damaged_count == 1);
        }
    }

    #[test]
    fn a_body_that_looks_like_records_is_not_taken_for_them() {
        // A peer that knows everything but the salt, and damage to the header of its message.
        let forged = |salt| {
            let Record::Message(message) = sample::message(66, 10) else { panic!() };
            let meta = message.meta(&Progress::default());
            let (chunks, _) = Draft::message(message, meta).lay(5, 0, 4160, salt);
            chunks.concat()
        };
        for (salt, expected) in [(98, vec![2]), (SALT, vec![2, 66])] {
            let carrier = Record::Part { mid: Mid(1), bytes: vec![forged(salt).into()] };
            let mut octets = written(&[vec![carrier], vec![sample::message(2, 10)]]);
            assert_eq!(&octets[4160..4164], b"\xA5RPS");
            octets[4096 + 1] ^= 1;
            let recovered = recovered(&octets, 4_096);
            let mids: Vec<u64> = recovered.messages.iter().map(|queued| queued.mid.0).collect();
            assert_eq!(mids, expected, "only who knows the salt is believed");
            assert_eq!(recovered.damaged_count, 1);
        }
    }

    #[test]
    fn a_segment_of_another_number_or_log_holds_nothing() {
        let octets = sample();
        for (log, segment) in [(5, 1), (4, 0)] {
            let mut recovery = Recovery::new();
            recovery.segment(log, segment);
            recovery.block(&octets);
            let recovered = recovery.finish();
            assert!(recovered.messages.is_empty() && recovered.highest == Mid(0));
        }
    }

    #[test]
    fn a_finish_holds_whichever_log_is_read_first() {
        let octets = written(&[
            vec![sample::message(1, 10), sample::message(2, 10)],
            vec![Record::Finished { mid: Mid(1) }],
        ]);
        let mut recovered = recovered(&octets, 4_096);
        assert_eq!(recovered.messages.len(), 1);
        assert_eq!(recovered.messages[0].mid, Mid(2));
        assert_eq!(recovered.logs().collect::<Vec<_>>(), [5]);
        assert!(!recovered.resume(5).is_empty());
        let fresh = recovered.resume(6);
        assert!(fresh.is_empty() && fresh.highest == Mid(2));
    }
}
