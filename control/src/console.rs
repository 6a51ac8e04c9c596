//! The control socket: how an operator's command line talks to a running gateway.
//!
//! One request a connection: a line naming a verb, answered with one JSON object. The socket is a
//! file only its owner can open; nothing here listens on a network.

use std::{
    cell::RefCell,
    fs, io,
    os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt},
    path::Path,
    rc::Rc,
    time::{Duration, Instant},
};

use async_channel::{Receiver, Sender};
use ringpost_core::{
    latency::{Latency, Stage},
    report::Report,
};
use serde_json::{Map, Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    time::{Instant as Moment, sleep, timeout, timeout_at},
};

use crate::counters::Counters;

/// What the console can tell.
pub struct Console {
    /// How much of everything happened.
    pub counters: Rc<RefCell<Counters>>,
    /// One for each shard: whoever asks sends the place for the answer.
    pub inquiries: Vec<Sender<Sender<Report>>>,
    /// When the gateway started.
    pub started: Instant,
    /// Of the program.
    pub version: &'static str,
}

/// Binds the socket. One that a dead gateway left behind is replaced; the caller holds the lock of
/// the data directory, so nobody else is using it.
///
/// # Errors
///
/// When the file cannot be made, or one that is not a socket is in its place.
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            let reason = "this is not a socket: remove it, or name another path for the socket";
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, reason));
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // A socket gets its mode only after it listens. It does so where nobody else can reach it.
    let private = path.with_file_name(format!(".new-{}", std::process::id()));
    make_private(&private)?;
    let bound = bind_within(&private, path);
    let removed = fs::remove_dir_all(&private);
    let listener = bound?;
    removed?;
    Ok(listener)
}

/// A directory only its owner can enter. One of this name was left behind by a crash.
fn make_private(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::DirBuilder::new().mode(0o700).create(folder)
}

fn bind_within(private: &Path, path: &Path) -> io::Result<UnixListener> {
    let unfinished = private.join("s");
    let listener = UnixListener::bind(&unfinished)?;
    fs::set_permissions(&unfinished, fs::Permissions::from_mode(0o600))?;
    fs::rename(&unfinished, path)?;
    Ok(listener)
}

impl Console {
    /// Answers for ever, one client at a time: an operator's question takes microseconds.
    pub async fn serve(self, listener: UnixListener) {
        loop {
            match listener.accept().await {
                // A client that goes away, or takes too long, has only itself to blame.
                Ok((stream, _)) => {
                    let _ = timeout(CLIENT_TIMEOUT, self.converse(stream)).await;
                }
                // Out of descriptors: asked at once, the kernel would say so again.
                Err(_) => sleep(ACCEPT_RETRY_INTERVAL).await,
            }
        }
    }

    async fn converse(&self, stream: UnixStream) -> io::Result<()> {
        let (read, mut write) = stream.into_split();
        let mut request = String::new();
        BufReader::new(read.take(REQUEST_SIZE_MAX)).read_line(&mut request).await?;
        let answer = match request.trim() {
            "status" => self.status().await,
            other => json!({ "error": format!("unknown verb {other:?}; known: status") }),
        };
        let mut text = answer.to_string();
        text.push('\n');
        write.write_all(text.as_bytes()).await?;
        write.shutdown().await
    }

    async fn status(&self) -> Value {
        let asked: Vec<_> = self.inquiries.iter().map(ask).collect();
        // One moment for all: shards that are stuck must not use up the client's patience.
        let deadline = Moment::now() + SHARD_TIMEOUT;
        let mut shards = Vec::new();
        for answer in asked {
            shards.push(match answer {
                Some(answer) => timeout_at(deadline, answer.recv()).await.ok().and_then(Result::ok),
                None => None,
            });
        }
        let counters = self.counters.borrow();
        json!({
            "version": self.version,
            "pid": std::process::id(),
            "uptime_seconds": self.started.elapsed().as_secs(),
            "system_status": system_status(&shards),
            "counters": counts(&counters),
            "gauges": gauges(&shards),
            "latency": latency(&counters.latency),
            "shards": shards.iter().map(shard).collect::<Vec<_>>(),
        })
    }
}

/// Where the shard's answer will come; none if it takes no question.
fn ask(inquiry: &Sender<Sender<Report>>) -> Option<Receiver<Report>> {
    let (slot, answer) = async_channel::bounded(1);
    inquiry.try_send(slot).ok().map(|()| answer)
}

