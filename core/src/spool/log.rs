//! One shard's log: gathers records into batches and says what to write, sync, make and remove.
//!
//! Batches grow while the disk is busy and no timer is involved, so one sync serves as many
//! messages as arrived during the one before it.

use alloc::{
    boxed::Box,
    collections::{BTreeMap, VecDeque},
    vec::Vec,
};

use super::{
    Place, Ticket,
    batch::{self, Batch},
    envelope,
    live::{Live, Segments},
    progress::Progress,
    record::{Draft, Message, Record},
    recover::Resume,
    segment::{DiskError, DiskOp, Limits},
};
use crate::{id::Mid, message::Body};

/// The log of one directory, as a machine: [`append`](Self::append) gathers,
/// [`next`](Self::next) says what to do, [`done`](Self::done) takes the result.
pub struct Log {
    log: u16,
    salt: u32,
    limits: Limits,
    live: Live,
    /// The segment that is appended to, and where its gathered blocks end.
    active: Option<(u64, u64)>,
    /// Made ahead, so that outcomes have room when the disk is full.
    spare: Option<u64>,
    next_segment: u64,
    batches: VecDeque<Batch>,
    flight: Option<Flight>,
    fault: Option<DiskError>,
    /// Whether to try once more to make a segment although the disk was full.
    retry: bool,
    last: Ticket,
    durable: Ticket,
    /// The newest segment whose first record is durable.
    begun: u64,
    has_begun: bool,
    /// Octets in batches.
    pending: u64,
    highest: Mid,
    places: BTreeMap<Ticket, Place>,
}

/// Whether a log takes content.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    /// It does.
    Healthy,
    /// No segment can be made: content is refused, outcomes still have room. The driver answers
    /// 452 4.3.1 meanwhile and calls [`Log::retry_create`] from time to time.
    Full,
    /// The disk failed. Nothing becomes durable any more; every waiting ticket has failed.
    Failed,
}

/// A record that was not appended, given back: a driver that waits needs no clone.
#[derive(Clone, Debug)]
pub struct Refused {
    /// Whose fault it is, and whether to wait.
    pub why: Refusal,
    /// As it was given. Boxed, so that the common case does not carry its size.
    pub record: Box<Record>,
}

/// Why a record was not appended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refusal {
    /// No room until segments are freed; see [`State::Full`].
    Full,
    /// No room until the operation under way is done: wait for the next [`Log::done`] and append
    /// again. This is the back-pressure of the disk.
    Busy,
    /// See [`State::Failed`].
    Failed,
    /// The record can never fit a segment; see [`Limits::max_record`].
    TooLarge,
    /// The message to copy or to finish is not in this log, or a copy of it is under way.
    Unheld,
}

/// What is under way.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Flight {
    Create(u64),
    Write,
    Sync,
    Remove(u64),
}

/// How much room a record must leave.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Claim {
    /// New content: none when full.
    Content,
    /// Content moved forward in order to free segments.
    Copy,
    /// May use the reserve.
    Outcome,
}

impl Refused {
    fn new(why: Refusal, record: Record) -> Self {
        Self { why, record: Box::new(record) }
    }
}

impl Log {
    /// An empty log whose first segment will be `next_segment`. `salt` is a random number that no
    /// peer can know; see `record`.
    ///
    /// # Panics
    ///
    /// If `limits` contradict their documentation.
    #[must_use]
    pub fn new(log: u16, next_segment: u64, salt: u32, limits: Limits) -> Self {
        Self::resume(Resume::fresh(log, next_segment, Mid(0)), salt, limits)
    }

