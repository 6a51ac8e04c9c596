//! One shard: everything one core owns.

use std::{
    cell::{Cell, RefCell},
    rc::{Rc, Weak},
    sync::Arc,
    time::Duration,
};

use async_channel::Sender;
use glommio::timer::sleep;
use ringpost_config::Snapshot;
use ringpost_core::{
    event::Event,
    id::{Block, Dcid, Icid, Mid, Sequence},
    lookup::{Answer, Question},
    report::Report,
    spool::log::State,
};
use ringpost_policy::rate::Connections;
use rustls::ServerConfig;

use crate::{
    bridge::{Ask, Voice, ask},
    clock::{Alarm, Clock},
    content::Store,
    disk::Disk,
    home::Home,
    mesh::Mesh,
    message::Budget,
    places::Places,
    queue::Queue,
    reclaim,
    tls::{Clients, Roots},
};

/// What the tasks of a shard share.
pub(crate) struct Shard {
    pub(crate) number: u16,
    pub(crate) clock: Rc<Clock>,
    pub(crate) voice: Rc<Voice>,
    pub(crate) mesh: Rc<Mesh>,
    /// The log of this shard: where new mail goes.
    pub(crate) disk: Rc<Disk>,
    pub(crate) store: Rc<Store>,
    pub(crate) budget: Arc<Budget>,
    pub(crate) queue: Queue,
    pub(crate) home: Home,
    pub(crate) connections: Arc<Connections>,
    pub(crate) places: Arc<Places>,
    pub(crate) identity: Arc<ServerConfig>,
    pub(crate) clients: Clients,
    pub(crate) connections_in: Cell<u64>,
    pub(crate) is_draining: Cell<bool>,
    snapshot: RefCell<Arc<Snapshot>>,
    questions: Sender<Ask>,
    numbers: Numbers,
    blocks: Blocks,
    /// What wakes the conversations that a drain must interrupt.
    conversations: RefCell<Vec<Weak<Alarm>>>,
    is_reclaiming: Cell<bool>,
}

/// The sequences of numbers that all shards draw from; reserving them is control's work.
#[derive(Clone)]
pub struct Numbers {
    /// Of client connections.
    pub icid: Arc<Sequence>,
    /// Of messages.
    pub mid: Arc<Sequence>,
    /// Of delivery connections.
    pub dcid: Arc<Sequence>,
}

#[derive(Default)]
struct Blocks {
    icid: Cell<Block>,
    dcid: Cell<Block>,
    mid: Cell<Block>,
}

/// What a shard is made of that others made.
pub(crate) struct Parts {
    pub(crate) number: u16,
    pub(crate) clock: Rc<Clock>,
    pub(crate) voice: Rc<Voice>,
    pub(crate) mesh: Rc<Mesh>,
    pub(crate) disk: Rc<Disk>,
    pub(crate) store: Rc<Store>,
    pub(crate) home: Home,
    pub(crate) connections: Arc<Connections>,
    pub(crate) places: Arc<Places>,
    pub(crate) identity: Arc<ServerConfig>,
    pub(crate) roots: Roots,
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) questions: Sender<Ask>,
    pub(crate) numbers: Numbers,
}

impl Shard {
    pub(crate) fn new(parts: Parts) -> Rc<Self> {
        Rc::new(Self {
            number: parts.number,
            clock: parts.clock,
            voice: parts.voice,
            mesh: parts.mesh,
            disk: parts.disk,
            store: parts.store,
            budget: Budget::new(CONTENT_MEMORY_MAX),
            queue: Queue::new(),
            home: parts.home,
            connections: parts.connections,
            places: parts.places,
            identity: parts.identity,
            clients: Clients::new(&parts.roots),
            connections_in: Cell::new(0),
            is_draining: Cell::new(false),
            snapshot: RefCell::new(parts.snapshot),
            questions: parts.questions,
            numbers: parts.numbers,
            blocks: Blocks::default(),
            conversations: RefCell::default(),
            is_reclaiming: Cell::new(false),
        })
    }

