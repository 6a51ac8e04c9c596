//! Which segments still hold something that is needed, and which may go.
//!
//! Segments go oldest first. An outcome or finish record therefore never goes before the message
//! it is about: both are in one log, the message first. (A message copied forward is later than
//! its outcomes, and so carries them with it.) A segment without such records may go out of turn.

use alloc::{
    boxed::Box,
    collections::{BTreeMap, VecDeque},
};

use smallvec::SmallVec;

use super::{Ticket, progress::Progress, record::Outcome};
use crate::id::{Mid, Rid};

/// The accounting of one log.
#[derive(Debug, Default)]
pub(super) struct Live {
    segments: BTreeMap<u64, Segment>,
    holdings: BTreeMap<Mid, Holding>,
    /// What will be given up once a record is durable, in order of tickets.
    releases: VecDeque<(Ticket, Release)>,
}

/// One occurrence for each record (or piece) that keeps a segment.
pub(super) type Segments = SmallVec<[u64; 2]>;

#[derive(Debug, Default)]
struct Segment {
    /// Occurrences in holdings and releases.
    live: u32,
    /// Whether it has outcome or finish records.
    noted: bool,
}

/// What one MID keeps.
#[derive(Debug, Default)]
struct Holding {
    /// The message record and the pieces it names; empty while it has not been appended.
    message: Segments,
    /// Its newer copy that is not yet durable.
    copy: Segments,
    /// Parts that no message record names yet.
    parts: Segments,
    /// Outcomes of a message that lives in another log.
    foreign: Segments,
    /// Almost always nothing.
    progress: Option<Box<Progress>>,
    /// The message record, whose place may still be asked for.
    ticket: Ticket,
}

#[derive(Debug)]
enum Release {
    /// The message was finished.
    Finished(Segments),
    /// The copy of the message is durable; if it is still wanted, the old one is not.
    Copied(Mid),
}

impl Live {
    pub(super) fn open(&mut self, segment: u64, noted: bool) {
        self.segments.insert(segment, Segment { live: 0, noted });
    }

    pub(super) fn removed(&mut self, segment: u64) {
        let gone = self.segments.remove(&segment).expect("only known segments are removed");
        assert_eq!(gone.live, 0, "nothing needed is ever removed");
    }

    pub(super) fn segments(&self) -> usize {
        self.segments.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.holdings.is_empty() && self.releases.is_empty()
    }

    /// A segment that may be removed, given that the log has durably gone on to segment `begun`.
    pub(super) fn removable(&self, begun: u64) -> Option<u64> {
        let (&oldest, first) = self.segments.first_key_value()?;
        if oldest < begun && first.live == 0 {
            return Some(oldest);
        }
        let mut older = self.segments.range(..begun);
        older.find(|(_, segment)| segment.live == 0 && !segment.noted).map(|(&number, _)| number)
    }

    /// A message of the oldest segment whose copying would free the dead ones behind it.
    pub(super) fn reclaim(&self, begun: u64, max_dead: usize) -> Option<Mid> {
        let older = self.segments.range(..begun);
        let dead = older.filter(|(_, segment)| segment.live == 0).count();
        if dead <= max_dead {
            return None;
        }
        let (oldest, _) = self.segments.first_key_value()?;
        let mut holdings = self.holdings.iter();
        holdings
            .find(|(_, holding)| holding.copy.is_empty() && holding.message.contains(oldest))
            .map(|(&mid, _)| mid)
    }

    pub(super) fn holds_message(&self, mid: Mid) -> bool {
        self.holdings.get(&mid).is_some_and(|holding| !holding.message.is_empty())
    }

    pub(super) fn is_copying(&self, mid: Mid) -> bool {
        self.holdings.get(&mid).is_some_and(|holding| !holding.copy.is_empty())
    }

    pub(super) fn progress(&self, mid: Mid) -> Progress {
        let held = self.holdings.get(&mid).and_then(|holding| holding.progress.as_deref());
        held.cloned().unwrap_or_default()
    }

    pub(super) fn part(&mut self, mid: Mid, segment: u64) {
        self.keep(&[segment]);
        self.holdings.entry(mid).or_default().parts.push(segment);
    }

