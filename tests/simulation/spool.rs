//! The spool's world: shards that accept, deliver and finish messages on a disk that fails.
//!
//! The driver here does what the shard does; every crash is followed by a recovery whose result
//! is held against the [`Story`] of each message.

use std::collections::BTreeMap;

use bytes::Bytes;
use ringpost_core::{
    id::{Mid, Rid, Rids},
    message::Body,
    spool::{
        Piece, Place, Ticket,
        log::{Log, Refusal, Refused, State},
        record::{Message, Outcome, Record},
        recover::{Recovered, Recovery},
        segment::{DiskError, DiskOp, Limits},
    },
};

use crate::{
    disk::Disk,
    random::Random,
    story::{Stage, Story},
};

/// When the driver says 250. Only one of them is right.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Acknowledge {
    WhenDurable,
    WhenWritten,
}

/// What happened in a run, so that a test can see that everything did.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Totals {
    acknowledged: u64,
    spilled: u64,
    finished: u64,
    foreign: u64,
    aborted: u64,
    copied: u64,
    kills: u64,
    power_cuts: u64,
    recovered: u64,
    failed_disks: u64,
    full_disks: u64,
    removed: u64,
    damaged: u64,
}

/// One life of the world, from an empty disk to an empty spool.
pub(crate) fn run(seed: u64, acknowledge: Acknowledge) -> Result<Totals, String> {
    let mut world = World::new(seed, acknowledge);
    for _ in 0..STEPS {
        world.step()?;
    }
    world.restart()?;
    world.drain()?;
    Ok(world.totals)
}

struct World {
    random: Random,
    acknowledge: Acknowledge,
    disk: Disk,
    shards: Vec<Shard>,
    /// Shards that accept; the others only work off logs of a time when there were more.
    workers: usize,
    /// Empty logs without a shard, to be removed when the first shard's log has begun.
    doomed: Vec<u16>,
    stories: BTreeMap<Mid, Story>,
    last: Mid,
    totals: Totals,
}

struct Shard {
    number: u16,
    log: Log,
    op: Option<DiskOp>,
    waiting: Vec<(Ticket, Waiting)>,
    /// The last ticket appended when the write that is under way, or done, was handed out.
    handed: Ticket,
    appended: Ticket,
    /// What was durable when the disk failed.
    failed_at: Option<Ticket>,
}

#[derive(Clone, Debug)]
enum Waiting {
    Part(Mid),
    Message(Mid, Vec<Piece>),
    CopiedPart(Mid),
    Copy(Mid, Vec<Piece>),
    Outcome(Mid, Rid, Outcome),
    Finished(Mid),
}

impl World {
    fn new(seed: u64, acknowledge: Acknowledge) -> Self {
        let mut random = Random::new(seed);
        let disk = Disk::new(12 + random.below(40));
        let workers = 1 + random.below(3);
        let (shards, stories, totals) = (Vec::new(), BTreeMap::new(), Totals::default());
        let (doomed, last) = (Vec::new(), Mid(0));
        let mut world =
            Self { random, acknowledge, disk, shards, workers, doomed, stories, last, totals };
        world.resume(Recovery::new().finish());
        world
    }

    fn step(&mut self) -> Result<(), String> {
        match self.random.below(1_000) {
            0..60 => self.start(),
            60..160 => self.go_on(),
            160..300 => self.report(),
            300..360 => self.finish(),
            360..370 => self.abort(),
            370..400 => self.reclaim()?,
            400..405 => self.disk.capacity = 4 + self.random.below(50),
            405..410 => self.shards.iter_mut().for_each(|shard| shard.log.retry_create()),
            410..420 => self.restart()?,
            420..422 => self.disk_fails()?,
            _ => {
                let index = self.random.below(self.shards.len());
                self.work(index)?;
            }
        }
        Ok(())
    }

    /// A client begins to send.
    fn start(&mut self) {
        self.last = Mid(self.last.0 + 1);
        let log = self.random.below(self.workers) as u16;
        self.stories.insert(self.last, Story::new(log, &mut self.random));
    }

