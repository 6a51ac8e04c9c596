//! The items of one destination: those whose turn may come now, and those that wait for a moment.

use alloc::collections::{BinaryHeap, VecDeque};
use core::cmp::{Ordering, Reverse};

use ringpost_core::time::Time;

use super::item::Item;

/// Ready items first come, first served; deferred items by the moment they are due.
#[derive(Debug, Default)]
pub(super) struct Queue {
    ready: VecDeque<Ready>,
    deferred: BinaryHeap<Reverse<Deferred>>,
    /// Numbers deferred items, so that those due at one moment keep their order.
    next_number: u64,
}

#[derive(Debug)]
struct Ready {
    item: Item,
    since: Time,
}

#[derive(Debug)]
struct Deferred {
    item: Item,
    number: u64,
}

impl Queue {
    pub(super) fn push(&mut self, item: Item, now: Time) {
        if item.not_before <= now {
            self.ready.push_back(Ready { item, since: now });
        } else {
            self.deferred.push(Reverse(Deferred { item, number: self.next_number }));
            self.next_number += 1;
        }
    }

    /// Makes ready what is due.
    pub(super) fn ripen(&mut self, now: Time) {
        while self.next_due() <= now {
            let Some(Reverse(Deferred { item, .. })) = self.deferred.pop() else {
                return;
            };
            self.ready.push_back(Ready { item, since: now });
        }
    }

    /// Makes everything ready, due or not.
    pub(super) fn ripen_all(&mut self, now: Time) {
        while let Some(Reverse(Deferred { item, .. })) = self.deferred.pop() {
            self.ready.push_back(Ready { item, since: now });
        }
    }

    pub(super) fn pop(&mut self) -> Option<Item> {
        self.ready.pop_front().map(|ready| ready.item)
    }

    /// Takes out every item that is too old, ready or deferred. Linear in the queue.
    pub(super) fn expire(&mut self, now: Time, mut out: impl FnMut(Item)) {
        for _ in 0..self.ready.len() {
            let ready = self.ready.pop_front().expect("counted");
            if ready.item.expires < now {
                out(ready.item);
            } else {
                self.ready.push_back(ready);
            }
        }
        if self.deferred.iter().any(|Reverse(deferred)| deferred.item.expires < now) {
            for Reverse(deferred) in core::mem::take(&mut self.deferred) {
                if deferred.item.expires < now {
                    out(deferred.item);
                } else {
                    self.deferred.push(Reverse(deferred));
                }
            }
        }
    }

    /// Takes out everything, the ready items first and in order.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Item> {
        let ready = self.ready.drain(..).map(|ready| ready.item);
        ready.chain(self.deferred.drain().map(|Reverse(deferred)| deferred.item))
    }

    pub(super) fn ready(&self) -> usize {
        self.ready.len()
    }

    pub(super) fn deferred(&self) -> usize {
        self.deferred.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.deferred.is_empty()
    }

    /// Since when the first ready item has been waiting.
    pub(super) fn waiting_since(&self) -> Option<Time> {
        self.ready.front().map(|ready| ready.since)
    }

    /// When the first deferred item is due.
    pub(super) fn next_due(&self) -> Time {
        self.deferred.peek().map_or(Time::NEVER, |Reverse(deferred)| deferred.item.not_before)
    }

    /// Every item, the ready ones in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Item> {
        let ready = self.ready.iter().map(|ready| &ready.item);
        ready.chain(self.deferred.iter().map(|Reverse(deferred)| &deferred.item))
    }
}

impl Deferred {
    const fn key(&self) -> (Time, u64) {
        (self.item.not_before, self.number)
    }
}

impl Ord for Deferred {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl PartialOrd for Deferred {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Deferred {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Deferred {}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec::Vec;

    use ringpost_core::{id::Mid, time::Date};

    use super::*;

    fn item(mid: u64, not_before: u64, expires: u64) -> Item {
        Item {
            mid: Mid(mid),
            rids: Default::default(),
            attempts: 0,
            first_queued: Date::from_millis(0),
            not_before: Time::from_nanos(not_before),
            expires: Time::from_nanos(expires),
            size: 1,
        }
    }

    fn mids(queue: &mut Queue) -> Vec<u64> {
        core::iter::from_fn(|| queue.pop()).map(|item| item.mid.0).collect()
    }

    #[test]
    fn deferred_items_come_when_due_and_in_order() {
        let mut queue = Queue::default();
        for (mid, due) in [(1, 30), (2, 20), (3, 20), (4, 0)] {
            queue.push(item(mid, due, 100), Time::from_nanos(10));
        }
        assert_eq!((queue.ready(), queue.deferred()), (1, 3));
        assert_eq!(queue.next_due(), Time::from_nanos(20));
        queue.ripen(Time::from_nanos(19));
        assert_eq!(mids(&mut queue), [4]);
        queue.ripen(Time::from_nanos(20));
        assert_eq!(mids(&mut queue), [2, 3]);
        queue.ripen_all(Time::from_nanos(21));
        assert_eq!(mids(&mut queue), [1]);
        assert!(queue.is_empty() && queue.next_due() == Time::NEVER);
    }

    #[test]
    fn what_never_comes_due_does_not_ripen() {
        let mut queue = Queue::default();
        queue.ripen(Time::NEVER);
        assert!(queue.is_empty());
    }

    #[test]
    fn expiry_takes_the_old_and_keeps_the_order_of_the_rest() {
        let mut queue = Queue::default();
        for (mid, due, expires) in [(1, 0, 50), (2, 0, 9), (3, 0, 50), (4, 20, 9), (5, 20, 50)] {
            queue.push(item(mid, due, expires), Time::ZERO);
        }
        let mut expired = Vec::new();
        queue.expire(Time::from_nanos(10), |item| expired.push(item.mid.0));
        assert_eq!(expired, [2, 4]);
        queue.ripen_all(Time::ZERO);
        assert_eq!(mids(&mut queue), [1, 3, 5]);
    }
}
