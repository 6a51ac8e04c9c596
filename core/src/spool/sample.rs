//! Messages for the tests of this module.

use alloc::{sync::Arc, vec, vec::Vec};

use bytes::Bytes;

use super::record::{Accepted, Message, Record};
use crate::{
    address::{Address, ReversePath},
    envelope::{Envelope, Recipient},
    event::Direction,
    id::Mid,
    message::Body,
    time::Date,
};

/// A message with one recipient and `size` octets of body that its number decides.
pub(super) fn message(mid: u64, size: usize) -> Record {
    let mut envelope = Envelope::new(ReversePath::Null);
    envelope.recipients.push(Recipient::new(Address::from_text("r@fabrikam.example")));
    let accepted = Accepted {
        envelope: Arc::new(envelope),
        received: Date::from_millis(1),
        direction: Direction::Incoming,
        eight_bit: true,
        listener: "Inbound".into(),
    };
    let body = Body { spilled: Vec::new(), chunks: vec![body(mid, size).into()] };
    let header = vec![Bytes::from_static(b"Subject: x\r\n")];
    Record::Message(Message { mid: Mid(mid), accepted, header, body })
}

/// Its body.
pub(super) fn body(mid: u64, size: usize) -> Vec<u8> {
    (0..size).map(|index| (mid as usize * 7 + index * 31 + index / 256) as u8 | 1).collect()
}
