//! Reads the content of queued mail back from the spool, verifying every octet.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    io,
    path::PathBuf,
    rc::{Rc, Weak},
    time::{Duration, Instant},
};

use bytes::Bytes;
use glommio::{io::DmaFile, timer::sleep};
use ringpost_core::spool::Piece;

use crate::disk::segment_name;

/// Read access to the logs of all shards.
pub(crate) struct Store {
    spool: PathBuf,
    /// The files read last, newest first. Segments are never written twice in the same place. One
    /// that has been removed takes up its space for as long as it is open here: this shard's logs
    /// say so when they remove one, those of other shards are closed when they fall idle.
    open: RefCell<VecDeque<Open>>,
    /// Whether a task looks for idle files; none runs while no file is open.
    is_watching: Cell<bool>,
}

struct Open {
    log: u16,
    segment: u64,
    file: Rc<DmaFile>,
    used: Instant,
}

impl Store {
    pub(crate) fn new(spool: PathBuf) -> Rc<Self> {
        Rc::new(Self { spool, open: RefCell::default(), is_watching: Cell::new(false) })
    }

    /// The directory of a log.
    pub(crate) fn folder(&self, log: u16) -> PathBuf {
        log_folder(&self.spool, log)
    }

    /// Closes a segment that has been removed, so that the file system can have its space back.
    pub(crate) fn forget(&self, log: u16, segment: u64) {
        self.open.borrow_mut().retain(|open| (open.log, open.segment) != (log, segment));
        self.close_idle(Instant::now());
    }

    /// The octets of `piece`; an error if they are not those that were written.
    pub(crate) async fn read(self: &Rc<Self>, piece: Piece) -> io::Result<Bytes> {
        if piece.length == 0 {
            return Ok(Bytes::new());
        }
        if !self.is_watching.replace(true) {
            glommio::spawn_local(watch(Rc::downgrade(self))).detach();
        }
        let file = self.file(piece.log, piece.segment).await?;
        let octets =
            file.read_at(piece.offset, piece.length as usize).await.map_err(io::Error::from)?;
        if piece.verifies(&octets) {
            Ok(Bytes::copy_from_slice(&octets))
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidData, "the spool's checksum does not match"))
        }
    }

    async fn file(&self, log: u16, segment: u64) -> io::Result<Rc<DmaFile>> {
        if let Some(file) = self.touch(log, segment) {
            return Ok(file);
        }
        let path = self.folder(log).join(segment_name(segment));
        let file = Rc::new(DmaFile::open(path).await.map_err(io::Error::from)?);
        // Another reader may have opened it meanwhile.
        if let Some(file) = self.touch(log, segment) {
            return Ok(file);
        }
        let used = Instant::now();
        let mut open = self.open.borrow_mut();
        open.push_front(Open { log, segment, file: Rc::clone(&file), used });
        open.truncate(OPEN_FILES_MAX);
        Ok(file)
    }

    /// An open file, which becomes the one read last.
    fn touch(&self, log: u16, segment: u64) -> Option<Rc<DmaFile>> {
        let now = Instant::now();
        self.close_idle(now);
        let mut open = self.open.borrow_mut();
        let index = open.iter().position(|open| (open.log, open.segment) == (log, segment))?;
        let mut touched = open.remove(index)?;
        touched.used = now;
        let file = Rc::clone(&touched.file);
        open.push_front(touched);
        Some(file)
    }

    /// Closes the files that nobody has read for long. They stand at the end.
    fn close_idle(&self, now: Instant) {
        let mut open = self.open.borrow_mut();
        while open.back().is_some_and(|it| now.duration_since(it.used) >= OPEN_IDLE_MAX) {
            open.pop_back();
        }
    }
}

/// Closes files as they fall idle, until none is open: a shard that reads nothing any more must not
/// keep the space of what another shard has removed.
async fn watch(store: Weak<Store>) {
    loop {
        sleep(OPEN_IDLE_MAX).await;
        let Some(store) = store.upgrade() else { return };
        store.close_idle(Instant::now());
        if store.open.borrow().is_empty() {
            store.is_watching.set(false);
            return;
        }
    }
}

/// The directory of a log.
pub(crate) fn log_folder(spool: &std::path::Path, log: u16) -> PathBuf {
    spool.join(format!("{log:05}"))
}

/// The number of the log in a directory of this name; none for any other directory.
pub(crate) fn log_number(name: &str) -> Option<u16> {
    let is_ours = name.len() == 5 && name.bytes().all(|octet| octet.is_ascii_digit());
    is_ours.then(|| name.parse().ok()).flatten()
}

/// Files kept open; beyond it the one read longest ago is closed.
const OPEN_FILES_MAX: usize = 16;
/// How long a file stays open that nobody reads.
const OPEN_IDLE_MAX: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use std::fs;

    use glommio::LocalExecutorBuilder;

    use super::*;

    fn is_open(store: &Store, segment: u64) -> bool {
        store.open.borrow().iter().any(|open| open.segment == segment)
    }

    #[test]
    fn the_file_read_longest_ago_is_closed_and_so_are_removed_and_idle_ones() {
        let spool = std::env::temp_dir().join(format!("ringpost-store-{}", std::process::id()));
        let store = Store::new(spool.clone());
        fs::create_dir_all(store.folder(3)).expect("a directory");
        let last = OPEN_FILES_MAX as u64;
        for segment in 0..=last {
            let path = store.folder(3).join(segment_name(segment));
            fs::write(path, [0; 4096]).expect("written");
        }
        let executor = LocalExecutorBuilder::default().make().expect("a ring");
        executor.run(async {
            for segment in 0..last {
                store.file(3, segment).await.expect("opened");
            }
            store.file(3, 0).await.expect("open");
            store.file(3, last).await.expect("opened");
            assert_eq!(store.open.borrow().len(), OPEN_FILES_MAX);
            assert!(is_open(&store, 0) && is_open(&store, last) && !is_open(&store, 1));
            store.forget(3, last);
            assert!(!is_open(&store, last) && is_open(&store, 0));
            store.close_idle(Instant::now() + OPEN_IDLE_MAX);
            assert!(store.open.borrow().is_empty());
        });
        fs::remove_dir_all(&spool).expect("removed");
    }

    #[test]
    fn logs_are_known_by_their_names_and_nothing_else_is() {
        assert_eq!(log_number("00007"), Some(7));
        for name in ["7", "+0007", "000007", "lost+found", "99999"] {
            assert_eq!(log_number(name), None, "{name}");
        }
    }
}
