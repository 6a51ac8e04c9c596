//! How things stand on one shard, as it tells whoever asks.

use alloc::sync::Arc;

/// A moment's gauges of one shard. Counters are not here: they are folds over events.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Report {
    /// Which shard says so.
    pub shard: u16,
    /// Client connections open.
    pub connections_in: u64,
    /// Delivery connections open.
    pub connections_out: u64,
    /// Messages in this shard's spool that are not finished.
    pub messages_queued: u64,
    /// Recipients waiting for a first attempt or a retry on this shard.
    pub recipients_active: u64,
    /// Destinations this shard delivers to and has mail for.
    pub destinations: u64,
    /// Octets of content kept in memory for delivery.
    pub content_bytes: u64,
    /// Segments of the spool log.
    pub segments: u64,
    /// Why the spool does not accept mail, if it does not.
    pub spool: Option<Arc<str>>,
}
