//! A real segment with any octets laid over it, given to recovery in blocks of any size.
//!
//! Recovery must not panic, must find the same whatever the size of the blocks, and what it found
//! must be resumable. Laying octets over a good segment reaches what lies behind the checksums of
//! the headers: bad content, gaps, and the search for the next record.
#![no_main]

use std::sync::Arc;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use ringpost_core::{
    address::{Address, ReversePath},
    envelope::{Envelope, Recipient},
    event::Direction,
    id::{Mid, Rid, Rids},
    message::Body,
    spool::{
        log::Log,
        record::{Accepted, Message, Outcome, Record},
        recover::{Recovered, Recovery},
        segment::{DiskOp, Limits},
    },
    time::Date,
};

fuzz_target!(|octets: &[u8]| {
    let [size, low, high, over @ ..] = octets else {
        return;
    };
    let mut segment = segment();
    let start = usize::from(u16::from_le_bytes([*low, *high])) % segment.len();
    segment
        .iter_mut()
        .skip(start)
        .zip(over)
        .for_each(|(octet, over)| *octet ^= over);

    let mut split = recover(&segment, usize::from(*size) + 1);
    let whole = recover(&segment, segment.len());
    assert_eq!(split.messages, whole.messages);
    assert_eq!(split.damaged, whole.damaged);
    assert_eq!(split.highest, whole.highest);
    let mut log = Log::resume(split.resume(0), 1, LIMITS);
    while log.next().is_some() {
        log.done(Ok(()));
    }
});

fn recover(segment: &[u8], size: usize) -> Recovered {
    let mut recovery = Recovery::new();
    recovery.segment(0, 0);
    segment.chunks(size).for_each(|block| recovery.block(block));
    recovery.finish()
}

/// Three batches: messages, then outcomes, then another message and a finish.
fn segment() -> Vec<u8> {
    let mut octets = vec![0; LIMITS.segment_size as usize];
    let mut log = Log::new(0, 0, 7, LIMITS);
    let until = Date::from_millis(5);
    let outcome = Outcome::Deferred { until, attempts: 1 };
    let rids = Rids::from_slice(&[Rid(0)]);
    let batches = [
        vec![],
        vec![message(1, 100), message(2, 3_000)],
        vec![Record::Outcome {
            mid: Mid(1),
            rids,
            outcome,
        }],
        vec![message(3, 5), Record::Finished { mid: Mid(2) }],
    ];
    for batch in batches {
        for record in batch {
            log.append(record).expect("there is room");
        }
        while let Some(op) = log.next() {
            if let DiskOp::Write {
                segment: 0,
                offset,
                bytes,
                ..
            } = op
            {
                let chunk = bytes.concat();
                octets[offset as usize..][..chunk.len()].copy_from_slice(&chunk);
            }
            log.done(Ok(()));
        }
    }
    octets
}

fn message(mid: u64, size: usize) -> Record {
    let mut envelope = Envelope::new(ReversePath::Null);
    envelope
        .recipients
        .push(Recipient::new(Address::from_text("r@fabrikam.example")));
    let accepted = Accepted {
        envelope: Arc::new(envelope),
        received: Date::from_millis(1),
        direction: Direction::Incoming,
        eight_bit: false,
        listener: "Inbound".into(),
    };
    let body = Body {
        spilled: Vec::new(),
        chunks: vec![vec![b'x'; size].into()],
    };
    let header = vec![Bytes::from_static(b"Subject: x\r\n")];
    Record::Message(Message {
        mid: Mid(mid),
        accepted,
        header,
        body,
    })
}

const LIMITS: Limits = Limits {
    segment_size: 32_768,
    max_segments: 8,
    max_pending: 100_000,
    max_dead: 1,
};
