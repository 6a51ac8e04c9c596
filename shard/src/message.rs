//! A message on its way out: what its home shard must know, shared and never changed.

use std::{
    io,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use ringpost_core::{
    event::Failure,
    id::{Mid, Rids},
    spool::{Piece, record::Accepted},
    time::{Date, Time},
};

use crate::content::Store;

/// A durable message.
pub(crate) struct Queued {
    pub(crate) mid: Mid,
    /// The shard whose queue holds it and whose log records its outcomes.
    pub(crate) owner: u16,
    /// Envelope, direction and date.
    pub(crate) accepted: Accepted,
    /// When MAIL was accepted, or the message recovered: its total time counts from here.
    pub(crate) started: Time,
    /// The header block, in the spool.
    pub(crate) header: Piece,
    /// The rest of the content, in the spool.
    pub(crate) body: Vec<Piece>,
    /// The whole content, if there was room for it in memory.
    pub(crate) memory: Option<Memory>,
}

/// Content in memory, counted against the shard's budget until the last reference is gone.
pub(crate) struct Memory {
    pub(crate) chunks: Vec<Bytes>,
    octets: u64,
    budget: Arc<Budget>,
}

/// How much content a shard keeps in memory so that it need not be read back.
pub(crate) struct Budget {
    used: AtomicU64,
    max: u64,
}

/// Recipients of one message in one domain, given to a home of that domain.
pub(crate) struct Assignment {
    pub(crate) message: Arc<Queued>,
    /// Lower case.
    pub(crate) domain: Arc<str>,
    pub(crate) rids: Rids,
    pub(crate) attempts: u32,
    /// No attempt before this date; none for mail that has just come in.
    pub(crate) not_before: Option<Date>,
}

/// What became of some recipients, told to the message's owner.
pub(crate) struct Settled {
    pub(crate) mid: Mid,
    pub(crate) rids: Rids,
    pub(crate) fate: Fate,
}

/// How an attempt ended for a recipient.
pub(crate) enum Fate {
    Delivered,
    Bounced(Box<Failure>),
    Deferred { until: Date, attempts: u32 },
}

impl Queued {
    /// Octets of the content.
    pub(crate) fn size(&self) -> u64 {
        let body: u64 = self.body.iter().map(|piece| u64::from(piece.length)).sum();
        u64::from(self.header.length) + body
    }

    /// The same message without its content in memory.
    pub(crate) fn on_disk(&self) -> Self {
        Self {
            mid: self.mid,
            owner: self.owner,
            accepted: self.accepted.clone(),
            started: self.started,
            header: self.header,
            body: self.body.clone(),
            memory: None,
        }
    }

    /// How many runs the content comes in; each is given by [`Self::run`].
    pub(crate) fn runs(&self) -> usize {
        self.memory.as_ref().map_or(1 + self.body.len(), |memory| memory.chunks.len())
    }

    /// One run of the content, from memory or from the spool.
    pub(crate) async fn run(&self, index: usize, store: &Rc<Store>) -> io::Result<Bytes> {
        match (&self.memory, index.checked_sub(1)) {
            (Some(memory), _) => Ok(memory.chunks[index].clone()),
            (None, None) => store.read(self.header).await,
            (None, Some(piece)) => store.read(self.body[piece]).await,
        }
    }

    /// The header block, for reports.
    pub(crate) async fn header(&self, store: &Rc<Store>) -> io::Result<Bytes> {
        store.read(self.header).await
    }
}

impl Budget {
    pub(crate) fn new(max: u64) -> Arc<Self> {
        Arc::new(Self { used: AtomicU64::new(0), max })
    }

    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Keeps `chunks` in memory if there is room for them.
    pub(crate) fn keep(self: &Arc<Self>, chunks: Vec<Bytes>) -> Option<Memory> {
        let octets = chunks.iter().map(|chunk| chunk.len() as u64).sum();
        let before = self.used.fetch_add(octets, Ordering::Relaxed);
        // Made first, so that what does not fit is given back by the same path as everything else.
        let memory = Memory { chunks, octets, budget: Arc::clone(self) };
        (before + octets <= self.max).then_some(memory)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.octets, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_beyond_the_budget_is_not_kept_and_what_goes_is_given_back() {
        let budget = Budget::new(10);
        let first = budget.keep(vec![Bytes::from_static(b"12345678")]).expect("it fits");
        assert!(budget.keep(vec![Bytes::from_static(b"123")]).is_none());
        assert_eq!(budget.used(), 8);
        drop(first);
        assert_eq!(budget.used(), 0);
    }
}
