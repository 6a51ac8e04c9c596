//! Everything that happens to a connection or a message: the only voice of the data plane.
//!
//! `mail_logs`, tracking, metrics and the latency histograms are folds over this enum and match it
//! without a wildcard, so that a new variant does not compile until each has said what it does
//! with it. Variants are in the past tense and in the order of a message's life.

use alloc::{boxed::Box, sync::Arc};
use core::{net::IpAddr, time::Duration};

use crate::{
    address::{Address, ReversePath},
    id::{Dcid, Icid, Mid, Rid, Rids},
    lookup::ClientName,
    smtp::reply::Reply,
    time::{Date, Time},
};

/// An [`Event`] with the moment it happened and the shard it happened on.
#[derive(Clone, Debug)]
pub struct Stamped {
    /// When, by the clock all shards share: what puts events in order.
    pub time: Time,
    /// When, by the wall clock.
    pub date: Date,
    /// Which shard says so.
    pub shard: u16,
    /// What.
    pub event: Event,
}

/// Something that happened. `took` fields feed the histograms of [`crate::latency`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event {
    /// A client connected to a listener.
    ConnectionOpened {
        icid: Icid,
        listener: Arc<str>,
        local: IpAddr,
        client: IpAddr,
        name: ClientName,
        took: Duration,
    },
    /// The HAT chose a sender group; `group` is none for an ungrouped entry and for `ALL`.
    ConnectionClassified {
        icid: Icid,
        access: Access,
        group: Option<Arc<str>>,
        entry: Arc<str>,
        policy: Arc<str>,
        took: Duration,
    },
    /// The connection was turned away by a limit before the greeting.
    ConnectionRefused { icid: Icid, limit: ConnectionLimit },
    /// STARTTLS succeeded on a client's connection.
    TlsEstablished { icid: Icid, protocol: &'static str, cipher: &'static str },
    /// STARTTLS failed on a client's connection.
    TlsFailed { icid: Icid, reason: Arc<str> },
    /// MAIL was accepted.
    MessageStarted { mid: Mid, icid: Icid, sender: ReversePath },
    /// MAIL was refused.
    SenderRefused { icid: Icid, sender: ReversePath, reply: Reply },
    /// RCPT was accepted.
    RecipientAccepted { mid: Mid, icid: Icid, rid: Rid, recipient: Address, took: Duration },
    /// RCPT was refused.
    RecipientRefused { mid: Mid, icid: Icid, recipient: Address, by: RecipientRefusal },
    /// The content has come in completely. `size` is in octets, as received.
    MessageReceived {
        mid: Mid,
        sender: ReversePath,
        size: u64,
        message_id: Option<Arc<str>>,
        subject: Option<Arc<str>>,
        took: Duration,
    },
    /// The message filters have run; `matched` counts the filters that took an action.
    MessageFiltered { mid: Mid, matched: u32, took: Duration },
    /// A `log-entry` action.
    LogEntryWritten { mid: Mid, text: Arc<str> },
    /// An action made a new message of it (AsyncOS gives a changed message a new MID).
    MessageRewritten { mid: Mid, into: Mid, action: &'static str, filter: Arc<str> },
    /// The message will not go on.
    MessageAborted { mid: Mid, reason: Abort },
    /// A mail policy was chosen for all recipients.
    PolicyMatched { mid: Mid, policy: Arc<str>, direction: Direction },
    /// The message is durable and waits for delivery.
    MessageQueued { mid: Mid, took: Duration },
    /// The client's connection ended.
    ConnectionClosed { icid: Icid, how: Close },

    /// A connection to a next hop is up.
    DeliveryConnectionOpened {
        dcid: Dcid,
        local: IpAddr,
        remote: IpAddr,
        port: u16,
        took: Duration,
    },
    /// STARTTLS succeeded toward a next hop.
    DeliveryTlsEstablished {
        dcid: Dcid,
        protocol: &'static str,
        cipher: &'static str,
        verified: bool,
        domain: Arc<str>,
    },
    /// STARTTLS failed toward a next hop.
    DeliveryTlsFailed { dcid: Dcid, reason: Arc<str> },
    /// A next hop could not be reached, or refused us before any message.
    ConnectionFailed {
        dcid: Option<Dcid>,
        domain: Arc<str>,
        remote: Option<IpAddr>,
        port: u16,
        reason: Arc<str>,
    },
    /// The next hops of a destination could not be found out.
    RouteFailed { domain: Arc<str>, failure: RouteFailure },
    /// A message is being handed to a next hop. `waited` is its time in the queue.
    DeliveryStarted { dcid: Dcid, mid: Mid, rids: Rids, waited: Duration },
    /// The next hop has taken responsibility for these recipients.
    RecipientsDelivered { dcid: Dcid, mid: Mid, rids: Rids, response: Arc<str>, took: Duration },
    /// These recipients will be tried again at `until`.
    RecipientsDeferred {
        dcid: Option<Dcid>,
        mid: Mid,
        rids: Rids,
        failure: Box<Failure>,
        until: Date,
    },
    /// These recipients have failed for good.
    RecipientsBounced { dcid: Option<Dcid>, mid: Mid, rids: Rids, failure: Box<Failure> },
    /// The connection to a next hop ended.
    DeliveryConnectionClosed { dcid: Dcid },
    /// A report of non-delivery was made.
    BounceGenerated { mid: Mid, of: Mid },
    /// A report could not be delivered either, and has no sender to report to.
    DoubleBounced { mid: Mid },
    /// Nothing is left to do for a message. `took` runs from MAIL, or from recovery.
    MessageFinished { mid: Mid, how: Finish, took: Duration },

    /// A message was found in the spool at start.
    MessageRecovered { mid: Mid, sender: ReversePath, recipients: u32 },
    /// The spool of a shard stopped accepting: a sync failed (final) or the disk is full.
    SpoolFailed { reason: Arc<str>, is_final: bool },
    /// A spool that was full accepts again.
    SpoolResumed,
    /// A record of the spool was unreadable; what it held is lost and the rest goes on.
    RecordDamaged { log: u16, segment: u64, offset: u64 },
}

