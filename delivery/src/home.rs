//! Which shards deliver to a destination, and with how many connections each: computed, not agreed.
//!
//! Shards share nothing, yet a destination's limit is one number. Every shard computes the same
//! homes and shares from the domain's name, the limit and the number of shards, and the shares add
//! up to exactly the limit, so the limit holds without a word between shards.

use core::cmp::Reverse;

use ringpost_core::id::Mid;
use smallvec::SmallVec;

/// The homes of one destination, in rendezvous order.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Homes {
    shards: SmallVec<[u16; 16]>,
    limit: u32,
}

/// The homes of `domain`, whose connections are limited to `limit`, among `shards` shards.
///
/// There are `min(shards, ceil(limit / 32))`. The order depends on the name alone (in any case), so
/// that a changed limit or a further shard moves as few messages as it can.
///
/// # Panics
///
/// If `limit` or `shards` is zero: the configuration admits neither.
#[must_use]
pub fn homes(domain: &str, limit: u32, shards: u16) -> Homes {
    assert!(limit > 0 && shards > 0, "a destination has a connection and a shard to open it");
    let wanted = limit.div_ceil(CONNECTIONS_PER_HOME).min(u32::from(shards));
    let name = hash_name(domain);
    let mut order: SmallVec<[u16; 16]> = (0..shards).collect();
    if shards > 1 {
        order.sort_unstable_by_key(|&shard| Reverse((mix(name ^ mix(u64::from(shard))), shard)));
    }
    order.truncate(wanted as usize);
    let homes = Homes { shards: order, limit };
    assert_eq!(homes.iter().map(|(_, share)| share).sum::<u32>(), limit, "shares are exact");
    homes
}

impl Homes {
    /// The shard that delivers this message.
    #[must_use]
    pub fn pick(&self, mid: Mid) -> u16 {
        let count = self.shards.len() as u64;
        let index = usize::try_from(mix(mid.0) % count).expect("less than the number of homes");
        self.shards[index]
    }

    /// How many connections this shard may have open to the destination; 0 if it is no home.
    #[must_use]
    pub fn share(&self, shard: u16) -> u32 {
        self.iter().find(|&(home, _)| home == shard).map_or(0, |(_, share)| share)
    }

    /// Every home with its share; shares differ by at most one and none is zero.
    pub fn iter(&self) -> impl Iterator<Item = (u16, u32)> + '_ {
        let count = u32::try_from(self.shards.len()).expect("at most 65 536 shards");
        let (each, rest) = (self.limit / count, self.limit % count);
        let shares = (0..count).map(move |index| each + u32::from(index < rest));
        self.shards.iter().copied().zip(shares)
    }
}

/// FNV-1a over the lower-case name: stable across versions and machines, unlike a `Hasher`.
fn hash_name(domain: &str) -> u64 {
    let bytes = domain.bytes().map(|byte| u64::from(byte.to_ascii_lowercase()));
    bytes.fold(FNV_OFFSET, |hash, byte| (hash ^ byte).wrapping_mul(FNV_PRIME))
}

/// The finalizer of SplitMix64: every bit of the input moves every bit of the result.
const fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// A limit below this fits one shard; a shard more is worth its handovers only beyond it.
const CONNECTIONS_PER_HOME: u32 = 32;
const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

#[cfg(test)]
mod tests {
    extern crate std;

    use std::{collections::BTreeSet, format, vec, vec::Vec};

    use super::*;

    #[test]
    fn shares_add_up_to_the_limit_for_every_limit_and_number_of_shards() {
        for shards in 1..=64 {
            for limit in 1..=1_000 {
                let homes = homes("contoso.example", limit, shards);
                let shares: Vec<_> = (0..shards).map(|s| homes.share(s)).collect();
                assert_eq!(shares.iter().sum::<u32>(), limit);
                let used: Vec<_> = shares.into_iter().filter(|&s| s > 0).collect();
                assert_eq!(used.len() as u32, limit.div_ceil(32).min(u32::from(shards)));
                assert!(used.iter().max().unwrap() - used.iter().min().unwrap() <= 1);
            }
        }
    }

    #[test]
    fn a_message_goes_to_a_home_and_every_home_gets_messages() {
        let homes = homes("contoso.example", 100, 8);
        let picked: BTreeSet<_> = (0..1_000).map(|mid| homes.pick(Mid(mid))).collect();
        let all: BTreeSet<_> = homes.iter().map(|(shard, _)| shard).collect();
        assert_eq!(picked, all);
        assert_eq!(all.len(), 4);
    }

    #[test]
    fn case_does_not_move_a_destination() {
        assert_eq!(homes("Contoso.Example", 10, 16), homes("contoso.example", 10, 16));
    }

    #[test]
    fn a_further_shard_takes_only_what_becomes_its_own() {
        for domain in (0..500).map(|number| format!("d{number}.example")) {
            let (before, after) = (homes(&domain, 10, 7), homes(&domain, 10, 8));
            let (before, after) = (before.pick(Mid(1)), after.pick(Mid(1)));
            assert!(after == before || after == 7, "{domain}: {before} -> {after}");
        }
    }

    #[test]
    fn destinations_spread_over_the_shards() {
        let mut count = vec![0u32; 8];
        for number in 0..8_000 {
            count[usize::from(homes(&format!("d{number}.example"), 10, 8).pick(Mid(1)))] += 1;
        }
        assert!(count.iter().all(|&count| (800..1_200).contains(&count)), "{count:?}");
    }

    #[test]
    fn the_order_of_homes_never_changes_between_versions() {
        let order: Vec<_> = homes("contoso.example", 500, 4).iter().collect();
        assert_eq!(order, [(0, 125), (3, 125), (1, 125), (2, 125)]);
    }
}
