//! The deliveries this shard is home to: drives the schedule, keeps the messages it speaks of.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
    sync::Arc,
    task::Waker,
};

use glommio::{Task, timer::sleep};
use ringpost_config::Snapshot;
use ringpost_core::{
    event::{Event, Failure},
    id::{Dcid, Mid, Rids},
    time::{Date, Time},
};
use ringpost_delivery::{
    home::homes,
    outcome::{self, Outcome},
    schedule::{ConnectionId, Item, Lease, Limits, Next, Schedule, Settlement, Share, Take},
};

use crate::{
    held::Held,
    mesh::Handover,
    message::{Assignment, Fate, Settled},
    outbound, queue,
    random::Random,
    shard::Shard,
};

/// The schedule of one shard and what it needs to be carried out.
pub(crate) struct Home {
    schedule: RefCell<Schedule>,
    pub(crate) held: Held,
    /// Idle connections, waiting to be resumed.
    idle: RefCell<HashMap<ConnectionId, Waker>>,
    /// When the timer task will look next.
    alarm: Cell<Time>,
    timer: RefCell<Option<Task<()>>>,
    random: Random,
}

/// What `status` wants to know.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) connections: u64,
    pub(crate) recipients: u64,
    pub(crate) destinations: u64,
}

impl Home {
    pub(crate) fn new(snapshot: &Snapshot, shards: u16, random: Random) -> Self {
        let all = snapshot.delivery.max_connections;
        let schedule = Schedule::new(Limits {
            max_destinations: DESTINATIONS_MAX,
            max_items: ITEMS_MAX,
            max_connections: (all / u32::from(shards)).max(1),
            idle_time: snapshot.delivery.idle_timeout,
        });
        Self {
            schedule: RefCell::new(schedule),
            held: Held::default(),
            idle: RefCell::default(),
            alarm: Cell::new(Time::NEVER),
            timer: RefCell::default(),
            random,
        }
    }

    /// Takes responsibility for delivering an assignment, and begins if it can.
    pub(crate) fn take_over(&self, shard: &Rc<Shard>, assignment: Assignment) {
        let now = shard.clock.now();
        let Assignment { message, domain, rids, attempts, not_before } = assignment;
        let snapshot = shard.snapshot();
        let date = shard.clock.date();
        let age = date.since(message.accepted.received);
        let left = snapshot.bounce.max_time_in_queue.saturating_sub(age);
        let item = Item {
            mid: message.mid,
            rids,
            attempts,
            first_queued: message.accepted.received,
            not_before: not_before.map_or(Time::ZERO, |until| now + until.since(date)),
            expires: now + left,
            size: message.size(),
        };
        self.held.hold(message);
        self.enqueue(shard, &domain, item);
        self.advance(shard);
    }

    /// Does what the schedule wants done now, and sets the timer for later.
    pub(crate) fn advance(&self, shard: &Rc<Shard>) {
        loop {
            let next = self.schedule.borrow_mut().next(shard.clock.now());
            match next {
                Some(Next::Open(lease)) => {
                    glommio::spawn_local(outbound::run(Rc::clone(shard), lease)).detach();
                }
                Some(Next::Resume(connection)) => {
                    if let Some(waker) = self.idle.borrow_mut().remove(&connection) {
                        waker.wake();
                    }
                }
                Some(Next::Expired { item, .. }) => self.expire(shard, item),
                None => break,
            }
        }
        self.send_home(shard);
        self.set_timer(shard);
    }

    /// Takes over new limits. What this shard is no home to any more goes to one that is.
    pub(crate) fn adopt(&self, shard: &Rc<Shard>) {
        let now = shard.clock.now();
        self.schedule.borrow_mut().adopt(|domain| share(shard, domain), now);
        self.advance(shard);
    }

    /// What a connection is to carry next.
    pub(crate) fn take(&self, shard: &Rc<Shard>, lease: &mut Lease) -> Take {
        let take = self.schedule.borrow_mut().take(lease, shard.clock.now());
        if matches!(take, Take::Wait(_)) {
            // Before anything else is done, so that no call to resume comes too early.
            self.await_resume(lease.connection(), Waker::noop());
        }
        self.advance(shard);
        take
    }

