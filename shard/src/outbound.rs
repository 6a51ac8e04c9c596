//! Drives one delivery connection: find the next hop, connect, carry what the schedule gives.

mod link;

use std::{future::poll_fn, rc::Rc, sync::Arc, task::Poll};

use ringpost_core::{
    event::{Event, Failure, RouteFailure, Status},
    id::{Dcid, Rids},
    smtp::client::{Delivery, Outcome, Step},
    time::Time,
};
use ringpost_delivery::{
    outcome::route_failed,
    route::{self, Hop, Resolution},
    schedule::{Item, Lease, Take},
};

use self::link::Link;
use crate::{home::Results, message::Queued, shard::Shard};

/// Where the mail of a destination goes.
enum Way {
    Hops(Vec<Hop>),
    Discard,
    /// Nowhere, ever: the recipients bounce.
    Nowhere(Failure),
    /// Nowhere for now: the destination rests.
    Unknown,
}

/// Carries mail to the lease's destination until the schedule wants no more of the connection.
pub(crate) async fn run(shard: Rc<Shard>, lease: Lease) {
    let domain = Arc::clone(lease.domain());
    match find_way(&shard, &domain).await {
        Way::Hops(hops) => {
            for hop in &hops {
                // The next connection would outlive the drain, and the mail is in the spool.
                if shard.is_draining.get() {
                    return shard.home.closed(&shard, lease);
                }
                if let Some(link) = Link::open(&shard, &domain, hop).await {
                    return carry(&shard, lease, link).await;
                }
            }
            shard.home.unreachable(&shard, lease);
        }
        Way::Unknown => shard.home.unreachable(&shard, lease),
        Way::Discard => conclude(&shard, lease, None).await,
        Way::Nowhere(failure) => conclude(&shard, lease, Some(&failure)).await,
    }
}

async fn find_way(shard: &Rc<Shard>, domain: &Arc<str>) -> Way {
    let snapshot = shard.snapshot();
    let preference = snapshot.destinations.find(domain).ip_preference;
    let own = [Arc::clone(&snapshot.hostname)].into();
    let rotation = shard.home.rotation();
    let mut resolution = Resolution::new(domain, &snapshot.routes, preference, own, rotation);
    loop {
        match resolution.step() {
            route::Step::Ask(question) => resolution.answer(shard.ask(question).await),
            route::Step::Hops(hops) => return Way::Hops(hops),
            route::Step::Discard => return Way::Discard,
            route::Step::Failed(failure) => {
                let domain = Arc::clone(domain);
                let bounce = route_failed(&domain, &failure);
                let is_passing = matches!(failure, RouteFailure::Unavailable(_));
                shard.say(Event::RouteFailed { domain, failure });
                return if is_passing { Way::Unknown } else { Way::Nowhere(bounce) };
            }
        }
    }
}

/// Ends everything that waits for a destination without a next hop: delivered if it is discarded,
/// failed otherwise.
async fn conclude(shard: &Rc<Shard>, mut lease: Lease, failure: Option<&Failure>) {
    let mut concluded = 0_usize;
    while let Take::Item(item) = shard.home.take(shard, &mut lease) {
        let rids = item.rids.clone();
        let (delivered, failed) = match failure {
            None => (rids, Vec::new()),
            Some(failure) => (Rids::new(), vec![(rids, failure.clone())]),
        };
        if failure.is_none() {
            say_discarded(shard, &item);
        }
        let results = Results { dcid: None, delivered, failed };
        shard.home.settle(shard, &mut lease, &item, true, results);
        concluded += 1;
        if concluded.is_multiple_of(TURN) {
            // A whole queue at once would hold up every other connection of the shard.
            glommio::yield_if_needed().await;
        }
    }
    shard.home.closed(shard, lease);
}

fn say_discarded(shard: &Shard, item: &Item) {
    shard.say(Event::RecipientsDelivered {
        dcid: Dcid(0),
        mid: item.mid,
        rids: item.rids.clone(),
        response: "/dev/null".into(),
        took: std::time::Duration::ZERO,
    });
}

