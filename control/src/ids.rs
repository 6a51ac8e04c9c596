//! The numbers of connections and messages, which must not come again after a restart.
//!
//! Logs, tracking and the spool name everything by number, so a repeated one would join two lives.
//! A file keeps how far numbers are reserved; shards draw only below that, and a task moves it
//! ahead of them. After a crash numbers go on from the reservation; what lies between is skipped.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ringpost_core::id::{BLOCK_SIZE, Sequence};

/// The three sequences and the file that keeps their reservations.
#[derive(Debug)]
pub struct Ids {
    /// Of incoming connections.
    pub icid: Arc<Sequence>,
    /// Of messages.
    pub mid: Arc<Sequence>,
    /// Of delivery connections.
    pub dcid: Arc<Sequence>,
    path: PathBuf,
    /// Held while the file is written, which a task and its successor may want at once.
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// Reservations move ahead.
    InUse,
    /// The file says what comes next; a late reservation would only skip numbers.
    Released,
}

impl Ids {
    /// Goes on where `path` says, or begins at 1 when there is no such file.
    ///
    /// Nothing can be drawn before the first [`Ids::reserve`]: `mid` may have to skip what the
    /// spool still holds.
    ///
    /// # Errors
    /// When the file cannot be read, or is not one that we wrote. It is never begun anew then.
    pub fn open(path: &Path) -> io::Result<Self> {
        let [icid, mid, dcid] = match fs::read_to_string(path) {
            Ok(text) => parse(&text).ok_or_else(|| damaged(path))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => [1; 3],
            Err(error) => return Err(error),
        };
        let [icid, mid, dcid] = [icid, mid, dcid].map(|next| Arc::new(Sequence::new(next)));
        Ok(Self { icid, mid, dcid, path: path.to_path_buf(), state: Mutex::new(State::InUse) })
    }

    /// Makes [`AHEAD`] numbers of each kind available, durably. Blocks for a sync of the disk.
    ///
    /// # Errors
    /// When the disk fails; then nothing more becomes available.
    pub fn reserve(&self) -> io::Result<()> {
        let state = self.lock();
        if *state == State::Released {
            return Ok(());
        }
        let ends = self.sequences().map(|(_, sequence)| sequence.next().saturating_add(AHEAD));
        self.store(ends)?;
        for ((_, sequence), end) in self.sequences().into_iter().zip(ends) {
            sequence.reserve(end);
        }
        Ok(())
    }

    /// Whether shards may run out of numbers before long.
    #[must_use]
    pub fn is_low(&self) -> bool {
        let left = |sequence: &Sequence| sequence.reserved().saturating_sub(sequence.next());
        self.sequences().into_iter().any(|(_, sequence)| left(sequence) < AHEAD / 2)
    }

    /// Gives back what was reserved and not drawn. Call it when no shard will draw again.
    ///
    /// # Errors
    /// When the disk fails; the reservation stands then, and a start skips it.
    pub fn release(&self) -> io::Result<()> {
        let mut state = self.lock();
        *state = State::Released;
        self.store(self.sequences().map(|(_, sequence)| sequence.next()))
    }

