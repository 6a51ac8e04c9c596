//! Which delivery is next: every destination of one shard, its queue and its connections.
//!
//! The driver asks [`Schedule::next`] until it gives nothing, after each call that changed
//! something and again at [`Schedule::deadline`]. Destinations take turns at opening connections;
//! within one, items are first come, first served. The schedule never opens more than this shard's
//! share of a destination's connections, and shares add up to the limit (see [`crate::home`]).
//!
//! ```text
//! enqueue -> next: Open(lease) -> (connect) -> take -> Item -> settle -> take -> ... -> Close
//!                                     |                                    |            |
//!                                     v unreachable                        v Wait       v closed
//! ```

mod destination;
mod destinations;
mod item;
mod lease;
mod limits;
mod queue;
mod window;

use alloc::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};
use ringpost_core::time::Time;

use self::{
    destination::Destination, destinations::Destinations, item::Leaving, lease::Stage, window::Want,
};
pub use self::{
    destination::Tally,
    item::{Item, Limit, Refused, Settlement},
    lease::{ConnectionId, Lease},
    limits::{Counts, Limits},
    window::{
        COHORT, FIRST_HOLD, INITIAL_CONNECTIONS, ITEMS_PER_OPEN_CONNECTION, MAX_HOLD, PATIENCE,
        Reach, Share,
    },
};

/// The schedule of one shard.
#[derive(Debug)]
pub struct Schedule {
    limits: Limits,
    destinations: Destinations,
    /// Destinations that want a connection, in the order they get one.
    turns: VecDeque<u32>,
    /// When each destination that waits for a moment wants to be looked at.
    timers: BTreeSet<(Time, u32)>,
    /// Connections that wait for items, the oldest first.
    idle: BTreeMap<ConnectionId, u32>,
    /// Connections that were idle and are to come for an item, or to close.
    resumed: VecDeque<ConnectionId>,
    /// Of these, those that are to close in favour of another destination.
    yielding: BTreeSet<ConnectionId>,
    expired: VecDeque<Leaving>,
    /// Items of destinations this shard is no home to any more.
    homeless: VecDeque<Leaving>,
    /// Items inside: waiting, expired, homeless, or taken and not settled.
    items: u32,
    open: u32,
    next_connection: u64,
    draining: bool,
}

/// What the driver is to do.
#[derive(Debug)]
pub enum Next {
    /// Open a connection to the lease's domain, and [`Schedule::take`] once it can carry mail.
    Open(Lease),
    /// Wake whoever waits on this connection, to [`Schedule::take`] now. It may be closed already.
    Resume(ConnectionId),
    /// This item has left the schedule untried: it is too old.
    Expired {
        /// Its destination.
        domain: Arc<str>,
        /// The item.
        item: Item,
    },
}

/// What a connection is to do.
#[derive(Debug)]
pub enum Take {
    /// Deliver this, then [`Schedule::settle`].
    Item(Item),
    /// Nothing now. Take again when resumed, or at this moment.
    Wait(Time),
    /// Close, then [`Schedule::closed`].
    Close,
}

