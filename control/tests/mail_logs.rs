//! `mail_logs` against golden lines: the shapes are a contract with the SIEMs that read them.

use std::{net::IpAddr, time::Duration};

use ringpost_control::logs::mail_logs::lines;
use ringpost_core::{
    address::{Address, ReversePath},
    event::{
        Abort, Access, Close, ConnectionLimit, Direction, Event, Failure, Finish, RecipientRefusal,
        RouteFailure, Stamped, Status,
    },
    id::{Dcid, Icid, Mid, Rid, Rids},
    lookup::ClientName,
    smtp::reply::Reply,
    time::Date,
};

const TOOK: Duration = Duration::from_millis(1);
const ICID: Icid = Icid(405_417);
const MID: Mid = Mid(186_371);
const DCID: Dcid = Dcid(857);

/// The lines of events, all at the same second.
fn said(events: Vec<Event>) -> String {
    let mut text = String::new();
    for event in events {
        let date = Date::from_millis(1_763_994_177_250);
        lines(
            &Stamped { time: ringpost_core::time::Time::ZERO, date, shard: 3, event },
            0,
            &mut text,
        );
    }
    text.replace("Mon Nov 24 14:22:57 2025 Info: ", "")
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("valid")
}

fn mailbox(text: &str) -> ReversePath {
    ReversePath::Mailbox(Address::from_text(text))
}

fn rids(numbers: &[u32]) -> Rids {
    numbers.iter().map(|number| Rid(*number)).collect()
}

fn failure(status: Status, reply: Option<Reply>, diagnostic: &str) -> Box<Failure> {
    let diagnostic = diagnostic.into();
    Box::new(Failure { status, reply, diagnostic, remote: "mx.example".into() })
}

#[test]
fn a_complete_life() {
    let mut events = receiving();
    events.extend(after_receiving());
    assert_eq!(said(events), COMPLETE_LIFE);
}

fn receiving() -> Vec<Event> {
    vec![
        Event::ConnectionOpened {
            icid: ICID,
            listener: "Data 2".into(),
            local: address("::ffff:192.0.2.36"),
            client: address("203.0.113.59"),
            name: ClientName::Verified("mail-x.outbound.protection.outlook.com".into()),
            took: TOOK,
        },
        Event::ConnectionClassified {
            icid: ICID,
            access: Access::Relay,
            group: Some("RELAY_O365".into()),
            entry: ".protection.outlook.com".into(),
            policy: "RELAYED".into(),
            took: TOOK,
        },
        Event::TlsEstablished {
            icid: ICID,
            protocol: "TLSv1.2",
            cipher: "ECDHE-RSA-AES256-GCM-SHA384",
        },
        Event::MessageStarted { mid: MID, icid: ICID, sender: mailbox("a@contoso.example") },
        Event::RecipientAccepted {
            mid: MID,
            icid: ICID,
            rid: Rid(0),
            recipient: Address::from_text("b@fabrikam.example"),
            took: TOOK,
        },
        Event::MessageReceived {
            mid: MID,
            sender: mailbox("a@contoso.example"),
            size: 7_555,
            message_id: Some("<x@contoso.example>".into()),
            subject: Some("OUTBOUND".into()),
            took: TOOK,
        },
    ]
}

fn after_receiving() -> Vec<Event> {
    let into = Mid(186_372);
    vec![
        Event::MessageFiltered { mid: MID, matched: 1, took: TOOK },
        Event::MessageRewritten {
            mid: MID,
            into,
            action: "strip-header",
            filter: "office365_outbound".into(),
        },
        Event::MessageFinished { mid: MID, how: Finish::Rewritten, took: TOOK },
        Event::PolicyMatched {
            mid: into,
            policy: "DEFAULT".into(),
            direction: Direction::Outgoing,
        },
        Event::MessageQueued { mid: into, took: TOOK },
        Event::DeliveryConnectionOpened {
            dcid: DCID,
            local: address("192.0.2.36"),
            remote: address("198.51.100.7"),
            port: 25,
            took: TOOK,
        },
        Event::DeliveryTlsEstablished {
            dcid: DCID,
            protocol: "TLSv1.3",
            cipher: "TLS_AES_256_GCM_SHA384",
            verified: true,
            domain: "fabrikam.example".into(),
        },
        Event::DeliveryStarted { dcid: DCID, mid: into, rids: rids(&[0]), waited: TOOK },
        Event::RecipientsDelivered {
            dcid: DCID,
            mid: into,
            rids: rids(&[0]),
            response: "2.0.0 OK queued".into(),
            took: TOOK,
        },
        Event::MessageFinished { mid: into, how: Finish::Done, took: TOOK },
        Event::ConnectionClosed { icid: ICID, how: Close::Closed },
        Event::DeliveryConnectionClosed { dcid: DCID },
    ]
}

