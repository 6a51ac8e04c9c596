//! Puts a gateway together from its configuration: control, shards, the channels between them.

use std::{
    fs::{self, File},
    io,
    path::Path,
    sync::Arc,
    time::Duration,
};

use async_channel::{Receiver, Sender};
use ringpost_config::{MailLogs, Snapshot, Tls, Workers};
use ringpost_control::{
    Control, certificate, dns,
    ids::Ids,
    logs::{self, rotate::Rotation},
};
use ringpost_core::event::Stamped;
use ringpost_shard::{
    Numbers, Shards, StartError,
    bridge::{Ask, Bridge, Command},
};

use crate::exit::Exit;

/// A running gateway.
pub(crate) struct Gateway {
    control: Control,
    shards: Shards,
    commands: Vec<Sender<Command>>,
    questions: Sender<Ask>,
    events: Sender<Vec<Stamped>>,
    /// Held for as long as the gateway runs, so that no second one uses the same spool.
    _lock: File,
}

/// Why it does not run, in a sentence for the operator.
pub(crate) struct Trouble {
    pub(crate) exit: Exit,
    pub(crate) text: String,
}

impl Gateway {
    /// Starts everything; returns when mail is taken. `stops` hears of SIGTERM and SIGINT.
    pub(crate) fn start(
        snapshot: Arc<Snapshot>,
        stops: Option<Sender<()>>,
    ) -> Result<Self, Trouble> {
        ringpost_shard::probe().map_err(|refused| Trouble::unavailable(refused.to_string()))?;
        let data_dir = &snapshot.data_dir;
        fs::create_dir_all(data_dir).map_err(|error| Trouble::at(data_dir, &error))?;
        let lock = lock(data_dir)?;
        let identity = identity(&snapshot)?;
        let spool = data_dir.join("spool");
        let found = ringpost_shard::recover(&spool).map_err(|error| Trouble::at(&spool, &error))?;
        tell_what_was_found(&found);
        let ids = number(data_dir, found.highest().0)?;
        let shards = shard_count(&snapshot);
        let ends = Ends::new(shards);
        let control = ringpost_control::start(ringpost_control::Plan {
            dns: dns_settings(&snapshot),
            logs: logs_settings(&snapshot),
            ids: Arc::clone(&ids),
            socket: Some(snapshot.control.socket.clone()),
            bridge: ends.control,
            inquiries: ends.inquiries,
            stops,
            version: env!("CARGO_PKG_VERSION"),
        })
        .map_err(|error| Trouble { exit: Exit::CannotCreate, text: error.to_string() })?;
        let shards = ringpost_shard::start(ringpost_shard::Plan {
            snapshot: Arc::clone(&snapshot),
            identity,
            authorities: certificate::authorities(),
            numbers: Numbers {
                icid: Arc::clone(&ids.icid),
                mid: Arc::clone(&ids.mid),
                dcid: Arc::clone(&ids.dcid),
            },
            found,
            bridges: ends.shards,
        })
        .map_err(Trouble::from)?;
        Ok(Self {
            control,
            shards,
            commands: ends.commands,
            questions: ends.questions,
            events: ends.events,
            _lock: lock,
        })
    }

    /// Stops taking mail, finishes what is under way, and waits for the end.
    pub(crate) fn drain(self) {
        for command in &self.commands {
            // A shard that has ended has drained.
            let _ = command.send_blocking(Command::Drain);
        }
        self.shards.join();
        // A task that a shard left behind keeps its ends for ever; none of them says anything more.
        self.questions.close();
        self.events.close();
        if !self.control.join(LAST_WORDS_LIMIT) {
            let limit = LAST_WORDS_LIMIT.as_secs();
            eprintln!("ringpost: mail_logs took nothing for {limit} s; its last lines are lost");
        }
    }
}

/// The channels between control and the shards: the only crossings there are.
struct Ends {
    control: ringpost_control::bridge::Bridge,
    shards: Vec<Bridge>,
    inquiries: Vec<Sender<Sender<ringpost_core::report::Report>>>,
    commands: Vec<Sender<Command>>,
    questions: Sender<Ask>,
    events: Sender<Vec<Stamped>>,
}

impl Ends {
    fn new(shards: u16) -> Self {
        let (questions, asked) = async_channel::bounded(QUESTIONS_MAX);
        let (events, told) = async_channel::bounded(EVENT_BATCHES_MAX);
        let mut ends = Self {
            control: ringpost_control::bridge::Bridge { questions: asked, events: told },
            shards: Vec::new(),
            inquiries: Vec::new(),
            commands: Vec::new(),
            questions: questions.clone(),
            events: events.clone(),
        };
        for _ in 0..shards {
            let (command, commands) = async_channel::bounded(COMMANDS_MAX);
            let (inquiry, inquiries): (_, Receiver<_>) = async_channel::bounded(COMMANDS_MAX);
            ends.shards.push(Bridge {
                questions: questions.clone(),
                events: events.clone(),
                commands,
                inquiries,
            });
            ends.inquiries.push(inquiry);
            ends.commands.push(command);
        }
        ends
    }
}

