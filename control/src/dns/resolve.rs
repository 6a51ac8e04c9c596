//! One question becomes a few DNS lookups and one answer.
//!
//! The resolver library answers loopback addresses and `localhost` by itself when it is used at its
//! highest level. A gateway wants what the zone says, so its lower level is used: servers,
//! retries and transports are the library's, and what an answer means is decided here.

use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::Arc,
    time::Duration,
};

use hickory_resolver::{
    NameServerPool, PoolContext, TlsConfig,
    config::{ConnectionConfig, NameServerConfig, ResolverOpts, ServerOrderingStrategy},
    net::{
        DnsError, NetError,
        runtime::TokioRuntimeProvider,
        xfer::{DnsHandle, FirstAnswer, RetryDnsHandle},
    },
    proto::{
        op::{DnsRequestOptions, DnsResponse, Query, ResponseCode},
        rr::{Name, RData, RecordType},
    },
    system_conf,
};
use ringpost_core::lookup::{Answer, ClientName, Mx, Question};

use super::{NoServers, Settings};

#[derive(Clone)]
pub(super) struct Resolver {
    pool: RetryDnsHandle<NameServerPool<TokioRuntimeProvider>>,
    total_timeout: Duration,
}

/// An answer, and how long it may be remembered; zero for what may be different in a moment.
pub(super) struct Lasting {
    pub(super) answer: Answer,
    pub(super) ttl: Duration,
}

/// What one lookup found.
struct Found<T> {
    records: Vec<T>,
    ttl: Duration,
}

/// Why one lookup found nothing.
enum Nothing {
    NoRecords(Duration),
    NoSuchName(Duration),
    Unavailable(Arc<str>),
}

impl Resolver {
    pub(super) fn new(settings: &Settings, configuration: &Path) -> Result<Self, NoServers> {
        let mut options = ResolverOpts::default();
        options.timeout = settings.timeout;
        options.num_concurrent_reqs = 1;
        options.server_ordering_strategy = ServerOrderingStrategy::UserProvidedOrder;
        let servers = if settings.servers.is_empty() {
            let (system, _) = system_conf::read_system_conf()
                .map_err(|error| NoServers::new(configuration, error))?;
            system.name_servers().to_vec()
        } else {
            settings.servers.iter().map(|server| name_server(*server)).collect()
        };
        if servers.is_empty() {
            return Err(NoServers::new(configuration, "it lists no nameserver"));
        }
        let tls = TlsConfig::new().map_err(|error| NoServers::new(configuration, error))?;
        let context = Arc::new(PoolContext::new(options, tls));
        let pool = NameServerPool::from_config(servers, context, TokioRuntimeProvider::default());
        let pool = RetryDnsHandle::new(pool, settings.retries as usize);
        Ok(Self { pool, total_timeout: settings.total_timeout })
    }

    /// Answers within the total time-out, always.
    pub(super) async fn answer(&self, question: &Question) -> Lasting {
        let lookups = async {
            match question {
                Question::Client(address) => self.client(address.to_canonical()).await,
                Question::Mx(domain) => self.mx(domain).await,
                Question::Addresses(host) => self.addresses(host).await,
            }
        };
        match tokio::time::timeout(self.total_timeout, lookups).await {
            Ok(lasting) => lasting,
            Err(_) if matches!(question, Question::Client(_)) => {
                Lasting::briefly(Answer::Client(ClientName::Unavailable))
            }
            Err(_) => Lasting::briefly(Answer::Unavailable("timed out".into())),
        }
    }

