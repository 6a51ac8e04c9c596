//! From a recipient domain to the addresses to try, in order, by asking the DNS.
//!
//! The order is RFC 5321 5.1's with the operator's routes above it. Every list is cut at a named
//! maximum, because a zone's owner decides how long the lists are and must not decide how long we
//! are busy.

use alloc::{collections::VecDeque, string::ToString, sync::Arc, vec::Vec};
use core::net::{IpAddr, SocketAddr};

use ringpost_core::{
    event::RouteFailure,
    lookup::{Answer, Mx, Question},
};

use super::{Host, Route, RouteHost, Routes, SMTP_PORT, parse_address};
use crate::{destination::IpPreference, domain::normal};

/// One address to connect to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Hop {
    /// The host's name, or its address as text: for logs, and for the certificate to prove.
    pub name: Arc<str>,
    /// Where to connect.
    pub address: SocketAddr,
    /// Whether an SMTP route named it (DANE then does not apply).
    pub routed: bool,
}

/// What to do next.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Step {
    /// Look this up and give the answer to [`Resolution::answer`].
    Ask(Question),
    /// Try these in order until one answers; never empty, at most [`MAX_ADDRESSES`].
    Hops(Vec<Hop>),
    /// The route is `/dev/null`.
    Discard,
    /// There is nowhere to go, for now or for good.
    Failed(RouteFailure),
}

/// The resolution of one recipient domain for one connection.
///
/// It asks at most [`MAX_EXCHANGERS`] questions about exchangers and as many about addresses.
#[derive(Clone, Debug)]
pub struct Resolution {
    /// Hosts of the route, or the domain itself, whose exchangers are still to be asked for.
    hosts: VecDeque<Target>,
    /// Exchangers whose addresses are still to be asked for, best first.
    exchangers: VecDeque<Exchanger>,
    asking: Asking,
    hops: Vec<Hop>,
    /// Exchangers seen so far, asked or not.
    seen: usize,
    trouble: Trouble,
    routed: bool,
    preference: IpPreference,
    own: Arc<[Arc<str>]>,
}

impl Resolution {
    /// The way to `domain` (or address literal) under these routes.
    ///
    /// `own` are the names by which the DNS knows this gateway, lower case. `rotation` is any
    /// number that differs from connection to connection: it gives hosts of equal priority, and
    /// exchangers of equal preference, their turns.
    ///
    /// A domain that is not ASCII is asked for as it is: whoever asks the DNS turns it to A-labels.
    #[must_use]
    pub fn new(
        domain: &Arc<str>,
        routes: &Routes,
        preference: IpPreference,
        own: Arc<[Arc<str>]>,
        rotation: u64,
    ) -> Self {
        let mut resolution = Self {
            hosts: VecDeque::new(),
            exchangers: VecDeque::new(),
            asking: Asking::Nothing,
            hops: Vec::new(),
            seen: 0,
            trouble: Trouble::default(),
            routed: false,
            preference,
            own,
        };
        match routes.find(domain) {
            Some(Route::Discard) => resolution.asking = Asking::Over(Step::Discard),
            Some(Route::Hosts(hosts)) => resolution.follow(hosts, rotation),
            Some(Route::UseDns) | None => resolution.start(domain, rotation),
        }
        resolution
    }

    /// What to do next; the same until the answer is given.
    pub fn step(&mut self) -> Step {
        if matches!(self.asking, Asking::Nothing) {
            self.asking = self.advance();
        }
        match &self.asking {
            Asking::Exchangers(target) => Step::Ask(Question::Mx(target.name.clone())),
            Asking::Addresses(exchanger) => Step::Ask(Question::Addresses(exchanger.name.clone())),
            Asking::Over(step) => step.clone(),
            Asking::Nothing => unreachable!("advance always chooses"),
        }
    }

    /// The answer to the last [`Step::Ask`].
    ///
    /// # Panics
    ///
    /// If nothing was asked, or the answer is to another kind of question.
    pub fn answer(&mut self, answer: Answer) {
        match core::mem::replace(&mut self.asking, Asking::Nothing) {
            Asking::Exchangers(target) => self.exchangers_answered(target, answer),
            Asking::Addresses(exchanger) => self.addresses_answered(&exchanger, answer),
            Asking::Nothing | Asking::Over(_) => panic!("nothing was asked"),
        }
    }

