//! The server's side of a conversation (RFC 5321), pure: octets in, replies and questions out.
//!
//! The driver calls `step` until it says [`Step::Receive`], sends `replies`, gives what comes in
//! to `receive`, and starts again. Every other step is a question that has one answer method.
//!
//! The pending input is bounded by one command line and the longest slice given to `receive`.
//!
//! What the peer sends before it may (ahead of the greeting, or behind EHLO, HELO, DATA or
//! STARTTLS in the same flight) is never obeyed: RFC 2920 makes these the points at which both
//! sides must agree, and smuggling begins where they do not.

mod commands;
mod content;
mod intake;
mod replies;
mod settings;
mod states;
mod step;
mod timing;

use alloc::{format, string::String, sync::Arc, vec::Vec};
use core::mem;

use bytes::{Buf, BytesMut};

pub use self::{
    settings::{BareLineEndings, DEFAULT_BANNER, Limits, Settings, TlsOffer},
    step::{
        MessageAnswer, Protocol, Received, RecipientAnswer, SenderAnswer, SenderQuestion, Step,
    },
};
use self::{
    states::{Committing, Hello, SenderAsked, State, Transaction},
    timing::Clock,
};
use crate::{
    address::{Address, ReversePath},
    envelope::Envelope,
    event::{Abort, Close, Event, Finish, Status},
    id::{Icid, Mid, Rid},
    smtp::{
        line::Lines,
        reply::{Reply, printable},
    },
    spool::Piece,
    time::Time,
};

/// One inbound connection.
#[derive(Debug)]
pub struct Server {
    /// Octets for the peer: send them whenever a step waits, and take them out.
    pub replies: Vec<u8>,
    /// What has happened since they were last taken out.
    pub events: Vec<Event>,
    icid: Icid,
    settings: Arc<Settings>,
    state: State,
    lines: Lines,
    input: BytesMut,
    clock: Clock,
    counts: Counts,
    tls: Option<(&'static str, &'static str)>,
    is_draining: bool,
    /// An accepted recipient whose event waits for the time.
    accepted: Option<AcceptedRecipient>,
}

#[derive(Debug, Default)]
struct Counts {
    /// Transactions begun.
    transactions: u32,
    /// Messages accepted.
    messages: u32,
    /// Negative replies since the last accepted message.
    errors: u32,
    /// Commands that bring no message nearer, since the last accepted message.
    junk: u32,
    /// Recipients put off since the last accepted message.
    put_off: u32,
}

#[derive(Debug)]
struct AcceptedRecipient {
    mid: Mid,
    rid: Rid,
    recipient: Address,
    asked: Time,
}

impl Server {
    /// A normal conversation; the greeting is in `replies` after the first step.
    #[must_use]
    pub fn new(icid: Icid, settings: Arc<Settings>, now: Time) -> Self {
        Self::connected(icid, settings, None, now)
    }

    /// A conversation that is refused with `reply` as its greeting, and with the same reply to
    /// every command but QUIT. With 421 it ends at once.
    #[must_use]
    pub fn refusing(icid: Icid, settings: Arc<Settings>, reply: Reply, now: Time) -> Self {
        assert!(reply.is_transient() || reply.is_permanent(), "a refusal must refuse");
        Self::connected(icid, settings, Some(reply), now)
    }

    /// Takes what the peer sent. Allowed after [`Step::Receive`] and before the first step.
    pub fn receive(&mut self, bytes: &[u8], now: Time) {
        self.clock.now = now;
        let is_connected = matches!(self.state, State::Connected(_));
        assert!(is_connected || self.state.awaits_peer(), "the machine did not ask for octets");
        let used = match mem::replace(&mut self.state, State::Closed) {
            State::Receiving(receiving) if self.input.is_empty() => {
                self.receive_content(receiving, bytes)
            }
            state => {
                self.state = state;
                0
            }
        };
        self.input.extend_from_slice(&bytes[used..]);
    }

    /// Goes on until the driver is needed.
    pub fn step(&mut self, now: Time) -> Step {
        self.clock.now = now;
        self.report_recipient();
        loop {
            if let Some(step) = self.advance() {
                self.clock.begin_wait();
                self.begin_window();
                return step;
            }
            self.clock.progress();
        }
    }

