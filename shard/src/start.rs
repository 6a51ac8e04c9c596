//! Starts the shards, tells when they take mail, and waits for their end.

use std::{
    fmt, io,
    path::PathBuf,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use async_channel::{Receiver, Sender};
use glommio::{LocalExecutorBuilder, Placement, timer::sleep};
use ringpost_config::Snapshot;
use ringpost_core::{
    event::Event,
    spool::{log::Log, recover::Queued as Waiting, segment},
};
use ringpost_policy::rate::Connections;
use rustls::{RootCertStore, ServerConfig, pki_types::CertificateDer};

use crate::{
    bridge::{Bridge, Command, Voice},
    clock::Clock,
    content::{Store, log_folder},
    disk::Disk,
    home::Home,
    listener,
    mesh::{self, Handover, Mesh},
    message::Queued,
    places::Places,
    queue,
    random::{self, Random},
    recovery::{self, Found, Inheritance},
    shard::{Numbers, Parts, Shard},
};

/// Everything the shards are made of.
pub struct Plan {
    /// The configuration.
    pub snapshot: Arc<Snapshot>,
    /// What listeners show after STARTTLS.
    pub identity: Arc<ServerConfig>,
    /// The authorities verified deliveries trust.
    pub authorities: Vec<CertificateDer<'static>>,
    /// The counters of ICIDs, DCIDs and MIDs.
    pub numbers: Numbers,
    /// What was found in the spool.
    pub found: Found,
    /// One for each shard; their number is the number of shards.
    pub bridges: Vec<Bridge>,
}

/// The running shards.
pub struct Shards {
    threads: Vec<JoinHandle<()>>,
}

/// Why the shards did not start.
#[derive(Debug)]
pub enum StartError {
    /// See [`RingRefused`].
    Ring(RingRefused),
    /// A listener's address cannot be used.
    Listener(String),
    /// The spool cannot be used.
    Spool(io::Error),
}

/// The kernel, or a container around us, does not let us use `io_uring`.
#[derive(Debug)]
pub struct RingRefused(String);

/// What one shard needs beyond what all share.
struct Own {
    number: u16,
    bridge: Bridge,
    inheritance: Inheritance,
    handovers: Receiver<Handover>,
    ready: Sender<Result<(), StartError>>,
}

/// What all shards share.
#[derive(Clone)]
struct Shared {
    snapshot: Arc<Snapshot>,
    identity: Arc<ServerConfig>,
    roots: Arc<RootCertStore>,
    numbers: Numbers,
    connections: Arc<Connections>,
    places: Arc<Places>,
    mesh: Arc<[Sender<Handover>]>,
    spool: PathBuf,
    epoch: Instant,
    /// Shards that have nothing under way any more.
    quiet: Arc<AtomicU16>,
}

/// Whether the kernel lets us have a ring.
///
/// # Errors
///
/// When it does not; the text says what to do.
pub fn probe() -> Result<(), RingRefused> {
    let attempt = std::thread::spawn(|| {
        LocalExecutorBuilder::new(Placement::Unbound).make().map(drop).map_err(|it| it.to_string())
    });
    match attempt.join() {
        Ok(result) => result.map_err(RingRefused),
        Err(_) => Err(RingRefused("the ring could not be made".into())),
    }
}

/// Starts one shard for each bridge and returns when all of them take mail.
///
/// # Errors
///
/// The first thing that stands in the way. Shards that had started end with the process.
pub fn start(plan: Plan) -> Result<Shards, StartError> {
    probe().map_err(StartError::Ring)?;
    let count = u16::try_from(plan.bridges.len()).expect("there are fewer cores");
    assert!(count > 0, "a gateway has a shard");
    let claimed = listener::claim(&plan.snapshot);
    claimed.map_err(|error| StartError::Listener(error.to_string()))?;
    // The ring opens relative paths relative to no directory at all.
    let spool =
        std::path::absolute(plan.snapshot.data_dir.join("spool")).map_err(StartError::Spool)?;
    let inheritances = plan.found.share_out(count).map_err(StartError::Spool)?;
    let (senders, receivers) = mesh::channels(count);
    let (ready, started) = async_channel::bounded(usize::from(count));
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(plan.authorities);
    let shared = Shared {
        connections: Arc::new(Connections::new(
            plan.snapshot.limits.max_connections,
            [random::seed(), random::seed()],
        )),
        places: Places::new(&plan.snapshot),
        snapshot: plan.snapshot,
        identity: plan.identity,
        roots: Arc::new(roots),
        numbers: plan.numbers,
        mesh: senders,
        spool,
        epoch: Instant::now(),
        quiet: Arc::new(AtomicU16::new(0)),
    };
    let mut threads = Vec::new();
    let each = (0..).zip(plan.bridges).zip(inheritances).zip(receivers);
    for (((number, bridge), inheritance), handovers) in each {
        let own = Own { number, bridge, inheritance, handovers, ready: ready.clone() };
        threads.push(spawn(own, shared.clone())?);
    }
    drop(ready);
    for _ in 0..count {
        started.recv_blocking().expect("each shard says how its start went")?;
    }
    Ok(Shards { threads })
}

impl Shards {
    /// Waits until every shard has ended, which they do after [`Command::Drain`].
    pub fn join(self) {
        for thread in self.threads {
            thread.join().expect("a shard that panics ends the process");
        }
    }
}

fn spawn(own: Own, shared: Shared) -> Result<JoinHandle<()>, StartError> {
    let name = format!("shard-{}", own.number);
    let thread = std::thread::Builder::new().name(name).spawn(move || {
        let _whole_or_not_at_all = AbortOnPanic;
        match LocalExecutorBuilder::new(Placement::Unbound).make() {
            Ok(executor) => executor.run(live(own, shared)),
            Err(error) => {
                let refused = StartError::Ring(RingRefused(error.to_string()));
                let _ = own.ready.send_blocking(Err(refused));
            }
        }
    });
    thread.map_err(|error| StartError::Ring(RingRefused(error.to_string())))
}

/// A gateway that has lost a shard would go on taking mail for destinations at home there and hold
/// it for ever. It aborts instead; the supervisor starts it again, and the spool says what is owed.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::abort();
        }
    }
}

