//! What one connection may do: made from a listener and its mail flow policy, and not changed.
//!
//! The machine knows no HAT and no configuration file; whoever made these values has read both.

use alloc::sync::Arc;
use core::time::Duration;

/// What one connection may do. Connections with the same listener and policy share it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Our name: in the greeting and in the answers to EHLO and HELO.
    pub hostname: Arc<str>,
    /// Text of the greeting behind the host name; [`DEFAULT_BANNER`] if none. Printable ASCII;
    /// several lines are separated by `\n`.
    pub banner: Option<Arc<str>>,
    /// Code of the greeting: 220 unless the operator has reasons.
    pub banner_code: u16,
    /// Octets of content, header included (RFC 1870).
    pub max_message_size: u64,
    /// Transactions in one connection (RFC 9422 MAILMAX); beyond it MAIL is answered 421.
    pub max_messages: u32,
    /// Accepted recipients in one transaction (RFC 9422 RCPTMAX); beyond it RCPT is answered 452.
    pub max_recipients: u32,
    /// Octets of header block; beyond it the content is answered 552 5.3.4, never truncated.
    pub max_header_size: u32,
    /// Received fields; beyond it the content is answered 554 5.4.6 (RFC 5321 6.3).
    pub max_hops: u32,
    /// Whether STARTTLS is offered.
    pub tls: TlsOffer,
    /// What becomes of CR and LF that are not CRLF.
    pub bare: BareLineEndings,
    /// Whether the client may send to anybody: for the driver, which decides about recipients.
    pub relay: bool,
    /// Times and budgets.
    pub limits: Limits,
    /// Octets of body kept in memory; beyond it the machine asks for a spill.
    pub spill_size: u32,
}

/// Whether STARTTLS is offered (RFC 3207).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum TlsOffer {
    /// Not offered, and answered 502.
    #[default]
    Off,
    /// Offered.
    Preferred,
    /// Offered, and MAIL is answered 530 5.7.0 before it.
    Required,
}

/// What becomes of CR without LF, LF without CR, and NUL (RFC 5321 2.3.8 forbids all three).
///
/// Under every policy a line of content ends with CRLF only, and only CRLF.CRLF ends the content:
/// what this policy allows or makes of an octet never frames anything (no SMTP smuggling).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum BareLineEndings {
    /// A command line with one is answered 500 5.5.2 and not obeyed; content with one is taken in
    /// to its end and answered 550 5.6.11.
    #[default]
    Reject,
    /// In content CR alone and LF alone become CRLF, and NUL is left out. A command line may end
    /// with LF alone; CR or NUL inside it is refused as above.
    Clean,
    /// In content all three are passed on as they are. Command lines as with `Clean`.
    Allow,
}

/// Times and budgets of one connection.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Octets of a command line, CRLF included; beyond it: 500 5.5.2.
    pub max_command_size: u32,
    /// Octets of a line of content without its CRLF; beyond it the content is answered 550 5.6.0.
    pub max_content_line_size: u32,
    /// How long a command line, or the next octet of content, may take; beyond it: 421 4.4.2.
    pub idle_timeout: Duration,
    /// How long a connection may last; beyond it: 421 4.4.2. When 80 % of it have passed, MAIL is
    /// answered so.
    pub total_timeout: Duration,
    /// How long a connection may last without one accepted message, not counting the time in
    /// which content is coming in; beyond it: 421 4.4.2.
    pub unsuccessful_timeout: Duration,
    /// Octets per second that content must reach in every `rate_window`; 0 for any speed.
    pub min_data_rate: u32,
    /// Over which time `min_data_rate` is measured.
    pub rate_window: Duration,
    /// Commands answered 5yz since the last accepted message; beyond it: 421 4.7.0.
    pub max_errors: u32,
    /// NOOP, RSET, VRFY, EXPN, HELP, EHLO and HELO since the last accepted message; beyond it:
    /// 421 4.7.0.
    pub max_junk_commands: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_command_size: 2_048,
            max_content_line_size: 65_536,
            idle_timeout: Duration::from_mins(5),
            total_timeout: Duration::from_mins(15),
            unsuccessful_timeout: Duration::from_mins(5),
            min_data_rate: 64,
            rate_window: Duration::from_mins(5),
            max_errors: 20,
            max_junk_commands: 100,
        }
    }
}

/// What the greeting says behind the host name.
pub const DEFAULT_BANNER: &str = "ESMTP";
