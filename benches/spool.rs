//! What the spool costs beside the disk: laying out messages, and scanning segments at a restart.

use std::{hint::black_box, sync::Arc};

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ringpost_core::{
    address::{Address, ReversePath},
    envelope::{Envelope, Recipient},
    event::Direction,
    id::Mid,
    message::Body,
    spool::{
        log::Log,
        record::{Accepted, Message, Record},
        recover::Recovery,
        segment::{DiskOp, Limits},
    },
    time::Date,
};

criterion_group!(benches, lay_out, scan);
criterion_main!(benches);

/// A batch of messages of 10 KiB, from `append` to the scatter list of the write and its sync.
fn lay_out(criterion: &mut Criterion) {
    let message = message();
    let mut group = criterion.benchmark_group("spool");
    group.throughput(Throughput::Elements(BATCH));
    group.bench_function("append and batch 10 KiB messages", |bencher| {
        let mut log = Log::new(0, 0, 1, LIMITS);
        settle(&mut log, &mut |_, _| {});
        let mut mid = 0;
        bencher.iter(|| {
            for _ in 0..BATCH {
                mid += 1;
                let message = Message { mid: Mid(mid), ..message.clone() };
                log.append(Record::Message(message)).expect("there is room");
            }
            for done in mid + 1 - BATCH..=mid {
                log.append(Record::Finished { mid: Mid(done) }).expect("there is room");
            }
            settle(&mut log, &mut |offset, bytes| {
                drop(black_box((offset, bytes)));
            });
        });
    });
    group.finish();
}

/// A full segment read in blocks of 1 MiB.
fn scan(criterion: &mut Criterion) {
    let mut octets = vec![0; LIMITS.segment_size as usize];
    let mut log = Log::new(0, 0, 1, LIMITS);
    settle(&mut log, &mut |_, _| {});
    let message = message();
    for mid in 1..LIMITS.segment_size / 12_000 {
        let message = Message { mid: Mid(mid), ..message.clone() };
        log.append(Record::Message(message)).expect("there is room");
        settle(&mut log, &mut |offset, bytes| {
            let chunk = bytes.concat();
            octets[offset as usize..][..chunk.len()].copy_from_slice(&chunk);
        });
    }
    let mut group = criterion.benchmark_group("spool");
    group.throughput(Throughput::Bytes(LIMITS.segment_size));
    group.bench_function("recover a segment of 10 KiB messages", |bencher| {
        bencher.iter(|| {
            let mut recovery = Recovery::new();
            recovery.segment(0, 0);
            octets.chunks(1 << 20).for_each(|block| recovery.block(block));
            black_box(recovery.finish().messages.len())
        });
    });
    group.finish();
}

fn settle(log: &mut Log, write: &mut dyn FnMut(u64, Vec<Bytes>)) {
    while let Some(op) = log.next() {
        if let DiskOp::Write { offset, bytes, .. } = op {
            write(offset, bytes);
        }
        log.done(Ok(()));
    }
}

fn message() -> Message {
    let sender = Address::from_text("sender@contoso.example");
    let mut envelope = Envelope::new(ReversePath::Mailbox(sender));
    envelope.recipients.push(Recipient::new(Address::from_text("recipient@fabrikam.example")));
    Message {
        mid: Mid(0),
        accepted: Accepted {
            envelope: Arc::new(envelope),
            received: Date::from_millis(0),
            direction: Direction::Incoming,
            eight_bit: false,
            listener: "Inbound".into(),
        },
        header: vec![Bytes::from(vec![b'h'; 1_024])],
        body: Body { spilled: Vec::new(), chunks: vec![Bytes::from(vec![b'b'; 9 << 10])] },
    }
}

const BATCH: u64 = 100;
const LIMITS: Limits =
    Limits { segment_size: 64 << 20, max_segments: 64, max_pending: 64 << 20, max_dead: 4 };