    /// Answers [`Step::AskSender`].
    pub fn sender_answered(&mut self, answer: SenderAnswer) {
        let State::SenderAsked(SenderAsked { hello, mail }) = self.take_asked() else {
            panic!("no sender was asked about");
        };
        let mid = match answer {
            SenderAnswer::Accept { mid } => mid,
            SenderAnswer::Refuse(reply) => {
                assert!(!reply.is_positive(), "a refusal must refuse");
                self.report_sender_refused(mail.sender, reply.clone());
                self.state = self.refuse(&reply, State::Ready(Some(hello)));
                return;
            }
        };
        self.counts.transactions += 1;
        let sender = mail.sender.clone();
        self.events.push(Event::MessageStarted { mid, icid: self.icid, sender: sender.clone() });
        let text = format!("sender <{}> ok", shown(sender.as_str()));
        self.say(&Reply { text: text.into(), ..SENDER_OK });
        let mut envelope = Envelope::new(mail.sender);
        envelope.body = mail.body;
        envelope.smtputf8 = mail.smtputf8;
        envelope.ret = mail.ret;
        envelope.envid = mail.envid;
        let started = self.clock.now;
        let has_refused = false;
        self.state = State::Mail(Transaction { hello, mid, started, envelope, has_refused });
    }

    /// Answers [`Step::AskRecipient`].
    pub fn recipient_answered(&mut self, answer: RecipientAnswer) {
        let State::RecipientAsked(asked) = self.take_asked() else {
            panic!("no recipient was asked about");
        };
        let mut transaction = asked.transaction;
        let mid = transaction.mid;
        let address = asked.recipient.address.clone();
        match answer {
            RecipientAnswer::Accept { reply } => {
                let text = format!("recipient <{}> ok", shown(address.as_str()));
                let reply = reply.unwrap_or_else(|| Reply { text: text.into(), ..RECIPIENT_OK });
                assert!(reply.is_positive(), "an acceptance must accept");
                self.say(&reply);
                let count = transaction.envelope.recipients.len();
                let rid = Rid(u32::try_from(count).expect("max_recipients is a u32"));
                transaction.envelope.recipients.push(asked.recipient);
                let asked = asked.asked;
                self.accepted = Some(AcceptedRecipient { mid, rid, recipient: address, asked });
                self.state = State::Mail(transaction);
            }
            RecipientAnswer::Refuse { reply, by } => {
                assert!(!reply.is_positive(), "a refusal must refuse");
                let icid = self.icid;
                self.events.push(Event::RecipientRefused { mid, icid, recipient: address, by });
                transaction.has_refused = true;
                self.state = self.refuse(&reply, State::Mail(transaction));
            }
        }
    }

    /// Answers [`Step::StartTls`]: the conversation starts again, before EHLO (RFC 3207 4.2).
    pub fn tls_established(&mut self, protocol: &'static str, cipher: &'static str) {
        assert!(matches!(self.state, State::StartingTls), "no TLS was asked for");
        //= RFC 3207 4.2: what came in plaintext must not be taken for what came in TLS.
        assert!(self.input.is_empty(), "plaintext behind STARTTLS ends the conversation");
        self.lines = Lines::new(self.settings.limits.max_command_size as usize, self.settings.bare);
        self.tls = Some((protocol, cipher));
        self.events.push(Event::TlsEstablished { icid: self.icid, protocol, cipher });
        self.state = State::Ready(None);
    }

    /// Answers [`Step::StartTls`]: the next step closes, for what the peer believes is unknown.
    pub fn tls_failed(&mut self, reason: Arc<str>) {
        assert!(matches!(self.state, State::StartingTls), "no TLS was asked for");
        self.events.push(Event::TlsFailed { icid: self.icid, reason });
        let state = self.take_state();
        self.state = self.close(state, Abort::ReceivingBySender, Close::Closed);
    }

    /// Answers [`Step::Spill`]. With none, the spool being full or failed, the rest of the content
    /// is read and refused with 452 4.3.1.
    pub fn spilled(&mut self, piece: Option<Piece>) {
        let State::Spilling(mut receiving) = self.take_asked() else {
            panic!("no spill was asked for");
        };
        receiving.intake.content.spilled(piece);
        self.state = State::Receiving(receiving);
    }

    /// Answers [`Step::Message`].
    pub fn message_answered(&mut self, answer: MessageAnswer) {
        let State::Committing(Committing { hello, received: None }) = self.take_asked() else {
            panic!("no message was given out");
        };
        let ready = State::Ready(Some(hello));
        self.state = match answer {
            MessageAnswer::Accepted { mid } => {
                let messages = self.counts.messages + 1;
                let transactions = self.counts.transactions;
                self.counts = Counts { transactions, messages, errors: 0, junk: 0, put_off: 0 };
                let text = format!("ok: Message {mid} accepted");
                self.say(&Reply { text: text.into(), ..replies::OK });
                ready
            }
            MessageAnswer::Refused(reply) | MessageAnswer::Unavailable(reply) => {
                assert!(!reply.is_positive(), "a refusal must refuse");
                self.refuse(&reply, ready)
            }
        };
    }

