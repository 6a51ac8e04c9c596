//! The address forms of a HAT row: single, partial, range, prefix.
//!
//! AsyncOS lets octets be left out at the right, which no address parser of a library accepts.

use core::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};
use smallvec::smallvec;

use super::EntryError;
use crate::hat::prefix::{Networks, range_v4, range_v6, unmapped};

/// `n.n.n.n`, fewer octets with or without a dot at the end, a range in the last octet given, or
/// up to four octets and `/length`, missing octets being 0.
pub(super) fn parse_v4(text: &str) -> Result<Networks, EntryError> {
    if let Some((address, length)) = text.split_once('/') {
        let (first, _, _) = octets(address)?;
        if address.ends_with('.') || address.contains('-') {
            return Err(EntryError::Ipv4);
        }
        let length = prefix_length(length, EntryError::Ipv4)?;
        let network =
            Ipv4Net::new(Ipv4Addr::from(first), length).map_err(|_| EntryError::PrefixLength)?;
        return Ok(smallvec![network.trunc().into()]);
    }
    let (first, last, count) = octets(text.strip_suffix('.').unwrap_or(text))?;
    if count == 4 && text.ends_with('.') {
        return Err(EntryError::Ipv4);
    }
    if first > last {
        return Err(EntryError::BackwardRange);
    }
    Ok(range_v4(Ipv4Addr::from(first), Ipv4Addr::from(last)))
}

/// An address, `address-address`, or `address/length`.
pub(super) fn parse_v6(text: &str) -> Result<Networks, EntryError> {
    let address = |text: &str| text.parse::<Ipv6Addr>().map_err(|_| EntryError::Ipv6);
    if let Some((text, length)) = text.split_once('/') {
        let length = prefix_length(length, EntryError::Ipv6)?;
        let network = Ipv6Net::new(address(text)?, length).map_err(|_| EntryError::PrefixLength)?;
        return Ok(smallvec![unmapped(network.trunc())]);
    }
    let Some((first, last)) = text.split_once('-') else {
        return Ok(smallvec![unmapped(address(text)?.into())]);
    };
    let (first, last) = (address(first)?, address(last)?);
    if first > last {
        return Err(EntryError::BackwardRange);
    }
    Ok(range_v6(first, last))
}

/// The lowest and the highest address that begin with the octets given, and how many are given.
/// The last one may be a range.
fn octets(text: &str) -> Result<([u8; 4], [u8; 4], usize), EntryError> {
    let (mut first, mut last, mut count) = ([0; 4], [255; 4], 0);
    let mut parts = text.split('.').peekable();
    while let Some(part) = parts.next() {
        let (low, high) = match part.split_once('-') {
            Some((low, high)) if parts.peek().is_none() => (octet(low)?, octet(high)?),
            Some(_) => return Err(EntryError::Ipv4),
            None => (octet(part)?, octet(part)?),
        };
        if count == 4 {
            return Err(EntryError::Ipv4);
        }
        (first[count], last[count]) = (low, high);
        count += 1;
    }
    Ok((first, last, count))
}

fn octet(text: &str) -> Result<u8, EntryError> {
    decimal(text).ok_or(EntryError::Ipv4)
}

fn prefix_length(text: &str, error: EntryError) -> Result<u8, EntryError> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(error);
    }
    decimal(text).ok_or(EntryError::PrefixLength)
}

/// At most three digits: `parse` alone would take a sign and any number of zeros.
fn decimal(text: &str) -> Option<u8> {
    let is_number = (1..=3).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    if is_number { text.parse().ok() } else { None }
}
