//! One transaction: which commands are still to be said, which are to be answered, and what has
//! become of each recipient.
//!
//! Commands go out in groups when the server pipelines (RFC 2920), one by one when it does not;
//! replies are matched in order either way, so the rest of the machine knows no difference.

use alloc::{collections::VecDeque, format, sync::Arc, vec::Vec};

use super::{
    Delivery, Outcome, command,
    extensions::Extensions,
    failure::{About, from_reply},
};
use crate::{
    event::{Failure, Status},
    id::{Rid, Rids},
    smtp::reply::Reply,
};

/// A transaction that is not over.
#[derive(Debug)]
pub(super) struct Transaction {
    delivery: Delivery,
    offered: Extensions,
    remote: Arc<str>,
    /// MAIL is to ask for SMTPUTF8.
    utf8: bool,
    unsaid: VecDeque<Command>,
    unanswered: VecDeque<Command>,
    /// Recipients about whom nothing bad is known; in the end, those delivered.
    hopeful: Rids,
    is_anyone_accepted: bool,
    is_sender_refused: bool,
    failed: Vec<(Rids, Failure)>,
    response: Option<Arc<str>>,
    /// The connection was lost after the final dot.
    pub(super) is_ambiguous: bool,
}

/// A command of a transaction.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Command {
    Rset,
    Mail,
    Rcpt(Rid),
    Data,
}

/// What a reply leads to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Progress {
    /// More replies are due.
    Wait,
    /// Everything said is answered: say more.
    Proceed,
    /// 354: the content.
    Content,
    /// 354, but no recipient was accepted.
    Discard,
    /// The reply cannot be one to the command it was matched with.
    OutOfStep,
    /// No recipient is left.
    Over { is_dirty: bool },
}

impl Transaction {
    /// Plans the commands. Recipients this server cannot take are refused here, without a word to
    /// it; if none is left, the transaction is over at once.
    pub(super) fn new(
        delivery: Delivery,
        offered: Extensions,
        is_dirty: bool,
        remote: &Arc<str>,
    ) -> Self {
        let mut transaction = Self {
            hopeful: delivery.rids.clone(),
            delivery,
            offered,
            remote: remote.clone(),
            utf8: false,
            unsaid: VecDeque::new(),
            unanswered: VecDeque::new(),
            is_anyone_accepted: false,
            is_sender_refused: false,
            failed: Vec::new(),
            response: None,
            is_ambiguous: false,
        };
        transaction.check_message();
        transaction.check_recipients();
        let rset = is_dirty.then_some(Command::Rset);
        let recipients = transaction.hopeful.iter().copied().map(Command::Rcpt);
        transaction.unsaid = rset
            .into_iter()
            .chain([Command::Mail])
            .chain(recipients)
            .chain([Command::Data])
            .collect();
        transaction
    }

    /// Whether no recipient is left.
    pub(super) fn is_over(&self) -> bool {
        self.hopeful.is_empty()
    }

    /// The command whose reply is due next.
    pub(super) fn awaited(&self) -> Option<Command> {
        self.unanswered.front().copied()
    }

    /// Writes the next command, or the next group.
    pub(super) fn write(&mut self, out: &mut Vec<u8>) {
        assert!(self.unanswered.is_empty(), "a group is answered before the next is written");
        assert!(!self.is_over(), "there is someone to deliver to");
        let group = if self.offered.pipelining { GROUP_COMMANDS_MAX } else { 1 };
        while self.unanswered.len() < group
            && let Some(command) = self.unsaid.pop_front()
        {
            self.write_command(command, out);
            self.unanswered.push_back(command);
        }
        assert!(!self.unanswered.is_empty(), "DATA is the last command and never answered 2yz");
    }

    /// Takes the reply to the command that waits longest.
    pub(super) fn answered(&mut self, reply: Reply) -> Progress {
        let command = self.unanswered.pop_front().expect("write() leaves a command to answer");
        let is_refusal = reply.is_transient() || reply.is_permanent();
        let is_in_step = match command {
            Command::Rset => reply.is_positive(),
            Command::Mail | Command::Rcpt(_) => reply.is_positive() || is_refusal,
            Command::Data => reply.code == 354 || is_refusal,
        };
        if !is_in_step {
            return Progress::OutOfStep;
        }
        match command {
            Command::Rset => {}
            Command::Mail if is_refusal => {
                self.is_sender_refused = true;
                self.unsaid.clear();
                self.fail_rest(from_reply(reply, About::Sender, &self.remote));
            }
            Command::Mail => {}
            Command::Rcpt(rid) => self.recipient_answered(rid, reply),
            Command::Data if is_refusal => {
                self.fail_rest(from_reply(reply, About::Content, &self.remote));
            }
            Command::Data if self.is_over() => return Progress::Discard,
            Command::Data => return Progress::Content,
        }
        match (self.unanswered.is_empty(), self.is_over()) {
            (false, _) => Progress::Wait,
            (true, false) => Progress::Proceed,
            (true, true) => Progress::Over { is_dirty: !self.is_sender_refused },
        }
    }

