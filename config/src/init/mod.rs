//! Configurations to begin with: complete files for a known scenario, to be read and changed.
//!
//! Pure functions from options to text; whoever calls them writes the file.

mod check;
mod m365;
mod outside;

use std::{fmt, net::SocketAddr};

use crate::domain::is_domain;

/// What has to be known to stand in front of a Microsoft 365 tenant.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct M365 {
    /// The tenant's accepted domains; at least one.
    pub domains: Vec<String>,
    /// `HOST` or `HOST:PORT`: the MX that Microsoft gave the tenant.
    pub tenant_host: String,
    /// This gateway's own name in the DNS.
    pub hostname: String,
    /// The header field in which the tenant's transport rule proves that mail is its own.
    pub secret_header: String,
    /// The value of that field: 1 to 200 printable ASCII characters without spaces.
    pub secret: String,
    /// Where the spool lives.
    pub data_dir: String,
    /// Where mail from the Internet arrives.
    pub inbound: SocketAddr,
    /// Where mail from the tenant arrives; if it is `inbound`, one listener serves both.
    pub outbound: SocketAddr,
    /// Where the web interface will listen, if it is wanted.
    pub admin: Option<SocketAddr>,
    /// Whom to ask for names; empty for the machine's own resolver.
    pub dns_servers: Vec<SocketAddr>,
    /// HAT entries of those who may relay.
    pub relay_senders: Vec<String>,
    /// `HOST` or `HOST:PORT` that takes all outgoing mail; none for the recipients' own MX.
    pub smarthost: Option<String>,
    /// What delivery to the tenant demands of TLS.
    pub tenant_tls: TenantTls,
    /// How many shards; none for one on each core.
    pub workers: Option<u16>,
}

/// What delivery to the tenant demands of TLS.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum TenantTls {
    /// Never TLS: for a laboratory.
    None,
    /// TLS when offered.
    Preferred,
    /// TLS or no delivery; any certificate.
    #[default]
    Required,
    /// TLS with a certificate that proves the tenant's host name, or no delivery.
    Verify,
}

/// An option that cannot be written into a configuration, and why.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BadOption {
    /// As on the command line, without dashes: `tenant-host`.
    pub option: &'static str,
    /// What is wrong with it: one line without a full stop.
    pub message: String,
}

impl M365 {
    /// The scenario with everything but the domain, the tenant and the secret left to defaults.
    ///
    /// One listener on port 25 serves both directions, because Exchange Online delivers to smart
    /// hosts on no other port.
    #[must_use]
    pub fn new(domain: &str, tenant_host: &str, secret: &str) -> Self {
        Self {
            domains: vec![domain.to_owned()],
            tenant_host: tenant_host.to_owned(),
            hostname: format!("mx.{domain}"),
            secret_header: "X-OUTBOUND-AUTH".to_owned(),
            secret: secret.to_owned(),
            data_dir: "/var/lib/ringpost".to_owned(),
            inbound: SocketAddr::from(([0, 0, 0, 0], 25)),
            outbound: SocketAddr::from(([0, 0, 0, 0], 25)),
            admin: None,
            dns_servers: Vec::new(),
            relay_senders: vec![".protection.outlook.com".to_owned()],
            smarthost: None,
            tenant_tls: TenantTls::default(),
            workers: None,
        }
    }
}

/// The complete, commented configuration of the Microsoft 365 scenario. It holds the secret: let
/// nobody but the daemon read the file.
///
/// # Errors
/// Every option that cannot be used, at once.
pub fn m365(options: &M365) -> Result<String, Vec<BadOption>> {
    let bad = check::check(options);
    if bad.is_empty() { Ok(m365::text(options)) } else { Err(bad) }
}

impl fmt::Display for BadOption {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "--{}: {}", self.option, self.message)
    }
}

impl std::error::Error for BadOption {}

/// A host that mail is delivered to.
struct HostPort<'a> {
    host: &'a str,
    port: u16,
}

impl<'a> HostPort<'a> {
    /// Reads `host`, `host:port`, `192.0.2.1:25`, `2001:db8::1` or `[2001:db8::1]:25`.
    fn parse(text: &'a str) -> Option<Self> {
        let (host, port) = match text.rsplit_once(':') {
            _ if text.parse::<std::net::Ipv6Addr>().is_ok() => (text, 25),
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
                (host, port.parse().ok().filter(|port| *port != 0)?)
            }
            Some(_) if !text.starts_with('[') => return None,
            _ => (text, 25),
        };
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let is_address = bare.parse::<std::net::IpAddr>().is_ok();
        let is_number = bare.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        let is_name = bare == host && is_domain(host) && !is_number;
        (is_address || is_name).then_some(Self { host: bare, port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut M365)) -> Vec<&'static str> {
        let mut options = M365::new("contoso.example", "contoso.mail.example", "s3cret");
        change(&mut options);
        let bad = m365(&options).expect_err("a bad option");
        bad.into_iter().map(|bad| bad.option).collect()
    }

    #[test]
    fn what_could_break_out_of_the_file_is_refused() {
        for domain in ["", "ALL", "contoso", "a.example\"\n[tls]", "ü.example", "a..example"] {
            let options = refused(|options| options.domains = vec![domain.to_owned()]);
            assert_eq!(options, ["domain"], "{domain}");
        }
        for secret in ["", "a b", "a\nb", "ä", "a\u{7f}", &"x".repeat(201)] {
            let options = refused(|options| options.secret = secret.to_owned());
            assert_eq!(options, ["secret-file"], "{secret}");
        }
        for host in ["", "a b", "a:0", "a:x", "a:65536", "1.2.3", "[a]:25", "a\"b", "::1:x"] {
            let options = refused(|options| options.tenant_host = host.to_owned());
            assert_eq!(options, ["tenant-host"], "{host}");
        }
        for sender in ["ALL", "a@b.example", "10.0.0.0/33", "SBRS[1:2]", ""] {
            let options = refused(|options| options.relay_senders = vec![sender.to_owned()]);
            assert_eq!(options, ["relay-sender"], "{sender}");
        }
        for header in ["", "X AUTH", "X:", "X\"", "-X"] {
            let options = refused(|options| options.secret_header = header.to_owned());
            assert_eq!(options, ["secret-header"], "{header}");
        }
    }

    #[test]
    fn all_bad_options_are_told_at_once() {
        let options = refused(|options| {
            options.hostname = "a b".to_owned();
            options.data_dir = "\n".to_owned();
            options.inbound.set_port(0);
            options.workers = Some(0);
        });
        assert_eq!(options, ["hostname", "data-dir", "inbound", "workers"]);
    }

    #[test]
    fn listeners_do_not_collide() {
        let outbound = SocketAddr::from(([127, 0, 0, 1], 25));
        assert_eq!(refused(|options| options.outbound = outbound), ["outbound"]);
    }

    #[test]
    fn hosts_have_ports() {
        for (text, host, port) in [
            ("mx.example", "mx.example", 25),
            ("mx.example:2525", "mx.example", 2525),
            ("127.0.0.1:99", "127.0.0.1", 99),
            ("2001:db8::1", "2001:db8::1", 25),
            ("[2001:db8::1]:26", "2001:db8::1", 26),
            ("[2001:db8::1]", "2001:db8::1", 25),
        ] {
            let parsed = HostPort::parse(text).expect(text);
            assert_eq!((parsed.host, parsed.port), (host, port), "{text}");
        }
    }
}
