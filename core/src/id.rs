//! The numbers by which AsyncOS names connections, messages and recipients.
//!
//! Each is a type of its own, so that a message can never be looked up by a connection's number.

use core::{
    fmt,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use smallvec::SmallVec;

/// An injection (incoming) connection. `Icid(0)` stands for mail made inside the gateway.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Icid(pub u64);

/// A delivery (outgoing) connection.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Dcid(pub u64);

/// One envelope with its content.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Mid(pub u64);

/// A recipient of one message, counted from 0.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Rid(pub u32);

/// Recipients of one message that share a fate; almost always one.
pub type Rids = SmallVec<[Rid; 4]>;

/// A run of numbers a shard may hand out without asking anyone.
///
/// Shards draw blocks from one counter, so numbers are unique in the process and roughly in order.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Block {
    next: u64,
    end: u64,
}

/// A source of numbers that all shards draw blocks from and that never gives a number twice, even
/// over a restart: nothing is drawn that has not been reserved durably before.
#[derive(Debug)]
pub struct Sequence {
    next: AtomicU64,
    reserved: AtomicU64,
}

impl Icid {
    /// The connection of mail that no client brought: DSNs, notifications, copies.
    pub const INTERNAL: Self = Self(0);
}

impl Block {
    /// The numbers from `start`, `count` of them.
    #[must_use]
    pub const fn new(start: u64, count: u64) -> Self {
        Self { next: start, end: start.saturating_add(count) }
    }

    /// The next number, or none when the block is used up and a new one must be drawn.
    pub const fn draw(&mut self) -> Option<u64> {
        if self.next == self.end {
            return None;
        }
        let number = self.next;
        self.next += 1;
        Some(number)
    }
}

impl Sequence {
    /// Numbers from `next` on, of which none is reserved yet.
    #[must_use]
    pub const fn new(next: u64) -> Self {
        Self { next: AtomicU64::new(next), reserved: AtomicU64::new(next) }
    }

    /// [`BLOCK_SIZE`] numbers, or none while so many are not reserved: try again in a moment.
    pub fn draw(&self) -> Option<Block> {
        let reserved = self.reserved.load(Relaxed);
        let fits = |next: u64| next.checked_add(BLOCK_SIZE).filter(|end| *end <= reserved);
        // The numbers are all that is agreed on; they publish no other memory.
        let start = self.next.fetch_update(Relaxed, Relaxed, fits).ok()?;
        Some(Block::new(start, BLOCK_SIZE))
    }

    /// The lowest number that has not been drawn.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.next.load(Relaxed)
    }

    /// The lowest number that may not be drawn yet.
    #[must_use]
    pub fn reserved(&self) -> u64 {
        self.reserved.load(Relaxed)
    }

    /// Lets numbers below `end` be drawn. The caller has made the reservation durable.
    pub fn reserve(&self, end: u64) {
        self.reserved.fetch_max(end, Relaxed);
    }

    /// Goes on after `used`, a number found in use. Call it before the first block is drawn.
    pub fn skip(&self, used: u64) {
        self.next.fetch_max(used.saturating_add(1), Relaxed);
    }
}

impl fmt::Display for Icid {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

impl fmt::Display for Dcid {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

impl fmt::Display for Mid {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

impl fmt::Display for Rid {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// Numbers in a block: one drawing in a thousand touches memory that shards share.
pub const BLOCK_SIZE: u64 = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_drawn_that_is_not_reserved() {
        let sequence = Sequence::new(5);
        assert_eq!(sequence.draw(), None);
        sequence.reserve(5 + 2 * BLOCK_SIZE - 1);
        assert_eq!(sequence.draw(), Some(Block::new(5, BLOCK_SIZE)));
        assert_eq!(sequence.draw(), None);
        sequence.skip(10_000);
        assert_eq!((sequence.next(), sequence.draw()), (10_001, None));
        sequence.reserve(10_001 + BLOCK_SIZE);
        assert_eq!(sequence.draw(), Some(Block::new(10_001, BLOCK_SIZE)));
    }

    #[test]
    fn a_block_gives_each_number_once_and_then_none() {
        let mut block = Block::new(7, 2);
        assert_eq!([block.draw(), block.draw(), block.draw()], [Some(7), Some(8), None]);
        assert_eq!(Block::default().draw(), None);
    }
}
