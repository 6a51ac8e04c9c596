//! SMTP routes: the operator's word on where mail for a domain goes.
//!
//! A route changes the next hop, never the envelope. What it names is looked up in the DNS, but
//! never again in this table, so no two rows can make a loop. [`Resolution`] turns a route, or the
//! lack of one, into addresses.

mod resolution;

use alloc::{sync::Arc, vec::Vec};
use core::{
    fmt,
    net::{IpAddr, Ipv6Addr},
};

pub use resolution::{Hop, MAX_ADDRESSES, MAX_EXCHANGERS, Resolution, Step};

use crate::domain::{DomainTable, Pattern};

/// The table of SMTP routes.
#[derive(Clone, Debug, Default)]
pub struct Routes(DomainTable<Route>);

/// The right side of a row.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Route {
    /// These hosts and no others; the mail waits when none of them answers.
    Hosts(Vec<RouteHost>),
    /// `USEDNS`: as if no row matched.
    UseDns,
    /// `/dev/null`: accepted and thrown away.
    Discard,
}

/// One host of a route.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RouteHost {
    /// Whom to connect to.
    pub host: Host,
    /// TCP port.
    pub port: u16,
    /// 0 is tried first; hosts of equal priority take turns, connection by connection.
    pub priority: u16,
}

/// A host as a route names it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Host {
    /// A name, lower case: its MX are looked up first, then its addresses.
    Name(Arc<str>),
    /// An address: no lookup.
    Address(IpAddr),
}

/// Why rows make no table.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum RoutesError {
    /// This pattern stands in two rows.
    Duplicate(Pattern),
    /// More than [`MAX_ROUTES`].
    TooMany,
    /// The row of this pattern lists no host.
    NoHosts(Pattern),
    /// The row of this pattern lists more than [`MAX_HOSTS_PER_ROUTE`].
    TooManyHosts(Pattern),
}

impl Routes {
    /// A table of these rows.
    ///
    /// # Errors
    ///
    /// See [`RoutesError`].
    pub fn new(rows: Vec<(Pattern, Route)>) -> Result<Self, RoutesError> {
        if rows.len() > MAX_ROUTES {
            return Err(RoutesError::TooMany);
        }
        for (pattern, route) in &rows {
            match route {
                Route::Hosts(hosts) if hosts.is_empty() => {
                    return Err(RoutesError::NoHosts(pattern.clone()));
                }
                Route::Hosts(hosts) if hosts.len() > MAX_HOSTS_PER_ROUTE => {
                    return Err(RoutesError::TooManyHosts(pattern.clone()));
                }
                Route::Hosts(_) | Route::UseDns | Route::Discard => {}
            }
        }
        DomainTable::new(rows).map(Self).map_err(RoutesError::Duplicate)
    }

    /// The route of a recipient domain: exact, longest partial, `ALL`.
    #[must_use]
    pub fn find(&self, domain: &str) -> Option<&Route> {
        self.0.find(domain)
    }
}

impl Host {
    /// A name, or an IPv4 or IPv6 address with or without brackets. None if it is neither.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(address) = parse_address(text) {
            return Some(Self::Address(address));
        }
        match Pattern::parse(text.strip_suffix('.').unwrap_or(text)) {
            Ok(Pattern::Exact(name)) if !name.starts_with('[') => Some(Self::Name(name)),
            _ => None,
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => out.write_str(name),
            Self::Address(address) => address.fmt(out),
        }
    }
}

impl fmt::Display for RoutesError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Duplicate(pattern) => write!(out, "{pattern} has two routes"),
            Self::TooMany => write!(out, "there are more than {MAX_ROUTES} routes"),
            Self::NoHosts(pattern) => write!(out, "the route of {pattern} lists no host"),
            Self::TooManyHosts(pattern) => {
                write!(out, "the route of {pattern} lists more than {MAX_HOSTS_PER_ROUTE} hosts")
            }
        }
    }
}

impl core::error::Error for RoutesError {}

/// An address, or an address literal (RFC 5321 4.1.3).
pub(crate) fn parse_address(text: &str) -> Option<IpAddr> {
    let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) else {
        return text.parse().ok();
    };
    match inner.get(..5) {
        Some(tag) if tag.eq_ignore_ascii_case("ipv6:") => {
            inner[5..].parse::<Ipv6Addr>().ok().map(IpAddr::V6)
        }
        _ => inner.parse().ok(),
    }
}

/// Rows of the table, `ALL` included, as in AsyncOS.
pub const MAX_ROUTES: usize = 40_000;

/// Hosts of one row.
pub const MAX_HOSTS_PER_ROUTE: usize = 64;

/// Where SMTP is spoken between servers (RFC 5321 4.5.4.2).
pub const SMTP_PORT: u16 = 25;

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec;

    use super::*;

    #[test]
    fn use_dns_below_a_domain_overrides_all() {
        let smarthost =
            RouteHost { host: Host::parse("10.0.0.25").unwrap(), port: 25, priority: 0 };
        let routes = Routes::new(vec![
            (Pattern::All, Route::Hosts(vec![smarthost])),
            (Pattern::parse(".example.com").unwrap(), Route::UseDns),
            (Pattern::parse("old.example.com").unwrap(), Route::Discard),
        ])
        .unwrap();
        assert_eq!(routes.find("a.example.com"), Some(&Route::UseDns));
        assert_eq!(routes.find("OLD.example.com"), Some(&Route::Discard));
        assert!(matches!(routes.find("example.com"), Some(Route::Hosts(_))));
        assert_eq!(Routes::default().find("example.com"), None);
    }

    #[test]
    fn a_table_that_cannot_work_is_refused() {
        let row = || (Pattern::parse("a.example").unwrap(), Route::UseDns);
        let duplicate = Routes::new(vec![row(), row()]).unwrap_err();
        assert_eq!(duplicate, RoutesError::Duplicate(row().0));
        let empty = Routes::new(vec![(Pattern::All, Route::Hosts(vec![]))]).unwrap_err();
        assert_eq!(empty, RoutesError::NoHosts(Pattern::All));
        let host = RouteHost { host: Host::parse("a.example").unwrap(), port: 25, priority: 0 };
        let many = vec![(Pattern::All, Route::Hosts(vec![host; MAX_HOSTS_PER_ROUTE + 1]))];
        assert_eq!(Routes::new(many).unwrap_err(), RoutesError::TooManyHosts(Pattern::All));
    }

    #[test]
    fn hosts_are_names_or_addresses() {
        assert_eq!(Host::parse("MX.example."), Some(Host::Name("mx.example".into())));
        for text in ["192.0.2.1", "[192.0.2.1]"] {
            assert_eq!(Host::parse(text), Some(Host::Address([192, 0, 2, 1].into())));
        }
        for text in ["2001:db8::1", "[2001:db8::1]", "[IPv6:2001:db8::1]"] {
            assert_eq!(Host::parse(text), "2001:db8::1".parse().ok().map(Host::Address));
        }
        for text in ["", "[mx.example]", "a b", ".a.example", "ALL", "[IPv6:192.0.2.1]"] {
            assert_eq!(Host::parse(text), None, "{text:?}");
        }
    }
}
