//! The gateway under test: the product's machines, driven as the shards drive them.
//!
//! The drivers mirror `shard/src` function by function, with virtual time in the place of glommio;
//! TLS and policy are left out, for they do not touch what is simulated here.

mod home;
mod inbound;
mod outbound;
mod queue;
mod reclaim;
mod report;
mod store;

use std::{
    cell::Cell,
    rc::{Rc, Weak},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use ringpost_core::{
    event::{Event, Failure},
    id::{Dcid, Icid, Mid, Rids},
    spool::{
        Piece,
        log::{Log, State},
        record::Accepted,
        recover::{Recovered, Recovery},
        segment::Limits,
    },
    time::{Date, Time},
};

use self::{home::Home, queue::Queue, store::Store};
use crate::{
    network::{Channel, End},
    tasks::Owner,
    world::Surroundings,
};

/// What is wrong with the gateway, to see that the world notices.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Defect {
    None,
    /// It says 250 when the content is written, before the sync.
    AcknowledgesWhenWritten,
    /// It takes a connection that was lost after the final dot for a delivery.
    BelievesLostConnections,
    /// It gives a report of non-delivery up when the spool has no room for it.
    GivesUpReports,
    /// It forgets an outcome when the spool has no room for it.
    ForgetsOutcomesWhenFull,
    /// It reads copied messages from where they were before.
    ReadsOldPlaces,
}

/// One life of the process.
pub(crate) struct Gateway {
    around: Rc<Surroundings>,
    shards: Vec<Rc<Shard>>,
    stores: Vec<Rc<Store>>,
}

/// What the tasks of a shard share.
struct Shard {
    number: u16,
    shards: u16,
    around: Rc<Surroundings>,
    store: Rc<Store>,
    queue: Queue,
    home: Home,
    mesh: Rc<Vec<Channel<Handover>>>,
    is_reclaiming: Cell<bool>,
}

/// What one shard tells another.
enum Handover {
    Deliver(Assignment),
    Settle(Settled),
    /// The message was copied forward and lies here now.
    Moved(Arc<Queued>),
}

/// A durable message.
struct Queued {
    mid: Mid,
    owner: u16,
    accepted: Accepted,
    started: Time,
    /// The header block, then the rest.
    pieces: Vec<Piece>,
    /// The whole content, if it is still in memory.
    memory: Option<Vec<Bytes>>,
}

struct Assignment {
    message: Arc<Queued>,
    domain: Arc<str>,
    rids: Rids,
    attempts: u32,
    not_before: Option<Date>,
}

struct Settled {
    mid: Mid,
    rids: Rids,
    fate: Fate,
}

enum Fate {
    Delivered,
    Bounced(Box<Failure>),
    Deferred { until: Date, attempts: u32 },
}

impl Gateway {
    /// Recovers the spool and takes mail with this number of shards.
    pub(crate) fn start(around: &Rc<Surroundings>, shards: u16) -> Self {
        let mut recovered = recover(around);
        let mesh: Rc<Vec<_>> = Rc::new((0..shards).map(|_| Channel::new()).collect());
        let mut gateway =
            Self { around: Rc::clone(around), shards: Vec::new(), stores: Vec::new() };
        for number in 0..shards {
            let resume = recovered.resume(number);
            let store = gateway.open(number, Log::resume(resume, around.salt(), LIMITS));
            let shard = Rc::new(Shard {
                number,
                shards,
                around: Rc::clone(around),
                store,
                queue: Queue::default(),
                home: Home::new(),
                mesh: Rc::clone(&mesh),
                is_reclaiming: Cell::new(false),
            });
            around.tasks.spawn(Owner::Gateway, hand_over(Rc::downgrade(&shard)));
            gateway.shards.push(shard);
        }
        gateway.adopt_orphans(&mut recovered);
        gateway.take_over(recovered);
        gateway
    }

    /// A client has connected.
    pub(crate) fn accept(&self, end: End) {
        let shard = &self.shards[self.around.tasks.below(self.shards.len())];
        let icid = Icid(self.around.number());
        self.around.tasks.spawn(Owner::Gateway, inbound::serve(Rc::clone(shard), icid, end));
    }

    /// The process ends in the middle of everything, perhaps with the power.
    pub(crate) fn crash(self) {
        let Self { around, shards, stores } = self;
        around.tasks.end(Owner::Gateway);
        for store in stores {
            store.crash();
        }
        drop(shards);
        let loses_power = around.tasks.chance(2, 3);
        if loses_power {
            around.tasks.with_random(|random| around.disk.borrow_mut().lose_power(random));
        }
        around.ledger.borrow_mut().crashed(loses_power);
    }

    pub(crate) fn has_failed_disk(&self) -> bool {
        self.stores.iter().any(|store| store.state() == State::Failed)
    }

    /// What is left when everything has come to rest, if it should not be.
    pub(crate) fn remains(&self) -> Option<String> {
        for shard in &self.shards {
            if shard.queue.len() > 0 {
                return Some(format!("shard {} owns {} messages", shard.number, shard.queue.len()));
            }
            if let Some(remains) = shard.home.remains() {
                return Some(format!("shard {}: {remains}", shard.number));
            }
        }
        let mut kept = self.stores.iter().filter_map(|store| store.remains());
        kept.next()
    }

    fn open(&mut self, number: u16, log: Log) -> Rc<Store> {
        let store = Store::open(&self.around, number, log);
        self.stores.push(Rc::clone(&store));
        store
    }

