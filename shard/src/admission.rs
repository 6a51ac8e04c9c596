//! From the end of the content to the commit: filters, trace header, durable write, queue.
//!
//! Policy decides before the one durable write (decision 0003), so the spool holds exactly what
//! will be delivered.

use std::{rc::Rc, sync::Arc};

use bytes::Bytes;
use ringpost_core::{
    envelope::Recipient,
    event::{Abort, Access, Direction, Event, Finish, RecipientRefusal},
    id::Mid,
    lookup::ClientName,
    message::{decode, header::Header, trace},
    smtp::{
        replies,
        server::{MessageAnswer, Received, RecipientAnswer},
    },
    spool::record::{Accepted, Message, Record},
};
use ringpost_policy::filter::{Disposition, Examined, Verdict};

use crate::{disk::NotDurable, inbound::Session, message::Queued, report, shard::Shard};

/// What the RAT says to a recipient. A client that may relay is not asked for its recipients.
pub(crate) fn recipient(session: &Session, recipient: &Recipient) -> RecipientAnswer {
    let rat = match session.access {
        Access::Relay => None,
        Access::Accept | Access::Reject | Access::TcpRefuse => session.listener.rat(),
    };
    let Some(rat) = rat else {
        return RecipientAnswer::Accept { reply: None };
    };
    let admission = rat.admit(&recipient.address);
    let reply = admission.reply.cloned();
    if admission.accept {
        RecipientAnswer::Accept { reply }
    } else {
        // A resolver that fails must not make a relay client's mail bounce: with its name, another
        // row of the HAT might have matched.
        let is_nameless = session.client.name == ClientName::Unavailable;
        if is_nameless && session.listener.hat.needs_names() {
            let reply = replies::NAME_UNAVAILABLE;
            return RecipientAnswer::Refuse { reply, by: RecipientRefusal::Rat };
        }
        let reply = reply.unwrap_or(replies::ADDRESS_REJECTED);
        RecipientAnswer::Refuse { reply, by: RecipientRefusal::Rat }
    }
}

/// Decides about a complete message and, unless policy ends it, makes it durable.
pub(crate) async fn message(
    shard: &Rc<Shard>,
    session: &Session,
    received: Received,
) -> MessageAnswer {
    let header = Header::parse(received.header.clone());
    shard.say(Event::MessageReceived {
        mid: received.mid,
        sender: received.envelope.reverse_path.clone(),
        size: received.size,
        message_id: header.first("Message-ID").map(|value| decode::decode_words(value).into()),
        subject: header.first("Subject").map(|value| decode::decode_words(value).into()),
        took: shard.clock.now().since(received.started),
    });
    Admission { shard, session, received, header }.decide().await
}

struct Admission<'a> {
    shard: &'a Rc<Shard>,
    session: &'a Session,
    received: Received,
    header: Header,
}