    /// A client sends more: a part of the body, or its end.
    fn go_on(&mut self) {
        let is_ready = |story: &Story| matches!(story.stage, Stage::Arriving { waits: false, .. });
        let Some(mid) = self.pick(is_ready) else {
            return;
        };
        let story = self.stories.get_mut(&mid).expect("it was picked");
        let Stage::Arriving { spilled, waits } = &mut story.stage else {
            return;
        };
        let rest = &story.body[Story::covered(spilled)..];
        let shard = shard(&mut self.shards, story.log);
        if rest.len() > PART {
            let record = Record::Part { mid, bytes: chunks(&rest[..PART]) };
            *waits = shard.append(record, Waiting::Part(mid)).is_ok();
            self.totals.spilled += u64::from(*waits);
            return;
        }
        let body = Body { spilled: spilled.clone(), chunks: chunks(rest) };
        let (accepted, header) = (story.accepted.clone(), chunks(&story.header));
        let message = Message { mid, accepted, header, body };
        let waiting = Waiting::Message(mid, message.body.spilled.clone());
        if shard.append(Record::Message(message), waiting).is_ok() {
            story.stage = Stage::Appended;
        }
    }

    /// A next hop has answered; sometimes the answer is written by another shard.
    fn report(&mut self) {
        let is_ready = |story: &Story| is_queued(story) && !story.undone().is_empty();
        let Some(mid) = self.pick(is_ready) else {
            return;
        };
        let story = self.stories.get_mut(&mid).expect("it was picked");
        let rid = self.random.pick(&story.undone()).expect("one is not done");
        let attempts = story.fates[rid.0 as usize].attempts + 1;
        let outcome = match self.random.below(3) {
            0 => Outcome::Deferred { until: Story::until(rid, attempts), attempts },
            1 => Outcome::Bounced,
            _ => Outcome::Delivered,
        };
        let mut number = story.log;
        if self.random.chance(1, 4) {
            number = self.shards[self.random.below(self.shards.len())].number;
        }
        let record = Record::Outcome { mid, rids: Rids::from_slice(&[rid]), outcome };
        let shard = shard(&mut self.shards, number);
        if shard.append(record, Waiting::Outcome(mid, rid, outcome)).is_ok() {
            story.note(rid, outcome, false);
            self.totals.foreign += u64::from(number != story.log);
        }
    }

    fn finish(&mut self) {
        let is_ready = |story: &Story| is_queued(story) && story.undone().is_empty();
        let Some(mid) = self.pick(is_ready) else {
            return;
        };
        let story = self.stories.get_mut(&mid).expect("it was picked");
        let shard = shard(&mut self.shards, story.log);
        if shard.append(Record::Finished { mid }, Waiting::Finished(mid)).is_ok() {
            story.stage = Stage::Finishing;
        }
    }

    fn abort(&mut self) {
        let Some(mid) = self.pick(|story| matches!(story.stage, Stage::Arriving { .. })) else {
            return;
        };
        let story = self.stories.get_mut(&mid).expect("it was picked");
        story.stage = Stage::Aborted;
        shard(&mut self.shards, story.log).log.forget(mid);
        self.totals.aborted += 1;
    }

    /// Copies a message forward that keeps old segments.
    fn reclaim(&mut self) -> Result<(), String> {
        let index = self.random.below(self.shards.len());
        let shard = &mut self.shards[index];
        let Some(mid) = shard.log.reclaim() else {
            return Ok(());
        };
        let story = self.stories.get_mut(&mid).expect("only known messages are reclaimed");
        if story.copying.is_some() || story.pieces.is_empty() {
            return Ok(());
        }
        story.check_content(&story.pieces, &self.disk)?;
        story.copying = Some(Vec::new());
        if story.body.len() <= PART {
            return self.copy(mid);
        }
        let part = chunks(&story.body[..PART]);
        match shard.log.append_copy(Record::Part { mid, bytes: part }) {
            Ok(ticket) => shard.wait(ticket, Waiting::CopiedPart(mid)),
            Err(_) => story.copying = None,
        }
        Ok(())
    }

