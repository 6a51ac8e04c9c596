//! The sockets of a sink: accepts connections, moves bytes between them and the conversations,
//! and writes what has been counted.

use std::cell::RefCell;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{interval, sleep};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::{ServerConfig, crypto::ring};

use super::arrivals::{Arrival, Arrivals, SinkReport};
use super::behaviour::{Behaviour, Verdict};
use super::keep;
use super::options::Options;
use super::reception::{Reception, Step};
use crate::date::unix_microseconds;
use crate::token_file::{FLUSH_INTERVAL, TokenFile};

/// Takes mail until all that is expected has arrived, the time is over, or SIGTERM or SIGINT
/// comes. Returns the counts.
pub async fn run(options: Options) -> io::Result<SinkReport> {
    let listener = listen(&options)?;
    println!("listening on {}", listener.local_addr()?);
    let sink = Rc::new(Sink::new(options)?);
    let tasks = LocalSet::new();
    tasks.run_until(take_mail(Rc::clone(&sink), listener)).await?;
    sink.flush()?;
    sink.write_report()?;
    let report = sink.state.borrow().arrivals.report().clone();
    Ok(report)
}

/// What all connections share.
struct Sink {
    options: Options,
    acceptor: Option<TlsAcceptor>,
    state: RefCell<State>,
    /// All that is expected has arrived.
    is_complete: Notify,
    /// A file could not be written.
    failure: Notify,
}

struct State {
    arrivals: Arrivals,
    behaviour: Behaviour,
    received: Option<TokenFile>,
    error: Option<io::Error>,
}

impl Sink {
    fn new(mut options: Options) -> io::Result<Self> {
        let received = options.received.as_deref().map(TokenFile::append_to).transpose()?;
        if let Some(directory) = &options.keep {
            std::fs::create_dir_all(directory)?;
        }
        let acceptor = if options.starttls { Some(tls_acceptor()?) } else { None };
        if options.starttls {
            options.extensions.push("STARTTLS".to_owned());
        }
        let Options { temporary_failure, drop_at_dot, greylist, seed, .. } = options;
        let behaviour = Behaviour::new(temporary_failure, drop_at_dot, greylist, seed);
        let arrivals = Arrivals::default();
        Ok(Self {
            options,
            acceptor,
            state: RefCell::new(State { arrivals, behaviour, received, error: None }),
            is_complete: Notify::new(),
            failure: Notify::new(),
        })
    }

    fn flush(&self) -> io::Result<()> {
        match &mut self.state.borrow_mut().received {
            Some(received) => received.flush(),
            None => Ok(()),
        }
    }

    fn write_report(&self) -> io::Result<()> {
        match &self.options.report {
            Some(path) => replace_json(path, self.state.borrow().arrivals.report()),
            None => Ok(()),
        }
    }
}

async fn take_mail(sink: Rc<Sink>, listener: TcpListener) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut flush = interval(FLUSH_INTERVAL);
    let mut report = interval(REPORT_INTERVAL);
    let end = sleep(Duration::from_secs(sink.options.max_time));
    tokio::pin!(end);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => admit(&sink, stream),
                // A client that is gone already, or too many open files: others may go on.
                Err(_) => sleep(ACCEPT_PAUSE).await,
            },
            _ = flush.tick() => sink.flush()?,
            _ = report.tick() => sink.write_report()?,
            () = sink.is_complete.notified() => {
                let linger = Duration::from_millis(sink.options.linger);
                end.as_mut().reset(tokio::time::Instant::now() + linger);
            }
            () = sink.failure.notified() => {
                return sink.state.borrow_mut().error.take().map_or(Ok(()), Err);
            }
            () = &mut end => return Ok(()),
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
        }
    }
}

fn admit(sink: &Rc<Sink>, stream: TcpStream) {
    let mut state = sink.state.borrow_mut();
    if state.arrivals.connections_open() >= CONNECTIONS_MAX {
        let refused = stream.try_write(b"421 4.3.2 Too many connections\r\n");
        drop((refused, stream));
        return;
    }
    state.arrivals.connection_opened();
    let sink = Rc::clone(sink);
    spawn_local(async move {
        let served = serve(&sink, stream).await;
        // A connection may be lost at any time; what has arrived is counted all the same.
        drop(served);
        sink.state.borrow_mut().arrivals.connection_closed();
    });
}

async fn serve(sink: &Sink, mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keep = sink.options.keep.is_some();
    let mut reception = Reception::new(sink.options.extensions.clone(), keep);
    let mut messages = 0;
    stream.write_all(b"220 sink.perf.example ESMTP\r\n").await?;
    let step = converse(sink, &mut stream, &mut reception, &mut messages).await?;
    if let (Step::StartTls, Some(acceptor)) = (step, &sink.acceptor) {
        reception.forget_plaintext();
        let mut stream = acceptor.accept(stream).await?;
        converse(sink, &mut stream, &mut reception, &mut messages).await?;
        return stream.shutdown().await;
    }
    stream.shutdown().await
}

