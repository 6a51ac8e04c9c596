//! The report of non-delivery: a DSN as RFC 3461 to 3464 want it, readable for a person first.
//!
//! A report is a message of its own with a null reverse-path, so that nothing is ever reported
//! about a report. It returns no more of the original than the sender asked for, and never the
//! header fields that are named as secrets.

mod field;
mod meaning;
mod original;

use alloc::{
    format,
    string::{String, ToString as _},
    vec::Vec,
};

use bytes::Bytes;
use ringpost_core::{
    address::{Address, ReversePath},
    envelope::{self, Envelope, Notify, Recipient},
    event::Failure,
    id::{Mid, Rids},
    message::Body,
    time::Date,
};

use self::{
    field::{decode_xtext, folded, paragraph, printable},
    meaning::meaning,
    original::Original,
};

/// What to report, and from where.
#[derive(Clone, Copy, Debug)]
pub struct Report<'a> {
    /// Our host name: the reporting MTA.
    pub hostname: &'a str,
    /// The report's own number; with `date` it makes the Message-ID and the boundary.
    pub mid: Mid,
    /// Now.
    pub date: Date,
    /// The envelope of the message that failed.
    pub envelope: &'a Envelope,
    /// When that message came in.
    pub received: Date,
    /// When delivery was tried last; none if it was not tried (a filter bounced it).
    pub last_attempt: Option<Date>,
    /// The recipients that failed for good, and why. Those who want no report are left out here.
    pub failed: &'a [(Rids, Failure)],
    /// The header block of the message, without the empty line.
    pub header: &'a [u8],
    /// The rest of it, from the empty line on, if it is at hand. A body longer than
    /// [`Report::max_copy`] need not be read from the spool: it is not returned.
    pub body: Option<&'a [Bytes]>,
    /// Octets of the message that are returned at most (AsyncOS `max_bounce_copy`). A longer one is
    /// returned as its header, cut at this length.
    pub max_copy: usize,
    /// Names of header fields that are not returned: secrets between us and the next hop.
    pub omitted_fields: &'a [&'a str],
}

/// [`Report::max_copy`] as AsyncOS has it.
pub const MAX_COPY_DEFAULT: usize = 10 * 1024;

/// Composes the report: its envelope, its header block and its body from the empty line on.
///
/// None when the sender is null (RFC 5321 4.5.5) or no failed recipient wants a report of failure
/// (RFC 3461 4.1).
///
/// # Panics
///
/// When a RID is not one of the envelope: the caller is wrong.
#[must_use]
pub fn compose(report: &Report<'_>) -> Option<(Envelope, Bytes, Body)> {
    let sender = report.envelope.reverse_path.mailbox()?;
    let failed = reportable(report);
    if failed.is_empty() {
        return None;
    }
    let explanation = explain(report, &failed);
    let status = delivery_status(report, &failed);
    let original = Original::returned(report);
    let boundary =
        boundary(report, &[explanation.as_bytes(), status.as_bytes(), &original.content]);

    let mut body = Vec::with_capacity(explanation.len() + status.len() + original.content.len());
    body.extend_from_slice(b"\r\n");
    let text = if explanation.is_ascii() { "us-ascii" } else { "utf-8" };
    part(&mut body, &boundary, &format!("text/plain; charset={text}"), explanation.as_bytes());
    //= RFC 6533 4
    let kind = if status.is_ascii() { "" } else { "global-" };
    let kind = format!("message/{kind}delivery-status");
    part(&mut body, &boundary, &kind, status.as_bytes());
    part(&mut body, &boundary, original.media_type, &original.content);
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());

    let is_eight_bit = !body.is_ascii();
    let header = header(report, sender, &boundary, is_eight_bit);
    let mut envelope = Envelope::new(ReversePath::Null);
    //= RFC 3461 6.1
    envelope.recipients =
        [Recipient { notify: Notify::NEVER, ..Recipient::new(sender.clone()) }].into();
    envelope.smtputf8 = !header.is_ascii();
    if is_eight_bit {
        envelope.body = envelope::Body::EightBitMime;
    }
    Some((envelope, header.into(), Body { spilled: Vec::new(), chunks: [body.into()].into() }))
}