    fn follow(&mut self, hosts: &[RouteHost], rotation: u64) {
        self.routed = true;
        let mut hosts: Vec<_> = hosts.iter().collect();
        hosts.sort_by_key(|host| host.priority);
        for equal in hosts.chunk_by_mut(|one, other| one.priority == other.priority) {
            let size = equal.len() as u64;
            rotate(equal, rotation);
            // Hosts and their exchangers must not turn in step, or some pairs would never meet.
            let inner = rotation / size;
            self.hosts.extend(equal.iter().map(|host| Target {
                name: host.host.to_string().into(),
                address: match host.host {
                    Host::Address(address) => Some(address),
                    Host::Name(_) => None,
                },
                port: host.port,
                rotation: inner,
            }));
        }
        self.hosts.truncate(MAX_EXCHANGERS);
    }

    fn start(&mut self, domain: &Arc<str>, rotation: u64) {
        let address = parse_address(domain).filter(|_| domain.starts_with('['));
        if domain.is_empty() || (domain.starts_with('[') && address.is_none()) {
            self.asking = Asking::Over(Step::Failed(RouteFailure::NoSuchDomain));
            return;
        }
        let name = address.map_or_else(|| normal(domain), |address| address.to_string().into());
        self.hosts.push_back(Target { name, address, port: SMTP_PORT, rotation });
    }

    /// Takes the best exchanger, or else the best host, until there is a question or an end.
    ///
    /// A host's exchangers are done with before the next host: the operator's priority is above
    /// the preference in the DNS.
    fn advance(&mut self) -> Asking {
        while self.hops.len() < MAX_ADDRESSES {
            if let Some(exchanger) = self.exchangers.pop_front() {
                return Asking::Addresses(exchanger);
            }
            let Some(target) = self.hosts.pop_front() else {
                break;
            };
            match target.address {
                Some(address) => self.push(&target.name, SocketAddr::new(address, target.port)),
                None => return Asking::Exchangers(target),
            }
        }
        Asking::Over(self.conclude())
    }

    fn conclude(&mut self) -> Step {
        if !self.hops.is_empty() {
            return Step::Hops(core::mem::take(&mut self.hops));
        }
        let trouble = core::mem::take(&mut self.trouble);
        Step::Failed(match (trouble.passing, trouble.lasting) {
            (Some(reason), _) => RouteFailure::Unavailable(reason),
            // A mistake in the table, or in a zone it points to, must not bounce anybody's mail:
            // it waits for the operator.
            (None, _) if self.routed => {
                let name = trouble.name.as_deref().unwrap_or_default();
                let text = alloc::format!("DNS failure for SMTP route destination {name}");
                RouteFailure::Unavailable(text.into())
            }
            (None, lasting) => lasting.unwrap_or(RouteFailure::NoAddress),
        })
    }

    fn exchangers_answered(&mut self, target: Target, answer: Answer) {
        match answer {
            Answer::Mx(exchangers) => self.rank(&target, exchangers),
            //= RFC 5321 5.1
            // The implicit MX: only when there is no MX record at all.
            Answer::NoRecords => {
                self.exchangers.push_back(Exchanger { name: target.name, port: target.port });
            }
            Answer::NoSuchName => self.trouble.lasts(target.name, RouteFailure::NoSuchDomain),
            Answer::Unavailable(reason) => self.trouble.passes(reason),
            Answer::Client(_) | Answer::Addresses(_) => panic!("{answer:?} answers no MX question"),
        }
    }

