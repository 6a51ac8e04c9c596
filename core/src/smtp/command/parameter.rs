//! Parameters of MAIL and RCPT (RFC 5321 4.1.2 `esmtp-param`): each at most once, each known.

use alloc::sync::Arc;

use super::{Mail, Rcpt, parse_number};
use crate::{
    address::{Address, ReversePath},
    envelope::{Body, Notify, Recipient, Ret},
    event::Status,
    smtp::reply::Reply,
};

/// Reads what follows the reverse-path.
pub(super) fn parse_mail(sender: ReversePath, rest: &str) -> Result<Mail, Reply> {
    let mut mail = Mail {
        sender,
        size: None,
        body: Body::SevenBit,
        smtputf8: false,
        ret: None,
        envid: None,
        is_extended: false,
    };
    let mut has_body = false;
    for parameter in split(rest)? {
        let Parameter { keyword, value } = parse_one(parameter)?;
        mail.is_extended = true;
        let is_repeated = if is(keyword, "SIZE") {
            mail.size.replace(value.and_then(parse_size).ok_or(MALFORMED)?).is_some()
        } else if is(keyword, "BODY") {
            mail.body = value.and_then(parse_body).ok_or(MALFORMED)?;
            core::mem::replace(&mut has_body, true)
        } else if is(keyword, "SMTPUTF8") {
            if value.is_some() {
                return Err(MALFORMED);
            }
            core::mem::replace(&mut mail.smtputf8, true)
        } else if is(keyword, "RET") {
            mail.ret.replace(value.and_then(parse_ret).ok_or(MALFORMED)?).is_some()
        } else if is(keyword, "ENVID") {
            let envid = value.filter(|text| text.len() <= MAX_ENVID_SIZE && is_xtext(text));
            mail.envid.replace(Arc::from(envid.ok_or(MALFORMED)?)).is_some()
        } else {
            return Err(UNKNOWN);
        };
        if is_repeated {
            return Err(REPEATED);
        }
    }
    Ok(mail)
}

/// Reads what follows the forward-path.
pub(super) fn parse_rcpt(address: Address, rest: &str) -> Result<Rcpt, Reply> {
    let mut recipient = Recipient::new(address);
    let (mut has_notify, mut is_extended) = (false, false);
    for parameter in split(rest)? {
        let Parameter { keyword, value } = parse_one(parameter)?;
        is_extended = true;
        let is_repeated = if is(keyword, "NOTIFY") {
            recipient.notify = value.and_then(parse_notify).ok_or(MALFORMED)?;
            core::mem::replace(&mut has_notify, true)
        } else if is(keyword, "ORCPT") {
            let original = value.filter(|text| is_original_recipient(text)).ok_or(MALFORMED)?;
            recipient.original.replace(Arc::from(original)).is_some()
        } else {
            return Err(UNKNOWN);
        };
        if is_repeated {
            return Err(REPEATED);
        }
    }
    Ok(Rcpt { recipient, is_extended })
}

struct Parameter<'a> {
    keyword: &'a str,
    value: Option<&'a str>,
}

fn split(rest: &str) -> Result<impl Iterator<Item = &str>, Reply> {
    if !rest.is_empty() && !rest.starts_with(' ') {
        return Err(MALFORMED);
    }
    Ok(rest.split(' ').filter(|parameter| !parameter.is_empty()))
}

fn parse_one(parameter: &str) -> Result<Parameter<'_>, Reply> {
    let (keyword, value) = match parameter.split_once('=') {
        Some((keyword, value)) => (keyword, Some(value)),
        None => (parameter, None),
    };
    let is_keyword = keyword.starts_with(|first: char| first.is_ascii_alphanumeric())
        && keyword.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let is_value = |value: &str| {
        !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'=')
    };
    if !is_keyword || !value.is_none_or(is_value) {
        return Err(MALFORMED);
    }
    Ok(Parameter { keyword, value })
}

fn is(keyword: &str, name: &str) -> bool {
    keyword.eq_ignore_ascii_case(name)
}

fn parse_size(value: &str) -> Option<u64> {
    parse_number(value.as_bytes())
}

fn parse_body(value: &str) -> Option<Body> {
    match value {
        _ if is(value, "7BIT") => Some(Body::SevenBit),
        _ if is(value, "8BITMIME") => Some(Body::EightBitMime),
        _ => None,
    }
}

fn parse_ret(value: &str) -> Option<Ret> {
    match value {
        _ if is(value, "FULL") => Some(Ret::Full),
        _ if is(value, "HDRS") => Some(Ret::Headers),
        _ => None,
    }
}

//= RFC 3461 4.1: NEVER stands alone.
fn parse_notify(value: &str) -> Option<Notify> {
    if is(value, "NEVER") {
        return Some(Notify::NEVER);
    }
    value.split(',').try_fold(Notify::DEFAULT, |wishes, word| {
        let wish = match word {
            _ if is(word, "SUCCESS") => Notify::SUCCESS,
            _ if is(word, "FAILURE") => Notify::FAILURE,
            _ if is(word, "DELAY") => Notify::DELAY,
            _ => return None,
        };
        (!wishes.asks(wish)).then(|| wishes.and(wish))
    })
}

fn is_original_recipient(value: &str) -> bool {
    let Some((kind, address)) = value.split_once(';') else {
        return false;
    };
    let is_kind = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    value.len() <= MAX_ORCPT_SIZE
        && !kind.is_empty()
        && kind.bytes().all(is_kind)
        && !address.is_empty()
        && is_xtext(address)
}

//= RFC 3461 4: `+` only before two upper-case hexadecimal digits; `=` never.
fn is_xtext(value: &str) -> bool {
    let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'A'..=b'F');
    let mut pieces = value.as_bytes().split(|&byte| byte == b'+');
    let first = pieces.next().expect("split gives at least one piece");
    let is_plain = |piece: &[u8]| piece.iter().all(|&byte| byte.is_ascii_graphic() && byte != b'=');
    is_plain(first)
        && pieces.all(|piece| {
            piece.len() >= 2 && piece[..2].iter().all(is_digit) && is_plain(&piece[2..])
        })
}

const MALFORMED: Reply = Reply::new(501, Status::new(5, 5, 4), "malformed parameter");
const REPEATED: Reply = Reply::new(501, Status::new(5, 5, 4), "parameter given twice");
const UNKNOWN: Reply = Reply::new(555, Status::new(5, 5, 4), "parameter not recognized");

/// Octets of ENVID (RFC 3461 4.4).
const MAX_ENVID_SIZE: usize = 100;
/// Octets of ORCPT (RFC 3461 4.2).
const MAX_ORCPT_SIZE: usize = 500;