/// A failure with those of its recipients that a report is wanted about; never without any.
struct Failed<'a> {
    recipients: Vec<&'a Recipient>,
    failure: &'a Failure,
}

fn reportable<'a>(report: &Report<'a>) -> Vec<Failed<'a>> {
    let recipient = |rid| report.envelope.recipient(rid).expect("a RID is one of its envelope");
    let wanted = report.failed.iter().map(|(rids, failure)| Failed {
        recipients: rids
            .iter()
            .map(|rid| recipient(*rid))
            .filter(|recipient| recipient.notify.wants_failure())
            .collect(),
        failure,
    });
    wanted.filter(|failed| !failed.recipients.is_empty()).collect()
}

fn header(report: &Report<'_>, sender: &Address, boundary: &str, is_eight_bit: bool) -> String {
    let (host, mid) = (printable(report.hostname), report.mid);
    let mut header = String::new();
    let mut add = |name, value: &str| header.push_str(&folded(name, value));
    add("From", &format!("Mail Delivery System <MAILER-DAEMON@{host}>"));
    add("To", &format!("<{}>", printable(sender.as_str())));
    add("Subject", "Undeliverable: your message could not be delivered");
    add("Date", &report.date.rfc5322().to_string());
    add("Message-ID", &format!("<{mid}.{}.dsn@{host}>", report.date.millis()));
    //= RFC 3834 5
    add("Auto-Submitted", "auto-replied");
    add("MIME-Version", "1.0");
    if is_eight_bit {
        add("Content-Transfer-Encoding", "8bit");
    }
    //= RFC 6522 3
    let kind = "multipart/report; report-type=delivery-status;";
    add("Content-Type", &format!("{kind} boundary=\"{boundary}\""));
    header
}

/// What a person reads.
fn explain(report: &Report<'_>, failed: &[Failed<'_>]) -> String {
    let mut text = format!(
        "The mail gateway {} could not deliver your message\r\n\
         to the recipients below, and has stopped trying.\r\n",
        printable(report.hostname)
    );
    for Failed { recipients, failure } in failed {
        text.push_str("\r\n");
        for recipient in recipients {
            text.push_str(&format!("<{}>\r\n", printable(recipient.address.as_str())));
        }
        paragraph(&mut text, &format!("{} ({})", meaning(failure), failure.status));
        match &failure.reply {
            Some(reply) => {
                let who = match &*failure.remote {
                    "" => "The receiving server".into(),
                    remote => format!("The server {}", printable(remote)),
                };
                paragraph(&mut text, &format!("{who} said: {}", excerpt(&reply.to_string())));
            }
            None if failure.diagnostic.is_empty() => {}
            None => paragraph(&mut text, &format!("Details: {}", excerpt(&failure.diagnostic))),
        }
    }
    text.push_str(
        "\r\nThe technical details and what is returned of your message are attached.\r\n",
    );
    text
}

/// What a program reads (RFC 3464 2).
fn delivery_status(report: &Report<'_>, failed: &[Failed<'_>]) -> String {
    let mut status = folded("Reporting-MTA", &format!("dns; {}", printable(report.hostname)));
    let mut add = |name, value: &str| status.push_str(&folded(name, value));
    if let Some(envid) = &report.envelope.envid {
        add("Original-Envelope-Id", &printable(&decode_xtext(envid)));
    }
    add("Arrival-Date", &report.received.rfc5322().to_string());
    for Failed { recipients, failure } in failed {
        for recipient in recipients {
            status.push_str("\r\n");
            recipient_status(&mut status, report, recipient, failure);
        }
    }
    status
}