    /// Goes on after recovery. New records go to new segments.
    ///
    /// # Panics
    ///
    /// If `limits` contradict their documentation.
    #[must_use]
    pub fn resume(resume: Resume, salt: u32, limits: Limits) -> Self {
        limits.assert_valid();
        let Resume { log, next_segment, highest, live } = resume;
        Self {
            log,
            salt,
            limits,
            live,
            active: None,
            spare: None,
            next_segment,
            batches: VecDeque::new(),
            flight: None,
            fault: None,
            retry: false,
            last: Ticket(0),
            durable: Ticket(0),
            begun: 0,
            has_begun: false,
            pending: 0,
            highest,
            places: BTreeMap::new(),
        }
    }

    /// Gathers a record into the next batch. Its octets are kept, not copied.
    ///
    /// Parts and messages are refused unless the log is [`State::Healthy`]; outcomes and finishes
    /// are taken as long as there is any room at all. The outcome of a message of another log is
    /// taken too; see [`forget`](Self::forget).
    ///
    /// # Errors
    ///
    /// The record, with the reason; see [`Refusal`].
    ///
    /// # Panics
    ///
    /// If a message is appended twice, has no recipients, or names a piece of another log.
    pub fn append(&mut self, record: Record) -> Result<Ticket, Refused> {
        let claim = match &record {
            Record::Part { .. } => Claim::Content,
            Record::Message(message) => {
                assert!(!self.live.holds_message(message.mid), "a message is committed once");
                Claim::Content
            }
            Record::Finished { mid } if !self.live.holds_message(*mid) => {
                return Err(Refused::new(Refusal::Unheld, record));
            }
            Record::Outcome { .. } | Record::Finished { .. } => Claim::Outcome,
        };
        self.gather(record, claim)
    }

    /// Appends the message named by [`reclaim`](Self::reclaim) anew, under its MID. Outcomes so
    /// far go with it. Once the ticket is durable the old copy does not count; the driver then
    /// reads from the new place. The spilled pieces must be new parts, appended here before it.
    ///
    /// # Errors
    ///
    /// The record, with the reason; see [`Refusal`].
    ///
    /// # Panics
    ///
    /// If it is neither a part nor a message, or names a piece of another log.
    pub fn append_copy(&mut self, record: Record) -> Result<Ticket, Refused> {
        let (Record::Part { mid, .. } | Record::Message(Message { mid, .. })) = &record else {
            panic!("only content is copied");
        };
        if !self.live.holds_message(*mid) || self.live.is_copying(*mid) {
            return Err(Refused::new(Refusal::Unheld, record));
        }
        self.gather(record, Claim::Copy)
    }

    /// Gives up the parts of a transaction that was aborted. A message that was appended stays.
    ///
    /// Also gives up outcomes of a message of another log: they keep their segment until the
    /// driver says here that the other log's finish of the message is durable. In doubt it may be
    /// said to every log.
    pub fn forget(&mut self, mid: Mid) {
        self.live.forget(mid);
    }

    /// What the driver must do now; none while something is under way, or nothing is to be done.
    #[expect(clippy::should_implement_trait, reason = "none does not mean that it has ended")]
    pub fn next(&mut self) -> Option<DiskOp> {
        if self.flight.is_some() || self.state() == State::Failed {
            return None;
        }
        let (flight, op) = self.choose()?;
        self.flight = Some(flight);
        Some(op)
    }

    /// The result of what [`next`](Self::next) gave. Afterwards the driver answers the tickets up
    /// to [`durable`](Self::durable), or all as failed if the state is [`State::Failed`].
    ///
    /// # Panics
    ///
    /// If nothing is under way.
    pub fn done(&mut self, result: Result<(), DiskError>) {
        let flight = self.flight.take().expect("done() answers next()");
        match (flight, result) {
            (_, Ok(())) => self.succeed(flight),
            (Flight::Create(_), Err(DiskError::NoSpace)) => {
                self.fault = Some(DiskError::NoSpace);
                self.retry = false;
            }
            (_, Err(_)) => {
                self.fault = Some(DiskError::Failed);
                self.batches.clear();
                // What is durable stays so, and may still be asked for.
                let durable = self.durable;
                self.places.retain(|ticket, _| *ticket <= durable);
                self.pending = 0;
            }
        }
    }

