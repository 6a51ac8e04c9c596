//! SMTP routes and destination controls: where mail goes, and how hard we may press.
//!
//! Both tables are keyed by recipient domain and looked up most specific first, so two rows with
//! one key would hide each other.

use std::{collections::BTreeMap, ops::Range};

use ringpost_delivery::{
    destination::{Control, Controls},
    domain::Pattern,
    route::{Host, MAX_HOSTS_PER_ROUTE, MAX_ROUTES, Route, RouteHost, Routes, SMTP_PORT},
};

use super::{Resolver, policies::set};
use crate::{
    diagnostic::Code,
    document::{self, Written},
};

impl Resolver<'_> {
    pub(super) fn routes(&mut self, written: &[document::Route]) -> Routes {
        let mut rows = BTreeMap::new();
        for row in written {
            let pattern = self.domain_pattern(row.domain.as_ref());
            let route = self.route(row);
            let (Some((pattern, span)), Some(route)) = (pattern, route) else {
                continue;
            };
            if rows.len() == MAX_ROUTES {
                let message = format!("there are at most {MAX_ROUTES} SMTP routes");
                self.report.error(&self.source, &span, Code::BadValue, message);
                break;
            }
            if rows.contains_key(&pattern) {
                self.duplicate_row(&span, &format!("{pattern} has two SMTP routes"));
                continue;
            }
            rows.insert(pattern, route);
        }
        Routes::new(rows.into_iter().collect()).expect("rows were counted and have one key each")
    }

    pub(super) fn destinations(&mut self, written: &[document::Destination]) -> Controls {
        let mut rows: BTreeMap<Pattern, &document::Destination> = BTreeMap::new();
        for row in written {
            let Some((pattern, span)) = self.domain_pattern(row.domain.as_ref()) else {
                continue;
            };
            if rows.contains_key(&pattern) {
                let name = match &pattern {
                    Pattern::All => "Default".to_owned(),
                    Pattern::Exact(_) | Pattern::Below(_) => pattern.to_string(),
                };
                self.duplicate_row(&span, &format!("destination {name} has two rows"));
                continue;
            }
            rows.insert(pattern, row);
        }
        let default = match rows.remove(&Pattern::All) {
            Some(row) => control(row, Control::default()),
            None => Control::default(),
        };
        let rows = rows.into_iter().map(|(pattern, row)| (pattern, control(row, default.clone())));
        Controls::new(default.clone(), rows.collect()).expect("rows have one key each, none is ALL")
    }

    fn duplicate_row(&mut self, span: &Range<usize>, message: &str) {
        self.report
            .error(&self.source, span, Code::DuplicateRow, message)
            .help("put everything about one domain into one row");
    }

    fn domain_pattern(
        &mut self,
        written: Option<&Written<String>>,
    ) -> Option<(Pattern, Range<usize>)> {
        let Written { value, span } = written?;
        match Pattern::parse(value) {
            Ok(pattern) => Some((pattern, span.clone())),
            Err(error) => {
                let message = format!("domain {value:?}: {error}");
                self.report
                    .error(&self.source, span, Code::BadDomain, message)
                    .help("write \"example.com\", \".example.com\" for all below it, or \"ALL\"");
                None
            }
        }
    }

    fn route(&mut self, written: &document::Route) -> Option<Route> {
        let use_dns = written.use_dns.as_ref().filter(|flag| flag.value);
        let discard = written.discard.as_ref().filter(|flag| flag.value);
        let ways = usize::from(written.hosts.is_some())
            + usize::from(use_dns.is_some())
            + usize::from(discard.is_some());
        if ways != 1 {
            let domain = written.domain.as_ref().map_or("", |domain| &domain.value);
            let message = match ways {
                0 => format!("the SMTP route of {domain:?} goes nowhere"),
                _ => format!("the SMTP route of {domain:?} says more than one way to go"),
            };
            self.report
                .error(&self.source, &written.span, Code::ContradictoryRoute, message)
                .help("write exactly one of `hosts`, `use_dns = true` and `discard = true`");
            return None;
        }
        match &written.hosts {
            Some(hosts) => self.hosts(hosts, written).map(Route::Hosts),
            None if use_dns.is_some() => Some(Route::UseDns),
            None => Some(Route::Discard),
        }
    }

    fn hosts(
        &mut self,
        hosts: &[document::Host],
        route: &document::Route,
    ) -> Option<Vec<RouteHost>> {
        if hosts.is_empty() || hosts.len() > MAX_HOSTS_PER_ROUTE {
            let message = format!("an SMTP route has 1 to {MAX_HOSTS_PER_ROUTE} hosts");
            self.report
                .error(&self.source, &route.span, Code::ContradictoryRoute, message)
                .help("hosts = [{ host = \"mx.example\", port = 25, priority = 0 }]");
            return None;
        }
        Some(hosts.iter().filter_map(|host| self.host(host)).collect())
            .filter(|hosts: &Vec<_>| !hosts.is_empty())
    }

    fn host(&mut self, written: &document::Host) -> Option<RouteHost> {
        let Written { value, span } = written.host.as_ref()?;
        let Some(host) = Host::parse(value) else {
            let message = format!("{value:?} is not a host name or IP address");
            self.report
                .error(&self.source, span, Code::BadValue, message)
                .help("the port has a key of its own: { host = \"mx.example\", port = 25 }");
            return None;
        };
        Some(RouteHost {
            host,
            port: number(written.port.as_ref(), SMTP_PORT),
            priority: number(written.priority.as_ref(), 0),
        })
    }
}

/// What a row sets, and the Default row for the rest.
fn control(written: &document::Destination, mut control: Control) -> Control {
    set(&mut control.max_connections, written.max_connections.as_ref());
    set(&mut control.max_messages_per_connection, written.max_messages_per_connection.as_ref());
    set(&mut control.tls, written.tls.as_ref());
    set(&mut control.ip_preference, written.ip_preference.as_ref());
    control
}

fn number(written: Option<&Written<u32>>, default: u16) -> u16 {
    written.map_or(default, |written| {
        u16::try_from(written.value).expect("the document bounds ports and priorities")
    })
}
