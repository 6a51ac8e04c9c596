//! Whether options can be written into a configuration, all of them judged at once.
//!
//! The text of a configuration is put together from strings; nothing may break out of its string.

use std::net::SocketAddr;

use ringpost_policy::hat::Entry;

use super::{BadOption, HostPort, M365};
use crate::{domain::is_domain, resolve::collide};

/// What is wrong with the options.
pub(super) fn check(options: &M365) -> Vec<BadOption> {
    let mut bad = Vec::new();
    check_names(options, &mut bad);
    check_secret(options, &mut bad);
    check_addresses(options, &mut bad);
    check_senders(options, &mut bad);
    if options.workers == Some(0) {
        refuse(&mut bad, "workers", "at least one is needed");
    }
    bad
}

fn check_names(options: &M365, bad: &mut Vec<BadOption>) {
    let M365 { domains, hostname, data_dir, .. } = options;
    if domains.is_empty() {
        refuse(bad, "domain", "at least one domain is needed");
    }
    for (number, domain) in domains.iter().enumerate() {
        let mut before = domains[..number].iter();
        // A dot keeps out ALL and Default, which are words of the configuration.
        if !is_domain(domain) || !domain.contains('.') {
            refuse(bad, "domain", format!("{domain:?} is not a mail domain"));
        } else if before.any(|other| other.eq_ignore_ascii_case(domain)) {
            refuse(bad, "domain", format!("{domain:?} is given twice"));
        }
    }
    if !is_domain(hostname) {
        refuse(bad, "hostname", format!("{hostname:?} is not a host name"));
    }
    if data_dir.trim().is_empty() || data_dir.chars().any(char::is_control) {
        refuse(bad, "data-dir", format!("{data_dir:?} is not a directory name"));
    }
}

fn check_secret(options: &M365, bad: &mut Vec<BadOption>) {
    let M365 { secret_header, secret, .. } = options;
    if !is_field_name(secret_header) {
        refuse(bad, "secret-header", format!("{secret_header:?} is not a header name"));
    }
    if !(1..=MAX_SECRET).contains(&secret.len()) || !secret.bytes().all(|it| it.is_ascii_graphic())
    {
        let message = format!("a secret is 1 to {MAX_SECRET} visible ASCII characters");
        refuse(bad, "secret-file", message);
    }
}

fn check_addresses(options: &M365, bad: &mut Vec<BadOption>) {
    let hosts =
        [("tenant-host", Some(&options.tenant_host)), ("smarthost", options.smarthost.as_ref())];
    for (option, host) in hosts {
        if let Some(host) = host.filter(|host| HostPort::parse(host).is_none()) {
            refuse(bad, option, format!("{host:?} is not HOST or HOST:PORT"));
        }
    }
    for (option, address) in addresses(options) {
        if address.port() == 0 {
            refuse(bad, option, format!("{address} has no port"));
        }
    }
    let (inbound, outbound) = (options.inbound, options.outbound);
    if inbound != outbound && collide(inbound, outbound) {
        refuse(bad, "outbound", format!("{outbound} collides with {inbound}"));
    }
}

fn check_senders(options: &M365, bad: &mut Vec<BadOption>) {
    if options.relay_senders.is_empty() {
        refuse(bad, "relay-sender", "nobody may relay");
    }
    for sender in &options.relay_senders {
        match Entry::parse(sender) {
            Ok(entry) if entry.is_all() => refuse(bad, "relay-sender", "ALL is an open relay"),
            Ok(_) => {}
            Err(error) => {
                let message = format!("{sender:?}: {error}; {}", error.help());
                refuse(bad, "relay-sender", message);
            }
        }
    }
}

fn refuse(bad: &mut Vec<BadOption>, option: &'static str, message: impl Into<String>) {
    bad.push(BadOption { option, message: message.into() });
}

fn addresses(options: &M365) -> impl Iterator<Item = (&'static str, SocketAddr)> {
    [("inbound", options.inbound), ("outbound", options.outbound)]
        .into_iter()
        .chain(options.admin.map(|address| ("admin", address)))
        .chain(options.dns_servers.iter().map(|address| ("dns", *address)))
}

/// Narrower than RFC 5322 3.6.8: what Exchange Online takes as a header name.
fn is_field_name(text: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    (1..=64).contains(&text.len()) && text.bytes().all(is_letter) && !text.starts_with('-')
}

/// Octets: the header field stays on one line, so that nobody folds it.
const MAX_SECRET: usize = 200;