    /// The peer has closed, or the connection broke.
    pub fn ended(&mut self) {
        if matches!(self.state, State::Closed) {
            return;
        }
        self.report_recipient();
        let state = self.take_state();
        self.state = self.close(state, Abort::ReceivingBySender, Close::Lost);
    }

    /// Ends the conversation with 421 4.3.2 as soon as no transaction is open; takes effect at the
    /// next step.
    pub const fn draining(&mut self) {
        self.is_draining = true;
    }

    /// Whether no transaction is open.
    #[must_use]
    pub const fn is_idle(&self) -> bool {
        matches!(
            self.state,
            State::Connected(_)
                | State::Refusing(_)
                | State::Ready(_)
                | State::StartingTls
                | State::Closed
        )
    }

    fn connected(icid: Icid, settings: Arc<Settings>, refusal: Option<Reply>, now: Time) -> Self {
        let limits = &settings.limits;
        assert!(limits.max_command_size >= 512, "RFC 5321 4.5.3.1.4 wants 512 octets");
        Self {
            replies: Vec::new(),
            events: Vec::new(),
            icid,
            state: State::Connected(refusal),
            lines: Lines::new(limits.max_command_size as usize, settings.bare),
            input: BytesMut::new(),
            clock: Clock::new(now),
            counts: Counts::default(),
            tls: None,
            is_draining: false,
            accepted: None,
            settings,
        }
    }

    /// Moves on by one command, one run of content or one greeting; gives the step to wait in.
    fn advance(&mut self) -> Option<Step> {
        match self.take_state() {
            State::Connected(refusal) => {
                self.state = self.greet(refusal);
                None
            }
            State::Closed => Some(Step::Close),
            State::Receiving(receiving) => self.advance_content(receiving),
            State::Discarding(discarding) => self.advance_discarding(discarding),
            State::Complete(intake) => {
                self.state = self.complete(*intake);
                None
            }
            State::Committing(mut committing) => {
                let received = committing.received.take().expect("the driver owes an answer");
                self.state = State::Committing(committing);
                Some(Step::Message(received))
            }
            State::StartingTls => {
                self.state = State::StartingTls;
                Some(Step::StartTls)
            }
            state @ (State::Refusing(_)
            | State::Ready(_)
            | State::Mail(_)
            | State::BetweenChunks(_)) => self.advance_command(state),
            State::SenderAsked(_) | State::RecipientAsked(_) | State::Spilling(_) => {
                panic!("the driver owes an answer")
            }
        }
    }

    //= RFC 5321 3.1 and RFC 2034 4: a code, our name, no enhanced status code.
    fn greet(&mut self, refusal: Option<Reply>) -> State {
        let connected = State::Connected(None);
        if !self.input.is_empty() {
            self.input.clear();
            return self.hang_up(&replies::NOT_SYNCHRONIZED, connected);
        }
        if self.is_draining {
            return self.refuse(&replies::DRAINING, connected);
        }
        let Some(reply) = refusal else {
            let banner = self.settings.banner.as_deref().unwrap_or(DEFAULT_BANNER);
            let text = format!("{} {banner}", self.settings.hostname);
            let code = self.settings.banner_code;
            self.say(&Reply { code, status: None, text: text.into() });
            return State::Ready(None);
        };
        let greeting = Reply { status: None, ..reply.clone() };
        self.refuse(&greeting, State::Refusing(reply))
    }

    /// The state that waits for an answer, which has come.
    fn take_asked(&mut self) -> State {
        self.clock.progress();
        self.take_state()
    }

    fn take_state(&mut self) -> State {
        mem::replace(&mut self.state, State::Closed)
    }

    /// Says a reply; the budget of errors is looked at before the next command.
    fn say(&mut self, reply: &Reply) {
        self.counts.errors += u32::from(reply.is_permanent());
        reply.write(&mut self.replies);
    }

    /// Says a refusal and goes on in `state`, unless it is a 421, which closes (RFC 5321 3.8).
    fn refuse(&mut self, reply: &Reply, state: State) -> State {
        if reply.code == 421 {
            return self.hang_up(reply, state);
        }
        self.say(reply);
        state
    }

    /// Says a last reply and closes.
    fn hang_up(&mut self, reply: &Reply, state: State) -> State {
        self.say(reply);
        self.close(state, Abort::Receiving, Close::Closed)
    }

