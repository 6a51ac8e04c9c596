//! Durable acceptance of mail, as data: this module says what to write; the shard writes it.
//!
//! One append-only log a shard, in segments. A batch is written and synced while the next one
//! gathers: one sync covers every message of its batch (group commit), and 250 is said only after
//! it. A failed sync is final: what the kernel holds is then unknown, and no later sync can make
//! it known (fsyncgate).
//!
//! A MID lives in one log. Its parts, its message record and its finish are written there; its
//! outcomes belong there too, and may lie in another log only as [`log::Log::forget`] describes.
//! A log whose shard no longer exists is resumed by any shard, beside its own, until it is empty.

mod batch;
mod envelope;
mod live;
pub mod log;
pub mod progress;
pub mod record;
pub mod recover;
#[cfg(test)]
mod sample;
mod scan;
pub mod segment;

pub use segment::{DiskError, DiskOp, Limits};

/// Where a run of content octets lies, with the checksum it must have when it is read back.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Piece {
    /// The log it is in: one directory, written by one shard.
    pub log: u16,
    /// The segment: one file.
    pub segment: u64,
    /// Octets from the start of the file.
    pub offset: u64,
    /// Octets.
    pub length: u32,
    /// CRC32C of the octets.
    pub checksum: u32,
}

/// Where the content that one record carries inline lies.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Place {
    /// The header block of a message; of length 0 for a part.
    pub header: Piece,
    /// The octets of the body that the record carries; may be of length 0.
    pub body: Piece,
}

/// Names one appended record; later records have greater tickets, and become durable in order.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Ticket(pub u64);

impl Piece {
    /// Whether `octets` are those that were written.
    #[must_use]
    pub fn verifies(&self, octets: &[u8]) -> bool {
        octets.len() == self.length as usize && crc32c::crc32c(octets) == self.checksum
    }
}

/// The unit of writing: each batch begins at a multiple of it and is padded to one, in octets.
pub const BLOCK: u64 = 4096;
