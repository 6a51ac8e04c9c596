//! The shard's clocks, and alarms for everything that waits on a peer.
//!
//! One sweep a second looks at all alarms, instead of one kernel timer a read: time-outs in SMTP
//! are minutes (RFC 5321 4.5.3.2), so a second late is on time. With no alarms set, nothing runs.

use std::{
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    pin::pin,
    rc::{Rc, Weak},
    task::{Poll, Waker},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use glommio::timer::sleep;
use ringpost_core::time::{Date, Time};

/// The monotonic and the wall clock, and the alarms of one shard.
pub(crate) struct Clock {
    start: Instant,
    alarms: RefCell<Vec<Weak<Alarm>>>,
    sweeping: Cell<bool>,
}

/// Wakes whoever waits [`Alarm::within`] it when its deadline has passed.
pub(crate) struct Alarm {
    deadline: Cell<Time>,
    waker: RefCell<Option<Waker>>,
}

impl Clock {
    /// All shards share `start`, so that a [`Time`] means the same on each of them.
    pub(crate) fn new(start: Instant) -> Rc<Self> {
        Rc::new(Self { start, alarms: RefCell::default(), sweeping: Cell::new(false) })
    }

    pub(crate) fn now(&self) -> Time {
        let nanos = self.start.elapsed().as_nanos();
        Time::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    pub(crate) fn date(&self) -> Date {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Date::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    pub(crate) fn alarm(self: &Rc<Self>) -> Rc<Alarm> {
        let alarm = Rc::new(Alarm { deadline: Cell::new(Time::NEVER), waker: RefCell::default() });
        self.alarms.borrow_mut().push(Rc::downgrade(&alarm));
        if !self.sweeping.replace(true) {
            glommio::spawn_local(Rc::clone(self).sweep()).detach();
        }
        alarm
    }

    async fn sweep(self: Rc<Self>) {
        loop {
            sleep(SWEEP_INTERVAL).await;
            let now = self.now();
            self.alarms.borrow_mut().retain(|alarm| match alarm.upgrade() {
                Some(alarm) => {
                    if alarm.deadline.get() <= now {
                        alarm.wake();
                    }
                    true
                }
                None => false,
            });
            if self.alarms.borrow().is_empty() {
                self.sweeping.set(false);
                return;
            }
        }
    }
}

impl Alarm {
    /// Runs `work` until `deadline`; none if time ran out first.
    ///
    /// The clock is asked only when the alarm wakes the task, so a wait that ends in time costs
    /// two stores.
    pub(crate) async fn within<T>(
        &self,
        clock: &Clock,
        deadline: Time,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        self.deadline.set(deadline);
        let mut work = pin!(work);
        let outcome = poll_fn(|cx| {
            if let Poll::Ready(value) = work.as_mut().poll(cx) {
                return Poll::Ready(Some(value));
            }
            if self.deadline.get() <= clock.now() {
                return Poll::Ready(None);
            }
            self.waker.replace(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
        self.deadline.set(Time::NEVER);
        outcome
    }

    /// Makes the present wait end at once, as if its time had run out.
    pub(crate) fn ring(&self) {
        if self.deadline.get() != Time::NEVER {
            self.deadline.set(Time::ZERO);
            self.wake();
        }
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }
}

const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
