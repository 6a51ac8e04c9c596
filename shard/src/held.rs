//! The messages a home has assignments of.
//!
//! The schedule knows messages by their numbers only; here is what the numbers stand for, for as
//! long as any assignment of the message is at this home.

use std::{cell::RefCell, collections::HashMap, sync::Arc};

use ringpost_core::id::Mid;

use crate::message::Queued;

/// The messages of one home.
#[derive(Default)]
pub(crate) struct Held {
    messages: RefCell<HashMap<Mid, Message>>,
}

struct Message {
    message: Arc<Queued>,
    /// Assignments of this message that are here: one a domain.
    uses: u32,
}

impl Held {
    /// Keeps the message for one more assignment.
    pub(crate) fn hold(&self, message: Arc<Queued>) {
        let mut messages = self.messages.borrow_mut();
        messages.entry(message.mid).or_insert(Message { message, uses: 0 }).uses += 1;
    }

    /// Lets go of the message for one assignment.
    pub(crate) fn release(&self, mid: Mid) {
        let mut messages = self.messages.borrow_mut();
        let entry = messages.get_mut(&mid).expect("what is scheduled is held");
        entry.uses -= 1;
        if entry.uses == 0 {
            messages.remove(&mid);
        }
    }

    pub(crate) fn message(&self, mid: Mid) -> Arc<Queued> {
        let messages = self.messages.borrow();
        Arc::clone(&messages.get(&mid).expect("what is scheduled is held").message)
    }

    /// The message was copied forward: its old place will soon be gone.
    pub(crate) fn moved(&self, message: Arc<Queued>) {
        if let Some(held) = self.messages.borrow_mut().get_mut(&message.mid) {
            held.message = message;
        }
    }

    /// Mail that waits for a retry does not wait in memory.
    pub(crate) fn put_on_disk(&self, mid: Mid) {
        if let Some(held) = self.messages.borrow_mut().get_mut(&mid)
            && held.message.memory.is_some()
        {
            held.message = Arc::new(held.message.on_disk());
        }
    }
}
