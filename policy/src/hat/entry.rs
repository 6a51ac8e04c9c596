//! One row of a HAT as an operator writes it, in every form AsyncOS knows.
//!
//! What we do not do yet is recognised all the same, so that a policy taken over from an appliance
//! says what to do about it instead of matching nothing in silence.

use alloc::sync::Arc;
use core::{error::Error, fmt};

use ringpost_core::lookup::ClientName;

use super::prefix::Networks;
use crate::domain;

mod address;

/// A condition on the connecting host.
#[derive(Clone, Debug)]
pub struct Entry {
    text: Arc<str>,
    sender: Sender,
}

/// Why a text is no [`Entry`]. [`EntryError::help`] says what to write instead.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum EntryError {
    /// Nothing was written.
    Empty,
    /// More than [`MAX_ENTRY_SIZE`] octets.
    TooLong,
    /// Not digits, dots, a range or a prefix length in their places.
    Ipv4,
    /// Not an IPv6 address, range or prefix.
    Ipv6,
    /// A prefix length beyond 32, or beyond 128.
    PrefixLength,
    /// A range that ends before it begins.
    BackwardRange,
    /// Not a name a host can have.
    Name,
    /// A mail address: the HAT is about hosts.
    MailAddress,
    /// `SBRS[..]` and `SBO:` ask a reputation source.
    Reputation,
    /// `dnslist[..]` asks a DNS list.
    DnsList,
}

#[derive(Clone, Debug)]
pub(super) enum Sender {
    Networks(Networks),
    /// The verified name itself.
    Host(Arc<str>),
    /// Any verified name below this one.
    Below(Arc<str>),
    Unverified(Unverified),
    All,
}

/// The three ways in which a client has no verified name, as rows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Unverified {
    NoName,
    Unavailable,
    Mismatched,
}

impl Entry {
    /// Reads one sender of a sender group.
    ///
    /// # Errors
    /// When the text has none of the forms, or one that needs a source we do not ask.
    pub fn parse(text: &str) -> Result<Self, EntryError> {
        let text = text.trim();
        if text.len() > MAX_ENTRY_SIZE {
            return Err(EntryError::TooLong);
        }
        let lower = text.to_ascii_lowercase();
        Ok(Self { text: text.into(), sender: sender(&lower)? })
    }

    /// As it was written, for logs.
    #[must_use]
    pub const fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// Whether it is `ALL`, which AsyncOS allows as the last group only.
    #[must_use]
    pub const fn is_all(&self) -> bool {
        matches!(self.sender, Sender::All)
    }

    /// Whether this row alone matches a client: what the index of a table must agree with.
    #[must_use]
    pub fn matches(&self, address: core::net::IpAddr, name: &ClientName) -> bool {
        match &self.sender {
            Sender::Networks(networks) => {
                let address = address.to_canonical();
                networks.iter().any(|network| network.contains(&address))
            }
            Sender::Host(host) => match name {
                ClientName::Verified(name) => *domain::canonical(name) == **host,
                _ => false,
            },
            Sender::Below(domain) => match name {
                ClientName::Verified(name) => domain::canonical(name)
                    .strip_suffix(&**domain)
                    .is_some_and(|rest| rest.ends_with('.')),
                _ => false,
            },
            Sender::Unverified(why) => match name {
                ClientName::Verified(_) => false,
                ClientName::NoName => *why == Unverified::NoName,
                ClientName::Unavailable => *why == Unverified::Unavailable,
                ClientName::Mismatched(_) => *why == Unverified::Mismatched,
            },
            Sender::All => true,
        }
    }

    pub(super) fn into_parts(self) -> (Arc<str>, Sender) {
        (self.text, self.sender)
    }
}