    /// Tries to make a segment again after the disk was full; healthy again once that succeeds.
    pub const fn retry_create(&mut self) {
        self.retry = true;
    }

    /// Whether the record is on stable storage.
    #[must_use]
    pub fn is_durable(&self, ticket: Ticket) -> bool {
        ticket <= self.durable
    }

    /// The last durable record; all before it are durable too.
    #[must_use]
    pub const fn durable(&self) -> Ticket {
        self.durable
    }

    /// Where the content of a durable part or message lies. Given out once.
    pub fn place(&mut self, ticket: Ticket) -> Option<Place> {
        if !self.is_durable(ticket) {
            return None;
        }
        self.places.remove(&ticket)
    }

    /// Whether content is taken.
    #[must_use]
    pub fn state(&self) -> State {
        match self.fault {
            Some(DiskError::Failed) => State::Failed,
            Some(DiskError::NoSpace) => State::Full,
            None if self.live.segments() > self.limits.max_segments => State::Full,
            None => State::Healthy,
        }
    }

    /// Whether the log holds nothing that is needed and nothing waits to be written. The directory
    /// of an empty log whose shard no longer exists may be removed once the log of a shard that
    /// does [has begun](Self::has_begun).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.live.is_empty() && self.batches.is_empty()
    }

    /// Whether the first record of this life is durable, and with it the highest MID of all logs.
    /// Only then may the directories of other, empty logs be removed.
    #[must_use]
    pub const fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// A message that keeps the oldest segment and thereby more than [`Limits::max_dead`] dead
    /// ones behind it. The driver reads its content and gives it to
    /// [`append_copy`](Self::append_copy); until then the same message is named again.
    #[must_use]
    pub fn reclaim(&self) -> Option<Mid> {
        self.live.reclaim(self.begun, self.limits.max_dead)
    }

    /// The number of the log.
    #[must_use]
    pub const fn number(&self) -> u16 {
        self.log
    }

    /// Segments on the disk.
    #[must_use]
    pub fn segments(&self) -> usize {
        self.live.segments()
    }

    /// Octets appended and not yet durable.
    #[must_use]
    pub const fn pending(&self) -> u64 {
        self.pending
    }
}

impl Log {
    /// Appends what there is room for. Whether there is comes first: what has to wait is neither
    /// taken apart nor summed.
    fn gather(&mut self, record: Record, claim: Claim) -> Result<Ticket, Refused> {
        let meta = self.meta(&record, claim);
        if let Err(why) = self.admit(record.size(meta.len()), claim) {
            return Err(Refused::new(why, record));
        }
        Ok(match record {
            Record::Part { mid, bytes } => {
                let (ticket, place) = self.lay(Draft::part(mid, bytes));
                self.live.part(mid, place.body.segment);
                self.places.insert(ticket, place);
                ticket
            }
            Record::Message(message) => self.gather_message(message, meta, claim),
            Record::Outcome { mid, rids, outcome } => {
                let (ticket, place) = self.lay(Draft::outcome(mid, meta));
                self.live.outcome(mid, &rids, outcome, place.body.segment);
                ticket
            }
            Record::Finished { mid } => {
                let (ticket, place) = self.lay(Draft::finished(mid));
                let committed = self.live.finish(mid, place.body.segment, ticket);
                self.places.remove(&committed);
                ticket
            }
        })
    }

    fn gather_message(&mut self, message: Message, meta: Vec<u8>, claim: Claim) -> Ticket {
        let mid = message.mid;
        assert!(!message.accepted.envelope.recipients.is_empty(), "someone gets every message");
        let mut segments = self.spilled_to(&message.body);
        let (ticket, place) = self.lay(Draft::message(message, meta));
        segments.push(place.body.segment);
        if claim == Claim::Copy {
            self.live.copy(mid, segments, ticket);
        } else {
            self.live.message(mid, segments, ticket);
        }
        self.places.insert(ticket, place);
        ticket
    }

