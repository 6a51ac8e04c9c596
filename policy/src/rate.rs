//! How many connections each client address holds open, over all shards and listeners.
//!
//! A limit per client cannot be kept by each shard alone: the kernel spreads one client's
//! connections over all of them. The table is a fixed array of atomics; no shard ever waits.
//!
//! The count of an address is one atomic word, so a limit is kept exactly and a client below it is
//! never refused. Only an address that holds no connection yet is entered under a lock of its
//! bucket, for a few nanoseconds. When that lock is not had in [`MAX_SPINS`] turns, or the
//! [`BUCKET_SLOTS`] places of the bucket are all in use, the connection is admitted uncounted: an
//! error is always in the client's favour, and [`Connections::uncounted`] tells how often.

use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::{
    hint,
    net::{IpAddr, Ipv6Addr},
    ops::Range,
    sync::atomic::{
        AtomicU64,
        Ordering::{Acquire, Relaxed, Release},
    },
};

/// Connections counted by client address. Shared by all shards.
#[derive(Debug)]
pub struct Connections {
    /// Buckets of a lock and [`BUCKET_SLOTS`] slots. A slot is the fingerprint of an address and
    /// the number of its connections; when that is 0 it is free, whatever its fingerprint.
    words: Box<[AtomicU64]>,
    seed: [u64; 2],
    uncounted: AtomicU64,
}

/// One counted connection; it is counted for as long as this lives.
#[must_use = "the connection is counted no longer than this lives"]
pub struct Ticket {
    table: Arc<Connections>,
    /// None if it was admitted uncounted.
    slot: Option<usize>,
}

impl Connections {
    /// A table for `max_connections` open at once, over all listeners, taking 32 octets for each.
    ///
    /// `seed` must be random and secret, so that nobody can choose addresses that collide.
    #[must_use]
    pub fn new(max_connections: u32, seed: [u64; 2]) -> Self {
        let wanted = (max_connections as usize).max(BUCKET_WORDS) * WORDS_PER_CONNECTION;
        let words: Vec<_> = (0..wanted.next_power_of_two()).map(|_| AtomicU64::new(0)).collect();
        Self { words: words.into_boxed_slice(), seed, uncounted: AtomicU64::new(0) }
    }

    /// Counts one more connection of `address`, or none when it has `limit` already.
    ///
    /// An IPv4-mapped IPv6 address is the IPv4 address it carries. Two addresses share a count when
    /// 44 bits of their keyed hash and their bucket agree: with 4 096 buckets once in 2^56 pairs,
    /// and the seed keeps anyone from finding such a pair.
    #[must_use]
    pub fn open(self: &Arc<Self>, address: IpAddr, limit: u32) -> Option<Ticket> {
        let limit = u64::from(limit.min(MAX_LIMIT));
        let (bucket, fingerprint) = self.place(address);
        let held = match self.find(bucket, fingerprint) {
            Some(slot) => self.add(slot, fingerprint, limit),
            None => Held::Nothing,
        };
        match held {
            Held::Counted(slot) => Some(self.ticket(Some(slot))),
            Held::Limit => None,
            Held::Nothing if limit == 0 => None,
            Held::Nothing => self.enter(bucket, fingerprint, limit),
        }
    }

    /// How many connections an address holds open.
    #[must_use]
    pub fn count(&self, address: IpAddr) -> u64 {
        let (bucket, fingerprint) = self.place(address);
        let slot = self.find(bucket, fingerprint);
        slot.map_or(0, |slot| self.words[slot].load(Relaxed) & COUNT)
    }

    /// How many connections were admitted without being counted, since the start.
    #[must_use]
    pub fn uncounted(&self) -> u64 {
        self.uncounted.load(Relaxed)
    }

    /// The first word of the bucket of an address, and its fingerprint in its place in a slot.
    fn place(&self, address: IpAddr) -> (usize, u64) {
        let hash = siphash_1_3(self.seed, address);
        let buckets = self.words.len() / BUCKET_WORDS;
        // The lowest bits choose the bucket, the highest are the fingerprint.
        let bucket = usize::try_from(hash & MAX_BUCKET).expect("20 bits") & (buckets - 1);
        (bucket * BUCKET_WORDS, hash & !COUNT)
    }

    /// The one slot that counts connections of this fingerprint.
    fn find(&self, bucket: usize, fingerprint: u64) -> Option<usize> {
        slots(bucket).find(|slot| holds(self.words[*slot].load(Relaxed), fingerprint))
    }

