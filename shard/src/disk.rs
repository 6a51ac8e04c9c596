//! Does what a spool log asks for: makes, writes, syncs and removes segments.
//!
//! One task at a time works for a log, and only while there is work. Whoever waits for a commit is
//! woken when its ticket is durable, or when the disk has failed.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, VecDeque},
    future::poll_fn,
    io,
    path::{Path, PathBuf},
    rc::Rc,
    task::{Poll, Waker},
    time::{Duration, Instant},
};

use futures_lite::future;
use glommio::{
    io::{Directory, DmaFile, OpenOptions},
    timer::sleep,
};
use ringpost_core::{
    event::Event,
    id::Mid,
    spool::{
        Place, Ticket,
        log::{Log, Refusal, Refused, State},
        record::{Message, Record},
        segment::{DiskError, DiskOp},
    },
};

use crate::{bridge::Voice, content::Store};

/// One log and its directory.
pub(crate) struct Disk {
    log: RefCell<Log>,
    folder: PathBuf,
    directory: Directory,
    files: RefCell<BTreeMap<u64, Rc<DmaFile>>>,
    waiting: RefCell<Vec<Waiting>>,
    /// Outcomes the log has no room for yet. Their number is bounded by that of queued recipients.
    backlog: RefCell<VecDeque<Record>>,
    is_working: Cell<bool>,
    /// Whether this life has a segment of its own.
    has_created: Cell<bool>,
    /// Wakes the task that works while it waits for a full disk.
    resting: Cell<Option<Waker>>,
    /// Who reads what is written here.
    store: Rc<Store>,
    voice: Rc<Voice>,
}

/// Why something was not made durable.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum NotDurable {
    /// The disk, or the part of it we may use, is full.
    Full,
    /// The disk failed; this log takes nothing any more.
    Failed,
    /// The record can never fit.
    TooLarge,
}

struct Waiting {
    /// None waits for any progress at all.
    ticket: Option<Ticket>,
    waker: Waker,
}

impl Disk {
    /// Works for `log` in its directory, which exists.
    pub(crate) async fn open(log: Log, store: Rc<Store>, voice: Rc<Voice>) -> io::Result<Rc<Self>> {
        let folder = store.folder(log.number());
        let directory = Directory::open(&folder).await.map_err(io::Error::from)?;
        let disk = Rc::new(Self {
            log: RefCell::new(log),
            folder,
            directory,
            files: RefCell::default(),
            waiting: RefCell::default(),
            backlog: RefCell::default(),
            is_working: Cell::new(false),
            has_created: Cell::new(false),
            resting: Cell::default(),
            store,
            voice,
        });
        disk.work();
        Ok(disk)
    }

    /// Makes content durable; returns where it lies. Only after this may 250 be said.
    pub(crate) async fn commit(self: &Rc<Self>, record: Record) -> Result<Place, NotDurable> {
        let ticket = self.append(record, Log::append).await?;
        self.durable(ticket).await?;
        let place = self.log.borrow_mut().place(ticket);
        Ok(place.expect("the place of a durable record is asked for once"))
    }

    /// Notes an outcome, in the order of the calls. It becomes durable with the next sync; a crash
    /// before that costs a second delivery, never a message.
    ///
    /// What the log has no room for waits here: a finish that was dropped would keep its segment,
    /// and a full log could never be freed again.
    pub(crate) fn note(self: &Rc<Self>, record: Record) {
        self.backlog.borrow_mut().push_back(record);
        self.catch_up();
        self.work();
    }

    /// Waits until `ticket` is on stable storage.
    pub(crate) async fn durable(&self, ticket: Ticket) -> Result<(), NotDurable> {
        poll_fn(|cx| {
            let log = self.log.borrow();
            if log.is_durable(ticket) {
                return Poll::Ready(Ok(()));
            }
            if log.state() == State::Failed {
                return Poll::Ready(Err(NotDurable::Failed));
            }
            self.wait(Some(ticket), cx.waker());
            Poll::Pending
        })
        .await
    }

    /// Gives up the parts of a message that did not complete.
    pub(crate) fn forget(self: &Rc<Self>, mid: Mid) {
        self.log.borrow_mut().forget(mid);
        self.work();
    }

