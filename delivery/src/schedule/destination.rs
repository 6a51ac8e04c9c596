//! One destination: its queue, its window, and where it stands in the schedule's lists.

use alloc::sync::Arc;

use ringpost_core::time::Time;

use super::{
    queue::Queue,
    window::{Reach, Share, Want, Window},
};

#[derive(Debug)]
pub(super) struct Destination {
    pub(super) domain: Arc<str>,
    pub(super) queue: Queue,
    pub(super) window: Window,
    /// Items taken and not settled.
    pub(super) active: u32,
    /// Whether it stands in the line for a connection.
    pub(super) has_turn: bool,
    /// Under which moment it stands among the timers.
    pub(super) timer: Option<Time>,
    /// Since when it stands among the vacant.
    pub(super) vacant: Option<Time>,
}

/// One destination in numbers, as `hoststatus` and `tophosts` show it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Tally<'a> {
    /// The recipient domain.
    pub domain: &'a Arc<str>,
    /// Whether it can be reached.
    pub reach: Reach,
    /// Connections open or being opened, the idle ones included.
    pub connections: u32,
    /// Connections waiting for items.
    pub idle: u32,
    /// Items that may be tried as soon as a connection is free.
    pub ready: u32,
    /// Items that wait for their next attempt.
    pub deferred: u32,
    /// Items being delivered.
    pub active: u32,
}

impl Destination {
    pub(super) fn new(domain: Arc<str>, share: Share) -> Self {
        Self {
            domain,
            queue: Queue::default(),
            window: Window::new(share),
            active: 0,
            has_turn: false,
            timer: None,
            vacant: None,
        }
    }

    pub(super) fn want(&self, now: Time) -> Want {
        match self.queue.waiting_since() {
            Some(since) => self.window.want(self.queue.ready(), since, now),
            None => Want::Nothing,
        }
    }

    /// Whether more items are ready than connections were promised one.
    pub(super) fn needs_connection(&self) -> bool {
        self.queue.ready() > self.window.pending() as usize
    }

    pub(super) fn hurry(&mut self, now: Time) {
        self.queue.ripen_all(now);
        self.window.hurry();
    }

    pub(super) fn is_vacant(&self) -> bool {
        let has_work = self.has_turn || self.active > 0 || self.window.open() > 0;
        !has_work && self.queue.is_empty()
    }

    pub(super) fn tally(&self) -> Tally<'_> {
        let count = |length| u32::try_from(length).expect("limits are 32 bits");
        Tally {
            domain: &self.domain,
            reach: self.window.reach(),
            connections: self.window.open(),
            idle: count(self.window.idle()),
            ready: count(self.queue.ready()),
            deferred: count(self.queue.deferred()),
            active: self.active,
        }
    }
}
