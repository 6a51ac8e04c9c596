//! A disk with a volatile cache: what was not synced survives a power cut wholly, partly, or not.
//!
//! A sector of 512 octets is written or not; which of the dirty ones are is up to the seed. What
//! is read is what the device would return, cache included, as a reader with direct I/O sees it.

use std::collections::{BTreeMap, BTreeSet};

use ringpost_core::spool::{
    Piece,
    segment::{DiskError, DiskOp},
};

use crate::random::Random;

pub(crate) struct Disk {
    files: BTreeMap<(u16, u64), File>,
    /// How many files fit.
    pub(crate) capacity: usize,
}

struct File {
    /// With the cache.
    seen: Vec<u8>,
    stable: Vec<u8>,
    dirty: BTreeSet<usize>,
}

impl Disk {
    pub(crate) const fn new(capacity: usize) -> Self {
        Self { files: BTreeMap::new(), capacity }
    }

    /// Carries an operation out.
    pub(crate) fn carry_out(&mut self, log: u16, op: &DiskOp) -> Result<(), DiskError> {
        match op {
            DiskOp::Create { segment, size } => {
                self.files.remove(&(log, *segment));
                if self.files.len() >= self.capacity {
                    return Err(DiskError::NoSpace);
                }
                self.files.insert((log, *segment), File::zeros(*size as usize));
            }
            DiskOp::Write { segment, offset, bytes, length } => {
                let octets = bytes.concat();
                assert_eq!(octets.len() as u64, *length, "the length is that of the octets");
                assert!(length.is_multiple_of(4096) && offset.is_multiple_of(4096));
                self.file(log, *segment).write(*offset as usize, &octets, |_| true);
            }
            DiskOp::Sync { segment } => self.file(log, *segment).flush(|_| true),
            DiskOp::Remove { segment } => {
                self.files.remove(&(log, *segment)).expect("it exists");
            }
        }
        Ok(())
    }

    /// Leaves an operation half done, as a failure or a crash in the middle of it does.
    pub(crate) fn half_do(&mut self, log: u16, op: &DiskOp, random: &mut Random) {
        match op {
            DiskOp::Create { segment, size } => {
                let size = random.below(*size as usize + 1);
                if random.chance(1, 2) && self.files.len() < self.capacity {
                    self.files.insert((log, *segment), File::zeros(size));
                }
            }
            DiskOp::Write { segment, offset, bytes, .. } => {
                let octets = bytes.concat();
                let mut survives = fate(random);
                self.file(log, *segment).write(*offset as usize, &octets, &mut survives);
            }
            DiskOp::Sync { segment } => {
                let mut survives = fate(random);
                self.file(log, *segment).flush(&mut survives);
            }
            DiskOp::Remove { segment } => {
                if random.chance(1, 2) {
                    self.files.remove(&(log, *segment));
                }
            }
        }
    }

    /// A failed sync: some of it is on the disk, the rest is gone for good.
    pub(crate) fn fail_sync(&mut self, log: u16, op: &DiskOp, random: &mut Random) {
        self.half_do(log, op, random);
        if let DiskOp::Sync { segment } = op {
            self.file(log, *segment).forget_cache();
        }
    }

    /// The power fails.
    pub(crate) fn lose_power(&mut self, random: &mut Random) {
        for file in self.files.values_mut() {
            let mut survives = fate(random);
            file.flush(&mut survives);
            file.forget_cache();
        }
    }

    pub(crate) fn sync(&mut self, log: u16, segment: u64) {
        self.file(log, segment).flush(|_| true);
    }

    pub(crate) fn names(&self) -> Vec<(u16, u64)> {
        self.files.keys().copied().collect()
    }

    pub(crate) fn octets(&self, log: u16, segment: u64) -> &[u8] {
        &self.files[&(log, segment)].seen
    }

    /// None if the file is gone or too short.
    pub(crate) fn read(&self, piece: &Piece) -> Option<&[u8]> {
        let file = self.files.get(&(piece.log, piece.segment))?;
        let start = piece.offset as usize;
        file.seen.get(start..start + piece.length as usize)
    }

    pub(crate) fn remove(&mut self, log: u16, segment: u64) {
        self.files.remove(&(log, segment));
    }

    pub(crate) fn remove_directory(&mut self, log: u16) {
        self.files.retain(|(other, _), _| *other != log);
    }

    fn file(&mut self, log: u16, segment: u64) -> &mut File {
        self.files.get_mut(&(log, segment)).expect("only files that were made are written")
    }
}

impl File {
    fn zeros(size: usize) -> Self {
        Self { seen: vec![0; size], stable: vec![0; size], dirty: BTreeSet::new() }
    }

    fn write(&mut self, offset: usize, octets: &[u8], mut is_written: impl FnMut(usize) -> bool) {
        for (index, chunk) in octets.chunks(SECTOR).enumerate() {
            let sector = offset / SECTOR + index;
            if is_written(sector) {
                self.seen[sector * SECTOR..][..chunk.len()].copy_from_slice(chunk);
                self.dirty.insert(sector);
            }
        }
    }

    fn flush(&mut self, mut is_flushed: impl FnMut(usize) -> bool) {
        let (seen, stable) = (&self.seen, &mut self.stable);
        self.dirty.retain(|&sector| {
            let flushed = is_flushed(sector);
            if flushed {
                let range = sector * SECTOR..(sector + 1) * SECTOR;
                stable[range.clone()].copy_from_slice(&seen[range]);
            }
            !flushed
        });
    }

    fn forget_cache(&mut self) {
        if !self.dirty.is_empty() {
            self.seen.copy_from_slice(&self.stable);
            self.dirty.clear();
        }
    }
}

/// Which sectors come through: all, none, the first ones, or any.
fn fate(random: &mut Random) -> impl FnMut(usize) -> bool + '_ {
    let kind = random.below(4);
    let mut left = random.below(20);
    move |_| match kind {
        0 => true,
        1 => false,
        2 => {
            let comes_through = left > 0;
            left = left.saturating_sub(1);
            comes_through
        }
        _ => random.chance(1, 2),
    }
}

const SECTOR: usize = 512;