    pub(crate) fn state(&self) -> State {
        self.log.borrow().state()
    }

    /// Waits until the log of this life has begun on the disk; false if the disk failed first.
    pub(crate) async fn begun(&self) -> bool {
        poll_fn(|cx| {
            let log = self.log.borrow();
            if log.has_begun() || log.state() == State::Failed {
                return Poll::Ready(log.has_begun());
            }
            self.wait(None, cx.waker());
            Poll::Pending
        })
        .await
    }

    pub(crate) fn segments(&self) -> usize {
        self.log.borrow().segments()
    }

    /// A message that is to be copied forward so that old segments can go.
    pub(crate) fn reclaim(&self) -> Option<Mid> {
        self.log.borrow().reclaim()
    }

    /// Like [`Self::commit`], for a message that [`Self::reclaim`] named.
    pub(crate) async fn copy(self: &Rc<Self>, message: Message) -> Result<Place, NotDurable> {
        let ticket = self.append(Record::Message(message), Log::append_copy).await?;
        self.durable(ticket).await?;
        let place = self.log.borrow_mut().place(ticket);
        Ok(place.expect("the place of a durable record is asked for once"))
    }

    /// Like [`Self::commit`], for a part of a message that [`Self::reclaim`] named.
    pub(crate) async fn copy_part(
        self: &Rc<Self>,
        mid: Mid,
        bytes: Vec<bytes::Bytes>,
    ) -> Result<Place, NotDurable> {
        let ticket = self.append(Record::Part { mid, bytes }, Log::append_copy).await?;
        self.durable(ticket).await?;
        let place = self.log.borrow_mut().place(ticket);
        Ok(place.expect("the place of a durable record is asked for once"))
    }

    /// Waits until everything appended so far is durable, or the disk has failed or is full.
    pub(crate) async fn settle(&self) {
        poll_fn(|cx| {
            let log = self.log.borrow();
            let is_written = log.pending() == 0
                && (self.backlog.borrow().is_empty() || log.state() == State::Full);
            if !self.is_working.get() || is_written || log.state() == State::Failed {
                return Poll::Ready(());
            }
            self.wait(None, cx.waker());
            Poll::Pending
        })
        .await;
    }

    /// Tries until the log says something else than "wait for the disk".
    async fn append(
        self: &Rc<Self>,
        record: Record,
        attempt: fn(&mut Log, Record) -> Result<Ticket, Refused>,
    ) -> Result<Ticket, NotDurable> {
        let mut given = Some(record);
        let result = poll_fn(|cx| {
            let record = given.take().expect("a refused record comes back");
            let result = attempt(&mut self.log.borrow_mut(), record);
            match result {
                Err(Refused { why: Refusal::Busy, record }) => {
                    given = Some(*record);
                    self.wait(None, cx.waker());
                    self.work();
                    Poll::Pending
                }
                other => Poll::Ready(other),
            }
        })
        .await;
        self.work();
        result.map_err(|refused| match refused.why {
            Refusal::Full => NotDurable::Full,
            Refusal::TooLarge => NotDurable::TooLarge,
            Refusal::Failed | Refusal::Busy | Refusal::Unheld => NotDurable::Failed,
        })
    }

    /// Appends what waits, as far as there is room. A log that failed takes none of it: the
    /// messages are found again at the next start.
    fn catch_up(&self) {
        let (mut log, mut backlog) = (self.log.borrow_mut(), self.backlog.borrow_mut());
        while let Some(record) = backlog.pop_front() {
            let result = log.append(record);
            if let Err(Refused { why: Refusal::Busy | Refusal::Full, record }) = result {
                backlog.push_front(*record);
                return;
            }
        }
    }

    fn wait(&self, ticket: Option<Ticket>, waker: &Waker) {
        self.waiting.borrow_mut().push(Waiting { ticket, waker: waker.clone() });
    }

    fn work(self: &Rc<Self>) {
        if !self.is_working.replace(true) {
            glommio::spawn_local(Rc::clone(self).run()).detach();
        } else if let Some(waker) = self.resting.take() {
            waker.wake();
        }
    }