/// A shard's life: take over what was left, take mail, drain, end.
async fn live(own: Own, shared: Shared) {
    let clock = Clock::new(shared.epoch);
    let voice = Voice::new(own.number, Rc::clone(&clock), own.bridge.events.clone());
    let store = Store::new(shared.spool.clone());
    let disks = match open_disks(&shared, own.inheritance.logs, &store, &voice).await {
        Ok(disks) => disks,
        Err(error) => {
            let _ = own.ready.send(Err(StartError::Spool(error))).await;
            return;
        }
    };
    let folders = own.inheritance.empty.iter().map(|&log| log_folder(&shared.spool, log)).collect();
    glommio::spawn_local(remove_empty(Rc::clone(&disks[0].1), folders)).detach();
    let acceptors = match listener::bind(&shared.snapshot) {
        Ok(acceptors) => acceptors,
        Err(error) => {
            let _ = own.ready.send(Err(StartError::Listener(error.to_string()))).await;
            return;
        }
    };
    let count = u16::try_from(shared.mesh.len()).expect("made from a u16");
    let shard = Shard::new(Parts {
        number: own.number,
        mesh: Mesh::new(own.number, Arc::clone(&shared.mesh)),
        disk: Rc::clone(&disks[0].1),
        store,
        home: Home::new(&shared.snapshot, count, Random::new()),
        connections: Arc::clone(&shared.connections),
        places: Arc::clone(&shared.places),
        identity: Arc::clone(&shared.identity),
        roots: Arc::clone(&shared.roots),
        snapshot: Arc::clone(&shared.snapshot),
        questions: own.bridge.questions.clone(),
        numbers: shared.numbers.clone(),
        clock,
        voice,
    });
    take_over(&shard, own.inheritance.messages, &disks);
    glommio::spawn_local(hand_over(Rc::clone(&shard), own.handovers.clone())).detach();
    glommio::spawn_local(answer(Rc::clone(&shard), own.bridge.inquiries)).detach();
    let listening: Vec<_> = acceptors
        .into_iter()
        .map(|(listener, acceptor)| {
            glommio::spawn_local(listener::run(Rc::clone(&shard), listener, acceptor))
        })
        .collect();
    let _ = own.ready.send(Ok(())).await;
    obey(&shard, &own.bridge.commands).await;
    for task in listening {
        task.cancel().await;
    }
    drain(&shard, &shared.quiet, count).await;
    for (_, disk) in &disks {
        disk.settle().await;
    }
    shard.voice.hush().await;
}

/// Removes the directories of logs that are used up, once the highest MID they remember is safe in
/// the log of this shard.
async fn remove_empty(disk: Rc<Disk>, folders: Vec<PathBuf>) {
    if folders.is_empty() || !disk.begun().await {
        return;
    }
    for folder in folders {
        // One that stays is found again at the next start.
        let _ = recovery::remove(&folder);
    }
}

type Disks = Vec<(u16, Rc<Disk>)>;

