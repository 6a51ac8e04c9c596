//! What each command does in each state: `check_` says whether it may, `proceed_` does it.
//!
//! All order of commands is here; syntax is judged before (`smtp::command`).

use alloc::{boxed::Box, sync::Arc};

use super::{
    Server, Step, replies,
    settings::TlsOffer,
    states::{Discarding, Framing, Hello, Receiving, RecipientAsked, SenderAsked, State},
    states::{Transaction, Window},
    step::SenderQuestion,
};
use crate::{
    event::{Abort, Close, Event, RecipientRefusal},
    smtp::{
        body::Coding,
        command::{self, Command, Mail, Rcpt},
        extension,
        line::{Found, LineFault},
        reply::Reply,
    },
};

impl Server {
    /// Obeys one command, or gives the step that gets one.
    pub(super) fn advance_command(&mut self, state: State) -> Option<Step> {
        if let Some(reply) = self.last_word(&state) {
            self.state = self.hang_up(&reply, state);
            return None;
        }
        let command = match self.next_line() {
            Line::Nothing => {
                self.state = state;
                return Some(Step::Receive);
            }
            Line::Command(command) => command,
            Line::Refused(reply) => {
                self.state = match state {
                    State::Refusing(refusal) => self.refuse_again(refusal),
                    state => self.refuse(&reply, state),
                };
                return None;
            }
            Line::ChunkLost => {
                self.state = self.hang_up(&replies::CHUNK_LOST, state);
                return None;
            }
        };
        self.state = self.proceed(state, command);
        match &self.state {
            State::SenderAsked(SenderAsked { hello, mail }) => {
                Some(Step::AskSender(SenderQuestion {
                    sender: mail.sender.clone(),
                    size: mail.size,
                    body: mail.body,
                    smtputf8: mail.smtputf8,
                    helo: hello.name.clone(),
                }))
            }
            State::RecipientAsked(asked) => Some(Step::AskRecipient(asked.recipient.clone())),
            _ => None,
        }
    }

    /// Why no further command is read, if none is.
    fn last_word(&self, state: &State) -> Option<Reply> {
        let limits = &self.settings.limits;
        if self.is_draining && matches!(state, State::Ready(_) | State::Refusing(_)) {
            return Some(replies::DRAINING);
        }
        if self.counts.errors > limits.max_errors {
            return Some(replies::TOO_MANY_ERRORS);
        }
        let is_junk = self.counts.junk > limits.max_junk_commands
            || self.counts.put_off > PUT_OFF_RECIPIENTS_MAX;
        is_junk.then_some(replies::TOO_MUCH_JUNK)
    }

    fn next_line(&mut self) -> Line {
        let (line, used) = match self.lines.find(&self.input) {
            Found::Nothing { used } => (Line::Nothing, used),
            Found::Line { line, used } => match command::parse(line) {
                Ok(command) => (Line::Command(command), used),
                Err(_) if command::announces_chunk(line) => (Line::ChunkLost, used),
                Err(reply) => (Line::Refused(reply), used),
            },
            Found::Fault { line, used, .. } if command::announces_chunk(line) => {
                (Line::ChunkLost, used)
            }
            Found::Fault { fault: LineFault::TooLong, used, .. } => {
                (Line::Refused(replies::LINE_TOO_LONG), used)
            }
            Found::Fault { fault: LineFault::BareLineEnding, used, .. } => {
                (Line::Refused(replies::BARE_IN_COMMAND), used)
            }
        };
        self.use_input(used);
        line
    }

