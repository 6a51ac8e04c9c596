//! A mail server that stands in for a real one: it keeps what it accepts as files.
//!
//! Two are made of it: the tenant, which knows its users and wants TLS, and the Internet, which
//! takes mail for anybody.

use std::{
    fs, io,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard},
    thread,
    time::{Duration, Instant},
};

use ringpost_control::certificate;
use rustls::ServerConfig;

use super::stream::{CONTENT_SIZE_MAX, Stream};

/// What makes one different from another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Character {
    pub(super) host: &'static str,
    /// Refuses mail in clear, as a tenant can be told to.
    pub(super) wants_tls: bool,
    /// The only recipients it knows; none for everybody.
    pub(super) users: Option<&'static [&'static str]>,
}

/// A running one.
#[derive(Debug)]
pub(super) struct Exchanger {
    pub(super) address: SocketAddr,
    kept: Arc<Kept>,
}

/// A message that was accepted.
#[derive(Clone, Debug)]
pub(super) struct Arrival {
    pub(super) is_tls: bool,
    pub(super) sender: String,
    pub(super) recipients: Vec<String>,
    /// Where its content is.
    pub(super) file: PathBuf,
}

#[derive(Debug)]
struct Kept {
    folder: PathBuf,
    arrivals: Mutex<Vec<Arrival>>,
    changed: Condvar,
}

struct Session {
    character: Character,
    identity: Arc<ServerConfig>,
    kept: Arc<Kept>,
    stream: Stream,
    sender: Option<String>,
    recipients: Vec<String>,
}

impl Exchanger {
    /// Listens on a free port of this machine until the process ends; keeps mail in `folder`.
    pub(super) fn start(character: Character, folder: &Path) -> io::Result<Self> {
        let pair = certificate::self_signed(&folder.join("tls"), character.host)?;
        let identity = ringpost_shard::server_config(&pair.certificate, &pair.private_key)
            .map_err(io::Error::other)?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let kept = Arc::new(Kept {
            folder: folder.to_path_buf(),
            arrivals: Mutex::default(),
            changed: Condvar::new(),
        });
        let keeping = Arc::clone(&kept);
        thread::Builder::new().name(character.host.into()).spawn(move || {
            // The gateway is the only client, and it limits its own connections.
            for socket in listener.incoming().flatten() {
                let (identity, kept) = (Arc::clone(&identity), Arc::clone(&keeping));
                thread::spawn(move || serve(character, identity, kept, socket));
            }
        })?;
        Ok(Self { address, kept })
    }

    /// The first arrival that `is_wanted`, as soon as it is there.
    pub(super) fn wait(
        &self,
        until: Instant,
        is_wanted: impl Fn(&Arrival) -> bool,
    ) -> Option<Arrival> {
        let mut arrivals = self.kept.arrivals();
        loop {
            if let Some(arrival) = arrivals.iter().find(|arrival| is_wanted(arrival)) {
                return Some(arrival.clone());
            }
            let left = until.checked_duration_since(Instant::now())?;
            let waited = self.kept.changed.wait_timeout(arrivals, left);
            arrivals = waited.expect("no session panics while it holds the list").0;
        }
    }
}

impl Kept {
    fn arrivals(&self) -> MutexGuard<'_, Vec<Arrival>> {
        self.arrivals.lock().expect("no session panics while it holds the list")
    }
}

fn serve(
    character: Character,
    identity: Arc<ServerConfig>,
    kept: Arc<Kept>,
    socket: TcpStream,
) -> io::Result<()> {
    let stream = Stream::new(socket, PATIENCE)?;
    let mut session =
        Session { character, identity, kept, stream, sender: None, recipients: Vec::new() };
    session.say(&format!("220 {} ESMTP stand-in", character.host))?;
    while session.obey()? {}
    Ok(())
}

