//! Every crossing between the data plane and control: questions out, events out, commands in.
//!
//! All of them are bounded. Events are an audit trail and are never dropped: when control cannot
//! keep up, the shard stops reading its sockets, so mail is never faster than its own record.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use async_channel::{Receiver, Sender};
use glommio::timer::sleep;
use ringpost_config::Snapshot;
use ringpost_core::{
    event::{Event, Stamped},
    lookup::{Answer, Question},
    report::Report,
};

use crate::clock::Clock;

/// A question with the slot its answer goes into.
pub type Ask = (Question, Sender<Answer>);

/// What `main` tells a shard.
pub enum Command {
    /// Use this configuration for new connections.
    Adopt(Arc<Snapshot>),
    /// Take no new mail; finish what is under way; stop.
    Drain,
}

/// The shard's ends of the channels, made in `main`.
pub struct Bridge {
    /// To control's resolver.
    pub questions: Sender<Ask>,
    /// To control's folds, in batches.
    pub events: Sender<Vec<Stamped>>,
    /// From `main`.
    pub commands: Receiver<Command>,
    /// From control: whoever asks how things stand, and where the answer goes.
    pub inquiries: Receiver<Sender<Report>>,
}

/// Asks control a question; a control that is gone is a DNS that does not answer.
pub(crate) async fn ask(questions: &Sender<Ask>, question: Question) -> Answer {
    let (slot, answer) = async_channel::bounded(1);
    if questions.send((question, slot)).await.is_err() {
        return Answer::Unavailable("the resolver has stopped".into());
    }
    answer
        .recv()
        .await
        .unwrap_or_else(|_| Answer::Unavailable("the resolver gave no answer".into()))
}

/// Speaks events toward control: gathered for a moment, sent in batches.
pub(crate) struct Voice {
    shard: u16,
    clock: Rc<Clock>,
    pending: RefCell<Vec<Stamped>>,
    sender: Sender<Vec<Stamped>>,
    flushing: Cell<bool>,
}

impl Voice {
    pub(crate) fn new(shard: u16, clock: Rc<Clock>, sender: Sender<Vec<Stamped>>) -> Rc<Self> {
        Rc::new(Self {
            shard,
            clock,
            pending: RefCell::default(),
            sender,
            flushing: Cell::new(false),
        })
    }

    /// Notes one event; it reaches control within [`FLUSH_INTERVAL`].
    pub(crate) fn say(self: &Rc<Self>, event: Event) {
        let (time, date) = (self.clock.now(), self.clock.date());
        self.pending.borrow_mut().push(Stamped { time, date, shard: self.shard, event });
        if !self.flushing.replace(true) {
            glommio::spawn_local(Rc::clone(self).flush()).detach();
        }
    }

    /// Notes all of a machine's events, in order.
    pub(crate) fn say_all(self: &Rc<Self>, events: &mut Vec<Event>) {
        for event in events.drain(..) {
            self.say(event);
        }
    }

    /// Returns at once unless control is behind; then waits until it has caught up.
    pub(crate) async fn keep_pace(&self) {
        while self.pending.borrow().len() > BATCH_MAX {
            sleep(FLUSH_INTERVAL).await;
        }
    }

    /// Waits until everything said so far is with control.
    pub(crate) async fn hush(&self) {
        while self.flushing.get() {
            sleep(FLUSH_INTERVAL).await;
        }
    }

    async fn flush(self: Rc<Self>) {
        loop {
            sleep(FLUSH_INTERVAL).await;
            let batch = self.pending.take();
            if batch.is_empty() {
                self.flushing.set(false);
                return;
            }
            // Control outlives the shards; without it there is nobody left to tell.
            let _ = self.sender.send(batch).await;
        }
    }
}

/// How long events gather before they cross: long enough to share one wake-up, too short to see.
const FLUSH_INTERVAL: Duration = Duration::from_millis(2);
/// Events gathered on a shard before its connections wait for control.
const BATCH_MAX: usize = 65_536;