    /// Adds one to a slot unless it is at the limit, or has been emptied in the meantime.
    fn add(&self, slot: usize, fingerprint: u64, limit: u64) -> Held {
        let mut word = self.words[slot].load(Relaxed);
        while holds(word, fingerprint) {
            if word & COUNT >= limit {
                return Held::Limit;
            }
            // Each word is a fact of its own and publishes no other memory.
            match self.words[slot].compare_exchange_weak(word, word + 1, Relaxed, Relaxed) {
                Ok(_) => return Held::Counted(slot),
                Err(now) => word = now,
            }
        }
        Held::Nothing
    }

    /// Gives an address its slot. Under the lock none can appear, so it stays the only one.
    fn enter(self: &Arc<Self>, bucket: usize, fingerprint: u64, limit: u64) -> Option<Ticket> {
        let lock = &self.words[bucket];
        let is_ours = (0..MAX_SPINS).any(|_| {
            hint::spin_loop();
            lock.compare_exchange_weak(0, 1, Acquire, Relaxed).is_ok()
        });
        if !is_ours {
            return Some(self.admit_uncounted());
        }
        let held = match self.find(bucket, fingerprint) {
            Some(slot) => self.add(slot, fingerprint, limit),
            None => Held::Nothing,
        };
        let ticket = match held {
            Held::Counted(slot) => Some(self.ticket(Some(slot))),
            Held::Limit => None,
            Held::Nothing => {
                let free = slots(bucket).find(|slot| self.words[*slot].load(Relaxed) & COUNT == 0);
                if let Some(slot) = free {
                    self.words[slot].store(fingerprint | 1, Relaxed);
                    Some(self.ticket(Some(slot)))
                } else {
                    Some(self.admit_uncounted())
                }
            }
        };
        lock.store(0, Release);
        ticket
    }

    fn admit_uncounted(self: &Arc<Self>) -> Ticket {
        self.uncounted.fetch_add(1, Relaxed);
        self.ticket(None)
    }

    fn ticket(self: &Arc<Self>, slot: Option<usize>) -> Ticket {
        Ticket { table: Arc::clone(self), slot }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let Some(slot) = self.slot else { return };
        // The slot keeps its fingerprint while it counts anything, and it counts this connection.
        let old = self.table.words[slot].fetch_sub(1, Relaxed);
        assert!(old & COUNT > 0, "a ticket is given back once");
    }
}

/// What a slot said to one more connection.
enum Held {
    /// In this slot.
    Counted(usize),
    Limit,
    Nothing,
}

/// The words of a bucket that are slots: all but the first, its lock.
fn slots(bucket: usize) -> Range<usize> {
    bucket + 1..bucket + BUCKET_WORDS
}

const fn holds(word: u64, fingerprint: u64) -> bool {
    word & !COUNT == fingerprint && word & COUNT > 0
}

/// `SipHash` with one compression round and three at the end, over the 16 octets of an address.
fn siphash_1_3(seed: [u64; 2], address: IpAddr) -> u64 {
    let address = match address.to_canonical() {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    };
    let bits = Ipv6Addr::to_bits(address);
    let [low, high] = [bits, bits >> 64].map(|half| (half & u128::from(u64::MAX)) as u64);
    let mut state = [
        seed[0] ^ 0x736f_6d65_7073_6575,
        seed[1] ^ 0x646f_7261_6e64_6f6d,
        seed[0] ^ 0x6c79_6765_6e65_7261,
        seed[1] ^ 0x7465_6462_7974_6573,
    ];
    // The last word of the message carries its length in octets.
    for word in [high.swap_bytes(), low.swap_bytes(), 16 << 56] {
        state[3] ^= word;
        round(&mut state);
        state[0] ^= word;
    }
    state[2] ^= 0xff;
    for _ in 0..3 {
        round(&mut state);
    }
    state[0] ^ state[1] ^ state[2] ^ state[3]
}

fn round([a, b, c, d]: &mut [u64; 4]) {
    *a = a.wrapping_add(*b);
    *b = b.rotate_left(13) ^ *a;
    *a = a.rotate_left(32);
    *c = c.wrapping_add(*d);
    *d = d.rotate_left(16) ^ *c;
    *a = a.wrapping_add(*d);
    *d = d.rotate_left(21) ^ *a;
    *c = c.wrapping_add(*b);
    *b = b.rotate_left(17) ^ *c;
    *c = c.rotate_left(32);
}

/// Addresses a bucket counts. With the eight of a bucket's places that a full gateway needs on
/// average, a bucket overflows less often than once in a thousand million.
pub const BUCKET_SLOTS: usize = BUCKET_WORDS - 1;
/// Four cache lines, looked through on each connection.
const BUCKET_WORDS: usize = 32;
/// At most a quarter of the words is in use.
const WORDS_PER_CONNECTION: usize = 4;
/// Tries to get the lock of a bucket, which is held for some tens of instructions.
pub const MAX_SPINS: u32 = 1_000;
/// The bits of a slot that count.
const COUNT: u64 = (1 << COUNT_BITS) - 1;
const COUNT_BITS: u32 = 20;
/// Connections one address can be allowed; a greater limit means this.
pub const MAX_LIMIT: u32 = (1 << COUNT_BITS) - 1;
/// The bits that choose a bucket are those that are no fingerprint.
const MAX_BUCKET: u64 = COUNT;

