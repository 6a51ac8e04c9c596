//! What the configuration means: every name bound, every default filled in, everything compiled.
//!
//! A Snapshot never changes. Shards share it by `Arc` and drop it when their last connection that
//! began under it ends; nothing reads configuration in between.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use ringpost_delivery::{destination::Controls, retry::BounceProfile, route::Routes};
use ringpost_policy::{filter::Filters, hat::Hat, rat::Rat};

/// One adopted configuration.
#[derive(Debug)]
pub struct Snapshot {
    /// Our name in greetings, EHLO and `Received`.
    pub hostname: Arc<str>,
    /// Where the spool and everything else that must survive lives.
    pub data_dir: PathBuf,
    /// How many shards.
    pub workers: Workers,
    /// Where operators reach the daemon.
    pub control: Control,
    /// How names are looked up.
    pub dns: Dns,
    /// The certificate of all listeners.
    pub tls: Tls,
    /// What a client may cost.
    pub limits: Limits,
    /// In the order of the file.
    pub listeners: Vec<Arc<Listener>>,
    /// All filters, those of files before those written inline.
    pub filters: Arc<Filters>,
    /// SMTP routes.
    pub routes: Arc<Routes>,
    /// Destination controls.
    pub destinations: Arc<Controls>,
    /// How long and how often delivery is tried.
    pub bounce: BounceProfile,
    /// How delivery connections behave.
    pub delivery: Delivery,
    /// Limits of the spool.
    pub spool: Spool,
    /// What is written where.
    pub logs: Logs,
}

/// How many shards the data plane has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Workers {
    /// One for every core the process may use.
    OnePerCore,
    /// That many.
    Exactly(u16),
}

/// Where operators reach the daemon.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Control {
    /// The Unix socket of `ringpost status` and its like.
    pub socket: PathBuf,
    /// The address of the web interface; none for no web interface.
    pub admin: Option<SocketAddr>,
}

/// How names are looked up.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Dns {
    /// Asked in this order; empty for those of `/etc/resolv.conf`.
    pub servers: Vec<SocketAddr>,
    /// For one question to one server.
    pub timeout: Duration,
    /// Questions to each server before the answer is "unavailable".
    pub attempts: u32,
    /// Answers remembered.
    pub cache_size: u32,
}

/// The certificate of all listeners.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Tls {
    /// Made by the daemon at its start, for `hostname`.
    SelfSigned,
    /// PEM files; both could be read when the configuration was loaded.
    Files {
        /// The certificate, then its chain.
        certificate: PathBuf,
        /// Its private key.
        private_key: PathBuf,
    },
}

/// What a client may cost.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Connections open at once, over all listeners and shards.
    pub max_connections: u32,
    /// Octets of a header block; beyond it the message is refused, never cut.
    pub max_header_size: u32,
    /// `Received` fields; beyond it the message is refused as looping.
    pub max_hops: u32,
    /// Octets of a body kept in memory before it goes to the spool piece by piece.
    pub max_memory_per_message: u32,
    /// Silence of a client before it is told 421 (RFC 5321 4.5.3.2.7).
    pub idle_timeout: Duration,
    /// Life of a connection.
    pub max_connection_time: Duration,
    /// Life of a connection that has not brought a message yet.
    pub unsuccessful_timeout: Duration,
    /// Refused commands before the client is told 421.
    pub max_errors: u32,
    /// NOOP, RSET, VRFY and their like before the client is told 421.
    pub max_idle_commands: u32,
    /// Octets a second that a client must keep up while it sends content; 0 for no such limit.
    pub min_rate: u32,
}

/// One SMTP daemon: addresses, and who may do what through them.
#[derive(Debug)]
pub struct Listener {
    /// Unique, and kept in its case.
    pub name: Arc<str>,
    /// Where it listens; none twice in a Snapshot.
    pub addresses: Vec<SocketAddr>,
    /// Public or private.
    pub kind: ListenerKind,
    /// Who gets which mail flow policy.
    pub hat: Hat,
    /// Connections open at once, over all shards.
    pub max_connections: u32,
    /// What happens to CR and LF that are not a line ending.
    pub bare_line_endings: BareLineEndings,
}

/// Where the mail of a listener comes from.
#[derive(Debug)]
pub enum ListenerKind {
    /// From the Internet: recipients are looked up in the RAT unless the client may relay.
    Public(Rat),
    /// From inside: no RAT; whoever is accepted may write to anybody.
    Private,
}

/// What happens to CR, LF or NUL where SMTP has no place for them (RFC 5321 2.3.8).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum BareLineEndings {
    /// The message is refused: the safe answer to SMTP smuggling.
    #[default]
    Reject,
    /// They become line endings.
    Clean,
    /// They stay as they are.
    Allow,
}

/// How delivery connections behave. Timeouts are those of RFC 5321 4.5.3.2.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Delivery {
    /// Our name in EHLO.
    pub helo: Arc<str>,
    /// Connections open at once, over all destinations and shards.
    pub max_connections: u32,
    /// Until TCP is connected.
    pub connect_timeout: Duration,
    /// Until the greeting is complete.
    pub greeting_timeout: Duration,
    /// Until a reply to EHLO, STARTTLS, MAIL, RCPT, RSET or QUIT is complete.
    pub command_timeout: Duration,
    /// Until the reply to DATA is complete.
    pub data_timeout: Duration,
    /// Until one block of content is taken.
    pub content_timeout: Duration,
    /// Until the reply to the end of the content is complete.
    pub final_timeout: Duration,
    /// How long a connection without work stays open for the next message.
    pub idle_timeout: Duration,
}

/// Limits of the spool.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Spool {
    /// Octets of one file of a log.
    pub segment_size: u64,
    /// Octets of all logs of all shards; at the limit mail is refused with 452 4.3.1.
    pub max_size: u64,
    /// Octets of each shard that wait for the disk; at the limit its clients wait.
    pub max_pending: u64,
}

/// What is written where.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Logs {
    /// The history of every connection and message, in AsyncOS's format.
    pub mail_logs: MailLogs,
}

/// Where `mail_logs` goes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum MailLogs {
    /// To the standard output, for a journal.
    Stdout,
    /// To a file, appended.
    File(PathBuf),
}

impl Snapshot {
    /// The listener of that name.
    #[must_use]
    pub fn listener(&self, name: &str) -> Option<&Arc<Listener>> {
        self.listeners.iter().find(|listener| &*listener.name == name)
    }
}

impl Listener {
    /// Its RAT, if it has one.
    #[must_use]
    pub const fn rat(&self) -> Option<&Rat> {
        match &self.kind {
            ListenerKind::Public(rat) => Some(rat),
            ListenerKind::Private => None,
        }
    }
}

impl Control {
    /// Where the socket is when nobody says otherwise.
    pub(crate) fn default_socket(data_dir: &Path) -> PathBuf {
        data_dir.join("control.sock")
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 10_000,
            max_header_size: 256 << 10,
            max_hops: 100,
            max_memory_per_message: 256 << 10,
            idle_timeout: Duration::from_secs(5 * 60),
            max_connection_time: Duration::from_secs(15 * 60),
            unsuccessful_timeout: Duration::from_secs(5 * 60),
            max_errors: 20,
            max_idle_commands: 100,
            min_rate: 64,
        }
    }
}

impl Default for Spool {
    fn default() -> Self {
        Self { segment_size: 64 << 20, max_size: 16 << 30, max_pending: 64 << 20 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_can_be_shared_by_all_shards() {
        const fn assert_shared<T: Send + Sync + 'static>() {}
        assert_shared::<Arc<Snapshot>>();
    }
}
