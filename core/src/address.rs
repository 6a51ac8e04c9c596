//! A mailbox as SMTP carries it: parsed once, compared by the RFC's rules about case.

use alloc::{string::String, sync::Arc};
use core::{
    fmt,
    hash::{Hash, Hasher},
};

/// `local-part@domain`, or a bare local part (RFC 5321 4.5.1 allows `postmaster` alone).
///
/// The text is kept as it was written, quotes included. Cloning is cheap. Two addresses are equal
/// when the local parts are the same to the octet and the domains are the same but for ASCII case
/// (RFC 5321 2.4).
#[derive(Clone)]
pub struct Address {
    text: Arc<str>,
    /// Where the `@` before the domain stands; the length of the text if there is none.
    at: u32,
}

/// Who is told when a message cannot be delivered (RFC 5321 `Reverse-path`).
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum ReversePath {
    /// `<>`: a report, which is itself never reported about.
    Null,
    /// A mailbox.
    Mailbox(Address),
}

impl Address {
    /// Joins a local part (quoted if it needs to be) and a domain; an empty domain means none.
    ///
    /// The caller vouches for the syntax: the parser of `smtp::command` for what a peer wrote, the
    /// configuration for what an operator wrote.
    #[must_use]
    pub fn new(local: &str, domain: &str) -> Self {
        let mut text = String::with_capacity(local.len() + 1 + domain.len());
        text.push_str(local);
        if !domain.is_empty() {
            text.push('@');
            text.push_str(domain);
        }
        let at = u32::try_from(local.len()).expect("the parser bounds a local part");
        Self { text: text.into(), at }
    }

    /// Splits `text` at its last `@`: right for every address whose domain is not quoted, and no
    /// domain or address literal can hold an `@`.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        match text.rfind('@') {
            Some(at) => Self::new(&text[..at], &text[at + 1..]),
            None => Self::new(text, ""),
        }
    }

    /// The whole address, as written, without angle brackets.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The local part, as written.
    #[must_use]
    pub fn local(&self) -> &str {
        &self.text[..self.at as usize]
    }

    /// The domain or address literal, as written; empty if there is none.
    #[must_use]
    pub fn domain(&self) -> &str {
        self.text.get(self.at as usize + 1..).unwrap_or_default()
    }

    /// Whether it can only travel where SMTPUTF8 is spoken (RFC 6531).
    #[must_use]
    pub fn needs_smtputf8(&self) -> bool {
        !self.text.is_ascii()
    }
}

impl ReversePath {
    /// The mailbox without brackets; empty for the null path, as filters and logs print it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Null => "",
            Self::Mailbox(address) => address.as_str(),
        }
    }

    /// The mailbox, if there is one.
    #[must_use]
    pub const fn mailbox(&self) -> Option<&Address> {
        match self {
            Self::Null => None,
            Self::Mailbox(address) => Some(address),
        }
    }
}

impl PartialEq for Address {
    fn eq(&self, other: &Self) -> bool {
        self.local() == other.local() && self.domain().eq_ignore_ascii_case(other.domain())
    }
}

impl Eq for Address {}

impl Hash for Address {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.local().hash(state);
        for byte in self.domain().bytes() {
            state.write_u8(byte.to_ascii_lowercase());
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "<{}>", self.text)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_at_sign_separates() {
        let address = Address::from_text("\"a@b\"@Example.COM");
        assert_eq!((address.local(), address.domain()), ("\"a@b\"", "Example.COM"));
        let bare = Address::from_text("postmaster");
        assert_eq!((bare.local(), bare.domain()), ("postmaster", ""));
    }

    #[test]
    fn only_the_domain_ignores_case() {
        assert_eq!(Address::from_text("a@X.example"), Address::from_text("a@x.EXAMPLE"));
        assert_ne!(Address::from_text("A@x.example"), Address::from_text("a@x.example"));
    }
}
