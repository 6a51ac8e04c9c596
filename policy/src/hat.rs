//! The Host Access Table: which sender group a connecting host belongs to, and so its policy.
//!
//! AsyncOS reads the groups from the top and the first row that matches decides; nothing else has
//! precedence. A table of a million rows must answer within a microsecond, so rows are found by
//! index, and the index gives the row a scan would have found.

mod banner;
mod entry;
mod prefix;

use alloc::{sync::Arc, vec::Vec};
use core::net::IpAddr;

use ringpost_core::{event::Access, lookup::ClientName};

use crate::{
    domain::{self, Domains},
    hat::{
        entry::{Sender, Unverified},
        prefix::Prefixes,
    },
    mail_flow::{Behavior, MailFlowPolicy},
};

pub use banner::{Variables, expand, rejection};
pub use entry::{Entry, EntryError, MAX_ENTRY_SIZE};

/// Rows with one mail flow policy, named or not.
#[derive(Clone, Debug)]
pub struct Group {
    /// As the operator named it; none for rows outside of a group, which AsyncOS logs as `None`.
    pub name: Option<Arc<str>>,
    /// Conditions of which any one suffices.
    pub entries: Vec<Entry>,
    /// What its members get.
    pub policy: Arc<MailFlowPolicy>,
}

/// The table of one listener. Immutable; shared by all shards.
#[derive(Clone, Debug)]
pub struct Hat {
    groups: Vec<Decision>,
    rows: Vec<Row>,
    prefixes: Prefixes,
    hosts: Domains,
    unverified: [Option<u32>; Unverified::COUNT],
    everything: Option<u32>,
    all: Decision,
    all_entry: Arc<str>,
    shadowed: Vec<(u32, u32)>,
}

/// What the table says about a client.
#[derive(Clone, Copy, Debug)]
pub struct Classified<'a> {
    /// The group's name; none for `ALL` and for a row outside of a group.
    pub group: Option<&'a Arc<str>>,
    /// The row that matched, as written; `ALL` if none did.
    pub entry: &'a Arc<str>,
    /// The limits of this client.
    pub policy: &'a Arc<MailFlowPolicy>,
    /// The behaviour of that policy.
    pub access: Access,
}

/// A row that can never match, because another above it always does.
#[derive(Clone, Copy, Debug)]
pub struct Shadowed<'a> {
    /// The group of the dead row.
    pub group: Option<&'a Arc<str>>,
    /// The dead row.
    pub entry: &'a Arc<str>,
    /// The group of the row above it.
    pub by_group: Option<&'a Arc<str>>,
    /// The row above it.
    pub by_entry: &'a Arc<str>,
}

#[derive(Clone, Debug)]
struct Decision {
    name: Option<Arc<str>>,
    policy: Arc<MailFlowPolicy>,
    access: Access,
}

#[derive(Clone, Debug)]
struct Row {
    entry: Arc<str>,
    group: u32,
}

impl Hat {
    /// A table of `groups` in order, then `all` for everybody else.
    ///
    /// Groups of [`Behavior::Continue`] decide nothing and are left out. `ALL` has nowhere to
    /// continue to: with that behaviour it rejects.
    ///
    /// # Panics
    /// When there are more than [`MAX_ENTRIES`] rows; the configuration counts them first.
    #[must_use]
    pub fn new(groups: Vec<Group>, all: Arc<MailFlowPolicy>) -> Self {
        let access = all.behavior.access().unwrap_or(Access::Reject);
        let mut hat = Self {
            groups: Vec::with_capacity(groups.len()),
            rows: Vec::new(),
            prefixes: Prefixes::default(),
            hosts: Domains::default(),
            unverified: [None; Unverified::COUNT],
            everything: None,
            all: Decision { name: None, policy: all, access },
            all_entry: "ALL".into(),
            shadowed: Vec::new(),
        };
        for group in groups {
            hat.append(group);
        }
        hat
    }

