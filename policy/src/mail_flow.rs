//! A mail flow policy: what a sender group may do and within which limits.
//!
//! AsyncOS keeps these beside the HAT and so do we: the HAT chooses one per connection, and nothing
//! about it changes until the connection ends.

use alloc::sync::Arc;

use ringpost_core::event::Access;

/// The limits and requirements of the connections of one or more sender groups.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MailFlowPolicy {
    /// As the operator named it; `mail_logs` and `$Policy` print it.
    pub name: Arc<str>,
    /// What happens to the connection.
    pub behavior: Behavior,
    /// Messages one connection may bring.
    pub max_messages_per_connection: u32,
    /// Recipients one message may have.
    pub max_recipients_per_message: u32,
    /// Octets of one message; also what SIZE announces (RFC 1870).
    pub max_message_size: u64,
    /// Connections one client address may hold open, over all listeners.
    pub max_connections_per_ip: u32,
    /// Whether STARTTLS is offered or demanded.
    pub tls: Tls,
    /// Code of the greeting of an accepting listener, 2yz.
    pub banner_code: u16,
    /// Text of the greeting, HAT variables not yet expanded; none for the default.
    pub banner_text: Option<Arc<str>>,
    /// Code of the greeting of [`Behavior::Reject`], 4yz or 5yz.
    pub reject_code: u16,
    /// Text of that greeting, HAT variables not yet expanded; none for the default.
    pub reject_text: Option<Arc<str>>,
    /// The host name in the greeting; none for the gateway's own.
    pub hostname: Option<Arc<str>>,
}

/// The connection behaviours of AsyncOS.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Behavior {
    /// Mail for recipients that the RAT accepts.
    Accept,
    /// Mail for anybody; the RAT is not asked.
    Relay,
    /// A greeting that refuses.
    Reject,
    /// No TCP connection.
    TcpRefuse,
    /// The group decides nothing and the scan of the HAT goes on.
    Continue,
}

/// What a listener demands of its clients about STARTTLS (RFC 3207).
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Tls {
    /// Not offered.
    #[default]
    Off,
    /// Offered.
    Preferred,
    /// No MAIL before it.
    Required,
}

impl MailFlowPolicy {
    /// A policy with the limits that AsyncOS ships for a new listener.
    #[must_use]
    pub const fn new(name: Arc<str>, behavior: Behavior) -> Self {
        Self {
            name,
            behavior,
            max_messages_per_connection: 10,
            max_recipients_per_message: 50,
            max_message_size: 10 << 20,
            max_connections_per_ip: 10,
            tls: Tls::Off,
            banner_code: 220,
            banner_text: None,
            reject_code: 554,
            reject_text: None,
            hostname: None,
        }
    }
}

impl Behavior {
    /// What a client of such a group gets; none for [`Behavior::Continue`], which decides nothing.
    #[must_use]
    pub const fn access(self) -> Option<Access> {
        match self {
            Self::Accept => Some(Access::Accept),
            Self::Relay => Some(Access::Relay),
            Self::Reject => Some(Access::Reject),
            Self::TcpRefuse => Some(Access::TcpRefuse),
            Self::Continue => None,
        }
    }
}
