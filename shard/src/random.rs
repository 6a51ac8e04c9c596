//! Unpredictable numbers for what must not happen at the same moment everywhere: retries, turns.

use std::{
    cell::Cell,
    hash::{BuildHasher, Hasher, RandomState},
};

/// A small generator (SplitMix64), seeded by the process's own entropy. Not for secrets.
pub(crate) struct Random(Cell<u64>);

impl Random {
    pub(crate) fn new() -> Self {
        Self(Cell::new(seed()))
    }

    pub(crate) fn next(&self) -> u64 {
        let state = self.0.get().wrapping_add(0x9E37_79B9_7F4A_7C15);
        self.0.set(state);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

/// A number nobody outside the process knows: the hash of nothing under the random key of the
/// standard library's maps.
pub(crate) fn seed() -> u64 {
    RandomState::new().build_hasher().finish()
}
