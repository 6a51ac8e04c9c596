//! Segments as the driver sees them: the files it makes, writes, syncs and removes.
//!
//! A segment gets its full size when it is made, so a disk can only be found full at that moment,
//! never in the middle of a batch.

use alloc::vec::Vec;

use bytes::Bytes;

use super::BLOCK;

/// One thing to do to the directory of a log. Only one is under way at a time.
#[derive(Clone, Debug)]
pub enum DiskOp {
    /// Make the file of a segment, `size` octets of zeros allocated; sync it and its directory.
    /// On failure the driver removes what it made. A file of this number that is already there is
    /// the rest of an attempt that a crash cut short, and is replaced.
    Create { segment: u64, size: u64 },
    /// Write `length` octets at `offset`, both multiples of [`BLOCK`].
    Write { segment: u64, offset: u64, bytes: Vec<Bytes>, length: u64 },
    /// Make what was written to the segment durable (`fdatasync`).
    Sync { segment: u64 },
    /// Remove the file of a segment and sync its directory. Nothing reads it any more but readers
    /// who hold it open.
    Remove { segment: u64 },
}

/// Why a [`DiskOp`] failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DiskError {
    /// ENOSPC or EDQUOT.
    NoSpace,
    /// Anything else.
    Failed,
}

/// How much of a disk a log may use.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Octets of a segment; a multiple of [`BLOCK`], at least 4 of them, less than 4 GiB. A record
    /// may have half of it less one block.
    pub segment_size: u64,
    /// Segments beyond which no content is accepted, at least 3. Outcomes may take a few more.
    pub max_segments: usize,
    /// Octets appended but not yet durable beyond which the driver must wait. Outcomes may take
    /// twice as many. A single record is taken whatever its size.
    pub max_pending: u64,
    /// Segments without content behind an oldest one that still has some, beyond which
    /// [`super::log::Log::reclaim`] asks for that content to be copied forward.
    pub max_dead: usize,
}

impl Limits {
    /// The largest record, in octets with its header: it leaves half a segment to the outcomes
    /// whenever no next segment can be made.
    #[must_use]
    pub const fn max_record(&self) -> u64 {
        self.segment_size / 2 - BLOCK
    }

    pub(super) fn assert_valid(&self) {
        assert!(self.segment_size.is_multiple_of(BLOCK), "segments are whole blocks");
        assert!(self.segment_size >= 4 * BLOCK && self.segment_size <= 0xFFFF_F000);
        assert!(self.max_segments >= 3, "one to fill, one in reserve, one to free");
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { segment_size: 64 << 20, max_segments: 1024, max_pending: 16 << 20, max_dead: 4 }
    }
}