impl EntryError {
    /// What to write instead.
    #[must_use]
    pub const fn help(&self) -> &'static str {
        match self {
            Self::Empty => "write an address, a prefix, a host name, `.domain` or remove the entry",
            Self::TooLong => "one entry holds one sender; write several as several entries",
            Self::Ipv4 => {
                "write one of 10.1.2.3, 10.1.2. (prefix), 10.1.2.10-20 (range), 10.1.2.0/24"
            }
            Self::Ipv6 => "write one of 2001:db8::1, 2001:db8::1-2001:db8::9, 2001:db8::/32",
            Self::PrefixLength => "the length is at most 32 for IPv4 and 128 for IPv6",
            Self::BackwardRange => "write the lower end first",
            Self::Name => {
                "write a host name in ASCII without final dot, or `.example.com` for all below it"
            }
            Self::MailAddress => {
                "the HAT matches the connecting host; refuse senders with a message filter"
            }
            Self::Reputation => {
                "no reputation source is asked yet; an appliance without one never matches a \
                 score, so remove the entry"
            }
            Self::DnsList => {
                "DNS lists are not asked yet; remove the entry, or list the addresses themselves"
            }
        }
    }
}

impl fmt::Display for EntryError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Empty => "the sender is empty",
            Self::TooLong => "the sender is longer than 256 octets",
            Self::Ipv4 => "this is not an IPv4 address, range or prefix",
            Self::Ipv6 => "this is not an IPv6 address, range or prefix",
            Self::PrefixLength => "the prefix length is too great",
            Self::BackwardRange => "the range ends before it begins",
            Self::Name => "this is not the name of a host",
            Self::MailAddress => "a mail address is not a sender of a HAT",
            Self::Reputation => "reputation scores and owners are not supported yet",
            Self::DnsList => "dnslist conditions are not supported yet",
        })
    }
}

impl Error for EntryError {}

impl Unverified {
    pub(super) const COUNT: usize = 3;
}

/// `text` is lower case.
fn sender(text: &str) -> Result<Sender, EntryError> {
    match text {
        "" => return Err(EntryError::Empty),
        "all" => return Ok(Sender::All),
        "nx.domain" => return Ok(Sender::Unverified(Unverified::NoName)),
        "serv.fail" => return Ok(Sender::Unverified(Unverified::Unavailable)),
        "not.double.verified" => return Ok(Sender::Unverified(Unverified::Mismatched)),
        _ => {}
    }
    if text.starts_with("sbrs[") || text.starts_with("sbo:") {
        return Err(EntryError::Reputation);
    }
    if text.starts_with("dnslist[") {
        return Err(EntryError::DnsList);
    }
    if text.contains('@') {
        return Err(EntryError::MailAddress);
    }
    if text.contains(':') {
        return address::parse_v6(text).map(Sender::Networks);
    }
    if text.bytes().all(|byte| byte.is_ascii_digit() || b".-/".contains(&byte)) {
        return address::parse_v4(text).map(Sender::Networks);
    }
    let (name, kind) = match text.strip_prefix('.') {
        Some(domain) => (domain, Sender::Below as fn(Arc<str>) -> Sender),
        None => (text, Sender::Host as fn(Arc<str>) -> Sender),
    };
    if domain::is_name(name) { Ok(kind(name.into())) } else { Err(EntryError::Name) }
}

