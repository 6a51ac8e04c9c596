//! Between shards: a message goes to a home shard of its destination, its outcome comes back.
//!
//! The content stays where it was written and is read from there; what crosses is a reference.
//! The channels have no bound of their own: what is in them is bounded by the number of queued
//! messages, which is, and a bound here could make two shards wait for each other.

use std::{rc::Rc, sync::Arc};

use async_channel::{Receiver, Sender};

use crate::message::{Assignment, Queued, Settled};

/// What one shard tells another.
pub(crate) enum Handover {
    /// Deliver this.
    Deliver(Assignment),
    /// What became of a delivery of yours.
    Settle(Settled),
    /// A message lies elsewhere in the spool now; if you deliver it, read it from there.
    Moved(Arc<Queued>),
}

/// Makes the channels of `shards` shards: the sending ends for all, one receiving end for each.
pub(crate) fn channels(shards: u16) -> (Arc<[Sender<Handover>]>, Vec<Receiver<Handover>>) {
    let (senders, receivers): (Vec<_>, Vec<_>) =
        (0..shards).map(|_| async_channel::unbounded()).unzip();
    (senders.into(), receivers)
}

/// One shard's view of the others.
pub(crate) struct Mesh {
    shard: u16,
    senders: Arc<[Sender<Handover>]>,
}

impl Mesh {
    pub(crate) fn new(shard: u16, senders: Arc<[Sender<Handover>]>) -> Rc<Self> {
        Rc::new(Self { shard, senders })
    }

    pub(crate) fn shards(&self) -> u16 {
        u16::try_from(self.senders.len()).expect("made from a u16")
    }

    pub(crate) const fn is_self(&self, shard: u16) -> bool {
        self.shard == shard
    }

    /// Tells every other shard that a message was copied forward.
    pub(crate) fn tell_moved(&self, message: &Arc<Queued>) {
        for shard in (0..self.shards()).filter(|&shard| !self.is_self(shard)) {
            self.send(shard, Handover::Moved(Arc::clone(message)));
        }
    }

    pub(crate) fn send(&self, shard: u16, handover: Handover) {
        // A shard ends only after all shards have drained; a handover after that finds the message
        // in the spool at the next start.
        let _ = self.senders[usize::from(shard)].try_send(handover);
    }
}
