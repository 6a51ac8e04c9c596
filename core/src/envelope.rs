//! The envelope: who sent a message, who gets it, and what was asked of us about both.

use alloc::{sync::Arc, vec::Vec};

use crate::{
    address::{Address, ReversePath},
    id::Rid,
};

/// What MAIL and RCPT said (RFC 5321 2.3.1), after policy has admitted the recipients.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Envelope {
    /// MAIL FROM.
    pub reverse_path: ReversePath,
    /// RCPT TO in order; the index is the RID. Never empty in a committed message.
    pub recipients: Vec<Recipient>,
    /// BODY= (RFC 6152).
    pub body: Body,
    /// SMTPUTF8 was asked for (RFC 6531).
    pub smtputf8: bool,
    /// RET= (RFC 3461 4.3).
    pub ret: Option<Ret>,
    /// ENVID=, still in xtext (RFC 3461 4.4).
    pub envid: Option<Arc<str>>,
}

/// One RCPT TO.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Recipient {
    /// The forward-path's mailbox.
    pub address: Address,
    /// NOTIFY= (RFC 3461 4.1).
    pub notify: Notify,
    /// ORCPT=, `addr-type;xtext` as given (RFC 3461 4.2).
    pub original: Option<Arc<str>>,
}

/// BODY= of MAIL.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Body {
    /// Seven-bit content.
    #[default]
    SevenBit,
    /// Content may hold octets above 127.
    EightBitMime,
}

/// How much of the message a DSN is to return.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ret {
    /// The whole message.
    Full,
    /// Its header only.
    Headers,
}

/// About which outcomes the sender wants a DSN. The default is RFC 3461's: failure, at our choice
/// delay.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Notify(u8);

impl Notify {
    /// NOTIFY was not given.
    pub const DEFAULT: Self = Self(0);
    /// NOTIFY=NEVER.
    pub const NEVER: Self = Self(1);
    /// NOTIFY=SUCCESS.
    pub const SUCCESS: Self = Self(2);
    /// NOTIFY=FAILURE.
    pub const FAILURE: Self = Self(4);
    /// NOTIFY=DELAY.
    pub const DELAY: Self = Self(8);

    /// Both wishes; NEVER stands alone, which the parser enforces.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether a wish was stated.
    #[must_use]
    pub const fn asks(self, wish: Self) -> bool {
        self.0 & wish.0 != 0
    }

    /// Whether a failure is to be reported: asked for, or nothing was said.
    #[must_use]
    pub const fn wants_failure(self) -> bool {
        self.0 == 0 || self.asks(Self::FAILURE)
    }

    /// For the spool.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// From the spool; unknown bits are dropped.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits & 15)
    }
}

impl Envelope {
    /// An envelope without recipients yet.
    #[must_use]
    pub const fn new(reverse_path: ReversePath) -> Self {
        Self {
            reverse_path,
            recipients: Vec::new(),
            body: Body::SevenBit,
            smtputf8: false,
            ret: None,
            envid: None,
        }
    }

    /// The recipient with this number.
    #[must_use]
    pub fn recipient(&self, rid: Rid) -> Option<&Recipient> {
        self.recipients.get(rid.0 as usize)
    }
}

impl Recipient {
    /// A recipient about whom nothing special was asked.
    #[must_use]
    pub const fn new(address: Address) -> Self {
        Self { address, notify: Notify::DEFAULT, original: None }
    }
}
