//! Drives one server conversation up to the commit; mirrors `shard/src/{inbound,admission}.rs`.

use std::{io, mem::take, net::IpAddr, net::Ipv4Addr, rc::Rc, sync::Arc, time::Duration};

use bytes::Bytes;
use ringpost_core::{
    event::{Abort, Direction, Event, Finish, RecipientRefusal},
    id::{Icid, Mid},
    lookup::ClientName,
    message::{header::Header, trace},
    smtp::{
        replies,
        server::{
            BareLineEndings, Limits, MessageAnswer, Received, RecipientAnswer, SenderAnswer,
            Server, Settings, Step, TlsOffer,
        },
    },
    spool::{
        Piece, Ticket,
        record::{Accepted, Message, Record},
    },
    time::Time,
};

use super::{Defect, Queued, Shard, queue, store::NotDurable};
use crate::network::End;

struct Conversation {
    shard: Rc<Shard>,
    end: End,
    server: Server,
    transaction: Option<Mid>,
}

/// Converses with a client until one of the two ends it.
pub(super) async fn serve(shard: Rc<Shard>, icid: Icid, end: End) {
    let server = Server::new(icid, Arc::new(settings()), shard.now());
    let mut conversation = Conversation { shard, end, server, transaction: None };
    if conversation.run().await.is_err() {
        conversation.server.ended();
        while !matches!(conversation.server.step(conversation.shard.now()), Step::Close) {}
    }
    conversation.give_up_transaction();
    conversation.shard.say_all(&mut conversation.server.events);
}

impl Conversation {
    async fn run(&mut self) -> io::Result<()> {
        loop {
            let step = self.server.step(self.shard.now());
            self.shard.say_all(&mut self.server.events);
            match step {
                Step::Receive => {
                    self.flush()?;
                    self.receive().await?;
                }
                Step::AskSender(_) => {
                    self.give_up_transaction();
                    let mid = self.shard.next_mid();
                    self.transaction = Some(mid);
                    self.server.sender_answered(SenderAnswer::Accept { mid });
                }
                Step::AskRecipient(recipient) => {
                    let is_ours = recipient.address.domain() != "refused.example";
                    self.server.recipient_answered(if is_ours {
                        RecipientAnswer::Accept { reply: None }
                    } else {
                        let reply = replies::ADDRESS_REJECTED;
                        RecipientAnswer::Refuse { reply, by: RecipientRefusal::Rat }
                    });
                }
                Step::StartTls => unreachable!("it is not offered"),
                Step::Spill(bytes) => {
                    let mid = self.transaction.expect("content belongs to a transaction");
                    let place = self.shard.store.commit(Record::Part { mid, bytes }).await;
                    self.shard.around.ledger.borrow_mut().totals.spilled += 1;
                    self.server.spilled(place.ok().map(|place| place.body));
                }
                Step::Message(received) => {
                    let answer = admit(&self.shard, *received).await;
                    self.transaction = None;
                    self.server.message_answered(answer);
                }
                Step::Close => return self.flush(),
            }
        }
    }

