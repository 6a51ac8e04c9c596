//! The run of a source: connections that take messages from one sequence until it is used up.
//! One thread runs them all, because two cores must do for the source and the server.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{Instant, sleep, sleep_until};

use super::conversation::{ConnectFailure, Connection, Limits, Outgoing, Progress};
use super::options::Options;
use super::schedule::Schedule;
use super::tally::{Outcome, SourceReport, Tally};
use crate::message::{BodyCache, MessagePattern};
use crate::token_file::{FLUSH_INTERVAL, TokenFile};

/// Sends the messages and reports, at the latest after the maximal time or at SIGTERM or SIGINT.
pub async fn run(options: Options) -> io::Result<SourceReport> {
    let load = Rc::new(Load::new(options)?);
    let tasks = LocalSet::new();
    let ended = tasks.run_until(send_all(Rc::clone(&load))).await;
    // Connections under way are dropped here, before the tally is read.
    drop(tasks);
    ended?;
    load.finish()
}

/// What all connections of a run share.
struct Load {
    options: Options,
    pattern: MessagePattern,
    schedule: Schedule,
    limits: Limits,
    start: Instant,
    /// Messages between their final dot and its reply.
    awaiting_reply: Cell<u64>,
    state: RefCell<State>,
}

/// What one attempt to send a message came to.
struct Sent {
    outcome: Outcome,
    since_final_dot: Option<Duration>,
    recipients_refused: u64,
}

struct State {
    next: u64,
    tally: Tally,
    bodies: BodyCache,
    accepted: Option<TokenFile>,
}

/// The buffers that a connection's messages are written in, one after the other.
#[derive(Default)]
struct Draft {
    envelope: Vec<u8>,
    header: Vec<u8>,
}

impl Load {
    fn new(options: Options) -> io::Result<Self> {
        let pattern = options.message_pattern().map_err(io::Error::other)?;
        let accepted = options.accepted.as_deref().map(TokenFile::append_to).transpose()?;
        let start = Instant::now();
        let end = start + Duration::from_secs(options.max_time);
        let (tally, bodies) = (Tally::default(), BodyCache::default());
        Ok(Self {
            pattern,
            schedule: Schedule::at_rate(options.rate),
            limits: Limits { timeout: options.timeout(), end },
            start,
            awaiting_reply: Cell::new(0),
            state: RefCell::new(State { next: 0, tally, bodies, accepted }),
            options,
        })
    }

    /// The number of the next message, until none is left or the time is over.
    fn take(&self) -> Option<u64> {
        let mut state = self.state.borrow_mut();
        if state.next >= self.options.messages || Instant::now() >= self.limits.end {
            return None;
        }
        let sequence = state.next;
        state.next += 1;
        state.tally.begun += 1;
        Some(sequence)
    }

    fn flush(&self) -> io::Result<()> {
        match &mut self.state.borrow_mut().accepted {
            Some(accepted) => accepted.flush(),
            None => Ok(()),
        }
    }

    fn finish(&self) -> io::Result<SourceReport> {
        self.flush()?;
        let state = self.state.borrow();
        if let Some(path) = &self.options.histogram {
            let mut file = BufWriter::new(File::create(path)?);
            state.tally.final_dot_to_reply.write_percentiles(&mut file)?;
            file.flush()?;
        }
        let (messages, size) = (self.options.messages, self.options.size);
        let run = self.pattern.run.to_string();
        let awaiting_reply = self.awaiting_reply.get();
        Ok(state.tally.report(&run, messages, size, awaiting_reply, self.start.elapsed()))
    }
}

async fn send_all(load: Rc<Load>) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut connections = JoinSet::new();
    let count = u64::from(load.options.connections).min(load.options.messages);
    for index in 0..u32::try_from(count).expect("connections are counted in 32 bits") {
        connections.spawn_local(send_in_sequence(Rc::clone(&load), index));
    }
    let mut flush = tokio::time::interval(FLUSH_INTERVAL);
    loop {
        tokio::select! {
            joined = connections.join_next() => match joined {
                Some(sent) => sent.map_err(io::Error::other)??,
                None => return Ok(()),
            },
            _ = flush.tick() => load.flush()?,
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
        }
    }
}

