//! The tables about mail: policies, listeners, filters, routes, destinations, by AsyncOS's nouns.
//!
//! Rows stay in the order of the file, because in a HAT and a RAT the order is the meaning.

use std::{net::SocketAddr, ops::Range};

use ringpost_delivery::destination::{IpPreference, Tls as DeliveryTls};
use ringpost_policy::mail_flow::{Behavior, Tls as ReceivingTls};

use crate::{
    document::{Written, read::Table},
    snapshot::BareLineEndings,
};

/// `[[mail_flow_policy]]`
#[derive(Debug)]
pub(crate) struct MailFlowPolicy {
    pub(crate) name: Option<Written<String>>,
    pub(crate) behavior: Option<Written<Behavior>>,
    pub(crate) max_messages_per_connection: Option<Written<u32>>,
    pub(crate) max_recipients_per_message: Option<Written<u32>>,
    pub(crate) max_message_size: Option<Written<u64>>,
    pub(crate) max_connections_per_ip: Option<Written<u32>>,
    pub(crate) tls: Option<Written<ReceivingTls>>,
    pub(crate) banner_code: Option<Written<u32>>,
    pub(crate) banner_text: Option<Written<String>>,
    pub(crate) reject_code: Option<Written<u32>>,
    pub(crate) reject_text: Option<Written<String>>,
    pub(crate) hostname: Option<Written<String>>,
}

/// `[[listener]]`
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) span: Range<usize>,
    pub(crate) name: Option<Written<String>>,
    pub(crate) addresses: Vec<Written<SocketAddr>>,
    pub(crate) kind: Option<Written<Kind>>,
    pub(crate) max_connections: Option<Written<u32>>,
    pub(crate) bare_line_endings: Option<Written<BareLineEndings>>,
    pub(crate) sender_groups: Vec<SenderGroup>,
    pub(crate) recipients: Vec<Recipient>,
}

/// What a listener is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Public,
    Private,
}

/// `[[listener.sender_group]]`
#[derive(Debug)]
pub(crate) struct SenderGroup {
    pub(crate) span: Range<usize>,
    pub(crate) name: Option<Written<String>>,
    pub(crate) policy: Option<Written<String>>,
    pub(crate) senders: Option<Vec<Written<String>>>,
}

/// `[[listener.recipient]]`
#[derive(Debug)]
pub(crate) struct Recipient {
    pub(crate) pattern: Option<Written<String>>,
    pub(crate) action: Option<Written<Verdict>>,
    pub(crate) reply: Option<Written<String>>,
}

/// What a RAT row says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    Accept,
    Reject,
}

/// `[filters]`
#[derive(Debug, Default)]
pub(crate) struct Filters {
    pub(crate) files: Vec<Written<String>>,
    pub(crate) script: Option<Written<String>>,
}

/// `[[smtp_route]]`
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) span: Range<usize>,
    pub(crate) domain: Option<Written<String>>,
    pub(crate) hosts: Option<Vec<Host>>,
    pub(crate) use_dns: Option<Written<bool>>,
    pub(crate) discard: Option<Written<bool>>,
}

/// One of the `hosts` of a route.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) host: Option<Written<String>>,
    pub(crate) port: Option<Written<u32>>,
    pub(crate) priority: Option<Written<u32>>,
}

/// `[[destination]]`
#[derive(Debug)]
pub(crate) struct Destination {
    pub(crate) domain: Option<Written<String>>,
    pub(crate) max_connections: Option<Written<u32>>,
    pub(crate) max_messages_per_connection: Option<Written<u32>>,
    pub(crate) tls: Option<Written<DeliveryTls>>,
    pub(crate) ip_preference: Option<Written<IpPreference>>,
}

impl MailFlowPolicy {
    pub(super) fn read_all(root: &mut Table<'_>) -> Vec<Self> {
        let tables = root.tables("mail_flow_policy");
        tables
            .into_iter()
            .map(|nested| {
                let mut table = root.nested("[[mail_flow_policy]]", nested);
                table.require("name", "sender groups refer to it by this name");
                let policy = Self {
                    name: table.text("name"),
                    behavior: table.choice("behavior", BEHAVIORS),
                    max_messages_per_connection: table
                        .count("max_messages_per_connection", 1..=1_000_000),
                    max_recipients_per_message: table
                        .count("max_recipients_per_message", 1..=100_000),
                    max_message_size: table.size("max_message_size", 1 << 10..=4 << 30),
                    max_connections_per_ip: table.count("max_connections_per_ip", 1..=1_000_000),
                    tls: table.choice("tls", RECEIVING_TLS),
                    banner_code: table.count("banner_code", 200..=299),
                    banner_text: table.text("banner_text"),
                    reject_code: table.count("reject_code", 400..=599),
                    reject_text: table.text("reject_text"),
                    hostname: table.text("hostname"),
                };
                table.finish();
                policy
            })
            .collect()
    }
}

impl Listener {
    pub(super) fn read_all(root: &mut Table<'_>) -> Vec<Self> {
        let tables = root.tables("listener");
        tables
            .into_iter()
            .map(|nested| {
                let mut table = root.nested("[[listener]]", nested);
                table.require("name", "logs and `recv-listener` call it by this name");
                table.require("addresses", "where it listens: addresses = [\"0.0.0.0:25\"]");
                table.require(
                    "kind",
                    "\"public\" for mail from the Internet, \"private\" from inside",
                );
                let listener = Self {
                    span: table.span(),
                    name: table.text("name"),
                    addresses: table.socket_addresses("addresses", None).unwrap_or_default(),
                    kind: table.choice("kind", KINDS),
                    max_connections: table.count("max_connections", 1..=1_000_000),
                    bare_line_endings: table.choice("bare_line_endings", BARE),
                    sender_groups: SenderGroup::read_all(&mut table),
                    recipients: Recipient::read_all(&mut table),
                };
                table.finish();
                listener
            })
            .collect()
    }
}

