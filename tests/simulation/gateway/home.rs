//! The deliveries a shard is home to; mirrors `shard/src/home.rs`.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
    sync::Arc,
    task::Waker,
    time::Duration,
};

use ringpost_core::{
    event::{Event, Failure},
    id::{Dcid, Mid, Rids},
    time::{Date, Time},
};
use ringpost_delivery::{
    home::homes,
    outcome::{self, Outcome},
    schedule::{
        ConnectionId, Counts, Item, Lease, Limits, Next, Schedule, Settlement, Share, Take,
    },
};

use super::{Assignment, Fate, Handover, Queued, Settled, Shard, outbound, queue};

pub(super) struct Home {
    schedule: RefCell<Schedule>,
    held: RefCell<BTreeMap<Mid, Held>>,
    pub(super) idle: RefCell<BTreeMap<ConnectionId, Waker>>,
    alarm: Cell<Time>,
}

struct Held {
    message: Arc<Queued>,
    uses: u32,
}

/// What an attempt did for each recipient of an item.
pub(super) struct Results {
    pub(super) dcid: Option<Dcid>,
    pub(super) delivered: Rids,
    pub(super) failed: Vec<(Rids, Failure)>,
}

impl Home {
    pub(super) fn new() -> Self {
        Self {
            schedule: RefCell::new(Schedule::new(LIMITS)),
            held: RefCell::default(),
            idle: RefCell::default(),
            alarm: Cell::new(Time::NEVER),
        }
    }

    pub(super) fn message(&self, mid: Mid) -> Arc<Queued> {
        let held = self.held.borrow();
        Arc::clone(&held.get(&mid).expect("what is scheduled is held").message)
    }

    /// The message lies elsewhere now.
    pub(super) fn moved(&self, message: &Arc<Queued>) {
        if let Some(held) = self.held.borrow_mut().get_mut(&message.mid) {
            held.message = Arc::clone(message);
        }
    }

    pub(super) fn remains(&self) -> Option<String> {
        let counts = self.schedule.borrow().counts();
        let Counts { destinations, down, .. } = counts;
        let at_rest = Counts { destinations, down, ..Counts::default() };
        let (held, idle) = (self.held.borrow().len(), self.idle.borrow().len());
        let deadline = self.schedule.borrow().deadline();
        if counts == at_rest && held == 0 && idle == 0 && deadline == Time::NEVER {
            return None;
        }
        Some(format!("{counts:?}, {held} messages held, {idle} connections idle, {deadline:?}"))
    }

    fn hold(&self, message: Arc<Queued>) {
        let mut held = self.held.borrow_mut();
        held.entry(message.mid).or_insert(Held { message, uses: 0 }).uses += 1;
    }

    fn release(&self, mid: Mid) {
        let mut held = self.held.borrow_mut();
        let entry = held.get_mut(&mid).expect("what is scheduled is held");
        entry.uses -= 1;
        if entry.uses == 0 {
            held.remove(&mid);
        }
    }

    fn put_on_disk(&self, mid: Mid) {
        if let Some(held) = self.held.borrow_mut().get_mut(&mid)
            && held.message.memory.is_some()
        {
            held.message = Arc::new(held.message.at(held.message.pieces.clone()));
        }
    }
}

/// Takes responsibility for delivering an assignment, and begins if it can.
pub(super) fn take_over(shard: &Rc<Shard>, assignment: Assignment) {
    let Assignment { message, domain, rids, attempts, not_before } = assignment;
    let (now, date) = (shard.now(), shard.around.tasks.date());
    let age = date.since(message.accepted.received);
    let left = shard.around.profile.max_time_in_queue.saturating_sub(age);
    let item = Item {
        mid: message.mid,
        rids,
        attempts,
        first_queued: message.accepted.received,
        not_before: not_before.map_or(Time::ZERO, |until| now + until.since(date)),
        expires: now + left,
        size: message.size(),
    };
    shard.home.hold(message);
    enqueue(shard, &domain, item);
    advance(shard);
}

/// Does what the schedule wants done now, and sets the timer for later.
pub(super) fn advance(shard: &Rc<Shard>) {
    let home = &shard.home;
    loop {
        let next = home.schedule.borrow_mut().next(shard.now());
        match next {
            Some(Next::Open(lease)) => shard.spawn(outbound::run(Rc::clone(shard), lease)),
            Some(Next::Resume(connection)) => {
                if let Some(waker) = home.idle.borrow_mut().remove(&connection) {
                    waker.wake();
                }
            }
            Some(Next::Expired { item, .. }) => {
                bounce(shard, None, item.mid, item.rids, outcome::expired(None));
                home.release(item.mid);
            }
            None => break,
        }
    }
    set_timer(shard);
}

