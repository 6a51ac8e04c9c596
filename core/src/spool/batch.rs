//! Records that will be written together: one run of blocks of one segment.
//!
//! It keeps the chunks it is given and copies none.

use alloc::vec::Vec;

use bytes::Bytes;

use super::{BLOCK, Ticket};

/// A run of blocks that gathers, then is written, then synced.
pub(super) struct Batch {
    pub(super) segment: u64,
    pub(super) offset: u64,
    /// Octets gathered; after [`Batch::seal`] a multiple of [`BLOCK`].
    pub(super) length: u64,
    /// Octets gathered, without padding.
    pub(super) gathered: u64,
    /// The last record in it, or before it.
    pub(super) last: Ticket,
    pub(super) state: State,
    bytes: Vec<Bytes>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum State {
    /// Takes more records.
    Gathering,
    /// Handed out, not yet synced.
    Written,
}

impl Batch {
    pub(super) const fn new(segment: u64, offset: u64, last: Ticket) -> Self {
        let bytes = Vec::new();
        Self { segment, offset, length: 0, gathered: 0, last, state: State::Gathering, bytes }
    }

    /// The offset at which the next record would lie.
    pub(super) const fn end(&self) -> u64 {
        self.offset + self.length
    }

    pub(super) fn push(&mut self, chunks: Vec<Bytes>, size: u64, ticket: Ticket) {
        assert_eq!(self.state, State::Gathering, "a batch that was handed out never grows");
        self.bytes.extend(chunks);
        self.length += size;
        self.gathered += size;
        self.last = ticket;
    }

    /// Pads to whole blocks and gives up the octets for the one write there will be.
    pub(super) fn seal(&mut self) -> Vec<Bytes> {
        assert_eq!(self.state, State::Gathering, "a batch is written once");
        self.state = State::Written;
        let length = self.length.next_multiple_of(BLOCK);
        let padding = usize::try_from(length - self.length).expect("less than a block");
        if padding > 0 {
            self.bytes.push(Bytes::from_static(&ZEROS[..padding]));
        }
        self.length = length;
        core::mem::take(&mut self.bytes)
    }
}

const ZEROS: [u8; BLOCK as usize] = [0; BLOCK as usize];