impl SenderGroup {
    fn read_all(listener: &mut Table<'_>) -> Vec<Self> {
        let tables = listener.tables("sender_group");
        tables
            .into_iter()
            .map(|nested| {
                let mut table = listener.nested("[[listener.sender_group]]", nested);
                table.require("policy", "which mail flow policy its members get");
                let group = Self {
                    span: table.span(),
                    name: table.text("name"),
                    policy: table.text("policy"),
                    senders: table.texts("senders"),
                };
                table.finish();
                group
            })
            .collect()
    }
}

impl Recipient {
    fn read_all(listener: &mut Table<'_>) -> Vec<Self> {
        let tables = listener.tables("recipient");
        tables
            .into_iter()
            .map(|nested| {
                let mut table = listener.nested("[[listener.recipient]]", nested);
                table.require("match", "a domain, an address, \"user@\", or \"ALL\"");
                table.require("action", "\"accept\" or \"reject\"");
                let recipient = Self {
                    pattern: table.text("match"),
                    action: table.choice("action", VERDICTS),
                    reply: table.text("reply"),
                };
                table.finish();
                recipient
            })
            .collect()
    }
}

impl Filters {
    pub(super) fn read(root: &mut Table<'_>) -> Self {
        let Some(nested) = root.table("filters") else {
            return Self::default();
        };
        let mut table = root.nested("[filters]", nested);
        let filters =
            Self { files: table.texts("files").unwrap_or_default(), script: table.text("script") };
        table.finish();
        filters
    }
}

impl Route {
    pub(super) fn read_all(root: &mut Table<'_>) -> Vec<Self> {
        let tables = root.tables("smtp_route");
        tables
            .into_iter()
            .map(|nested| {
                let mut table = root.nested("[[smtp_route]]", nested);
                table.require("domain", "\"example.com\", \".example.com\" or \"ALL\"");
                let route = Self {
                    span: table.span(),
                    domain: table.text("domain"),
                    hosts: Host::read_all(&mut table),
                    use_dns: table.flag("use_dns"),
                    discard: table.flag("discard"),
                };
                table.finish();
                route
            })
            .collect()
    }
}

impl Host {
    /// None only when `hosts` was not written.
    fn read_all(route: &mut Table<'_>) -> Option<Vec<Self>> {
        let is_written = route.has("hosts");
        let tables = route.tables("hosts");
        let hosts = tables.into_iter().map(|nested| {
            let mut table = route.nested("hosts", nested);
            table.require("host", "a host name or an IP address");
            let host = Self {
                host: table.text("host"),
                port: table.count("port", 1..=65_535),
                priority: table.count("priority", 0..=65_535),
            };
            table.finish();
            host
        });
        let hosts = hosts.collect();
        is_written.then_some(hosts)
    }
}

impl Destination {
    pub(super) fn read_all(root: &mut Table<'_>) -> Vec<Self> {
        let tables = root.tables("destination");
        tables
            .into_iter()
            .map(|nested| {
                let mut table = root.nested("[[destination]]", nested);
                table.require("domain", "a recipient domain, or \"Default\" for all others");
                let destination = Self {
                    domain: table.text("domain"),
                    max_connections: table.count("max_connections", 1..=1_000),
                    max_messages_per_connection: table
                        .count("max_messages_per_connection", 1..=1_000),
                    tls: table.choice("tls", DELIVERY_TLS),
                    ip_preference: table.choice("ip_preference", IP_PREFERENCES),
                };
                table.finish();
                destination
            })
            .collect()
    }
}

const BEHAVIORS: &[(&str, Behavior)] = &[
    ("accept", Behavior::Accept),
    ("relay", Behavior::Relay),
    ("reject", Behavior::Reject),
    ("tcprefuse", Behavior::TcpRefuse),
    ("continue", Behavior::Continue),
];
const RECEIVING_TLS: &[(&str, ReceivingTls)] = &[
    ("off", ReceivingTls::Off),
    ("preferred", ReceivingTls::Preferred),
    ("required", ReceivingTls::Required),
];
const KINDS: &[(&str, Kind)] = &[("public", Kind::Public), ("private", Kind::Private)];
const BARE: &[(&str, BareLineEndings)] = &[
    ("reject", BareLineEndings::Reject),
    ("clean", BareLineEndings::Clean),
    ("allow", BareLineEndings::Allow),
];
const VERDICTS: &[(&str, Verdict)] = &[("accept", Verdict::Accept), ("reject", Verdict::Reject)];
const DELIVERY_TLS: &[(&str, DeliveryTls)] = &[
    ("none", DeliveryTls::None),
    ("preferred", DeliveryTls::Preferred),
    ("required", DeliveryTls::Required),
    ("preferred_verify", DeliveryTls::PreferredVerify),
    ("required_verify", DeliveryTls::RequiredVerify),
];
const IP_PREFERENCES: &[(&str, IpPreference)] = &[
    ("ipv6_preferred", IpPreference::Ipv6Preferred),
    ("ipv6_required", IpPreference::Ipv6Required),
    ("ipv4_preferred", IpPreference::Ipv4Preferred),
    ("ipv4_required", IpPreference::Ipv4Required),
];