    /// The configuration for what begins now.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshot.borrow())
    }

    pub(crate) fn adopt(&self, snapshot: Arc<Snapshot>) {
        self.snapshot.replace(snapshot);
    }

    pub(crate) async fn ask(&self, question: Question) -> Answer {
        ask(&self.questions, question).await
    }

    pub(crate) fn say(&self, event: Event) {
        self.voice.say(event);
    }

    pub(crate) async fn next_icid(&self) -> Icid {
        Icid(draw(&self.blocks.icid, &self.numbers.icid).await)
    }

    pub(crate) async fn next_dcid(&self) -> Dcid {
        Dcid(draw(&self.blocks.dcid, &self.numbers.dcid).await)
    }

    pub(crate) async fn next_mid(&self) -> Mid {
        Mid(draw(&self.blocks.mid, &self.numbers.mid).await)
    }

    /// An alarm that a drain rings, so that a conversation that waits for its client ends.
    pub(crate) fn conversation(&self) -> Rc<Alarm> {
        let alarm = self.clock.alarm();
        let mut conversations = self.conversations.borrow_mut();
        if conversations.len() == conversations.capacity() {
            conversations.retain(|alarm| alarm.strong_count() > 0);
        }
        conversations.push(Rc::downgrade(&alarm));
        alarm
    }

    /// Takes no new mail from here on: conversations end at their next pause.
    pub(crate) fn drain(&self) {
        self.is_draining.set(true);
        self.home.drain();
        for alarm in self.conversations.take() {
            if let Some(alarm) = alarm.upgrade() {
                alarm.ring();
            }
        }
    }

    /// Whether everything under way when the drain began is done. Mail that waits stays in the
    /// spool.
    pub(crate) fn is_drained(&self) -> bool {
        self.connections_in.get() == 0 && self.home.is_quiet() && !self.queue.is_reporting()
    }

    /// Copies long-lived messages forward if they hold too many old segments.
    pub(crate) fn reclaim(self: &Rc<Self>, disk: &Rc<Disk>) {
        // The cheap question first: the log may have to look through all it holds.
        if self.is_reclaiming.get() || disk.reclaim().is_none() {
            return;
        }
        self.is_reclaiming.set(true);
        let (shard, disk) = (Rc::clone(self), Rc::clone(disk));
        glommio::spawn_local(async move {
            reclaim::run(&shard, &disk).await;
            shard.is_reclaiming.set(false);
        })
        .detach();
    }

    pub(crate) fn report(&self) -> Report {
        let spool = match self.disk.state() {
            State::Healthy => None,
            State::Full => Some("full".into()),
            State::Failed => Some("failed".into()),
        };
        let home = self.home.counts();
        Report {
            shard: self.number,
            connections_in: self.connections_in.get(),
            connections_out: home.connections,
            messages_queued: self.queue.len() as u64,
            recipients_active: home.recipients,
            destinations: home.destinations,
            content_bytes: self.budget.used(),
            segments: self.disk.segments() as u64,
            spool,
        }
    }
}

/// The next number. Waits while none is reserved: control may be slow, but a number must never come
/// twice.
async fn draw(cell: &Cell<Block>, sequence: &Sequence) -> u64 {
    loop {
        let mut block = cell.get();
        if let Some(number) = block.draw() {
            cell.set(block);
            return number;
        }
        match sequence.draw() {
            Some(block) => cell.set(block),
            None => sleep(RESERVATION_INTERVAL).await,
        }
    }
}

/// How often a shard without numbers looks whether some have been reserved.
const RESERVATION_INTERVAL: Duration = Duration::from_millis(1);
/// Content of queued mail a shard keeps in memory; beyond it delivery reads from the spool.
const CONTENT_MEMORY_MAX: u64 = 64 << 20;
