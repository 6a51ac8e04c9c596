//! A command line as a value (RFC 5321 4.1.1): what was asked, or the reply that says why not.
//!
//! Syntax is judged here and nowhere else, so that the states of the server see only well-formed
//! commands and decide about order and limits.

mod parameter;
mod path;

use alloc::sync::Arc;
use core::{net::Ipv6Addr, str};

pub use self::path::{MAX_ADDRESS_SIZE, MAX_DOMAIN_SIZE, MAX_LOCAL_PART_SIZE, parse_mailbox};
use crate::{
    address::ReversePath,
    envelope::{Body, Recipient, Ret},
    event::Status,
    smtp::reply::Reply,
};

/// A well-formed command.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Command {
    /// EHLO, with the client's name for itself.
    Ehlo(Arc<str>),
    /// HELO, likewise.
    Helo(Arc<str>),
    /// MAIL.
    Mail(Mail),
    /// RCPT.
    Rcpt(Rcpt),
    /// DATA.
    Data,
    /// BDAT (RFC 3030): `size` octets follow.
    Bdat { size: u64, last: bool },
    /// STARTTLS (RFC 3207).
    StartTls,
    /// RSET.
    Rset,
    /// NOOP, with or without an argument.
    Noop,
    /// QUIT.
    Quit,
    /// VRFY of anything.
    Vrfy,
    /// EXPN of anything.
    Expn,
    /// HELP, with or without a topic.
    Help,
}

/// MAIL with its parameters.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mail {
    /// FROM.
    pub sender: ReversePath,
    /// SIZE=, in octets (RFC 1870).
    pub size: Option<u64>,
    /// BODY= (RFC 6152).
    pub body: Body,
    /// SMTPUTF8 (RFC 6531).
    pub smtputf8: bool,
    /// RET= (RFC 3461).
    pub ret: Option<Ret>,
    /// ENVID=, in xtext (RFC 3461).
    pub envid: Option<Arc<str>>,
    /// Some parameter was given, which HELO does not allow.
    pub is_extended: bool,
}

/// RCPT with its parameters.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rcpt {
    /// TO, NOTIFY= and ORCPT=.
    pub recipient: Recipient,
    /// Some parameter was given, which HELO does not allow.
    pub is_extended: bool,
}

/// Understands one line without its ending.
///
/// # Errors
/// The reply to a line that is no command, or not a well-formed one.
pub fn parse(line: &[u8]) -> Result<Command, Reply> {
    //= RFC 5321 4.1.1.4: white space before the end of a line is to be tolerated.
    let line = line.trim_ascii_end();
    let verb_end = line.iter().position(|&byte| byte == b' ').unwrap_or(line.len());
    let (verb, rest) = line.split_at(verb_end);
    let rest = rest.strip_prefix(b" ").unwrap_or(rest);
    match Verb::from_bytes(verb).ok_or(UNKNOWN)? {
        Verb::Ehlo => parse_name(rest).map(Command::Ehlo),
        Verb::Helo => parse_name(rest).map(Command::Helo),
        Verb::Mail => parse_mail(as_text(rest)?).map(Command::Mail),
        Verb::Rcpt => parse_rcpt(as_text(rest)?).map(Command::Rcpt),
        Verb::Data => alone(rest, Command::Data),
        Verb::Bdat => parse_bdat(rest),
        Verb::StartTls => alone(rest, Command::StartTls),
        Verb::Rset => alone(rest, Command::Rset),
        Verb::Quit => alone(rest, Command::Quit),
        Verb::Noop => Ok(Command::Noop),
        Verb::Help => Ok(Command::Help),
        Verb::Vrfy if rest.is_empty() => Err(ARGUMENT_NEEDED),
        Verb::Vrfy => Ok(Command::Vrfy),
        Verb::Expn => Ok(Command::Expn),
        Verb::NotImplemented => Err(NOT_IMPLEMENTED),
    }
}

/// Whether octets of content follow this line, be it well-formed or not.
#[must_use]
pub fn announces_chunk(line: &[u8]) -> bool {
    let Some((verb, rest)) = line.split_first_chunk::<4>() else {
        return false;
    };
    let is_longer_word = rest.first().is_some_and(u8::is_ascii_alphanumeric);
    verb.eq_ignore_ascii_case(b"BDAT") && !is_longer_word
}

#[derive(Clone, Copy)]
enum Verb {
    Ehlo,
    Helo,
    Mail,
    Rcpt,
    Data,
    Bdat,
    StartTls,
    Rset,
    Noop,
    Quit,
    Vrfy,
    Expn,
    Help,
    NotImplemented,
}

