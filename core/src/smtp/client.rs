//! The conversation with a next hop (RFC 5321, client side), as a machine: the driver moves bytes
//! and shakes TLS hands, and decides nothing.
//!
//! Each state owns what exists in it and is consumed by the reply it waits for. One connection
//! carries any number of transactions; what went wrong with one is an [`Outcome`], what went wrong
//! with the connection a [`Failure`]. Content is sent with DATA, in eight bits even to a server
//! that does not offer 8BITMIME: such servers pass it on, and a gateway that returned or converted
//! the message would do more harm (Postfix and AsyncOS do the same).

mod command;
mod content;
mod extensions;
mod failure;
mod replies;
mod settings;
mod transaction;

use alloc::{boxed::Box, format, string::ToString as _, sync::Arc, vec::Vec};
use core::{mem, time::Duration};

use self::{
    content::Stuffing,
    failure::{About, from_reply},
    replies::Replies,
    transaction::{Command, Progress, Transaction},
};
pub use self::{
    extensions::Extensions,
    settings::{Settings, Timeouts, TlsNeed},
};
use crate::{
    envelope::Envelope,
    event::{Failure, Status},
    id::Rids,
    smtp::reply::Reply,
    time::Time,
};

/// One transaction to carry out: the answer to [`Step::Ready`].
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Sender, recipients, parameters.
    pub envelope: Arc<Envelope>,
    /// Which of the envelope's recipients; at least one.
    pub rids: Rids,
    /// Octets of the content before dot stuffing.
    pub size: u64,
    /// The content holds octets above 127.
    pub eight_bit: bool,
    /// The header holds UTF-8 (RFC 6532): only a server with SMTPUTF8 can take it. Addresses that
    /// need SMTPUTF8 are found without being told.
    pub smtputf8: bool,
}

/// What the driver is to do next. `output` is flushed before anything that waits.
#[derive(Debug)]
pub enum Step {
    /// Wait for bytes, until the deadline.
    Receive,
    /// Shake hands; then [`Client::tls_established`] or [`Client::tls_failed`].
    StartTls,
    /// Connected and greeted, no transaction: [`Client::deliver`] or [`Client::quit`].
    Ready,
    /// Send content: [`Client::content`].
    Content,
    /// The transaction is over.
    Outcome(Outcome),
    /// The connection is of no use; no recipient was refused by it. [`Step::Close`] follows,
    /// perhaps after a QUIT.
    Failed(Failure),
    /// Close the connection.
    Close,
}

/// How a transaction ended, for each recipient of the [`Delivery`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Outcome {
    /// The server has taken responsibility for these.
    pub delivered: Rids,
    /// What it said to the end of the content, without the code; empty if nothing is delivered.
    pub response: Arc<str>,
    /// Not for these; `Failure::status` says whether to try again.
    pub failed: Vec<(Rids, Failure)>,
    /// The connection can carry another transaction: [`Step::Ready`] follows, or [`Step::Close`]
    /// if the server has closed it meanwhile.
    pub reusable: bool,
    /// The connection was lost after the final dot: the server may have the message all the same.
    pub ambiguous: bool,
}

/// A conversation with a next hop.
#[derive(Debug)]
pub struct Client {
    /// Bytes to be sent; the driver takes them.
    pub output: Vec<u8>,
    settings: Arc<Settings>,
    replies: Replies,
    extensions: Extensions,
    state: State,
    /// What to say at the next step, before anything else.
    report: Option<Report>,
    /// The connection is gone; what came before is looked at first.
    lost: Option<Loss>,
    is_secure: bool,
    /// A transaction was begun on this connection.
    was_used: bool,
    deadline: Time,
    /// The deadline is to be counted anew from the next step.
    has_progressed: bool,
}

#[derive(Debug)]
enum State {
    Connected,
    Greeted(Hello),
    StartTls,
    Securing,
    /// `is_dirty`: the server may still hold a transaction that RSET must clear.
    Ready {
        is_dirty: bool,
    },
    Envelope(Box<Transaction>),
    Content(Box<Transaction>, Stuffing),
    /// The server began to reply before the content ended; the final dot is kept back.
    Interrupted(Box<Transaction>),
    Finishing(Box<Transaction>),
    /// DATA was accepted for nobody; an empty content is sent and counts for nothing.
    Discarding(Box<Transaction>),
    Quitting,
    Closed,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Hello {
    Ehlo,
    Helo,
}

#[derive(Debug)]
enum Report {
    Failed(Failure),
    Outcome(Outcome),
}

#[derive(Debug)]
enum Loss {
    Ended,
    Broken(Arc<str>),
    TimedOut,
}

impl Client {
    /// A conversation on a connection that is up: the server speaks first.
    #[must_use]
    pub fn new(settings: Arc<Settings>, now: Time) -> Self {
        let deadline = now + settings.timeouts.greeting;
        Self {
            output: Vec::new(),
            settings,
            replies: Replies::default(),
            extensions: Extensions::default(),
            state: State::Connected,
            report: None,
            lost: None,
            is_secure: false,
            was_used: false,
            deadline,
            has_progressed: false,
        }
    }