#[cfg(test)]
mod tests {
    extern crate std;

    use core::{net::Ipv4Addr, sync::atomic::AtomicU32};
    use std::{
        collections::HashMap,
        hash::{DefaultHasher, Hasher},
        thread, vec,
    };

    use super::*;

    const SEED: [u64; 2] = [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908];

    fn v4(number: u32) -> IpAddr {
        Ipv4Addr::from(number).into()
    }

    #[test]
    fn the_limit_holds_and_closing_makes_room() {
        let table = Arc::new(Connections::new(100, SEED));
        let address = v4(1);
        let first = table.open(address, 2).expect("the first of two");
        let second = table.open("::ffff:0.0.0.1".parse().expect("valid"), 2).expect("the second");
        assert!(table.open(address, 2).is_none());
        assert!(table.open(v4(2), 1).is_some(), "another address has its own count");
        drop(first);
        assert_eq!(table.count(address), 1);
        let third = table.open(address, 2).expect("room again");
        drop(second);
        drop(third);
        assert_eq!((table.count(address), table.uncounted()), (0, 0));
        assert!(table.open(address, 0).is_none());
    }

    #[test]
    fn a_full_table_of_addresses_counts_each_exactly() {
        let table = Arc::new(Connections::new(10_000, SEED));
        let mut expected = HashMap::new();
        let mut tickets = vec![];
        for number in 0..10_000_u32 {
            let address = v4(number % 3_333);
            *expected.entry(address).or_insert(0_u64) += 1;
            tickets.push(table.open(address, 10).expect("below the limit"));
        }
        assert!(expected.iter().all(|(address, count)| table.count(*address) == *count));
        for ticket in tickets {
            drop(ticket);
        }
        assert!(expected.keys().all(|address| table.count(*address) == 0));
        assert_eq!(table.uncounted(), 0);
    }

    #[test]
    fn a_full_bucket_admits_uncounted_and_never_refuses() {
        let table = Arc::new(Connections::new(1, SEED));
        let slots = u32::try_from(table.words.len()).expect("few");
        let tickets: Vec<_> =
            (0..slots * 2).map(|number| table.open(v4(number), 1).expect("admitted")).collect();
        assert!(table.uncounted() >= u64::from(slots));
        for ticket in tickets {
            drop(ticket);
        }
        assert!((0..slots * 2).all(|number| table.count(v4(number)) == 0));
    }

    #[test]
    fn threads_never_lose_a_count_nor_pass_the_limit() {
        const THREADS: u32 = 8;
        const LIMIT: u32 = 5;
        let table = Arc::new(Connections::new(64, SEED));
        let held: Vec<_> = (0..4).map(|_| AtomicU32::new(0)).collect();
        thread::scope(|scope| {
            for offset in 0..THREADS {
                let (table, held) = (&table, &held);
                scope.spawn(move || {
                    let mut mine = Vec::new();
                    for turn in 0..20_000_u32 {
                        let which = (turn.wrapping_mul(7) + offset) % 4;
                        if let Some(ticket) = table.open(v4(which), LIMIT) {
                            let now = held[which as usize].fetch_add(1, Relaxed) + 1;
                            let allowed = u64::from(LIMIT) + table.uncounted();
                            assert!(u64::from(now) <= allowed, "{now} of {allowed} at once");
                            mine.push((which, ticket));
                        }
                        if turn % 3 != 0 && !mine.is_empty() {
                            let (which, ticket) = mine.swap_remove(turn as usize % mine.len());
                            held[which as usize].fetch_sub(1, Relaxed);
                            drop(ticket);
                        }
                    }
                    for (which, ticket) in mine {
                        held[which as usize].fetch_sub(1, Relaxed);
                        drop(ticket);
                    }
                });
            }
        });
        assert!((0..4).all(|which| table.count(v4(which)) == 0));
        // Only a thread that lost its processor under the lock can have made others give up.
        assert!(table.uncounted() < 1_000, "{}", table.uncounted());
    }

    #[test]
    fn the_hash_is_the_one_of_the_standard_library() {
        let mut expected = DefaultHasher::new();
        let address: Ipv6Addr = "2001:db8:1:2:3:4:5:6".parse().expect("valid");
        expected.write(&address.octets());
        assert_eq!(siphash_1_3([0, 0], address.into()), expected.finish());
        assert_ne!(siphash_1_3([1, 0], address.into()), expected.finish());
        assert_ne!(siphash_1_3([0, 1], address.into()), expected.finish());
    }
}
