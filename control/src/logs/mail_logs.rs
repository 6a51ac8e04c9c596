//! `mail_logs` in the line shapes of AsyncOS, which the SIEMs of the field read.
//!
//! One event becomes one line or several. Values are quoted as Python's `repr` would, because that
//! is what the parsers of these logs were written against.

use std::fmt::{self, Arguments, Display, Write};

use ringpost_core::{
    event::{
        Abort, Close, ConnectionLimit, Direction, Event, Failure, Finish, RecipientRefusal,
        RouteFailure, Stamped,
    },
    id::{Dcid, Mid, Rid, Rids},
    time::Date,
};
use ringpost_delivery::outcome::reason;

use super::{
    quote::{DoubleQuoted, Plain, Repr},
    rotate,
};

/// Appends the lines of one event to `text`, each with its line ending. Times are written
/// `offset_seconds` east of Greenwich.
pub fn lines(stamped: &Stamped, offset_seconds: i32, text: &mut String) {
    let Stamped { date, event, .. } = stamped;
    let mut out = Out { text, date: *date, offset_seconds };
    match event {
        Event::ConnectionOpened { icid, listener, local, client, name, .. } => {
            let host = name.name().map_or("unknown", |name| name);
            let verified = if name.is_verified() { "yes" } else { "no" };
            out.info(format_args!(
                "New SMTP ICID {icid} interface {} ({}) address {} reverse dns host {} verified \
                 {verified}",
                Plain(listener),
                local.to_canonical(),
                client.to_canonical(),
                Plain(host),
            ));
        }
        Event::ConnectionClassified { icid, access, group, entry, .. } => {
            let group = group.as_deref().unwrap_or("None");
            out.info(format_args!(
                "ICID {icid} {} SG {} match {} SBRS not enabled country not enabled",
                access.as_str(),
                Plain(group),
                Plain(entry),
            ));
        }
        Event::ConnectionRefused { icid, limit } => {
            out.info(format_args!("ICID {icid} Receiving Failed: {}", limit_reached(*limit)));
        }
        Event::TlsEstablished { icid, protocol, cipher } => {
            out.info(format_args!("ICID {icid} TLS success protocol {protocol} cipher {cipher}"));
        }
        Event::TlsFailed { icid, reason } => {
            out.info(format_args!("ICID {icid} TLS failed: {}", Plain(reason)));
        }
        Event::MessageStarted { mid, icid, sender } => {
            out.info(format_args!("Start MID {mid} ICID {icid}"));
            out.info(format_args!("MID {mid} ICID {icid} From: <{}>", Plain(sender.as_str())));
        }
        Event::SenderRefused { icid, sender, reply } => {
            let (sender, reply) = (Plain(sender.as_str()), reply.to_string());
            out.info(format_args!(
                "ICID {icid} Address: <{sender}> sender rejected, {}",
                Plain(&reply)
            ));
        }
        Event::RecipientAccepted { mid, icid, rid, recipient, .. } => {
            let recipient = Plain(recipient.as_str());
            out.info(format_args!("MID {mid} ICID {icid} RID {rid} To: <{recipient}>"));
        }
        Event::RecipientRefused { mid, icid, recipient, by } => {
            let (recipient, by) = (Plain(recipient.as_str()), refused_by(by));
            out.info(format_args!("MID {mid} ICID {icid} To: <{recipient}> {by}"));
        }
        Event::MessageReceived { mid, sender, size, message_id, subject, .. } => {
            if let Some(id) = message_id {
                out.info(format_args!("MID {mid} Message-ID {}", Repr(&in_brackets(id))));
            }
            if let Some(subject) = subject {
                out.info(format_args!("MID {mid} Subject {}", DoubleQuoted(subject)));
            }
            let sender = Plain(sender.as_str());
            out.info(format_args!("MID {mid} ready {size} bytes from <{sender}>"));
        }
        // AsyncOS says nothing of filters that change nothing; their actions are events.
        Event::MessageFiltered { .. } => {}
        Event::LogEntryWritten { mid, text } => {
            out.info(format_args!("MID {mid} Custom Log Entry: {}", Plain(text)));
        }
        Event::MessageRewritten { mid, into, action, filter } => {
            let filter = Repr(filter);
            out.info(format_args!("MID {mid} rewritten to MID {into} by {action} filter {filter}"));
        }
        Event::MessageAborted { mid, reason } => {
            out.info(format_args!("Message aborted MID {mid} {}", Aborted(reason)));
        }
        Event::PolicyMatched { mid, policy, direction } => {
            let table = match direction {
                Direction::Incoming => "inbound",
                Direction::Outgoing => "outbound",
            };
            out.info(format_args!(
                "MID {mid} matched all recipients for per-recipient policy {} in the {table} table",
                Plain(policy)
            ));
        }
        Event::MessageQueued { mid, .. } => {
            out.info(format_args!("MID {mid} queued for delivery"));
        }
        Event::ConnectionClosed { icid, how: Close::Closed } => {
            out.info(format_args!("ICID {icid} close"));
        }
        Event::ConnectionClosed { icid, how: Close::Lost } => {
            out.info(format_args!("ICID {icid} lost"));
        }
        Event::DeliveryConnectionOpened { dcid, local, remote, port, .. } => {
            let (local, remote) = (local.to_canonical(), remote.to_canonical());
            out.info(format_args!(
                "New SMTP DCID {dcid} interface {local} address {remote} port {port}"
            ));
        }
        Event::DeliveryTlsEstablished { dcid, protocol, cipher, domain, .. } => {
            out.info(format_args!(
                "DCID {dcid} TLS success protocol {protocol} cipher {cipher} for {}",
                Plain(domain)
            ));
        }
        Event::DeliveryTlsFailed { dcid, reason } => {
            out.info(format_args!("DCID {dcid} TLS failed: {}", Plain(reason)));
        }
        Event::ConnectionFailed { dcid, domain, remote, port, reason } => {
            let remote = remote.map_or_else(|| "None".into(), |it| it.to_canonical().to_string());
            out.info(format_args!(
                "Connection Error: DCID {} domain: {} IP: {remote} port: {port} details: {} \
                 interface: None reason: network error",
                number(*dcid),
                Plain(domain),
                Plain(reason)
            ));
        }
        Event::RouteFailed { domain, failure } => out.route_failed(domain, failure),
        Event::DeliveryStarted { dcid, mid, rids, .. } => {
            out.info(format_args!("Delivery start DCID {dcid} MID {mid} to RID {}", List(rids)));
        }
        Event::RecipientsDelivered { dcid, mid, rids, response, .. } => {
            let rids = List(rids);
            out.info(format_args!("Message done DCID {dcid} MID {mid} to RID {rids}"));
            out.info(format_args!("MID {mid} RID {rids} Response {}", Repr(response)));
        }
        Event::RecipientsDeferred { dcid, mid, rids, failure, until } => {
            out.failed("Delayed", *dcid, *mid, rids, failure);
            let (rids, until) = (List(rids), until.ctime(offset_seconds));
            out.info(format_args!("Message {mid} to RID {rids} pending till {until}"));
        }
        Event::RecipientsBounced { dcid, mid, rids, failure } => {
            out.failed("Bounced", *dcid, *mid, rids, failure);
        }
        Event::DeliveryConnectionClosed { dcid } => out.info(format_args!("DCID {dcid} close")),
        Event::BounceGenerated { mid, of } => {
            out.info(format_args!("MID {mid} was generated for bounce of MID {of}"));
        }
        Event::DoubleBounced { mid } => {
            out.info(format_args!("Double bounce: MID {mid} has no sender to report to"));
        }
        Event::MessageFinished { mid, how: Finish::Done | Finish::Rewritten, .. } => {
            out.info(format_args!("Message finished MID {mid} done"));
        }
        Event::MessageFinished { mid, how: Finish::Aborted, .. } => {
            out.info(format_args!("Message finished MID {mid} aborted"));
        }
        Event::MessageRecovered { mid, sender, recipients } => {
            let sender = Plain(sender.as_str());
            out.info(format_args!(
                "MID {mid} recovered from the spool with {recipients} recipients from <{sender}>"
            ));
        }
        Event::SpoolFailed { reason, is_final } => {
            let (level, state) = match is_final {
                true => ("Alert", "stopped until a restart"),
                false => ("Warning", "paused"),
            };
            let (shard, reason) = (stamped.shard, Plain(reason));
            out.line(level, format_args!("Receiving {state} on shard {shard}: {reason}"));
        }
        Event::SpoolResumed => {
            out.info(format_args!("Receiving resumed on shard {}", stamped.shard));
        }
        Event::RecordDamaged { log, segment, offset } => {
            let place = format_args!("log {log} segment {segment} offset {offset}");
            out.line("Warning", format_args!("Spool record damaged: {place}"));
        }
    }
}