    fn close(&mut self, state: State, reason: Abort, how: Close) -> State {
        self.abort(&state, reason);
        self.input.clear();
        self.events.push(Event::ConnectionClosed { icid: self.icid, how });
        State::Closed
    }

    /// Reports the end of a transaction that was not handed over, if `state` has one.
    fn abort(&mut self, state: &State, reason: Abort) {
        self.report_recipient();
        let Some((mid, started)) = state.transaction() else {
            return;
        };
        self.events.push(Event::MessageAborted { mid, reason });
        let took = self.clock.now.since(started);
        self.events.push(Event::MessageFinished { mid, how: Finish::Aborted, took });
    }

    fn report_recipient(&mut self) {
        let Some(accepted) = self.accepted.take() else {
            return;
        };
        let AcceptedRecipient { mid, rid, recipient, asked } = accepted;
        let took = self.clock.now.since(asked);
        let icid = self.icid;
        self.events.push(Event::RecipientAccepted { mid, icid, rid, recipient, took });
    }

    fn report_sender_refused(&mut self, sender: ReversePath, reply: Reply) {
        self.events.push(Event::SenderRefused { icid: self.icid, sender, reply });
    }

    /// Octets of the peer that are done with.
    fn use_input(&mut self, used: usize) {
        self.input.advance(used);
    }
}

impl Hello {
    fn protocol(&self, is_tls_up: bool, smtputf8: bool) -> Protocol {
        match (self.is_extended, smtputf8, is_tls_up) {
            (false, ..) => Protocol::Smtp,
            (true, false, false) => Protocol::Esmtp,
            (true, false, true) => Protocol::Esmtps,
            (true, true, false) => Protocol::Utf8Smtp,
            (true, true, true) => Protocol::Utf8Smtps,
        }
    }
}

/// What of an address may stand in a reply: printable ASCII, and not much of it.
fn shown(address: &str) -> String {
    address.bytes().take(MAX_SHOWN_SIZE).map(printable).collect()
}

const SENDER_OK: Reply = Reply::new(250, Status::new(2, 1, 0), "");
const RECIPIENT_OK: Reply = Reply::new(250, Status::new(2, 1, 5), "");

/// Octets of an address that a reply repeats.
const MAX_SHOWN_SIZE: usize = 60;

#[cfg(test)]
mod tests {
    extern crate std;

    use core::time::Duration;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;
    use crate::event::RecipientRefusal;

    #[test]
    fn a_message_is_handed_over_with_all_that_was_said_about_it() {
        let mut server = greeted(TlsOffer::Required);
        say(&mut server, b"STARTTLS\r\n");
        assert!(matches!(server.step(at(1)), Step::StartTls));
        server.tls_established("TLSv1.3", "AES");
        say(&mut server, b"EHLO client.example\r\n");
        assert!(matches!(server.step(at(2)), Step::Receive));
        say(&mut server, b"MAIL FROM:<j\xc3\xb6@x> SMTPUTF8 BODY=8BITMIME SIZE=9 RET=FULL\r\n");
        let Step::AskSender(question) = server.step(at(3)) else { panic!("no question") };
        assert_eq!((question.size, question.smtputf8), (Some(9), true));
        assert_eq!(server.deadline(), Time::NEVER);
        server.sender_answered(SenderAnswer::Accept { mid: Mid(7) });
        say_after_step(&mut server, b"RCPT TO:<b@y>\r\n");
        assert!(matches!(server.step(at(4)), Step::AskRecipient(_)));
        server.recipient_answered(RecipientAnswer::Accept { reply: None });
        assert!(matches!(server.step(at(6)), Step::Receive));
        say(&mut server, b"BDAT 9 LAST\r\nA: \xc3\xa4\r\n\r\n");
        let Step::Message(received) = server.step(at(7)) else { panic!("no message") };
        assert_eq!((received.mid, received.size, received.eight_bit), (Mid(7), 9, true));
        assert_eq!((&received.header[..], received.body.size()), (&b"A: \xc3\xa4\r\n"[..], 2));
        assert_eq!(received.protocol, Protocol::Utf8Smtps);
        assert_eq!((received.tls, &*received.helo), (Some(("TLSv1.3", "AES")), "client.example"));
        assert_eq!((received.started, received.envelope.recipients.len()), (at(3), 1));
        server.message_answered(MessageAnswer::Accepted { mid: Mid(7) });
        assert!(matches!(server.step(at(90)), Step::Receive) && server.is_idle());
        assert_eq!(server.deadline(), at(90 + 300), "the driver's time is not the peer's");
        let took = server.events.iter().find_map(|event| match event {
            Event::RecipientAccepted { took, .. } => Some(*took),
            _ => None,
        });
        assert_eq!(took, Some(Duration::from_secs(2)));
    }

