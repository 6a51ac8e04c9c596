//! Mail flow policies by name: those AsyncOS brings along, and what the operator made of them.
//!
//! A policy that carries a predefined name starts from the predefined one, as editing it on an
//! appliance would; any other starts from the limits of a new listener.

use std::{collections::BTreeMap, sync::Arc};

use ringpost_policy::mail_flow::{Behavior, MailFlowPolicy};

use super::{
    Resolver,
    reply::{self, Unspeakable},
};
use crate::{
    diagnostic::Code,
    document::{self, Document, Written},
    domain::is_domain,
    suggestion,
};

/// All policies that can be referred to.
pub(super) type Policies = BTreeMap<String, Arc<MailFlowPolicy>>;

impl Resolver<'_> {
    pub(super) fn policies(&mut self, written: &[document::MailFlowPolicy]) -> Policies {
        let mut policies: Policies = PREDEFINED
            .iter()
            .map(|name| ((*name).to_owned(), Arc::new(predefined(name))))
            .collect();
        let mut defined: Vec<&str> = Vec::new();
        for policy in written {
            let Some(name) = &policy.name else { continue };
            let bare = bare_name(&name.value);
            if bare.is_empty() || bare.chars().any(char::is_control) {
                let message = "a mail flow policy needs a name of printable characters";
                self.report.error(&self.source, &name.span, Code::BadValue, message);
                continue;
            }
            if defined.contains(&bare) {
                let message = format!("mail flow policy {bare:?} is defined twice");
                self.report
                    .error(&self.source, &name.span, Code::DuplicateName, message)
                    .help("give one of them another name");
                continue;
            }
            defined.push(bare);
            let resolved = self.policy(policy, name);
            policies.insert(bare.to_owned(), Arc::new(resolved));
        }
        policies
    }

    /// The policy that a sender group refers to; a harmless one after reporting that there is none.
    pub(super) fn policy_named(
        &mut self,
        name: Option<&Written<String>>,
        policies: &Policies,
    ) -> Arc<MailFlowPolicy> {
        let blocked = || Arc::new(predefined("BLOCKED"));
        let Some(name) = name else { return blocked() };
        let bare = bare_name(&name.value);
        if let Some(policy) = policies.get(bare) {
            return Arc::clone(policy);
        }
        let known: Vec<_> = policies.keys().map(String::as_str).collect();
        let message = format!("there is no mail flow policy {bare:?}");
        self.report
            .error(&self.source, &name.span, Code::UnknownPolicy, message)
            .help(suggestion::help(bare, &known));
        blocked()
    }

    /// Warns of policies that no sender group uses: usually a misspelt reference elsewhere.
    pub(super) fn report_unused_policies(&mut self, document: &Document, policies: &Policies) {
        let is_used = |name: &str| {
            let groups = document.listeners.iter().flat_map(|listener| &listener.sender_groups);
            let mut used = groups.filter_map(|group| group.policy.as_ref());
            used.any(|policy| bare_name(&policy.value) == name)
        };
        for policy in &document.mail_flow_policies {
            let Some(name) = &policy.name else { continue };
            let bare = bare_name(&name.value);
            let is_custom = !PREDEFINED.contains(&bare) && policies.contains_key(bare);
            if is_custom && !is_used(bare) {
                let message = format!("no sender group uses mail flow policy {bare:?}");
                self.report
                    .warning(&self.source, &name.span, Code::UnreachableRow, message)
                    .help("name it as the `policy` of a sender group, or remove it");
            }
        }
    }

    fn policy(
        &mut self,
        written: &document::MailFlowPolicy,
        name: &Written<String>,
    ) -> MailFlowPolicy {
        let bare = bare_name(&name.value);
        let mut policy = predefined(bare);
        match &written.behavior {
            Some(behavior) => policy.behavior = behavior.value,
            None if PREDEFINED.contains(&bare) => {}
            None => {
                let message = format!("mail flow policy {bare:?} lacks `behavior`");
                self.report
                    .error(&self.source, &name.span, Code::MissingKey, message)
                    .help("accept, relay, reject, tcprefuse or continue");
            }
        }
        set(&mut policy.max_messages_per_connection, written.max_messages_per_connection.as_ref());
        set(&mut policy.max_recipients_per_message, written.max_recipients_per_message.as_ref());
        set(&mut policy.max_message_size, written.max_message_size.as_ref());
        set(&mut policy.max_connections_per_ip, written.max_connections_per_ip.as_ref());
        set(&mut policy.tls, written.tls.as_ref());
        set_code(&mut policy.banner_code, written.banner_code.as_ref());
        set_code(&mut policy.reject_code, written.reject_code.as_ref());
        policy.banner_text = self.speakable(written.banner_text.as_ref());
        policy.reject_text = self.speakable(written.reject_text.as_ref());
        policy.hostname = self.domain_name(written.hostname.as_ref());
        policy
    }

    fn speakable(&mut self, text: Option<&Written<String>>) -> Option<Arc<str>> {
        let text = text?;
        match reply::check(&text.value) {
            Ok(()) => Some(text.shared()),
            Err(Unspeakable { message, help }) => {
                self.report.error(&self.source, &text.span, Code::BadValue, message).help(help);
                None
            }
        }
    }

    /// A host name that goes into replies and headers.
    pub(super) fn domain_name(&mut self, text: Option<&Written<String>>) -> Option<Arc<str>> {
        let text = text?;
        if is_domain(&text.value) {
            return Some(text.shared());
        }
        let message = format!("{:?} is not a host name", text.value);
        self.report
            .error(&self.source, &text.span, Code::BadValue, message)
            .help("letters, digits, hyphens and dots, like \"mx.contoso.example\"");
        None
    }
}

/// `$RELAYED` is how HAT files refer to the policy `RELAYED`.
fn bare_name(name: &str) -> &str {
    name.strip_prefix('$').unwrap_or(name)
}

/// A predefined policy, or for any other name what a new one begins with.
fn predefined(name: &str) -> MailFlowPolicy {
    let shared: Arc<str> = name.into();
    let accept = MailFlowPolicy::new(Arc::clone(&shared), Behavior::Accept);
    match name {
        "TRUSTED" => MailFlowPolicy {
            max_messages_per_connection: 1_000,
            max_recipients_per_message: 1_000,
            max_message_size: 100 << 20,
            max_connections_per_ip: 1_000,
            ..accept
        },
        "THROTTLED" => {
            MailFlowPolicy { max_recipients_per_message: 20, max_message_size: 1 << 20, ..accept }
        }
        "BLOCKED" => MailFlowPolicy::new(shared, Behavior::Reject),
        "RELAYED" => MailFlowPolicy::new(shared, Behavior::Relay),
        _ => accept,
    }
}

pub(super) fn set<T: Copy>(target: &mut T, written: Option<&Written<T>>) {
    if let Some(written) = written {
        *target = written.value;
    }
}

fn set_code(target: &mut u16, written: Option<&Written<u32>>) {
    if let Some(written) = written {
        *target = u16::try_from(written.value).expect("the document bounds reply codes");
    }
}

const PREDEFINED: [&str; 5] = ["ACCEPTED", "BLOCKED", "RELAYED", "THROTTLED", "TRUSTED"];
