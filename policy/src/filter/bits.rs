//! A set of small numbers: which filters are awake, which patterns may match.

use smallvec::{SmallVec, smallvec};

/// Numbers below a length fixed at the beginning.
#[derive(Clone, Debug, Default)]
pub(super) struct Bits(SmallVec<[u64; 4]>);

impl Bits {
    pub(super) fn new(length: usize) -> Self {
        Self(smallvec![0; length.div_ceil(64)])
    }

    /// # Panics
    ///
    /// If the number is not below the length.
    pub(super) fn insert(&mut self, number: u32) {
        self.0[number as usize / 64] |= 1 << (number % 64);
    }

    pub(super) fn contains(&self, number: u32) -> bool {
        self.0[number as usize / 64] & 1 << (number % 64) != 0
    }

    /// The smallest member that is not below `from`.
    pub(super) fn first_from(&self, from: u32) -> Option<u32> {
        let mut word = from as usize / 64;
        let mut bits = self.0.get(word)? & u64::MAX << (from % 64);
        while bits == 0 {
            word += 1;
            bits = *self.0.get(word)?;
        }
        let word = u32::try_from(word).expect("members are 32 bits wide");
        Some(word * 64 + bits.trailing_zeros())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = u32> {
        let mut next = self.first_from(0);
        core::iter::from_fn(move || {
            let member = next?;
            next = self.first_from(member + 1);
            Some(member)
        })
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec::Vec;

    use super::*;

    #[test]
    fn members_come_in_order() {
        let mut bits = Bits::new(300);
        let members = [0, 63, 64, 130, 299];
        members.iter().for_each(|&member| bits.insert(member));
        assert_eq!(bits.iter().collect::<Vec<_>>(), members);
        assert_eq!((bits.first_from(65), bits.first_from(300)), (Some(130), None));
        assert!(bits.contains(130) && !bits.contains(131));
        assert_eq!(Bits::new(0).first_from(0), None);
    }
}