    /// Verified when any of the names leads back. The first name stands for all otherwise.
    async fn client(&self, address: IpAddr) -> Lasting {
        let names = match self.lookup(Name::from(address), RecordType::PTR, pointer).await {
            Ok(names) => names,
            Err(Nothing::NoRecords(ttl) | Nothing::NoSuchName(ttl)) => {
                return Lasting { answer: Answer::Client(ClientName::NoName), ttl };
            }
            Err(Nothing::Unavailable(_)) => {
                return Lasting::briefly(Answer::Client(ClientName::Unavailable));
            }
        };
        let kind = if address.is_ipv4() { RecordType::A } else { RecordType::AAAA };
        let (mut ttl, mut all_answered) = (names.ttl, true);
        for name in names.records.iter().take(MAX_CLIENT_NAMES) {
            match self.lookup(name.clone(), kind, ip_address).await {
                Ok(found) if found.records.contains(&address) => {
                    let answer = Answer::Client(ClientName::Verified(text(name)));
                    return Lasting { answer, ttl: names.ttl.min(found.ttl) };
                }
                Ok(Found { ttl: other, .. })
                | Err(Nothing::NoRecords(other) | Nothing::NoSuchName(other)) => {
                    ttl = ttl.min(other);
                }
                Err(Nothing::Unavailable(_)) => all_answered = false,
            }
        }
        match names.records.first() {
            Some(name) if all_answered => {
                Lasting { answer: Answer::Client(ClientName::Mismatched(text(name))), ttl }
            }
            _ => Lasting::briefly(Answer::Client(ClientName::Unavailable)),
        }
    }

    async fn mx(&self, domain: &str) -> Lasting {
        let Some(name) = parse(domain) else {
            return Lasting::no_such_name();
        };
        match self.lookup(name, RecordType::MX, exchanger).await {
            Ok(Found { records, ttl }) => Lasting { answer: Answer::Mx(records), ttl },
            Err(nothing) => nothing.into(),
        }
    }

    async fn addresses(&self, host: &str) -> Lasting {
        let Some(name) = parse(host) else {
            return Lasting::no_such_name();
        };
        let v4 = self.lookup(name.clone(), RecordType::A, ip_address);
        let v6 = self.lookup(name, RecordType::AAAA, ip_address);
        match tokio::join!(v4, v6) {
            (Ok(mut v4), Ok(v6)) => {
                v4.records.extend(v6.records);
                Lasting { answer: Answer::Addresses(v4.records), ttl: v4.ttl.min(v6.ttl) }
            }
            // Half of an answer is used, but not remembered for longer than both halves hold.
            (Ok(found), Err(nothing)) | (Err(nothing), Ok(found)) => {
                let ttl = found.ttl.min(nothing.ttl());
                Lasting { answer: Answer::Addresses(found.records), ttl }
            }
            (Err(one), Err(other)) => one.worse(other).into(),
        }
    }

    /// Asks for the records of one kind, along CNAMEs (RFC 1034 3.6.2).
    async fn lookup<T>(
        &self,
        mut name: Name,
        kind: RecordType,
        read: fn(&RData) -> Option<T>,
    ) -> Result<Found<T>, Nothing> {
        let mut options = DnsRequestOptions::default();
        options.use_edns = true;
        options.recursion_desired = true;
        let mut alias_ttl = MAX_TTL;
        for _ in 0..MAX_ALIASES {
            let query = Query::query(name.clone(), kind);
            let response = match self.pool.lookup(query, options).first_answer().await {
                Ok(response) => response,
                Err(error) => return Err(nothing(error)),
            };
            let ttl = least_ttl(&response).min(alias_ttl);
            let records: Vec<T> = response
                .answers
                .iter()
                .filter_map(|record| read(&record.data))
                .take(MAX_RECORDS)
                .collect();
            if !records.is_empty() {
                return Ok(Found { records, ttl });
            }
            if response.response_code == ResponseCode::NXDomain {
                return Err(Nothing::NoSuchName(negative_ttl(response.negative_ttl())));
            }
            match last_alias(&response, &name) {
                Some(alias) => (name, alias_ttl) = (alias, ttl),
                None => return Err(Nothing::NoRecords(negative_ttl(response.negative_ttl()))),
            }
        }
        Err(Nothing::Unavailable("too many aliases".into()))
    }
}

impl Lasting {
    const fn briefly(answer: Answer) -> Self {
        Self { answer, ttl: Duration::ZERO }
    }

    /// What cannot be written as a name cannot be one.
    const fn no_such_name() -> Self {
        Self::briefly(Answer::NoSuchName)
    }
}

impl Nothing {
    const fn ttl(&self) -> Duration {
        match self {
            Self::NoRecords(ttl) | Self::NoSuchName(ttl) => *ttl,
            Self::Unavailable(_) => Duration::ZERO,
        }
    }