    /// What the server offers; nothing before [`Step::Ready`].
    #[must_use]
    pub const fn extensions(&self) -> &Extensions {
        &self.extensions
    }

    /// Takes what the server sent.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.replies.receive(bytes);
    }

    /// Goes on with what has come, and says what to do then.
    pub fn step(&mut self, now: Time) -> Step {
        let step = self.advance();
        if mem::take(&mut self.has_progressed) {
            self.deadline = self.timeout().map_or(Time::NEVER, |timeout| now + timeout);
        }
        step
    }

    /// Begins a transaction; the answer to [`Step::Ready`].
    ///
    /// # Panics
    ///
    /// When the last step was not `Ready`, or no recipient is given: the driver is wrong.
    pub fn deliver(&mut self, delivery: Delivery, now: Time) {
        let State::Ready { is_dirty } = self.state else { panic!("no step asked for a delivery") };
        assert!(!delivery.rids.is_empty(), "a transaction has a recipient");
        self.was_used = true;
        let mut transaction =
            Box::new(Transaction::new(delivery, self.extensions, is_dirty, &self.settings.remote));
        self.state = if transaction.is_over() {
            self.settle(&mut transaction, State::Ready { is_dirty })
        } else {
            self.proceed(transaction)
        };
        self.progressed(now);
    }

    /// Ends the conversation; the answer to [`Step::Ready`] when there is nothing left to deliver.
    ///
    /// # Panics
    ///
    /// When the last step was not `Ready`: the driver is wrong.
    pub fn quit(&mut self, now: Time) {
        assert!(matches!(self.state, State::Ready { .. }), "no step asked whether to go on");
        self.state = self.say_quit();
        self.progressed(now);
    }

    /// Adds content to `output`; the answer to [`Step::Content`]. With `last`, the final dot too.
    ///
    /// Taking a step between the pieces notices a server that gives up early, and counts the time
    /// for the next block anew.
    ///
    /// # Panics
    ///
    /// When the last step was not `Content`: the driver is wrong.
    pub fn content(&mut self, bytes: &[u8], last: bool) {
        let State::Content(_, stuffing) = &mut self.state else {
            panic!("no step asked for content")
        };
        stuffing.write(bytes, &mut self.output);
        self.has_progressed = true;
        if last {
            self.finish_content();
        }
    }

    /// The TLS handshake is done. What the server offered in clear counts no longer (RFC 3207 4.2).
    ///
    /// # Panics
    ///
    /// When the last step was not `StartTls`: the driver is wrong.
    pub fn tls_established(&mut self) {
        assert!(matches!(self.state, State::Securing), "no step asked for TLS");
        self.is_secure = true;
        self.extensions = Extensions::default();
        self.replies = Replies::default();
        self.has_progressed = true;
        self.state = self.say_hello(Hello::Ehlo);
    }

    /// The TLS handshake failed: the connection is of no use, even if TLS was only preferred.
    ///
    /// # Panics
    ///
    /// When the last step was not `StartTls`: the driver is wrong.
    pub fn tls_failed(&mut self, reason: &str) {
        assert!(matches!(self.state, State::Securing), "no step asked for TLS");
        let failure = self.failure(TLS_FAILED, reason);
        self.state = self.fail(failure, State::Closed);
    }

    /// The server has closed the connection.
    pub fn ended(&mut self) {
        self.lost.get_or_insert(Loss::Ended);
    }

    /// The connection broke.
    pub fn broken(&mut self, reason: Arc<str>) {
        self.lost.get_or_insert(Loss::Broken(reason));
    }

    /// The deadline has passed. Earlier than that, nothing happens.
    pub fn timed_out(&mut self, now: Time) {
        if now >= self.deadline {
            self.lost.get_or_insert(Loss::TimedOut);
        }
    }

    /// When to call [`Self::timed_out`]; changes with every step.
    #[must_use]
    pub const fn deadline(&self) -> Time {
        self.deadline
    }