    fn copy(&mut self, mid: Mid) -> Result<(), String> {
        let story = self.stories.get_mut(&mid).expect("only known messages are copied");
        if story.stage != Stage::Appended {
            return Ok(());
        }
        let Some(spilled) = story.copying.clone() else {
            return Ok(());
        };
        let rest = &story.body[Story::covered(&spilled)..];
        let shard = shard(&mut self.shards, story.log);
        if rest.len() > PART {
            let part = Record::Part { mid, bytes: chunks(&rest[..PART]) };
            match shard.log.append_copy(part) {
                Ok(ticket) => shard.wait(ticket, Waiting::CopiedPart(mid)),
                Err(_) => shard.give_up_copy(mid, story),
            }
            return Ok(());
        }
        let body = Body { spilled, chunks: chunks(rest) };
        let (accepted, header) = (story.accepted.clone(), chunks(&story.header));
        let pieces = body.spilled.clone();
        let message = Message { mid, accepted, header, body };
        match shard.log.append_copy(Record::Message(message)) {
            Ok(ticket) => shard.wait(ticket, Waiting::Copy(mid, pieces)),
            Err(_) => shard.give_up_copy(mid, story),
        }
        Ok(())
    }

    /// One step of the disk: an operation begins, or the one under way ends.
    fn work(&mut self, index: usize) -> Result<(), String> {
        let shard = &mut self.shards[index];
        let Some(op) = shard.op.take() else {
            shard.begin();
            return Ok(());
        };
        let result = self.disk.carry_out(shard.number, &op);
        self.totals.full_disks += u64::from(result.is_err());
        self.totals.removed += u64::from(matches!(op, DiskOp::Remove { .. }));
        shard.log.done(result);
        if shard.log.has_begun() && shard.number == 0 {
            self.doomed.drain(..).for_each(|log| self.disk.remove_directory(log));
        }
        if shard.log.segments() > LIMITS.max_segments + EXTRA_SEGMENTS {
            return Err(format!("{} segments", shard.log.segments()));
        }
        let is_early = self.acknowledge == Acknowledge::WhenWritten;
        let early = if is_early { shard.handed } else { Ticket(0) };
        let durable = shard.log.durable().max(early);
        let (done, waiting) = std::mem::take(&mut shard.waiting)
            .into_iter()
            .partition::<Vec<_>, _>(|(ticket, _)| *ticket <= durable);
        shard.waiting = waiting;
        done.into_iter().try_for_each(|(ticket, waiting)| self.durable(index, ticket, waiting))
    }

    fn durable(&mut self, index: usize, ticket: Ticket, waiting: Waiting) -> Result<(), String> {
        let shard = &mut self.shards[index];
        let place = shard.log.place(ticket);
        let mid = waiting.mid();
        let story = self.stories.get_mut(&mid).expect("only known messages are waited for");
        match waiting {
            Waiting::Part(_) => {
                if let (Stage::Arriving { spilled, waits }, Some(place)) = (&mut story.stage, place)
                {
                    spilled.push(place.body);
                    *waits = false;
                }
            }
            Waiting::Message(_, spilled) => {
                story.acknowledged = true;
                story.pieces = content(spilled, place);
                self.totals.acknowledged += 1;
            }
            Waiting::CopiedPart(_) => {
                if let (Some(spilled), Some(place)) = (&mut story.copying, place) {
                    spilled.push(place.body);
                    self.copy(mid)?;
                }
            }
            Waiting::Copy(_, spilled) => {
                story.copying = None;
                story.pieces = content(spilled, place);
                self.totals.copied += 1;
            }
            Waiting::Outcome(_, rid, outcome) => story.note(rid, outcome, true),
            Waiting::Finished(_) => {
                story.stage = Stage::Finished;
                self.totals.finished += 1;
                self.shards.iter_mut().for_each(|shard| shard.log.forget(mid));
            }
        }
        Ok(())
    }

    /// A write or a sync fails: nothing may become durable on that log any more.
    fn disk_fails(&mut self) -> Result<(), String> {
        let is_writing = |shard: &&mut Shard| {
            matches!(shard.op, Some(DiskOp::Write { .. } | DiskOp::Sync { .. }))
        };
        let Some(shard) = self.shards.iter_mut().find(is_writing) else {
            return Ok(());
        };
        let op = shard.op.take().expect("it is writing");
        self.disk.fail_sync(shard.number, &op, &mut self.random);
        let durable = shard.log.durable();
        shard.log.done(Err(DiskError::Failed));
        shard.failed_at = Some(durable);
        shard.waiting.clear();
        self.totals.failed_disks += 1;
        let refused = shard.log.append(Record::Part { mid: Mid(0), bytes: chunks(b"x") });
        let is_final = shard.log.state() == State::Failed
            && refused.is_err_and(|refused| refused.why == Refusal::Failed)
            && shard.log.next().is_none();
        if is_final { Ok(()) } else { Err("a failed sync was not final".into()) }
    }

