//! What a shard asks of control: names. Everything slow that a decision may need is one of these.

use alloc::{sync::Arc, vec::Vec};
use core::net::IpAddr;

/// A question about the DNS. Names are ASCII (A-labels), without a final dot.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Question {
    /// What is the verified name of this client (PTR, then A or AAAA of its answer)?
    Client(IpAddr),
    /// Which hosts take mail for this domain (RFC 5321 5.1)?
    Mx(Arc<str>),
    /// What are the addresses of this host?
    Addresses(Arc<str>),
}

/// The answer to a [`Question`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Answer {
    /// To [`Question::Client`].
    Client(ClientName),
    /// To [`Question::Mx`]: never empty, in the order of the zone.
    Mx(Vec<Mx>),
    /// To [`Question::Addresses`]: never empty, in the order of the answer.
    Addresses(Vec<IpAddr>),
    /// The name exists, but has no record of this kind.
    NoRecords,
    /// The name does not exist (NXDOMAIN).
    NoSuchName,
    /// No answer now: time-out, SERVFAIL, no server. The text says which, for the log.
    Unavailable(Arc<str>),
}

/// A mail exchanger: lowest preference first (RFC 5321 5.1). An empty host is a null MX (RFC 7505).
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Mx {
    /// Lower is tried earlier.
    pub preference: u16,
    /// The exchanger's name, lower case, without a final dot.
    pub host: Arc<str>,
}

/// What the reverse lookup of a client gave, and whether the name leads back to its address.
///
/// Host-name entries of a HAT match [`ClientName::Verified`] only; anybody may put any name into
/// the reverse zone of an address that is theirs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ClientName {
    /// The name's addresses include the client's: safe to match.
    Verified(Arc<str>),
    /// There is a PTR, but its name does not lead back (AsyncOS `not.double.verified`).
    Mismatched(Arc<str>),
    /// There is no PTR (AsyncOS `nx.domain`).
    NoName,
    /// The lookup failed for now (AsyncOS `serv.fail`).
    Unavailable,
}

impl ClientName {
    /// The name from the PTR, trustworthy or not; for logs and trace headers.
    #[must_use]
    pub fn name(&self) -> Option<&Arc<str>> {
        match self {
            Self::Verified(name) | Self::Mismatched(name) => Some(name),
            Self::NoName | Self::Unavailable => None,
        }
    }

    /// Whether the name leads back to the address.
    #[must_use]
    pub const fn is_verified(&self) -> bool {
        matches!(self, Self::Verified(_))
    }
}