/// The lines every file begins and ends with.
pub(super) fn heading(date: Date, offset_seconds: i32) -> rotate::Lines {
    let (mut begin, mut end) = (String::new(), String::new());
    let mut out = Out { text: &mut begin, date, offset_seconds };
    out.info(format_args!("Begin Logfile"));
    out.info(format_args!("Version: Ringpost {} SN: None", env!("CARGO_PKG_VERSION")));
    out.info(format_args!("Time offset from UTC: {offset_seconds} seconds"));
    Out { text: &mut end, date, offset_seconds }.info(format_args!("End Logfile"));
    rotate::Lines { begin, end }
}

struct Out<'a> {
    text: &'a mut String,
    date: Date,
    offset_seconds: i32,
}

impl Out<'_> {
    fn info(&mut self, message: Arguments<'_>) {
        self.line("Info", message);
    }

    fn line(&mut self, level: &str, message: Arguments<'_>) {
        let date = self.date.ctime(self.offset_seconds);
        writeln!(self.text, "{date} {level}: {message}").expect("a String takes everything");
    }

    fn route_failed(&mut self, domain: &str, failure: &RouteFailure) {
        let domain = Plain(domain);
        match failure {
            RouteFailure::NoSuchDomain => {
                self.info(format_args!("DNS Error {domain} MX - NXDomain"));
            }
            RouteFailure::NullMx => self.info(format_args!("DNS Error {domain} MX - Null MX")),
            RouteFailure::NoAddress => {
                self.info(format_args!("DNS Error {domain} MX - No address"));
            }
            RouteFailure::Loop => {
                self.info(format_args!("DNS Error {domain} MX - Mail loops back to myself"));
            }
            RouteFailure::Unavailable(why) => {
                let why = Plain(why);
                self.info(format_args!("DNS Temporary Failure {domain} MX - {why}"));
            }
        }
    }

    /// One line a recipient: the parsers know no list here.
    fn failed(&mut self, what: &str, dcid: Option<Dcid>, mid: Mid, rids: &Rids, failure: &Failure) {
        let dcid = number(dcid);
        let (status, said) = (failure.status, Said(failure));
        for rid in rids {
            self.info(format_args!(
                "{what}: DCID {dcid} MID {mid} to RID {rid} - {status} - {} {said} []",
                reason(status)
            ));
        }
    }
}