/// Octets of one entry.
pub const MAX_ENTRY_SIZE: usize = 256;

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    fn matches(entry: &str, address: &str) -> bool {
        let entry = Entry::parse(entry).expect(entry);
        entry.matches(address.parse().expect(address), &ClientName::NoName)
    }

    /// An entry, and the addresses before, first, last and after.
    const FORMS: &str = "
        10.1.1.7               10.1.1.6        10.1.1.7    10.1.1.7           10.1.1.8
        10.1.1                 10.1.0.255      10.1.1.0    10.1.1.255         10.1.2.0
        10.1.1.                10.1.0.255      10.1.1.0    10.1.1.255         10.1.2.0
        10.1                   10.0.255.255    10.1.0.0    10.1.255.255       10.2.0.0
        10.1.                  10.0.255.255    10.1.0.0    10.1.255.255       10.2.0.0
        10                     9.255.255.255   10.0.0.0    10.255.255.255     11.0.0.0
        10.                    9.255.255.255   10.0.0.0    10.255.255.255     11.0.0.0
        10.1.1.10-20           10.1.1.9        10.1.1.10   10.1.1.20          10.1.1.21
        10.1.1-5               10.1.0.255      10.1.1.0    10.1.5.255         10.1.6.0
        10.1.1-5.              10.1.0.255      10.1.1.0    10.1.5.255         10.1.6.0
        10.1-5                 10.0.255.255    10.1.0.0    10.5.255.255       10.6.0.0
        10.1-5.                10.0.255.255    10.1.0.0    10.5.255.255       10.6.0.0
        10-12                  9.255.255.255   10.0.0.0    12.255.255.255     13.0.0.0
        10-12.                 9.255.255.255   10.0.0.0    12.255.255.255     13.0.0.0
        10.1.1.0/30            10.1.0.255      10.1.1.0    10.1.1.3           10.1.1.4
        10.1.1.2/31            10.1.1.1        10.1.1.2    10.1.1.3           10.1.1.4
        10.1.1/25              10.1.0.255      10.1.1.0    10.1.1.127         10.1.1.128
        10.1/16                10.0.255.255    10.1.0.0    10.1.255.255       10.2.0.0
        10/8                   9.255.255.255   10.0.0.0    10.255.255.255     11.0.0.0
        2001:db8:0:0:0:0:0:5   2001:db8::4     2001:db8::5 2001:db8::5        2001:db8::6
        2001:0DB8::5           2001:db8::4     2001:db8::5 2001:db8::5        2001:db8::6
        2001::2-2001::10       2001::1         2001::2     2001::10           2001::11
        2001:db8::/32          2001:db7:ffff:: 2001:db8::  2001:db8:ffff::1   2001:db9::
        ::ffff:10.0.0.0/127    9.255.255.255   10.0.0.0    ::ffff:10.0.0.1    10.0.0.2";

    #[test]
    fn every_form_covers_its_first_and_last_address_and_no_more() {
        for row in FORMS.trim().lines() {
            let mut words = row.split_whitespace();
            let entry = words.next().expect("an entry");
            let found: Vec<_> = words.map(|address| matches(entry, address)).collect();
            assert_eq!(found, [false, true, true, false], "{row}");
        }
        assert!(matches("0/0", "255.255.255.255") && !matches("0/0", "::1"));
        assert!(matches("::/0", "ffff::1") && !matches("::/0", "10.0.0.1"));
        assert!(matches("all", "10.0.0.1") && matches("ALL", "::1"));
    }

    #[test]
    fn what_is_no_sender_is_told_so() {
        use EntryError as E;
        for (text, error) in [
            ("", E::Empty),
            ("  ", E::Empty),
            (&*"a".repeat(257), E::TooLong),
            ("10.1.1.1.", E::Ipv4),
            ("10.1.1.1.1", E::Ipv4),
            ("10..1", E::Ipv4),
            (".10", E::Ipv4),
            ("256.1.1.1", E::Ipv4),
            ("0010.1.1.1", E::Ipv4),
            ("10.1-2.3", E::Ipv4),
            ("10.1.1.1-10.1.1.9", E::Ipv4),
            ("10.1-5/8", E::Ipv4),
            ("10.1./16", E::Ipv4),
            ("10/", E::Ipv4),
            ("10/33", E::PrefixLength),
            ("10/999", E::PrefixLength),
            ("10.1.1.9-3", E::BackwardRange),
            ("2001:db8:", E::Ipv6),
            ("2001:db8::1-9", E::Ipv6),
            ("2001:db8::/129", E::PrefixLength),
            ("2001:db8::/x", E::Ipv6),
            ("2001::9-2001::1", E::BackwardRange),
            ("user@example.com", E::MailAddress),
            ("*.example.com", E::Name),
            ("example.com.", E::Name),
            ("..example.com", E::Name),
            (".", E::Ipv4),
            ("bücher.example", E::Name),
            ("SBRS[-10.0:-3.0]", E::Reputation),
            ("sbrs[none]", E::Reputation),
            ("SBO:12", E::Reputation),
            ("dnslist[bl.example]", E::DnsList),
        ] {
            assert_eq!(Entry::parse(text).map(|entry| entry.text), Err(error), "{text}");
        }
    }
}