    /// The first row that matches, or `ALL`.
    ///
    /// An IPv4-mapped IPv6 address is the IPv4 address it carries. Host rows match a verified name
    /// only.
    #[must_use]
    pub fn classify(&self, address: IpAddr, name: &ClientName) -> Classified<'_> {
        let rows =
            [self.prefixes.find(address.to_canonical()), self.find_name(name), self.everything];
        match rows.into_iter().flatten().min() {
            Some(row) => {
                let Row { entry, group } = &self.rows[row as usize];
                self.groups[*group as usize].of(entry)
            }
            None => self.all.of(&self.all_entry),
        }
    }

    /// Whether any row depends on the name of the client. Logs want the name all the same.
    #[must_use]
    pub fn needs_names(&self) -> bool {
        !self.hosts.is_empty() || self.unverified.iter().any(Option::is_some)
    }

    /// Rows that a single row of an earlier group makes dead, in order.
    ///
    /// Not found: rows that several earlier rows cover only together.
    pub fn shadowed(&self) -> impl Iterator<Item = Shadowed<'_>> {
        self.shadowed.iter().map(|&(row, by)| {
            let (row, by) = (&self.rows[row as usize], &self.rows[by as usize]);
            Shadowed {
                group: self.groups[row.group as usize].name.as_ref(),
                entry: &row.entry,
                by_group: self.groups[by.group as usize].name.as_ref(),
                by_entry: &by.entry,
            }
        })
    }

    fn append(&mut self, group: Group) {
        let Some(access) = group.policy.behavior.access() else {
            debug_assert_eq!(group.policy.behavior, Behavior::Continue);
            return;
        };
        let number = u32::try_from(self.groups.len()).expect("groups have fewer than u32::MAX");
        self.groups.push(Decision { name: group.name, policy: group.policy, access });
        for entry in group.entries {
            assert!(self.rows.len() < MAX_ENTRIES, "the configuration bounds a HAT");
            let row = u32::try_from(self.rows.len()).expect("MAX_ENTRIES fits");
            let (text, sender) = entry.into_parts();
            self.rows.push(Row { entry: text, group: number });
            let by = self.index(&sender, row);
            if let Some(by) = by.filter(|by| self.rows[*by as usize].group != number) {
                self.shadowed.push((row, by));
            }
        }
    }

    /// Adds a row to the index that finds it; gives the earlier row that makes it dead, if one
    /// does.
    fn index(&mut self, sender: &Sender, row: u32) -> Option<u32> {
        if self.everything.is_some() {
            return self.everything;
        }
        match sender {
            Sender::Networks(networks) => self.prefixes.insert(networks, row),
            Sender::Host(name) => {
                let by = self.hosts.find(name);
                self.hosts.insert(name, row);
                by
            }
            Sender::Below(name) => {
                let by = self.hosts.find_at_or_below(name);
                self.hosts.insert_below(name, row);
                by
            }
            Sender::Unverified(why) => {
                let first = &mut self.unverified[*why as usize];
                let by = *first;
                first.get_or_insert(row);
                by
            }
            Sender::All => {
                self.everything = Some(row);
                None
            }
        }
    }

    fn find_name(&self, name: &ClientName) -> Option<u32> {
        let why = match name {
            ClientName::Verified(name) => return self.hosts.find(&domain::canonical(name)),
            ClientName::Mismatched(_) => Unverified::Mismatched,
            ClientName::NoName => Unverified::NoName,
            ClientName::Unavailable => Unverified::Unavailable,
        };
        self.unverified[why as usize]
    }
}

impl Decision {
    const fn of<'a>(&'a self, entry: &'a Arc<str>) -> Classified<'a> {
        let Self { name, policy, access } = self;
        Classified { group: name.as_ref(), entry, policy, access: *access }
    }
}

/// Rows one table may have.
pub const MAX_ENTRIES: usize = 4_000_000;

#[cfg(test)]
mod tests {
    extern crate std;

    use std::{vec, vec::Vec};

    use super::*;

    fn policy(behavior: Behavior) -> Arc<MailFlowPolicy> {
        Arc::new(MailFlowPolicy::new("P".into(), behavior))
    }

    fn group(name: &str, behavior: Behavior, senders: &[&str]) -> Group {
        let entries = senders.iter().map(|text| Entry::parse(text).expect(text)).collect();
        Group { name: Some(name.into()), entries, policy: policy(behavior) }
    }

