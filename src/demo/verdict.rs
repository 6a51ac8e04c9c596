//! What became of a message, and whether that is what should have.
//!
//! Judged by what the receivers hold, octet for octet, not by what the gateway says of itself.

use std::{fs, io, time::Instant};

use super::{
    client::{self, Answer, Step},
    exchanger::{Arrival, Exchanger},
    mail::{Ending, Mail, SECRET_HEADER},
    scene::Scene,
};

pub(super) struct Verdict {
    pub(super) is_good: bool,
    /// What happened, in a few words.
    pub(super) text: String,
}

type Judged = Result<String, String>;

/// Sends `mail` and looks where it comes out, until `until`.
pub(super) fn of(mail: &Mail, scene: &Scene, until: Instant) -> Verdict {
    let name = &scene.snapshot.hostname;
    let judged = match client::send(mail, scene.gateway(mail.door), &scene.tls, name) {
        Err(error) => Err(format!("could not be sent: {error}")),
        Ok(answer) => judge(mail, &answer, scene, until),
    };
    let is_good = judged.is_ok();
    let (Ok(text) | Err(text)) = judged;
    Verdict { is_good, text }
}

fn judge(mail: &Mail, answer: &Answer, scene: &Scene, until: Instant) -> Judged {
    match mail.ending {
        Ending::Refused(step, reply) => refused(answer, step, reply),
        _ if !answer.is_accepted() => Err(format!("{} {}", answer.reply, answer.step)),
        Ending::ToTenant => {
            delivered(mail, &scene.tenant, until).map(|()| "delivered, Received added".to_owned())
        }
        Ending::ToInternet => {
            delivered(mail, &scene.internet, until).map(|()| "delivered, secret removed".to_owned())
        }
        Ending::Bounced(status) => reported(mail, status, &scene.internet, until),
    }
}

fn refused(answer: &Answer, step: Step, reply: &str) -> Judged {
    let is_code = |word: &&str| word.starts_with(|first: char| first.is_ascii_digit());
    let codes: Vec<&str> = answer.reply.split(' ').take_while(is_code).take(2).collect();
    let text = format!("{} {}", codes.join(" "), answer.step);
    if answer.step == step && answer.reply.starts_with(reply) {
        Ok(text)
    } else {
        Err(format!("{} {}", answer.reply, answer.step))
    }
}

/// Whether it arrived once for all, over TLS, and as it was but for what the gateway must change.
fn delivered(mail: &Mail, receiver: &Exchanger, until: Instant) -> Result<(), String> {
    let arrival = receiver
        .wait(until, |arrival| arrival.sender == mail.sender)
        .ok_or("accepted, but it never arrived")?;
    if !arrival.is_tls {
        return Err("arrived in clear, without TLS".to_owned());
    }
    if arrival.recipients != mail.recipients {
        return Err(format!("arrived for {}", arrival.recipients.join(", ")));
    }
    let content = content(&arrival).map_err(|error| error.to_string())?;
    let (received, rest) = split_field(&content);
    if !received.starts_with(b"Received: ") {
        return Err("arrived without a Received field at the top".to_owned());
    }
    if rest != without_secret(&mail.content) {
        return Err("arrived, but not as it was sent".to_owned());
    }
    Ok(())
}

/// A delivery report (RFC 3464) about the message at the sender's.
fn reported(mail: &Mail, status: &str, receiver: &Exchanger, until: Instant) -> Judged {
    let is_report = |it: &Arrival| it.sender.is_empty() && it.recipients == [mail.sender];
    let arrival = receiver.wait(until, is_report).ok_or("no report ever came back")?;
    let content = content(&arrival).map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&content);
    let recipient = mail.recipients[0];
    for needed in [
        "multipart/report",
        "Action: failed",
        &format!("Status: {status}"),
        &format!("Final-Recipient: rfc822; {recipient}"),
    ] {
        if !text.contains(needed) {
            return Err(format!("a report came back, without {needed:?}"));
        }
    }
    Ok(format!("report delivered: {status}"))
}

fn content(arrival: &Arrival) -> io::Result<Vec<u8>> {
    fs::read(&arrival.file)
}

fn without_secret(content: &[u8]) -> &[u8] {
    let (field, rest) = split_field(content);
    if field.starts_with(SECRET_HEADER.as_bytes()) { rest } else { content }
}

/// The first header field with its folded lines, and what follows it.
fn split_field(content: &[u8]) -> (&[u8], &[u8]) {
    let mut end = 0;
    for line in content.split_inclusive(|octet| *octet == b'\n') {
        let is_folded = line.starts_with(b" ") || line.starts_with(b"\t");
        if end > 0 && !is_folded {
            break;
        }
        end += line.len();
    }
    content.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_ends_where_the_next_begins() {
        let (field, rest) = split_field(b"Received: a\r\n\tb\r\nTo: c\r\n\r\nd");
        assert_eq!(field, b"Received: a\r\n\tb\r\n");
        assert_eq!(rest, b"To: c\r\n\r\nd");
    }

    #[test]
    fn a_refusal_at_another_step_is_not_the_one_expected() {
        let reply = "550 5.7.1 Relaying denied".to_owned();
        let answer = Answer { step: Step::Recipient, reply };
        assert_eq!(
            refused(&answer, Step::Recipient, "550"),
            Ok("550 5.7.1 after RCPT TO".to_owned())
        );
        assert!(refused(&answer, Step::Content, "550").is_err());
        assert!(refused(&answer, Step::Recipient, "554").is_err());
    }
}