#[test]
fn what_is_refused_and_what_ends_early() {
    let mut events = refused_connections();
    let recipient = || Address::from_text("x@contoso.example");
    let refused = |by| Event::RecipientRefused { mid: MID, icid: ICID, recipient: recipient(), by };
    let aborted = |reason| Event::MessageAborted { mid: MID, reason };
    events.extend([
        Event::MessageStarted { mid: MID, icid: ICID, sender: ReversePath::Null },
        refused(RecipientRefusal::Rat),
        refused(RecipientRefusal::ReceivingControl),
        refused(RecipientRefusal::Syntax),
        aborted(Abort::DroppedByFilter("f".into())),
        aborted(Abort::BouncedByFilter("f".into())),
        aborted(Abort::RejectedByFilter("f".into())),
        aborted(Abort::Receiving),
        aborted(Abort::ReceivingBySender),
        Event::MessageFinished { mid: MID, how: Finish::Aborted, took: TOOK },
        Event::ConnectionClosed { icid: ICID, how: Close::Lost },
    ]);
    assert_eq!(said(events), REFUSED);
}

fn refused_connections() -> Vec<Event> {
    let reply = Reply::new(550, Status::new(5, 1, 8), "no such domain");
    vec![
        Event::ConnectionOpened {
            icid: ICID,
            listener: "Inbound".into(),
            local: address("2001:db8::36"),
            client: address("203.0.113.59"),
            name: ClientName::Mismatched("forged.example".into()),
            took: TOOK,
        },
        Event::ConnectionClassified {
            icid: ICID,
            access: Access::TcpRefuse,
            group: None,
            entry: "ALL".into(),
            policy: "BLOCKED".into(),
            took: TOOK,
        },
        Event::ConnectionRefused { icid: ICID, limit: ConnectionLimit::Client },
        Event::TlsFailed { icid: ICID, reason: "no shared cipher".into() },
        Event::SenderRefused { icid: ICID, sender: mailbox("a@b.example"), reply },
    ]
}

#[test]
fn what_fails_on_the_way_out() {
    let unknown = Reply::new(550, Status::new(5, 1, 1), "No such user\nSee O'Neill");
    let full = Reply { code: 466, status: None, text: "Mailbox temporarily full.".into() };
    let mut events = vec![
        Event::RecipientsBounced {
            dcid: Some(DCID),
            mid: MID,
            rids: rids(&[0, 2]),
            failure: failure(Status::new(5, 1, 0), Some(unknown), ""),
        },
        Event::RecipientsDeferred {
            dcid: Some(DCID),
            mid: MID,
            rids: rids(&[1, 3]),
            failure: failure(Status::new(4, 1, 0), Some(full), ""),
            until: Date::from_millis(1_764_000_000_000),
        },
        Event::RecipientsBounced {
            dcid: None,
            mid: MID,
            rids: rids(&[4]),
            failure: failure(Status::new(5, 1, 0), None, "no next hop"),
        },
    ];
    events.extend(failed_connections());
    assert_eq!(said(events), FAILED);
}

fn failed_connections() -> Vec<Event> {
    vec![
        Event::ConnectionFailed {
            dcid: None,
            domain: "fabrikam.example".into(),
            remote: Some(address("198.51.100.7")),
            port: 25,
            reason: "connection refused".into(),
        },
        Event::RouteFailed { domain: "a.example".into(), failure: RouteFailure::NoSuchDomain },
        Event::RouteFailed {
            domain: "b.example".into(),
            failure: RouteFailure::Unavailable("timed out".into()),
        },
        Event::DeliveryTlsFailed { dcid: DCID, reason: "expired".into() },
        Event::BounceGenerated { mid: Mid(5), of: MID },
        Event::DoubleBounced { mid: Mid(5) },
    ]
}