fn lock(data_dir: &Path) -> Result<File, Trouble> {
    let path = data_dir.join("lock");
    let file = File::create(&path).map_err(|error| Trouble::at(&path, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(Trouble::unavailable(format!(
            "another gateway is running on {}; stop it first",
            data_dir.display()
        ))),
        Err(fs::TryLockError::Error(error)) => Err(Trouble::at(&path, &error)),
    }
}

fn identity(snapshot: &Snapshot) -> Result<Arc<rustls::ServerConfig>, Trouble> {
    let read = |path: &Path| fs::read(path).map_err(|error| Trouble::at(path, &error));
    let (chain, key, origin) = match &snapshot.tls {
        Tls::Files { certificate, private_key } => {
            (read(certificate)?, read(private_key)?, certificate.display().to_string())
        }
        Tls::SelfSigned => {
            let folder = snapshot.data_dir.join("tls");
            let pair = certificate::self_signed(&folder, &snapshot.hostname)
                .map_err(|error| Trouble::at(&folder, &error))?;
            (pair.certificate, pair.private_key, folder.display().to_string())
        }
    };
    ringpost_shard::server_config(&chain, &key)
        .map_err(|error| Trouble { exit: Exit::Configuration, text: format!("{origin}: {error}") })
}

/// Opens the numbers, past all that are in use, and reserves the first of them.
fn number(data_dir: &Path, highest_mid: u64) -> Result<Arc<Ids>, Trouble> {
    let path = data_dir.join("ids");
    let ids = Ids::open(&path).map_err(|error| Trouble::at(&path, &error))?;
    ids.mid.skip(highest_mid);
    ids.reserve().map_err(|error| Trouble::at(&path, &error))?;
    Ok(Arc::new(ids))
}

fn tell_what_was_found(found: &ringpost_shard::Found) {
    if found.waiting() > 0 {
        eprintln!("ringpost: {} messages wait in the spool", found.waiting());
    }
    for damaged in found.damaged() {
        eprintln!(
            "ringpost: spool {:05}/{:016x}.log: {} octets at {} are damaged and were skipped",
            damaged.log, damaged.segment, damaged.length, damaged.offset
        );
    }
}

fn shard_count(snapshot: &Snapshot) -> u16 {
    match snapshot.workers {
        Workers::Exactly(count) => count,
        Workers::OnePerCore => std::thread::available_parallelism()
            .map_or(1, |cores| u16::try_from(cores.get()).unwrap_or(u16::MAX)),
    }
}

fn dns_settings(snapshot: &Snapshot) -> dns::Settings {
    dns::Settings {
        servers: snapshot.dns.servers.clone(),
        timeout: snapshot.dns.timeout,
        retries: snapshot.dns.attempts.saturating_sub(1),
        cache_size: snapshot.dns.cache_size,
        ..dns::Settings::default()
    }
}

fn logs_settings(snapshot: &Snapshot) -> logs::Settings {
    logs::Settings {
        path: match &snapshot.logs.mail_logs {
            MailLogs::Stdout => None,
            MailLogs::File(path) => Some(path.clone()),
        },
        rotation: Rotation::default(),
        offset_seconds: 0,
    }
}

impl Trouble {
    fn at(path: &Path, error: &io::Error) -> Self {
        Self { exit: Exit::CannotCreate, text: format!("{}: {error}", path.display()) }
    }

    pub(crate) const fn unavailable(text: String) -> Self {
        Self { exit: Exit::Unavailable, text }
    }
}

impl From<StartError> for Trouble {
    fn from(error: StartError) -> Self {
        let exit = match &error {
            StartError::Ring(_) | StartError::Listener(_) => Exit::Unavailable,
            StartError::Spool(_) => Exit::CannotCreate,
        };
        Self { exit, text: error.to_string() }
    }
}

/// How long a stop waits for the last lines of `mail_logs`.
const LAST_WORDS_LIMIT: Duration = Duration::from_secs(10);
/// Questions under way from all shards; beyond it connections wait.
const QUESTIONS_MAX: usize = 16_384;
/// Batches of events under way; beyond it shards wait.
const EVENT_BATCHES_MAX: usize = 64;
const COMMANDS_MAX: usize = 16;
