//! The `Received:` field we put before a message: who brought it, to whom, how and when.
//!
//! Microsoft 365's enhanced filtering reads the source of a message out of exactly this field, so
//! there is one per hop and its `from` clause is `helo (name [address])` (RFC 5321 4.4). The helo
//! is the client's to choose; nothing of it can end the clause it stands in.

use alloc::{
    format,
    string::{String, ToString as _},
};
use core::net::IpAddr;

use bytes::Bytes;

use crate::{address::Address, id::Mid, lookup::ClientName, time::Date};

/// What a `Received:` field says.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// What the client said in EHLO or HELO; empty if it said nothing.
    pub helo: &'a str,
    /// The client's name by reverse lookup; one that does not lead back counts as unknown.
    pub name: &'a ClientName,
    /// The client's address.
    pub address: IpAddr,
    /// Our host name.
    pub hostname: &'a str,
    /// The `with` clause: `SMTP`, `ESMTP`, `ESMTPS`, `UTF8SMTP`.. (RFC 3848, RFC 6531).
    pub protocol: &'a str,
    /// TLS version and cipher suite, when the connection has TLS.
    pub tls: Option<(&'a str, &'a str)>,
    /// The `id` clause.
    pub mid: Mid,
    /// The `for` clause: the recipient if there is exactly one. Two would tell blind copies.
    pub recipient: Option<&'a Address>,
    /// When the content was complete.
    pub date: Date,
}

impl Received<'_> {
    /// The whole field, folded, with its line ending. Never longer than about 1 KiB.
    #[must_use]
    pub fn field(&self) -> Bytes {
        let mut field = Folded::new("Received:");
        self.write_from(&mut field);
        field.line();
        field.put(&format!("by {} (Ringpost)", domain(self.hostname)));
        field.put(&format!("with {}", atom(self.protocol)));
        if let Some((version, cipher)) = self.tls {
            field.put(&format!("(version={} cipher={})", atom(version), atom(cipher)));
        }
        field.line();
        let id = format!("id {}", self.mid);
        match self.recipient {
            Some(recipient) if self.may_show(recipient) => {
                field.put(&id);
                field.put(&format!("for <{recipient}>;"));
            }
            _ => field.put(&(id + ";")),
        }
        field.line();
        field.put(&self.date.rfc5322().to_string());
        field.finish()
    }

    /// An address in UTF-8 would make a message need SMTPUTF8 that does not (RFC 6531 3.7.3).
    fn may_show(&self, recipient: &Address) -> bool {
        let is_safe = |c: char| !c.is_control() && c != '<' && c != '>';
        recipient.as_str().chars().all(is_safe)
            && (!recipient.needs_smtputf8() || self.protocol.starts_with("UTF8"))
    }

    fn write_from(&self, field: &mut Folded) {
        let name = match self.name {
            ClientName::Verified(name) => domain(name),
            ClientName::Mismatched(_) | ClientName::NoName | ClientName::Unavailable => {
                "unknown".into()
            }
        };
        field.put(&format!("from {}", domain(self.helo)));
        field.put(&match self.address.to_canonical() {
            IpAddr::V4(address) => format!("({name} [{address}])"),
            IpAddr::V6(address) => format!("({name} [IPv6:{address}])"),
        });
    }
}

/// A field under construction: words are put on the line while it stays within 78 octets.
struct Folded {
    text: String,
    line_start: usize,
}

impl Folded {
    fn new(name: &str) -> Self {
        Self { text: name.into(), line_start: 0 }
    }

    fn put(&mut self, words: &str) {
        //= RFC 5322 2.1.1
        if self.text.len() - self.line_start + 1 + words.len() > LINE_OCTETS
            && !self.text.ends_with('\t')
        {
            self.line();
        }
        if !self.text.ends_with('\t') {
            self.text.push(' ');
        }
        self.text.push_str(words);
    }

    fn line(&mut self) {
        self.text.push_str("\r\n\t");
        self.line_start = self.text.len() - 1;
    }

    fn finish(mut self) -> Bytes {
        self.text.push_str("\r\n");
        self.text.into()
    }
}

/// What a peer calls itself, safe to stand between spaces: no comment, no second clause, no new
/// line. A name is never made of other names: what does not fit is marked, not dropped.
fn domain(text: &str) -> String {
    if text.is_empty() {
        return "unknown".into();
    }
    let safe = |c: char| match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '.' | '_' | ':' | '[' | ']' => c,
        _ => '?',
    };
    let mut safe: String = text.chars().map(safe).take(HELO_CHARACTERS).collect();
    if text.chars().count() > HELO_CHARACTERS {
        safe.push_str("...");
    }
    safe
}