/// The fields about one recipient (RFC 3464 2.3).
fn recipient_status(
    status: &mut String,
    report: &Report<'_>,
    recipient: &Recipient,
    failure: &Failure,
) {
    let mut add = |name, value: &str| status.push_str(&folded(name, value));
    let original = recipient.original.as_deref().and_then(|text| text.split_once(';'));
    if let Some((kind, address)) = original {
        let address = printable(&decode_xtext(address));
        add("Original-Recipient", &format!("{}; {address}", printable(kind)));
    }
    //= RFC 6533 3
    let kind = if recipient.address.needs_smtputf8() { "utf-8" } else { "rfc822" };
    add("Final-Recipient", &format!("{kind}; {}", printable(recipient.address.as_str())));
    add("Action", "failed");
    add("Status", &failure.status.to_string());
    if !failure.remote.is_empty() {
        add("Remote-MTA", &format!("dns; {}", printable(&failure.remote)));
    }
    match &failure.reply {
        Some(reply) => {
            add("Diagnostic-Code", &format!("smtp; {}", excerpt(&reply.to_string())));
        }
        None if failure.diagnostic.is_empty() => {}
        None => add("Diagnostic-Code", &format!("x-ringpost; {}", excerpt(&failure.diagnostic))),
    }
    if let Some(date) = report.last_attempt {
        add("Last-Attempt-Date", &date.rfc5322().to_string());
    }
}

/// As much of what a peer said as a report needs.
fn excerpt(text: &str) -> String {
    let mut excerpt: String = printable(text).chars().take(DIAGNOSTIC_CHARACTERS_MAX).collect();
    if excerpt.len() < text.len() {
        excerpt.push_str("...");
    }
    excerpt
}

fn part(body: &mut Vec<u8>, boundary: &str, media_type: &str, content: &[u8]) {
    let encoding = if content.is_ascii() { "7bit" } else { "8bit" };
    let mut head = format!("--{boundary}\r\n");
    head.push_str(&folded("Content-Type", media_type));
    head.push_str(&folded("Content-Transfer-Encoding", encoding));
    body.extend_from_slice(head.as_bytes());
    body.extend_from_slice(b"\r\n");
    body.extend_from_slice(content);
    body.extend_from_slice(b"\r\n");
}

/// A boundary that none of `contents` holds (RFC 2046 5.1.1).
fn boundary(report: &Report<'_>, contents: &[&[u8]]) -> String {
    let seed = format!("ringpost-{}-{:x}", report.mid, report.date.millis());
    let holds = |content: &[u8], text: &str| {
        content.windows(text.len()).any(|window| window == text.as_bytes())
    };
    (0_u32..)
        .map(|attempt| format!("{seed}-{attempt}"))
        .find(|boundary| !contents.iter().any(|content| holds(content, boundary)))
        .expect("contents are finite, and each holds few boundaries")
}

/// Of a reply: enough for every real one, and 1000 recipients stay below 3 MiB.
const DIAGNOSTIC_CHARACTERS_MAX: usize = 1_024;

#[cfg(test)]
mod tests {
    extern crate std;

    use std::{vec, vec::Vec};

    use ringpost_core::{envelope::Ret, event::Status, id::Rid, smtp::reply::Reply};

    use super::*;

    const HEADER: &[u8] = b"From: Sam <sam@example.com>\r\nSubject: hello\r\n\
        X-OUTBOUND-AUTH: mysecretkey\r\n\tand more of it\r\nTo: a@x.example\r\n";
    const BODY: &[u8] = b"\r\nHello,\r\n--ringpost-18-19ab63f6ba2-0\r\n.\r\n";

    fn failure(status: Status, reply: Option<Reply>, diagnostic: &str) -> Failure {
        Failure { status, reply, diagnostic: diagnostic.into(), remote: "mx.x.example".into() }
    }

    fn no_such_user() -> Failure {
        let status = Status::new(5, 1, 1);
        failure(status, Some(Reply::new(550, status, "no such\nuser here")), "")
    }

    fn envelope(sender: &str, recipients: &[&str]) -> Envelope {
        let mut envelope = Envelope::new(ReversePath::Mailbox(Address::from_text(sender)));
        let recipient = |text: &&str| Recipient::new(Address::from_text(text));
        envelope.recipients = recipients.iter().map(recipient).collect();
        envelope
    }

