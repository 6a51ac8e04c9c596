//! Makes reports of non-delivery durable: mail like any other, from nobody.

use std::{rc::Rc, sync::Arc, time::Duration};

use bytes::Bytes;
use glommio::timer::sleep;
use ringpost_core::{
    envelope::Envelope,
    event::{Abort, Direction, Event, Failure, Finish, Status},
    id::{Icid, Rid, Rids},
    message::Body,
    smtp::{
        replies,
        server::{MessageAnswer, Received},
    },
    spool::{
        log::State,
        record::{Accepted, Message, Record},
    },
};
use ringpost_delivery::bounce::{MAX_COPY_DEFAULT, Report, compose};

use crate::{disk::NotDurable, message::Queued, shard::Shard};

/// Reports recipients that failed for good to the sender, if there is one and it wants to know.
///
/// True when the recipients are done with. False when the report could not be stored, because the
/// disk failed, or is full and the shard ends: the message must stay in the spool then, for mail
/// must not vanish without a word (RFC 5321 6.1), and fails again after the next start.
pub(crate) async fn bounce(
    shard: &Rc<Shard>,
    message: &Arc<Queued>,
    rids: &Rids,
    failure: &Failure,
) -> bool {
    let envelope = &message.accepted.envelope;
    if envelope.reverse_path.mailbox().is_none() {
        shard.say(Event::DoubleBounced { mid: message.mid });
        return true;
    }
    let failed = [(rids.clone(), failure.clone())];
    while has_room(shard).await {
        let header = message.header(&shard.store).await.unwrap_or_default();
        let body = small_body(shard, message).await;
        let of = Original {
            mid: message.mid,
            envelope,
            received: message.accepted.received,
            was_tried: true,
            header: &header,
            body: body.as_deref(),
        };
        match send(shard, &of, &failed).await {
            // One that no segment can hold will never be stored.
            Ok(()) | Err(NotDurable::TooLarge) => return true,
            Err(NotDurable::Failed) => return false,
            Err(NotDurable::Full) => {}
        }
    }
    false
}

/// Waits while the disk is full. False if the shard ends first.
async fn has_room(shard: &Shard) -> bool {
    while shard.disk.state() == State::Full {
        if shard.is_draining.get() {
            return false;
        }
        sleep(FULL_RETRY_INTERVAL).await;
    }
    true
}

/// Returns a message to its sender instead of accepting it (`bounce()` of a filter): the peer is
/// told 250 once the report is durable.
pub(crate) async fn return_to_sender(shard: &Rc<Shard>, received: &Received) -> MessageAnswer {
    let rids: Rids = (0..).map(Rid).take(received.envelope.recipients.len()).collect();
    let failure = Failure {
        status: Status::new(5, 7, 1),
        reply: None,
        diagnostic: "The message was returned by a message filter".into(),
        remote: Arc::default(),
    };
    let is_small = received.body.spilled.is_empty();
    let of = Original {
        mid: received.mid,
        envelope: &received.envelope,
        received: shard.clock.date(),
        was_tried: false,
        header: &received.header,
        body: is_small.then_some(&received.body.chunks),
    };
    match send(shard, &of, &[(rids, failure)]).await {
        Ok(()) => MessageAnswer::Accepted { mid: received.mid },
        Err(NotDurable::Full) => MessageAnswer::Unavailable(replies::SPOOL_FULL),
        Err(NotDurable::Failed | NotDurable::TooLarge) => {
            MessageAnswer::Unavailable(replies::SPOOL_FAILED)
        }
    }
}

struct Original<'a> {
    mid: ringpost_core::id::Mid,
    envelope: &'a Envelope,
    received: ringpost_core::time::Date,
    was_tried: bool,
    header: &'a [u8],
    body: Option<&'a [Bytes]>,
}

async fn send(
    shard: &Rc<Shard>,
    of: &Original<'_>,
    failed: &[(Rids, Failure)],
) -> Result<(), NotDurable> {
    let snapshot = shard.snapshot();
    let mid = shard.next_mid().await;
    let date = shard.clock.date();
    let composed = compose(&Report {
        hostname: &snapshot.hostname,
        mid,
        date,
        envelope: of.envelope,
        received: of.received,
        last_attempt: of.was_tried.then_some(date),
        failed,
        header: of.header,
        body: of.body,
        max_copy: MAX_COPY_DEFAULT,
        omitted_fields: &[],
    });
    let Some((envelope, header, body)) = composed else {
        return Ok(());
    };
    shard.say(Event::BounceGenerated { mid, of: of.mid });
    let accepted = Accepted {
        eight_bit: body.chunks.iter().any(|chunk| !chunk.is_ascii()),
        envelope: Arc::new(envelope),
        received: date,
        direction: Direction::Outgoing,
        listener: Arc::default(),
    };
    commit(shard, mid, accepted, header, body).await
}

async fn commit(
    shard: &Rc<Shard>,
    mid: ringpost_core::id::Mid,
    accepted: Accepted,
    header: Bytes,
    body: Body,
) -> Result<(), NotDurable> {
    let started = shard.clock.now();
    let icid = Icid::INTERNAL;
    let sender = accepted.envelope.reverse_path.clone();
    shard.say(Event::MessageStarted { mid, icid, sender });
    for (rid, recipient) in (0..).map(Rid).zip(&accepted.envelope.recipients) {
        let recipient = recipient.address.clone();
        let took = Duration::ZERO;
        shard.say(Event::RecipientAccepted { mid, icid, rid, recipient, took });
    }
    let record = Message { mid, accepted: accepted.clone(), header: vec![header], body };
    let stored = shard.disk.commit(Record::Message(record)).await;
    let took = shard.clock.now().since(started);
    if stored.is_err() {
        shard.say(Event::MessageAborted { mid, reason: Abort::Receiving });
        shard.say(Event::MessageFinished { mid, how: Finish::Aborted, took });
    }
    let place = stored?;
    shard.say(Event::MessageQueued { mid, took });
    let queued = Queued {
        mid,
        owner: shard.number,
        accepted,
        started,
        header: place.header,
        body: vec![place.body],
        memory: None,
    };
    shard.queue.accept(shard, queued, Rc::clone(&shard.disk));
    Ok(())
}

/// The body, if the whole message is small enough to be returned.
async fn small_body(shard: &Shard, message: &Queued) -> Option<Vec<Bytes>> {
    if message.size() > MAX_COPY_DEFAULT as u64 {
        return None;
    }
    let mut chunks = Vec::new();
    for piece in &message.body {
        chunks.push(shard.store.read(*piece).await.ok()?);
    }
    Some(chunks)
}

/// How often a full disk is looked at again.
const FULL_RETRY_INTERVAL: Duration = Duration::from_secs(1);