    /// Logs of shards that no longer exist: resumed while they hold anything, then removed.
    fn adopt_orphans(&mut self, recovered: &mut Recovered) {
        let orphans: Vec<u16> = recovered.logs().collect();
        let mut empty = Vec::new();
        for log in orphans {
            let resume = recovered.resume(log);
            if resume.is_empty() {
                empty.push(log);
            } else {
                self.open(log, Log::resume(resume, self.around.salt(), LIMITS));
            }
        }
        if empty.is_empty() {
            return;
        }
        let (around, store) = (Rc::clone(&self.around), Rc::clone(&self.shards[0].store));
        self.around.tasks.spawn(Owner::Gateway, async move {
            if store.begun().await {
                for log in empty {
                    remove_directory(&around, log).await;
                }
            }
        });
    }

    fn take_over(&self, recovered: Recovered) {
        let shards = self.shards.len();
        let highest = recovered.highest;
        assert!(highest <= Mid(self.around.last_number()), "no MID is made up");
        for found in recovered.messages {
            let shard = &self.shards[usize::from(found.log) % shards];
            let store = self.stores.iter().find(|store| store.number == found.log);
            let store = Rc::clone(store.expect("messages come with their log"));
            let mut waiting: Vec<queue::Waiting> = Vec::new();
            for one in found.remaining {
                match waiting.iter_mut().find(|group| group.not_before == one.not_before) {
                    Some(group) => group.rids.push(one.rid),
                    None => waiting.push(queue::Waiting {
                        rids: std::iter::once(one.rid).collect(),
                        attempts: one.attempts,
                        not_before: one.not_before,
                    }),
                }
            }
            let recipients = waiting.iter().map(|group| group.rids.len()).sum::<usize>();
            shard.say(Event::MessageRecovered {
                mid: found.mid,
                sender: found.accepted.envelope.reverse_path.clone(),
                recipients: u32::try_from(recipients).expect("few"),
            });
            let mut pieces = vec![found.header];
            pieces.extend(found.body);
            let message = Arc::new(Queued {
                mid: found.mid,
                owner: shard.number,
                accepted: found.accepted,
                started: self.around.tasks.now(),
                pieces,
                memory: None,
            });
            queue::admit(shard, message, store, &waiting);
        }
    }
}

impl Shard {
    fn now(&self) -> Time {
        self.around.tasks.now()
    }

    fn say(&self, event: Event) {
        self.around.ledger.borrow_mut().happened(&event);
    }

    fn say_all(&self, events: &mut Vec<Event>) {
        events.drain(..).for_each(|event| self.say(event));
    }

    fn next_mid(&self) -> Mid {
        Mid(self.around.number())
    }

    fn next_dcid(&self) -> Dcid {
        Dcid(self.around.number())
    }

    fn send(&self, shard: u16, handover: Handover) {
        self.around.ledger.borrow_mut().totals.handovers += 1;
        self.mesh[usize::from(shard)].send(&self.around.tasks, handover, SLOWEST_HANDOVER);
    }

    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.around.tasks.spawn(Owner::Gateway, task);
    }
}

impl Queued {
    fn size(&self) -> u64 {
        self.pieces.iter().map(|piece| u64::from(piece.length)).sum()
    }

    fn at(&self, pieces: Vec<Piece>) -> Self {
        let accepted = self.accepted.clone();
        Self { accepted, pieces, memory: None, ..*self }
    }

    fn runs(&self) -> usize {
        self.memory.as_ref().map_or(self.pieces.len(), Vec::len)
    }

    /// One run of the content, from memory or from the spool.
    async fn run(&self, index: usize, around: &Surroundings) -> Option<Bytes> {
        match &self.memory {
            Some(chunks) => Some(chunks[index].clone()),
            None => store::read(around, self.pieces[index]).await,
        }
    }
}

async fn hand_over(shard: Weak<Shard>) {
    loop {
        let Some(strong) = shard.upgrade() else {
            return;
        };
        let (mesh, number) = (Rc::clone(&strong.mesh), usize::from(strong.number));
        let tasks = strong.around.tasks.clone();
        drop(strong);
        mesh[number].wait().await;
        let handover = mesh[number].receive(&tasks).await;
        let Some(shard) = shard.upgrade() else { return };
        match handover.expect("something was on its way") {
            Handover::Deliver(assignment) => home::take_over(&shard, assignment),
            Handover::Settle(settled) => queue::settle(&shard, settled),
            Handover::Moved(message) => shard.home.moved(&message),
        }
    }
}

/// Folds the whole spool. Each file is synced before it is read, as the contract wants.
fn recover(around: &Surroundings) -> Recovered {
    let mut recovery = Recovery::new();
    let mut disk = around.disk.borrow_mut();
    for (log, segment) in disk.names() {
        disk.sync(log, segment);
        recovery.segment(log, segment);
        disk.octets(log, segment).chunks(4_096).for_each(|block| recovery.block(block));
    }
    let recovered = recovery.finish();
    let messages = recovered.messages.len() as u64;
    around.ledger.borrow_mut().totals.recovered += messages;
    recovered
}

/// Oldest first: a finish must not go before the message it finishes.
async fn remove_directory(around: &Surroundings, log: u16) {
    let names = around.disk.borrow().names();
    for (_, segment) in names.into_iter().filter(|&(other, _)| other == log) {
        around.disk.borrow_mut().remove(log, segment);
        around.tasks.sleep(Duration::from_millis(1)).await;
    }
}

const LIMITS: Limits =
    Limits { segment_size: 24_576, max_segments: 8, max_pending: 20_000, max_dead: 0 };
const SLOWEST_HANDOVER: Duration = Duration::from_millis(100);
