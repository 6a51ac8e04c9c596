//! Control's ends of the channels to the shards. `main` makes the channels and holds both ends.
//!
//! The shards name the same channels on their side; neither crate knows the other, only the types
//! of `core` that cross.

use async_channel::{Receiver, Sender};
use ringpost_core::{
    event::Stamped,
    lookup::{Answer, Question},
};

/// A question with the slot its answer goes into, which has room for one.
pub type Ask = (Question, Sender<Answer>);

/// What comes from all shards.
#[derive(Clone, Debug)]
pub struct Bridge {
    /// For the resolver.
    pub questions: Receiver<Ask>,
    /// For the folds, in batches; those of one shard in order.
    pub events: Receiver<Vec<Stamped>>,
}