    /// A failure may hide records; and a name that has no such record may yet exist.
    fn worse(self, other: Self) -> Self {
        match (self, other) {
            (failed @ Self::Unavailable(_), _) | (_, failed @ Self::Unavailable(_)) => failed,
            (Self::NoRecords(one), other) | (other, Self::NoRecords(one)) => {
                Self::NoRecords(one.min(other.ttl()))
            }
            (Self::NoSuchName(one), Self::NoSuchName(other)) => Self::NoSuchName(one.min(other)),
        }
    }
}

impl From<Nothing> for Lasting {
    fn from(nothing: Nothing) -> Self {
        let ttl = nothing.ttl();
        let answer = match nothing {
            Nothing::NoRecords(_) => Answer::NoRecords,
            Nothing::NoSuchName(_) => Answer::NoSuchName,
            Nothing::Unavailable(why) => Answer::Unavailable(why),
        };
        Self { answer, ttl }
    }
}

fn name_server(server: SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = server.port();
        connection
    });
    NameServerConfig::new(server.ip(), true, connections.to_vec())
}

fn nothing(error: NetError) -> Nothing {
    let why = match error {
        NetError::Dns(DnsError::NoRecordsFound(no_records)) => match no_records.response_code {
            ResponseCode::NXDomain => {
                return Nothing::NoSuchName(negative_ttl(no_records.negative_ttl));
            }
            ResponseCode::NoError => {
                return Nothing::NoRecords(negative_ttl(no_records.negative_ttl));
            }
            code => code.to_str().into(),
        },
        NetError::Dns(DnsError::ResponseCode(code)) => code.to_str().into(),
        NetError::Timeout => "timed out".into(),
        error => error.to_string().into(),
    };
    Nothing::Unavailable(why)
}

fn least_ttl(response: &DnsResponse) -> Duration {
    let seconds = response.answers.iter().map(|record| record.ttl).min().unwrap_or_default();
    Duration::from_secs(seconds.into()).min(MAX_TTL)
}

//= RFC 2308 5: without an SOA the answer is not remembered.
fn negative_ttl(seconds: Option<u32>) -> Duration {
    Duration::from_secs(seconds.unwrap_or_default().into()).min(MAX_NEGATIVE_TTL)
}

/// Where the aliases of an answer lead from `name`, if they lead anywhere.
fn last_alias(response: &DnsResponse, name: &Name) -> Option<Name> {
    let mut last = None;
    for _ in 0..MAX_ALIASES {
        let from = last.unwrap_or(name);
        let next = response.answers.iter().find_map(|record| match &record.data {
            RData::CNAME(target) if record.name == *from => Some(&target.0),
            _ => None,
        });
        match next {
            Some(target) => last = Some(target),
            None => break,
        }
    }
    last.cloned()
}

fn parse(name: &str) -> Option<Name> {
    let mut name = Name::from_ascii(name).ok()?;
    name.set_fqdn(true);
    Some(name)
}

/// Lower case, without a final dot; the root is empty. Octets beyond ASCII are escaped.
fn text(name: &Name) -> Arc<str> {
    let mut text = name.to_ascii().to_ascii_lowercase();
    if text.ends_with('.') {
        text.pop();
    }
    text.into()
}

fn pointer(data: &RData) -> Option<Name> {
    match data {
        RData::PTR(name) if !name.is_root() => Some(name.0.clone()),
        _ => None,
    }
}

fn exchanger(data: &RData) -> Option<Mx> {
    match data {
        RData::MX(mx) => Some(Mx { preference: mx.preference, host: text(&mx.exchange) }),
        _ => None,
    }
}

fn ip_address(data: &RData) -> Option<IpAddr> {
    match data {
        RData::A(address) => Some(address.0.into()),
        RData::AAAA(address) => Some(address.0.into()),
        _ => None,
    }
}

/// Names of one client that are tried; a reverse zone may list thousands.
const MAX_CLIENT_NAMES: usize = 5;
/// Records used of one answer.
const MAX_RECORDS: usize = 64;
const MAX_ALIASES: usize = 8;
/// An answer is looked up anew once an hour, whatever its zone allows.
const MAX_TTL: Duration = Duration::from_secs(3_600);
/// What does not exist may soon: a domain being moved is not bounced for long.
const MAX_NEGATIVE_TTL: Duration = Duration::from_secs(300);
