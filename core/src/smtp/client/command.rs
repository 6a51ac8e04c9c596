//! MAIL and RCPT as they are written: with the parameters the server offers and no others.
//!
//! What goes into a command came from another peer. It was parsed when it came in; that it still
//! cannot end the command it stands in is checked here, where it would matter.

use alloc::{string::ToString as _, vec::Vec};

use super::{Delivery, extensions::Extensions};
use crate::{
    address::{Address, ReversePath},
    envelope::{Body, Notify, Recipient, Ret},
};

/// Writes MAIL.
pub(super) fn mail(delivery: &Delivery, offered: Extensions, utf8: bool, out: &mut Vec<u8>) {
    let envelope = &delivery.envelope;
    out.extend_from_slice(b"MAIL FROM:<");
    out.extend_from_slice(envelope.reverse_path.as_str().as_bytes());
    out.push(b'>');
    if offered.size {
        parameter(out, "SIZE", delivery.size.to_string().as_bytes());
    }
    let is_eight_bit = delivery.eight_bit || envelope.body == Body::EightBitMime;
    if is_eight_bit && offered.eight_bit_mime {
        parameter(out, "BODY", b"8BITMIME");
    }
    if utf8 {
        out.extend_from_slice(b" SMTPUTF8");
    }
    if offered.dsn {
        match envelope.ret {
            Some(Ret::Full) => parameter(out, "RET", b"FULL"),
            Some(Ret::Headers) => parameter(out, "RET", b"HDRS"),
            None => {}
        }
        if let Some(envid) = &envelope.envid
            && is_parameter(envid, ENVID_OCTETS_MAX, utf8)
        {
            parameter(out, "ENVID", envid.as_bytes());
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes RCPT.
pub(super) fn rcpt(recipient: &Recipient, offered: Extensions, utf8: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(b"RCPT TO:<");
    out.extend_from_slice(recipient.address.as_str().as_bytes());
    out.push(b'>');
    if offered.dsn {
        if recipient.notify != Notify::DEFAULT {
            out.extend_from_slice(b" NOTIFY=");
            notify(recipient.notify, out);
        }
        if let Some(original) = &recipient.original
            && is_parameter(original, ORCPT_OCTETS_MAX, utf8)
        {
            parameter(out, "ORCPT", original.as_bytes());
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// Whether a reverse-path can stand in a command.
pub(super) fn is_reverse_path(path: &ReversePath) -> bool {
    path.mailbox().is_none_or(is_mailbox)
}

/// Whether a mailbox can stand in a command.
pub(super) fn is_mailbox(address: &Address) -> bool {
    let text = address.as_str();
    //= RFC 5321 4.5.3.1.3
    !text.is_empty() && text.len() <= PATH_OCTETS_MAX && !text.chars().any(char::is_control)
}

fn is_parameter(text: &str, max: usize, utf8: bool) -> bool {
    let is_inside = |c: char| !c.is_control() && !c.is_whitespace() && (utf8 || c.is_ascii());
    !text.is_empty() && text.len() <= max && text.chars().all(is_inside)
}

fn notify(notify: Notify, out: &mut Vec<u8>) {
    if notify.asks(Notify::NEVER) {
        out.extend_from_slice(b"NEVER");
        return;
    }
    let mut separator: &[u8] = b"";
    for (wish, word) in [
        (Notify::SUCCESS, b"SUCCESS".as_slice()),
        (Notify::FAILURE, b"FAILURE"),
        (Notify::DELAY, b"DELAY"),
    ] {
        if notify.asks(wish) {
            out.extend_from_slice(separator);
            out.extend_from_slice(word);
            separator = b",";
        }
    }
}

fn parameter(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.push(b' ');
    out.extend_from_slice(name.as_bytes());
    out.push(b'=');
    out.extend_from_slice(value);
}

/// Twice the 254 octets an address may have in all: quoted pairs are kept as they were written.
const PATH_OCTETS_MAX: usize = 512;
//= RFC 3461 4.4
const ENVID_OCTETS_MAX: usize = 100;
//= RFC 3461 4.2
const ORCPT_OCTETS_MAX: usize = 500;
