//! Rows found by address: two tries, one for each version of IP.
//!
//! Rows come in order, and a prefix that an earlier one covers is not stored, because it can never
//! be the first to match. So of the stored prefixes that cover a client, a longer one always has
//! the lower row, and the longest match is the first match.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv4Subnets, Ipv6Net, Ipv6Subnets};
use prefix_trie::PrefixMap;
use smallvec::SmallVec;

/// The prefixes of one row; one unless the row is a range.
pub(super) type Networks = SmallVec<[IpNet; 1]>;

#[derive(Clone, Default)]
pub(super) struct Prefixes {
    v4: PrefixMap<Ipv4Net, u32>,
    v6: PrefixMap<Ipv6Net, u32>,
}

impl Prefixes {
    /// Adds a row after all others. Gives the earlier row that makes it dead, if one covers all
    /// of its prefixes or the last of several such rows does.
    pub(super) fn insert(&mut self, networks: &Networks, row: u32) -> Option<u32> {
        let mut dead_by = Some(0);
        for network in networks {
            let by = match network {
                IpNet::V4(network) => insert(&mut self.v4, *network, row),
                IpNet::V6(network) => insert(&mut self.v6, *network, row),
            };
            dead_by = dead_by.zip(by).map(|(one, other)| one.max(other));
        }
        dead_by
    }

    /// The first row that covers an address, which must not be IPv4-mapped.
    pub(super) fn find(&self, address: IpAddr) -> Option<u32> {
        match address {
            IpAddr::V4(address) => self.v4.get_lpm(&Ipv4Net::from(address)).map(|(_, row)| *row),
            IpAddr::V6(address) => self.v6.get_lpm(&Ipv6Net::from(address)).map(|(_, row)| *row),
        }
    }
}

impl core::fmt::Debug for Prefixes {
    fn fmt(&self, out: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(out, "Prefixes({} + {})", self.v4.len(), self.v6.len())
    }
}

/// The fewest prefixes that make up the addresses from `first` to `last`.
pub(super) fn range_v4(first: Ipv4Addr, last: Ipv4Addr) -> Networks {
    Ipv4Subnets::new(first, last, 0).map(IpNet::V4).collect()
}

/// The fewest prefixes that make up the addresses from `first` to `last`.
pub(super) fn range_v6(first: Ipv6Addr, last: Ipv6Addr) -> Networks {
    Ipv6Subnets::new(first, last, 0).map(unmapped).collect()
}

/// The IPv4 prefix that an IPv4-mapped one stands for: clients are compared without the mapping.
pub(super) fn unmapped(network: Ipv6Net) -> IpNet {
    match network.network().to_ipv4_mapped() {
        Some(address) if network.prefix_len() >= MAPPED_PREFIX => {
            let length = network.prefix_len() - MAPPED_PREFIX;
            IpNet::V4(Ipv4Net::new(address, length).expect("128 - 96 = 32"))
        }
        _ => IpNet::V6(network),
    }
}

fn insert<P: prefix_trie::Prefix>(
    map: &mut PrefixMap<P, u32>,
    network: P,
    row: u32,
) -> Option<u32> {
    let by = map.get_lpm(&network).map(|(_, row)| *row);
    if by.is_none() {
        map.insert(network, row);
    }
    by
}

/// `::ffff:0:0/96` (RFC 4291 2.5.5.2).
const MAPPED_PREFIX: u8 = 96;
