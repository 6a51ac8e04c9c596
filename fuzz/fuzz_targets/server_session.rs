//! A conversation in any pieces: no panic, every reply well-formed, events that tell one story.
#![no_main]

use std::time::Duration;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use ringpost_core::{
    event::{Event, RecipientRefusal, Status},
    id::{Icid, Mid},
    smtp::{
        reply::{Reply, ReplyParser},
        server::{
            BareLineEndings, Limits, MessageAnswer, RecipientAnswer, SenderAnswer, Server,
            Settings, Step, TlsOffer,
        },
    },
    spool::Piece,
    time::Time,
};

#[derive(Arbitrary, Debug)]
struct Session {
    flights: Vec<(Vec<u8>, u16)>,
    bare: u8,
    tls: bool,
    spill: bool,
    refuses: u8,
}

fuzz_target!(|session: Session| {
    let mut world = World::new(&session);
    let mut now = Time::ZERO;
    world.pump(now);
    for (flight, wait) in &session.flights {
        now = now + Duration::from_secs(u64::from(*wait) % 400);
        world.server.timed_out(now);
        world.pump(now);
        if world.is_closed {
            break;
        }
        world.server.receive(flight, now);
        world.pump(now);
    }
    world.server.ended();
    world.check_events();
});

struct World {
    server: Server,
    parser: ReplyParser,
    refuses: u8,
    questions: u8,
    messages: usize,
    is_closed: bool,
}

impl World {
    fn new(session: &Session) -> Self {
        let settings = Settings {
            hostname: "mx.example".into(),
            banner: None,
            banner_code: 220,
            max_message_size: 10_000,
            max_messages: 5,
            max_recipients: 3,
            max_header_size: 1_000,
            max_hops: 3,
            tls: if session.tls {
                TlsOffer::Preferred
            } else {
                TlsOffer::Off
            },
            bare: match session.bare % 3 {
                0 => BareLineEndings::Reject,
                1 => BareLineEndings::Clean,
                _ => BareLineEndings::Allow,
            },
            relay: false,
            limits: Limits {
                max_command_size: 512,
                ..Limits::default()
            },
            spill_size: if session.spill { 16 } else { u32::MAX },
        };
        Self {
            server: Server::new(Icid(1), settings.into(), Time::ZERO),
            parser: ReplyParser::new(),
            refuses: session.refuses,
            questions: 0,
            messages: 0,
            is_closed: false,
        }
    }

    fn refuses_next(&mut self) -> bool {
        self.questions = self.questions.wrapping_add(1);
        self.refuses >> (self.questions % 8) & 1 == 1
    }

    fn pump(&mut self, now: Time) {
        while !self.is_closed {
            match self.server.step(now) {
                Step::Receive => break,
                Step::Close => self.is_closed = true,
                step => self.answer(step),
            }
        }
        let wire = std::mem::take(&mut self.server.replies);
        let mut rest = &wire[..];
        while !rest.is_empty() {
            let (used, reply) = self.parser.receive(rest);
            reply
                .expect("every reply is well-formed")
                .expect("every reply is complete");
            rest = &rest[used..];
        }
    }

    fn answer(&mut self, step: Step) {
        let refusal = Reply::new(550, Status::new(5, 7, 1), "no");
        let refuses = self.refuses_next();
        match step {
            Step::AskSender(_) if refuses => {
                self.server.sender_answered(SenderAnswer::Refuse(refusal));
            }
            Step::AskSender(_) => {
                self.server
                    .sender_answered(SenderAnswer::Accept { mid: Mid(1) });
            }
            Step::AskRecipient(_) => self.server.recipient_answered(if refuses {
                RecipientAnswer::Refuse {
                    reply: refusal,
                    by: RecipientRefusal::Rat,
                }
            } else {
                RecipientAnswer::Accept { reply: None }
            }),
            Step::StartTls if refuses => self.server.tls_failed("refused".into()),
            Step::StartTls => self.server.tls_established("TLSv1.3", "AES"),
            Step::Spill(blocks) => {
                let length = blocks.iter().map(|block| block.len() as u32).sum();
                let piece = Piece {
                    log: 0,
                    segment: 0,
                    offset: 0,
                    length,
                    checksum: 0,
                };
                self.server.spilled((!refuses).then_some(piece));
            }
            Step::Message(received) => {
                self.messages += 1;
                let content = received.header.len() as u64 + received.body.size();
                assert_eq!(content, received.size);
                assert!(received.size <= 10_000 && received.header.len() <= 1_000);
                assert!((1..=3).contains(&received.envelope.recipients.len()));
                self.server.message_answered(if refuses {
                    MessageAnswer::Refused(refusal)
                } else {
                    MessageAnswer::Accepted { mid: received.mid }
                });
            }
            Step::Receive | Step::Close => unreachable!("handled by the caller"),
        }
    }

    fn check_events(&self) {
        let count =
            |is: fn(&Event) -> bool| self.server.events.iter().filter(|event| is(event)).count();
        let started = count(|event| matches!(event, Event::MessageStarted { .. }));
        let aborted = count(|event| matches!(event, Event::MessageAborted { .. }));
        assert_eq!(started, aborted + self.messages);
        assert_eq!(
            count(|event| matches!(event, Event::ConnectionClosed { .. })),
            1
        );
    }
}
