//! Texts that are said to peers: replies of RAT rows, and banners.
//!
//! A control character in a reply would let a configuration speak SMTP by accident.

use ringpost_core::{event::Status, smtp::reply::Reply};

/// Why a text cannot be said.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Unspeakable {
    pub(super) message: &'static str,
    pub(super) help: &'static str,
}

/// Reads `550 5.1.1 No such person` or `550 No such person`.
pub(super) fn parse(text: &str) -> Result<Reply, Unspeakable> {
    let (code, rest) = text.split_once(' ').ok_or(SHAPE)?;
    if code.len() != 3 || !code.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(SHAPE);
    }
    let code: u16 = code.parse().map_err(|_| SHAPE)?;
    if !matches!(code / 100, 2 | 4 | 5) {
        return Err(CODE);
    }
    let (first, after) = rest.split_once(' ').unwrap_or((rest, ""));
    let (status, text) = match status(first) {
        Some(status) if u16::from(status.class) != code / 100 => return Err(CLASS),
        Some(status) => (Some(status), after),
        None => (None, rest),
    };
    if text.trim().is_empty() {
        return Err(SHAPE);
    }
    check(text)?;
    Ok(Reply { code, status, text: text.to_owned().into() })
}

/// Whether `text` can stand in a reply: lines of printable ASCII, separated by `\n`.
pub(super) fn check(text: &str) -> Result<(), Unspeakable> {
    if text.is_empty() || text.bytes().any(|byte| !matches!(byte, b' '..=b'~' | b'\n')) {
        return Err(PRINTABLE);
    }
    if text.split('\n').any(|line| line.len() > MAX_LINE) || text.split('\n').count() > MAX_LINES {
        return Err(LONG);
    }
    Ok(())
}

fn status(text: &str) -> Option<Status> {
    let mut parts = text.split('.');
    let mut number = || {
        let part = parts.next()?;
        let is_number = (1..=3).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
        is_number.then(|| part.parse::<u16>().ok())?
    };
    let (class, subject, detail) = (number()?, number()?, number()?);
    let class = u8::try_from(class).ok()?;
    parts.next().is_none().then(|| Status::new(class, subject, detail))
}

/// RFC 5321 4.5.3.1.5 allows 512 octets with code, status, variables and line ending.
const MAX_LINE: usize = 400;
const MAX_LINES: usize = 16;

const SHAPE: Unspeakable = Unspeakable {
    message: "a reply is a code, perhaps a status, and a text",
    help: "write it like \"550 5.1.1 No such person here\"",
};
const CODE: Unspeakable = Unspeakable {
    message: "a reply code begins with 2, 4 or 5",
    help: "250 accepts, 4yz refuses for now, 5yz refuses",
};
const CLASS: Unspeakable = Unspeakable {
    message: "code and status contradict each other",
    help: "both begin with the same digit: \"550 5.1.1\", \"450 4.2.1\"",
};
const PRINTABLE: Unspeakable = Unspeakable {
    message: "a reply holds printable ASCII only",
    help: "SMTP replies have no other characters; \\n begins a new line of the reply",
};
const LONG: Unspeakable =
    Unspeakable { message: "the reply is too long", help: "at most 16 lines of 400 characters" };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_have_a_code_and_perhaps_a_status() {
        let reply = parse("550 5.1.1 No such person").expect("a reply");
        assert_eq!((reply.code, &*reply.text), (550, "No such person"));
        assert_eq!(reply.status, Some(Status::new(5, 1, 1)));
        let bare = parse("450 try 5.1.1 later").expect("a reply");
        assert_eq!((bare.status, &*bare.text), (None, "try 5.1.1 later"));
        for (text, error) in [
            ("", SHAPE),
            ("550", SHAPE),
            ("550 5.1.1", SHAPE),
            ("5500 x", SHAPE),
            ("+50 x", SHAPE),
            ("350 x", CODE),
            ("550 4.1.1 x", CLASS),
            ("550 a\rb", PRINTABLE),
            ("550 für", PRINTABLE),
        ] {
            assert_eq!(parse(text), Err(error), "{text}");
        }
        assert_eq!(parse(&format!("550 {}", "x".repeat(500))), Err(LONG));
    }
}