impl Admission<'_> {
    async fn decide(mut self) -> MessageAnswer {
        let mid = self.received.mid;
        let verdict = self.filter();
        for text in verdict.log_entries {
            self.shard.say(Event::LogEntryWritten { mid, text });
        }
        match verdict.disposition {
            Disposition::Deliver => self.commit(verdict.rewritten_by).await,
            Disposition::Drop { filter } => {
                self.abort(Abort::DroppedByFilter(filter));
                MessageAnswer::Accepted { mid }
            }
            Disposition::Reject { filter, reply } => {
                self.abort(Abort::RejectedByFilter(filter));
                MessageAnswer::Refused(reply)
            }
            Disposition::Bounce { filter } => {
                let answer = report::return_to_sender(self.shard, &self.received).await;
                if matches!(answer, MessageAnswer::Accepted { .. }) {
                    self.abort(Abort::BouncedByFilter(filter));
                } else {
                    self.abort(Abort::Receiving);
                }
                answer
            }
        }
    }

    fn filter(&mut self) -> Verdict {
        let snapshot = self.shard.snapshot();
        let start = self.shard.clock.now();
        let verdict = snapshot.filters.evaluate(&mut Examined {
            envelope: &self.received.envelope,
            header: &mut self.header,
            size: self.received.size,
            mid: self.received.mid,
            client: self.session.client.address,
            client_name: &self.session.client.name,
            listener: &self.session.listener.name,
            group: self.session.group.as_deref(),
            policy: &self.session.policy.name,
            hostname: &snapshot.hostname,
            date: self.shard.clock.date(),
        });
        self.shard.say(Event::MessageFiltered {
            mid: self.received.mid,
            matched: verdict.matched,
            took: self.shard.clock.now().since(start),
        });
        verdict
    }

    fn abort(&self, reason: Abort) {
        let mid = self.received.mid;
        self.shard.disk.forget(mid);
        self.shard.say(Event::MessageAborted { mid, reason });
        self.finish(mid, Finish::Aborted);
    }

    fn finish(&self, mid: Mid, how: Finish) {
        let took = self.shard.clock.now().since(self.received.started);
        self.shard.say(Event::MessageFinished { mid, how, took });
    }

    async fn commit(mut self, rewritten_by: Option<(&'static str, Arc<str>)>) -> MessageAnswer {
        let original = self.received.mid;
        let start = self.shard.clock.now();
        if !self.shard.queue.has_room(MESSAGES_MAX) {
            self.abort(Abort::Receiving);
            return MessageAnswer::Unavailable(replies::QUEUE_FULL);
        }
        // Parts that were spilled are in the log under the number they were received with.
        let mid = match rewritten_by {
            Some((action, filter)) if self.received.body.spilled.is_empty() => {
                let into = self.shard.next_mid().await;
                let event = Event::MessageRewritten { mid: original, into, action, filter };
                self.shard.say(event);
                self.finish(original, Finish::Rewritten);
                into
            }
            _ => original,
        };
        self.trace(mid);
        let accepted = self.accepted();
        let header = self.header.render();
        let body = self.received.body.clone();
        let chunks: Vec<Bytes> = header.iter().chain(&body.chunks).cloned().collect();
        let memory = if body.spilled.is_empty() { self.shard.budget.keep(chunks) } else { None };
        let record = Message { mid, accepted: accepted.clone(), header, body };
        let place = match self.shard.disk.commit(Record::Message(record)).await {
            Ok(place) => place,
            Err(refusal) => {
                self.received.mid = mid;
                self.abort(Abort::Receiving);
                return MessageAnswer::Unavailable(match refusal {
                    NotDurable::Full => replies::SPOOL_FULL,
                    NotDurable::Failed | NotDurable::TooLarge => replies::SPOOL_FAILED,
                });
            }
        };
        let direction = accepted.direction;
        self.shard.say(Event::PolicyMatched { mid, policy: DEFAULT_POLICY.into(), direction });
        let took = self.shard.clock.now().since(start);
        self.shard.say(Event::MessageQueued { mid, took });
        let mut body = self.received.body.spilled;
        body.push(place.body);
        let queued = Queued {
            mid,
            owner: self.shard.number,
            accepted,
            started: self.received.started,
            header: place.header,
            body,
            memory,
        };
        self.shard.queue.accept(self.shard, queued, Rc::clone(&self.shard.disk));
        MessageAnswer::Accepted { mid: original }
    }

    fn trace(&mut self, mid: Mid) {
        let snapshot = self.shard.snapshot();
        let recipients = &self.received.envelope.recipients;
        let field = trace::Received {
            helo: &self.received.helo,
            name: &self.session.client.name,
            address: self.session.client.address,
            hostname: &snapshot.hostname,
            protocol: self.received.protocol.as_str(),
            tls: self.received.tls,
            mid,
            recipient: match recipients.as_slice() {
                [only] => Some(&only.address),
                _ => None,
            },
            date: self.shard.clock.date(),
        };
        self.header.prepend(field.field());
    }

    fn accepted(&self) -> Accepted {
        let direction = match self.session.access {
            Access::Relay => Direction::Outgoing,
            Access::Accept | Access::Reject | Access::TcpRefuse => Direction::Incoming,
        };
        Accepted {
            envelope: Arc::new(self.received.envelope.clone()),
            received: self.shard.clock.date(),
            direction,
            eight_bit: self.received.eight_bit,
            listener: Arc::clone(&self.session.listener.name),
        }
    }
}

/// Messages a shard may hold in its spool; beyond it 452 4.3.1 is said.
const MESSAGES_MAX: usize = 1_000_000;
/// The mail policy of everybody, until there is a table of them.
const DEFAULT_POLICY: &str = "DEFAULT";
