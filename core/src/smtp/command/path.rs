//! Paths and mailboxes (RFC 5321 4.1.2), strictly, with AsyncOS's named relaxations.
//!
//! Relaxed: dots anywhere in a local part, underscores in domains. Source routes are read and
//! forgotten (RFC 5321 4.1.1.3 and appendix C).

use crate::address::Address;
use core::net::Ipv4Addr;

use super::parse_ipv6;

/// Reads `<mailbox>` or `<@route:mailbox>`; gives the mailbox and what follows the bracket.
///
/// A mailbox without a domain is given back as such; who allows it is the caller's affair.
pub(super) fn parse(text: &str) -> Option<(Address, &str)> {
    let text = text.strip_prefix('<')?;
    let text = strip_route(text)?;
    let (address, rest) = parse_prefix(text)?;
    Some((address, rest.strip_prefix('>')?))
}

/// Reads a whole mailbox without brackets, as an operator writes it.
#[must_use]
pub fn parse_mailbox(text: &str) -> Option<Address> {
    match parse_prefix(text)? {
        (address, "") if !address.domain().is_empty() => Some(address),
        _ => None,
    }
}

/// `@one,@two:` before the mailbox.
fn strip_route(text: &str) -> Option<&str> {
    if !text.starts_with('@') {
        return Some(text);
    }
    let (route, mailbox) = text.split_once(':')?;
    let is_hop = |hop: &str| hop.strip_prefix('@').is_some_and(is_domain);
    route.split(',').all(is_hop).then_some(mailbox)
}

fn parse_prefix(text: &str) -> Option<(Address, &str)> {
    let local_size =
        if text.starts_with('"') { quoted_size(text)? } else { size_while(text, is_atom) };
    let (local, rest) = text.split_at(local_size);
    if local.is_empty() || local.len() > MAX_LOCAL_PART_SIZE {
        return None;
    }
    let Some(rest) = rest.strip_prefix('@') else {
        return Some((Address::new(local, ""), rest));
    };
    let domain_size = if rest.starts_with('[') {
        rest.find(']')? + 1
    } else {
        size_while(rest, is_domain_character)
    };
    let (domain, rest) = rest.split_at(domain_size);
    if local.len() + 1 + domain.len() > MAX_ADDRESS_SIZE {
        return None;
    }
    (is_literal(domain) || is_domain(domain)).then(|| (Address::new(local, domain), rest))
}

fn size_while(text: &str, is_part: fn(char) -> bool) -> usize {
    text.find(|character| !is_part(character)).unwrap_or(text.len())
}

/// Octets of the quoted string at the beginning, quotes included.
fn quoted_size(text: &str) -> Option<usize> {
    let mut characters = text.char_indices().skip(1);
    while let Some((index, character)) = characters.next() {
        match character {
            '"' => return Some(index + 1),
            '\\' => {
                let (_, escaped) = characters.next()?;
                if !matches!(escaped, ' '..='~') {
                    return None;
                }
            }
            ' '..='~' => {}
            _ if is_beyond_ascii(character) => {}
            _ => return None,
        }
    }
    None
}

fn is_atom(character: char) -> bool {
    character.is_ascii_alphanumeric()
        || ".!#$%&'*+-/=?^_`{|}~".contains(character)
        || is_beyond_ascii(character)
}

fn is_domain_character(character: char) -> bool {
    character.is_ascii_alphanumeric()
        || matches!(character, '-' | '_' | '.')
        || is_beyond_ascii(character)
}

/// Neither a control, nor a space, nor a dot in disguise (IDNA maps three more to a dot).
fn is_beyond_ascii(character: char) -> bool {
    !character.is_ascii()
        && !character.is_control()
        && !character.is_whitespace()
        && !matches!(character, '\u{3002}' | '\u{ff0e}' | '\u{ff61}')
}

fn is_domain(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=MAX_LABEL_SIZE).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(is_domain_character)
    };
    text.len() <= MAX_DOMAIN_SIZE && text.split('.').all(is_label)
}