pub(super) fn take(shard: &Rc<Shard>, lease: &mut Lease) -> Take {
    let take = shard.home.schedule.borrow_mut().take(lease, shard.now());
    if matches!(take, Take::Wait(_)) {
        // Before anything else is done, so that no call to resume comes too early.
        let mut idle = shard.home.idle.borrow_mut();
        idle.insert(lease.connection(), Waker::noop().clone());
    }
    advance(shard);
    take
}

/// Closes the books on an attempt.
pub(super) fn settle(
    shard: &Rc<Shard>,
    lease: &mut Lease,
    item: &Item,
    completed: bool,
    results: Results,
) {
    let again = judge(shard, item, results);
    let settlement = Settlement { completed, again };
    shard.home.schedule.borrow_mut().settle(lease, settlement, shard.now());
    advance(shard);
}

pub(super) fn unreachable(shard: &Rc<Shard>, lease: Lease) {
    let jitter = shard.around.tasks.draw();
    shard.home.schedule.borrow_mut().unreachable(lease, jitter, shard.now());
    advance(shard);
}

pub(super) fn closed(shard: &Rc<Shard>, lease: Lease) {
    // One that was closed instead of waiting is not to be resumed.
    shard.home.idle.borrow_mut().remove(&lease.connection());
    shard.home.schedule.borrow_mut().closed(lease, shard.now());
    advance(shard);
}

fn enqueue(shard: &Rc<Shard>, domain: &Arc<str>, item: Item) {
    let share = share(shard, domain);
    let refused = shard.home.schedule.borrow_mut().enqueue(domain, share, item, shard.now()).err();
    let Some(refused) = refused else { return };
    shard.around.ledger.borrow_mut().totals.refused_items += 1;
    let (later, domain) = (Rc::clone(shard), Arc::clone(domain));
    shard.spawn(async move {
        later.around.tasks.sleep(REFUSED_RETRY_INTERVAL).await;
        enqueue(&later, &domain, refused.item);
        advance(&later);
    });
}

fn judge(shard: &Rc<Shard>, item: &Item, results: Results) -> Option<Item> {
    let Results { dcid, delivered, failed } = results;
    let attempts = item.attempts + 1;
    let mid = item.mid;
    if !delivered.is_empty() {
        tell(shard, Settled { mid, rids: delivered, fate: Fate::Delivered });
    }
    let profile = &shard.around.profile;
    let date = shard.around.tasks.date();
    let mut again: Option<(Rids, Date)> = None;
    for (rids, failure) in failed {
        let jitter = shard.around.tasks.draw();
        match outcome::judge(failure, profile, attempts, item.first_queued, date, jitter) {
            Outcome::Bounced { failure } => bounce(shard, dcid, mid, rids, failure),
            Outcome::Deferred { failure, until } => {
                let (waiting, until) = again.get_or_insert_with(|| (Rids::new(), until));
                waiting.extend(rids.iter().copied());
                let (failure, until) = (Box::new(failure), *until);
                shard.say(Event::RecipientsDeferred { dcid, mid, rids, failure, until });
            }
        }
    }
    let Some((rids, until)) = again else {
        shard.home.release(mid);
        return None;
    };
    shard.home.put_on_disk(mid);
    let fate = Fate::Deferred { until, attempts };
    tell(shard, Settled { mid, rids: rids.clone(), fate });
    let not_before = shard.now() + until.since(date);
    Some(Item { rids, attempts, not_before, ..item.clone() })
}

fn bounce(shard: &Rc<Shard>, dcid: Option<Dcid>, mid: Mid, rids: Rids, failure: Failure) {
    let failure = Box::new(failure);
    let event =
        Event::RecipientsBounced { dcid, mid, rids: rids.clone(), failure: failure.clone() };
    shard.say(event);
    tell(shard, Settled { mid, rids, fate: Fate::Bounced(failure) });
}

fn tell(shard: &Rc<Shard>, settled: Settled) {
    let owner = shard.home.message(settled.mid).owner;
    if owner == shard.number {
        queue::settle(shard, settled);
    } else {
        shard.send(owner, Handover::Settle(settled));
    }
}

fn set_timer(shard: &Rc<Shard>) {
    let deadline = shard.home.schedule.borrow().deadline();
    if deadline >= shard.home.alarm.get() {
        return;
    }
    shard.home.alarm.set(deadline);
    let timed = Rc::clone(shard);
    shard.spawn(async move {
        timed.around.tasks.sleep_until(deadline).await;
        if timed.home.alarm.get() == deadline {
            timed.home.alarm.set(Time::NEVER);
            advance(&timed);
        }
    });
}

/// This shard's part of a destination's limits.
fn share(shard: &Shard, domain: &Arc<str>) -> Share {
    let whole = shard.around.share_of(domain);
    let homes = homes(domain, whole.connections, shard.shards);
    Share { connections: homes.share(shard.number), ..whole }
}

const LIMITS: Limits = Limits {
    max_destinations: 3,
    max_items: 12,
    max_connections: 6,
    idle_time: Duration::from_secs(5),
};
const REFUSED_RETRY_INTERVAL: Duration = Duration::from_secs(5);