#[test]
fn values_are_quoted_and_cannot_forge_a_line() {
    let received = |message_id: &str, subject: &str| Event::MessageReceived {
        mid: Mid(1),
        sender: mailbox("a\u{1b}[2J@b.example"),
        size: 0,
        message_id: Some(message_id.into()),
        subject: Some(subject.into()),
        took: TOOK,
    };
    let events = vec![
        received("<Lands'End.6cl2sv@email.example>", "it's \"quoted\" \\"),
        received("bare\"'id", "a\r\nMon Nov 24 14:22:57 2025 Info: MID 9 \u{202e}gnol \u{fc}"),
        Event::LogEntryWritten { mid: Mid(1), text: "one\ntwo 'as is' \\".into() },
    ];
    assert_eq!(
        said(events),
        r#"MID 1 Message-ID "<Lands'End.6cl2sv@email.example>"
MID 1 Subject "it's \"quoted\" \\"
MID 1 ready 0 bytes from <a\x1b[2J@b.example>
MID 1 Message-ID '<bare"\'id>'
MID 1 Subject "a\r\nMID 9 \u202egnol ü"
MID 1 ready 0 bytes from <a\x1b[2J@b.example>
MID 1 Custom Log Entry: one\ntwo 'as is' \
"#
    );
}

#[test]
fn troubles_of_our_own_have_levels_and_times_have_a_zone() {
    let mut text = String::new();
    for event in [
        Event::SpoolFailed { reason: "sync failed".into(), is_final: true },
        Event::SpoolFailed { reason: "disk full".into(), is_final: false },
        Event::SpoolResumed,
        Event::RecordDamaged { log: 1, segment: 2, offset: 4_096 },
        Event::MessageRecovered { mid: MID, sender: ReversePath::Null, recipients: 2 },
    ] {
        let stamped = Stamped {
            time: ringpost_core::time::Time::ZERO,
            date: Date::from_millis(1_763_994_177_250),
            shard: 3,
            event,
        };
        lines(&stamped, -21_600, &mut text);
    }
    assert_eq!(
        text,
        "\
Mon Nov 24 08:22:57 2025 Alert: Receiving stopped until a restart on shard 3: sync failed
Mon Nov 24 08:22:57 2025 Warning: Receiving paused on shard 3: disk full
Mon Nov 24 08:22:57 2025 Info: Receiving resumed on shard 3
Mon Nov 24 08:22:57 2025 Warning: Spool record damaged: log 1 segment 2 offset 4096
Mon Nov 24 08:22:57 2025 Info: MID 186371 recovered from the spool with 2 recipients from <>
"
    );
}

const COMPLETE_LIFE: &str = "\
New SMTP ICID 405417 interface Data 2 (192.0.2.36) address 203.0.113.59 reverse dns host \
mail-x.outbound.protection.outlook.com verified yes
ICID 405417 RELAY SG RELAY_O365 match .protection.outlook.com SBRS not enabled country not enabled
ICID 405417 TLS success protocol TLSv1.2 cipher ECDHE-RSA-AES256-GCM-SHA384
Start MID 186371 ICID 405417
MID 186371 ICID 405417 From: <a@contoso.example>
MID 186371 ICID 405417 RID 0 To: <b@fabrikam.example>
MID 186371 Message-ID '<x@contoso.example>'
MID 186371 Subject \"OUTBOUND\"
MID 186371 ready 7555 bytes from <a@contoso.example>
MID 186371 rewritten to MID 186372 by strip-header filter 'office365_outbound'
Message finished MID 186371 done
MID 186372 matched all recipients for per-recipient policy DEFAULT in the outbound table
MID 186372 queued for delivery
New SMTP DCID 857 interface 192.0.2.36 address 198.51.100.7 port 25
DCID 857 TLS success protocol TLSv1.3 cipher TLS_AES_256_GCM_SHA384 for fabrikam.example
Delivery start DCID 857 MID 186372 to RID [0]
Message done DCID 857 MID 186372 to RID [0]
MID 186372 RID [0] Response '2.0.0 OK queued'
Message finished MID 186372 done
ICID 405417 close
DCID 857 close
";

const REFUSED: &str = "\
New SMTP ICID 405417 interface Inbound (2001:db8::36) address 203.0.113.59 reverse dns host \
forged.example verified no
ICID 405417 TCPREFUSE SG None match ALL SBRS not enabled country not enabled
ICID 405417 Receiving Failed: Too many connections from this host
ICID 405417 TLS failed: no shared cipher
ICID 405417 Address: <a@b.example> sender rejected, 550 5.1.8 no such domain
Start MID 186371 ICID 405417
MID 186371 ICID 405417 From: <>
MID 186371 ICID 405417 To: <x@contoso.example> Rejected by RAT
MID 186371 ICID 405417 To: <x@contoso.example> Rejected by Receiving Control
MID 186371 ICID 405417 To: <x@contoso.example> Rejected by Address Parser
Message aborted MID 186371 Dropped by filter 'f'
Message aborted MID 186371 Bounced by filter 'f'
Message aborted MID 186371 Rejected by filter 'f'
Message aborted MID 186371 Receiving aborted
Message aborted MID 186371 Receiving aborted by sender
Message finished MID 186371 aborted
ICID 405417 lost
";

const FAILED: &str = "\
Bounced: DCID 857 MID 186371 to RID 0 - 5.1.0 - Unknown address error ('550', \
['5.1.1 No such user', \"5.1.1 See O'Neill\"]) []
Bounced: DCID 857 MID 186371 to RID 2 - 5.1.0 - Unknown address error ('550', \
['5.1.1 No such user', \"5.1.1 See O'Neill\"]) []
Delayed: DCID 857 MID 186371 to RID 1 - 4.1.0 - Unknown address error ('466', \
['Mailbox temporarily full.']) []
Delayed: DCID 857 MID 186371 to RID 3 - 4.1.0 - Unknown address error ('466', \
['Mailbox temporarily full.']) []
Message 186371 to RID [1, 3] pending till Mon Nov 24 16:00:00 2025
Bounced: DCID 0 MID 186371 to RID 4 - 5.1.0 - Unknown address error ('000', ['no next hop']) []
Connection Error: DCID 0 domain: fabrikam.example IP: 198.51.100.7 port: 25 details: \
connection refused interface: None reason: network error
DNS Error a.example MX - NXDomain
DNS Temporary Failure b.example MX - timed out
DCID 857 TLS failed: expired
MID 5 was generated for bounce of MID 186371
Double bounce: MID 5 has no sender to report to
";