//= RFC 5321 4.1.3
fn is_literal(text: &str) -> bool {
    let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    inner.is_some_and(|inner| inner.parse::<Ipv4Addr>().is_ok() || parse_ipv6(inner).is_some())
}

/// Octets of a mailbox (RFC 5321 4.5.3.1.3: a path of 256 has two brackets).
pub const MAX_ADDRESS_SIZE: usize = 254;
/// Octets of a local part (RFC 5321 4.5.3.1.1).
pub const MAX_LOCAL_PART_SIZE: usize = 64;
/// Octets of a domain (RFC 5321 4.5.3.1.2).
pub const MAX_DOMAIN_SIZE: usize = 255;
/// Octets of one label of a domain (RFC 1035 2.3.4).
const MAX_LABEL_SIZE: usize = 63;

#[cfg(test)]
mod tests {
    extern crate std;

    use std::{format, string::String};

    use super::*;

    #[test]
    fn good_paths_are_read() {
        for (path, address) in [
            ("<a@b>", "a@b"),
            ("<A.b+c@x.example>", "A.b+c@x.example"),
            ("<.a..b.@x>", ".a..b.@x"),
            ("<a@under_score.example>", "a@under_score.example"),
            ("<\"a b\\\"c@d\"@x>", "\"a b\\\"c@d\"@x"),
            ("<\"\"@x>", "\"\"@x"),
            ("<a@[127.0.0.1]>", "a@[127.0.0.1]"),
            ("<a@[IPv6:2001:db8::1]>", "a@[IPv6:2001:db8::1]"),
            ("<@one,@two.example:a@b>", "a@b"),
            ("<postmaster>", "postmaster"),
            ("<jörg@bücher.example>", "jörg@bücher.example"),
        ] {
            let (read, rest) = parse(path).unwrap_or_else(|| panic!("{path} is refused"));
            assert_eq!((read.as_str(), rest), (address, ""), "{path}");
        }
    }

    #[test]
    fn bad_paths_are_refused() {
        for path in [
            "",
            "<",
            "a@b",
            "<a@b",
            "<@b>",
            "<a@>",
            "<a@b.>",
            "<a@.b>",
            "<a@b..c>",
            "<a@-b>",
            "<a@b->",
            "<a b@c>",
            "<a@b@c>",
            "<<a@b>>",
            "<a@b c>",
            "<\"a@b>",
            "<\"a\"b@c>",
            "<\"a\tb\"@c>",
            "<a@[1.2.3]>",
            "<a@[1.2.3.4.5]>",
            "<a@[IPv6:1.2.3.4]>",
            "<a@[x-tag:y]>",
            "<a@[1.2.3.4>",
            "<@a:b>>",
            "<@a,b:c@d>",
            "<a\u{7f}@b>",
            "<a\u{85}@b>",
            "<a@b\u{3002}c>",
            "<a,b@c>",
            "<a(b)@c>",
        ] {
            let refused = parse(path).is_none_or(|(_, rest)| !rest.is_empty());
            assert!(refused, "{path} is read");
        }
    }

    #[test]
    fn sizes_are_limited_to_the_octet() {
        let path = |local: usize, domain: usize| {
            let labels: String = "d".repeat(60) + ".";
            let domain = &labels.repeat(5)[..domain];
            parse(&format!("<{}@{domain}>", "l".repeat(local))).is_some()
        };
        assert!(path(64, 10) && !path(65, 10));
        assert!(path(64, 189) && !path(64, 190));
        let label = |size: usize| parse(&format!("<a@{}>", "d".repeat(size))).is_some();
        assert!(label(63) && !label(64));
    }

    #[test]
    fn a_whole_mailbox_has_nothing_behind_it() {
        assert!(parse_mailbox("a@b").is_some());
        assert!(parse_mailbox("a@b ").is_none() && parse_mailbox("a").is_none());
    }
}