fn atom(text: &str) -> String {
    let safe = |c: char| match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '.' | '_' => c,
        _ => '?',
    };
    text.chars().map(safe).take(HELO_CHARACTERS).collect()
}

//= RFC 5321 4.5.3.1.2
const HELO_CHARACTERS: usize = 255;
const LINE_OCTETS: usize = 78;

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec::Vec;

    use super::*;

    fn received<'a>(helo: &'a str, name: &'a ClientName) -> Received<'a> {
        Received {
            helo,
            name,
            address: [192, 0, 2, 1].into(),
            hostname: "mx.contoso.example",
            protocol: "ESMTPS",
            tls: Some(("TLSv1.3", "TLS13_AES_256_GCM_SHA384")),
            mid: Mid(17),
            recipient: None,
            date: Date::from_millis(1_763_994_177_250),
        }
    }

    fn text(received: &Received<'_>) -> String {
        String::from_utf8(received.field().to_vec()).expect("a field is text")
    }

    #[test]
    fn it_is_one_clean_field() {
        let name = ClientName::Verified("mail.example.com".into());
        let recipient = Address::from_text("anna@contoso.example");
        let field = Received { recipient: Some(&recipient), ..received("mail.example.com", &name) };
        assert_eq!(
            text(&field),
            "Received: from mail.example.com (mail.example.com [192.0.2.1])\r\n\
             \tby mx.contoso.example (Ringpost) with ESMTPS\r\n\
             \t(version=TLSv1.3 cipher=TLS13_AES_256_GCM_SHA384)\r\n\
             \tid 17 for <anna@contoso.example>;\r\n\
             \tMon, 24 Nov 2025 14:22:57 +0000\r\n"
        );
    }

    #[test]
    fn six_is_tagged_and_a_mapped_four_is_a_four() {
        let six = Received {
            address: "2001:db8::1".parse().expect("an address"),
            tls: None,
            ..received("[IPv6:2001:db8::1]", &ClientName::NoName)
        };
        assert!(text(&six).starts_with(
            "Received: from [IPv6:2001:db8::1] (unknown [IPv6:2001:db8::1])\r\n\tby mx."
        ));
        let mapped = "::ffff:192.0.2.9".parse().expect("an address");
        let mapped = Received { address: mapped, ..received("a", &ClientName::NoName) };
        assert!(text(&mapped).contains("(unknown [192.0.2.9])"));
    }

    #[test]
    fn a_name_that_does_not_lead_back_is_unknown() {
        let name = ClientName::Mismatched("bank.example".into());
        let field = text(&received("bank.example", &name));
        assert!(field.starts_with("Received: from bank.example (unknown [192.0.2.1])"));
    }

    #[test]
    fn no_helo_ends_its_clause() {
        for helo in [
            "a (bank.example [198.51.100.7]) by x",
            "a\r\nBcc: eve@example.com",
            "a;b<c>\"\\\u{0}\u{2028}\u{202e}",
            "",
        ] {
            let field = text(&received(helo, &ClientName::NoName));
            let words: Vec<&str> = field.split_ascii_whitespace().collect();
            assert_eq!(words[1], "from");
            assert_eq!(words[3..6], ["(unknown", "[192.0.2.1])", "by"], "{field}");
            assert!(field.split("\r\n").skip(1).all(|l| l.is_empty() || l.starts_with('\t')));
            assert!(!field.contains("\r\nBcc"));
        }
    }

    #[test]
    fn only_an_internationalized_message_gets_an_internationalized_field() {
        let recipient = Address::from_text("jos\u{e9}@x.example");
        let helo = "m\u{e4}il.example";
        let field = Received { recipient: Some(&recipient), ..received(helo, &ClientName::NoName) };
        assert!(text(&field).is_ascii() && !text(&field).contains("for"));
        assert!(text(&field).starts_with("Received: from m?il.example (unknown"));
        let field = text(&Received { protocol: "UTF8SMTPS", ..field });
        assert!(field.contains("id 17 for <jos\u{e9}@x.example>;\r\n"));
    }

    #[test]
    fn lines_fold_and_nothing_is_longer_than_a_line_may_be() {
        let long = "a".repeat(4_000);
        let name = ClientName::Verified(long.as_str().into());
        let recipient = Address::new(&"l".repeat(64), &"d".repeat(255));
        let field = text(&Received { recipient: Some(&recipient), ..received(&long, &name) });
        assert!(field.split("\r\n").all(|line| line.len() <= 998));
        let name = ClientName::Verified("mail-outbound-17.protection.example.com".into());
        let field = text(&received("mail-outbound-17.protection.example.com", &name));
        assert!(field.split("\r\n").all(|line| line.len() <= 78), "{field}");
    }
}
