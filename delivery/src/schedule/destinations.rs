//! The destinations a shard knows: a bounded map that forgets the longest idle first.
//!
//! A destination is known beyond its last item, because what was learned about it (that it is
//! down, how many connections it bears) serves the next one.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    vec::Vec,
};

use ringpost_core::time::Time;

use super::{destination::Destination, window::Share};
use crate::domain::normal;

/// Destinations by slot. A slot keeps its destination while that has items or connections.
#[derive(Debug)]
pub(super) struct Destinations {
    max: u32,
    index: BTreeMap<Arc<str>, u32>,
    slots: Vec<Destination>,
    free: Vec<u32>,
    /// Destinations with nothing to do, the longest idle first.
    vacant: BTreeSet<(Time, u32)>,
}

impl Destinations {
    pub(super) const fn new(max: u32) -> Self {
        Self {
            max,
            index: BTreeMap::new(),
            slots: Vec::new(),
            free: Vec::new(),
            vacant: BTreeSet::new(),
        }
    }

    /// The slot of a destination, if it is known.
    pub(super) fn slot(&self, domain: &Arc<str>) -> Option<u32> {
        self.index.get(&normal(domain)).copied()
    }

    /// The slot of a destination, new if it has none; none if there is no room for another.
    pub(super) fn slot_for(&mut self, domain: &Arc<str>, share: Share) -> Option<u32> {
        let domain = normal(domain);
        if let Some(&slot) = self.index.get(&domain) {
            return Some(slot);
        }
        if self.index.len() >= self.max as usize {
            let (_, slot) = self.vacant.pop_first()?;
            let forgotten = self.index.remove(&self.slots[slot as usize].domain);
            assert_eq!(forgotten, Some(slot), "a vacant destination is indexed");
            self.free.push(slot);
        }
        let destination = Destination::new(domain.clone(), share);
        let slot = if let Some(slot) = self.free.pop() {
            *self.at(slot) = destination;
            slot
        } else {
            self.slots.push(destination);
            u32::try_from(self.slots.len() - 1).expect("at most the maximum")
        };
        self.index.insert(domain, slot);
        Some(slot)
    }

    /// Keeps the list of the vacant true after a destination has changed.
    pub(super) fn note_vacancy(&mut self, slot: u32, now: Time) {
        let destination = &mut self.slots[slot as usize];
        let vacant = destination.is_vacant();
        if vacant == destination.vacant.is_some() {
            return;
        }
        let now = vacant.then_some(now);
        if let Some(since) = core::mem::replace(&mut destination.vacant, now) {
            self.vacant.remove(&(since, slot));
        }
        self.vacant.extend(now.map(|since| (since, slot)));
    }

    pub(super) fn get(&self, slot: u32) -> &Destination {
        &self.slots[slot as usize]
    }

    pub(super) fn at(&mut self, slot: u32) -> &mut Destination {
        &mut self.slots[slot as usize]
    }

    /// Every slot in use.
    pub(super) fn slots(&self) -> Vec<u32> {
        self.index.values().copied().collect()
    }

    /// By name.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Destination> {
        self.index.values().map(|&slot| self.get(slot))
    }
}
