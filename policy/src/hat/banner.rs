//! HAT variables in the text of a greeting.
//!
//! They stand beside the HAT because here `$Hostname` is the client's name, and in message filters
//! it is the gateway's.

use alloc::string::{String, ToString};
use core::net::IpAddr;

use ringpost_core::{event::Status, lookup::ClientName, smtp::reply::Reply};

use super::Classified;

/// What the variables of a greeting stand for.
#[derive(Clone, Copy, Debug)]
pub struct Variables<'a> {
    /// The client's address: `$RemoteIP`.
    pub address: IpAddr,
    /// The client's name: `$Hostname`.
    pub name: &'a ClientName,
    /// What the HAT said: `$Group` and `$HATEntry`.
    pub classified: Classified<'a>,
}

/// Replaces `$Group`, `$Hostname`, `$RemoteIP`, `$HATEntry` and `$OrgID`, in any case.
///
/// Any other `$word` stays as it is. `$OrgID` is `None`: no reputation source is asked. What is not
/// printable becomes `?`, so that a name from a stranger's zone cannot end the greeting's line.
#[must_use]
pub fn expand(text: &str, variables: &Variables<'_>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut parts = text.split('$');
    out.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let end = part.find(|character: char| !character.is_ascii_alphanumeric());
        let (word, rest) = part.split_at(end.unwrap_or(part.len()));
        match value(word, variables) {
            Some(value) => {
                out.extend(value.chars().map(|one| if one.is_control() { '?' } else { one }));
            }
            None => {
                out.push('$');
                out.push_str(word);
            }
        }
        out.push_str(rest);
    }
    out
}

/// The greeting of a client that may not connect (AsyncOS REJECT).
#[must_use]
pub fn rejection(variables: &Variables<'_>) -> Reply {
    let policy = variables.classified.policy;
    let text = policy.reject_text.as_deref().unwrap_or(DEFAULT_REJECTION);
    Reply {
        code: policy.reject_code,
        //= RFC 2034 4
        status: Some(Status::new(if policy.reject_code < 500 { 4 } else { 5 }, 7, 1)),
        text: expand(text, variables).into(),
    }
}

fn value(word: &str, variables: &Variables<'_>) -> Option<String> {
    let value = match word.to_ascii_lowercase().as_str() {
        "group" => variables.classified.group.map_or("None", |group| group).to_string(),
        "hostname" => match variables.name {
            ClientName::Verified(name) => name.to_string(),
            ClientName::NoName => "None".to_string(),
            ClientName::Mismatched(_) | ClientName::Unavailable => "Unknown".to_string(),
        },
        "remoteip" => variables.address.to_canonical().to_string(),
        "hatentry" => variables.classified.entry.to_string(),
        "orgid" => "None".to_string(),
        _ => return None,
    };
    Some(value)
}

const DEFAULT_REJECTION: &str = "Your host may not send mail here";

#[cfg(test)]
mod tests {
    use alloc::{sync::Arc, vec, vec::Vec};

    use super::*;
    use crate::{
        hat::{Entry, Group, Hat},
        mail_flow::{Behavior, MailFlowPolicy},
    };

    #[test]
    fn variables_are_replaced_in_any_case_and_unknown_words_stay() {
        let policy = Arc::new(MailFlowPolicy::new("P".into(), Behavior::Reject));
        let entries = vec![Entry::parse(".spam.example").expect("valid")];
        let group = Group { name: Some("BAD".into()), entries, policy: policy.clone() };
        let hat = Hat::new(vec![group], policy);
        let address = "::ffff:192.0.2.1".parse().expect("valid");
        let name = ClientName::Verified("a.spam.example".into());
        let classified = hat.classify(address, &name);
        let variables = Variables { address, name: &name, classified };
        assert_eq!(
            expand("$GROUP/$hatentry: $Hostname [$RemoteIP] $OrgID $what $", &variables),
            "BAD/.spam.example: a.spam.example [192.0.2.1] None $what $"
        );
    }

    #[test]
    fn a_name_that_is_not_verified_is_not_said() {
        let policy = Arc::new(MailFlowPolicy::new("P".into(), Behavior::Reject));
        let hat = Hat::new(Vec::new(), policy);
        let address = "192.0.2.1".parse().expect("valid");
        for (name, text) in [
            (ClientName::Mismatched("forged.example".into()), "Unknown"),
            (ClientName::Unavailable, "Unknown"),
            (ClientName::NoName, "None"),
            (ClientName::Verified("a\r\nb".into()), "a??b"),
        ] {
            let classified = hat.classify(address, &name);
            let variables = Variables { address, name: &name, classified };
            assert_eq!(expand("$Hostname", &variables), text);
        }
    }
}