    /// Keeps reservations ahead of what is drawn, for ever. `failed` hears of each failed attempt;
    /// while the disk fails, shards run out of numbers and wait.
    pub async fn keep(self: Arc<Self>, mut failed: impl FnMut(io::Error)) {
        let mut ticks = tokio::time::interval(CHECK_INTERVAL);
        loop {
            ticks.tick().await;
            if !self.is_low() {
                continue;
            }
            let ids = Arc::clone(&self);
            match tokio::task::spawn_blocking(move || ids.reserve()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => failed(error),
                Err(error) => failed(io::Error::other(error)),
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sequences(&self) -> [(&'static str, &Sequence); 3] {
        [("icid", &self.icid), ("mid", &self.mid), ("dcid", &self.dcid)]
    }

    /// Replaces the file as a whole: after a crash it holds the old reservations or the new ones.
    fn store(&self, ends: [u64; 3]) -> io::Result<()> {
        let mut text = format!("{FIRST_LINE}\n");
        for ((name, _), end) in self.sequences().into_iter().zip(ends) {
            text.push_str(&format!("{name} {end}\n"));
        }
        let temporary = self.path.with_extension("new");
        let mut file = File::create(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, &self.path)?;
        let directory = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(directory.unwrap_or_else(|| Path::new(".")))?.sync_all()
    }
}

fn parse(text: &str) -> Option<[u64; 3]> {
    let mut lines = text.lines();
    if lines.next()? != FIRST_LINE {
        return None;
    }
    let mut number = |name| lines.next()?.strip_prefix(name)?.strip_prefix(' ')?.parse().ok();
    let ends = [number("icid")?, number("mid")?, number("dcid")?];
    (lines.next().is_none() && text.ends_with('\n')).then_some(ends)
}

fn damaged(path: &Path) -> io::Error {
    let path = path.display();
    let text = format!(
        "{path} is damaged; write into it, on four lines, \"{FIRST_LINE}\", \"icid N\", \"mid N\" \
         and \"dcid N\", each N greater than any such number in the logs"
    );
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// Numbers of each kind reserved at once. Half of them must last `CHECK_INTERVAL` and a sync.
pub const AHEAD: u64 = 200 * BLOCK_SIZE;
const CHECK_INTERVAL: Duration = Duration::from_millis(250);
const FIRST_LINE: &str = "ringpost ids 1";

#[cfg(test)]
mod tests {
    use std::env;

    use super::*;

    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> Self {
            let path = env::temp_dir().join(format!("ringpost-ids-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).expect("a temporary directory");
            Self(path)
        }

        fn ids(&self) -> PathBuf {
            self.0.join("ids")
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn numbers_never_come_again_after_a_crash() {
        let place = Place::new("crash");
        let ids = Ids::open(&place.ids()).expect("a new file");
        assert_eq!(ids.mid.draw(), None, "nothing is reserved yet");
        ids.reserve().expect("a disk");
        let mut highest = 0;
        while let Some(mut block) = ids.mid.draw() {
            while let Some(number) = block.draw() {
                highest = number;
            }
        }
        assert_eq!(highest, AHEAD);
        assert!(ids.is_low());
        drop(ids);
        let ids = Ids::open(&place.ids()).expect("the file of before");
        assert_eq!((ids.mid.next(), ids.icid.next()), (highest + 1, AHEAD + 1));
        ids.mid.skip(9_000_000);
        ids.reserve().expect("a disk");
        assert_eq!(ids.mid.draw().and_then(|mut block| block.draw()), Some(9_000_001));
    }

    #[test]
    fn a_clean_stop_gives_back_what_was_not_drawn() {
        let place = Place::new("clean");
        let ids = Ids::open(&place.ids()).expect("a new file");
        ids.reserve().expect("a disk");
        ids.icid.draw().expect("reserved");
        ids.release().expect("a disk");
        ids.reserve().expect("nothing to do");
        let ids = Ids::open(&place.ids()).expect("the file of before");
        let next = [&ids.icid, &ids.mid, &ids.dcid].map(|sequence| sequence.next());
        assert_eq!(next, [1 + BLOCK_SIZE, 1, 1]);
    }

    #[test]
    fn a_damaged_file_is_not_begun_anew() {
        let place = Place::new("damaged");
        let whole = "ringpost ids 1\nicid 5\nmid 6\ndcid 7\n";
        for text in ["", "ringpost ids 1\nicid 5\nmid 6\n", &whole[..whole.len() - 1]] {
            fs::write(place.ids(), text).expect("a disk");
            let error = Ids::open(&place.ids()).expect_err(text);
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        }
        fs::write(place.ids(), whole).expect("a disk");
        assert_eq!(Ids::open(&place.ids()).expect("whole").dcid.next(), 7);
    }

    #[test]
    fn the_task_stays_ahead_of_the_shards() {
        let place = Place::new("task");
        let ids = Arc::new(Ids::open(&place.ids()).expect("a new file"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        runtime.expect("a runtime").block_on(async {
            let task = tokio::spawn(Arc::clone(&ids).keep(|error| panic!("{error}")));
            let mut drawn = 0;
            while drawn < 3 * AHEAD / BLOCK_SIZE {
                match ids.dcid.draw() {
                    Some(_) => drawn += 1,
                    None => tokio::time::sleep(Duration::from_millis(1)).await,
                }
            }
            task.abort();
        });
        let reopened = Ids::open(&place.ids()).expect("the file of before");
        assert!(reopened.dcid.next() >= ids.dcid.next());
    }
}