async fn open_disks(
    shared: &Shared,
    logs: Vec<(u16, ringpost_core::spool::recover::Resume)>,
    store: &Rc<Store>,
    voice: &Rc<Voice>,
) -> io::Result<Disks> {
    let spool = &shared.snapshot.spool;
    let limits = segment::Limits {
        segment_size: spool.segment_size,
        max_segments: segments_each(
            spool.max_size,
            spool.segment_size,
            shared.mesh.len(),
            logs.len(),
        ),
        max_pending: spool.max_pending,
        ..segment::Limits::default()
    };
    let mut disks = Vec::new();
    for (number, resume) in logs {
        let salt = (random::seed() >> 32) as u32;
        let log = Log::resume(resume, salt, limits);
        disks.push((number, Disk::open(log, Rc::clone(store), Rc::clone(voice)).await?));
    }
    Ok(disks)
}

/// How many segments each of a shard's logs may have. The logs it took over from shards that no
/// longer exist share its part of the spool with its own, until the next start finds them empty.
fn segments_each(max_size: u64, segment_size: u64, shards: usize, logs: usize) -> usize {
    let segments = max_size / segment_size / shards as u64 / logs as u64;
    usize::try_from(segments).unwrap_or(usize::MAX).max(SEGMENTS_MIN)
}

/// Queues what the spool held.
fn take_over(shard: &Rc<Shard>, messages: Vec<Waiting>, disks: &Disks) {
    let started = shard.clock.now();
    for found in messages {
        let disk = disks.iter().find(|(log, _)| *log == found.log).map(|(_, disk)| disk);
        let disk = Rc::clone(disk.expect("messages come with their log"));
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
            recipients: u32::try_from(recipients).unwrap_or(u32::MAX),
        });
        let message = Arc::new(Queued {
            mid: found.mid,
            owner: shard.number,
            accepted: found.accepted,
            started,
            header: found.header,
            body: found.body,
            memory: None,
        });
        shard.queue.admit(shard, message, disk, &waiting);
    }
}

async fn hand_over(shard: Rc<Shard>, handovers: Receiver<Handover>) {
    while let Ok(handover) = handovers.recv().await {
        match handover {
            Handover::Deliver(assignment) => shard.home.take_over(&shard, assignment),
            Handover::Settle(settled) => shard.queue.settle(&shard, settled),
            Handover::Moved(message) => shard.home.held.moved(message),
        }
    }
}

async fn answer(shard: Rc<Shard>, inquiries: Receiver<Sender<ringpost_core::report::Report>>) {
    while let Ok(slot) = inquiries.recv().await {
        // Whoever asked may have gone away meanwhile.
        let _ = slot.try_send(shard.report());
    }
}

/// Returns when the shard is to end: told so, or left alone.
async fn obey(shard: &Rc<Shard>, commands: &Receiver<Command>) {
    while let Ok(command) = commands.recv().await {
        match command {
            Command::Adopt(snapshot) => {
                shard.adopt(snapshot);
                shard.home.adopt(shard);
            }
            Command::Drain => break,
        }
    }
}

/// Finishes what is under way. A shard stays until all are quiet: a delivery of another shard may
/// still have an outcome to report here.
async fn drain(shard: &Rc<Shard>, quiet: &AtomicU16, count: u16) {
    shard.drain();
    shard.home.advance(shard);
    let limit = shard.clock.now() + DRAIN_LIMIT;
    while !shard.is_drained() && shard.clock.now() < limit {
        sleep(DRAIN_INTERVAL).await;
    }
    quiet.fetch_add(1, Ordering::SeqCst);
    while quiet.load(Ordering::SeqCst) < count || !shard.is_drained() {
        if shard.clock.now() >= limit {
            return;
        }
        sleep(DRAIN_INTERVAL).await;
    }
    // What the others sent before they fell quiet is in the channel; one turn takes it in.
    sleep(DRAIN_INTERVAL).await;
}

impl fmt::Display for StartError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ring(refused) => refused.fmt(out),
            Self::Listener(reason) => out.write_str(reason),
            Self::Spool(error) => write!(out, "the spool cannot be used: {error}"),
        }
    }
}

impl fmt::Display for RingRefused {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "Ringpost needs io_uring, and this kernel or container refuses it ({}): allow the \
             io_uring_* system calls in the container's seccomp profile, and set \
             kernel.io_uring_disabled to 0 on the host.",
            self.0
        )
    }
}

impl std::error::Error for StartError {}

impl std::error::Error for RingRefused {}

/// How long a drain waits for clients and next hops before it leaves them.
const DRAIN_LIMIT: Duration = Duration::from_secs(30);
const DRAIN_INTERVAL: Duration = Duration::from_millis(10);
/// The least a log can work with; see [`segment::Limits::max_segments`].
const SEGMENTS_MIN: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logs_of_a_shard_share_its_part_of_the_spool() {
        assert_eq!(segments_each(64 << 30, 64 << 20, 4, 1), 256);
        assert_eq!(segments_each(64 << 30, 64 << 20, 1, 4), 256);
        assert_eq!(segments_each(64 << 20, 64 << 20, 1, 4), SEGMENTS_MIN);
    }
}
