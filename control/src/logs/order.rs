//! Puts what several shards say into one order.
//!
//! A message may be accepted on one shard and delivered by another, and their batches arrive as
//! they come. The shards share a clock, so the time of an event says what was first; events wait a
//! moment for those that are still on their way.

use std::time::Duration;

use ringpost_core::{event::Stamped, time::Time};

/// Events that may still be overtaken by earlier ones.
#[derive(Debug, Default)]
pub struct Order {
    held: Vec<Stamped>,
    newest: Time,
}

impl Order {
    /// Takes what one shard said, which is in order by itself.
    pub fn take(&mut self, batch: Vec<Stamped>) {
        if let Some(last) = batch.last() {
            self.newest = self.newest.max(last.time);
        }
        self.held.extend(batch);
    }

    /// What is older than the newest by more than `hold_back`, in order. Zero gives everything.
    pub fn release(&mut self, hold_back: Duration) -> std::vec::Drain<'_, Stamped> {
        // Runs that are in order already, as these are, cost one comparison an event.
        self.held.sort_by_key(|stamped| stamped.time);
        let is_due = |stamped: &Stamped| self.newest.since(stamped.time) >= hold_back;
        let due = self.held.partition_point(is_due);
        self.held.drain(..due)
    }

    /// Events that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use ringpost_core::{event::Event, time::Date};

    use super::*;

    fn at(millis: u64, shard: u16) -> Stamped {
        Stamped {
            time: Time::from_nanos(millis * 1_000_000),
            date: Date::default(),
            shard,
            event: Event::SpoolResumed,
        }
    }

    fn millis(order: &mut Order, hold_back: u64) -> Vec<u64> {
        let released = order.release(Duration::from_millis(hold_back));
        released.map(|stamped| stamped.time.nanos() / 1_000_000).collect()
    }

    #[test]
    fn a_late_batch_is_put_where_it_belongs() {
        let mut order = Order::default();
        order.take(vec![at(10, 0), at(30, 0), at(41, 0)]);
        assert_eq!(millis(&mut order, 20), [10]);
        order.take(vec![at(20, 1), at(40, 1)]);
        assert_eq!(millis(&mut order, 20), [20]);
        assert_eq!(millis(&mut order, 0), [30, 40, 41]);
        assert!(order.is_empty());
    }

    #[test]
    fn what_one_shard_says_at_one_moment_stays_in_its_order() {
        let mut order = Order::default();
        order.take(vec![at(5, 0), at(5, 1), at(5, 2)]);
        let shards: Vec<_> = order.release(Duration::ZERO).map(|stamped| stamped.shard).collect();
        assert_eq!(shards, [0, 1, 2]);
    }
}