/// One connection, replaced by a new one when it is used up or lost.
async fn send_in_sequence(load: Rc<Load>, index: u32) -> io::Result<()> {
    let mut open: Option<Connection> = None;
    let mut draft = Draft::default();
    while let Some(sequence) = load.take() {
        load.write_draft(sequence, &mut draft);
        let begun = Instant::now();
        loop {
            if open.is_none() {
                open = load.connect(sequence, index).await;
            }
            let Some(connection) = open.as_mut() else {
                return Ok(());
            };
            if let Some(intended) = load.schedule.intended(sequence) {
                sleep_until((load.start + intended).min(load.limits.end)).await;
            }
            let sent = load.send(connection, &draft).await;
            let limit = load.options.messages_per_connection;
            if connection.is_over || (limit > 0 && connection.messages >= limit) {
                quit(open.take()).await;
            }
            if !load.may_retry(sent.outcome, begun) {
                load.count(sequence, &sent)?;
                break;
            }
            load.state.borrow_mut().tally.retries += 1;
            sleep(RETRY_PAUSE).await;
        }
    }
    quit(open).await;
    Ok(())
}

async fn quit(connection: Option<Connection>) {
    if let Some(connection) = connection {
        connection.quit().await;
    }
}

impl Load {
    fn write_draft(&self, sequence: u64, draft: &mut Draft) {
        draft.envelope.clear();
        draft.envelope.extend_from_slice(b"MAIL FROM:<");
        self.pattern.from.write(sequence, &mut draft.envelope);
        for recipient in &self.pattern.to {
            draft.envelope.extend_from_slice(b">\r\nRCPT TO:<");
            recipient.write(sequence, &mut draft.envelope);
        }
        draft.envelope.extend_from_slice(b">\r\n");
        self.pattern.write_header(sequence, &mut draft.header);
    }

    /// Connects for a message; when that fails for good, the message is counted and none is
    /// returned: this connection's part of the run is over.
    async fn connect(&self, sequence: u64, index: u32) -> Option<Connection> {
        let begun = Instant::now();
        loop {
            let attempt = Instant::now();
            let client = self.options.client_address(index).map(IpAddr::V4);
            let Options { server, helo, pipelining, .. } = &self.options;
            let opened = Connection::open(*server, client, helo, *pipelining, self.limits).await;
            let outcome = match opened {
                Ok(connection) => {
                    let tally = &mut self.state.borrow_mut().tally;
                    tally.connections += 1;
                    tally.connect.record(attempt.elapsed());
                    return Some(connection);
                }
                Err(ConnectFailure::Refused(code)) => Outcome::Refused(code),
                Err(ConnectFailure::Network) => Outcome::LostBeforeFinalDot,
            };
            self.state.borrow_mut().tally.connections_failed += 1;
            if !self.may_connect_again(outcome, begun) {
                self.state.borrow_mut().tally.count(outcome);
                return None;
            }
            sleep(self.pause_after(sequence)).await;
        }
    }

    fn may_connect_again(&self, outcome: Outcome, begun: Instant) -> bool {
        if Instant::now() >= self.limits.end || matches!(outcome, Outcome::Refused(500..)) {
            return false;
        }
        let retries = self.options.retry && begun.elapsed() < self.limits.timeout;
        self.options.keep_going || retries
    }

    /// Connections which failed at once do not come again at once.
    fn pause_after(&self, sequence: u64) -> Duration {
        RECONNECT_PAUSE + RECONNECT_SPREAD * (sequence % 8) as u32
    }

    async fn send(&self, connection: &mut Connection, draft: &Draft) -> Sent {
        let body = {
            let mut state = self.state.borrow_mut();
            state.tally.begin_transaction();
            state.bodies.body(&self.pattern, draft.header.len())
        };
        let recipients = self.pattern.to.len();
        let Draft { envelope, header } = draft;
        let message = Outgoing { envelope, recipients, header, body: &body };
        let mut progress = Progress::new(&self.awaiting_reply);
        let outcome = connection.send(message, &mut progress).await;
        let since_final_dot = progress.final_dot.map(|sent| sent.elapsed());
        Sent { outcome, since_final_dot, recipients_refused: progress.recipients_refused }
    }

    fn may_retry(&self, outcome: Outcome, begun: Instant) -> bool {
        let is_temporary = matches!(outcome, Outcome::Refused(400..500));
        let has_time = begun.elapsed() < self.limits.timeout && Instant::now() < self.limits.end;
        self.options.retry && is_temporary && has_time
    }

    fn count(&self, sequence: u64, sent: &Sent) -> io::Result<()> {
        let mut state = self.state.borrow_mut();
        state.tally.recipients_refused += sent.recipients_refused;
        state.tally.count(sent.outcome);
        if let (Outcome::Accepted, Some(since_final_dot)) = (sent.outcome, sent.since_final_dot) {
            let intended = self.schedule.intended(sequence);
            let since_intended = intended.map(|after| (self.start + after).elapsed());
            state.tally.record_accepted(since_final_dot, since_intended);
            if let Some(accepted) = &mut state.accepted {
                let mut token = Vec::new();
                self.pattern.write_token(sequence, &mut token);
                return accepted.record(&token);
            }
        }
        Ok(())
    }
}