impl Verb {
    fn from_bytes(word: &[u8]) -> Option<Self> {
        VERBS.iter().find(|(name, _)| word.eq_ignore_ascii_case(name)).map(|&(_, verb)| verb)
    }
}

fn alone(rest: &[u8], command: Command) -> Result<Command, Reply> {
    if rest.is_empty() { Ok(command) } else { Err(NO_ARGUMENT) }
}

fn as_text(rest: &[u8]) -> Result<&str, Reply> {
    str::from_utf8(rest).map_err(|_| NOT_UTF8)
}

/// The argument of EHLO and HELO: a name or an address literal (RFC 5321 4.1.3).
///
/// Any string that looks like one is taken: many hosts do not know their name, and none is
/// trusted. What could break a header field is not.
fn parse_name(rest: &[u8]) -> Result<Arc<str>, Reply> {
    let inner = match rest {
        [b'[', inner @ .., b']'] => inner,
        _ => rest,
    };
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(byte);
    if inner.is_empty() || rest.len() > MAX_DOMAIN_SIZE || !inner.iter().all(is_name) {
        return Err(NAME_NEEDED);
    }
    Ok(str::from_utf8(rest).expect("only ASCII was let through").into())
}

fn parse_mail(rest: &str) -> Result<Mail, Reply> {
    let rest = strip_keyword(rest, "FROM:").ok_or(MAIL_SYNTAX)?;
    let (sender, rest) = match rest.strip_prefix("<>") {
        Some(rest) => (ReversePath::Null, rest),
        None => {
            let (address, rest) = path::parse(rest).ok_or(SENDER_SYNTAX)?;
            if address.domain().is_empty() {
                return Err(SENDER_SYNTAX);
            }
            (ReversePath::Mailbox(address), rest)
        }
    };
    let mail = parameter::parse_mail(sender, rest)?;
    let needs_smtputf8 = mail.sender.mailbox().is_some_and(|address| address.needs_smtputf8());
    if needs_smtputf8 && !mail.smtputf8 {
        return Err(NEEDS_SMTPUTF8);
    }
    Ok(mail)
}

fn parse_rcpt(rest: &str) -> Result<Rcpt, Reply> {
    let rest = strip_keyword(rest, "TO:").ok_or(RCPT_SYNTAX)?;
    let (address, rest) = path::parse(rest).ok_or(RECIPIENT_SYNTAX)?;
    //= RFC 5321 4.5.1: only postmaster may stand without a domain.
    if address.domain().is_empty() && !address.local().eq_ignore_ascii_case("postmaster") {
        return Err(RECIPIENT_SYNTAX);
    }
    parameter::parse_rcpt(address, rest)
}

/// Space behind the colon is against RFC 5321 and common.
fn strip_keyword<'a>(rest: &'a str, keyword: &str) -> Option<&'a str> {
    let (head, rest) = rest.split_at_checked(keyword.len())?;
    head.eq_ignore_ascii_case(keyword).then(|| rest.trim_start_matches(' '))
}

//= RFC 3030 2: digits, and at most the word LAST. A size that is understood in two ways smuggles.
fn parse_bdat(rest: &[u8]) -> Result<Command, Reply> {
    let (digits, last) = match rest.iter().position(|&byte| byte == b' ') {
        None => (rest, false),
        Some(space) if rest[space + 1..].eq_ignore_ascii_case(b"LAST") => (&rest[..space], true),
        Some(_) => return Err(BDAT_SYNTAX),
    };
    let size = parse_number(digits).ok_or(BDAT_SYNTAX)?;
    Ok(Command::Bdat { size, last })
}

/// A number of 1 to 20 digits and nothing else, that fits.
fn parse_number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 20 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, digit| {
        number.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
    })
}

fn parse_ipv6(text: &str) -> Option<Ipv6Addr> {
    let (tag, address) = text.split_at_checked(5)?;
    if tag.eq_ignore_ascii_case("IPv6:") { address.parse().ok() } else { None }
}

const VERBS: [(&[u8], Verb); 19] = [
    (b"EHLO", Verb::Ehlo),
    (b"HELO", Verb::Helo),
    (b"MAIL", Verb::Mail),
    (b"RCPT", Verb::Rcpt),
    (b"DATA", Verb::Data),
    (b"BDAT", Verb::Bdat),
    (b"STARTTLS", Verb::StartTls),
    (b"RSET", Verb::Rset),
    (b"NOOP", Verb::Noop),
    (b"QUIT", Verb::Quit),
    (b"VRFY", Verb::Vrfy),
    (b"EXPN", Verb::Expn),
    (b"HELP", Verb::Help),
    (b"AUTH", Verb::NotImplemented),
    (b"ETRN", Verb::NotImplemented),
    (b"TURN", Verb::NotImplemented),
    (b"SEND", Verb::NotImplemented),
    (b"SOML", Verb::NotImplemented),
    (b"SAML", Verb::NotImplemented),
];

