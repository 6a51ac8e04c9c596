//! Listeners with their HAT and RAT: the tables in which a mistake is an open relay.
//!
//! The order of rows is their meaning, so nothing is sorted, merged or moved.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use ringpost_policy::{
    hat::{Entry, Group, Hat, MAX_ENTRIES},
    mail_flow::{Behavior, MailFlowPolicy},
    rat::{MAX_ROWS, Others, Pattern, Rat, Row},
};

use super::{
    Resolver,
    policies::{Policies, set},
    reply,
};
use crate::{
    diagnostic::Code,
    document::{self, Kind, SenderGroup, Verdict, Written},
    snapshot::{BareLineEndings, Listener, ListenerKind},
};

impl Resolver<'_> {
    pub(super) fn listeners(
        &mut self,
        written: &[document::Listener],
        policies: &Policies,
    ) -> Vec<Arc<Listener>> {
        let mut names: Vec<&str> = Vec::new();
        let mut taken: Vec<(SocketAddr, String)> = Vec::new();
        let mut listeners = Vec::with_capacity(written.len());
        for listener in written {
            if let Some(name) = &listener.name {
                if names.contains(&name.value.as_str()) {
                    let message = format!("listener {:?} is defined twice", name.value);
                    self.report.error(&self.source, &name.span, Code::DuplicateName, message);
                }
                names.push(&name.value);
            }
            self.take_addresses(listener, &mut taken);
            listeners.push(Arc::new(self.listener(listener, policies)));
        }
        if written.is_empty() && !self.report.has_errors() {
            let message = "there is no [[listener]]: no mail will come in";
            self.report.warning(&self.source, &(0..0), Code::NoListener, message);
        }
        listeners
    }

    fn listener(&mut self, written: &document::Listener, policies: &Policies) -> Listener {
        let kind = written.kind.as_ref().map_or(Kind::Private, |kind| kind.value);
        if let Some(name) = &written.name {
            self.check_name(name, "listener");
        }
        let hat = self.hat(written, kind, policies);
        let kind = match kind {
            Kind::Public => ListenerKind::Public(self.rat(written)),
            Kind::Private => {
                self.refuse_rat(written);
                ListenerKind::Private
            }
        };
        let mut max_connections = DEFAULT_MAX_CONNECTIONS;
        set(&mut max_connections, written.max_connections.as_ref());
        let mut bare_line_endings = BareLineEndings::default();
        set(&mut bare_line_endings, written.bare_line_endings.as_ref());
        Listener {
            name: written.name.as_ref().map_or_else(|| "".into(), Written::shared),
            addresses: written.addresses.iter().map(|address| address.value).collect(),
            kind,
            hat,
            max_connections,
            bare_line_endings,
        }
    }

    fn check_name(&mut self, name: &Written<String>, noun: &str) {
        let is_bad = name.value.is_empty() || name.value.chars().any(char::is_control);
        if is_bad || name.value.len() > MAX_NAME {
            let message = format!("a {noun} needs a name of 1 to {MAX_NAME} printable characters");
            self.report.error(&self.source, &name.span, Code::BadValue, message);
        }
    }

    fn take_addresses(
        &mut self,
        listener: &document::Listener,
        taken: &mut Vec<(SocketAddr, String)>,
    ) {
        let name = listener.name.as_ref().map_or("", |name| &name.value);
        for Written { value: address, span } in &listener.addresses {
            if let Some((other, by)) = taken.iter().find(|(other, _)| collide(*other, *address)) {
                let message = format!("{address} is taken: listener {by:?} listens on {other}");
                self.report
                    .error(&self.source, span, Code::DuplicateAddress, message)
                    .help("one listener can serve both directions: the sender group decides");
            }
            taken.push((*address, name.to_owned()));
        }
    }

    fn hat(&mut self, written: &document::Listener, kind: Kind, policies: &Policies) -> Hat {
        let mut all = None;
        let mut groups = Vec::new();
        let mut places = Places::default();
        for group in &written.sender_groups {
            if all.is_some() {
                self.report_group_after_all(group);
            }
            let policy = self.policy_named(group.policy.as_ref(), policies);
            if is_all(group.name.as_ref()) {
                self.check_all(group, &policy, kind);
                all = Some(policy);
                continue;
            }
            self.check_group(group, &mut places);
            let entries = self.entries(group, &mut places);
            let name = group.name.as_ref().map(Written::shared);
            groups.push(Group { name, entries, policy });
        }
        let default = match kind {
            Kind::Public => "ACCEPTED",
            Kind::Private => "BLOCKED",
        };
        let hat = Hat::new(groups, all.unwrap_or_else(|| Arc::clone(&policies[default])));
        self.report_shadowed(&hat, &places);
        hat
    }

    fn entries(&mut self, group: &SenderGroup, places: &mut Places) -> Vec<Entry> {
        let mut entries = Vec::new();
        for sender in group.senders.iter().flatten() {
            let entry = match Entry::parse(&sender.value) {
                Ok(entry) if entry.is_all() => {
                    let message = "ALL is a group of its own, not a sender";
                    self.report
                        .error(&self.source, &sender.span, Code::BadSender, message)
                        .help("write [[listener.sender_group]] with name = \"ALL\", last of all");
                    continue;
                }
                Ok(entry) => entry,
                Err(error) => {
                    let message = format!("sender {:?}: {error}", sender.value);
                    self.report
                        .error(&self.source, &sender.span, Code::BadSender, message)
                        .help(error.help());
                    continue;
                }
            };
            if places.entries.len() == MAX_ENTRIES {
                let message = format!("a HAT has at most {MAX_ENTRIES} senders");
                self.report.error(&self.source, &sender.span, Code::BadValue, message);
                return entries;
            }
            places.entries.push((Arc::clone(entry.text()), sender.span.clone()));
            entries.push(entry);
        }
        entries
    }

    fn check_group(&mut self, group: &SenderGroup, places: &mut Places) {
        if group.senders.is_none() {
            let message = "[[listener.sender_group]] lacks `senders`";
            self.report
                .error(&self.source, &group.span, Code::MissingKey, message)
                .help("addresses, prefixes, host names or .domains; [] for nobody yet");
        }
        let Some(name) = &group.name else { return };
        self.check_name(name, "sender group");
        if places.groups.insert(name.value.clone(), ()).is_some() {
            let message = format!("sender group {:?} is defined twice", name.value);
            self.report
                .error(&self.source, &name.span, Code::DuplicateName, message)
                .help("put all its senders into one group");
        }
    }

    fn check_all(&mut self, group: &SenderGroup, policy: &MailFlowPolicy, kind: Kind) {
        let span = group.policy.as_ref().map_or(&group.span, |policy| &policy.span);
        if group.senders.as_ref().is_some_and(|senders| !senders.is_empty()) {
            let message = "the group ALL has no senders: it is everybody else";
            self.report.error(&self.source, &group.span, Code::MisplacedKey, message);
        }
        match (policy.behavior, kind) {
            (Behavior::Continue, _) => {
                let message = "ALL is the last group, there is nothing to continue with";
                self.report
                    .error(&self.source, span, Code::MisplacedPolicy, message)
                    .help("choose a policy that accepts, rejects or refuses");
            }
            (Behavior::Relay, _) | (Behavior::Accept, Kind::Private) => {
                let message = "open relay: everybody may send mail to anybody";
                self.report
                    .warning(&self.source, span, Code::OpenRelay, message)
                    .help("list who may relay in a sender group, and give ALL another policy");
            }
            _ => {}
        }
    }

    fn report_group_after_all(&mut self, group: &SenderGroup) {
        let (code, message) = if is_all(group.name.as_ref()) {
            (Code::DuplicateName, "the group ALL is defined twice")
        } else {
            (Code::UnreachableRow, "nothing can follow the group ALL: it matches everybody")
        };
        self.report
            .error(&self.source, &group.span, code, message)
            .help("let ALL be the last sender group of its listener");
    }

    fn report_shadowed(&mut self, hat: &Hat, places: &Places) {
        for shadowed in hat.shadowed().take(MAX_SHADOWED) {
            let place = places.entries.iter().find(|(text, _)| Arc::ptr_eq(text, shadowed.entry));
            let Some((_, span)) = place else { continue };
            let message = format!(
                "this sender never gets here: {:?} of sender group {:?} above matches first",
                shadowed.by_entry,
                shadowed.by_group.map_or("(unnamed)", |name| &**name),
            );
            self.report
                .warning(&self.source, span, Code::UnreachableRow, message)
                .help("the first match decides: put narrow senders above wide ones");
        }
    }

    fn rat(&mut self, written: &document::Listener) -> Rat {
        let mut rows: Vec<Row> = Vec::new();
        let mut seen: BTreeMap<String, ()> = BTreeMap::new();
        let mut others: Option<Others> = None;
        for recipient in &written.recipients {
            let Some((pattern, span)) = self.recipient_pattern(recipient) else {
                continue;
            };
            let accept = recipient.action.as_ref().is_some_and(|it| it.value == Verdict::Accept);
            let reply = self.recipient_reply(recipient);
            if seen.insert(pattern.text().to_ascii_lowercase(), ()).is_some() {
                let message = format!("recipient {} is listed twice", pattern.text());
                self.report
                    .error(&self.source, &span, Code::DuplicateRow, message)
                    .help("the first match decides; remove one of them");
                continue;
            }
            if others.is_some() {
                let message = "nothing can follow ALL: it matches every recipient";
                self.report
                    .error(&self.source, &span, Code::UnreachableRow, message)
                    .help("let ALL be the last recipient of its listener");
            } else if pattern.is_all() {
                if accept {
                    let message = "open relay: mail for every recipient is accepted";
                    self.report
                        .warning(&self.source, &span, Code::OpenRelay, message)
                        .help("list your own domains, and reject ALL");
                }
                others = Some(Others { accept, reply });
            } else if rows.len() == MAX_ROWS {
                let message = format!("a RAT has at most {MAX_ROWS} recipients");
                self.report.error(&self.source, &span, Code::BadValue, message);
                break;
            } else {
                rows.push(Row { pattern, accept, reply });
            }
        }
        self.warn_of_empty_rat(written);
        Rat::new(rows, others.unwrap_or_default())
    }

    fn recipient_pattern(
        &mut self,
        recipient: &document::Recipient,
    ) -> Option<(Pattern, std::ops::Range<usize>)> {
        let Written { value, span } = recipient.pattern.as_ref()?;
        match Pattern::parse(value) {
            Ok(pattern) => Some((pattern, span.clone())),
            Err(error) => {
                let message = format!("recipient {value:?}: {error}");
                self.report
                    .error(&self.source, span, Code::BadRecipient, message)
                    .help(error.help());
                None
            }
        }
    }

    fn recipient_reply(
        &mut self,
        recipient: &document::Recipient,
    ) -> Option<ringpost_core::smtp::reply::Reply> {
        let written = recipient.reply.as_ref()?;
        match reply::parse(&written.value) {
            Ok(reply) => Some(reply),
            Err(error) => {
                self.report
                    .error(&self.source, &written.span, Code::BadValue, error.message)
                    .help(error.help);
                None
            }
        }
    }

    fn warn_of_empty_rat(&mut self, written: &document::Listener) {
        let mut actions = written.recipients.iter().map(|recipient| &recipient.action);
        // A row without an action was reported already; it may well have been meant to accept.
        if actions.any(|action| action.as_ref().is_none_or(|it| it.value == Verdict::Accept)) {
            return;
        }
        let name = written.name.as_ref().map_or("", |name| &name.value);
        let message = format!("public listener {name:?} accepts no recipient");
        self.report
            .warning(&self.source, &written.span, Code::NoRecipients, message)
            .help("add [[listener.recipient]] with match = \"your.domain\", action = \"accept\"");
    }

    fn refuse_rat(&mut self, written: &document::Listener) {
        let Some(recipient) = written.recipients.first() else {
            return;
        };
        // An unknown kind was reported already; its recipients may well be right.
        let is_private = written.kind.as_ref().is_some_and(|it| it.value == Kind::Private);
        let Some(pattern) = recipient.pattern.as_ref().filter(|_| is_private) else {
            return;
        };
        let message = "a private listener has no recipient table";
        self.report
            .error(&self.source, &pattern.span, Code::MisplacedKey, message)
            .help("remove the recipients, or make the listener \"public\"");
    }
}

/// Where the rows of one HAT were written.
#[derive(Default)]
struct Places {
    groups: BTreeMap<String, ()>,
    entries: Vec<(Arc<str>, std::ops::Range<usize>)>,
}

fn is_all(name: Option<&Written<String>>) -> bool {
    name.is_some_and(|name| name.value == "ALL")
}

/// Whether two listening sockets exclude each other.
pub(crate) fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let same_family = one.is_ipv4() == other.is_ipv4();
    let overlap = one.ip() == other.ip()
        || (same_family && (one.ip().is_unspecified() || other.ip().is_unspecified()));
    one.port() == other.port() && overlap
}

const DEFAULT_MAX_CONNECTIONS: u32 = 1_000;
const MAX_NAME: usize = 64;
/// Enough to see that two lists overlap.
const MAX_SHADOWED: usize = 100;
