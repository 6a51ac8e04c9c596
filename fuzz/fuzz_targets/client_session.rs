//! A next hop that sends anything at all, in any pieces, with the connection lost anywhere.
//!
//! The client must neither panic nor run on, and must account for every recipient exactly once.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use ringpost_core::{
    address::{Address, ReversePath},
    envelope::{Envelope, Recipient},
    id::{Rid, Rids},
    smtp::client::{Client, Delivery, Settings, Step, Timeouts, TlsNeed},
    time::Time,
};

fuzz_target!(|input: (u8, Vec<Vec<u8>>)| {
    let (choices, pieces) = input;
    let tls = [TlsNeed::None, TlsNeed::Preferred, TlsNeed::Required][usize::from(choices % 3)];
    let settings = Settings {
        helo: "gw.example".into(),
        tls,
        timeouts: Timeouts::default(),
        remote: "mx.example".into(),
    };
    converse(
        Client::new(Arc::new(settings), Time::ZERO),
        choices,
        &pieces,
    );
});

fn converse(mut client: Client, choices: u8, pieces: &[Vec<u8>]) {
    let mut pieces = pieces.iter();
    let (mut deliveries, mut outcomes, mut is_lost) = (0, 0, false);
    loop {
        let output = std::mem::take(&mut client.output);
        assert!(
            output.len() < 64 * 1024,
            "what is written at once is bounded"
        );
        match client.step(Time::ZERO) {
            Step::Receive => match pieces.next() {
                Some(piece) => client.receive(piece),
                None => {
                    assert!(!is_lost, "after the end nothing is waited for");
                    is_lost = true;
                    lose(&mut client, choices);
                }
            },
            Step::StartTls if choices & 8 == 0 => client.tls_established(),
            Step::StartTls => client.tls_failed("handshake failure"),
            Step::Ready if deliveries < 3 => {
                deliveries += 1;
                client.deliver(delivery(), Time::ZERO);
            }
            Step::Ready => client.quit(Time::ZERO),
            Step::Content => {
                client.content(b"A: b\r\n\r\n.\r", false);
                client.content(b"\n.", true);
            }
            Step::Outcome(outcome) => {
                outcomes += 1;
                let mut rids: Vec<Rid> = outcome.delivered.to_vec();
                rids.extend(
                    outcome
                        .failed
                        .iter()
                        .flat_map(|(rids, _)| rids.iter().copied()),
                );
                rids.sort_unstable();
                assert_eq!(rids, [Rid(0), Rid(1)], "each recipient has one result");
                assert!(outcome.delivered.is_empty() || !outcome.ambiguous);
            }
            Step::Failed(failure) => {
                assert!(matches!(failure.status.class, 4 | 5));
                assert_eq!(
                    outcomes, deliveries,
                    "no transaction fails as a conversation"
                );
            }
            Step::Close => break,
        }
    }
    assert_eq!(outcomes, deliveries, "each transaction has one outcome");
}

fn lose(client: &mut Client, choices: u8) {
    match choices >> 6 {
        0 => client.ended(),
        1 => client.broken("reset".into()),
        _ => client.timed_out(client.deadline()),
    }
}

fn delivery() -> Delivery {
    let mut envelope = Envelope::new(ReversePath::Mailbox(Address::from_text("s@example.com")));
    envelope.recipients = ["a@x.example", "j\u{f6}rg@x.example"]
        .map(|text| Recipient::new(Address::from_text(text)))
        .into();
    let rids = Rids::from_slice(&[Rid(0), Rid(1)]);
    Delivery {
        envelope: Arc::new(envelope),
        rids,
        size: 14,
        eight_bit: false,
        smtputf8: false,
    }
}