    async fn run(self: Rc<Self>) {
        // While full: when to try again.
        let mut retry: Option<Instant> = None;
        loop {
            let before = self.state();
            let now = Instant::now();
            if before != State::Full {
                retry = None;
            } else if *retry.get_or_insert(now + FULL_RETRY_INTERVAL) <= now {
                self.log.borrow_mut().retry_create();
                retry = Some(now + FULL_RETRY_INTERVAL);
            }
            let op = self.log.borrow_mut().next();
            let Some(op) = op else {
                let Some(retry) = retry else { break };
                self.rest(retry.duration_since(now)).await;
                continue;
            };
            let result = self.perform(op).await;
            self.log.borrow_mut().done(match &result {
                Ok(()) => Ok(()),
                Err(error) => Err(kind(error)),
            });
            self.report(before, result.err());
            self.catch_up();
            self.wake();
        }
        self.is_working.set(false);
        self.wake();
    }

    /// Waits, but not when there is work: outcomes have room on a full disk, and may free it.
    async fn rest(&self, time: Duration) {
        let mut is_first = true;
        let woken = poll_fn(|cx| {
            // Gone: taken by who brought work.
            if !is_first && self.resting.take().is_none() {
                return Poll::Ready(());
            }
            is_first = false;
            self.resting.set(Some(cx.waker().clone()));
            Poll::Pending
        });
        future::or(woken, sleep(time)).await;
        self.resting.take();
    }

    /// Wakes those whose wait is over, and those who wait for any progress.
    fn wake(&self) {
        let (durable, has_failed) = {
            let log = self.log.borrow();
            (log.durable(), log.state() == State::Failed)
        };
        self.waiting.borrow_mut().retain(|waiting| {
            let goes_on = has_failed || waiting.ticket.is_none_or(|ticket| ticket <= durable);
            if goes_on {
                waiting.waker.wake_by_ref();
            }
            !goes_on
        });
    }

    fn report(&self, before: State, error: Option<io::Error>) {
        let now = self.state();
        if before == now {
            return;
        }
        let folder = self.folder.display();
        let reason = error.map_or_else(
            || format!("{folder}: all segments are in use"),
            |error| format!("{folder}: {error}"),
        );
        self.voice.say(match now {
            State::Healthy => Event::SpoolResumed,
            State::Full => Event::SpoolFailed { reason: reason.into(), is_final: false },
            State::Failed => Event::SpoolFailed { reason: reason.into(), is_final: true },
        });
    }

    async fn perform(&self, op: DiskOp) -> io::Result<()> {
        match op {
            DiskOp::Create { segment, size } => self.create(segment, size).await,
            DiskOp::Write { segment, offset, bytes, length } => {
                let file = self.file(segment).await?;
                let length = usize::try_from(length).map_err(io::Error::other)?;
                let mut buffer = file.alloc_dma_buffer(length);
                let mut rest = buffer.as_bytes_mut();
                for chunk in &bytes {
                    let (here, behind) = rest.split_at_mut(chunk.len());
                    here.copy_from_slice(chunk);
                    rest = behind;
                }
                rest.fill(0);
                let written = file.write_at(buffer, offset).await.map_err(io::Error::from)?;
                if written == length { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
            }
            DiskOp::Sync { segment } => {
                let file = self.file(segment).await?;
                file.fdatasync().await.map_err(io::Error::from)
            }
            DiskOp::Remove { segment } => {
                self.files.borrow_mut().remove(&segment);
                self.store.forget(self.log.borrow().number(), segment);
                std::fs::remove_file(self.path(segment))?;
                self.directory.sync().await.map_err(io::Error::from)
            }
        }
    }

    async fn create(&self, segment: u64, size: u64) -> io::Result<()> {
        let path = self.path(segment);
        let is_first = !self.has_created.get();
        let mut made = self.make(&path, size).await;
        if is_first && made.as_ref().is_err_and(|error| kind(error) == DiskError::NoSpace) {
            // Without a segment of its own this life could not even write down what it delivers,
            // and a full disk would stay full.
            if std::fs::remove_file(self.folder.join(RESERVE)).is_ok() {
                made = self.make(&path, size).await;
            }
        }
        self.files.borrow_mut().insert(segment, Rc::new(made?));
        self.has_created.set(true);
        if !is_first {
            self.keep_reserve(size).await;
        }
        Ok(())
    }

    /// Sets room aside for the first segment of the next life, if there is any to set aside.
    async fn keep_reserve(&self, size: u64) {
        let path = self.folder.join(RESERVE);
        if !path.exists() {
            // The next segment is an occasion to try again.
            let _ = self.make(&path, size).await;
        }
    }

    /// A file with its whole size allocated, or none at all.
    async fn make(&self, path: &Path, size: u64) -> io::Result<DmaFile> {
        let made = self.allocate(path, size).await;
        if made.is_err() {
            // Half a segment is of no use and may be what the disk lacks.
            let _ = std::fs::remove_file(path);
        }
        made
    }

    async fn allocate(&self, path: &Path, size: u64) -> io::Result<DmaFile> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true).mode(0o600);
        let file = options.dma_open(path).await.map_err(io::Error::from)?;
        file.pre_allocate(size, false).await.map_err(io::Error::from)?;
        file.fdatasync().await.map_err(io::Error::from)?;
        self.directory.sync().await.map_err(io::Error::from)?;
        Ok(file)
    }

    async fn file(&self, segment: u64) -> io::Result<Rc<DmaFile>> {
        if let Some(file) = self.files.borrow().get(&segment) {
            return Ok(Rc::clone(file));
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        let file = options.dma_open(self.path(segment)).await.map_err(io::Error::from)?;
        let file = Rc::new(file);
        self.files.borrow_mut().insert(segment, Rc::clone(&file));
        Ok(file)
    }

    fn path(&self, segment: u64) -> PathBuf {
        self.folder.join(segment_name(segment))
    }
}

