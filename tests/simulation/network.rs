//! A network that splits, delays, loses and resets, as its seed says.
//!
//! What was sent on one connection arrives in order or not at all; where it is split has nothing
//! to do with how it was sent. A reset takes what is still under way with it, or does not.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::poll_fn,
    io,
    rc::Rc,
    task::{Poll, Waker},
    time::Duration,
};

use ringpost_core::time::Time;

use crate::tasks::Tasks;

/// One end of a connection. Dropping it closes both directions.
pub(crate) struct End {
    tasks: Tasks,
    line: Rc<Line>,
    to: Rc<Channel<Vec<u8>>>,
    from: Rc<Channel<Vec<u8>>>,
}

/// What both ends share.
pub(crate) struct Line {
    /// Octets until it is reset.
    fuse: Cell<Option<usize>>,
    is_reset: Cell<bool>,
}

/// Things on their way, in order, each with the time of its arrival.
pub(crate) struct Channel<T> {
    way: RefCell<VecDeque<(Time, T)>>,
    last: Cell<Time>,
    waker: RefCell<Option<Waker>>,
    /// Nothing more will be sent.
    is_ended: Cell<bool>,
    /// Nobody receives any more.
    is_deaf: Cell<bool>,
}

/// A connection between two ends; with `faults` it may be reset after any octet.
pub(crate) fn connect(tasks: &Tasks, faults: bool) -> (End, End) {
    let fuse = (faults && tasks.chance(1, 6)).then(|| tasks.below(1 << (4 + tasks.below(9))));
    let line = Rc::new(Line { fuse: Cell::new(fuse), is_reset: Cell::new(false) });
    let [there, back] = [(); 2].map(|()| Rc::new(Channel::new()));
    let end = |to: &Rc<_>, from: &Rc<_>| End {
        tasks: tasks.clone(),
        line: Rc::clone(&line),
        to: Rc::clone(to),
        from: Rc::clone(from),
    };
    (end(&there, &back), end(&back, &there))
}

impl End {
    pub(crate) fn send(&self, octets: &[u8]) -> io::Result<()> {
        if self.line.is_reset.get() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let mut rest = octets;
        if let Some(fuse) = self.line.fuse.get() {
            rest = &octets[..octets.len().min(fuse)];
            self.line.fuse.set(Some(fuse - rest.len()));
        }
        let burns_out = rest.len() < octets.len();
        if self.to.is_deaf.get() {
            self.reset();
            return Ok(());
        }
        while !rest.is_empty() {
            let most = if self.tasks.chance(1, 2) { rest.len() } else { rest.len().min(60) };
            let (now, later) = rest.split_at(1 + self.tasks.below(most));
            self.to.send(&self.tasks, now.to_vec(), SLOWEST);
            rest = later;
        }
        if burns_out {
            self.reset();
        }
        // The kernel has taken it; that it is lost is found out later, if at all.
        Ok(())
    }

    /// What has arrived; nothing when the other end has closed.
    pub(crate) async fn receive(&self) -> io::Result<Vec<u8>> {
        poll_fn(|cx| {
            let has_something = !self.from.is_empty();
            let is_over = self.line.is_reset.get() || self.from.is_ended.get();
            if has_something || is_over {
                return Poll::Ready(());
            }
            self.from.waker.replace(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
        match self.from.receive(&self.tasks).await {
            Some(octets) => Ok(octets),
            None if self.line.is_reset.get() => Err(io::ErrorKind::ConnectionReset.into()),
            None => Ok(Vec::new()),
        }
    }

    /// Says that nothing more will be sent, and goes on receiving.
    pub(crate) fn shut(&self) {
        self.to.end();
    }

    pub(crate) fn reset(&self) {
        if !self.line.is_reset.replace(true) {
            for channel in [&self.to, &self.from] {
                if self.tasks.chance(1, 2) {
                    channel.way.borrow_mut().clear();
                }
                channel.wake();
            }
        }
    }

    /// To look after the end is gone whether the connection was reset.
    pub(crate) fn line(&self) -> Rc<Line> {
        Rc::clone(&self.line)
    }
}

impl Line {
    pub(crate) fn is_reset(&self) -> bool {
        self.is_reset.get()
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.to.end();
        self.from.is_deaf.set(true);
    }
}

impl<T> Channel<T> {
    pub(crate) const fn new() -> Self {
        Self {
            way: RefCell::new(VecDeque::new()),
            last: Cell::new(Time::ZERO),
            waker: RefCell::new(None),
            is_ended: Cell::new(false),
            is_deaf: Cell::new(false),
        }
    }

    pub(crate) fn send(&self, tasks: &Tasks, thing: T, slowest: Duration) {
        let arrival = (tasks.now() + tasks.delay(slowest)).max(self.last.get());
        self.last.set(arrival);
        self.way.borrow_mut().push_back((arrival, thing));
        self.wake();
    }

    /// The next thing, when it arrives; none if nothing is on its way.
    pub(crate) async fn receive(&self, tasks: &Tasks) -> Option<T> {
        let arrival = self.way.borrow().front().map(|(arrival, _)| *arrival)?;
        tasks.sleep_until(arrival).await;
        self.way.borrow_mut().pop_front().map(|(_, thing)| thing)
    }

    /// Waits until something is on its way.
    pub(crate) async fn wait(&self) {
        poll_fn(|cx| {
            if !self.is_empty() {
                return Poll::Ready(());
            }
            self.waker.replace(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.way.borrow().is_empty()
    }

    fn end(&self) {
        self.is_ended.set(true);
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

const SLOWEST: Duration = Duration::from_millis(2_000);
