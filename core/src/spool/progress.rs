//! What is already known about a message's recipients, folded from its outcome records.
//!
//! The fold does not depend on the order of the records: what is done stays done, and of two
//! deferrals the one after more attempts holds. So outcomes may be read from any log first.

use alloc::vec::Vec;

use super::record::Outcome;
use crate::{
    id::{Rid, Rids},
    time::Date,
};

/// Which recipients are done, and which wait for another attempt.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Progress {
    /// Delivered or bounced; ascending, each once.
    pub(super) done: Rids,
    /// Deferred at least once and not done; ascending, each once.
    pub(super) deferred: Vec<Remaining>,
}

/// A recipient about whom nothing final is known.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Remaining {
    /// Which.
    pub rid: Rid,
    /// Failed attempts so far.
    pub attempts: u32,
    /// When the next attempt is due; none if it was never deferred.
    pub not_before: Option<Date>,
}

impl Progress {
    /// Whether nothing was reported yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.done.is_empty() && self.deferred.is_empty()
    }

    /// Takes in one outcome record.
    pub fn note(&mut self, rids: &[Rid], outcome: Outcome) {
        for &rid in rids {
            match outcome {
                Outcome::Delivered | Outcome::Bounced => self.finish(rid),
                Outcome::Deferred { until, attempts } => {
                    self.defer(Remaining { rid, attempts, not_before: Some(until) });
                }
            }
        }
    }

    /// Takes in what another record knows of the same message.
    pub fn merge(&mut self, other: &Self) {
        other.done.iter().for_each(|&rid| self.finish(rid));
        other.deferred.iter().for_each(|&remaining| self.defer(remaining));
    }

    /// The recipients that are not done, of a message that has `recipients` of them.
    #[must_use]
    pub fn remaining(&self, recipients: usize) -> Vec<Remaining> {
        let count = u32::try_from(recipients).unwrap_or(u32::MAX);
        (0..count)
            .map(Rid)
            .filter(|rid| self.done.binary_search(rid).is_err())
            .map(|rid| match self.deferral(rid) {
                Ok(index) => self.deferred[index],
                Err(_) => Remaining { rid, attempts: 0, not_before: None },
            })
            .collect()
    }

    fn finish(&mut self, rid: Rid) {
        if let Err(index) = self.done.binary_search(&rid) {
            self.done.insert(index, rid);
        }
        if let Ok(index) = self.deferral(rid) {
            self.deferred.remove(index);
        }
    }

    fn defer(&mut self, remaining: Remaining) {
        if self.done.binary_search(&remaining.rid).is_ok() {
            return;
        }
        match self.deferral(remaining.rid) {
            Ok(index) => {
                let known = &mut self.deferred[index];
                let rank = |of: &Remaining| (of.attempts, of.not_before);
                if rank(known) < rank(&remaining) {
                    *known = remaining;
                }
            }
            Err(index) => self.deferred.insert(index, remaining),
        }
    }

    fn deferral(&self, rid: Rid) -> Result<usize, usize> {
        self.deferred.binary_search_by_key(&rid, |remaining| remaining.rid)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec;

    use super::*;

    #[test]
    fn the_order_of_outcomes_does_not_matter() {
        let later = Outcome::Deferred { until: Date::from_millis(5), attempts: 2 };
        let sooner = Outcome::Deferred { until: Date::from_millis(9), attempts: 1 };
        let records = [(0, later), (0, sooner), (1, later), (1, Outcome::Bounced), (2, sooner)];
        let mut forward = Progress::default();
        let mut backward = Progress::default();
        records.iter().for_each(|&(rid, outcome)| forward.note(&[Rid(rid)], outcome));
        records.iter().rev().for_each(|&(rid, outcome)| backward.note(&[Rid(rid)], outcome));
        assert_eq!(forward, backward);
        let waits = |rid, attempts, until: Option<i64>| Remaining {
            rid: Rid(rid),
            attempts,
            not_before: until.map(Date::from_millis),
        };
        let expected = vec![waits(0, 2, Some(5)), waits(2, 1, Some(9)), waits(3, 0, None)];
        assert_eq!(forward.remaining(4), expected);
        let mut merged = forward.clone();
        merged.merge(&backward);
        assert_eq!(merged, forward);
    }
}