    /// The server has taken responsibility for everyone who is left.
    pub(super) fn deliver(&mut self, reply: &Reply) {
        let text = reply.text.replace('\n', " ");
        let response = match reply.status {
            Some(status) => format!("{status} {text}"),
            None => text,
        };
        self.response = Some(response.trim_end().into());
    }

    /// Fails everyone who is left.
    pub(super) fn fail_rest(&mut self, failure: Failure) {
        if !self.hopeful.is_empty() {
            self.failed.push((core::mem::take(&mut self.hopeful), failure));
        }
    }

    /// The sum of it.
    pub(super) fn outcome(&mut self, reusable: bool) -> Outcome {
        let delivered = core::mem::take(&mut self.hopeful);
        assert_eq!(delivered.is_empty(), self.response.is_none(), "nobody is forgotten");
        Outcome {
            delivered,
            response: self.response.take().unwrap_or_default(),
            failed: core::mem::take(&mut self.failed),
            reusable,
            ambiguous: self.is_ambiguous,
        }
    }

    fn recipient_answered(&mut self, rid: Rid, reply: Reply) {
        if self.is_sender_refused {
            return;
        }
        if reply.is_positive() {
            self.is_anyone_accepted = true;
            return;
        }
        //= RFC 5321 4.5.3.1.10
        let is_too_many = reply.code == 552
            && reply.status.is_none_or(|status| status == Status::new(5, 5, 3))
            && self.is_anyone_accepted;
        let mut failure = from_reply(reply, About::Recipient, &self.remote);
        if is_too_many {
            failure.status = Status::new(4, 5, 3);
        }
        self.fail(rid, failure);
    }

    fn fail(&mut self, rid: Rid, failure: Failure) {
        self.hopeful.retain(|hopeful| *hopeful != rid);
        match self.failed.last_mut() {
            Some((rids, last)) if *last == failure => rids.push(rid),
            _ => self.failed.push((Rids::from_slice(&[rid]), failure)),
        }
    }

    /// Whether the server can take the message, whoever gets it.
    fn check_message(&mut self) {
        let reverse_path = &self.delivery.envelope.reverse_path;
        let needs_utf8 = self.delivery.smtputf8
            || reverse_path.mailbox().is_some_and(|sender| sender.needs_smtputf8());
        let refusal = if !command::is_reverse_path(reverse_path) {
            Some((BAD_SENDER, "the sender's address cannot be sent"))
        } else if needs_utf8 && !self.offered.smtputf8 {
            Some((NEEDS_SMTPUTF8, "the message needs SMTPUTF8, which the server does not offer"))
        } else if self.offered.max_size.is_some_and(|max| self.delivery.size > max) {
            //= RFC 1870 7
            Some((TOO_LARGE, "the message is larger than the server takes"))
        } else {
            None
        };
        self.utf8 = needs_utf8;
        if let Some((status, diagnostic)) = refusal {
            let failure = self.failure(status, diagnostic);
            self.fail_rest(failure);
        }
    }

    fn check_recipients(&mut self) {
        let envelope = self.delivery.envelope.clone();
        for rid in self.hopeful.clone() {
            let recipient = envelope.recipient(rid).expect("a RID is one of its envelope");
            let needs_utf8 = recipient.address.needs_smtputf8();
            if !command::is_mailbox(&recipient.address) {
                self.fail(rid, self.failure(BAD_RECIPIENT, "the address cannot be sent"));
            } else if needs_utf8 && !self.offered.smtputf8 {
                let diagnostic = "the address needs SMTPUTF8, which the server does not offer";
                self.fail(rid, self.failure(NEEDS_SMTPUTF8, diagnostic));
            } else {
                self.utf8 |= needs_utf8;
            }
        }
    }

    fn write_command(&self, command: Command, out: &mut Vec<u8>) {
        match command {
            Command::Rset => out.extend_from_slice(b"RSET\r\n"),
            Command::Mail => command::mail(&self.delivery, self.offered, self.utf8, out),
            Command::Rcpt(rid) => {
                let recipient = self.delivery.envelope.recipient(rid);
                let recipient = recipient.expect("check_recipients has seen it");
                command::rcpt(recipient, self.offered, self.utf8, out);
            }
            Command::Data => out.extend_from_slice(b"DATA\r\n"),
        }
    }

    fn failure(&self, status: Status, diagnostic: &str) -> Failure {
        let remote = self.remote.clone();
        Failure { status, reply: None, diagnostic: diagnostic.into(), remote }
    }
}

/// Commands in one group. We write a group before we read its replies; this many replies fit into
/// any socket's buffer, so neither side can end up waiting for the other (RFC 2920 3.1).
const GROUP_COMMANDS_MAX: usize = 100;

const BAD_SENDER: Status = Status::new(5, 1, 7);
const BAD_RECIPIENT: Status = Status::new(5, 1, 3);
const NEEDS_SMTPUTF8: Status = Status::new(5, 6, 7);
const TOO_LARGE: Status = Status::new(5, 3, 4);
