//! Control's thread: the resolver, the folds over events, the numbers, the console, the signals.

use std::{
    cell::{Cell, RefCell},
    fmt, io,
    path::PathBuf,
    rc::Rc,
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use async_channel::Sender;
use ringpost_core::{report::Report, time::Date};
use tokio::{
    runtime::Builder,
    signal::unix::{SignalKind, signal},
};

use crate::{
    bridge::Bridge,
    console::{self, Console},
    counters::Counters,
    dns::{self, Names},
    ids::Ids,
    logs::{self, Writer},
};

/// Everything control is made of.
pub struct Plan {
    /// How names are looked up.
    pub dns: dns::Settings,
    /// Where `mail_logs` goes.
    pub logs: logs::Settings,
    /// The numbers; some are reserved already.
    pub ids: Arc<Ids>,
    /// Where the console listens; none for no console.
    pub socket: Option<PathBuf>,
    /// From the shards.
    pub bridge: Bridge,
    /// To the shards, for `status`.
    pub inquiries: Vec<Sender<Sender<Report>>>,
    /// Told of each SIGTERM or SIGINT; none if the caller deals with signals itself.
    pub stops: Option<Sender<()>>,
    /// Of the program.
    pub version: &'static str,
}

/// Something that an operator must look after; control goes on trying.
#[derive(Debug)]
pub enum Trouble {
    /// `mail_logs` cannot be written; no event is lost, but mail waits.
    MailLogs(io::Error),
    /// The reservation of numbers cannot be written; mail stops when those reserved are used up.
    Ids(io::Error),
}

/// The running thread.
pub struct Control {
    thread: JoinHandle<()>,
}

/// Starts control; it ends when every shard has dropped its ends of the channels.
///
/// # Errors
///
/// When a log, the socket, or the resolver's configuration cannot be used; the text names it.
pub fn start(plan: Plan) -> io::Result<Control> {
    let (ready, started) = mpsc::channel();
    let thread = std::thread::Builder::new().name("control".into()).spawn(move || {
        match Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime.block_on(live(plan, &ready)),
            Err(error) => {
                let _ = ready.send(Err(error));
            }
        }
    })?;
    started.recv().unwrap_or_else(|_| Err(io::Error::other("control ended at its start")))?;
    Ok(Control { thread })
}

impl Control {
    /// Waits for the end, when all that the shards said is written; false if that is not within
    /// `limit`, as when the disk or the reader of `mail_logs` takes nothing any more.
    #[must_use]
    pub fn join(self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        while !self.thread.is_finished() {
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(JOIN_INTERVAL);
        }
        // A thread that panicked has said why.
        let _ = self.thread.join();
        true
    }
}

async fn live(plan: Plan, ready: &mpsc::Sender<io::Result<()>>) {
    let prepared = prepare(&plan);
    let (names, writer, console, listener) = match prepared {
        Ok(prepared) => {
            let _ = ready.send(Ok(()));
            prepared
        }
        Err(error) => {
            let _ = ready.send(Err(error));
            return;
        }
    };
    let counters = Rc::clone(&console.counters);
    let fold = |stamped: &ringpost_core::event::Stamped| {
        counters.borrow_mut().count(&stamped.event);
    };
    let resolving = names.run(plan.bridge.questions);
    let reopen = Rc::new(Cell::new(false));
    let failed = |error| complain(&Trouble::MailLogs(error));
    let writing = writer.run(plan.bridge.events, &reopen, fold, failed);
    let numbering = Arc::clone(&plan.ids).keep(|error| complain(&Trouble::Ids(error)));
    let serving = async {
        match listener {
            Some(listener) => console.serve(listener).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = async { tokio::join!(resolving, writing) } => {}
        () = numbering => {}
        () = serving => {}
        () = listen_for_signals(plan.stops) => {}
        () = listen_for_hangups(&reopen) => {}
    }
    if let Err(error) = plan.ids.release() {
        complain(&Trouble::Ids(error));
    }
    if let Some(socket) = plan.socket {
        // Left behind it would be replaced at the next start.
        let _ = std::fs::remove_file(socket);
    }
}

type Prepared = (Names, Writer, Console, Option<tokio::net::UnixListener>);

fn prepare(plan: &Plan) -> io::Result<Prepared> {
    let names = Names::new(&plan.dns).map_err(|error| io::Error::other(error.to_string()))?;
    let describe =
        |what: String, error: &io::Error| io::Error::new(error.kind(), format!("{what}: {error}"));
    let writer = Writer::open(&plan.logs, now()).map_err(|error| {
        let path = plan.logs.path.as_ref().map(|path| path.display().to_string());
        describe(path.unwrap_or_else(|| "standard output".into()), &error)
    })?;
    let listener = match &plan.socket {
        Some(path) => {
            let bound = console::bind(path);
            Some(bound.map_err(|error| describe(path.display().to_string(), &error))?)
        }
        None => None,
    };
    let console = Console {
        counters: Rc::new(RefCell::new(Counters::default())),
        inquiries: plan.inquiries.clone(),
        started: Instant::now(),
        version: plan.version,
    };
    Ok((names, writer, console, listener))
}

async fn listen_for_signals(stops: Option<Sender<()>>) {
    let Some(stops) = stops else {
        return std::future::pending().await;
    };
    let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    let (Ok(mut terminate), Ok(mut interrupt)) = signals else {
        eprintln!("ringpost: signals cannot be listened for; kill -9 is the only way to stop");
        return std::future::pending().await;
    };
    loop {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        // Whoever stopped listening is stopping.
        let _ = stops.send(()).await;
    }
}

/// SIGHUP is what a program that rotates logs sends: `mail_logs` is opened anew.
async fn listen_for_hangups(reopen: &Cell<bool>) {
    let Ok(mut hangup) = signal(SignalKind::hangup()) else {
        return std::future::pending().await;
    };
    while hangup.recv().await.is_some() {
        reopen.set(true);
        eprintln!("ringpost: SIGHUP: mail_logs is opened anew with its next line");
    }
}

fn complain(trouble: &Trouble) {
    eprintln!("ringpost: {trouble}");
}

fn now() -> Date {
    let since =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Date::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

impl fmt::Display for Trouble {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MailLogs(error) => write!(
                out,
                "mail_logs cannot be written ({error}); mail waits until it can: free the disk"
            ),
            Self::Ids(error) => write!(
                out,
                "numbers cannot be reserved ({error}); no mail is taken when those reserved are \
                 used up: free the disk"
            ),
        }
    }
}

impl std::error::Error for Trouble {}

/// How often the end of the thread is looked for.
const JOIN_INTERVAL: Duration = Duration::from_millis(5);
