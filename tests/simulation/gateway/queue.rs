//! The messages a shard answers for; mirrors `shard/src/queue.rs`.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc, sync::Arc, time::Duration};

use ringpost_core::{
    envelope::Envelope,
    event::{Event, Finish},
    id::{Mid, Rid, Rids},
    spool::record::{Outcome, Record},
    time::Date,
};
use ringpost_delivery::home::homes;

use super::{
    Assignment, Defect, Fate, Handover, Queued, Settled, Shard, home, reclaim, report,
    store::{NotDurable, Store},
};

#[derive(Default)]
pub(super) struct Queue {
    messages: RefCell<BTreeMap<Mid, Owned>>,
}

struct Owned {
    message: Arc<Queued>,
    store: Rc<Store>,
    remaining: usize,
}

/// Recipients of a message that stand at the same point.
pub(super) struct Waiting {
    pub(super) rids: Rids,
    pub(super) attempts: u32,
    pub(super) not_before: Option<Date>,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.messages.borrow().len()
    }

    pub(super) fn find(&self, mid: Mid) -> Option<(Arc<Queued>, Rc<Store>)> {
        let messages = self.messages.borrow();
        let owned = messages.get(&mid)?;
        Some((Arc::clone(&owned.message), Rc::clone(&owned.store)))
    }

    pub(super) fn replace(&self, message: Arc<Queued>) {
        if let Some(owned) = self.messages.borrow_mut().get_mut(&message.mid) {
            owned.message = message;
        }
    }
}

/// Takes a durable message over and hands its recipients to the homes of their domains.
pub(super) fn accept(shard: &Rc<Shard>, message: Queued) {
    let count = message.accepted.envelope.recipients.len();
    let rids = (0..).map(Rid).take(count).collect();
    let fresh = [Waiting { rids, attempts: 0, not_before: None }];
    admit(shard, Arc::new(message), Rc::clone(&shard.store), &fresh);
}

pub(super) fn admit(
    shard: &Rc<Shard>,
    message: Arc<Queued>,
    store: Rc<Store>,
    waiting: &[Waiting],
) {
    let remaining = waiting.iter().map(|waiting| waiting.rids.len()).sum();
    let mid = message.mid;
    let owned = Owned { message: Arc::clone(&message), store, remaining };
    let before = shard.queue.messages.borrow_mut().insert(mid, owned);
    assert!(before.is_none(), "a message is accepted once");
    for waiting in waiting {
        assign(shard, &message, waiting);
    }
    if remaining == 0 {
        finish(shard, mid);
    }
}

/// Takes the news of a home.
pub(super) fn settle(shard: &Rc<Shard>, settled: Settled) {
    let Settled { mid, rids, fate } = settled;
    let (message, store) = shard.queue.find(mid).expect("what is settled is queued here");
    match fate {
        Fate::Deferred { until, attempts } => {
            let outcome = Outcome::Deferred { until, attempts };
            note(shard, store, Record::Outcome { mid, rids, outcome });
        }
        Fate::Delivered => conclude(shard, mid, rids, Outcome::Delivered),
        Fate::Bounced(failure) => {
            let reporting = Rc::clone(shard);
            shard.spawn(async move {
                if report::bounce(&reporting, &message, &rids, &failure).await {
                    conclude(&reporting, mid, rids, Outcome::Bounced);
                }
            });
        }
    }
}

fn conclude(shard: &Rc<Shard>, mid: Mid, rids: Rids, outcome: Outcome) {
    let (store, remaining) = {
        let mut messages = shard.queue.messages.borrow_mut();
        let owned = messages.get_mut(&mid).expect("it was found before");
        let left = owned.remaining.checked_sub(rids.len());
        owned.remaining = left.expect("a recipient is concluded once");
        (Rc::clone(&owned.store), owned.remaining)
    };
    if remaining == 0 {
        finish(shard, mid);
    } else {
        note(shard, store, Record::Outcome { mid, rids, outcome });
    }
}

fn finish(shard: &Rc<Shard>, mid: Mid) {
    let owned = shard.queue.messages.borrow_mut().remove(&mid).expect("it was found before");
    note(shard, owned.store, Record::Finished { mid });
    let took = shard.now().since(owned.message.started);
    shard.say(Event::MessageFinished { mid, how: Finish::Done, took });
}

fn assign(shard: &Rc<Shard>, message: &Arc<Queued>, waiting: &Waiting) {
    for (domain, rids) in by_domain(&message.accepted.envelope, &waiting.rids) {
        let limit = shard.around.share_of(&domain).connections;
        let home = homes(&domain, limit, shard.shards).pick(message.mid);
        let assignment = Assignment {
            message: Arc::clone(message),
            domain,
            rids,
            attempts: waiting.attempts,
            not_before: waiting.not_before,
        };
        if home == shard.number {
            home::take_over(shard, assignment);
        } else {
            shard.send(home, Handover::Deliver(assignment));
        }
    }
}

fn by_domain(envelope: &Envelope, rids: &Rids) -> Vec<(Arc<str>, Rids)> {
    let mut groups: Vec<(Arc<str>, Rids)> = Vec::new();
    for &rid in rids {
        let recipient = envelope.recipient(rid).expect("a RID of this envelope");
        let domain = recipient.address.domain();
        match groups.iter_mut().find(|(known, _)| known.eq_ignore_ascii_case(domain)) {
            Some((_, group)) => group.push(rid),
            None => {
                let domain = domain.to_ascii_lowercase().into();
                groups.push((domain, std::iter::once(rid).collect()));
            }
        }
    }
    groups
}

/// Notes an outcome without waiting for it; the ledger hears when it is durable.
///
/// In the order of the calls, or the outcome of a recipient could come behind the finish.
fn note(shard: &Rc<Shard>, store: Rc<Store>, record: Record) {
    if !store.note(record) {
        return;
    }
    let noting = Rc::clone(shard);
    shard.spawn(async move {
        while let Some(record) = store.next_note() {
            let (mid, rids) = concluded(&record);
            let mut appended = store.append(record.clone()).await;
            let waits = noting.around.defect != Defect::ForgetsOutcomesWhenFull;
            while waits && appended == Err(NotDurable::Full) {
                // The finish is what makes room; forgotten, the spool would stay full.
                noting.around.tasks.sleep(FULL_RETRY_INTERVAL).await;
                appended = store.append(record.clone()).await;
            }
            reclaim::begin(&noting, &store);
            let Ok(ticket) = appended else { continue };
            let (noting, store) = (Rc::clone(&noting), Rc::clone(&store));
            noting.clone().spawn(async move {
                if store.durable(ticket).await.is_ok() {
                    noting.around.ledger.borrow_mut().durable(mid, rids.as_ref());
                }
            });
        }
    });
}

/// Whose outcome a record makes known for good; none for all recipients.
fn concluded(record: &Record) -> (Mid, Option<Rids>) {
    match record {
        Record::Outcome { outcome: Outcome::Deferred { .. }, mid, .. } => (*mid, Some(Rids::new())),
        Record::Outcome { mid, rids, .. } => (*mid, Some(rids.clone())),
        Record::Finished { mid } => (*mid, None),
        Record::Part { .. } | Record::Message(_) => unreachable!("only outcomes are noted"),
    }
}

const FULL_RETRY_INTERVAL: Duration = Duration::from_secs(1);
