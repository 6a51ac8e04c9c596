//! Destination controls: how hard the gateway may press on one recipient domain, and how safely.
//!
//! AsyncOS calls this the good neighbor table. The key is the recipient's domain, never the host a
//! route leads to.

use alloc::vec::Vec;
use core::net::IpAddr;

use crate::domain::{DomainTable, Pattern};

/// One row, with what it left unset already taken from the Default row.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Control {
    /// Concurrent connections, summed over all shards: 1 to [`MAX_CONNECTIONS`].
    pub max_connections: u32,
    /// Transactions on one connection before it is closed: 1 to [`MAX_MESSAGES_PER_CONNECTION`].
    pub max_messages_per_connection: u32,
    /// Whether to encrypt, and what the certificate must prove.
    pub tls: Tls,
    /// Which address family is tried.
    pub ip_preference: IpPreference,
}

/// "TLS support" of a destination.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Tls {
    /// STARTTLS is never sent.
    #[default]
    None,
    /// STARTTLS if offered; in clear otherwise; any certificate.
    Preferred,
    /// No mail in clear; any certificate.
    Required,
    /// As [`Tls::Preferred`]; whether the certificate was good is logged.
    PreferredVerify,
    /// No mail in clear, nor to a host that cannot prove who it is.
    RequiredVerify,
}

/// "IP address preference" of a destination.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum IpPreference {
    /// IPv6 addresses first.
    #[default]
    Ipv6Preferred,
    /// IPv6 addresses only.
    Ipv6Required,
    /// IPv4 addresses first.
    Ipv4Preferred,
    /// IPv4 addresses only.
    Ipv4Required,
}

/// The table of destination controls.
#[derive(Clone, Debug, Default)]
pub struct Controls {
    default: Control,
    rows: DomainTable<Control>,
}

impl Controls {
    /// A table with a Default row.
    ///
    /// # Errors
    ///
    /// The pattern that stands in two rows, or [`Pattern::All`], which is the Default row itself.
    pub fn new(default: Control, rows: Vec<(Pattern, Control)>) -> Result<Self, Pattern> {
        if rows.iter().any(|(pattern, _)| *pattern == Pattern::All) {
            return Err(Pattern::All);
        }
        Ok(Self { default, rows: DomainTable::new(rows)? })
    }

    /// The control of a recipient domain: exact, longest partial, Default.
    #[must_use]
    pub fn find(&self, domain: &str) -> &Control {
        self.rows.find(domain).unwrap_or(&self.default)
    }

    /// The Default row.
    #[must_use]
    pub const fn default_row(&self) -> &Control {
        &self.default
    }
}

impl Default for Control {
    /// The Default row as AsyncOS ships it.
    fn default() -> Self {
        Self {
            max_connections: 500,
            max_messages_per_connection: 50,
            tls: Tls::None,
            ip_preference: IpPreference::Ipv6Preferred,
        }
    }
}

impl IpPreference {
    /// When an address is tried: 0 first, 1 after; none if it is never tried.
    #[must_use]
    pub const fn rank(self, address: IpAddr) -> Option<u8> {
        match (self, address) {
            (Self::Ipv6Preferred | Self::Ipv6Required, IpAddr::V6(_))
            | (Self::Ipv4Preferred | Self::Ipv4Required, IpAddr::V4(_)) => Some(0),
            (Self::Ipv6Preferred, IpAddr::V4(_)) | (Self::Ipv4Preferred, IpAddr::V6(_)) => Some(1),
            (Self::Ipv6Required, IpAddr::V4(_)) | (Self::Ipv4Required, IpAddr::V6(_)) => None,
        }
    }
}

/// The greatest [`Control::max_connections`].
pub const MAX_CONNECTIONS: u32 = 1_000;

/// The greatest [`Control::max_messages_per_connection`].
pub const MAX_MESSAGES_PER_CONNECTION: u32 = 1_000;

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec;

    use super::*;

    #[test]
    fn the_most_specific_row_decides_and_default_is_last() {
        let narrow = Control { max_connections: 10, ..Control::default() };
        let below = Control { max_connections: 20, ..Control::default() };
        let rows = vec![
            (Pattern::parse("contoso.example").unwrap(), narrow),
            (Pattern::parse(".contoso.example").unwrap(), below),
        ];
        let controls = Controls::new(Control::default(), rows).unwrap();
        assert_eq!(controls.find("Contoso.Example").max_connections, 10);
        assert_eq!(controls.find("eu.contoso.example").max_connections, 20);
        assert_eq!(controls.find("fabrikam.example"), controls.default_row());
    }

    #[test]
    fn the_default_row_is_not_given_twice() {
        let rows = vec![(Pattern::All, Control::default())];
        assert_eq!(Controls::new(Control::default(), rows).unwrap_err(), Pattern::All);
    }

    #[test]
    fn required_families_exclude_the_other() {
        let (v4, v6): (IpAddr, IpAddr) =
            ("192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap());
        let ranks = |preference: IpPreference| (preference.rank(v4), preference.rank(v6));
        assert_eq!(ranks(IpPreference::Ipv6Preferred), (Some(1), Some(0)));
        assert_eq!(ranks(IpPreference::Ipv6Required), (None, Some(0)));
        assert_eq!(ranks(IpPreference::Ipv4Preferred), (Some(0), Some(1)));
        assert_eq!(ranks(IpPreference::Ipv4Required), (Some(0), None));
    }
}
