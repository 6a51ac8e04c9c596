//! Drives one delivery connection; mirrors `shard/src/outbound.rs`.

use std::{future::poll_fn, io, mem::take, net::IpAddr, rc::Rc, sync::Arc, task::Poll};

use ringpost_core::{
    event::{Event, Failure, RouteFailure, Status},
    id::{Dcid, Rids},
    smtp::client::{Client, Delivery, Outcome, Settings, Step, Timeouts, TlsNeed},
    time::Time,
};
use ringpost_delivery::{
    destination::IpPreference,
    outcome::route_failed,
    route::{self, Hop, Resolution, Routes},
    schedule::{Item, Lease, Take},
};

use super::{Defect, Queued, Shard, home, home::Results};
use crate::peers::{self, Line};

enum Way {
    Hops(Vec<Hop>),
    Nowhere(Failure),
    Unknown,
}

/// A delivery connection.
struct Link {
    dcid: Dcid,
    client: Client,
    shard: Rc<Shard>,
    line: Line,
}

/// Carries mail to the lease's destination until the schedule wants no more of the connection.
pub(super) async fn run(shard: Rc<Shard>, lease: Lease) {
    let domain = Arc::clone(lease.domain());
    match find_way(&shard, &domain).await {
        Way::Hops(hops) => {
            for hop in &hops {
                if let Some(link) = Link::open(&shard, &domain, hop).await {
                    return carry(&shard, lease, link).await;
                }
            }
            home::unreachable(&shard, lease);
        }
        Way::Unknown => home::unreachable(&shard, lease),
        Way::Nowhere(failure) => conclude(&shard, lease, &failure),
    }
}