/// DCID 0 stands for no connection.
fn number(dcid: Option<Dcid>) -> u64 {
    dcid.map_or(0, |dcid| dcid.0)
}

const fn limit_reached(limit: ConnectionLimit) -> &'static str {
    match limit {
        ConnectionLimit::Client => "Too many connections from this host",
        ConnectionLimit::Listener => "Too many connections to this listener",
        ConnectionLimit::Unavailable => "Service not available",
    }
}

const fn refused_by(by: &RecipientRefusal) -> &'static str {
    match by {
        RecipientRefusal::Rat => "Rejected by RAT",
        RecipientRefusal::ReceivingControl => "Rejected by Receiving Control",
        RecipientRefusal::Syntax => "Rejected by Address Parser",
    }
}

fn in_brackets(id: &str) -> String {
    let id = id.trim();
    if id.starts_with('<') { id.into() } else { format!("<{id}>") }
}

struct Aborted<'a>(&'a Abort);

impl Display for Aborted<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Abort::DroppedByFilter(filter) => write!(out, "Dropped by filter {}", Repr(filter)),
            Abort::BouncedByFilter(filter) => write!(out, "Bounced by filter {}", Repr(filter)),
            Abort::RejectedByFilter(filter) => write!(out, "Rejected by filter {}", Repr(filter)),
            Abort::Receiving => out.write_str("Receiving aborted"),
            Abort::ReceivingBySender => out.write_str("Receiving aborted by sender"),
        }
    }
}

/// What the peer said, as `('550', ['line', 'line'])`; our own words under the code `000`.
struct Said<'a>(&'a Failure);

impl Display for Said<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(reply) = &self.0.reply else {
            return write!(out, "('000', [{}])", Repr(&self.0.diagnostic));
        };
        write!(out, "('{:03}', [", reply.code)?;
        for (number, line) in reply.text.split('\n').enumerate() {
            let separator = if number == 0 { "" } else { ", " };
            match reply.status {
                Some(status) => write!(out, "{separator}{}", Repr(&format!("{status} {line}")))?,
                None => write!(out, "{separator}{}", Repr(line))?,
            }
        }
        out.write_str("])")
    }
}

/// `[0, 1]`.
struct List<'a>(&'a [Rid]);

impl Display for List<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_char('[')?;
        for (number, rid) in self.0.iter().enumerate() {
            let separator = if number == 0 { "" } else { ", " };
            write!(out, "{separator}{rid}")?;
        }
        out.write_char(']')
    }
}