/// Converses until the connection ends or TLS begins.
async fn converse<Stream>(
    sink: &Sink,
    stream: &mut Stream,
    reception: &mut Reception,
    messages: &mut u64,
) -> io::Result<Step>
where
    Stream: AsyncRead + AsyncWrite + Unpin,
{
    let mut received = vec![0; RECEIVE_LENGTH];
    let mut replies = Vec::new();
    loop {
        let length = stream.read(&mut received).await?;
        if length == 0 {
            return Ok(Step::Close);
        }
        let mut input = &received[..length];
        loop {
            let step = {
                let state = &mut *sink.state.borrow_mut();
                let step = reception.receive(&mut input, &mut state.behaviour, &mut replies);
                state.arrivals.record_greylisted(reception.take_greylisted());
                step
            };
            match step {
                Step::Wait => break,
                Step::Content => {}
                Step::StartTls | Step::Close => {
                    stream.write_all(&replies).await?;
                    return Ok(step);
                }
            }
            if sink.options.reply_delay > 0 {
                stream.write_all(&replies).await?;
                replies.clear();
                sleep(Duration::from_millis(sink.options.reply_delay)).await;
            }
            let verdict = sink.judge(reception, messages);
            if verdict == Verdict::Drop {
                return Ok(Step::Close);
            }
            reception.conclude(verdict, &mut replies);
        }
        stream.write_all(&replies).await?;
        replies.clear();
    }
}

impl Sink {
    /// Decides about a content and counts it.
    fn judge(&self, reception: &Reception, messages: &mut u64) -> Verdict {
        let state = &mut *self.state.borrow_mut();
        let verdict = state.behaviour.verdict();
        match verdict {
            Verdict::Accept => {}
            Verdict::TemporaryFailure => state.arrivals.record_temporary_failure(),
            Verdict::Drop => state.arrivals.record_drop(),
        }
        if verdict == Verdict::Accept {
            *messages += 1;
            if let Err(error) = self.record(state, reception, *messages) {
                state.error = Some(error);
                self.failure.notify_one();
                return Verdict::TemporaryFailure;
            }
        }
        verdict
    }

    fn record(
        &self,
        state: &mut State,
        reception: &Reception,
        of_connection: u64,
    ) -> io::Result<()> {
        let token = reception.token();
        let unique_before = state.arrivals.unique();
        let count = state.arrivals.record(Arrival {
            token,
            octets: reception.octets(),
            recipients: reception.recipients(),
            of_connection,
            unix_microseconds: unix_microseconds(),
        });
        let unique = state.arrivals.unique();
        if unique > unique_before && self.options.expect == Some(unique) {
            self.is_complete.notify_one();
        }
        if let (Some(directory), Some(content)) = (&self.options.keep, reception.kept()) {
            let number = state.arrivals.report().messages;
            keep::write(&keep::path(directory, token, count, number), &content)?;
        }
        match (&mut state.received, token) {
            (Some(received), Some(token)) => received.record(token),
            _ => Ok(()),
        }
    }
}

fn listen(options: &Options) -> io::Result<TcpListener> {
    let is_v4 = options.listen.is_ipv4();
    let socket = if is_v4 { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(options.listen)?;
    socket.listen(LISTEN_BACKLOG)
}

fn tls_acceptor() -> io::Result<TlsAcceptor> {
    let names = vec!["sink.perf.example".to_owned(), "localhost".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).map_err(io::Error::other)?;
    let key = PrivateKeyDer::try_from(made.key_pair.serialize_der()).map_err(io::Error::other)?;
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(io::Error::other)?;
    let certificates = vec![made.cert.der().clone()];
    let config = builder.with_no_client_auth().with_single_cert(certificates, key);
    Ok(TlsAcceptor::from(Arc::new(config.map_err(io::Error::other)?)))
}

/// Replaces a file at once, so that whoever reads it finds a whole report.
fn replace_json(path: &Path, report: &SinkReport) -> io::Result<()> {
    let unfinished = path.with_extension("unfinished");
    std::fs::write(&unfinished, serde_json::to_vec_pretty(report)?)?;
    std::fs::rename(unfinished, path)
}

/// Connections at once; the next one is refused with 421.
pub const CONNECTIONS_MAX: u64 = 10_000;

/// Octets read at once: several messages of the usual size.
const RECEIVE_LENGTH: usize = 64 * 1024;

const LISTEN_BACKLOG: u32 = 4096;
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);