    /// A message record was appended; `segments` are its own and those of the pieces it names.
    pub(super) fn message(&mut self, mid: Mid, segments: Segments, ticket: Ticket) {
        self.keep(&segments);
        let holding = self.holdings.entry(mid).or_default();
        assert!(holding.message.is_empty(), "a message is committed once");
        holding.message = segments;
        holding.ticket = ticket;
        let parts = core::mem::take(&mut holding.parts);
        self.drop_all(&parts);
    }

    /// A copy of a message was appended, which counts instead of it once `ticket` is durable.
    pub(super) fn copy(&mut self, mid: Mid, segments: Segments, ticket: Ticket) {
        self.keep(&segments);
        let holding = self.holdings.get_mut(&mid).expect("only held messages are copied");
        holding.copy = segments;
        let parts = core::mem::take(&mut holding.parts);
        self.drop_all(&parts);
        self.releases.push_back((ticket, Release::Copied(mid)));
    }

    pub(super) fn outcome(&mut self, mid: Mid, rids: &[Rid], outcome: Outcome, segment: u64) {
        self.note(segment);
        if self.holds_message(mid) {
            let holding = self.holdings.get_mut(&mid).expect("it holds the message");
            holding.progress.get_or_insert_default().note(rids, outcome);
        } else {
            self.foreign(mid, segment);
        }
    }

    /// Outcomes of a message of another log keep their segment.
    pub(super) fn foreign(&mut self, mid: Mid, segment: u64) {
        self.note(segment);
        let foreign = &mut self.holdings.entry(mid).or_default().foreign;
        if !foreign.contains(&segment) {
            foreign.push(segment);
            self.keep(&[segment]);
        }
    }

    /// The message is finished as soon as `ticket` is durable. Gives the ticket of its record.
    pub(super) fn finish(&mut self, mid: Mid, segment: u64, ticket: Ticket) -> Ticket {
        self.note(segment);
        let holding = self.holdings.remove(&mid).expect("only held messages are finished");
        let mut segments = holding.message;
        segments.extend(holding.copy.into_iter().chain(holding.parts).chain(holding.foreign));
        self.releases.push_back((ticket, Release::Finished(segments)));
        holding.ticket
    }

    /// Parts of an aborted transaction, and outcomes of a foreign message, are not needed.
    pub(super) fn forget(&mut self, mid: Mid) {
        let Some(holding) = self.holdings.get_mut(&mid) else {
            return;
        };
        let parts = core::mem::take(&mut holding.parts);
        let foreign = core::mem::take(&mut holding.foreign);
        if holding.message.is_empty() {
            self.holdings.remove(&mid);
        }
        self.drop_all(&parts);
        self.drop_all(&foreign);
    }

    /// Takes back a message found by recovery. A segment that is gone (an operator's doing) keeps
    /// nothing; whoever reads the piece will see that it is missing.
    pub(super) fn recovered(&mut self, mid: Mid, mut segments: Segments, progress: Progress) {
        segments.retain(|segment| self.segments.contains_key(segment));
        self.message(mid, segments, Ticket(0));
        if !progress.is_empty() {
            let holding = self.holdings.get_mut(&mid).expect("it was just taken in");
            holding.progress = Some(Box::new(progress));
        }
    }

    /// Gives up what is not needed now that all records up to `durable` are durable. Not before:
    /// a message whose finish is lost comes back, and must then come back whole.
    pub(super) fn settle(&mut self, durable: Ticket) {
        while let Some((_, release)) = self.releases.pop_front_if(|(ticket, _)| *ticket <= durable)
        {
            match release {
                Release::Finished(segments) => self.drop_all(&segments),
                Release::Copied(mid) => {
                    let Some(holding) = self.holdings.get_mut(&mid) else {
                        continue;
                    };
                    let copy = core::mem::take(&mut holding.copy);
                    let old = core::mem::replace(&mut holding.message, copy);
                    self.drop_all(&old);
                }
            }
        }
    }

    fn note(&mut self, segment: u64) {
        self.segments.get_mut(&segment).expect("records are in known segments").noted = true;
    }

    fn keep(&mut self, segments: &[u64]) {
        for number in segments {
            self.segments.get_mut(number).expect("records are in known segments").live += 1;
        }
    }

    fn drop_all(&mut self, segments: &[u64]) {
        for number in segments {
            let segment = self.segments.get_mut(number).expect("what is held is not removed");
            segment.live = segment.live.checked_sub(1).expect("each is given up once");
        }
    }
}