async fn carry(shard: &Rc<Shard>, mut lease: Lease, mut link: Link) {
    loop {
        match shard.home.take(shard, &mut lease) {
            Take::Item(item) => {
                let outcome = deliver(shard, &mut link, &item).await;
                let is_reusable = outcome.reusable;
                let results = Results {
                    dcid: Some(link.dcid),
                    delivered: outcome.delivered,
                    failed: outcome.failed,
                };
                let completed = is_reusable;
                shard.home.settle(shard, &mut lease, &item, completed, results);
                if !is_reusable || !link.until_ready().await {
                    break;
                }
            }
            Take::Wait(until) => {
                if !rest(shard, &mut link, &lease, until).await {
                    break;
                }
            }
            Take::Close => {
                link.quit().await;
                break;
            }
        }
    }
    link.close().await;
    shard.home.closed(shard, lease);
}

/// Waits for the schedule to resume the connection. False if the peer ended it meanwhile.
async fn rest(shard: &Rc<Shard>, link: &mut Link, lease: &Lease, until: Time) -> bool {
    let connection = lease.connection();
    let resumed = poll_fn(|cx| {
        if shard.home.is_waiting(connection) {
            // Woken by something else, or for the first time: wait on.
            shard.home.await_resume(connection, cx.waker());
            return Poll::Pending;
        }
        Poll::Ready(())
    });
    let is_up = link.idle(resumed, until).await;
    shard.home.stop_waiting(connection);
    is_up
}

/// One transaction.
async fn deliver(shard: &Rc<Shard>, link: &mut Link, item: &Item) -> Outcome {
    let message = shard.home.held.message(item.mid);
    let started = shard.clock.now();
    shard.say(Event::DeliveryStarted {
        dcid: link.dcid,
        mid: item.mid,
        rids: item.rids.clone(),
        waited: started.since(message.started),
    });
    let envelope = &message.accepted.envelope;
    let delivery = Delivery {
        envelope: Arc::clone(envelope),
        rids: item.rids.clone(),
        size: message.size(),
        eight_bit: message.accepted.eight_bit,
        smtputf8: envelope.smtputf8,
    };
    link.client.deliver(delivery, started);
    let outcome = transact(shard, link, &message, item).await;
    if !outcome.delivered.is_empty() {
        shard.say(Event::RecipientsDelivered {
            dcid: link.dcid,
            mid: item.mid,
            rids: outcome.delivered.clone(),
            response: Arc::clone(&outcome.response),
            took: shard.clock.now().since(started),
        });
    }
    outcome
}

async fn transact(shard: &Rc<Shard>, link: &mut Link, message: &Queued, item: &Item) -> Outcome {
    let (mut next, runs) = (0, message.runs());
    loop {
        match link.client.step(shard.clock.now()) {
            Step::Receive => link.receive().await,
            Step::Content => {
                let Ok(run) = message.run(next, &shard.store).await else {
                    return unreadable(item);
                };
                next += 1;
                link.client.content(&run, next == runs);
                if link.client.output.len() >= FLUSH_SIZE {
                    link.flush().await;
                    // A next hop that takes all at once never makes us wait.
                    glommio::yield_if_needed().await;
                }
            }
            Step::Outcome(outcome) => return outcome,
            Step::Failed(failure) => {
                return Outcome { failed: vec![(item.rids.clone(), failure)], ..unreadable(item) };
            }
            Step::Ready | Step::StartTls | Step::Close => {
                unreachable!("a transaction ends with its outcome")
            }
        }
    }
}

/// The content could not be read back, or is not what was written. The connection must be broken
/// off: half a message would be taken for a whole one. The mail stays, and is tried again.
fn unreadable(item: &Item) -> Outcome {
    let failure = Failure {
        status: Status::new(4, 3, 0),
        reply: None,
        diagnostic: "The message could not be read from the spool".into(),
        remote: Arc::default(),
    };
    Outcome {
        delivered: Rids::new(),
        response: Arc::default(),
        failed: vec![(item.rids.clone(), failure)],
        reusable: false,
        ambiguous: false,
    }
}

/// Items concluded before others may have their turn.
const TURN: usize = 64;
/// Content gathered before it is sent: one TLS flight, a few segments.
const FLUSH_SIZE: usize = 64 * 1024;