    fn proceed(&mut self, state: State, command: Command) -> State {
        let state = match state {
            State::Refusing(refusal) if command != Command::Quit => {
                return self.refuse_again(refusal);
            }
            state => state,
        };
        self.counts.junk += u32::from(is_junk(&command));
        if is_synchronization_point(&command) && !self.input.is_empty() {
            return self.hang_up(&replies::NOT_SYNCHRONIZED, state);
        }
        match command {
            Command::Ehlo(name) => self.proceed_hello(state, name, true),
            Command::Helo(name) => self.proceed_hello(state, name, false),
            Command::Mail(mail) => self.proceed_mail(state, mail),
            Command::Rcpt(rcpt) => self.proceed_rcpt(state, rcpt),
            Command::Data => self.proceed_data(state),
            Command::Bdat { size, last } => self.proceed_bdat(state, size, last),
            Command::StartTls => self.proceed_starttls(state),
            Command::Rset => self.proceed_rset(state),
            Command::Quit => {
                self.say(&replies::BYE);
                self.close(state, Abort::ReceivingBySender, Close::Closed)
            }
            Command::Noop => self.answer(&replies::OK, state),
            Command::Vrfy => self.answer(&replies::CANNOT_VERIFY, state),
            Command::Expn => self.answer(&replies::NO_EXPN, state),
            Command::Help => self.answer(&replies::HELP, state),
        }
    }

    fn refuse_again(&mut self, refusal: Reply) -> State {
        self.counts.junk += 1;
        self.say(&refusal);
        State::Refusing(refusal)
    }

    fn answer(&mut self, reply: &Reply, state: State) -> State {
        self.say(reply);
        state
    }

    //= RFC 5321 4.1.4: EHLO resets, as RSET does.
    fn proceed_hello(&mut self, state: State, name: Arc<str>, is_extended: bool) -> State {
        self.abort(&state, Abort::ReceivingBySender);
        let reply = if is_extended {
            extension::ehlo_reply(&self.settings, self.tls.is_some())
        } else {
            extension::helo_reply(&self.settings)
        };
        self.say(&reply);
        State::Ready(Some(Hello { name, is_extended }))
    }

    fn proceed_mail(&mut self, state: State, mail: Mail) -> State {
        let hello = match state {
            State::Ready(Some(hello)) => hello,
            State::Ready(None) => return self.refuse(&replies::EHLO_FIRST, state),
            state => return self.refuse(&replies::NESTED_MAIL, state),
        };
        match self.check_mail(&hello, &mail) {
            Ok(()) => State::SenderAsked(SenderAsked { hello, mail }),
            Err(reply) => {
                self.report_sender_refused(mail.sender, reply.clone());
                self.refuse(&reply, State::Ready(Some(hello)))
            }
        }
    }

    fn check_mail(&self, hello: &Hello, mail: &Mail) -> Result<(), Reply> {
        if self.settings.tls == TlsOffer::Required && self.tls.is_none() {
            return Err(replies::TLS_FIRST);
        }
        if mail.is_extended && !hello.is_extended {
            return Err(replies::NOT_EXTENDED);
        }
        if self.counts.transactions >= self.settings.max_messages {
            return Err(replies::TOO_MANY_MESSAGES);
        }
        if self.clock.is_late(&self.settings.limits) {
            return Err(replies::TOO_OLD);
        }
        if mail.size.is_some_and(|size| size > self.settings.max_message_size) {
            return Err(replies::TOO_LARGE);
        }
        Ok(())
    }

    fn proceed_rcpt(&mut self, state: State, rcpt: Rcpt) -> State {
        let mut transaction = match state {
            State::Mail(transaction) => transaction,
            State::BetweenChunks(_) => return self.refuse(&replies::IN_CHUNKS, state),
            state => return self.refuse(&replies::MAIL_FIRST, state),
        };
        match self.check_rcpt(&transaction, &rcpt) {
            Ok(()) => {
                let (recipient, asked) = (rcpt.recipient, self.clock.now);
                State::RecipientAsked(RecipientAsked { transaction, recipient, asked })
            }
            Err((reply, by)) => {
                let (mid, icid) = (transaction.mid, self.icid);
                let recipient = rcpt.recipient.address;
                self.events.push(Event::RecipientRefused { mid, icid, recipient, by });
                transaction.has_refused = true;
                self.counts.put_off += u32::from(reply.is_transient());
                self.refuse(&reply, State::Mail(transaction))
            }
        }
    }

