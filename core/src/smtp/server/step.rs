//! What the machine and its driver say to each other between the octets.
//!
//! Every question has one answer method on `Server`; asking again or answering unasked is a bug of
//! the driver and fails an assertion.

use alloc::{boxed::Box, sync::Arc, vec::Vec};

use bytes::Bytes;

use crate::{
    address::ReversePath,
    envelope::{self, Envelope, Recipient},
    event::RecipientRefusal,
    id::Mid,
    message::Body,
    smtp::reply::Reply,
    time::Time,
};

/// What the driver is to do next.
#[derive(Debug)]
pub enum Step {
    /// Send `replies`, then give what comes in to `receive`, or call `ended` or `timed_out`.
    Receive,
    /// May this sender send? Answer with `sender_answered`.
    AskSender(SenderQuestion),
    /// May this recipient get mail? Answer with `recipient_answered`.
    AskRecipient(Recipient),
    /// Send `replies` (the 220 is in them), then shake hands; answer with `tls_established` or
    /// `tls_failed`. What the peer sends from here on belongs to TLS.
    StartTls,
    /// Write these octets of body to the spool; answer with `spilled`.
    Spill(Vec<Bytes>),
    /// The content is complete: decide, make it durable, answer with `message_answered`.
    Message(Box<Received>),
    /// Send `replies`, then close. The machine is at its end.
    Close,
}

/// MAIL, as far as a decision may depend on it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SenderQuestion {
    /// MAIL FROM.
    pub sender: ReversePath,
    /// SIZE=, which is within the limit (RFC 1870).
    pub size: Option<u64>,
    /// BODY=.
    pub body: envelope::Body,
    /// SMTPUTF8 was asked for.
    pub smtputf8: bool,
    /// What EHLO or HELO said.
    pub helo: Arc<str>,
}

/// The answer to [`Step::AskSender`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SenderAnswer {
    /// The transaction begins under this number.
    Accept { mid: Mid },
    /// It does not.
    Refuse(Reply),
}

/// The answer to [`Step::AskRecipient`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum RecipientAnswer {
    /// It is taken; `reply` is said instead of the usual text if given, and must be 2yz.
    Accept { reply: Option<Reply> },
    /// It is not; the transaction goes on.
    Refuse { reply: Reply, by: RecipientRefusal },
}

/// The answer to [`Step::Message`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum MessageAnswer {
    /// It is durable, and ours to answer for.
    Accepted { mid: Mid },
    /// Policy does not want it.
    Refused(Reply),
    /// It could not be stored.
    Unavailable(Reply),
}

/// A message whose content is complete.
#[derive(Debug)]
pub struct Received {
    /// Its number.
    pub mid: Mid,
    /// MAIL and the accepted RCPTs.
    pub envelope: Envelope,
    /// The header block: whole lines, without the empty line behind them.
    pub header: Bytes,
    /// The rest; if there is any, it begins with the empty line.
    pub body: Body,
    /// Octets of header and body.
    pub size: u64,
    /// For `Received:` (RFC 3848).
    pub protocol: Protocol,
    /// What EHLO or HELO said: printable, but not trustworthy.
    pub helo: Arc<str>,
    /// Protocol and cipher, if TLS is up.
    pub tls: Option<(&'static str, &'static str)>,
    /// When MAIL was accepted.
    pub started: Time,
    /// Some octet is above 127.
    pub eight_bit: bool,
}

/// Which SMTP was spoken, as `Received:` names it (RFC 3848, RFC 6531 4.3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Protocol {
    /// HELO.
    Smtp,
    /// EHLO.
    Esmtp,
    /// EHLO within TLS.
    Esmtps,
    /// A transaction with SMTPUTF8.
    Utf8Smtp,
    /// A transaction with SMTPUTF8 within TLS.
    Utf8Smtps,
}

impl Protocol {
    /// As written behind `with`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Smtp => "SMTP",
            Self::Esmtp => "ESMTP",
            Self::Esmtps => "ESMTPS",
            Self::Utf8Smtp => "UTF8SMTP",
            Self::Utf8Smtps => "UTF8SMTPS",
        }
    }
}