/// The file name of a segment.
pub(crate) fn segment_name(segment: u64) -> String {
    format!("{segment:016x}.log")
}

/// The number in the file name of a segment; none for any other file.
pub(crate) fn segment_number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".log").filter(|digits| digits.len() == 16)?;
    u64::from_str_radix(digits, 16).ok()
}

fn kind(error: &io::Error) -> DiskError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => DiskError::NoSpace,
        _ => DiskError::Failed,
    }
}

/// How often a full disk is asked again.
const FULL_RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// The file that keeps room for the first segment of the next life of a log.
pub(crate) const RESERVE: &str = "reserve";

#[cfg(test)]
mod tests {
    use std::{fs, sync::Arc};

    use bytes::Bytes;
    use glommio::LocalExecutorBuilder;
    use ringpost_core::{
        address::{Address, ReversePath},
        envelope::{Envelope, Recipient},
        event::Direction,
        id::Rid,
        message::Body,
        spool::{
            BLOCK,
            record::{Accepted, Outcome},
            segment::Limits,
        },
        time::Date,
    };

    use super::*;
    use crate::{clock::Clock, recovery::recover};

    fn message(mid: Mid) -> Record {
        let mut envelope = Envelope::new(ReversePath::Null);
        envelope.recipients.push(Recipient::new(Address::from_text("a@x.example")));
        let accepted = Accepted {
            envelope: Arc::new(envelope),
            received: Date::default(),
            direction: Direction::Incoming,
            eight_bit: false,
            listener: Arc::default(),
        };
        let header = vec![Bytes::from_static(b"Subject: x\r\n")];
        let body = Body { spilled: Vec::new(), chunks: vec![Bytes::from_static(b"\r\nx\r\n")] };
        Record::Message(Message { mid, accepted, header, body })
    }

    #[test]
    fn outcomes_the_log_has_no_room_for_wait_and_keep_their_order() {
        let spool = std::env::temp_dir().join(format!("ringpost-disk-{}", std::process::id()));
        let store = Store::new(spool.clone());
        fs::create_dir_all(store.folder(0)).expect("a directory");
        let executor = LocalExecutorBuilder::default().make().expect("a ring");
        executor.run(async {
            let (events, _told) = async_channel::unbounded();
            let voice = Voice::new(0, Clock::new(Instant::now()), events);
            // One record at a time: every second one must wait.
            let limits = Limits { segment_size: 8 * BLOCK, max_pending: 1, ..Limits::default() };
            let disk = Disk::open(Log::new(0, 0, 7, limits), store, voice).await.expect("opened");
            let mid = Mid(1);
            disk.commit(message(mid)).await.expect("durable");
            for attempts in 1..=9 {
                let outcome = Outcome::Deferred { until: Date::default(), attempts };
                let rids = [Rid(0)].into_iter().collect();
                disk.note(Record::Outcome { mid, rids, outcome });
            }
            assert!(!disk.backlog.borrow().is_empty(), "the log was busy");
            disk.settle().await;
            assert!(disk.backlog.borrow().is_empty());
            assert_eq!(recover(&spool).expect("readable").waiting(), 1);
            disk.note(Record::Outcome {
                mid,
                rids: [Rid(0)].into_iter().collect(),
                outcome: Outcome::Delivered,
            });
            disk.note(Record::Finished { mid });
            disk.settle().await;
            assert_eq!(recover(&spool).expect("readable").waiting(), 0);
        });
        fs::remove_dir_all(&spool).expect("removed");
    }