    fn check_rcpt(
        &self,
        transaction: &Transaction,
        rcpt: &Rcpt,
    ) -> Result<(), (Reply, RecipientRefusal)> {
        if rcpt.is_extended && !transaction.hello.is_extended {
            return Err((replies::NOT_EXTENDED, RecipientRefusal::Syntax));
        }
        if rcpt.recipient.address.needs_smtputf8() && !transaction.envelope.smtputf8 {
            return Err((command::NEEDS_SMTPUTF8, RecipientRefusal::Syntax));
        }
        //= RFC 5321 4.5.3.1.10: those accepted so far stay accepted.
        if transaction.envelope.recipients.len() >= self.settings.max_recipients as usize {
            return Err((replies::TOO_MANY_RECIPIENTS, RecipientRefusal::ReceivingControl));
        }
        Ok(())
    }

    fn proceed_data(&mut self, state: State) -> State {
        match state {
            State::Mail(transaction) if transaction.has_recipients() => {
                let intake = self.begin_intake(transaction, Coding::Dots);
                self.say(&replies::GO_AHEAD);
                let (framing, window) = (Framing::Dots, Window::default());
                State::Receiving(Receiving { intake, framing, window })
            }
            state => self.refuse(&why_no_content(&state), state),
        }
    }

    //= RFC 3030 2: the octets follow whether or not the command is in order.
    fn proceed_bdat(&mut self, state: State, size: u64, last: bool) -> State {
        let framing = Framing::Chunk { size, left: size, last };
        let window = Window::default();
        let intake = match state {
            State::BetweenChunks(intake) => intake,
            State::Mail(transaction)
                if transaction.has_recipients() && transaction.hello.is_extended =>
            {
                self.begin_intake(transaction, Coding::Counted)
            }
            state => {
                let reply = match &state {
                    State::Mail(transaction) if !transaction.hello.is_extended => {
                        replies::NOT_EXTENDED
                    }
                    state => why_no_content(state),
                };
                let then = Box::new(state);
                return State::Discarding(Discarding { left: size, reply, then });
            }
        };
        State::Receiving(Receiving { intake, framing, window })
    }

    fn proceed_starttls(&mut self, state: State) -> State {
        match self.check_starttls(&state) {
            Ok(()) => {
                self.say(&replies::START_TLS);
                State::StartingTls
            }
            Err(reply) => self.refuse(&reply, state),
        }
    }

    fn check_starttls(&self, state: &State) -> Result<(), Reply> {
        if self.tls.is_some() {
            return Err(replies::TLS_IS_UP);
        }
        if !extension::offers_starttls(&self.settings, false) {
            return Err(replies::NO_TLS);
        }
        match state {
            State::Ready(Some(hello)) if hello.is_extended => Ok(()),
            State::Ready(_) => Err(replies::EHLO_FIRST),
            _ => Err(replies::IN_TRANSACTION),
        }
    }

    fn proceed_rset(&mut self, state: State) -> State {
        self.abort(&state, Abort::ReceivingBySender);
        self.say(&replies::OK);
        State::Ready(state.hello())
    }
}

enum Line {
    Nothing,
    Command(Command),
    Refused(Reply),
    /// How many octets of content follow cannot be known.
    ChunkLost,
}

/// The reply to DATA and BDAT in a state in which they are out of order.
const fn why_no_content(state: &State) -> Reply {
    match state {
        State::Mail(transaction) if transaction.has_refused => replies::NO_VALID_RECIPIENTS,
        State::Mail(_) => replies::RCPT_FIRST,
        State::BetweenChunks(_) => replies::IN_CHUNKS,
        _ => replies::MAIL_FIRST,
    }
}

/// Whether the peer must wait for the reply before it sends more (RFC 2920 3.1, RFC 3207 4).
const fn is_synchronization_point(command: &Command) -> bool {
    matches!(command, Command::Ehlo(_) | Command::Helo(_) | Command::Data | Command::StartTls)
}

const fn is_junk(command: &Command) -> bool {
    matches!(
        command,
        Command::Ehlo(_)
            | Command::Helo(_)
            | Command::Rset
            | Command::Noop
            | Command::Vrfy
            | Command::Expn
            | Command::Help
    )
}

/// Recipients put off since the last accepted message beyond which the client is sent away: more
/// than any sender tries at once (RFC 5321 4.5.3.1.8), and each costs a line in the log.
const PUT_OFF_RECIPIENTS_MAX: u32 = 1_000;
