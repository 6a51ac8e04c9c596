//! Answers the shards' questions about names.
//!
//! Whoever asks the same while an answer is on its way shares it, and answers are remembered as
//! long as the zone allows; a burst of one client or one destination costs one lookup.

mod cache;
mod resolve;

use std::{
    collections::HashMap,
    error::Error,
    fmt, io,
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

use async_channel::{Receiver, Sender};
use ringpost_core::lookup::{Answer, Question};
use tokio::task::{Id, JoinError, JoinSet};

use self::{
    cache::Cache,
    resolve::{Lasting, Resolver},
};
use crate::bridge::Ask;

/// Whom to ask, and how patiently.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// Asked in this order, over UDP, and over TCP when an answer is truncated. When empty, those
    /// of `/etc/resolv.conf`.
    pub servers: Vec<SocketAddr>,
    /// How long one server may take for one try.
    pub timeout: Duration,
    /// Tries after the first.
    pub retries: u32,
    /// How long a question may take in all, whatever lookups it needs.
    pub total_timeout: Duration,
    /// Answers remembered.
    pub cache_size: u32,
}

/// Why there is nobody to ask.
#[derive(Debug)]
pub struct NoServers(String);

/// Takes questions from the shards and answers each exactly once.
pub struct Names {
    resolver: Resolver,
    cache: Cache,
    /// Who waits for the answer to each question that is under way.
    waiting: HashMap<Question, Vec<Sender<Answer>>>,
    lookups: JoinSet<Lasting>,
    questions: HashMap<Id, Question>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            timeout: Duration::from_secs(5),
            retries: 1,
            total_timeout: Duration::from_secs(30),
            cache_size: 16_384,
        }
    }
}

impl Names {
    /// Ready to answer; asks nothing yet.
    ///
    /// # Errors
    /// When no server is configured and the system's configuration names none.
    pub fn new(settings: &Settings) -> Result<Self, NoServers> {
        Ok(Self {
            resolver: Resolver::new(settings, Path::new(SYSTEM_CONFIGURATION))?,
            cache: Cache::new(settings.cache_size),
            waiting: HashMap::new(),
            lookups: JoinSet::new(),
            questions: HashMap::new(),
        })
    }

    /// Answers until every shard has dropped its end, and what is under way is answered.
    ///
    /// With [`MAX_LOOKUPS`] under way, further questions wait in their channel.
    pub async fn run(mut self, asked: Receiver<Ask>) {
        let mut is_open = true;
        while is_open || !self.lookups.is_empty() {
            let has_room = self.lookups.len() < MAX_LOOKUPS;
            tokio::select! {
                Some(done) = self.lookups.join_next_with_id() => self.settle(done),
                ask = asked.recv(), if is_open && has_room => match ask {
                    Ok((question, slot)) => self.ask(question, slot),
                    Err(_) => is_open = false,
                },
            }
        }
    }

    fn ask(&mut self, question: Question, slot: Sender<Answer>) {
        if let Some(answer) = self.cache.find(&question, Instant::now()) {
            give(&slot, answer);
            return;
        }
        if let Some(slots) = self.waiting.get_mut(&question) {
            if slots.len() < MAX_WAITING {
                slots.push(slot);
            } else {
                give(&slot, Answer::Unavailable("too many wait for the same answer".into()));
            }
            return;
        }
        let (resolver, asked) = (self.resolver.clone(), question.clone());
        let lookup = self.lookups.spawn(async move { resolver.answer(&asked).await });
        self.questions.insert(lookup.id(), question.clone());
        self.waiting.insert(question, vec![slot]);
    }

    fn settle(&mut self, done: Result<(Id, Lasting), JoinError>) {
        let (id, lasting) = match done {
            Ok(done) => done,
            // A panic in the resolver's library: those who asked must not wait for ever.
            Err(error) => {
                let answer = Answer::Unavailable("the lookup broke off".into());
                (error.id(), Lasting { answer, ttl: Duration::ZERO })
            }
        };
        let question = self.questions.remove(&id).expect("each lookup has its question");
        for slot in self.waiting.remove(&question).unwrap_or_default() {
            give(&slot, lasting.answer.clone());
        }
        if !lasting.ttl.is_zero() {
            let until = Instant::now() + lasting.ttl;
            self.cache.insert(question, lasting.answer, until);
        }
    }
}

impl NoServers {
    fn new(configuration: &Path, why: impl fmt::Display) -> Self {
        let configuration = configuration.display();
        Self(format!("no DNS server: none is configured, and {configuration} has none ({why})"))
    }
}

impl fmt::Display for NoServers {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl Error for NoServers {}

impl From<NoServers> for io::Error {
    fn from(error: NoServers) -> Self {
        Self::other(error)
    }
}

/// A slot has room for its one answer; who has stopped waiting needs none.
fn give(slot: &Sender<Answer>, answer: Answer) {
    let _ = slot.try_send(answer);
}

/// Questions under way at once; each may hold a few sockets open.
pub const MAX_LOOKUPS: usize = 256;
/// Who may wait for the same answer; the next are told that there is none.
pub const MAX_WAITING: usize = 65_536;
const SYSTEM_CONFIGURATION: &str = "/etc/resolv.conf";
