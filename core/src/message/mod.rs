//! What is inside the envelope (RFC 5322): the header as an index over bytes that stay where they
//! are, and the body as the chunks it arrived in.

pub mod decode;
pub mod header;
pub mod trace;

use alloc::vec::Vec;

use bytes::Bytes;

use crate::spool::Piece;

/// The content of a message after its header block: from the empty line on.
///
/// `header bytes ++ body` is what came over the wire after unstuffing. Long bodies are moved to
/// the spool while they arrive; what was moved is named by its pieces and comes first.
#[derive(Clone, Debug, Default)]
pub struct Body {
    /// What is already in the spool, in order.
    pub spilled: Vec<Piece>,
    /// What is in memory and follows it.
    pub chunks: Vec<Bytes>,
}

impl Body {
    /// Octets, spilled ones included.
    #[must_use]
    pub fn size(&self) -> u64 {
        let spilled: u64 = self.spilled.iter().map(|piece| u64::from(piece.length)).sum();
        spilled + self.chunks.iter().map(|chunk| chunk.len() as u64).sum::<u64>()
    }
}