const UNKNOWN: Reply = Reply::new(500, Status::new(5, 5, 1), "command not recognized");
const NOT_IMPLEMENTED: Reply = Reply::new(502, Status::new(5, 5, 1), "command not implemented");
const NO_ARGUMENT: Reply = Reply::new(501, Status::new(5, 5, 4), "no argument allowed");
const ARGUMENT_NEEDED: Reply = Reply::new(501, Status::new(5, 5, 4), "argument needed");
const NAME_NEEDED: Reply =
    Reply::new(501, Status::new(5, 5, 4), "a host name or address literal is needed");
const BDAT_SYNTAX: Reply =
    Reply::new(501, Status::new(5, 5, 4), "syntax: BDAT size [LAST]; closing, for framing is lost");
const MAIL_SYNTAX: Reply = Reply::new(501, Status::new(5, 5, 4), "syntax: MAIL FROM:<address>");
const RCPT_SYNTAX: Reply = Reply::new(501, Status::new(5, 5, 4), "syntax: RCPT TO:<address>");
const SENDER_SYNTAX: Reply = Reply::new(501, Status::new(5, 1, 7), "malformed sender address");
const RECIPIENT_SYNTAX: Reply =
    Reply::new(501, Status::new(5, 1, 3), "malformed recipient address");
const NOT_UTF8: Reply = Reply::new(553, Status::new(5, 6, 7), "address is not UTF-8");
/// To a non-ASCII address without SMTPUTF8 (RFC 6531 3.5).
pub(crate) const NEEDS_SMTPUTF8: Reply =
    Reply::new(553, Status::new(5, 6, 7), "non-ASCII address without SMTPUTF8");

#[cfg(test)]
mod tests {
    extern crate std;

    use std::string::ToString;

    use super::*;
    use crate::envelope::Notify;

    #[test]
    fn verbs_ignore_case_and_trailing_space() {
        assert_eq!(parse(b"dAtA \t"), Ok(Command::Data));
        assert_eq!(parse(b"starttls"), Ok(Command::StartTls));
        assert_eq!(parse(b"NOOP what ever"), Ok(Command::Noop));
        for (line, code) in [
            ("", 500),
            (" DATA", 500),
            ("DATAX", 500),
            ("DATA now", 501),
            ("STARTTLS now", 501),
            ("VRFY", 501),
            ("AUTH PLAIN", 502),
        ] {
            assert_eq!(parse(line.as_bytes()).map_err(|reply| reply.code), Err(code), "{line}");
        }
    }

    #[test]
    fn names_are_printable_words() {
        for name in ["mx.example", "[127.0.0.1]", "[IPv6:::1]", "my_host", "a"] {
            let line = [b"EHLO ", name.as_bytes()].concat();
            assert_eq!(parse(&line), Ok(Command::Ehlo(name.into())));
        }
        for line in [&b"EHLO"[..], b"EHLO a b", b"EHLO (x)", b"EHLO \xc3\xa4", b"EHLO []"] {
            assert_eq!(parse(line), Err(NAME_NEEDED));
        }
    }

    #[test]
    fn a_chunk_size_has_one_meaning() {
        assert_eq!(parse(b"BDAT 0"), Ok(Command::Bdat { size: 0, last: false }));
        assert_eq!(parse(b"bdat 007 last"), Ok(Command::Bdat { size: 7, last: true }));
        let most = Command::Bdat { size: u64::MAX, last: false };
        assert_eq!(parse(b"BDAT 18446744073709551615"), Ok(most));
        for line in [
            &b"BDAT"[..],
            b"BDAT 5\0",
            b"BDAT 0x5",
            b"BDAT -1",
            b"BDAT +5",
            b"BDAT 5.0",
            b"BDAT 5,0",
            b"BDAT 18446744073709551616",
            b"BDAT 000000000000000000005",
            b"BDAT  5",
            b"BDAT 5  LAST",
            b"BDAT 5 LASTER",
            b"BDAT 5 LAST 6",
            b"BDAT 5\tLAST",
            b"BDAT LAST",
        ] {
            assert_eq!(parse(line), Err(BDAT_SYNTAX), "{}", line.escape_ascii());
            assert!(announces_chunk(line));
        }
        assert!(!announces_chunk(b"BDATA 5") && !announces_chunk(b"BDA"));
    }