    /// All of a record but its content.
    fn meta(&self, record: &Record, claim: Claim) -> Vec<u8> {
        match record {
            Record::Message(message) if claim == Claim::Copy => {
                message.meta(&self.live.progress(message.mid))
            }
            Record::Message(message) => message.meta(&Progress::default()),
            Record::Outcome { rids, outcome, .. } => envelope::encode_outcome(rids, *outcome),
            Record::Part { .. } | Record::Finished { .. } => Vec::new(),
        }
    }

    fn spilled_to(&self, body: &Body) -> Segments {
        let own = |piece: &super::Piece| {
            assert_eq!(piece.log, self.log, "parts are spilled to the log of their message");
            piece.segment
        };
        body.spilled.iter().map(own).collect()
    }

    /// Puts a record that was admitted into the gathering batch, or into a new one.
    fn lay(&mut self, draft: Draft) -> (Ticket, Place) {
        let size = draft.size();
        let (segment, end) = self.active.expect("what was admitted has room");
        if end + size > self.limits.segment_size {
            let spare = self.spare.take().expect("what was admitted has room");
            self.activate(spare);
        } else if !self.is_gathering() {
            self.batches.push_back(Batch::new(segment, end, self.last));
        }
        self.highest = self.highest.max(draft.mid);
        self.last = Ticket(self.last.0 + 1);
        (self.last, self.push(draft))
    }

    fn admit(&self, size: u64, claim: Claim) -> Result<(), Refusal> {
        match self.state() {
            _ if size > self.limits.max_record() => return Err(Refusal::TooLarge),
            State::Failed => return Err(Refusal::Failed),
            State::Full if claim == Claim::Content => return Err(Refusal::Full),
            State::Healthy | State::Full => {}
        }
        let allowed = match claim {
            Claim::Content | Claim::Copy => self.limits.max_pending,
            Claim::Outcome => self.limits.max_pending.saturating_mul(2),
        };
        if self.pending > 0 && self.pending + size > allowed {
            return Err(Refusal::Busy);
        }
        let reserve = if claim == Claim::Outcome { 0 } else { self.limits.segment_size / 2 };
        let end = self.active.map_or(self.limits.segment_size, |(_, end)| end);
        let has_room = self.active.is_some()
            && (self.spare.is_some() || end + size + reserve <= self.limits.segment_size);
        match self.fault {
            _ if has_room => Ok(()),
            Some(_) => Err(Refusal::Full),
            None => Err(Refusal::Busy),
        }
    }

    fn push(&mut self, draft: Draft) -> Place {
        let batch = self.batches.back_mut().expect("a batch gathers");
        let size = draft.size();
        let (chunks, place) = draft.lay(self.log, batch.segment, batch.end(), self.salt);
        batch.push(chunks, size, self.last);
        self.active = Some((batch.segment, batch.end()));
        self.pending += size;
        place
    }

    fn is_gathering(&self) -> bool {
        self.batches.back().is_some_and(|batch| batch.state == batch::State::Gathering)
    }

    fn activate(&mut self, segment: u64) {
        self.batches.push_back(Batch::new(segment, 0, self.last));
        self.push(Draft::begin(self.highest));
    }

    fn choose(&mut self) -> Option<(Flight, DiskOp)> {
        if let Some(batch) = self.batches.front()
            && batch.state == batch::State::Written
        {
            return Some((Flight::Sync, DiskOp::Sync { segment: batch.segment }));
        }
        // What frees or makes room is rare and comes before what uses it.
        if let Some(segment) = self.live.removable(self.begun) {
            return Some((Flight::Remove(segment), DiskOp::Remove { segment }));
        }
        if self.spare.is_none() && (self.fault.is_none() || self.retry) {
            let (segment, size) = (self.next_segment, self.limits.segment_size);
            return Some((Flight::Create(segment), DiskOp::Create { segment, size }));
        }
        let batch = self.batches.front_mut()?;
        let bytes = batch.seal();
        let Batch { segment, offset, length, .. } = *batch;
        if let Some((active, end)) = &mut self.active
            && *active == segment
        {
            *end = batch.end();
        }
        Some((Flight::Write, DiskOp::Write { segment, offset, bytes, length }))
    }