async fn find_way(shard: &Rc<Shard>, domain: &Arc<str>) -> Way {
    let own = [Arc::from("gateway.example")].into();
    let routes = Routes::new(Vec::new()).expect("no routes are no trouble");
    let rotation = shard.around.tasks.draw();
    let preference = IpPreference::Ipv4Preferred;
    let mut resolution = Resolution::new(domain, &routes, preference, own, rotation);
    loop {
        match resolution.step() {
            route::Step::Ask(question) => resolution.answer(shard.around.ask(&question).await),
            route::Step::Hops(hops) => return Way::Hops(hops),
            route::Step::Discard => unreachable!("no route says so"),
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

fn conclude(shard: &Rc<Shard>, mut lease: Lease, failure: &Failure) {
    while let Take::Item(item) = home::take(shard, &mut lease) {
        let failed = vec![(item.rids.clone(), failure.clone())];
        let results = Results { dcid: None, delivered: Rids::new(), failed };
        home::settle(shard, &mut lease, &item, true, results);
    }
    home::closed(shard, lease);
}

async fn carry(shard: &Rc<Shard>, mut lease: Lease, mut link: Link) {
    loop {
        match home::take(shard, &mut lease) {
            Take::Item(item) => {
                let outcome = deliver(shard, &mut link, &item).await;
                let is_reusable = outcome.reusable;
                let Outcome { delivered, failed, .. } = outcome;
                let results = Results { dcid: Some(link.dcid), delivered, failed };
                home::settle(shard, &mut lease, &item, is_reusable, results);
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
    link.close();
    home::closed(shard, lease);
}

async fn rest(shard: &Rc<Shard>, link: &mut Link, lease: &Lease, until: Time) -> bool {
    let connection = lease.connection();
    let waiting = &shard.home.idle;
    let resumed = poll_fn(|cx| {
        if let Some(waker) = waiting.borrow_mut().get_mut(&connection) {
            *waker = cx.waker().clone();
            return Poll::Pending;
        }
        Poll::Ready(())
    });
    let is_up = link.idle(resumed, until).await;
    waiting.borrow_mut().remove(&connection);
    is_up
}

async fn deliver(shard: &Rc<Shard>, link: &mut Link, item: &Item) -> Outcome {
    let message = shard.home.message(item.mid);
    let started = shard.now();
    let (dcid, mid) = (link.dcid, item.mid);
    let waited = started.since(message.started);
    shard.say(Event::DeliveryStarted { dcid, mid, rids: item.rids.clone(), waited });
    link.client.deliver(
        Delivery {
            envelope: Arc::clone(&message.accepted.envelope),
            rids: item.rids.clone(),
            size: message.size(),
            eight_bit: message.accepted.eight_bit,
            smtputf8: message.accepted.envelope.smtputf8,
        },
        started,
    );
    let mut outcome = transact(shard, link, &message, item).await;
    if outcome.ambiguous && shard.around.defect == Defect::BelievesLostConnections {
        outcome.delivered = item.rids.clone();
        outcome.failed.clear();
    }
    shard.around.ledger.borrow_mut().attempted(link.line.number(), mid, &outcome);
    if !outcome.delivered.is_empty() {
        let (rids, response) = (outcome.delivered.clone(), Arc::clone(&outcome.response));
        let took = shard.now().since(started);
        shard.say(Event::RecipientsDelivered { dcid, mid, rids, response, took });
    }
    outcome
}

async fn transact(shard: &Rc<Shard>, link: &mut Link, message: &Queued, item: &Item) -> Outcome {
    let (mut next, runs) = (0, message.runs());
    loop {
        match link.client.step(shard.now()) {
            Step::Receive => link.receive().await,
            Step::Content => {
                let mut read = message.run(next, &shard.around).await;
                if read.is_none() {
                    // It may have been copied forward since the transaction began.
                    let moved = shard.home.message(item.mid);
                    read = moved.run(next, &shard.around).await;
                }
                let Some(run) = read else {
                    shard.around.ledger.borrow_mut().unreadable(item.mid, item.rids[0]);
                    return unreadable(item);
                };
                next += 1;
                link.client.content(&run, next == runs);
                link.flush();
            }
            Step::Outcome(outcome) => return outcome,
            Step::Failed(failure) => {
                let failed = vec![(item.rids.clone(), failure)];
                return Outcome { failed, ..unreadable(item) };
            }
            Step::Ready | Step::StartTls | Step::Close => {
                unreachable!("a transaction ends with its outcome")
            }
        }
    }
}

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

impl Link {
    async fn open(shard: &Rc<Shard>, domain: &Arc<str>, hop: &Hop) -> Option<Self> {
        let line = peers::connect(&shard.around, domain, hop.address.ip()).await?;
        let dcid = shard.next_dcid();
        let local = IpAddr::from([192, 0, 2, 9]);
        let (remote, port) = (hop.address.ip(), hop.address.port());
        let took = std::time::Duration::ZERO;
        shard.say(Event::DeliveryConnectionOpened { dcid, local, remote, port, took });
        let settings = Arc::new(Settings {
            helo: "gateway.example".into(),
            tls: TlsNeed::None,
            timeouts: Timeouts::default(),
            remote: Arc::clone(&hop.name),
        });
        let client = Client::new(settings, shard.now());
        let mut link = Self { dcid, client, shard: Rc::clone(shard), line };
        if link.until_ready().await {
            return Some(link);
        }
        link.close();
        None
    }

    async fn until_ready(&mut self) -> bool {
        loop {
            match self.client.step(self.shard.now()) {
                Step::Ready => return true,
                Step::Receive => self.receive().await,
                Step::Failed(_) => {}
                _ => return false,
            }
        }
    }

    async fn receive(&mut self) {
        self.flush();
        let deadline = self.client.deadline();
        assert!(deadline < Time::NEVER, "no server is waited for without end");
        let received = self.shard.around.tasks.within(deadline, self.line.receive()).await;
        match received {
            Some(received) => self.take_in(received),
            None => self.client.timed_out(self.shard.now()),
        }
    }

    fn take_in(&mut self, received: io::Result<Vec<u8>>) {
        match received {
            Ok(octets) if octets.is_empty() => self.client.ended(),
            Ok(octets) => self.client.receive(&octets),
            Err(error) => self.client.broken(error.to_string().into()),
        }
    }

    fn flush(&mut self) {
        let output = take(&mut self.client.output);
        if output.is_empty() {
            return;
        }
        if let Err(error) = self.line.send(&output) {
            self.client.broken(error.to_string().into());
        }
    }

    async fn idle(&mut self, resumed: impl Future<Output = ()>, until: Time) -> bool {
        let mut resumed = std::pin::pin!(resumed);
        let speaks = {
            let mut speaks = std::pin::pin!(self.line.receive());
            let either = poll_fn(|cx| {
                if resumed.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(None);
                }
                speaks.as_mut().poll(cx).map(Some)
            });
            self.shard.around.tasks.within(until, either).await
        };
        let Some(Some(received)) = speaks else {
            return true;
        };
        self.take_in(received);
        self.until_ready().await
    }

    async fn quit(&mut self) {
        self.client.quit(self.shard.now());
        loop {
            match self.client.step(self.shard.now()) {
                Step::Receive => self.receive().await,
                Step::Failed(_) => {}
                _ => return,
            }
        }
    }

    fn close(&self) {
        self.line.close();
        self.shard.say(Event::DeliveryConnectionClosed { dcid: self.dcid });
    }
}