/// A server that restarts is tried again after this.
const RECONNECT_PAUSE: Duration = Duration::from_millis(20);

/// Added to the pause up to seven times, so that connections do not come all at once.
const RECONNECT_SPREAD: Duration = Duration::from_millis(1);

/// A message refused with 4xx is tried again after this.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::{self, SinkReport};
    use clap::Parser;
    use std::collections::BTreeSet;
    use std::path::Path;

    fn sink_options(arguments: &[&str], port: u16, received: &Path) -> sink::Options {
        let listen = format!("127.0.0.1:{port}");
        let received = received.display().to_string();
        let fixed = ["sink", "--listen", &listen, "--received", &received, "--linger", "50"];
        sink::Options::try_parse_from(fixed.iter().chain(arguments)).expect("they are right")
    }

    fn source_options(arguments: &[&str], port: u16, accepted: &Path) -> Options {
        let server = format!("127.0.0.1:{port}");
        let accepted = accepted.display().to_string();
        // The sink may begin to listen a little later than the source connects.
        let fixed = ["source", "--server", &server, "--accepted", &accepted, "--keep-going"];
        Options::try_parse_from(fixed.iter().chain(arguments)).expect("they are right")
    }

    /// Runs a source against a sink, and holds what was accepted against what was received.
    fn exchange(name: &str, source: &[&str], sink: &[&str]) -> (SourceReport, SinkReport) {
        let directory = format!("ringpost-perf-{name}-{}", std::process::id());
        let directory = std::env::temp_dir().join(directory);
        std::fs::create_dir(&directory).expect("the temporary directory is writable");
        let (accepted, received) = (directory.join("accepted"), directory.join("received"));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let port = listener.local_addr().expect("it is bound").port();
        drop(listener);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let reports = runtime.expect("a runtime can be made").block_on(async {
            let sink = sink::run(sink_options(sink, port, &received));
            let source = run(source_options(source, port, &accepted));
            tokio::try_join!(source, sink)
        });
        let tokens = |path: &Path| -> BTreeSet<String> {
            let text = std::fs::read_to_string(path).expect("it was written");
            text.lines().map(str::to_owned).collect()
        };
        assert_eq!(tokens(&accepted), tokens(&received));
        std::fs::remove_dir_all(&directory).expect("it is ours");
        reports.expect("both can run")
    }

    #[test]
    fn every_message_arrives_with_and_without_pipelining() {
        for extra in [&["--pipelining"][..], &[]] {
            let plan = ["--messages", "60", "--connections", "4", "--size", "3000"];
            let limits = ["--messages-per-connection", "5", "--clients", "3"];
            let source = [&plan[..], &limits, extra].concat();
            let (sent, taken) = exchange("plain", &source, &["--expect", "60"]);
            assert!(sent.all_accepted());
            assert_eq!((taken.messages, taken.unique, taken.octets), (60, 60, 180_000));
            assert_eq!(taken.messages_of_connection_max, 5);
            assert_eq!(sent.final_dot_to_reply.count, 60);
        }
    }

    #[test]
    fn temporary_failures_are_retried_when_asked_for() {
        let source = ["--messages", "20", "--retry", "--pipelining", "--to", "u%d@x.example"];
        let sink = ["--expect", "20", "--greylist", "--temporary-failure", "0.3"];
        let (sent, taken) = exchange("retry", &source, &sink);
        assert!(sent.all_accepted());
        assert_eq!((taken.unique, taken.duplicates, taken.recipients_greylisted), (20, 0, 20));
        assert_eq!(sent.retries, 20 + taken.temporary_failures);
    }

    #[test]
    fn a_connection_lost_at_the_dot_leaves_its_message_unknown() {
        let source = ["--messages", "10", "--connections", "2"];
        let (sent, taken) = exchange("drop", &source, &["--drop-at-dot", "1", "--max-time", "2"]);
        assert_eq!((sent.accepted, sent.unknown, sent.lost_before_final_dot), (0, 10, 0));
        assert_eq!((taken.messages, taken.dropped_at_dot), (0, 10));
    }

    #[test]
    fn a_rate_spaces_messages_and_counts_from_the_intended_time() {
        let source = ["--messages", "50", "--rate", "200", "--connections", "5"];
        let sink = ["--expect", "50", "--reply-delay", "1"];
        let (sent, _) = exchange("rate", &source, &sink);
        assert!(sent.seconds >= 49.0 / 200.0);
        assert_eq!(sent.intended_to_reply.count, 50);
        assert!(sent.intended_to_reply.p50 >= sent.final_dot_to_reply.p50);
    }
}