    /// The process is killed or the power fails, and everything starts again.
    fn restart(&mut self) -> Result<(), String> {
        for shard in &mut self.shards {
            if shard.failed_at.is_some_and(|durable| shard.log.durable() > durable) {
                return Err("something became durable after a failed sync".into());
            }
            if let Some(op) = shard.op.take() {
                self.disk.half_do(shard.number, &op, &mut self.random);
            }
        }
        if self.random.chance(2, 3) {
            self.disk.lose_power(&mut self.random);
            self.totals.power_cuts += 1;
        } else {
            self.totals.kills += 1;
        }
        if self.random.chance(1, 4) {
            // A crash during recovery: part of it is synced, and it has changed nothing.
            for (log, segment) in self.disk.names() {
                if self.random.chance(1, 2) {
                    self.disk.sync(log, segment);
                }
            }
            self.disk.lose_power(&mut self.random);
        }
        let recovered = self.recover();
        let again = self.recover();
        if again.messages != recovered.messages || again.highest != recovered.highest {
            return Err("recovery is not idempotent".into());
        }
        self.check(&recovered)?;
        self.workers = 1 + self.random.below(3);
        self.resume(recovered);
        Ok(())
    }

    fn recover(&mut self) -> Recovered {
        let mut recovery = Recovery::new();
        let mut names = self.disk.names();
        if self.random.chance(1, 2) {
            names.sort_by_key(|&(log, segment)| (std::cmp::Reverse(log), segment));
        }
        let size = 1 + self.random.below(40_000);
        for (log, segment) in names {
            self.disk.sync(log, segment);
            recovery.segment(log, segment);
            self.disk.octets(log, segment).chunks(size).for_each(|block| recovery.block(block));
        }
        recovery.finish()
    }

    fn check(&mut self, recovered: &Recovered) -> Result<(), String> {
        self.totals.recovered += recovered.messages.len() as u64;
        self.totals.damaged += recovered.damaged_count;
        for queued in &recovered.messages {
            if !self.stories.contains_key(&queued.mid) {
                return Err(format!("message {} was never appended", queued.mid));
            }
        }
        for (&mid, story) in &mut self.stories {
            let index = recovered.messages.binary_search_by_key(&mid, |queued| queued.mid);
            let found = index.ok().map(|index| &recovered.messages[index]);
            story
                .recovered(found, &self.disk)
                .map_err(|violation| format!("message {mid}: {violation}"))?;
            let is_known = story.acknowledged || story.stage == Stage::Appended;
            if is_known && mid > recovered.highest {
                return Err(format!("{mid} is above the highest, {}", recovered.highest));
            }
        }
        Ok(())
    }

    fn resume(&mut self, mut recovered: Recovered) {
        self.shards.clear();
        self.doomed.clear();
        let workers = u16::try_from(self.workers).expect("a few");
        let mut numbers: Vec<u16> = (0..workers).collect();
        numbers.extend(recovered.logs().filter(|log| *log >= workers));
        for number in numbers {
            let resume = recovered.resume(number);
            if number >= workers && resume.is_empty() {
                self.doomed.push(number);
                continue;
            }
            let salt = self.random.draw() as u32;
            self.shards.push(Shard::new(number, Log::resume(resume, salt, LIMITS)));
        }
    }

    /// Everything is delivered and finished; then the spool must be empty.
    fn drain(&mut self) -> Result<(), String> {
        self.disk.capacity = usize::MAX;
        for _ in 0..10_000 {
            self.shards.iter_mut().for_each(|shard| shard.log.retry_create());
            let is_over =
                |story: &Story| !matches!(story.stage, Stage::Arriving { .. } | Stage::Appended);
            let is_idle = (0..self.shards.len()).try_fold(true, |idle, index| {
                self.work(index)?;
                self.work(index)?;
                Ok::<_, String>(idle && self.shards[index].is_idle())
            })?;
            if is_idle && self.stories.values().all(is_over) {
                return self.check_empty();
            }
            self.go_on();
            self.report();
            self.finish();
        }
        Err("the spool does not come to rest".into())
    }