    fn rank(&mut self, target: &Target, mut exchangers: Vec<Mx>) {
        //= RFC 7505 3
        exchangers.retain(|exchanger| !exchanger.host.is_empty());
        if exchangers.is_empty() {
            self.trouble.lasts(target.name.clone(), RouteFailure::NullMx);
            return;
        }
        exchangers.sort_by_key(|exchanger| exchanger.preference);
        //= RFC 5321 5.1
        // Mail must not go to a less preferred exchanger than ourselves: it would come back.
        let ours = exchangers.iter().find(|exchanger| self.is_own(&exchanger.host));
        if let Some(preference) = ours.map(|exchanger| exchanger.preference) {
            exchangers.retain(|exchanger| exchanger.preference < preference);
            if exchangers.is_empty() {
                self.trouble.lasts(target.name.clone(), RouteFailure::Loop);
                return;
            }
        }
        for equal in exchangers.chunk_by_mut(|one, other| one.preference == other.preference) {
            rotate(equal, target.rotation);
        }
        let room = MAX_EXCHANGERS - self.seen;
        self.seen += room.min(exchangers.len());
        let exchangers = exchangers.into_iter().take(room);
        self.exchangers
            .extend(exchangers.map(|mx| Exchanger { name: normal(&mx.host), port: target.port }));
    }

    fn addresses_answered(&mut self, exchanger: &Exchanger, answer: Answer) {
        match answer {
            Answer::Addresses(mut addresses) => {
                addresses.retain(|&address| self.preference.rank(address).is_some());
                addresses.sort_by_key(|&address| self.preference.rank(address));
                if addresses.is_empty() {
                    self.trouble.lasts(exchanger.name.clone(), RouteFailure::NoAddress);
                }
                for address in addresses {
                    self.push(&exchanger.name, SocketAddr::new(address, exchanger.port));
                }
            }
            Answer::NoRecords | Answer::NoSuchName => {
                self.trouble.lasts(exchanger.name.clone(), RouteFailure::NoAddress);
            }
            Answer::Unavailable(reason) => self.trouble.passes(reason),
            Answer::Client(_) | Answer::Mx(_) => panic!("{answer:?} answers no address question"),
        }
    }

    fn push(&mut self, name: &Arc<str>, address: SocketAddr) {
        let known = self.hops.iter().any(|hop| hop.address == address);
        if !known && self.hops.len() < MAX_ADDRESSES {
            self.hops.push(Hop { name: name.clone(), address, routed: self.routed });
        }
    }

    fn is_own(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host);
        self.own.iter().any(|name| name.eq_ignore_ascii_case(host))
    }
}

/// A host whose exchangers are wanted, or whose address is known.
#[derive(Clone, Debug)]
struct Target {
    name: Arc<str>,
    address: Option<IpAddr>,
    port: u16,
    rotation: u64,
}

#[derive(Clone, Debug)]
struct Exchanger {
    name: Arc<str>,
    port: u16,
}

#[derive(Clone, Debug)]
enum Asking {
    Nothing,
    Exchangers(Target),
    Addresses(Exchanger),
    Over(Step),
}

/// What went wrong with the hosts so far; it matters only if none is left.
#[derive(Clone, Debug, Default)]
struct Trouble {
    passing: Option<Arc<str>>,
    lasting: Option<RouteFailure>,
    /// The first host that lasting trouble was about.
    name: Option<Arc<str>>,
}

impl Trouble {
    fn passes(&mut self, reason: Arc<str>) {
        self.passing.get_or_insert(reason);
    }

    fn lasts(&mut self, name: Arc<str>, failure: RouteFailure) {
        self.name.get_or_insert(name);
        self.lasting.get_or_insert(failure);
    }
}

fn rotate<T>(equal: &mut [T], rotation: u64) {
    let turn = rotation % (equal.len() as u64);
    equal.rotate_left(usize::try_from(turn).expect("less than a length"));
}

/// Hosts of a route that are considered, and exchangers whose addresses are asked for.
pub const MAX_EXCHANGERS: usize = 10;

/// Addresses that are tried for one connection.
pub const MAX_ADDRESSES: usize = 20;

#[cfg(test)]
mod tests {
    extern crate std;

    use std::{collections::BTreeMap, format, string::String, vec};

    use super::*;
    use crate::domain::Pattern;

