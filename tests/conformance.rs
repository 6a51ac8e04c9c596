//! Cases as data, run against the machines: who knows SMTP but not Rust can add one.
//!
//! Each case is run with every `say` as one piece and again octet by octet; the replies must be the
//! same. How to write a case is said at the top of `conformance/rfc5321.toml`.

use std::{sync::Arc, time::Duration};

use ringpost_core::{
    event::{Abort, Event, RecipientRefusal, Status},
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
use serde::Deserialize;

#[test]
fn rfc5321() {
    let text = include_str!("conformance/rfc5321.toml");
    let cases: Cases = toml::from_str(text).expect("the cases are well-formed");
    let mut failures = Vec::new();
    for case in &cases.case {
        for size in [usize::MAX, 1] {
            if size == 1 && case.whole_only {
                continue;
            }
            if let Err(failure) = run(case, size) {
                failures.push(format!("{} ({size}): {failure}", case.name));
            }
        }
    }
    assert!(failures.is_empty(), "{} failed:\n{}", failures.len(), failures.join("\n"));
    assert!(cases.case.len() >= 90, "a case was lost: {}", cases.case.len());
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cases {
    case: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    #[serde(default)]
    settings: Overrides,
    #[serde(default)]
    after: After,
    #[serde(default)]
    whole_only: bool,
    steps: Vec<Exchange>,
    messages: Option<Vec<String>>,
    received: Option<usize>,
    aborted: Option<usize>,
    #[serde(default)]
    closes: bool,
}

#[derive(Clone, Copy, Default, Deserialize, Eq, Ord, PartialEq, PartialOrd)]
#[serde(rename_all = "lowercase")]
enum After {
    Connect,
    Greeting,
    #[default]
    Ehlo,
    Mail,
    Rcpt,
    Data,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Exchange {
    #[serde(default)]
    say: String,
    times: Option<usize>,
    wait: Option<u64>,
    #[serde(default)]
    drain: bool,
    #[serde(default)]
    expect: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Overrides {
    banner: Option<String>,
    refusal: Option<u16>,
    max_message_size: Option<u64>,
    max_messages: Option<u32>,
    max_recipients: Option<u32>,
    max_header_size: Option<u32>,
    max_hops: Option<u32>,
    max_errors: Option<u32>,
    spill_size: Option<u32>,
    tls: Option<String>,
    bare: Option<String>,
    spool_is_full: bool,
    policy_refuses: bool,
}

fn run(case: &Case, size: usize) -> Result<(), String> {
    let mut world = World::new(&case.settings);
    for (stage, say, expect) in PRELUDE {
        if stage <= case.after {
            world.say(say, size)?;
            world.expect(&[String::from(expect)], say)?;
        }
    }
    for step in &case.steps {
        if step.drain {
            world.server.draining();
            world.pump()?;
        }
        if let Some(seconds) = step.wait {
            world.now = world.now + Duration::from_secs(seconds);
            world.server.timed_out(world.now);
            world.pump()?;
        }
        world.say(&step.say.repeat(step.times.unwrap_or(1)), size)?;
        world.expect(&step.expect, &step.say)?;
    }
    if world.is_closed != case.closes {
        return Err(format!("closed: {}", world.is_closed));
    }
    if !world.is_closed {
        world.server.ended();
    }
    world.check_end(case)
}

struct World {
    server: Server,
    parser: ReplyParser,
    now: Time,
    replies: Vec<String>,
    events: Vec<Event>,
    spilled: Vec<u8>,
    messages: Vec<String>,
    next_mid: u64,
    is_closed: bool,
    spool_is_full: bool,
    policy_refuses: bool,
}

impl World {
    fn new(overrides: &Overrides) -> Self {
        let settings = Arc::new(settings(overrides));
        let now = Time::ZERO;
        let server = match overrides.refusal {
            None => Server::new(Icid(1), settings, now),
            Some(code) => {
                let class = u8::try_from(code / 100).expect("a reply code");
                let reply = Reply::new(code, Status::new(class, 7, 1), "not welcome");
                Server::refusing(Icid(1), settings, reply, now)
            }
        };
        Self {
            server,
            parser: ReplyParser::new(),
            now,
            replies: Vec::new(),
            events: Vec::new(),
            spilled: Vec::new(),
            messages: Vec::new(),
            next_mid: 17,
            is_closed: false,
            spool_is_full: overrides.spool_is_full,
            policy_refuses: overrides.policy_refuses,
        }
    }

    /// An empty text is a step without octets: the first one fetches the greeting.
    fn say(&mut self, text: &str, size: usize) -> Result<(), String> {
        for piece in text.as_bytes().chunks(size) {
            if self.is_closed {
                break;
            }
            self.server.receive(piece, self.now);
            self.pump()?;
        }
        if text.is_empty() { self.pump() } else { Ok(()) }
    }

    fn expect(&mut self, want: &[String], said: &str) -> Result<(), String> {
        let got = std::mem::take(&mut self.replies);
        let is_match = got.len() == want.len()
            && got.iter().zip(want).all(|(reply, prefix)| reply.starts_with(prefix));
        let shown: String = said.chars().take(60).collect();
        if is_match { Ok(()) } else { Err(format!("{shown:?} got {got:?}, not {want:?}")) }
    }

    fn pump(&mut self) -> Result<(), String> {
        while !self.is_closed {
            match self.server.step(self.now) {
                Step::Receive => break,
                Step::Close => self.is_closed = true,
                Step::StartTls => self.server.tls_established("TLSv1.3", "AES"),
                Step::AskSender(question) => {
                    let is_refused = question.sender.as_str().ends_with("@refused.example");
                    self.server.sender_answered(if is_refused {
                        SenderAnswer::Refuse(Reply::new(550, Status::new(5, 7, 1), "no"))
                    } else {
                        self.next_mid += 1;
                        SenderAnswer::Accept { mid: Mid(self.next_mid - 1) }
                    });
                }
                Step::AskRecipient(recipient) => {
                    let domain = recipient.address.domain();
                    let is_ours = domain.is_empty() || domain.ends_with("ok.example");
                    self.server.recipient_answered(if is_ours {
                        RecipientAnswer::Accept { reply: None }
                    } else {
                        let reply = Reply::new(550, Status::new(5, 7, 1), "relaying denied");
                        RecipientAnswer::Refuse { reply, by: RecipientRefusal::Rat }
                    });
                }
                Step::Spill(blocks) => self.spill(&blocks.concat()),
                Step::Message(received) => {
                    let body = received.body.chunks.concat();
                    let spilled = std::mem::take(&mut self.spilled);
                    let content = [&received.header[..], &spilled, &body].concat();
                    assert_eq!(content.len() as u64, received.size);
                    assert!(!received.envelope.recipients.is_empty());
                    self.messages.push(String::from_utf8_lossy(&content).into_owned());
                    self.server.message_answered(if self.policy_refuses {
                        MessageAnswer::Refused(Reply::new(554, Status::new(5, 7, 1), "no"))
                    } else {
                        MessageAnswer::Accepted { mid: received.mid }
                    });
                }
            }
        }
        self.read_replies()
    }

    fn spill(&mut self, octets: &[u8]) {
        if self.spool_is_full {
            return self.server.spilled(None);
        }
        let offset = self.spilled.len() as u64;
        self.spilled.extend_from_slice(octets);
        let length = u32::try_from(octets.len()).expect("a test is small");
        self.server.spilled(Some(Piece { log: 0, segment: 0, offset, length, checksum: 0 }));
    }

    fn read_replies(&mut self) -> Result<(), String> {
        let wire = std::mem::take(&mut self.server.replies);
        if let Some(bad) = wire.iter().find(|byte| !matches!(byte, b' '..=b'~' | b'\r' | b'\n')) {
            return Err(format!("octet {bad} in a reply"));
        }
        let mut rest = &wire[..];
        while !rest.is_empty() {
            let (used, reply) = self.parser.receive(rest);
            self.replies.extend(reply.map_err(|bad| bad.to_string())?.map(|it| it.to_string()));
            rest = &rest[used..];
        }
        self.events.append(&mut self.server.events);
        Ok(())
    }

    fn check_end(mut self, case: &Case) -> Result<(), String> {
        self.events.append(&mut self.server.events);
        let count = |is: fn(&Event) -> bool| self.events.iter().filter(|event| is(event)).count();
        let started = count(|event| matches!(event, Event::MessageStarted { .. }));
        let aborted = count(|event| {
            matches!(event, Event::MessageAborted { reason, .. }
            if matches!(reason, Abort::Receiving | Abort::ReceivingBySender))
        });
        let finished = count(|event| matches!(event, Event::MessageFinished { .. }));
        let closed = count(|event| matches!(event, Event::ConnectionClosed { .. }));
        if started != aborted + self.messages.len() || aborted != finished || closed != 1 {
            return Err(format!("events tell no valid story: {:?}", self.events));
        }
        if case.aborted.is_some_and(|want| want != aborted) {
            return Err(format!("{aborted} aborted"));
        }
        match &case.messages {
            Some(want) if *want != self.messages => Err(format!("got {:?}", self.messages)),
            None if self.messages.len() != case.received.unwrap_or(0) => {
                Err(format!("received {:?}", self.messages))
            }
            _ => Ok(()),
        }
    }
}

fn settings(overrides: &Overrides) -> Settings {
    Settings {
        hostname: "mx.example".into(),
        banner: overrides.banner.as_deref().map(Arc::from),
        banner_code: 220,
        max_message_size: overrides.max_message_size.unwrap_or(100_000),
        max_messages: overrides.max_messages.unwrap_or(10),
        max_recipients: overrides.max_recipients.unwrap_or(50),
        max_header_size: overrides.max_header_size.unwrap_or(10_000),
        max_hops: overrides.max_hops.unwrap_or(100),
        tls: match overrides.tls.as_deref() {
            None => TlsOffer::Off,
            Some("preferred") => TlsOffer::Preferred,
            Some("required") => TlsOffer::Required,
            Some(other) => panic!("tls = {other}"),
        },
        bare: match overrides.bare.as_deref() {
            None => BareLineEndings::Reject,
            Some("clean") => BareLineEndings::Clean,
            Some("allow") => BareLineEndings::Allow,
            Some(other) => panic!("bare = {other}"),
        },
        relay: false,
        limits: Limits { max_errors: overrides.max_errors.unwrap_or(20), ..Limits::default() },
        spill_size: overrides.spill_size.unwrap_or(1_000_000),
    }
}

const PRELUDE: [(After, &str, &str); 5] = [
    (After::Greeting, "", "220 mx.example"),
    (After::Ehlo, "EHLO client.example\r\n", "250 mx.example"),
    (After::Mail, "MAIL FROM:<a@client.example>\r\n", "250 2.1.0"),
    (After::Rcpt, "RCPT TO:<b@ok.example>\r\n", "250 2.1.5"),
    (After::Data, "DATA\r\n", "354 "),
];