    #[test]
    fn room_is_set_aside_for_the_next_life_and_goes_with_the_log() {
        let spool = std::env::temp_dir().join(format!("ringpost-reserve-{}", std::process::id()));
        let store = Store::new(spool.clone());
        let folder = store.folder(0);
        fs::create_dir_all(&folder).expect("a directory");
        let executor = LocalExecutorBuilder::default().make().expect("a ring");
        executor.run(async {
            let (events, _told) = async_channel::unbounded();
            let voice = Voice::new(0, Clock::new(Instant::now()), events);
            let limits = Limits { segment_size: 8 * BLOCK, ..Limits::default() };
            let disk = Disk::open(Log::new(0, 0, 7, limits), store, voice).await.expect("opened");
            disk.commit(message(Mid(1))).await.expect("durable");
            disk.settle().await;
        });
        let reserve = fs::metadata(folder.join(RESERVE)).expect("set aside");
        assert_eq!(reserve.len(), 8 * BLOCK);
        assert_eq!(recover(&spool).expect("readable").waiting(), 1);
        crate::recovery::remove(&folder).expect("removed with all that belongs to it");
        assert!(!folder.exists());
        fs::remove_dir_all(&spool).expect("removed");
    }

    #[test]
    fn a_full_disk_takes_outcomes_at_once() {
        let spool = std::env::temp_dir().join(format!("ringpost-full-{}", std::process::id()));
        let store = Store::new(spool.clone());
        fs::create_dir_all(store.folder(0)).expect("a directory");
        let executor = LocalExecutorBuilder::default().make().expect("a ring");
        executor.run(async {
            let (events, _told) = async_channel::unbounded();
            let voice = Voice::new(0, Clock::new(Instant::now()), events);
            let limits = Limits { segment_size: 4 * BLOCK, max_segments: 3, ..Limits::default() };
            let disk = Disk::open(Log::new(0, 0, 7, limits), store, voice).await.expect("opened");
            let mut mid = Mid(0);
            while disk.state() == State::Healthy {
                mid = Mid(mid.0 + 1);
                let _ = disk.commit(message(mid)).await;
            }
            let start = Instant::now();
            for attempts in 1..=5 {
                // The disk has nothing to do and waits for the next attempt.
                sleep(Duration::from_millis(1)).await;
                let outcome = Outcome::Deferred { until: Date::default(), attempts };
                let rids = [Rid(0)].into_iter().collect();
                disk.note(Record::Outcome { mid: Mid(1), rids, outcome });
                disk.settle().await;
            }
            assert_eq!(disk.state(), State::Full);
            assert!(start.elapsed() < 3 * FULL_RETRY_INTERVAL, "{:?}", start.elapsed());
            for mid in 1..=mid.0 {
                disk.note(Record::Finished { mid: Mid(mid) });
            }
            let limit = Instant::now() + 5 * FULL_RETRY_INTERVAL;
            while disk.state() == State::Full {
                assert!(Instant::now() < limit, "finishes make room");
                sleep(Duration::from_millis(1)).await;
            }
        });
        fs::remove_dir_all(&spool).expect("removed");
    }

    #[test]
    fn segments_are_known_by_their_names_and_nothing_else_is() {
        assert_eq!(segment_number(&segment_name(0xABCD)), Some(0xABCD));
        for name in ["1.log", "lost+found", "00000000000000zz.log", "0000000000000001.tmp"] {
            assert_eq!(segment_number(name), None);
        }
    }
}