    fn advance(&mut self) -> Step {
        loop {
            match self.report.take() {
                Some(Report::Failed(failure)) => return Step::Failed(failure),
                Some(Report::Outcome(outcome)) => return Step::Outcome(outcome),
                None => {}
            }
            if matches!(self.state, State::Closed) {
                return Step::Close;
            }
            let is_securing = matches!(self.state, State::Securing);
            let reply = if is_securing { Ok(None) } else { self.replies.next() };
            match (reply, self.lost.take()) {
                (Ok(Some(reply)), lost) => {
                    self.lost = lost;
                    self.has_progressed = true;
                    self.state = self.proceed_reply(reply);
                }
                (Err(error), _) => self.lose(PROTOCOL_ERROR, &error.to_string()),
                (Ok(None), Some(loss)) => self.proceed_loss(&loss),
                (Ok(None), None) => {
                    return match self.state {
                        State::Securing => Step::StartTls,
                        State::Ready { .. } => Step::Ready,
                        State::Content(..) => Step::Content,
                        _ => Step::Receive,
                    };
                }
            }
        }
    }

    fn proceed_reply(&mut self, reply: Reply) -> State {
        match mem::replace(&mut self.state, State::Closed) {
            State::Connected => self.proceed_greeting(reply),
            State::Greeted(hello) => self.proceed_hello(hello, reply),
            State::StartTls => self.proceed_starttls(reply),
            State::Ready { .. } => self.proceed_unasked(reply),
            State::Envelope(transaction) => self.proceed_envelope(transaction, reply),
            State::Content(transaction, _) | State::Interrupted(transaction) => {
                self.proceed_early(transaction, reply)
            }
            State::Finishing(transaction) => self.proceed_end(transaction, reply),
            State::Discarding(mut transaction) => {
                let next = after(&reply, State::Ready { is_dirty: true });
                self.settle(&mut transaction, next)
            }
            State::Quitting | State::Closed => State::Closed,
            State::Securing => unreachable!("no reply is read during the handshake"),
        }
    }

    fn proceed_greeting(&mut self, reply: Reply) -> State {
        if reply.code == 220 {
            return self.say_hello(Hello::Ehlo);
        }
        self.refused(reply)
    }

    fn proceed_hello(&mut self, hello: Hello, reply: Reply) -> State {
        match (hello, reply.code) {
            (_, 250) => {
                self.extensions = match hello {
                    Hello::Ehlo => Extensions::parse(&reply),
                    Hello::Helo => Extensions::default(),
                };
                self.choose_tls()
            }
            //= RFC 5321 3.2
            (Hello::Ehlo, 500 | 502) => self.say_hello(Hello::Helo),
            _ => self.refused(reply),
        }
    }

    fn choose_tls(&mut self) -> State {
        match (self.settings.tls, self.extensions.starttls) {
            _ if self.is_secure => State::Ready { is_dirty: false },
            (TlsNeed::Preferred | TlsNeed::Required, true) => {
                self.output.extend_from_slice(b"STARTTLS\r\n");
                State::StartTls
            }
            (TlsNeed::Required, false) => {
                let reason = "TLS is required, but the server does not offer STARTTLS";
                let failure = self.failure(TLS_MISSING, reason);
                let next = self.say_quit();
                self.fail(failure, next)
            }
            (TlsNeed::None, _) | (TlsNeed::Preferred, false) => State::Ready { is_dirty: false },
        }
    }

    fn proceed_starttls(&mut self, reply: Reply) -> State {
        match (reply.code, self.settings.tls) {
            //= RFC 3207 4
            (220, _) if self.replies.is_empty() => State::Securing,
            (220, _) => {
                let failure = self.failure(TLS_FAILED, "the server spoke between 220 and TLS");
                self.fail(failure, State::Closed)
            }
            (422..=599 | 400..=420, TlsNeed::Preferred) => State::Ready { is_dirty: false },
            (422..=599 | 400..=420, _) => {
                // A 5yz, too, is about the server's TLS and not about the message.
                let failure = Failure {
                    status: TLS_MISSING,
                    reply: Some(reply),
                    ..self.failure(TLS_MISSING, "TLS is required, but STARTTLS was refused")
                };
                let next = self.say_quit();
                self.fail(failure, next)
            }
            _ => self.refused(reply),
        }
    }

