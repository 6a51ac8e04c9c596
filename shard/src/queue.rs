//! The messages a shard has accepted and still answers for: what is left of each, and its end.
//!
//! The shard that wrote a message owns it. Homes deliver and report back here; only the owner
//! writes about the message, so its log tells the whole story in order.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
    sync::Arc,
};

use glommio::sync::Semaphore;
use ringpost_core::{
    envelope::Envelope,
    event::{Event, Finish},
    id::{Mid, Rid, Rids},
    spool::record::{Outcome, Record},
};
use ringpost_delivery::home::homes;

use crate::{
    disk::Disk,
    mesh::Handover,
    message::{Assignment, Fate, Queued, Settled},
    report,
    shard::Shard,
};

/// The messages of one owner.
pub(crate) struct Queue {
    messages: RefCell<HashMap<Mid, Owned>>,
    /// Reports being written; a drain waits for them.
    reporting: Cell<u32>,
    /// Turns at writing one: each holds a copy of the content.
    reports: Semaphore,
}

struct Owned {
    message: Arc<Queued>,
    /// The log it is in: this shard's own, or one it took over.
    disk: Rc<Disk>,
    /// Recipients not yet delivered or bounced.
    remaining: u32,
}

impl Queue {
    pub(crate) fn new() -> Self {
        Self {
            messages: RefCell::default(),
            reporting: Cell::new(0),
            reports: Semaphore::new(REPORTS_MAX),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.messages.borrow().len()
    }

    /// Whether another message may come in.
    pub(crate) fn has_room(&self, max: usize) -> bool {
        self.len() < max
    }

    pub(crate) fn is_reporting(&self) -> bool {
        self.reporting.get() > 0
    }

    /// Takes a durable message over and hands its recipients to the homes of their domains.
    pub(crate) fn accept(&self, shard: &Rc<Shard>, message: Queued, disk: Rc<Disk>) {
        let all = (0..).map(Rid).take(message.accepted.envelope.recipients.len()).collect();
        let message = Arc::new(message);
        let fresh = [Waiting { rids: all, attempts: 0, not_before: None }];
        self.admit(shard, message, disk, &fresh);
    }

    /// Takes over a message of which some recipients may be done, others waiting for a retry.
    pub(crate) fn admit(
        &self,
        shard: &Rc<Shard>,
        message: Arc<Queued>,
        disk: Rc<Disk>,
        waiting: &[Waiting],
    ) {
        let remaining: usize = waiting.iter().map(|waiting| waiting.rids.len()).sum();
        let remaining = u32::try_from(remaining).expect("the recipients of a message are limited");
        let owned = Owned { message: Arc::clone(&message), disk, remaining };
        let before = self.messages.borrow_mut().insert(message.mid, owned);
        assert!(before.is_none(), "a message is accepted once");
        for waiting in waiting {
            assign(shard, &message, waiting);
        }
        if remaining == 0 {
            self.finish(shard, message.mid);
        }
    }

    /// Takes the news of a home.
    pub(crate) fn settle(&self, shard: &Rc<Shard>, settled: Settled) {
        let Settled { mid, rids, fate } = settled;
        let Some((message, disk)) = self.find(mid) else {
            panic!("MID {mid} was settled, but is not queued here")
        };
        match fate {
            Fate::Deferred { until, attempts } => {
                let outcome = Outcome::Deferred { until, attempts };
                note(shard, &disk, Record::Outcome { mid, rids, outcome });
                // Mail that waits for a retry does not wait in memory: the home has let go of the
                // content, and so must the owner.
                if message.memory.is_some() {
                    self.replace(Arc::new(message.on_disk()));
                }
            }
            Fate::Delivered => self.conclude(shard, mid, rids, Outcome::Delivered),
            Fate::Bounced(failure) => {
                self.reporting.set(self.reporting.get() + 1);
                let shard = Rc::clone(shard);
                glommio::spawn_local(async move {
                    let queue = &shard.queue;
                    let turn = queue.reports.acquire_permit(1).await;
                    if report::bounce(&shard, &message, &rids, &failure).await {
                        queue.conclude(&shard, mid, rids, Outcome::Bounced);
                    }
                    drop(turn);
                    queue.reporting.set(queue.reporting.get() - 1);
                })
                .detach();
            }
        }
    }

    /// The message as it lies in the spool, to be copied forward.
    pub(crate) fn find(&self, mid: Mid) -> Option<(Arc<Queued>, Rc<Disk>)> {
        let messages = self.messages.borrow();
        let owned = messages.get(&mid)?;
        Some((Arc::clone(&owned.message), Rc::clone(&owned.disk)))
    }

    /// Puts a copied message in the place of the old one.
    pub(crate) fn replace(&self, message: Arc<Queued>) {
        if let Some(owned) = self.messages.borrow_mut().get_mut(&message.mid) {
            owned.message = message;
        }
    }

    fn conclude(&self, shard: &Rc<Shard>, mid: Mid, rids: Rids, outcome: Outcome) {
        let done = u32::try_from(rids.len()).expect("the recipients of a message are limited");
        let (disk, remaining) = {
            let mut messages = self.messages.borrow_mut();
            let owned = messages.get_mut(&mid).expect("it was found before");
            owned.remaining =
                owned.remaining.checked_sub(done).expect("a recipient is concluded once");
            (Rc::clone(&owned.disk), owned.remaining)
        };
        if remaining == 0 {
            // The finish says all that the outcome would.
            self.finish(shard, mid);
        } else {
            note(shard, &disk, Record::Outcome { mid, rids, outcome });
        }
    }

    fn finish(&self, shard: &Rc<Shard>, mid: Mid) {
        let owned = self.messages.borrow_mut().remove(&mid).expect("it was found before");
        note(shard, &owned.disk, Record::Finished { mid });
        let took = shard.clock.now().since(owned.message.started);
        shard.voice.say(Event::MessageFinished { mid, how: Finish::Done, took });
    }
}

/// Recipients of a message that stand at the same point.
pub(crate) struct Waiting {
    pub(crate) rids: Rids,
    pub(crate) attempts: u32,
    pub(crate) not_before: Option<ringpost_core::time::Date>,
}

/// Hands recipients to the homes of their domains, one assignment a domain.
fn assign(shard: &Rc<Shard>, message: &Arc<Queued>, waiting: &Waiting) {
    for (domain, rids) in by_domain(&message.accepted.envelope, &waiting.rids) {
        let assignment = Assignment {
            message: Arc::clone(message),
            domain,
            rids,
            attempts: waiting.attempts,
            not_before: waiting.not_before,
        };
        send_home(shard, assignment);
    }
}

/// Gives an assignment to the home that its MID picks among those of its domain.
pub(crate) fn send_home(shard: &Rc<Shard>, assignment: Assignment) {
    let limit = shard.snapshot().destinations.find(&assignment.domain).max_connections;
    let homes = homes(&assignment.domain, limit, shard.mesh.shards());
    let home = homes.pick(assignment.message.mid);
    if shard.mesh.is_self(home) {
        shard.home.take_over(shard, assignment);
    } else {
        shard.mesh.send(home, Handover::Deliver(assignment));
    }
}

/// Recipients by domain, in order of their first appearance. One domain is the rule and costs one
/// allocation.
fn by_domain(envelope: &Envelope, rids: &Rids) -> Vec<(Arc<str>, Rids)> {
    let mut groups: Vec<(Arc<str>, Rids)> = Vec::with_capacity(1);
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

/// Notes an outcome without waiting for the sync. If the log has failed there is nothing to be
/// done: the message is found again at the next start and delivered twice.
fn note(shard: &Rc<Shard>, disk: &Rc<Disk>, record: Record) {
    disk.note(record);
    shard.reclaim(disk);
}

/// Reports written at once; beyond it they wait, the message in the spool.
const REPORTS_MAX: u64 = 32;

#[cfg(test)]
mod tests {
    use ringpost_core::{
        address::{Address, ReversePath},
        envelope::Recipient,
    };

    use super::*;

    #[test]
    fn recipients_are_grouped_by_domain_whatever_its_case() {
        let mut envelope = Envelope::new(ReversePath::Null);
        for address in ["a@x.example", "b@Y.example", "c@X.EXAMPLE"] {
            envelope.recipients.push(Recipient::new(Address::from_text(address)));
        }
        let groups = by_domain(&envelope, &(0..3).map(Rid).collect());
        let expected: Vec<(Arc<str>, Rids)> = vec![
            ("x.example".into(), [Rid(0), Rid(2)].into_iter().collect()),
            ("y.example".into(), [Rid(1)].into_iter().collect()),
        ];
        assert_eq!(groups, expected);
    }
}