    fn report<'a>(
        envelope: &'a Envelope,
        failed: &'a [(Rids, Failure)],
        body: &'a [Bytes],
    ) -> Report<'a> {
        Report {
            hostname: "gw.contoso.example",
            mid: Mid(18),
            date: Date::from_millis(1_763_994_200_994),
            envelope,
            received: Date::from_millis(1_763_994_177_250),
            last_attempt: Some(Date::from_millis(1_763_994_200_000)),
            failed,
            header: HEADER,
            body: Some(body),
            max_copy: MAX_COPY_DEFAULT,
            omitted_fields: &["x-outbound-auth"],
        }
    }

    /// A report taken apart: its header and the header and content of each part.
    struct Parsed {
        header: String,
        parts: Vec<(String, String)>,
    }

    fn parse(header: &[u8], body: &Body) -> Parsed {
        let [chunk] = &body.chunks[..] else { panic!("one chunk is enough") };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (header, body) = (text(header), text(chunk));
        for line in header.split_terminator("\r\n").chain(body.split_terminator("\r\n")) {
            assert!(line.len() <= 998 && !line.contains(['\r', '\n', '\0']), "{line:?}");
        }
        let boundary = header.split("boundary=\"").nth(1).expect("there is a boundary");
        let boundary = boundary.split('"').next().expect("it is quoted");
        let delimiter = format!("\r\n--{boundary}");
        let mut pieces = body.split(&delimiter);
        assert_eq!(pieces.next(), Some(""), "no preamble");
        let mut parts: Vec<_> = pieces.collect();
        assert_eq!(parts.pop(), Some("--\r\n"), "the last delimiter closes");
        let divide = |part: &str| {
            let part = part.strip_prefix("\r\n").expect("a delimiter is a line");
            let (head, content) = part.split_once("\r\n\r\n").expect("a part has a header");
            (format!("{head}\r\n"), content.into())
        };
        let parts = parts.into_iter().map(divide).collect();
        Parsed { header, parts }
    }

    fn composed(report: &Report<'_>) -> (Envelope, Parsed) {
        let (envelope, header, body) = compose(report).expect("there is something to report");
        let parsed = parse(&header, &body);
        assert_eq!(parsed.parts.len(), 3);
        (envelope, parsed)
    }

    fn body() -> Vec<Bytes> {
        vec![Bytes::from_static(&BODY[..5]), Bytes::from_static(&BODY[5..])]
    }

    #[test]
    fn it_is_a_dsn_with_a_null_reverse_path() {
        let envelope = envelope("sam@example.com", &["a@x.example"]);
        let failed = [(Rids::from_slice(&[Rid(0)]), no_such_user())];
        let body = body();
        let (envelope, parsed) = composed(&report(&envelope, &failed, &body));
        assert_eq!(envelope.reverse_path, ReversePath::Null);
        assert_eq!(envelope.recipients[0].address.as_str(), "sam@example.com");
        assert_eq!(envelope.recipients[0].notify, Notify::NEVER);
        assert!(!envelope.smtputf8);
        assert_eq!(
            parsed.header,
            "From: Mail Delivery System <MAILER-DAEMON@gw.contoso.example>\r\n\
             To: <sam@example.com>\r\n\
             Subject: Undeliverable: your message could not be delivered\r\n\
             Date: Mon, 24 Nov 2025 14:23:20 +0000\r\n\
             Message-ID: <18.1763994200994.dsn@gw.contoso.example>\r\n\
             Auto-Submitted: auto-replied\r\n\
             MIME-Version: 1.0\r\n\
             Content-Type: multipart/report; report-type=delivery-status;\r\n \
             boundary=\"ringpost-18-19ab63f6ba2-1\"\r\n"
        );
        let [(text, words), (status, _), (returned, copy)] = &parsed.parts[..] else {
            panic!("three parts")
        };
        assert!(text.starts_with("Content-Type: text/plain; charset=us-ascii\r\n"));
        assert!(words.contains("\r\n<a@x.example>\r\n    There is no such address"));
        assert!(words.contains("The server mx.x.example said: 550 5.1.1 no such user here\r\n"));
        assert!(status.starts_with("Content-Type: message/delivery-status\r\n"));
        assert!(returned.starts_with("Content-Type: message/rfc822\r\n"));
        assert_eq!(
            *copy,
            "From: Sam <sam@example.com>\r\nSubject: hello\r\nTo: a@x.example\r\n\
             \r\nHello,\r\n--ringpost-18-19ab63f6ba2-0\r\n.\r\n"
        );
    }

    #[test]
    fn the_status_says_what_the_rfc_asks_for() {
        let mut envelope = envelope("sam@example.com", &["a@x.example", "b@x.example"]);
        envelope.envid = Some("QQ+2B1".into());
        envelope.recipients[0].original = Some("rfc822;old+2Ba@y.example".into());
        let policy =
            Failure { remote: "".into(), ..failure(Status::new(5, 7, 1), None, "by rule") };
        let failed =
            [(Rids::from_slice(&[Rid(0)]), no_such_user()), (Rids::from_slice(&[Rid(1)]), policy)];
        let body = body();
        let (_, parsed) = composed(&report(&envelope, &failed, &body));
        assert_eq!(
            parsed.parts[1].1,
            "Reporting-MTA: dns; gw.contoso.example\r\n\
             Original-Envelope-Id: QQ+1\r\n\
             Arrival-Date: Mon, 24 Nov 2025 14:22:57 +0000\r\n\
             \r\n\
             Original-Recipient: rfc822; old+a@y.example\r\n\
             Final-Recipient: rfc822; a@x.example\r\n\
             Action: failed\r\n\
             Status: 5.1.1\r\n\
             Remote-MTA: dns; mx.x.example\r\n\
             Diagnostic-Code: smtp; 550 5.1.1 no such user here\r\n\
             Last-Attempt-Date: Mon, 24 Nov 2025 14:23:20 +0000\r\n\
             \r\n\
             Final-Recipient: rfc822; b@x.example\r\n\
             Action: failed\r\n\
             Status: 5.7.1\r\n\
             Diagnostic-Code: x-ringpost; by rule\r\n\
             Last-Attempt-Date: Mon, 24 Nov 2025 14:23:20 +0000\r\n"
        );
    }

    #[test]
    fn nothing_is_reported_to_nobody_or_about_those_who_want_no_report() {
        let mut envelope = envelope("sam@example.com", &["a@x.example", "b@x.example"]);
        envelope.recipients[0].notify = Notify::NEVER;
        envelope.recipients[1].notify = Notify::SUCCESS.and(Notify::DELAY);
        let failed = [(Rids::from_slice(&[Rid(0), Rid(1)]), no_such_user())];
        let body = body();
        assert!(compose(&report(&envelope, &failed, &body)).is_none());
        assert!(compose(&report(&envelope, &[], &body)).is_none());
        envelope.recipients[1].notify = Notify::FAILURE;
        let (_, parsed) = composed(&report(&envelope, &failed, &body));
        for (_, content) in &parsed.parts[..2] {
            assert!(content.contains("b@x.example") && !content.contains("a@x.example"));
        }
        envelope.reverse_path = ReversePath::Null;
        assert!(compose(&report(&envelope, &failed, &body)).is_none());
    }

    #[test]
    fn only_the_header_is_returned_when_asked_for_or_when_the_message_is_large() {
        let mut envelope = envelope("sam@example.com", &["a@x.example"]);
        let failed = [(Rids::from_slice(&[Rid(0)]), no_such_user())];
        let (small, long_line) = (body(), [Bytes::from(vec![b'x'; 1_200])]);
        let large = [Bytes::from("x\r\n".repeat(5_000))];
        let header_only = "From: Sam <sam@example.com>\r\nSubject: hello\r\nTo: a@x.example\r\n";
        envelope.ret = Some(Ret::Headers);
        let headers = composed(&report(&envelope, &failed, &small)).1;
        envelope.ret = Some(Ret::Full);
        let too_large = composed(&report(&envelope, &failed, &large)).1;
        let too_long = composed(&report(&envelope, &failed, &long_line)).1;
        let not_at_hand = Report { body: None, ..report(&envelope, &failed, &small) };
        for parsed in [headers, too_large, too_long, composed(&not_at_hand).1] {
            let (head, content) = &parsed.parts[2];
            assert!(head.starts_with("Content-Type: text/rfc822-headers\r\n"));
            assert_eq!(content, header_only);
        }
        let header = b"A: b\r\nSubject: c\r\n d\r\n".repeat(1_000);
        let long_header = Report { header: &header, ..report(&envelope, &failed, &small) };
        let (_, parsed) = composed(&long_header);
        let (_, content) = &parsed.parts[2];
        assert!((10_200..=MAX_COPY_DEFAULT).contains(&content.len()), "{}", content.len());
        assert!(content.ends_with("A: b\r\n") || content.ends_with(" d\r\n"));
        let header = [b"A: ".as_slice(), &[b'x'; 2_000], b"\r\n"].concat();
        let grown = Report { header: &header, max_copy: 2_008, ..report(&envelope, &failed, &[]) };
        let (_, parsed) = composed(&grown);
        assert!(
            parsed.parts[2].0.contains(" text/rfc822-headers"),
            "a cut copy is not the message"
        );
    }

    #[test]
    fn utf8_goes_out_as_such() {
        let recipient = "jos\u{e9}@x.example";
        let envelope = envelope("s\u{e1}m@example.com", &[recipient]);
        let failed = [(Rids::from_slice(&[Rid(0)]), no_such_user())];
        let body = body();
        let header = "Subject: \u{e9}\r\n".as_bytes();
        let report = Report { header, ..report(&envelope, &failed, &body) };
        let (envelope, parsed) = composed(&report);
        assert!(envelope.smtputf8);
        assert_eq!(envelope.body, envelope::Body::EightBitMime);
        assert!(parsed.header.contains("Content-Transfer-Encoding: 8bit\r\n"));
        assert!(parsed.parts[0].0.contains("charset=utf-8\r\nContent-Transfer-Encoding: 8bit"));
        assert!(parsed.parts[1].0.contains(" message/global-delivery-status\r\n"));
        assert!(parsed.parts[1].1.contains(&format!("Final-Recipient: utf-8; {recipient}\r\n")));
        assert!(parsed.parts[2].0.contains(" message/global\r\n"));
    }

    #[test]
    fn no_peer_can_add_a_field_a_part_or_a_long_line() {
        let mut envelope = envelope("sam@example.com", &["a@x.example"]);
        envelope.envid = Some("x+0D+0ABcc:eve@example.com".into());
        envelope.recipients[0].original = Some("rfc822\r\nA: b;x+0Ay".into());
        let text: String = "\r\n--ringpost-18-19ab63f6ba2-0\r\n".repeat(3) + &"y".repeat(5_000);
        let reply = Reply { code: 554, status: None, text: text.into() };
        let failed =
            [(Rids::from_slice(&[Rid(0)]), failure(Status::new(5, 0, 0), Some(reply), ""))];
        let chunks = [Bytes::from_static(b"no empty line\rnul \0\nlone LF")];
        let header = b"A: b\r\n\r\nB: c\nX-Outbound-Auth : s3cret\r\n s3cret\r\nC: d";
        let report = Report { header, ..report(&envelope, &failed, &chunks) };
        let (_, parsed) = composed(&report);
        assert!(parsed.parts[1].1.contains("Original-Envelope-Id: x? Bcc:eve@example.com\r\n"));
        assert!(!parsed.parts[1].1.contains("\r\nA:"));
        let copy = "A: b\r\nB: c\r\nC: d\r\n\r\nno empty line nul  \r\nlone LF\r\n";
        assert_eq!(parsed.parts[2].1, copy);
    }
}