    /// The server speaks although nothing was asked: it is about to close (421), or not in step.
    fn proceed_unasked(&mut self, reply: Reply) -> State {
        if self.was_used {
            return State::Closed;
        }
        let failure = self.refusal(reply, About::Connection);
        self.fail(failure, State::Closed)
    }

    fn proceed_envelope(&mut self, mut transaction: Box<Transaction>, reply: Reply) -> State {
        if reply.code == 421 {
            return self.give_up(transaction, reply);
        }
        match transaction.answered(reply) {
            Progress::Wait => State::Envelope(transaction),
            Progress::Proceed => self.proceed(transaction),
            Progress::Content if self.replies.is_empty() => {
                State::Content(transaction, Stuffing::Start)
            }
            Progress::Discard if self.replies.is_empty() => {
                //= RFC 2920 3.1
                self.output.extend_from_slice(b".\r\n");
                State::Discarding(transaction)
            }
            Progress::Content | Progress::Discard | Progress::OutOfStep => {
                self.out_of_step(transaction)
            }
            Progress::Over { is_dirty } => self.settle(&mut transaction, State::Ready { is_dirty }),
        }
    }

    /// Writes the next commands.
    fn proceed(&mut self, mut transaction: Box<Transaction>) -> State {
        //= RFC 2920 3.1
        if !self.replies.is_empty() {
            return self.out_of_step(transaction);
        }
        transaction.write(&mut self.output);
        State::Envelope(transaction)
    }

    fn finish_content(&mut self) {
        self.state = match mem::replace(&mut self.state, State::Closed) {
            State::Content(transaction, _) if !self.replies.is_empty() => {
                State::Interrupted(transaction)
            }
            State::Content(transaction, stuffing) => {
                stuffing.finish(&mut self.output);
                State::Finishing(transaction)
            }
            other => other,
        };
    }

    /// A reply before the final dot: a refusal holds, and the rest cannot be sent any more.
    fn proceed_early(&mut self, transaction: Box<Transaction>, reply: Reply) -> State {
        if reply.is_transient() || reply.is_permanent() {
            return self.give_up(transaction, reply);
        }
        self.out_of_step(transaction)
    }

    fn proceed_end(&mut self, mut transaction: Box<Transaction>, reply: Reply) -> State {
        let next = after(&reply, State::Ready { is_dirty: false });
        if reply.is_positive() {
            transaction.deliver(&reply);
        } else if reply.is_transient() || reply.is_permanent() {
            let failure = self.refusal(reply, About::Content);
            transaction.fail_rest(failure);
        } else {
            self.state = State::Finishing(transaction);
            self.lose(PROTOCOL_ERROR, OUT_OF_STEP);
            return State::Closed;
        }
        self.settle(&mut transaction, next)
    }

    fn give_up(&mut self, mut transaction: Box<Transaction>, reply: Reply) -> State {
        let failure = self.refusal(reply, About::Content);
        transaction.fail_rest(failure);
        self.settle(&mut transaction, State::Closed)
    }

    fn out_of_step(&mut self, mut transaction: Box<Transaction>) -> State {
        transaction.fail_rest(self.failure(PROTOCOL_ERROR, OUT_OF_STEP));
        self.settle(&mut transaction, State::Closed)
    }

    /// Greeting, EHLO or STARTTLS were answered with something that ends the conversation.
    fn refused(&mut self, reply: Reply) -> State {
        if reply.code < 400 {
            let failure =
                Failure { reply: Some(reply), ..self.failure(PROTOCOL_ERROR, OUT_OF_STEP) };
            return self.fail(failure, State::Closed);
        }
        let next = if reply.code == 421 { State::Closed } else { self.say_quit() };
        let failure = self.refusal(reply, About::Connection);
        self.fail(failure, next)
    }

    fn proceed_loss(&mut self, loss: &Loss) {
        let awaited = self.awaited();
        match loss {
            Loss::Ended => {
                let text = format!("connection closed while {awaited}");
                self.lose(CONNECTION_LOST, &text);
            }
            Loss::Broken(reason) => {
                let text = format!("connection lost while {awaited}: {reason}");
                self.lose(CONNECTION_LOST, &text);
            }
            Loss::TimedOut => {
                let text = format!("timed out while {awaited}");
                self.lose(CONNECTION_LOST, &text);
            }
        }
    }