    /// Notes who waits for a connection to be resumed.
    pub(crate) fn await_resume(&self, connection: ConnectionId, waker: &Waker) {
        self.idle.borrow_mut().insert(connection, waker.clone());
    }

    pub(crate) fn is_waiting(&self, connection: ConnectionId) -> bool {
        self.idle.borrow().contains_key(&connection)
    }

    pub(crate) fn stop_waiting(&self, connection: ConnectionId) {
        self.idle.borrow_mut().remove(&connection);
    }

    /// Closes the books on an attempt: tells the owner, and keeps what is to be tried again.
    pub(crate) fn settle(
        &self,
        shard: &Rc<Shard>,
        lease: &mut Lease,
        item: &Item,
        completed: bool,
        results: Results,
    ) {
        let again = self.judge(shard, item, results);
        let now = shard.clock.now();
        let settlement = Settlement { completed, again };
        self.schedule.borrow_mut().settle(lease, settlement, now);
        self.advance(shard);
    }

    /// The connection could not carry mail; the destination rests.
    pub(crate) fn unreachable(&self, shard: &Rc<Shard>, lease: Lease) {
        self.stop_waiting(lease.connection());
        let (jitter, now) = (self.random.next(), shard.clock.now());
        self.schedule.borrow_mut().unreachable(lease, jitter, now);
        self.advance(shard);
    }

    /// The connection is gone, and with it whoever waited for it.
    pub(crate) fn closed(&self, shard: &Rc<Shard>, lease: Lease) {
        self.stop_waiting(lease.connection());
        self.schedule.borrow_mut().closed(lease, shard.clock.now());
        self.advance(shard);
    }

    pub(crate) fn rotation(&self) -> u64 {
        self.random.next()
    }

    pub(crate) fn drain(&self) {
        self.schedule.borrow_mut().drain();
        // Nothing waits for a moment any more.
        self.alarm.set(Time::NEVER);
        self.timer.take();
    }

    pub(crate) fn is_quiet(&self) -> bool {
        self.schedule.borrow().is_drained()
    }

    pub(crate) fn counts(&self) -> Counts {
        let counts = self.schedule.borrow().counts();
        Counts {
            connections: u64::from(counts.connections),
            recipients: u64::from(counts.ready + counts.deferred + counts.active),
            destinations: u64::from(counts.destinations),
        }
    }

    fn enqueue(&self, shard: &Rc<Shard>, domain: &Arc<str>, item: Item) {
        let share = share(shard, domain);
        let now = shard.clock.now();
        let refused = self.schedule.borrow_mut().enqueue(domain, share, item, now).err();
        let Some(refused) = refused else { return };
        // No room in memory; the message is safe in the spool and is offered again later.
        let (shard, domain) = (Rc::clone(shard), Arc::clone(domain));
        glommio::spawn_local(async move {
            sleep(REFUSED_RETRY_INTERVAL).await;
            shard.home.enqueue(&shard, &domain, refused.item);
            shard.home.advance(&shard);
        })
        .detach();
    }

    /// What the results of an attempt mean. Returns what is to be tried again.
    fn judge(&self, shard: &Rc<Shard>, item: &Item, results: Results) -> Option<Item> {
        let Results { dcid, delivered, failed } = results;
        let attempts = item.attempts + 1;
        let mid = item.mid;
        if !delivered.is_empty() {
            self.tell(shard, Settled { mid, rids: delivered, fate: Fate::Delivered });
        }
        let profile = &shard.snapshot().bounce;
        let date = shard.clock.date();
        let mut again: Option<(Rids, Date)> = None;
        for (rids, failure) in failed {
            let jitter = self.random.next();
            match outcome::judge(failure, profile, attempts, item.first_queued, date, jitter) {
                Outcome::Bounced { failure } => self.bounce(shard, dcid, mid, rids, failure),
                Outcome::Deferred { failure, until } => {
                    // Those that wait, wait together: one transaction is kinder than two.
                    let (waiting, until) = again.get_or_insert_with(|| (Rids::new(), until));
                    waiting.extend(rids.iter().copied());
                    let (failure, until) = (Box::new(failure), *until);
                    shard.say(Event::RecipientsDeferred { dcid, mid, rids, failure, until });
                }
            }
        }
        let Some((rids, until)) = again else {
            self.held.release(mid);
            return None;
        };
        self.held.put_on_disk(mid);
        let fate = Fate::Deferred { until, attempts };
        self.tell(shard, Settled { mid, rids: rids.clone(), fate });
        let not_before = shard.clock.now() + until.since(date);
        Some(Item { rids, attempts, not_before, ..item.clone() })
    }