    #[test]
    fn mail_is_read_with_its_parameters() {
        let line = b"mail from: <a@x.example> SIZE=5 body=8bitmime RET=hdrs ENVID=q+3Dq SMTPUTF8";
        let Ok(Command::Mail(mail)) = parse(line) else { panic!("refused") };
        assert_eq!(mail.sender.as_str(), "a@x.example");
        assert_eq!((mail.size, mail.body, mail.smtputf8), (Some(5), Body::EightBitMime, true));
        assert_eq!((mail.ret, mail.envid.as_deref()), (Some(Ret::Headers), Some("q+3Dq")));
        let Ok(Command::Mail(mail)) = parse(b"MAIL FROM:<>") else { panic!("refused") };
        assert_eq!((mail.sender, mail.is_extended), (ReversePath::Null, false));
    }

    #[test]
    fn faults_of_mail_have_their_replies() {
        for (line, want) in [
            ("MAIL", "501 5.5.4"),
            ("MAIL FROM", "501 5.5.4"),
            ("MAIL TO:<a@x>", "501 5.5.4"),
            ("MAIL FROM:a@x", "501 5.1.7"),
            ("MAIL FROM:<postmaster>", "501 5.1.7"),
            ("MAIL FROM:<a@x>SIZE=5", "501 5.5.4"),
            ("MAIL FROM:<a@x> SIZE=", "501 5.5.4"),
            ("MAIL FROM:<a@x> SIZE", "501 5.5.4"),
            ("MAIL FROM:<a@x> SIZE=5 size=5", "501 5.5.4"),
            ("MAIL FROM:<a@x> SIZE=-5", "501 5.5.4"),
            ("MAIL FROM:<a@x> SIZE=99999999999999999999", "501 5.5.4"),
            ("MAIL FROM:<a@x> BODY=BINARYMIME", "501 5.5.4"),
            ("MAIL FROM:<a@x> SMTPUTF8=yes", "501 5.5.4"),
            ("MAIL FROM:<a@x> RET=BOTH", "501 5.5.4"),
            ("MAIL FROM:<a@x> ENVID=a+zz", "501 5.5.4"),
            ("MAIL FROM:<a@x> AUTH=<>", "555 5.5.4"),
            ("MAIL FROM:<a@x> NOTIFY=NEVER", "555 5.5.4"),
            ("MAIL FROM:<a@x> =5", "501 5.5.4"),
            ("MAIL FROM:<ä@x>", "553 5.6.7"),
        ] {
            let reply = parse(line.as_bytes()).expect_err(line).to_string();
            assert!(reply.starts_with(want), "{line}: {reply}");
        }
        assert_eq!(parse(b"MAIL FROM:<\xff@x> SMTPUTF8"), Err(NOT_UTF8));
    }

    #[test]
    fn rcpt_is_read_with_its_parameters() {
        let line = b"RCPT TO:<b@y> NOTIFY=success,DELAY ORCPT=rfc822;b+2By@y";
        let Ok(Command::Rcpt(rcpt)) = parse(line) else { panic!("refused") };
        assert_eq!(rcpt.recipient.notify, Notify::SUCCESS.and(Notify::DELAY));
        assert_eq!(rcpt.recipient.original.as_deref(), Some("rfc822;b+2By@y"));
        for line in ["RCPT TO:<Postmaster>", "RCPT TO: <b@y>", "RCPT TO:<@a,@b:c@d>"] {
            assert!(parse(line.as_bytes()).is_ok(), "{line}");
        }
        for (line, want) in [
            ("RCPT TO:<>", "501 5.1.3"),
            ("RCPT TO:<root>", "501 5.1.3"),
            ("RCPT TO:<b@y> NOTIFY=", "501 5.5.4"),
            ("RCPT TO:<b@y> NOTIFY=NEVER,DELAY", "501 5.5.4"),
            ("RCPT TO:<b@y> NOTIFY=DELAY,DELAY", "501 5.5.4"),
            ("RCPT TO:<b@y> NOTIFY=NEVER NOTIFY=NEVER", "501 5.5.4"),
            ("RCPT TO:<b@y> ORCPT=b@y", "501 5.5.4"),
            ("RCPT TO:<b@y> ORCPT=rfc822;a=b", "501 5.5.4"),
            ("RCPT TO:<b@y> SIZE=5", "555 5.5.4"),
        ] {
            let reply = parse(line.as_bytes()).expect_err(line).to_string();
            assert!(reply.starts_with(want), "{line}: {reply}");
        }
    }
}