    fn check_empty(&self) -> Result<(), String> {
        let kept = |shard: &Shard| !shard.log.is_empty() || shard.log.segments() > 2;
        match self.shards.iter().find(|shard| kept(shard)) {
            None => Ok(()),
            Some(shard) => Err(format!(
                "log {} keeps {} segments, is_empty: {}",
                shard.number,
                shard.log.segments(),
                shard.log.is_empty()
            )),
        }
    }

    fn pick(&mut self, is_wanted: impl Fn(&Story) -> bool) -> Option<Mid> {
        let wanted = self.stories.iter().filter(|(_, story)| is_wanted(story));
        let mids: Vec<Mid> = wanted.map(|(&mid, _)| mid).collect();
        self.random.pick(&mids)
    }
}

impl Shard {
    fn new(number: u16, log: Log) -> Self {
        let (op, waiting, failed_at) = (None, Vec::new(), None);
        let zero = Ticket(0);
        Self { number, log, op, waiting, handed: zero, appended: zero, failed_at }
    }

    fn append(&mut self, record: Record, waiting: Waiting) -> Result<(), Refused> {
        let ticket = self.log.append(record)?;
        self.wait(ticket, waiting);
        Ok(())
    }

    fn wait(&mut self, ticket: Ticket, waiting: Waiting) {
        self.appended = ticket;
        self.waiting.push((ticket, waiting));
    }

    fn begin(&mut self) {
        self.op = self.log.next();
        if matches!(self.op, Some(DiskOp::Write { .. })) {
            self.handed = self.appended;
        }
    }

    fn give_up_copy(&mut self, mid: Mid, story: &mut Story) {
        self.log.forget(mid);
        story.copying = None;
    }

    /// Nothing under way, nothing to do.
    fn is_idle(&mut self) -> bool {
        if self.op.is_none() {
            self.begin();
        }
        self.op.is_none()
    }
}

impl Waiting {
    const fn mid(&self) -> Mid {
        match self {
            Self::Part(mid)
            | Self::Message(mid, _)
            | Self::CopiedPart(mid)
            | Self::Copy(mid, _)
            | Self::Outcome(mid, ..)
            | Self::Finished(mid) => *mid,
        }
    }
}

impl Totals {
    pub(crate) fn add(&mut self, other: &Self) {
        for (total, more) in self.counts_mut().into_iter().zip(other.clone().counts_mut()) {
            *total += *more;
        }
    }

    /// A world in which something never happens proves nothing about it.
    pub(crate) fn assert_nothing_was_left_out(mut self) {
        let counts = self.counts_mut().map(|count| *count);
        assert!(!counts.contains(&0), "{self:?}");
    }

    const fn counts_mut(&mut self) -> [&mut u64; 13] {
        [
            &mut self.acknowledged,
            &mut self.spilled,
            &mut self.finished,
            &mut self.foreign,
            &mut self.aborted,
            &mut self.copied,
            &mut self.kills,
            &mut self.power_cuts,
            &mut self.recovered,
            &mut self.failed_disks,
            &mut self.full_disks,
            &mut self.removed,
            &mut self.damaged,
        ]
    }
}

/// A message that is being delivered.
fn is_queued(story: &Story) -> bool {
    story.stage == Stage::Appended && !story.pieces.is_empty()
}

/// The pieces of a message in order. An early acknowledgement has no place to read from.
fn content(mut spilled: Vec<Piece>, place: Option<Place>) -> Vec<Piece> {
    if let Some(place) = place {
        spilled.insert(0, place.header);
        spilled.push(place.body);
    }
    spilled
}

fn shard(shards: &mut [Shard], number: u16) -> &mut Shard {
    shards.iter_mut().find(|shard| shard.number == number).expect("every log has a shard")
}

/// In two chunks, because that is how octets come.
fn chunks(octets: &[u8]) -> Vec<Bytes> {
    let (first, second) = octets.split_at(octets.len() / 2);
    vec![Bytes::copy_from_slice(first), Bytes::copy_from_slice(second)]
}

const LIMITS: Limits =
    Limits { segment_size: 24_576, max_segments: 8, max_pending: 20_000, max_dead: 0 };
/// Outcomes may take more segments than content, and each restart two: the active and the spare.
const EXTRA_SEGMENTS: usize = 20;
/// Octets of a part.
const PART: usize = 3_000;
const STEPS: usize = 500;
