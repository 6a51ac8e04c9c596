//! What waits: one message's recipients in one domain.

use alloc::sync::Arc;

use ringpost_core::{
    id::{Mid, Rids},
    time::{Date, Time},
};

/// Recipients of one message that go to one destination in one transaction.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Item {
    /// The message.
    pub mid: Mid,
    /// Its recipients in the destination's domain.
    pub rids: Rids,
    /// Attempts made so far.
    pub attempts: u32,
    /// When the message was received: what its age is counted from.
    pub first_queued: Date,
    /// No attempt before this; [`Time::ZERO`] for the first.
    pub not_before: Time,
    /// No attempt after this: the item comes back as [`super::Next::Expired`] instead.
    pub expires: Time,
    /// Octets of content.
    pub size: u64,
}

/// An item the schedule has no room for; its message stays in the spool and is offered again later.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refused {
    /// The item, unchanged.
    pub item: Item,
    /// Which limit.
    pub limit: Limit,
}

/// A limit of the schedule.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Limit {
    /// [`super::Limits::max_items`].
    Items,
    /// [`super::Limits::max_destinations`], each of which has something to do.
    Destinations,
}

/// What has become of an item that was taken.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Settlement {
    /// Whether the peer went through the transaction (whatever it said to each recipient): such
    /// a peer is trusted with one more connection. One that breaks off [`super::COHORT`] times in
    /// a row is left alone for a while.
    pub completed: bool,
    /// The recipients to try again, if any; `not_before` and `attempts` are already the next ones.
    pub again: Option<Item>,
}

/// An item on its way out of the schedule, with its destination.
pub(super) type Leaving = (Arc<str>, Item);
