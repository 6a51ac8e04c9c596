//! Makes reports of non-delivery durable; mirrors `shard/src/report.rs`.

use std::{rc::Rc, sync::Arc, time::Duration};

use bytes::Bytes;
use ringpost_core::{
    event::{Abort, Direction, Event, Failure, Finish},
    id::{Icid, Mid, Rid, Rids},
    message::Body,
    spool::record::{Accepted, Message, Record},
};
use ringpost_delivery::bounce::{Report, compose};

use super::{Defect, Queued, Shard, queue, reclaim, store, store::NotDurable};

/// Reports recipients that failed for good to the sender. False if that was impossible: then the
/// recipients must stay in the spool, to be reported after the next start.
pub(super) async fn bounce(
    shard: &Rc<Shard>,
    message: &Queued,
    rids: &Rids,
    failure: &Failure,
) -> bool {
    let envelope = &message.accepted.envelope;
    if envelope.reverse_path.mailbox().is_none() {
        shard.say(Event::DoubleBounced { mid: message.mid });
        return true;
    }
    let header = store::read(&shard.around, message.pieces[0]).await.unwrap_or_default();
    let body = small_body(shard, message).await;
    let failed = [(rids.clone(), failure.clone())];
    loop {
        let mid = shard.next_mid();
        let date = shard.around.tasks.date();
        let composed = compose(&Report {
            hostname: "gateway.example",
            mid,
            date,
            envelope,
            received: message.accepted.received,
            last_attempt: Some(date),
            failed: &failed,
            header: &header,
            body: body.as_deref(),
            max_copy: MAX_COPY,
            omitted_fields: &[],
        });
        let Some((envelope, header, body)) = composed else {
            return true;
        };
        shard.say(Event::BounceGenerated { mid, of: message.mid });
        let content = [header.clone()].into_iter().chain(body.chunks.clone()).collect::<Vec<_>>();
        shard.around.ledger.borrow_mut().reports(mid, message.mid, rids, content.concat());
        let accepted = Accepted {
            eight_bit: body.chunks.iter().any(|chunk| !chunk.is_ascii()),
            envelope: Arc::new(envelope),
            received: date,
            direction: Direction::Outgoing,
            listener: Arc::default(),
        };
        match commit(shard, mid, accepted, header, body).await {
            Ok(()) => return true,
            Err(_) if shard.around.defect == Defect::GivesUpReports => return true,
            Err(NotDurable::Full) => {
                // Nothing else may be left whose end would make room.
                reclaim::begin(shard, &shard.store);
                shard.around.tasks.sleep(FULL_RETRY_INTERVAL).await;
            }
            Err(NotDurable::Failed) => return false,
            Err(NotDurable::TooLarge) => unreachable!("a report is shorter than its limit"),
        }
    }
}

async fn commit(
    shard: &Rc<Shard>,
    mid: Mid,
    accepted: Accepted,
    header: Bytes,
    body: Body,
) -> Result<(), NotDurable> {
    let started = shard.now();
    let icid = Icid::INTERNAL;
    let sender = accepted.envelope.reverse_path.clone();
    shard.say(Event::MessageStarted { mid, icid, sender });
    for (rid, recipient) in (0..).map(Rid).zip(&accepted.envelope.recipients) {
        let (recipient, took) = (recipient.address.clone(), Duration::ZERO);
        shard.say(Event::RecipientAccepted { mid, icid, rid, recipient, took });
    }
    let record = Message { mid, accepted: accepted.clone(), header: vec![header], body };
    let place = match shard.store.commit(Record::Message(record)).await {
        Ok(place) => place,
        Err(refusal) => {
            shard.say(Event::MessageAborted { mid, reason: Abort::Receiving });
            let took = shard.now().since(started);
            shard.say(Event::MessageFinished { mid, how: Finish::Aborted, took });
            return Err(refusal);
        }
    };
    shard.say(Event::MessageQueued { mid, took: shard.now().since(started) });
    let pieces = vec![place.header, place.body];
    let owner = shard.number;
    queue::accept(shard, Queued { mid, owner, accepted, started, pieces, memory: None });
    Ok(())
}

async fn small_body(shard: &Shard, message: &Queued) -> Option<Vec<Bytes>> {
    if message.size() > MAX_COPY as u64 {
        return None;
    }
    let mut chunks = Vec::new();
    for piece in &message.pieces[1..] {
        chunks.push(store::read(&shard.around, *piece).await?);
    }
    Some(chunks)
}

const FULL_RETRY_INTERVAL: Duration = Duration::from_secs(5);
/// Octets of the original that a report returns: with them it fits the small segments here.
const MAX_COPY: usize = 3_000;
