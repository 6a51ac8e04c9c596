//! Addresses as `remote-ip` writes them: whole, by leading octets, as a range or as a network.
//!
//! Every form is a run of consecutive addresses, so a test is two comparisons.

use alloc::string::{String, ToString};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A run of addresses of one family, both ends included.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Addresses {
    V4(Ipv4Addr, Ipv4Addr),
    V6(Ipv6Addr, Ipv6Addr),
}

impl Addresses {
    /// # Errors
    ///
    /// What is wrong with the text, as a sentence without an end.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let addresses = if text.contains(':') { parse_v6(text) } else { parse_v4(text) };
        addresses.ok_or_else(|| {
            "an address is written 192.0.2.1, 192.0.2., 192.0.2.1-9, 192.0.2.0/24, 2001:db8::1, \
             2001:db8::1-2001:db8::9 or 2001:db8::/32"
                .to_string()
        })
    }

    /// Whether the client is one of these; an IPv4 client on an IPv6 socket is an IPv4 client.
    pub(super) fn matches(&self, client: IpAddr) -> bool {
        match (self, client.to_canonical()) {
            (Self::V4(first, last), IpAddr::V4(client)) => (first..=last).contains(&&client),
            (Self::V6(first, last), IpAddr::V6(client)) => (first..=last).contains(&&client),
            _ => false,
        }
    }
}

fn parse_v4(text: &str) -> Option<Addresses> {
    if let Some((network, length)) = text.split_once('/') {
        let (first, _, _) = octets(network)?;
        let length = prefix_length(length, 32)?;
        let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
        let first = u32::from(first) & mask;
        return Some(Addresses::V4(first.into(), (first | !mask).into()));
    }
    let (start, last_octet) = match text.split_once('-') {
        Some((start, last)) => (start, Some(octet(last.strip_suffix('.').unwrap_or(last))?)),
        None => (text, None),
    };
    let (first, count, is_open) = octets(start)?;
    if is_open && last_octet.is_some() {
        return None;
    }
    let free = u32::MAX.checked_shr(8 * count).unwrap_or(0);
    let mut last = u32::from(first);
    if let Some(octet) = last_octet {
        let shift = 32 - 8 * count;
        last = last & !(255 << shift) | u32::from(octet) << shift;
    }
    let last = Ipv4Addr::from(last | free);
    (first <= last).then_some(Addresses::V4(first, last))
}

/// One to four octets, the missing ones zero; how many; whether a dot ends them.
fn octets(text: &str) -> Option<(Ipv4Addr, u32, bool)> {
    let is_open = text.ends_with('.');
    let (mut address, mut count) = ([0; 4], 0);
    for part in text.strip_suffix('.').unwrap_or(text).split('.') {
        *address.get_mut(count)? = octet(part)?;
        count += 1;
    }
    if is_open && count == 4 {
        return None;
    }
    Some((address.into(), u32::try_from(count).ok()?, is_open))
}

fn octet(text: &str) -> Option<u8> {
    is_digits(text).then(|| text.parse().ok()).flatten()
}

fn parse_v6(text: &str) -> Option<Addresses> {
    if let Some((network, length)) = text.split_once('/') {
        let network = u128::from(network.parse::<Ipv6Addr>().ok()?);
        let mask = u128::MAX.checked_shl(128 - prefix_length(length, 128)?).unwrap_or(0);
        let first = network & mask;
        return Some(Addresses::V6(first.into(), (first | !mask).into()));
    }
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last).then_some(Addresses::V6(first, last))
}

fn prefix_length(text: &str, most: u32) -> Option<u32> {
    let length = is_digits(text).then(|| text.parse::<u32>().ok()).flatten()?;
    (length <= most).then_some(length)
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.len() <= 3 && text.bytes().all(|octet| octet.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_matches_what_it_says() {
        for (pattern, inside, outside) in [
            ("192.0.2.7", "192.0.2.7", "192.0.2.8"),
            ("192.0.2.", "192.0.2.255", "192.0.3.0"),
            ("192.0.2", "192.0.2.0", "192.0.20.0"),
            ("192.0", "192.0.255.1", "192.1.0.0"),
            ("10", "10.1.2.3", "100.0.0.1"),
            ("10.9.8.20-30", "10.9.8.30", "10.9.8.31"),
            ("10.1-5.", "10.5.255.255", "10.6.0.0"),
            ("10.1-5", "10.1.0.0", "10.0.255.255"),
            ("10-12", "12.255.0.1", "13.0.0.0"),
            ("198.51.100.0/25", "198.51.100.127", "198.51.100.128"),
            ("198.51.100.77/25", "198.51.100.1", "198.51.100.128"),
            ("10/8", "10.255.255.255", "11.0.0.0"),
            ("0/0", "255.1.1.1", "::1"),
            ("192.0.2.7", "::ffff:192.0.2.7", "::ffff:192.0.2.8"),
            ("2001:0db8::0001", "2001:db8::1", "2001:db8::2"),
            ("2001:db8::1-2001:db8::9", "2001:db8::9", "2001:db8::a"),
            ("2001:db8::/32", "2001:db8:ffff::", "2001:db9::"),
            ("::/0", "fe80::1", "10.0.0.1"),
        ] {
            let addresses = Addresses::parse(pattern).expect(pattern);
            assert!(addresses.matches(inside.parse().expect(inside)), "{pattern} {inside}");
            assert!(!addresses.matches(outside.parse().expect(outside)), "{pattern} {outside}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            ".",
            "256",
            "1.2.3.4.5",
            "1.2.3.4.",
            "1..2",
            "a.b",
            "mx.example.com",
            "1.2.3.4/33",
            "1.2.3.9-4",
            "1.2.-5",
            "-5",
            "1-",
            "/8",
            "10/",
            "+1",
            "2001:db8::/129",
            "2001:db8",
            "::2-::1",
            ".example",
            "ALL",
        ] {
            assert!(Addresses::parse(text).is_err(), "{text}");
        }
    }
}