    fn succeed(&mut self, flight: Flight) {
        match flight {
            Flight::Create(segment) => {
                self.live.open(segment, false);
                self.next_segment = segment + 1;
                self.fault = None;
                if self.active.is_none() {
                    self.activate(segment);
                } else {
                    self.spare = Some(segment);
                }
            }
            Flight::Write => {}
            Flight::Sync => {
                let batch = self.batches.pop_front().expect("a batch was synced");
                self.durable = batch.last;
                self.begun = batch.segment;
                self.has_begun = true;
                self.pending -= batch.gathered;
                self.live.settle(self.durable);
            }
            Flight::Remove(segment) => {
                self.live.removed(segment);
                self.retry_create();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec;

    use super::*;
    use crate::{
        id::{Rid, Rids},
        spool::{record::Outcome, sample},
    };

    const LIMITS: Limits =
        Limits { segment_size: 32_768, max_segments: 4, max_pending: 100_000, max_dead: 1 };

    /// Does everything the log wants; gives what it wanted.
    fn settle(log: &mut Log) -> Vec<DiskOp> {
        let mut ops = Vec::new();
        while let Some(op) = log.next() {
            log.done(Ok(()));
            ops.push(op);
        }
        ops
    }

    fn started() -> Log {
        let mut log = Log::new(0, 0, 7, LIMITS);
        assert_eq!(why(log.append(sample::message(1, 10))), Refusal::Busy);
        settle(&mut log);
        log
    }

    fn finished(mid: u64) -> Record {
        Record::Finished { mid: Mid(mid) }
    }

    fn why(result: Result<Ticket, Refused>) -> Refusal {
        result.unwrap_err().why
    }

    #[test]
    fn records_gather_while_the_disk_is_busy_and_one_sync_serves_them_all() {
        let mut log = started();
        let first = log.append(sample::message(1, 100)).unwrap();
        let Some(DiskOp::Write { offset: 4096, length: 4096, .. }) = log.next() else { panic!() };
        let tickets = [2, 3, 4].map(|mid| log.append(sample::message(mid, 100)).unwrap());
        assert!(log.next().is_none(), "one thing at a time");
        log.done(Ok(()));
        assert!(!log.is_durable(first), "written is not durable");
        assert!(matches!(log.next(), Some(DiskOp::Sync { segment: 0 })));
        log.done(Ok(()));
        assert!(log.is_durable(first) && !log.is_durable(tickets[0]));
        let ops = settle(&mut log);
        assert!(matches!(ops[..], [DiskOp::Write { offset: 8192, .. }, DiskOp::Sync { .. }]));
        assert!(tickets.iter().all(|&ticket| log.is_durable(ticket)));
        assert_eq!(log.pending(), 0);
        let place = log.place(first).expect("it is durable");
        assert_eq!((place.body.segment, place.body.length), (0, 100));
        assert_eq!(log.place(first), None, "a place is given out once");
    }

    #[test]
    fn what_was_durable_before_the_disk_failed_can_still_be_asked_for() {
        let mut log = started();
        let durable = log.append(sample::message(1, 100)).unwrap();
        settle(&mut log);
        let lost = log.append(sample::message(2, 100)).unwrap();
        log.next();
        log.done(Err(DiskError::Failed));
        assert!(log.is_durable(durable) && log.place(durable).is_some());
        assert_eq!(log.place(lost), None);
    }

    #[test]
    fn a_failed_sync_is_final() {
        let mut log = started();
        let ticket = log.append(sample::message(1, 100)).unwrap();
        log.next();
        log.done(Ok(()));
        assert!(matches!(log.next(), Some(DiskOp::Sync { .. })));
        log.done(Err(DiskError::Failed));
        log.retry_create();
        assert_eq!(log.state(), State::Failed);
        assert_eq!(why(log.append(finished(1))), Refusal::Failed);
        assert!(log.next().is_none() && !log.is_durable(ticket));
    }

    #[test]
    fn a_full_disk_refuses_content_and_keeps_room_for_outcomes() {
        let mut log = started();
        let mut mid = 0;
        while log.state() == State::Healthy {
            mid += 1;
            log.append(sample::message(mid, 5_000)).unwrap();
            while let Some(op) = log.next() {
                let is_create = matches!(op, DiskOp::Create { .. });
                log.done(if is_create { Err(DiskError::NoSpace) } else { Ok(()) });
            }
        }
        assert_eq!(why(log.append(sample::message(mid + 1, 10))), Refusal::Full);
        let rids = Rids::from_slice(&[Rid(0)]);
        for _ in 0..100 {
            let outcome = Outcome::Delivered;
            log.append(Record::Outcome { mid: Mid(mid), rids: rids.clone(), outcome }).unwrap();
        }
        // Finishing what fills the oldest segment frees it, and that makes room again.
        for mid in 1..=mid {
            log.append(finished(mid)).unwrap();
        }
        let ops = settle(&mut log);
        assert!(ops.iter().any(|op| matches!(op, DiskOp::Remove { segment: 0 })));
        assert_eq!(log.state(), State::Healthy);
        assert!(log.append(sample::message(mid + 1, 10)).is_ok());
    }

    #[test]
    fn a_long_lived_message_is_copied_forward_and_its_outcomes_go_with_it() {
        let mut log = started();
        log.append(sample::message(1, 100)).unwrap();
        let rids = Rids::from_slice(&[Rid(0)]);
        let outcome = Outcome::Delivered;
        log.append(Record::Outcome { mid: Mid(1), rids, outcome }).unwrap();
        let mut mid = 1;
        while log.reclaim().is_none() {
            mid += 1;
            log.append(sample::message(mid, 9_000)).unwrap();
            settle(&mut log);
            log.append(finished(mid)).unwrap();
            settle(&mut log);
        }
        assert_eq!(log.reclaim(), Some(Mid(1)));
        let copy = log.append_copy(sample::message(1, 100)).unwrap();
        assert_eq!(
            why(log.append_copy(sample::message(1, 100))),
            Refusal::Unheld,
            "one copy at a time"
        );
        assert_eq!(log.reclaim(), None);
        let ops = settle(&mut log);
        assert!(log.is_durable(copy));
        let removed = ops.iter().filter(|op| matches!(op, DiskOp::Remove { .. })).count();
        assert!(removed >= 2, "the dead ones behind it went too");
        assert_eq!(log.live.progress(Mid(1)).remaining(1), vec![]);
        log.append(finished(1)).unwrap();
        settle(&mut log);
        assert!(log.is_empty());
    }

    #[test]
    fn limits_are_answered() {
        let mut log = started();
        assert_eq!(why(log.append(sample::message(1, 20_000))), Refusal::TooLarge);
        assert_eq!(why(log.append(finished(1))), Refusal::Unheld);
        let mut log = Log::new(0, 0, 7, Limits { max_pending: 1_000, ..LIMITS });
        settle(&mut log);
        log.append(sample::message(1, 5_000)).unwrap();
        let refused = log.append(sample::message(2, 5_000)).unwrap_err();
        assert_eq!(refused.why, Refusal::Busy);
        settle(&mut log);
        let ticket = log.append(*refused.record).expect("what was given back is whole");
        settle(&mut log);
        assert!(log.is_durable(ticket));
    }
}
