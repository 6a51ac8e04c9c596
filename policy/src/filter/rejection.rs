//! `reject("550 5.7.1 text")`: our own final action, judged when the script is read.

use alloc::{borrow::ToOwned as _, string::String};

use ringpost_core::{event::Status, smtp::reply::Reply};

/// Reads a refusal: a code of 4yz or 5yz, perhaps an enhanced code of the same class, and a text.
///
/// Without an enhanced code it gets X.7.1 (RFC 3463 3.8: not authorized), as everything we answer
/// has one.
///
/// # Errors
///
/// What is wrong, as a line without an end.
pub(super) fn parse(text: &str) -> Result<Reply, &'static str> {
    if text.len() > MAX_TEXT {
        return Err("the reply is longer than a line of SMTP allows");
    }
    if !text.bytes().all(|octet| matches!(octet, b' '..=b'~')) {
        return Err("a reply is printable ASCII");
    }
    let (code, text) = text.split_once(' ').unwrap_or((text, ""));
    let is_code = |code: &[u8]| matches!(code, [b'4' | b'5', b'0'..=b'5', b'0'..=b'9']);
    if !is_code(code.as_bytes()) {
        return Err("a refusal begins with a code of 4yz or 5yz");
    }
    let code: u16 = code.parse().map_err(|_| "a refusal begins with a code")?;
    let class = u8::try_from(code / 100).map_err(|_| "a refusal begins with a code")?;
    let first = text.split(' ').next().unwrap_or_default();
    let (status, text) = match parse_status(first) {
        Some(status) if status.class != class => {
            return Err("the enhanced code is of another class than the code");
        }
        Some(status) => (status, text[first.len()..].trim_start()),
        None => (Status::new(class, 7, 1), text),
    };
    if text.is_empty() {
        return Err("a refusal says why");
    }
    Ok(Reply { code, status: Some(status), text: String::from(text).into() })
}

//= RFC 3463 2: class.subject.detail, up to three digits each without leading zeros.
fn parse_status(text: &str) -> Option<Status> {
    let mut numbers = text.split('.').map(|number| {
        let is_digits = number.bytes().all(|octet| octet.is_ascii_digit());
        let is_canonical = number == "0" || !number.starts_with('0');
        let number = number.to_owned();
        (is_digits && is_canonical && number.len() <= 3).then(|| number.parse::<u16>().ok())?
    });
    let (class, subject, detail) = (numbers.next()??, numbers.next()??, numbers.next()??);
    (numbers.next().is_none()).then(|| Status::new(class.try_into().unwrap_or(0), subject, detail))
}

pub(super) const EXAMPLE: &str = "for instance reject(\"550 5.7.1 Not accepted here\")";

//= RFC 5321 4.5.3.1.5: 512 octets with CRLF; room is left for an enhanced code we add.
const MAX_TEXT: usize = 480;

#[cfg(test)]
mod tests {
    extern crate std;

    use std::string::ToString;

    use super::*;

    #[test]
    fn a_refusal_is_a_reply() {
        for (text, reply) in [
            ("550 5.7.1 No", "550 5.7.1 No"),
            ("451 Try later", "451 4.7.1 Try later"),
            ("554 5.6.0  two blanks", "554 5.6.0 two blanks"),
            ("550 5.7 is no status", "550 5.7.1 5.7 is no status"),
        ] {
            assert_eq!(parse(text).expect(text).to_string(), reply);
        }
    }

    #[test]
    fn what_is_no_refusal_is_refused() {
        for text in [
            "",
            "550",
            "550 ",
            "550 5.7.1",
            "550 5.7.1 ",
            "250 2.0.0 ok",
            "550 4.7.1 x",
            "5501 x",
            "560 x",
            "no",
            "550 5.7.1 Grüße",
            "550 a\r\nb",
            &("550 ".to_string() + &"x".repeat(480)),
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
