//! How fast the server machine is, without sockets: one pipelined transaction, and long content.

use std::{hint::black_box, sync::Arc};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ringpost_core::{
    id::{Icid, Mid},
    smtp::server::{
        BareLineEndings, Limits, MessageAnswer, RecipientAnswer, SenderAnswer, Server, Settings,
        Step, TlsOffer,
    },
    time::Time,
};

fn settings() -> Arc<Settings> {
    Arc::new(Settings {
        hostname: "mx.example".into(),
        banner: None,
        banner_code: 220,
        max_message_size: 100 << 20,
        max_messages: u32::MAX,
        max_recipients: 50,
        max_header_size: 1 << 20,
        max_hops: 100,
        tls: TlsOffer::Off,
        bare: BareLineEndings::Reject,
        relay: false,
        limits: Limits::default(),
        spill_size: u32::MAX,
    })
}

/// Goes on until the machine waits for octets; everybody is welcome.
fn pump(server: &mut Server) {
    loop {
        match server.step(Time::ZERO) {
            Step::Receive => break,
            Step::AskSender(_) => server.sender_answered(SenderAnswer::Accept { mid: Mid(1) }),
            Step::AskRecipient(_) => {
                server.recipient_answered(RecipientAnswer::Accept { reply: None });
            }
            Step::Message(received) => {
                black_box(&received);
                server.message_answered(MessageAnswer::Accepted { mid: received.mid });
            }
            step => panic!("unexpected {step:?}"),
        }
    }
    black_box(&server.replies);
    server.replies.clear();
    server.events.clear();
}

fn greeted() -> Server {
    let mut server = Server::new(Icid(1), settings(), Time::ZERO);
    pump(&mut server);
    server.receive(b"EHLO client.example\r\n", Time::ZERO);
    pump(&mut server);
    server
}

fn content(size: usize) -> Vec<u8> {
    let mut content = b"From: a@client.example\r\nTo: b@ok.example\r\nSubject: x\r\n\r\n".to_vec();
    while content.len() < size {
        content.extend_from_slice(&[b'x'; 76]);
        content.extend_from_slice(b"\r\n");
    }
    content.extend_from_slice(b".\r\n");
    content
}

fn transact(server: &mut Server, content: &[u8]) {
    let flight = b"MAIL FROM:<a@client.example> SIZE=10240\r\nRCPT TO:<b@ok.example>\r\nDATA\r\n";
    server.receive(flight, Time::ZERO);
    pump(server);
    for piece in content.chunks(READ_SIZE) {
        server.receive(piece, Time::ZERO);
        pump(server);
    }
}

fn bench(criterion: &mut Criterion) {
    let short = content(10 << 10);
    let mut server = greeted();
    criterion.bench_function("transaction of 10 KiB", |bencher| {
        bencher.iter(|| transact(&mut server, black_box(&short)));
    });

    let long = content(1 << 20);
    let mut group = criterion.benchmark_group("content");
    group.throughput(Throughput::Bytes(long.len() as u64));
    group.bench_function("1 MiB", |bencher| {
        bencher.iter(|| transact(&mut server, black_box(&long)));
    });
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);

/// Octets of one read from a socket.
const READ_SIZE: usize = 65_536;