impl Schedule {
    /// An empty schedule.
    ///
    /// # Panics
    ///
    /// If a limit is zero.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let Limits { max_destinations, max_items, max_connections, .. } = limits;
        assert!(max_destinations > 0 && max_items > 0 && max_connections > 0, "limits of nothing");
        Self {
            limits,
            destinations: Destinations::new(max_destinations),
            turns: VecDeque::new(),
            timers: BTreeSet::new(),
            idle: BTreeMap::new(),
            resumed: VecDeque::new(),
            yielding: BTreeSet::new(),
            expired: VecDeque::new(),
            homeless: VecDeque::new(),
            items: 0,
            open: 0,
            next_connection: 0,
            draining: false,
        }
    }

    /// Takes charge of an item for `domain`, whose limits on this shard are `share` from now on.
    ///
    /// # Errors
    ///
    /// The item, when there is no room; nothing has changed then.
    pub fn enqueue(
        &mut self,
        domain: &Arc<str>,
        share: Share,
        item: Item,
        now: Time,
    ) -> Result<(), Refused> {
        if self.items >= self.limits.max_items {
            return Err(Refused { item, limit: Limit::Items });
        }
        let Some(slot) = self.destinations.slot_for(domain, share) else {
            return Err(Refused { item, limit: Limit::Destinations });
        };
        self.items += 1;
        let destination = self.at(slot);
        destination.window.adopt(share);
        destination.queue.push(item, now);
        self.review(slot, now);
        Ok(())
    }

    /// The next thing to do; none if there is nothing before [`Schedule::deadline`].
    pub fn next(&mut self, now: Time) -> Option<Next> {
        self.wake(now);
        if let Some((domain, item)) = self.expired.pop_front() {
            self.items -= 1;
            return Some(Next::Expired { domain, item });
        }
        if let Some(connection) = self.resumed.pop_front() {
            return Some(Next::Resume(connection));
        }
        while !self.draining && self.has_room() {
            let slot = self.turns.pop_front()?;
            self.at(slot).has_turn = false;
            if self.at(slot).want(now) == Want::Open {
                return Some(Next::Open(self.open(slot, now)));
            }
            self.review(slot, now);
        }
        self.make_way().map(Next::Resume)
    }

    /// What a connection that can carry mail is to do. The first call says that it can.
    pub fn take(&mut self, lease: &mut Lease, now: Time) -> Take {
        let slot = lease.slot;
        let gives_way = self.arrive(lease);
        let draining = self.draining;
        let destination = self.at(slot);
        destination.queue.ripen(now);
        let is_used_up = lease.taken >= destination.window.share.messages_per_connection;
        if draining || is_used_up || destination.window.is_over() {
            return self.dismiss(lease, now);
        }
        if let Some(item) = self.pop(slot, now) {
            lease.taken += 1;
            lease.stage = Stage::Busy;
            self.at(slot).active += 1;
            self.review(slot, now);
            return Take::Item(item);
        }
        let since = if let Stage::Idle(since) = lease.stage { since } else { now };
        let until = since + self.limits.idle_time;
        if until <= now || gives_way || (!self.has_room() && !self.turns.is_empty()) {
            return self.dismiss(lease, now);
        }
        lease.stage = Stage::Idle(since);
        self.idle.insert(lease.connection, slot);
        self.at(slot).window.idles(lease.connection);
        self.review(slot, now);
        Take::Wait(until)
    }

    /// The item last taken is dealt with.
    ///
    /// # Panics
    ///
    /// If the lease carries no item.
    pub fn settle(&mut self, lease: &mut Lease, settlement: Settlement, now: Time) {
        assert_eq!(lease.stage, Stage::Busy, "an item was taken");
        lease.stage = Stage::Settled;
        let destination = self.at(lease.slot);
        destination.active -= 1;
        if settlement.completed {
            destination.window.completed();
        } else {
            destination.window.broke(now);
        }
        match settlement.again {
            Some(item) => destination.queue.push(item, now),
            None => self.items -= 1,
        }
        self.review(lease.slot, now);
    }

    /// The connection could not be made, or broke before it could carry mail.
    ///
    /// The destination rests, `jitter` (any 64 random bits) deciding a little how long; what has
    /// grown too old in its queue comes out as [`Next::Expired`].
    ///
    /// # Panics
    ///
    /// If the lease has ever taken.
    pub fn unreachable(&mut self, lease: Lease, jitter: u64, now: Time) {
        assert_eq!(lease.stage, Stage::Opening, "a connection that worked is closed, not failed");
        let slot = lease.slot;
        self.release(lease);
        let destination = self.destinations.at(slot);
        destination.window.failed(jitter, now);
        let (domain, expired) = (&destination.domain, &mut self.expired);
        destination.queue.expire(now, |item| expired.push_back((domain.clone(), item)));
        self.review(slot, now);
    }

    /// The connection is gone. Every lease ends here or in [`Schedule::unreachable`].
    ///
    /// # Panics
    ///
    /// If an item was taken and not settled.
    pub fn closed(&mut self, lease: Lease, now: Time) {
        assert_ne!(lease.stage, Stage::Busy, "an item is settled before its connection is closed");
        let slot = lease.slot;
        self.release(lease);
        self.review(slot, now);
    }

    /// When to call [`Schedule::next`] again: [`Time::ZERO`] for at once, [`Time::NEVER`] if only
    /// another call can bring work.
    #[must_use]
    pub fn deadline(&self) -> Time {
        let opens = !self.draining && self.has_room() && !self.turns.is_empty();
        if opens || !self.resumed.is_empty() || !self.expired.is_empty() || self.may_yield() {
            return Time::ZERO;
        }
        if self.draining {
            return Time::NEVER;
        }
        self.timers.first().map_or(Time::NEVER, |&(time, _)| time)
    }

    /// Takes over the limits of a new configuration, destination by destination.
    ///
    /// Connections beyond a smaller share close as soon as they carry nothing; where the share is
    /// 0, the items leave by [`Schedule::rehome`]. Limits summed over shards are exact again once
    /// those connections are closed.
    pub fn adopt(&mut self, mut share: impl FnMut(&Arc<str>) -> Share, now: Time) {
        for slot in self.destinations.slots() {
            let destination = self.destinations.at(slot);
            destination.window.adopt(share(&destination.domain));
            while destination.window.is_over()
                && let Some(connection) = destination.window.resume()
            {
                self.idle.remove(&connection);
                self.resumed.push_back(connection);
            }
            self.review(slot, now);
        }
    }

    /// The next item whose destination this shard is no home to: hand it over to one that is. To
    /// be asked until there is none after [`Schedule::adopt`], and after each call that can bring
    /// one back ([`Schedule::settle`]) or in ([`Schedule::enqueue`]).
    pub fn rehome(&mut self) -> Option<(Arc<str>, Item)> {
        let leaving = self.homeless.pop_front()?;
        self.items -= 1;
        Some(leaving)
    }

    /// Opens nothing more, and closes each connection after the item it carries.
    pub fn drain(&mut self) {
        self.draining = true;
        for (connection, slot) in core::mem::take(&mut self.idle) {
            let resumed = self.at(slot).window.unidle(connection);
            assert!(resumed, "both lists of idle connections agree");
            self.at(slot).window.promised();
            self.resumed.push_back(connection);
        }
    }

    /// Whether no connection is open and no item is being delivered.
    #[must_use]
    pub const fn is_drained(&self) -> bool {
        self.open == 0
    }

    /// Goes on after [`Schedule::drain`] (`resume delivery`).
    pub fn resume(&mut self) {
        self.draining = false;
    }

    /// Tries everything for `domain` now, due or not, down or not (`deliver now`). False if
    /// nothing is known about it.
    pub fn deliver_now(&mut self, domain: &Arc<str>, now: Time) -> bool {
        let Some(slot) = self.destinations.slot(domain) else {
            return false;
        };
        self.at(slot).hurry(now);
        self.review(slot, now);
        true
    }

    /// All destinations together. Linear in their number.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut counts = Counts { connections: self.open, ..Counts::default() };
        for tally in self.tallies() {
            counts.destinations += 1;
            counts.down += u32::from(matches!(tally.reach, Reach::Down { .. }));
            counts.ready += tally.ready;
            counts.deferred += tally.deferred;
            counts.active += tally.active;
        }
        counts
    }

    /// One destination, if anything is known about it.
    #[must_use]
    pub fn tally(&self, domain: &Arc<str>) -> Option<Tally<'_>> {
        let slot = self.destinations.slot(domain)?;
        Some(self.destinations.get(slot).tally())
    }

    /// Each destination, by name.
    pub fn tallies(&self) -> impl Iterator<Item = Tally<'_>> {
        self.destinations.iter().map(Destination::tally)
    }

    /// What waits for one destination, the ready items in order.
    pub fn waiting(&self, domain: &Arc<str>) -> impl Iterator<Item = &Item> {
        let slot = self.destinations.slot(domain).into_iter();
        slot.flat_map(|slot| self.destinations.get(slot).queue.iter())
    }

    /// Looks at the destinations whose moment has come.
    fn wake(&mut self, now: Time) {
        while !self.draining
            && let Some(&(time, slot)) = self.timers.first()
            && time <= now
        {
            self.at(slot).queue.ripen(now);
            self.review(slot, now);
        }
    }

    /// Brings every list in line with what a destination has become. Called after every change.
    fn review(&mut self, slot: u32, now: Time) {
        let destination = self.destinations.at(slot);
        if destination.window.share.connections == 0 {
            let domain = &destination.domain;
            let items = destination.queue.drain();
            self.homeless.extend(items.map(|item| (domain.clone(), item)));
        }
        while destination.needs_connection()
            && let Some(connection) = destination.window.resume()
        {
            self.idle.remove(&connection);
            self.resumed.push_back(connection);
        }
        let want = destination.want(now);
        if want == Want::Open && !destination.has_turn {
            destination.has_turn = true;
            self.turns.push_back(slot);
        }
        let due = destination.queue.next_due();
        let timer = if let Want::Later(time) = want { time.min(due) } else { due };
        let timer = (timer != Time::NEVER).then_some(timer);
        if timer != destination.timer {
            if let Some(old) = core::mem::replace(&mut destination.timer, timer) {
                self.timers.remove(&(old, slot));
            }
            self.timers.extend(timer.map(|time| (time, slot)));
        }
        self.destinations.note_vacancy(slot, now);
    }

    fn open(&mut self, slot: u32, now: Time) -> Lease {
        let connection = ConnectionId(self.next_connection);
        self.next_connection += 1;
        self.open += 1;
        assert!(self.open <= self.limits.max_connections, "the limit of connections is exact");
        let destination = self.at(slot);
        destination.window.opened();
        let domain = destination.domain.clone();
        self.review(slot, now);
        Lease { connection, slot, domain, taken: 0, stage: Stage::Opening }
    }

    /// Notes that a connection has come to take; says whether it was asked to close instead.
    fn arrive(&mut self, lease: &Lease) -> bool {
        match lease.stage {
            Stage::Opening => {
                self.at(lease.slot).window.came();
                self.at(lease.slot).window.reached();
            }
            Stage::Idle(_) => self.stir(lease),
            Stage::Settled => {}
            Stage::Busy | Stage::Closing => panic!("a connection takes when it is free"),
        }
        self.yielding.remove(&lease.connection)
    }

    /// An idle connection moves: by itself, or because it was resumed.
    fn stir(&mut self, lease: &Lease) {
        let window = &mut self.destinations.at(lease.slot).window;
        if self.idle.remove(&lease.connection).is_some() {
            let was_idle = window.unidle(lease.connection);
            assert!(was_idle, "both lists of idle connections agree");
        } else {
            window.came();
        }
    }

    /// The first item that is not too old.
    fn pop(&mut self, slot: u32, now: Time) -> Option<Item> {
        loop {
            let item = self.at(slot).queue.pop()?;
            if now <= item.expires {
                return Some(item);
            }
            let domain = self.at(slot).domain.clone();
            self.expired.push_back((domain, item));
        }
    }

    fn dismiss(&mut self, lease: &mut Lease, now: Time) -> Take {
        lease.stage = Stage::Closing;
        self.review(lease.slot, now);
        Take::Close
    }

    fn release(&mut self, lease: Lease) {
        match lease.stage {
            Stage::Opening => self.at(lease.slot).window.came(),
            Stage::Idle(_) => self.stir(&lease),
            Stage::Busy | Stage::Settled | Stage::Closing => {}
        }
        self.yielding.remove(&lease.connection);
        self.at(lease.slot).window.closed();
        self.open -= 1;
    }

    /// Asks an idle connection to close, if a destination waits for one and there is no room.
    fn make_way(&mut self) -> Option<ConnectionId> {
        if !self.may_yield() {
            return None;
        }
        let (connection, slot) = self.idle.pop_first()?;
        let window = &mut self.at(slot).window;
        window.unidle(connection);
        window.promised();
        self.yielding.insert(connection);
        Some(connection)
    }

    fn may_yield(&self) -> bool {
        let wanted = self.turns.len() > self.yielding.len();
        wanted && !self.draining && !self.has_room() && !self.idle.is_empty()
    }

    const fn has_room(&self) -> bool {
        self.open < self.limits.max_connections
    }

    fn at(&mut self, slot: u32) -> &mut Destination {
        self.destinations.at(slot)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use core::time::Duration;
    use std::{format, vec::Vec};

    use ringpost_core::{id::Mid, time::Date};

    use super::*;

    const MIDDLE: u64 = 1 << 63;
    const SHARE: Share = Share { connections: 4, messages_per_connection: 3 };

    fn seconds(count: u64) -> Time {
        Time::ZERO + Duration::from_secs(count)
    }

    fn item(mid: u64) -> Item {
        Item {
            mid: Mid(mid),
            rids: Default::default(),
            attempts: 0,
            first_queued: Date::from_millis(0),
            not_before: Time::ZERO,
            expires: seconds(1_000),
            size: 1,
        }
    }

    fn schedule(limits: Limits, items: &[(&str, u64)]) -> Schedule {
        let mut schedule = Schedule::new(limits);
        for &(domain, mid) in items {
            schedule.enqueue(&domain.into(), SHARE, item(mid), Time::ZERO).unwrap();
        }
        schedule
    }

    fn open(schedule: &mut Schedule, now: Time) -> Lease {
        match schedule.next(now) {
            Some(Next::Open(lease)) => lease,
            other => panic!("{other:?} is not a connection to open"),
        }
    }

    fn taken(schedule: &mut Schedule, lease: &mut Lease, now: Time) -> u64 {
        match schedule.take(lease, now) {
            Take::Item(item) => item.mid.0,
            other => panic!("{other:?} is no item"),
        }
    }

    fn done() -> Settlement {
        Settlement { completed: true, again: None }
    }

    #[test]
    fn a_connection_carries_its_number_of_items_and_closes() {
        let items: Vec<_> = (0..4).map(|mid| ("a.example", mid)).collect();
        let mut schedule = schedule(Limits::default(), &items);
        assert_eq!(schedule.deadline(), Time::ZERO);
        let mut lease = open(&mut schedule, Time::ZERO);
        for mid in 0..3 {
            assert_eq!(taken(&mut schedule, &mut lease, Time::ZERO), mid);
            schedule.settle(&mut lease, done(), Time::ZERO);
        }
        assert!(matches!(schedule.take(&mut lease, Time::ZERO), Take::Close));
        assert_eq!(lease.taken(), 3);
        schedule.closed(lease, Time::ZERO);
        let mut lease = open(&mut schedule, Time::ZERO);
        assert_eq!(taken(&mut schedule, &mut lease, Time::ZERO), 3);
    }

    #[test]
    fn an_idle_connection_is_resumed_for_a_new_item_and_closes_after_its_time() {
        let mut schedule = schedule(Limits::default(), &[("a.example", 1)]);
        let mut lease = open(&mut schedule, Time::ZERO);
        taken(&mut schedule, &mut lease, Time::ZERO);
        schedule.settle(&mut lease, done(), seconds(1));
        let until = seconds(6);
        assert!(matches!(schedule.take(&mut lease, seconds(1)), Take::Wait(time) if time == until));
        assert!(schedule.next(seconds(2)).is_none());
        schedule.enqueue(&"A.Example".into(), SHARE, item(2), seconds(3)).unwrap();
        let resumed = schedule.next(seconds(3));
        assert!(matches!(resumed, Some(Next::Resume(id)) if id == lease.connection()));
        assert!(schedule.next(seconds(3)).is_none(), "the item is promised to the connection");
        assert_eq!(taken(&mut schedule, &mut lease, seconds(3)), 2);
        schedule.settle(&mut lease, done(), seconds(3));
        assert!(matches!(schedule.take(&mut lease, seconds(3)), Take::Wait(_)));
        assert!(matches!(schedule.take(&mut lease, seconds(8)), Take::Close));
        schedule.closed(lease, seconds(8));
        assert_eq!(schedule.deadline(), Time::NEVER);
    }

    #[test]
    fn an_item_promised_to_a_connection_that_breaks_gets_another() {
        let mut schedule = schedule(Limits::default(), &[("a.example", 1)]);
        let mut lease = open(&mut schedule, Time::ZERO);
        taken(&mut schedule, &mut lease, Time::ZERO);
        schedule.settle(&mut lease, done(), Time::ZERO);
        assert!(matches!(schedule.take(&mut lease, Time::ZERO), Take::Wait(_)));
        schedule.enqueue(&"a.example".into(), SHARE, item(2), Time::ZERO).unwrap();
        assert!(matches!(schedule.next(Time::ZERO), Some(Next::Resume(_))));
        schedule.closed(lease, Time::ZERO);
        let mut lease = open(&mut schedule, Time::ZERO);
        assert_eq!(taken(&mut schedule, &mut lease, Time::ZERO), 2);
    }

    #[test]
    fn the_queue_of_a_destination_that_is_down_waits_as_one() {
        let items: Vec<_> = (0..100).map(|mid| ("a.example", mid)).collect();
        let mut schedule = schedule(Limits::default(), &items);
        let leases = [open(&mut schedule, Time::ZERO), open(&mut schedule, Time::ZERO)];
        for lease in leases {
            schedule.unreachable(lease, MIDDLE, Time::ZERO);
        }
        assert_eq!(schedule.deadline(), seconds(5));
        assert!(schedule.next(seconds(4)).is_none());
        let mut probe = open(&mut schedule, seconds(5));
        assert!(schedule.next(seconds(5)).is_none(), "one probe");
        assert_eq!(schedule.counts().down, 1);
        assert_eq!(taken(&mut schedule, &mut probe, seconds(6)), 0);
        assert_eq!(schedule.counts().down, 0);
        assert!(matches!(schedule.next(seconds(6)), Some(Next::Open(_))));
    }

    #[test]
    fn deferred_items_come_back_when_due_and_only_then() {
        let mut schedule = schedule(Limits::default(), &[("a.example", 1)]);
        let mut lease = open(&mut schedule, Time::ZERO);
        let Take::Item(mut item) = schedule.take(&mut lease, Time::ZERO) else { panic!("item") };
        item.not_before = seconds(60);
        let settlement = Settlement { completed: true, again: Some(item) };
        schedule.settle(&mut lease, settlement, Time::ZERO);
        schedule.closed(lease, Time::ZERO);
        assert_eq!(schedule.deadline(), seconds(60));
        assert!(schedule.next(seconds(59)).is_none());
        assert_eq!(schedule.counts().deferred, 1);
        let mut lease = open(&mut schedule, seconds(60));
        assert_eq!(taken(&mut schedule, &mut lease, seconds(60)), 1);
    }

    #[test]
    fn an_item_that_is_too_old_comes_back_untried() {
        let mut schedule = schedule(Limits::default(), &[("a.example", 1), ("b.example", 2)]);
        let mut lease = open(&mut schedule, seconds(1_001));
        assert!(matches!(schedule.take(&mut lease, seconds(1_001)), Take::Wait(_)));
        let other = open_after_expired(&mut schedule, 1);
        schedule.unreachable(other, MIDDLE, seconds(1_001));
        let Some(Next::Expired { domain, item }) = schedule.next(seconds(1_001)) else {
            panic!("the queue of an unreachable destination is searched")
        };
        assert_eq!((&*domain, item.mid.0), ("b.example", 2));
        assert_eq!(schedule.counts().ready, 0);
    }

    fn open_after_expired(schedule: &mut Schedule, mid: u64) -> Lease {
        let Some(Next::Expired { item, .. }) = schedule.next(seconds(1_001)) else {
            panic!("an expired item")
        };
        assert_eq!(item.mid.0, mid);
        open(schedule, seconds(1_001))
    }

    #[test]
    fn destinations_take_turns_at_opening_connections() {
        let domain = |mid| if mid < 15 { "a.example" } else { "b.example" };
        let items: Vec<_> = (0..30).map(|mid| (domain(mid), mid)).collect();
        let mut schedule = schedule(Limits { max_connections: 3, ..Limits::default() }, &items);
        let domains: Vec<_> =
            (0..3).map(|_| open(&mut schedule, Time::ZERO).domain().clone()).collect();
        assert_eq!(domains, ["a.example".into(), "b.example".into(), "a.example".into()]);
        assert!(schedule.next(Time::ZERO).is_none());
        assert_eq!(schedule.deadline(), Time::NEVER, "only a closed connection makes room");
    }

    #[test]
    fn an_idle_connection_gives_way_to_a_destination_that_has_none() {
        let limits = Limits { max_connections: 1, ..Limits::default() };
        let mut schedule = schedule(limits, &[("a.example", 1)]);
        let mut lease = open(&mut schedule, Time::ZERO);
        taken(&mut schedule, &mut lease, Time::ZERO);
        schedule.settle(&mut lease, done(), Time::ZERO);
        assert!(matches!(schedule.take(&mut lease, Time::ZERO), Take::Wait(_)));
        schedule.enqueue(&"b.example".into(), SHARE, item(2), Time::ZERO).unwrap();
        assert_eq!(schedule.deadline(), Time::ZERO);
        assert!(matches!(schedule.next(Time::ZERO), Some(Next::Resume(_))));
        assert!(schedule.next(Time::ZERO).is_none());
        assert!(matches!(schedule.take(&mut lease, Time::ZERO), Take::Close));
        schedule.closed(lease, Time::ZERO);
        assert_eq!(&**open(&mut schedule, Time::ZERO).domain(), "b.example");
    }

    #[test]
    fn without_room_an_item_is_refused_and_given_back() {
        let limits = Limits { max_items: 2, max_destinations: 1, ..Limits::default() };
        let mut schedule = schedule(limits, &[("a.example", 1)]);
        let refused = schedule.enqueue(&"b.example".into(), SHARE, item(2), Time::ZERO);
        assert_eq!(refused, Err(Refused { item: item(2), limit: Limit::Destinations }));
        schedule.enqueue(&"a.example".into(), SHARE, item(3), Time::ZERO).unwrap();
        let refused = schedule.enqueue(&"a.example".into(), SHARE, item(4), Time::ZERO);
        assert_eq!(refused, Err(Refused { item: item(4), limit: Limit::Items }));
    }

    #[test]
    fn the_longest_idle_destination_is_forgotten_first() {
        let limits = Limits { max_destinations: 2, ..Limits::default() };
        let mut schedule = schedule(limits, &[]);
        for (second, domain) in ["a.example", "b.example", "c.example"].iter().enumerate() {
            let now = seconds(second as u64);
            schedule.enqueue(&(*domain).into(), SHARE, item(second as u64), now).unwrap();
            let mut lease = open(&mut schedule, now);
            taken(&mut schedule, &mut lease, now);
            schedule.settle(&mut lease, done(), now);
            schedule.closed(lease, now);
        }
        let known: Vec<_> = schedule.tallies().map(|tally| format!("{}", tally.domain)).collect();
        assert_eq!(known, ["b.example", "c.example"]);
        assert_eq!(schedule.tally(&"C.example".into()).unwrap().reach, Reach::Up);
    }

    #[test]
    fn connections_beyond_a_smaller_share_close_at_their_next_turn() {
        let items: Vec<_> = (0..20).map(|mid| ("a.example", mid)).collect();
        let mut schedule = schedule(Limits::default(), &items);
        let mut leases = [open(&mut schedule, Time::ZERO), open(&mut schedule, Time::ZERO)];
        for lease in &mut leases {
            taken(&mut schedule, lease, Time::ZERO);
        }
        let share = Share { connections: 1, ..SHARE };
        schedule.enqueue(&"a.example".into(), share, item(99), Time::ZERO).unwrap();
        let [mut first, mut second] = leases;
        schedule.settle(&mut first, done(), Time::ZERO);
        assert!(matches!(schedule.take(&mut first, Time::ZERO), Take::Close));
        schedule.closed(first, Time::ZERO);
        schedule.settle(&mut second, done(), Time::ZERO);
        assert_eq!(taken(&mut schedule, &mut second, Time::ZERO), 2);
        assert!(schedule.next(Time::ZERO).is_none());
    }

    #[test]
    fn a_shard_that_is_no_home_any_more_gives_its_items_away() {
        let items: Vec<_> = (0..4).map(|mid| ("a.example", mid)).collect();
        let mut schedule = schedule(Limits::default(), &items);
        let mut busy = open(&mut schedule, Time::ZERO);
        let Take::Item(item) = schedule.take(&mut busy, Time::ZERO) else { panic!("item") };
        let nothing = Share { connections: 0, ..SHARE };
        schedule.adopt(|_| nothing, Time::ZERO);
        let left: Vec<_> = core::iter::from_fn(|| schedule.rehome()).collect();
        assert_eq!(left.len(), 3);
        assert!(schedule.next(Time::ZERO).is_none());
        let settlement = Settlement { completed: true, again: Some(item) };
        schedule.settle(&mut busy, settlement, Time::ZERO);
        assert_eq!(schedule.rehome().unwrap().1.mid, Mid(0));
        assert!(matches!(schedule.take(&mut busy, Time::ZERO), Take::Close));
        schedule.closed(busy, Time::ZERO);
        assert_eq!(schedule.deadline(), Time::NEVER);
        schedule.adopt(|_| SHARE, Time::ZERO);
        let (domain, item) = left.into_iter().next().unwrap();
        schedule.enqueue(&domain, SHARE, item, Time::ZERO).unwrap();
        let mut lease = open(&mut schedule, Time::ZERO);
        assert_eq!(taken(&mut schedule, &mut lease, Time::ZERO), 1);
    }

    #[test]
    fn draining_closes_what_is_open_and_opens_nothing() {
        let items: Vec<_> = (0..9).map(|mid| ("a.example", mid)).collect();
        let mut schedule = schedule(Limits::default(), &items);
        let mut lease = open(&mut schedule, Time::ZERO);
        taken(&mut schedule, &mut lease, Time::ZERO);
        schedule.drain();
        assert!(schedule.next(Time::ZERO).is_none());
        assert_eq!(schedule.deadline(), Time::NEVER);
        schedule.settle(&mut lease, done(), Time::ZERO);
        assert!(matches!(schedule.take(&mut lease, Time::ZERO), Take::Close));
        assert!(!schedule.is_drained());
        schedule.closed(lease, Time::ZERO);
        assert!(schedule.is_drained() && schedule.next(Time::ZERO).is_none());
        schedule.resume();
        assert_eq!(open(&mut schedule, Time::ZERO).domain().as_bytes(), b"a.example");
    }

    #[test]
    fn deliver_now_waits_for_neither_retry_nor_rest() {
        let mut schedule = schedule(Limits::default(), &[("a.example", 1)]);
        let later = Item { not_before: seconds(600), ..item(2) };
        schedule.enqueue(&"a.example".into(), SHARE, later, Time::ZERO).unwrap();
        let lease = open(&mut schedule, Time::ZERO);
        schedule.unreachable(lease, MIDDLE, Time::ZERO);
        assert!(schedule.next(Time::ZERO).is_none());
        assert!(schedule.deliver_now(&"a.example".into(), Time::ZERO));
        assert!(!schedule.deliver_now(&"z.example".into(), Time::ZERO));
        let mut lease = open(&mut schedule, Time::ZERO);
        assert_eq!(taken(&mut schedule, &mut lease, Time::ZERO), 1);
        schedule.settle(&mut lease, done(), Time::ZERO);
        assert_eq!(taken(&mut schedule, &mut lease, Time::ZERO), 2);
    }

    #[test]
    #[should_panic(expected = "an item is settled before its connection is closed")]
    fn an_item_cannot_be_lost_with_its_connection() {
        let mut schedule = schedule(Limits::default(), &[("a.example", 1)]);
        let mut lease = open(&mut schedule, Time::ZERO);
        taken(&mut schedule, &mut lease, Time::ZERO);
        schedule.closed(lease, Time::ZERO);
    }
}
