//! Does what a log asks for, on the simulated disk; mirrors `shard/src/disk.rs`.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::poll_fn,
    rc::Rc,
    task::{Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use ringpost_core::{
    id::Mid,
    spool::{
        Piece, Place, Ticket,
        log::{Log, Refusal, Refused, State},
        record::{Message, Record},
        segment::{DiskError, DiskOp},
    },
};

use super::LIMITS;
use crate::{tasks::Owner, world::Surroundings};

pub(super) struct Store {
    pub(super) number: u16,
    around: Rc<Surroundings>,
    log: RefCell<Log>,
    waiting: RefCell<Vec<(Option<Ticket>, Waker)>>,
    is_working: Cell<bool>,
    /// What is under way on the disk: a crash leaves it half done.
    flight: RefCell<Option<DiskOp>>,
    /// Outcomes to be appended, in order.
    notes: RefCell<VecDeque<Record>>,
    is_noting: Cell<bool>,
    appended: Cell<Ticket>,
    /// The last ticket that is written; only a defective gateway looks at it.
    written: Cell<Ticket>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum NotDurable {
    Full,
    Failed,
    TooLarge,
}

impl Store {
    pub(super) fn open(around: &Rc<Surroundings>, number: u16, log: Log) -> Rc<Self> {
        let store = Rc::new(Self {
            number,
            around: Rc::clone(around),
            log: RefCell::new(log),
            waiting: RefCell::default(),
            is_working: Cell::new(false),
            flight: RefCell::default(),
            notes: RefCell::default(),
            is_noting: Cell::new(false),
            appended: Cell::new(Ticket(0)),
            written: Cell::new(Ticket(0)),
        });
        store.work();
        store
    }

    pub(super) async fn commit(self: &Rc<Self>, record: Record) -> Result<Place, NotDurable> {
        let ticket = self.append(record).await?;
        self.place(ticket).await
    }

    pub(super) async fn append(self: &Rc<Self>, record: Record) -> Result<Ticket, NotDurable> {
        self.retry(record, Log::append).await
    }

    /// Puts an outcome behind those that wait; true if somebody must begin to append them.
    pub(super) fn note(&self, record: Record) -> bool {
        self.notes.borrow_mut().push_back(record);
        !self.is_noting.replace(true)
    }

    pub(super) fn next_note(&self) -> Option<Record> {
        let record = self.notes.borrow_mut().pop_front();
        self.is_noting.set(record.is_some());
        record
    }

    pub(super) async fn copy(self: &Rc<Self>, message: Message) -> Result<Place, NotDurable> {
        let ticket = self.retry(Record::Message(message), Log::append_copy).await?;
        self.place(ticket).await
    }

    pub(super) async fn copy_part(
        self: &Rc<Self>,
        mid: Mid,
        octets: Bytes,
    ) -> Result<Place, NotDurable> {
        let ticket =
            self.retry(Record::Part { mid, bytes: vec![octets] }, Log::append_copy).await?;
        self.place(ticket).await
    }

    pub(super) async fn place(&self, ticket: Ticket) -> Result<Place, NotDurable> {
        self.durable(ticket).await?;
        let place = self.log.borrow_mut().place(ticket);
        Ok(place.expect("the place of a durable record is asked for once"))
    }

    pub(super) async fn durable(&self, ticket: Ticket) -> Result<(), NotDurable> {
        self.until(|log| log.is_durable(ticket), Some(ticket)).await
    }

    pub(super) async fn begun(&self) -> bool {
        self.until(Log::has_begun, None).await.is_ok()
    }

    pub(super) async fn written(&self, ticket: Ticket) -> Result<(), NotDurable> {
        self.until(|_| ticket <= self.written.get(), None).await
    }

    pub(super) fn forget(self: &Rc<Self>, mid: Mid) {
        self.log.borrow_mut().forget(mid);
        self.work();
    }

    pub(super) fn state(&self) -> State {
        self.log.borrow().state()
    }

    pub(super) fn reclaim(&self) -> Option<Mid> {
        self.log.borrow().reclaim()
    }

    pub(super) fn crash(&self) {
        if let Some(op) = self.flight.take() {
            let disk = &self.around.disk;
            let number = self.number;
            let half = |random: &mut _| disk.borrow_mut().half_do(number, &op, random);
            self.around.tasks.with_random(half);
        }
    }

    pub(super) fn remains(&self) -> Option<String> {
        let log = self.log.borrow();
        let (pending, segments) = (log.pending(), log.segments());
        if log.is_empty() && pending == 0 && segments <= 2 {
            return None;
        }
        let is_empty = log.is_empty();
        Some(format!(
            "log {} keeps {segments} segments, {pending} octets wait, is_empty: {is_empty}",
            self.number
        ))
    }

    async fn until(
        &self,
        is_so: impl Fn(&Log) -> bool,
        ticket: Option<Ticket>,
    ) -> Result<(), NotDurable> {
        poll_fn(|cx| {
            let log = self.log.borrow();
            if is_so(&log) {
                return Poll::Ready(Ok(()));
            }
            if log.state() == State::Failed {
                return Poll::Ready(Err(NotDurable::Failed));
            }
            self.waiting.borrow_mut().push((ticket, cx.waker().clone()));
            Poll::Pending
        })
        .await
    }

    async fn retry(
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
                    self.waiting.borrow_mut().push((None, cx.waker().clone()));
                    self.work();
                    Poll::Pending
                }
                other => Poll::Ready(other),
            }
        })
        .await;
        self.work();
        if let Ok(ticket) = result {
            self.appended.set(ticket);
        }
        result.map_err(|refused| match refused.why {
            Refusal::Full => NotDurable::Full,
            Refusal::TooLarge => NotDurable::TooLarge,
            Refusal::Failed | Refusal::Busy | Refusal::Unheld => NotDurable::Failed,
        })
    }

    fn work(self: &Rc<Self>) {
        if !self.is_working.replace(true) {
            let work = Rc::clone(self).run();
            self.around.tasks.spawn(Owner::Gateway, work);
        }
    }

    async fn run(self: Rc<Self>) {
        loop {
            let before = self.state();
            let handed = self.appended.get();
            let op = self.log.borrow_mut().next();
            let Some(op) = op else {
                if before != State::Full {
                    break;
                }
                self.around.ledger.borrow_mut().totals.full_disks += 1;
                self.around.tasks.sleep(FULL_RETRY_INTERVAL).await;
                self.log.borrow_mut().retry_create();
                continue;
            };
            let result = self.perform(&op).await;
            if matches!(op, DiskOp::Write { .. }) && result.is_ok() {
                self.written.set(handed);
            }
            self.log.borrow_mut().done(result);
            self.wake();
        }
        self.is_working.set(false);
        self.wake();
    }

    async fn perform(&self, op: &DiskOp) -> Result<(), DiskError> {
        let Surroundings { tasks, disk, ledger, .. } = &*self.around;
        self.flight.replace(Some(op.clone()));
        tasks.sleep(tasks.delay(SLOWEST)).await;
        self.flight.take();
        let may_fail = matches!(op, DiskOp::Write { .. } | DiskOp::Sync { .. });
        if may_fail && self.around.has_faults.get() && tasks.chance(1, 300) {
            tasks.with_random(|random| disk.borrow_mut().fail_sync(self.number, op, random));
            ledger.borrow_mut().totals.failed_disks += 1;
            return Err(DiskError::Failed);
        }
        disk.borrow_mut().carry_out(self.number, op)
    }

    fn wake(&self) {
        let (durable, has_failed) = {
            let log = self.log.borrow();
            (log.durable(), log.state() == State::Failed)
        };
        self.waiting.borrow_mut().retain(|(ticket, waker)| {
            let goes_on = has_failed || ticket.is_none_or(|ticket| ticket <= durable);
            if goes_on {
                waker.wake_by_ref();
            }
            !goes_on
        });
        assert!(self.log.borrow().segments() <= LIMITS.max_segments + EXTRA_SEGMENTS);
    }
}

/// The octets of a piece; none if they are not those that were written.
pub(super) async fn read(around: &Surroundings, piece: Piece) -> Option<Bytes> {
    if piece.length == 0 {
        return Some(Bytes::new());
    }
    around.tasks.sleep(around.tasks.delay(SLOWEST)).await;
    let disk = around.disk.borrow();
    let octets = disk.read(&piece)?;
    piece.verifies(octets).then(|| Bytes::copy_from_slice(octets))
}

const FULL_RETRY_INTERVAL: Duration = Duration::from_secs(1);
const SLOWEST: Duration = Duration::from_millis(100);
/// Outcomes and restarts may take more segments than content.
const EXTRA_SEGMENTS: usize = 24;
