//! The states of a conversation, each owning exactly what exists in it.
//!
//! A reset drops the state and with it everything that belonged to the transaction: there is no
//! field that could be forgotten.

use alloc::{boxed::Box, sync::Arc};

use super::{content::Content, step::Received};
use crate::{
    envelope::{Envelope, Recipient},
    id::Mid,
    smtp::{body::Decoder, command::Mail, reply::Reply},
    time::Time,
};

#[derive(Debug)]
pub(super) enum State {
    /// The greeting has not been said. Some(reply): it will refuse.
    Connected(Option<Reply>),
    /// The greeting refused; so is everything but QUIT.
    Refusing(Reply),
    /// Between transactions.
    Ready(Option<Hello>),
    /// MAIL waits for an answer of the driver.
    SenderAsked(SenderAsked),
    /// MAIL was accepted, and perhaps RCPT.
    Mail(Transaction),
    /// RCPT waits for an answer of the driver.
    RecipientAsked(RecipientAsked),
    /// Content is coming in.
    Receiving(Receiving),
    /// The driver is moving body to the spool.
    Spilling(Receiving),
    /// Some BDAT has ended, and the last is to come.
    BetweenChunks(Box<Intake>),
    /// A chunk that belongs to nothing is being thrown away.
    Discarding(Discarding),
    /// All content is here.
    Complete(Box<Intake>),
    /// The driver is to decide and store.
    Committing(Committing),
    /// 220 was said; the driver is shaking hands.
    StartingTls,
    /// Nothing more will be said.
    Closed,
}

/// What EHLO or HELO said.
#[derive(Clone, Debug)]
pub(super) struct Hello {
    pub(super) name: Arc<str>,
    /// It was EHLO.
    pub(super) is_extended: bool,
}

#[derive(Debug)]
pub(super) struct SenderAsked {
    pub(super) hello: Hello,
    pub(super) mail: Mail,
}

#[derive(Debug)]
pub(super) struct Transaction {
    pub(super) hello: Hello,
    pub(super) mid: Mid,
    pub(super) started: Time,
    pub(super) envelope: Envelope,
    /// Some RCPT was refused: DATA without recipients is then no fault of order.
    pub(super) has_refused: bool,
}

#[derive(Debug)]
pub(super) struct RecipientAsked {
    pub(super) transaction: Transaction,
    pub(super) recipient: Recipient,
    pub(super) asked: Time,
}

/// A transaction whose content has begun.
#[derive(Debug)]
pub(super) struct Intake {
    pub(super) transaction: Transaction,
    pub(super) content: Content,
    pub(super) decoder: Decoder,
}

#[derive(Debug)]
pub(super) struct Receiving {
    pub(super) intake: Box<Intake>,
    pub(super) framing: Framing,
    pub(super) window: Window,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Framing {
    /// DATA.
    Dots,
    /// BDAT, with the octets of `size` that are still to come.
    Chunk { size: u64, left: u64, last: bool },
}

/// In which the speed of content is measured.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Window {
    /// None until the machine waits for the peer.
    pub(super) started: Option<Time>,
    pub(super) octets: u64,
}

#[derive(Debug)]
pub(super) struct Discarding {
    pub(super) left: u64,
    /// Said when nothing is left (RFC 3030 2).
    pub(super) reply: Reply,
    pub(super) then: Box<State>,
}

#[derive(Debug)]
pub(super) struct Committing {
    pub(super) hello: Hello,
    /// Taken by the step that gives it to the driver.
    pub(super) received: Option<Box<Received>>,
}

impl Transaction {
    pub(super) const fn has_recipients(&self) -> bool {
        !self.envelope.recipients.is_empty()
    }
}

impl State {
    /// Whether octets of the peer are what it takes to go on.
    pub(super) const fn awaits_peer(&self) -> bool {
        self.awaits_command() || self.awaits_content()
    }

    pub(super) const fn awaits_command(&self) -> bool {
        matches!(self, Self::Refusing(_) | Self::Ready(_) | Self::Mail(_) | Self::BetweenChunks(_))
    }

    pub(super) const fn awaits_content(&self) -> bool {
        matches!(self, Self::Receiving(_) | Self::Discarding(_))
    }

    /// What ends without having been handed over when this state is dropped.
    pub(super) fn transaction(&self) -> Option<(Mid, Time)> {
        let transaction = match self {
            Self::Mail(transaction) => transaction,
            Self::RecipientAsked(asked) => &asked.transaction,
            Self::Receiving(receiving) | Self::Spilling(receiving) => &receiving.intake.transaction,
            Self::BetweenChunks(intake) | Self::Complete(intake) => &intake.transaction,
            Self::Discarding(discarding) => return discarding.then.transaction(),
            Self::Connected(_)
            | Self::Refusing(_)
            | Self::Ready(_)
            | Self::SenderAsked(_)
            | Self::Committing(_)
            | Self::StartingTls
            | Self::Closed => return None,
        };
        Some((transaction.mid, transaction.started))
    }

    /// What EHLO or HELO said, if the client has introduced itself.
    pub(super) fn hello(self) -> Option<Hello> {
        match self {
            Self::Ready(hello) => hello,
            Self::SenderAsked(asked) => Some(asked.hello),
            Self::Mail(transaction) => Some(transaction.hello),
            Self::RecipientAsked(asked) => Some(asked.transaction.hello),
            Self::Receiving(receiving) | Self::Spilling(receiving) => {
                Some(receiving.intake.transaction.hello)
            }
            Self::BetweenChunks(intake) | Self::Complete(intake) => Some(intake.transaction.hello),
            Self::Discarding(discarding) => discarding.then.hello(),
            Self::Committing(committing) => Some(committing.hello),
            Self::Connected(_) | Self::Refusing(_) | Self::StartingTls | Self::Closed => None,
        }
    }
}
