//! How many client connections may be open: in all, and on each listener, over all shards.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use ringpost_config::{Listener, Snapshot};

/// The counts all shards share.
pub(crate) struct Places {
    max: u32,
    all: AtomicU32,
    listeners: BTreeMap<Arc<str>, AtomicU32>,
}

/// One open connection; gives its place back when it is dropped.
pub(crate) struct Place {
    places: Arc<Places>,
    listener: Arc<str>,
}

impl Places {
    pub(crate) fn new(snapshot: &Snapshot) -> Arc<Self> {
        let listeners = snapshot.listeners.iter();
        Arc::new(Self {
            max: snapshot.limits.max_connections,
            all: AtomicU32::new(0),
            listeners: listeners.map(|it| (Arc::clone(&it.name), AtomicU32::new(0))).collect(),
        })
    }

    /// A place, or none if all are taken.
    pub(crate) fn take(self: &Arc<Self>, listener: &Listener) -> Option<Place> {
        take(&self.all, self.max)?;
        let taken = self.listeners.get(&listener.name).map(|it| take(it, listener.max_connections));
        if taken == Some(None) {
            self.all.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Place { places: Arc::clone(self), listener: Arc::clone(&listener.name) })
    }
}

fn take(count: &AtomicU32, max: u32) -> Option<()> {
    let more = |count| (count < max).then_some(count + 1);
    count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok().map(|_| ())
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(count) = self.places.listeners.get(&self.listener) {
            count.fetch_sub(1, Ordering::Relaxed);
        }
        self.places.all.fetch_sub(1, Ordering::Relaxed);
    }
}