/// What the HAT lets a client do.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Access {
    /// Mail for our recipients.
    Accept,
    /// Mail for anybody.
    Relay,
    /// A greeting that refuses.
    Reject,
    /// No TCP connection.
    TcpRefuse,
}

/// Which limit turned a connection away.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ConnectionLimit {
    /// Connections of one client address (mail flow policy).
    Client,
    /// Connections of the listener.
    Listener,
    /// The gateway is draining or cannot store mail.
    Unavailable,
}

/// Who refused a recipient.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum RecipientRefusal {
    /// The Recipient Access Table.
    Rat,
    /// Recipients per message, or per hour.
    ReceivingControl,
    /// The address cannot be used, or relaying is denied.
    Syntax,
}

/// Why a message did not go on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Abort {
    /// `drop` of this filter.
    DroppedByFilter(Arc<str>),
    /// `bounce` of this filter.
    BouncedByFilter(Arc<str>),
    /// `reject` of this filter; the peer was told.
    RejectedByFilter(Arc<str>),
    /// We refused the content, or could not store it; the peer was told.
    Receiving,
    /// The client went away, or said RSET.
    ReceivingBySender,
}

/// Which table of mail policies applies.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Direction {
    /// From an accepted client: inbound table.
    Incoming,
    /// From a relayed client: outbound table.
    Outgoing,
}

/// How a client's connection ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Close {
    /// By QUIT, or by us.
    Closed,
    /// It broke.
    Lost,
}

/// Why a destination has no next hop.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum RouteFailure {
    /// NXDOMAIN: the recipients bounce with 5.1.2.
    NoSuchDomain,
    /// A null MX (RFC 7505): the recipients bounce with 5.1.10.
    NullMx,
    /// Neither MX nor address: the recipients bounce with 5.1.2.
    NoAddress,
    /// The best exchanger is this gateway itself: the recipients bounce with 5.4.6.
    Loop,
    /// The DNS did not answer: try again.
    Unavailable(Arc<str>),
}

/// One delivery attempt that failed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Failure {
    /// RFC 3463 status, `4.x.y` or `5.x.y`.
    pub status: Status,
    /// What the peer said, if it said anything.
    pub reply: Option<Reply>,
    /// What went wrong in our words, when no reply says it.
    pub diagnostic: Arc<str>,
    /// Who said so: the next hop's name, or empty.
    pub remote: Arc<str>,
}

/// An enhanced status code (RFC 3463).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Status {
    /// 2 success, 4 persistent transient failure, 5 permanent failure.
    pub class: u8,
    /// Whom it is about: address, mailbox, mail system, network, protocol, content, policy.
    pub subject: u16,
    /// What exactly.
    pub detail: u16,
}

/// How the life of a message ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Finish {
    /// Every recipient was delivered, bounced or expired.
    Done,
    /// It was dropped, rejected or never completed.
    Aborted,
    /// Another MID goes on in its place.
    Rewritten,
}

impl Access {
    /// As `mail_logs` print it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accept => "ACCEPT",
            Self::Relay => "RELAY",
            Self::Reject => "REJECT",
            Self::TcpRefuse => "TCPREFUSE",
        }
    }
}

impl Status {
    /// A status from its three numbers.
    #[must_use]
    pub const fn new(class: u8, subject: u16, detail: u16) -> Self {
        Self { class, subject, detail }
    }

    /// Whether trying again may help.
    #[must_use]
    pub const fn is_transient(self) -> bool {
        self.class == 4
    }
}

impl core::fmt::Display for Status {
    fn fmt(&self, out: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(out, "{}.{}.{}", self.class, self.subject, self.detail)
    }
}