    async fn receive(&mut self) -> io::Result<()> {
        let deadline = self.server.deadline();
        assert!(deadline < Time::NEVER, "no client is waited for without end");
        let received = self.shard.around.tasks.within(deadline, self.end.receive()).await;
        let now = self.shard.now();
        match received {
            Some(octets) => match octets?.as_slice() {
                [] => self.server.ended(),
                octets => self.server.receive(octets, now),
            },
            None => self.server.timed_out(now),
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let replies = take(&mut self.server.replies);
        if replies.is_empty() { Ok(()) } else { self.end.send(&replies) }
    }

    fn give_up_transaction(&mut self) {
        if let Some(mid) = self.transaction.take() {
            self.shard.store.forget(mid);
        }
    }
}

/// A message whose record waits for the sync.
struct Appended {
    mid: Mid,
    started: Time,
    accepted: Accepted,
    spilled: Vec<Piece>,
    memory: Option<Vec<Bytes>>,
}

/// Makes a complete message durable.
async fn admit(shard: &Rc<Shard>, received: Received) -> MessageAnswer {
    let mut header = Header::parse(received.header.clone());
    say_received(shard, &received, &header);
    header.prepend(trace(shard, &received));
    let header = header.render();
    let chunks = header.iter().chain(&received.body.chunks).cloned().collect();
    let keeps = received.body.spilled.is_empty() && shard.around.tasks.chance(1, 2);
    let appended = Appended {
        mid: received.mid,
        started: received.started,
        accepted: Accepted {
            envelope: Arc::new(received.envelope),
            received: shard.around.tasks.date(),
            direction: Direction::Incoming,
            eight_bit: received.eight_bit,
            listener: "Inbound".into(),
        },
        spilled: received.body.spilled.clone(),
        memory: keeps.then_some(chunks),
    };
    let record = Message {
        mid: received.mid,
        accepted: appended.accepted.clone(),
        header,
        body: received.body,
    };
    let ticket = match shard.store.append(Record::Message(record)).await {
        Ok(ticket) => ticket,
        Err(refusal) => return refuse(shard, received.mid, received.started, refusal),
    };
    if shard.around.defect != Defect::AcknowledgesWhenWritten {
        return commit(shard, ticket, appended).await;
    }
    let (mid, committing) = (received.mid, Rc::clone(shard));
    let written = shard.store.written(ticket).await;
    shard.spawn(async move { drop(commit(&committing, ticket, appended).await) });
    match written {
        Ok(()) => MessageAnswer::Accepted { mid },
        Err(_) => MessageAnswer::Unavailable(replies::SPOOL_FAILED),
    }
}

/// Waits for the sync and queues the message.
async fn commit(shard: &Rc<Shard>, ticket: Ticket, appended: Appended) -> MessageAnswer {
    let Appended { mid, started, accepted, spilled, memory } = appended;
    let place = match shard.store.place(ticket).await {
        Ok(place) => place,
        Err(refusal) => return refuse(shard, mid, started, refusal),
    };
    let took = Duration::ZERO;
    shard.say(Event::MessageQueued { mid, took });
    let mut pieces = vec![place.header];
    pieces.extend(spilled);
    pieces.push(place.body);
    let owner = shard.number;
    let queued = Queued { mid, owner, accepted, started, pieces, memory };
    queue::accept(shard, queued);
    MessageAnswer::Accepted { mid }
}

fn say_received(shard: &Shard, received: &Received, header: &Header) {
    shard.say(Event::MessageReceived {
        mid: received.mid,
        sender: received.envelope.reverse_path.clone(),
        size: received.size,
        message_id: None,
        subject: None,
        took: shard.now().since(received.started),
    });
    let token = header.first("X-Token").map(String::from_utf8_lossy);
    let token = token.and_then(|token| token.trim().parse().ok());
    let mut ledger = shard.around.ledger.borrow_mut();
    ledger.admitted(received.mid, token.unwrap_or_default(), &received.envelope);
}

fn refuse(shard: &Rc<Shard>, mid: Mid, started: Time, refusal: NotDurable) -> MessageAnswer {
    shard.store.forget(mid);
    shard.say(Event::MessageAborted { mid, reason: Abort::Receiving });
    let took = shard.now().since(started);
    shard.say(Event::MessageFinished { mid, how: Finish::Aborted, took });
    MessageAnswer::Unavailable(match refusal {
        NotDurable::Full => replies::SPOOL_FULL,
        NotDurable::Failed | NotDurable::TooLarge => replies::SPOOL_FAILED,
    })
}

fn trace(shard: &Shard, received: &Received) -> Bytes {
    trace::Received {
        helo: &received.helo,
        name: &ClientName::NoName,
        address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
        hostname: "gateway.example",
        protocol: received.protocol.as_str(),
        tls: received.tls,
        mid: received.mid,
        recipient: match received.envelope.recipients.as_slice() {
            [only] => Some(&only.address),
            _ => None,
        },
        date: shard.around.tasks.date(),
    }
    .field()
}

fn settings() -> Settings {
    Settings {
        hostname: "gateway.example".into(),
        banner: None,
        banner_code: 220,
        max_message_size: 100_000,
        max_messages: 10,
        max_recipients: 10,
        max_header_size: 10_000,
        max_hops: 30,
        tls: TlsOffer::Off,
        bare: BareLineEndings::Reject,
        relay: false,
        limits: Limits::default(),
        spill_size: 2_000,
    }
}