    /// Ends the conversation without another word.
    fn lose(&mut self, status: Status, diagnostic: &str) {
        let failure = self.failure(status, diagnostic);
        self.has_progressed = true;
        self.state = match mem::replace(&mut self.state, State::Closed) {
            State::Connected | State::Greeted(_) | State::StartTls | State::Securing => {
                self.fail(failure, State::Closed)
            }
            State::Ready { .. } if !self.was_used => self.fail(failure, State::Closed),
            State::Ready { .. } | State::Quitting | State::Closed => State::Closed,
            State::Envelope(mut transaction)
            | State::Content(mut transaction, _)
            | State::Interrupted(mut transaction)
            | State::Discarding(mut transaction) => {
                transaction.fail_rest(failure);
                self.settle(&mut transaction, State::Closed)
            }
            State::Finishing(mut transaction) => {
                transaction.fail_rest(failure);
                transaction.is_ambiguous = true;
                self.settle(&mut transaction, State::Closed)
            }
        };
    }

    fn settle(&mut self, transaction: &mut Transaction, next: State) -> State {
        let reusable = matches!(next, State::Ready { .. });
        self.report = Some(Report::Outcome(transaction.outcome(reusable)));
        next
    }

    fn fail(&mut self, failure: Failure, next: State) -> State {
        self.report = Some(Report::Failed(failure));
        self.has_progressed = true;
        next
    }

    fn failure(&self, status: Status, diagnostic: &str) -> Failure {
        let remote = self.settings.remote.clone();
        Failure { status, reply: None, diagnostic: diagnostic.into(), remote }
    }

    fn refusal(&self, reply: Reply, about: About) -> Failure {
        from_reply(reply, about, &self.settings.remote)
    }

    fn say_hello(&mut self, hello: Hello) -> State {
        let verb = match hello {
            Hello::Ehlo => b"EHLO ",
            Hello::Helo => b"HELO ",
        };
        self.output.extend_from_slice(verb);
        self.output.extend_from_slice(self.settings.helo.as_bytes());
        self.output.extend_from_slice(b"\r\n");
        State::Greeted(hello)
    }

    fn say_quit(&mut self) -> State {
        self.output.extend_from_slice(b"QUIT\r\n");
        State::Quitting
    }

    fn progressed(&mut self, now: Time) {
        self.deadline = self.timeout().map_or(Time::NEVER, |timeout| now + timeout);
    }

    fn timeout(&self) -> Option<Duration> {
        let timeouts = &self.settings.timeouts;
        match &self.state {
            State::Connected => Some(timeouts.greeting),
            State::Greeted(_) | State::StartTls => Some(timeouts.hello),
            State::Securing => Some(timeouts.tls),
            State::Envelope(transaction) => Some(match transaction.awaited() {
                Some(Command::Rcpt(_)) => timeouts.recipient,
                Some(Command::Data) => timeouts.data,
                Some(Command::Rset | Command::Mail) | None => timeouts.mail,
            }),
            State::Content(..) | State::Interrupted(_) => Some(timeouts.block),
            State::Finishing(_) | State::Discarding(_) => Some(timeouts.end_of_data),
            State::Quitting => Some(timeouts.quit),
            State::Ready { .. } | State::Closed => None,
        }
    }

    fn awaited(&self) -> &'static str {
        match &self.state {
            State::Connected => "waiting for the greeting",
            State::Greeted(Hello::Ehlo) => "waiting for the reply to EHLO",
            State::Greeted(Hello::Helo) => "waiting for the reply to HELO",
            State::StartTls => "waiting for the reply to STARTTLS",
            State::Securing => "shaking hands for TLS",
            State::Ready { .. } => "idle",
            State::Envelope(transaction) => match transaction.awaited() {
                Some(Command::Rset) => "waiting for the reply to RSET",
                Some(Command::Mail) | None => "waiting for the reply to MAIL",
                Some(Command::Rcpt(_)) => "waiting for the reply to RCPT",
                Some(Command::Data) => "waiting for the reply to DATA",
            },
            State::Content(..) | State::Interrupted(_) => "sending the content",
            State::Finishing(_) | State::Discarding(_) => {
                "waiting for the reply to the end of the content"
            }
            State::Quitting | State::Closed => "closing",
        }
    }
}

//= RFC 5321 3.8
fn after(reply: &Reply, next: State) -> State {
    if reply.code == 421 { State::Closed } else { next }
}

const OUT_OF_STEP: &str = "the server's replies do not follow our commands";
const CONNECTION_LOST: Status = Status::new(4, 4, 2);
const PROTOCOL_ERROR: Status = Status::new(4, 5, 0);
const TLS_MISSING: Status = Status::new(4, 7, 4);
const TLS_FAILED: Status = Status::new(4, 7, 5);

#[cfg(test)]
mod tests;