    #[test]
    fn what_was_not_handed_over_is_reported_as_aborted() {
        let mut server = greeted(TlsOffer::Off);
        say(&mut server, b"MAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\n");
        assert!(matches!(server.step(at(1)), Step::AskSender(_)));
        server.sender_answered(SenderAnswer::Accept { mid: Mid(7) });
        assert!(matches!(server.step(at(1)), Step::AskRecipient(_)) && !server.is_idle());
        let reply = Reply::new(550, Status::new(5, 1, 1), "no");
        let by = RecipientRefusal::Rat;
        server.recipient_answered(RecipientAnswer::Refuse { reply, by });
        server.ended();
        server.ended();
        let [started, refused, aborted, finished, closed] = &server.events[..] else {
            panic!("{:?}", server.events)
        };
        assert!(matches!(started, Event::MessageStarted { mid: Mid(7), .. }));
        assert!(matches!(refused, Event::RecipientRefused { by: RecipientRefusal::Rat, .. }));
        let reason = Abort::ReceivingBySender;
        assert_eq!(*aborted, Event::MessageAborted { mid: Mid(7), reason });
        assert!(matches!(finished, Event::MessageFinished { how: Finish::Aborted, .. }));
        assert_eq!(*closed, Event::ConnectionClosed { icid: Icid(1), how: Close::Lost });
        assert!(matches!(server.step(at(2)), Step::Close));
    }

    #[test]
    fn a_handshake_that_fails_ends_without_another_octet() {
        for has_timed_out in [false, true] {
            let mut server = greeted(TlsOffer::Preferred);
            say(&mut server, b"STARTTLS\r\n");
            assert!(matches!(server.step(at(1)), Step::StartTls));
            server.replies.clear();
            if has_timed_out {
                server.timed_out(server.deadline());
            } else {
                server.tls_failed("no cipher".into());
            }
            assert!(matches!(server.step(at(2)), Step::Close) && server.replies.is_empty());
            assert!(matches!(server.events[0], Event::TlsFailed { .. }));
        }
    }

    #[test]
    fn an_early_time_out_does_nothing() {
        let mut server = greeted(TlsOffer::Off);
        server.timed_out(at(299));
        assert!(matches!(server.step(at(299)), Step::Receive) && server.replies.is_empty());
    }

    #[test]
    fn misuse_is_a_bug_and_found_at_once() {
        let misuses: [fn(&mut Server); 6] = [
            |server| server.sender_answered(SenderAnswer::Accept { mid: Mid(1) }),
            |server| server.recipient_answered(RecipientAnswer::Accept { reply: None }),
            |server| server.message_answered(MessageAnswer::Accepted { mid: Mid(1) }),
            |server| server.spilled(None),
            |server| server.tls_established("", ""),
            |server| server.tls_failed("".into()),
        ];
        for misuse in misuses {
            let mut server = greeted(TlsOffer::Off);
            assert!(catch_unwind(AssertUnwindSafe(|| misuse(&mut server))).is_err());
        }
        let mut server = greeted(TlsOffer::Off);
        say(&mut server, b"MAIL FROM:<>\r\n");
        assert!(matches!(server.step(at(1)), Step::AskSender(_)));
        assert!(catch_unwind(AssertUnwindSafe(|| server.step(at(1)))).is_err());
    }

    fn greeted(tls: TlsOffer) -> Server {
        let settings = Settings {
            hostname: "mx.example".into(),
            banner: None,
            banner_code: 220,
            max_message_size: 1_000,
            max_messages: 10,
            max_recipients: 10,
            max_header_size: 1_000,
            max_hops: 10,
            tls,
            bare: BareLineEndings::Reject,
            relay: false,
            limits: Limits::default(),
            spill_size: 1_000,
        };
        let mut server = Server::new(Icid(1), Arc::new(settings), at(0));
        assert!(matches!(server.step(at(0)), Step::Receive));
        say(&mut server, b"EHLO client.example\r\n");
        assert!(matches!(server.step(at(0)), Step::Receive));
        server.replies.clear();
        server
    }

    fn say(server: &mut Server, bytes: &[u8]) {
        server.receive(bytes, server.clock.now);
    }

    fn say_after_step(server: &mut Server, bytes: &[u8]) {
        assert!(matches!(server.step(server.clock.now), Step::Receive));
        say(server, bytes);
    }

    fn at(seconds: u64) -> Time {
        Time::ZERO + Duration::from_secs(seconds)
    }
}
