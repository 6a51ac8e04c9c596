//! What the driver decides about a conversation before it begins.

use alloc::sync::Arc;
use core::time::Duration;

/// What is the same for all conversations with a next hop.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Our name in EHLO.
    pub helo: Arc<str>,
    /// Whether to ask for TLS.
    pub tls: TlsNeed,
    /// How long to wait for what.
    pub timeouts: Timeouts,
    /// The next hop's name, for diagnostics.
    pub remote: Arc<str>,
}

/// Whether to use STARTTLS (RFC 3207).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum TlsNeed {
    /// Never.
    None,
    /// When it is offered. A refusal before the handshake is put up with; a failed handshake is
    /// not.
    #[default]
    Preferred,
    /// Always: nothing is delivered without it.
    Required,
}

/// How long to wait for a reply (RFC 5321 4.5.3.2).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Timeouts {
    /// The greeting.
    pub greeting: Duration,
    /// The reply to EHLO, HELO, STARTTLS.
    pub hello: Duration,
    /// The TLS handshake.
    pub tls: Duration,
    /// The reply to MAIL and RSET.
    pub mail: Duration,
    /// The reply to RCPT.
    pub recipient: Duration,
    /// The reply to DATA.
    pub data: Duration,
    /// Writing one block of content.
    pub block: Duration,
    /// The reply to the final dot.
    pub end_of_data: Duration,
    /// The reply to QUIT: nobody waits for it.
    pub quit: Duration,
}

impl Default for Timeouts {
    //= RFC 5321 4.5.3.2
    fn default() -> Self {
        let minutes = |count: u64| Duration::from_secs(count * 60);
        Self {
            greeting: minutes(5),
            hello: minutes(5),
            tls: minutes(2),
            mail: minutes(5),
            recipient: minutes(5),
            data: minutes(2),
            block: minutes(3),
            end_of_data: minutes(10),
            quit: Duration::from_secs(5),
        }
    }
}