impl Session {
    /// Takes one command; false after the last.
    fn obey(&mut self) -> io::Result<bool> {
        let line = String::from_utf8_lossy(&self.stream.line()?).into_owned();
        let verb = line.split(' ').next().unwrap_or_default().to_ascii_uppercase();
        match &*verb {
            "EHLO" => self.say(&self.extensions())?,
            "HELO" => self.say(&format!("250 {}", self.character.host))?,
            "STARTTLS" if !self.stream.is_tls => {
                self.say("220 2.0.0 go ahead")?;
                self.stream.accept_tls(Arc::clone(&self.identity))?;
                self.reset();
            }
            "MAIL" if self.character.wants_tls && !self.stream.is_tls => {
                self.say("530 5.7.0 Must issue a STARTTLS command first")?;
            }
            "MAIL" => {
                self.reset();
                self.sender = Some(path(&line));
                self.say("250 2.1.0 Sender OK")?;
            }
            "RCPT" => self.recipient(path(&line))?,
            "DATA" => self.data()?,
            "RSET" => {
                self.reset();
                self.say("250 2.0.0 OK")?;
            }
            "NOOP" => self.say("250 2.0.0 OK")?,
            "QUIT" => {
                self.say("221 2.0.0 Service closing transmission channel")?;
                return Ok(false);
            }
            _ => self.say("502 5.5.1 Command not implemented")?,
        }
        Ok(true)
    }

    fn extensions(&self) -> String {
        let start_tls = if self.stream.is_tls { "" } else { "250-STARTTLS\r\n" };
        format!(
            "250-{}\r\n{start_tls}250-SIZE {CONTENT_SIZE_MAX}\r\n250-PIPELINING\r\n\
             250-ENHANCEDSTATUSCODES\r\n250 8BITMIME",
            self.character.host
        )
    }

    fn recipient(&mut self, recipient: String) -> io::Result<()> {
        let is_known = |users: &[&str]| users.iter().any(|it| it.eq_ignore_ascii_case(&recipient));
        if self.sender.is_none() {
            self.say("503 5.5.2 Need mail command")
        } else if self.character.users.is_some_and(|users| !is_known(users)) {
            self.say("550 5.4.1 Recipient address rejected: Access denied")
        } else if self.recipients.len() == RECIPIENTS_MAX {
            self.say("452 4.5.3 Too many recipients")
        } else {
            self.recipients.push(recipient);
            self.say("250 2.1.5 Recipient OK")
        }
    }

    fn data(&mut self) -> io::Result<()> {
        if self.recipients.is_empty() {
            return self.say("503 5.5.2 Need rcpt command");
        }
        self.say("354 Start mail input; end with <CRLF>.<CRLF>")?;
        let content = self.stream.content()?;
        let reply = self.keep(&content);
        self.reset();
        self.say(reply)
    }

    fn keep(&mut self, content: &[u8]) -> &'static str {
        let mut arrivals = self.kept.arrivals();
        if arrivals.len() == ARRIVALS_MAX {
            return "452 4.3.1 The demonstration keeps no more mail; start it anew";
        }
        let file = self.kept.folder.join(format!("{:04}.eml", arrivals.len() + 1));
        if fs::write(&file, content).is_err() {
            return "452 4.3.1 Insufficient system resources";
        }
        arrivals.push(Arrival {
            is_tls: self.stream.is_tls,
            sender: self.sender.take().unwrap_or_default(),
            recipients: std::mem::take(&mut self.recipients),
            file,
        });
        drop(arrivals);
        self.kept.changed.notify_all();
        "250 2.6.0 Queued mail for delivery"
    }

    fn reset(&mut self) {
        self.sender = None;
        self.recipients.clear();
    }

    fn say(&mut self, reply: &str) -> io::Result<()> {
        self.stream.send(format!("{reply}\r\n").as_bytes())
    }
}

/// What stands between angle brackets.
fn path(line: &str) -> String {
    let inside = line.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
    inside.map_or_else(String::new, |(path, _)| path.to_owned())
}

const PATIENCE: Duration = Duration::from_secs(300);
const RECIPIENTS_MAX: usize = 1_000;
/// Messages one exchanger keeps; further ones are refused for now.
const ARRIVALS_MAX: usize = 1_000;