    fn classify<'a>(hat: &'a Hat, address: &str, name: &ClientName) -> (Access, &'a str) {
        let classified = hat.classify(address.parse().expect("valid"), name);
        (classified.access, classified.entry)
    }

    #[test]
    fn the_first_row_decides_and_not_the_narrowest() {
        let hat = Hat::new(
            vec![
                group("WIDE", Behavior::Accept, &["10.0.0.0/8", ".example"]),
                group("NARROW", Behavior::Reject, &["10.1.1.1", "bad.example", "192.0.2.7"]),
            ],
            policy(Behavior::TcpRefuse),
        );
        let no_name = &ClientName::NoName;
        let verified = &ClientName::Verified("bad.example".into());
        assert_eq!(classify(&hat, "10.1.1.1", no_name), (Access::Accept, "10.0.0.0/8"));
        assert_eq!(classify(&hat, "192.0.2.7", verified), (Access::Accept, ".example"));
        assert_eq!(classify(&hat, "192.0.2.7", no_name), (Access::Reject, "192.0.2.7"));
        assert_eq!(classify(&hat, "::ffff:192.0.2.7", no_name), (Access::Reject, "192.0.2.7"));
        assert_eq!(classify(&hat, "203.0.113.1", no_name), (Access::TcpRefuse, "ALL"));
        let dead: Vec<_> = hat.shadowed().map(|one| (&**one.entry, &**one.by_entry)).collect();
        assert_eq!(dead, [("10.1.1.1", "10.0.0.0/8"), ("bad.example", ".example")]);
    }

    #[test]
    fn a_name_that_does_not_lead_back_matches_no_host_row() {
        let senders = [".protection.outlook.com", "mail.contoso.example"];
        let hat = Hat::new(
            vec![
                group("RELAY_O365", Behavior::Relay, &senders),
                group("FORGED", Behavior::Reject, &["not.double.verified", "serv.fail"]),
                group("NAMELESS", Behavior::TcpRefuse, &["nx.domain"]),
            ],
            policy(Behavior::Accept),
        );
        assert!(hat.needs_names());
        let name: Arc<str> = "x.outbound.protection.outlook.com".into();
        for (name, access) in [
            (ClientName::Verified(name.clone()), Access::Relay),
            (ClientName::Verified("MAIL.Contoso.Example.".into()), Access::Relay),
            (ClientName::Verified("protection.outlook.com".into()), Access::Accept),
            (ClientName::Verified("xprotection.outlook.com".into()), Access::Accept),
            (ClientName::Mismatched(name), Access::Reject),
            (ClientName::Unavailable, Access::Reject),
            (ClientName::NoName, Access::TcpRefuse),
        ] {
            assert_eq!(classify(&hat, "192.0.2.1", &name).0, access, "{name:?}");
        }
    }

    #[test]
    fn continue_is_transparent_and_as_all_it_rejects() {
        let hat = Hat::new(
            vec![
                group("WATCHED", Behavior::Continue, &["10.", "a.example"]),
                group("INSIDE", Behavior::Relay, &["10.1."]),
            ],
            policy(Behavior::Continue),
        );
        assert!(!hat.needs_names());
        assert_eq!(classify(&hat, "10.1.0.1", &ClientName::NoName), (Access::Relay, "10.1."));
        assert_eq!(classify(&hat, "10.2.0.1", &ClientName::NoName), (Access::Reject, "ALL"));
        assert_eq!(hat.shadowed().count(), 0);
    }

    #[test]
    fn a_range_is_dead_only_when_every_part_of_it_is() {
        let hat = Hat::new(
            vec![
                group("A", Behavior::Accept, &["10.0.0.0-3", "10.0.0.4/30"]),
                group("B", Behavior::Reject, &["10.0.0.2-6", "10.0.0.3-9", "10.0.0.3-9"]),
            ],
            policy(Behavior::Relay),
        );
        let dead: Vec<_> = hat.shadowed().map(|one| &**one.entry).collect();
        assert_eq!(dead, ["10.0.0.2-6"], "the last one is dead within its own group");
        assert_eq!(classify(&hat, "10.0.0.9", &ClientName::NoName).0, Access::Reject);
        assert_eq!(classify(&hat, "10.0.0.3", &ClientName::NoName).0, Access::Accept);
    }
}