    /// A pattern, then name, port and priority of each host.
    type Row<'a> = (&'a str, &'a [(&'a str, u16, u16)]);

    /// Records of a zone: `MX preference host`, `A address`, or `SERVFAIL`.
    #[derive(Default)]
    struct Zone(BTreeMap<&'static str, &'static [&'static str]>);

    impl Zone {
        fn answer(&self, question: &Question) -> Answer {
            let (name, is_mx) = match question {
                Question::Mx(name) => (name, true),
                Question::Addresses(name) => (name, false),
                Question::Client(_) => panic!("no client is asked about"),
            };
            let Some(records) = self.0.get(&**name) else {
                return Answer::NoSuchName;
            };
            if records.contains(&"SERVFAIL") {
                return Answer::Unavailable("SERVFAIL".into());
            }
            let fields = records.iter().map(|record| record.split(' ').collect::<Vec<_>>());
            let (exchangers, addresses): (Vec<_>, Vec<_>) =
                fields.partition(|fields| fields[0] == "MX");
            if is_mx && !exchangers.is_empty() {
                let mx = |fields: &Vec<&str>| Mx {
                    preference: fields[1].parse().unwrap(),
                    host: fields[2].into(),
                };
                Answer::Mx(exchangers.iter().map(mx).collect())
            } else if !is_mx && !addresses.is_empty() {
                Answer::Addresses(addresses.iter().map(|f| f[1].parse().unwrap()).collect())
            } else {
                Answer::NoRecords
            }
        }
    }

    fn zone(records: &[(&'static str, &'static [&'static str])]) -> Zone {
        Zone(records.iter().copied().collect())
    }

    /// Follows a resolution to its end; gives the questions' names and the end.
    fn follow(mut resolution: Resolution, zone: &Zone) -> (Vec<String>, Step) {
        let mut asked = vec![];
        loop {
            let step = resolution.step();
            assert_eq!(resolution.step(), step, "a step stays until it is answered");
            let Step::Ask(question) = step else {
                return (asked, step);
            };
            asked.push(match &question {
                Question::Mx(name) => format!("MX {name}"),
                Question::Addresses(name) => format!("A {name}"),
                Question::Client(_) => panic!("no client is asked about"),
            });
            resolution.answer(zone.answer(&question));
        }
    }

    fn own() -> Arc<[Arc<str>]> {
        ["gateway.example".into()].into()
    }

    fn resolve(routes: &Routes, domain: &str, rotation: u64, zone: &Zone) -> Step {
        let preference = IpPreference::Ipv6Preferred;
        follow(Resolution::new(&domain.into(), routes, preference, own(), rotation), zone).1
    }

    fn addresses(step: &Step) -> Vec<String> {
        let Step::Hops(hops) = step else { panic!("{step:?} has no hops") };
        hops.iter().map(|hop| format!("{} {}", hop.name, hop.address)).collect()
    }

    fn routes(rows: &[Row<'_>]) -> Routes {
        let host = |&(name, port, priority): &(&str, u16, u16)| RouteHost {
            host: Host::parse(name).unwrap(),
            port,
            priority,
        };
        let row = |(pattern, hosts): &Row<'_>| {
            let hosts = hosts.iter().map(host).collect();
            (Pattern::parse(pattern).unwrap(), Route::Hosts(hosts))
        };
        Routes::new(rows.iter().map(row).collect()).unwrap()
    }

    #[test]
    fn exchangers_are_tried_by_preference_and_ipv6_first() {
        let zone = zone(&[
            ("contoso.example", &["MX 20 b.example", "MX 10 a.example"]),
            ("a.example", &["A 192.0.2.1", "A 2001:db8::1"]),
            ("b.example", &["A 192.0.2.2"]),
        ]);
        let none = Routes::default();
        let found = resolve(&none, "Contoso.Example", 0, &zone);
        assert_eq!(
            addresses(&found),
            ["a.example [2001:db8::1]:25", "a.example 192.0.2.1:25", "b.example 192.0.2.2:25"]
        );
        for (preference, expected) in [
            (IpPreference::Ipv4Preferred, &["192.0.2.1", "2001:db8::1", "192.0.2.2"][..]),
            (IpPreference::Ipv4Required, &["192.0.2.1", "192.0.2.2"]),
            (IpPreference::Ipv6Required, &["2001:db8::1"]),
        ] {
            let resolution =
                Resolution::new(&"contoso.example".into(), &none, preference, own(), 0);
            let Step::Hops(hops) = follow(resolution, &zone).1 else { panic!("hops") };
            let found: Vec<_> = hops.iter().map(|hop| format!("{}", hop.address.ip())).collect();
            assert_eq!(found, expected);
            assert!(hops.iter().all(|hop| !hop.routed));
        }
    }

    #[test]
    fn exchangers_of_one_preference_take_turns() {
        let zone = zone(&[
            ("contoso.example", &["MX 10 a.example", "MX 10 b.example", "MX 20 c.example"]),
            ("a.example", &["A 192.0.2.1"]),
            ("b.example", &["A 192.0.2.2"]),
            ("c.example", &["A 192.0.2.3"]),
        ]);
        let first = |rotation| {
            let found = addresses(&resolve(&Routes::default(), "contoso.example", rotation, &zone));
            assert_eq!(found[2], "c.example 192.0.2.3:25");
            found[0].clone()
        };
        assert_ne!(first(0), first(1));
        assert_eq!(first(0), first(2));
    }

    #[test]
    fn the_implicit_exchanger_serves_only_a_domain_without_mx() {
        let zone = zone(&[
            ("plain.example", &["A 192.0.2.1"]),
            ("broken.example", &["MX 10 gone.example", "A 192.0.2.2"]),
            ("empty.example", &["TXT"]),
        ]);
        let none = Routes::default();
        let found = resolve(&none, "plain.example", 0, &zone);
        assert_eq!(addresses(&found), ["plain.example 192.0.2.1:25"]);
        let failed = Step::Failed(RouteFailure::NoAddress);
        assert_eq!(resolve(&none, "broken.example", 0, &zone), failed);
        assert_eq!(resolve(&none, "gone.example", 0, &zone), NO_SUCH_DOMAIN);
    }

    #[test]
    fn failures_of_a_domain_say_what_the_zone_says() {
        let zone = zone(&[
            ("null.example", &["MX 0 "]),
            ("sick.example", &["SERVFAIL"]),
            ("half.example", &["MX 10 gone.example", "MX 20 sick.example"]),
            ("well.example", &["MX 10 sick.example", "MX 20 a.example"]),
            ("a.example", &["A 192.0.2.1"]),
        ]);
        let none = Routes::default();
        let unavailable = Step::Failed(RouteFailure::Unavailable("SERVFAIL".into()));
        assert_eq!(resolve(&none, "null.example", 0, &zone), Step::Failed(RouteFailure::NullMx));
        assert_eq!(resolve(&none, "sick.example", 0, &zone), unavailable);
        assert_eq!(resolve(&none, "half.example", 0, &zone), unavailable);
        assert_eq!(resolve(&none, "", 0, &zone), NO_SUCH_DOMAIN);
        let found = resolve(&none, "well.example", 0, &zone);
        assert_eq!(addresses(&found), ["a.example 192.0.2.1:25"]);
    }

    #[test]
    fn mail_never_goes_to_ourselves_nor_to_anyone_less_preferred() {
        let zone = zone(&[
            (
                "ours.example",
                &["MX 10 a.example", "MX 20 Gateway.Example", "MX 20 b.example", "MX 30 c.example"],
            ),
            ("loop.example", &["MX 10 gateway.example", "MX 20 a.example"]),
            ("a.example", &["A 192.0.2.1"]),
        ]);
        let none = Routes::default();
        let found = resolve(&none, "ours.example", 0, &zone);
        assert_eq!(addresses(&found), ["a.example 192.0.2.1:25"]);
        let looped = resolve(&none, "loop.example", 0, &zone);
        assert_eq!(looped, Step::Failed(RouteFailure::Loop));
    }

    #[test]
    fn a_route_host_is_asked_for_its_exchangers_first_and_never_looked_up_in_the_table() {
        let zone = zone(&[
            ("a.example", &["MX 10 mx.b.example", "A 192.0.2.9"]),
            ("b.example", &["MX 10 mx.b.example"]),
            ("mx.b.example", &["A 192.0.2.2"]),
            ("plain.example", &["A 192.0.2.3"]),
        ]);
        let routes = routes(&[
            ("a.example", &[("b.example", 25, 0)]),
            ("b.example", &[("a.example", 25, 0)]),
            ("contoso.example", &[("plain.example", 2525, 0), ("192.0.2.7", 26, 10)]),
        ]);
        for domain in ["a.example", "b.example"] {
            let found = resolve(&routes, domain, 0, &zone);
            assert_eq!(addresses(&found), ["mx.b.example 192.0.2.2:25"]);
        }
        let found = resolve(&routes, "contoso.example", 0, &zone);
        assert_eq!(addresses(&found), ["plain.example 192.0.2.3:2525", "192.0.2.7 192.0.2.7:26"]);
        let Step::Hops(hops) = found else { panic!("hops") };
        assert!(hops.iter().all(|hop| hop.routed));
    }

    #[test]
    fn route_hosts_of_one_priority_take_turns_and_priorities_stay_in_order() {
        let hosts = &[("192.0.2.1", 25, 5), ("192.0.2.2", 25, 5), ("192.0.2.9", 25, 0)];
        let routes = routes(&[("ALL", hosts)]);
        let order = |rotation| {
            addresses(&resolve(&routes, "contoso.example", rotation, &Zone::default()))
                .into_iter()
                .map(|hop| hop.chars().nth(8).unwrap())
                .collect::<String>()
        };
        assert_eq!([order(0), order(1), order(2)], ["912", "921", "912"]);
    }

    #[test]
    fn a_broken_route_waits_for_the_operator_instead_of_bouncing() {
        let zone = zone(&[("looped.example", &["MX 10 gateway.example"])]);
        for host in ["gone.example", "looped.example"] {
            let routes = routes(&[("ALL", &[(host, 25, 0)])]);
            let reason = format!("DNS failure for SMTP route destination {host}");
            let failed = Step::Failed(RouteFailure::Unavailable(reason.into()));
            assert_eq!(resolve(&routes, "contoso.example", 0, &zone), failed);
        }
    }

    #[test]
    fn literals_and_discarded_domains_ask_nothing() {
        let rows = vec![(Pattern::parse("old.example").unwrap(), Route::Discard)];
        let routes = Routes::new(rows).unwrap();
        for (domain, expected) in [
            ("[192.0.2.1]", "192.0.2.1 192.0.2.1:25"),
            ("[IPv6:2001:db8::1]", "2001:db8::1 [2001:db8::1]:25"),
        ] {
            let found = resolve(&routes, domain, 0, &Zone::default());
            assert_eq!(addresses(&found), [expected]);
        }
        assert_eq!(resolve(&routes, "[nonsense]", 0, &Zone::default()), NO_SUCH_DOMAIN);
        assert_eq!(resolve(&routes, "old.example", 0, &Zone::default()), Step::Discard);
    }

    #[test]
    fn a_zone_cannot_keep_us_busy() {
        let preference = IpPreference::Ipv6Preferred;
        let none = Routes::default();
        let mut resolution = Resolution::new(&"big.example".into(), &none, preference, own(), 0);
        let mut questions = 0;
        let hops = loop {
            let answer = match resolution.step() {
                Step::Ask(Question::Mx(_)) => Answer::Mx(
                    (0..500)
                        .map(|n| Mx { preference: n, host: format!("mx{n}.example").into() })
                        .collect(),
                ),
                Step::Ask(_) => Answer::NoSuchName,
                step => break step,
            };
            questions += 1;
            resolution.answer(answer);
        };
        assert_eq!(hops, Step::Failed(RouteFailure::NoAddress));
        assert_eq!(questions, 1 + MAX_EXCHANGERS);
        let mut resolution = Resolution::new(&"big.example".into(), &none, preference, own(), 0);
        resolution.step();
        resolution.answer(Answer::NoRecords);
        resolution.step();
        resolution.answer(Answer::Addresses(
            (0..5_000u16).map(|n| [10, 0, (n / 256) as u8, n as u8].into()).collect(),
        ));
        assert_eq!(addresses(&resolution.step()).len(), MAX_ADDRESSES);
    }

    const NO_SUCH_DOMAIN: Step = Step::Failed(RouteFailure::NoSuchDomain);
}
