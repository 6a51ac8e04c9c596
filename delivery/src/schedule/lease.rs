//! The right to one connection, which counts what the connection has carried.

use alloc::sync::Arc;
use core::fmt;

use ringpost_core::time::Time;

/// Names a connection of one schedule; the driver's key for waking whoever waits on it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ConnectionId(pub(super) u64);

/// The right to one connection to one destination.
///
/// It is part of the destination's limit from [`super::Next::Open`] until it is given back, by
/// [`super::Schedule::closed`] or [`super::Schedule::unreachable`], and cannot be copied.
#[derive(Debug)]
#[must_use = "a lease that is lost holds a connection of the destination for ever"]
pub struct Lease {
    pub(super) connection: ConnectionId,
    pub(super) slot: u32,
    pub(super) domain: Arc<str>,
    pub(super) taken: u32,
    pub(super) stage: Stage,
}

/// Where a connection is in its life.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Stage {
    /// Not yet known to work.
    Opening,
    /// Carrying an item.
    Busy,
    /// Between two items, with the driver.
    Settled,
    /// Waiting for items since then.
    Idle(Time),
    /// Told to close.
    Closing,
}

impl Lease {
    /// Whom it connects to.
    #[must_use]
    pub const fn domain(&self) -> &Arc<str> {
        &self.domain
    }

    /// Which connection it is.
    #[must_use]
    pub const fn connection(&self) -> ConnectionId {
        self.connection
    }

    /// Items taken so far.
    #[must_use]
    pub const fn taken(&self) -> u32 {
        self.taken
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}
