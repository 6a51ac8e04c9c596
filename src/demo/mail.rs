//! The mail of the demonstration: who sends what to whom, and what must become of it.
//!
//! Every message has a sender of its own, so that it can be found again in logs and mailboxes.

use std::net::Ipv4Addr;

use ringpost_core::time::Date;

use super::client::Step;

/// One message, and who sends it where.
pub(super) struct Mail {
    /// What it is, for a person.
    pub(super) name: &'static str,
    /// What should happen to it, for a person.
    pub(super) expected: &'static str,
    pub(super) ending: Ending,
    pub(super) door: Door,
    pub(super) client: Ipv4Addr,
    pub(super) hello: &'static str,
    pub(super) uses_tls: bool,
    pub(super) sender: &'static str,
    pub(super) recipients: &'static [&'static str],
    pub(super) content: Vec<u8>,
}

/// Which side of the gateway it comes to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Door {
    FromInternet,
    FromTenant,
}

/// What must become of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Ending {
    /// Delivered as it was, but for a Received field and the secret.
    ToTenant,
    ToInternet,
    /// Refused at this step with a reply that begins so.
    Refused(Step, &'static str),
    /// Accepted, refused by the tenant with this status, reported to its sender.
    Bounced(&'static str),
}

impl Mail {
    /// What the log says of this message and no other.
    pub(super) fn mark(&self) -> String {
        if matches!(self.ending, Ending::Refused(Step::Greeting, _)) {
            format!("address {} ", self.client)
        } else {
            format!("From: <{}>", self.sender)
        }
    }
}

/// All of it, in the order in which it is sent.
pub(super) fn all(secret: &str, now: Date) -> Vec<Mail> {
    let mut mails = inbound(now);
    mails.extend(outbound(secret, now));
    mails
}

fn inbound(now: Date) -> Vec<Mail> {
    let fabrikam = |sender, recipients: &'static [&'static str], subject, text: &str| Mail {
        name: "",
        expected: "",
        ending: Ending::ToTenant,
        door: Door::FromInternet,
        client: FABRIKAM,
        hello: "mx.fabrikam.example",
        uses_tls: true,
        sender,
        recipients,
        content: message(now, "", sender, recipients, subject, text),
    };
    vec![
        Mail {
            name: "from the Internet to ana",
            expected: "at the tenant, over TLS",
            ..fabrikam("bob@fabrikam.example", &[ANA], "Lunch on Friday?", LUNCH)
        },
        Mail {
            name: "the same, to two people",
            expected: "at the tenant, one copy",
            ..fabrikam("carol@fabrikam.example", &[ANA, BEN], "Minutes of Monday", LUNCH)
        },
        Mail {
            name: "with a 3 MiB attachment",
            expected: "at the tenant, byte for byte",
            ..fabrikam("drawings@fabrikam.example", &[ANA], "Drawings", &attachment())
        },
        Mail {
            name: "to a user who does not exist",
            expected: "a report to the sender",
            ending: Ending::Bounced("5.4.1"),
            ..fabrikam("dave@fabrikam.example", &[NOBODY], "Are you there?", LUNCH)
        },
        Mail {
            name: "to a domain that is not yours",
            expected: "refused, no open relay",
            ending: Ending::Refused(Step::Recipient, "550"),
            uses_tls: false,
            ..fabrikam("offers@fabrikam.example", &[STRANGER], "Cheap watches", LUNCH)
        },
    ]
}

fn outbound(secret: &str, now: Date) -> Vec<Mail> {
    let proof = format!("{SECRET_HEADER}: {secret}\r\n");
    let exchange_online = |sender, proof: &str, subject| Mail {
        name: "",
        expected: "",
        ending: Ending::ToInternet,
        door: Door::FromTenant,
        client: EXCHANGE_ONLINE,
        hello: "NAM12-DM6-obe.outbound.protection.outlook.com",
        uses_tls: true,
        sender,
        recipients: &[BOB],
        content: message(now, proof, sender, &[BOB], subject, LUNCH),
    };
    vec![
        Mail {
            name: "from your tenant, with secret",
            expected: "on the Internet, secret gone",
            ..exchange_online(ANA, &proof, "Re: Lunch on Friday?")
        },
        Mail {
            name: "from another tenant, no secret",
            expected: "refused, not your mail",
            ending: Ending::Refused(Step::Content, "550 5.7.1"),
            ..exchange_online("mallory@other-tenant.example", "", "Invoice")
        },
        Mail {
            name: "from a false Microsoft host",
            expected: "refused at the greeting",
            ending: Ending::Refused(Step::Greeting, "554"),
            client: IMPOSTOR,
            uses_tls: false,
            ..exchange_online("ana@contoso.example", &proof, "Urgent transfer")
        },
    ]
}

/// A message as mail programs write it; `extra` is further header fields.
fn message(
    now: Date,
    extra: &str,
    sender: &str,
    recipients: &[&str],
    subject: &str,
    text: &str,
) -> Vec<u8> {
    let date = now.rfc5322();
    let (local, domain) = sender.split_once('@').expect("senders have a domain");
    let to = recipients.join(", ");
    format!(
        "{extra}Date: {date}\r\nFrom: <{sender}>\r\nTo: {to}\r\nSubject: {subject}\r\n\
         Message-ID: <{local}.1@{domain}>\r\nMIME-Version: 1.0\r\n\
         Content-Type: text/plain; charset=utf-8\r\n\r\n{text}"
    )
    .into_bytes()
}

/// Lines as long as encoded attachments have, each different, some beginning with a dot.
fn attachment() -> String {
    let mut text = String::with_capacity(ATTACHMENT_SIZE + ATTACHMENT_LINE_LENGTH);
    for number in 0_u64.. {
        if text.len() >= ATTACHMENT_SIZE {
            break;
        }
        let dot = if number % 100 == 0 { "." } else { "" };
        let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        text.push_str(&format!("{dot}{number:012x}{mixed:016x}{mixed:032b}\r\n"));
    }
    text
}

/// Has a name that leads back to it.
pub(super) const FABRIKAM: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// Has a name of Microsoft 365 that leads back to it.
pub(super) const EXCHANGE_ONLINE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);
/// Claims a name of Microsoft 365 that leads elsewhere.
const IMPOSTOR: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 4);

pub(super) const DOMAIN: &str = "contoso.example";
pub(super) const ANA: &str = "ana@contoso.example";
pub(super) const BEN: &str = "ben@contoso.example";
/// Who has a mailbox at the tenant.
pub(super) const USERS: &[&str] = &[ANA, BEN];
const NOBODY: &str = "nobody@contoso.example";
const BOB: &str = "bob@fabrikam.example";
const STRANGER: &str = "someone@unrelated.example";
pub(super) const SECRET_HEADER: &str = "X-OUTBOUND-AUTH";

const LUNCH: &str = "Hello,\r\n\r\nthe place by the river, at noon?\r\n.. or later.\r\n\r\nBob\r\n";
const ATTACHMENT_SIZE: usize = 3 << 20;
const ATTACHMENT_LINE_LENGTH: usize = 100;