fn system_status(shards: &[Option<Report>]) -> &'static str {
    if shards.iter().any(Option::is_none) {
        return "Stopping";
    }
    let accepts = |report: &Option<Report>| report.as_ref().is_some_and(|it| it.spool.is_none());
    match shards.iter().filter(|report| accepts(report)).count() {
        0 => "Receiving suspended: no spool accepts mail",
        healthy if healthy < shards.len() => "Degraded: not every spool accepts mail",
        _ => "Online",
    }
}

fn counts(counters: &Counters) -> Value {
    let bounced = counters.hard_bounced;
    let hard = bounced.dns + bounced.five_xx + bounced.filter + bounced.expired + bounced.other;
    json!({
        "messages_received": counters.messages_received,
        "recipients_received": counters.recipients_received,
        "bytes_received": counters.bytes_received,
        "generated_bounce_recipients": counters.generated_bounce_recipients,
        "rejected_recipients": counters.rejected_recipients,
        "dropped_messages": counters.dropped_messages,
        "soft_bounced_events": counters.soft_bounced_events,
        "completed_recipients": hard + counters.delivered_recipients,
        "hard_bounced_recipients": hard,
        "dns_hard_bounces": bounced.dns,
        "5xx_hard_bounces": bounced.five_xx,
        "filter_hard_bounces": bounced.filter,
        "expired_hard_bounces": bounced.expired,
        "other_hard_bounces": bounced.other,
        "delivered_recipients": counters.delivered_recipients,
        "connections_accepted": counters.connections_accepted,
        "connections_refused": counters.connections_refused,
    })
}

fn gauges(shards: &[Option<Report>]) -> Value {
    let sum = |gauge: fn(&Report) -> u64| shards.iter().flatten().map(gauge).sum::<u64>();
    json!({
        "connections_in": sum(|report| report.connections_in),
        "connections_out": sum(|report| report.connections_out),
        "messages_queued": sum(|report| report.messages_queued),
        "recipients_active": sum(|report| report.recipients_active),
        "destinations": sum(|report| report.destinations),
        "content_bytes": sum(|report| report.content_bytes),
        "segments": sum(|report| report.segments),
    })
}

fn latency(latency: &Latency) -> Value {
    let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    let stages = Stage::ALL.into_iter().map(|stage| {
        let it = latency.percentiles(stage);
        let values = json!({
            "count": it.count,
            "p50_us": micros(it.p50),
            "p90_us": micros(it.p90),
            "p99_us": micros(it.p99),
            "p999_us": micros(it.p999),
            "max_us": micros(it.max),
        });
        (stage.as_str().to_owned(), values)
    });
    Value::Object(stages.collect::<Map<_, _>>())
}

fn shard(report: &Option<Report>) -> Value {
    let Some(report) = report else {
        return json!({ "state": "stopped" });
    };
    json!({
        "shard": report.shard,
        "connections_in": report.connections_in,
        "connections_out": report.connections_out,
        "messages_queued": report.messages_queued,
        "recipients_active": report.recipients_active,
        "segments": report.segments,
        "spool": report.spool.as_deref().unwrap_or("accepting"),
    })
}

const REQUEST_SIZE_MAX: u64 = 4_096;
const CLIENT_TIMEOUT: Duration = Duration::from_secs(5);
const SHARD_TIMEOUT: Duration = Duration::from_secs(1);
const ACCEPT_RETRY_INTERVAL: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use std::{env, os::unix::net::UnixStream as Client, process};

    use super::*;

    #[test]
    fn only_a_socket_is_replaced_and_only_its_owner_may_open_it() {
        let folder = env::temp_dir().join(format!("ringpost-console-{}", process::id()));
        fs::create_dir_all(&folder).expect("a directory");
        let path = folder.join("control.sock");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
        runtime.expect("a runtime").block_on(async {
            drop(bind(&path).expect("bound"));
            let _listener = bind(&path).expect("bound in place of the dead one");
            Client::connect(&path).expect("it listens under its name");
            let mode = fs::metadata(&path).expect("there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            assert_eq!(fs::read_dir(&folder).expect("there").count(), 1, "nothing else is left");
            let precious = folder.join("mail.log");
            fs::write(&precious, "precious").expect("written");
            let refused = bind(&precious).expect_err("not a socket");
            assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
            assert_eq!(fs::read(&precious).expect("there"), b"precious");
        });
        fs::remove_dir_all(&folder).expect("removed");
    }
}