    fn send_home(&self, shard: &Rc<Shard>) {
        loop {
            let leaving = self.schedule.borrow_mut().rehome();
            let Some((domain, item)) = leaving else { return };
            let wait = item.not_before.since(shard.clock.now());
            let assignment = Assignment {
                message: self.held.message(item.mid),
                domain,
                rids: item.rids,
                attempts: item.attempts,
                not_before: (!wait.is_zero()).then(|| shard.clock.date() + wait),
            };
            self.held.release(item.mid);
            queue::send_home(shard, assignment);
        }
    }

    fn expire(&self, shard: &Rc<Shard>, item: Item) {
        self.bounce(shard, None, item.mid, item.rids, outcome::expired(None));
        self.held.release(item.mid);
    }

    fn bounce(
        &self,
        shard: &Rc<Shard>,
        dcid: Option<Dcid>,
        mid: Mid,
        rids: Rids,
        failure: Failure,
    ) {
        let failure = Box::new(failure);
        shard.say(Event::RecipientsBounced {
            dcid,
            mid,
            rids: rids.clone(),
            failure: failure.clone(),
        });
        self.tell(shard, Settled { mid, rids, fate: Fate::Bounced(failure) });
    }

    /// Tells the owner of the message, here or on another shard.
    fn tell(&self, shard: &Rc<Shard>, settled: Settled) {
        let owner = self.held.message(settled.mid).owner;
        if shard.mesh.is_self(owner) {
            shard.queue.settle(shard, settled);
        } else {
            shard.mesh.send(owner, Handover::Settle(settled));
        }
    }

    fn set_timer(&self, shard: &Rc<Shard>) {
        let deadline = self.schedule.borrow().deadline();
        if deadline >= self.alarm.get() {
            return;
        }
        self.alarm.set(deadline);
        let wait = deadline.since(shard.clock.now());
        // Weak, or the shard would hold the task that holds the shard.
        let shard = Rc::downgrade(shard);
        let timer = glommio::spawn_local(async move {
            sleep(wait).await;
            let Some(shard) = shard.upgrade() else { return };
            if let Some(this) = shard.home.timer.take() {
                this.detach();
            }
            shard.home.alarm.set(Time::NEVER);
            shard.home.advance(&shard);
        });
        // The later timer that this one overtakes ends here: retries are hours away, and one would
        // be left behind at each turn.
        self.timer.replace(Some(timer));
    }
}

/// What an attempt did for each recipient of an item.
pub(crate) struct Results {
    pub(crate) dcid: Option<Dcid>,
    pub(crate) delivered: Rids,
    pub(crate) failed: Vec<(Rids, Failure)>,
}

/// This shard's part of a destination's limits.
fn share(shard: &Shard, domain: &Arc<str>) -> Share {
    let snapshot = shard.snapshot();
    let control = snapshot.destinations.find(domain);
    let homes = homes(domain, control.max_connections, shard.mesh.shards());
    Share {
        connections: homes.share(shard.number),
        messages_per_connection: control.max_messages_per_connection,
    }
}

/// Destinations a shard's schedule keeps in memory.
const DESTINATIONS_MAX: u32 = 100_000;
/// Assignments a shard's schedule keeps in memory.
const ITEMS_MAX: u32 = 1_000_000;
/// When an assignment there was no room for is offered again.
const REFUSED_RETRY_INTERVAL: std::time::Duration = std::time::Duration::from_secs(5);
