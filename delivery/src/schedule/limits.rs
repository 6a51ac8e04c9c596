//! How much one shard's schedule holds at most, and how much it holds now.

use core::time::Duration;

/// The limits of one shard's schedule.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Destinations in memory. The longest idle are forgotten first; when none is idle, an item
    /// for another destination is [`super::Refused`].
    pub max_destinations: u32,
    /// Items in memory; beyond, they are [`super::Refused`].
    pub max_items: u32,
    /// Connections to all destinations together. Idle ones are closed when another destination
    /// needs one; otherwise destinations wait their turn.
    pub max_connections: u32,
    /// How long a connection waits for another item.
    pub idle_time: Duration,
}

/// All destinations together.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// Destinations in memory.
    pub destinations: u32,
    /// Of these, those that cannot be reached.
    pub down: u32,
    /// Connections open or being opened.
    pub connections: u32,
    /// Items that may be tried as soon as a connection is free.
    pub ready: u32,
    /// Items that wait for their next attempt.
    pub deferred: u32,
    /// Items being delivered.
    pub active: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_destinations: 100_000,
            max_items: 1_000_000,
            max_connections: 10_000,
            idle_time: Duration::from_secs(5),
        }
    }
}
