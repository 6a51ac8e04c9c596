//! The Recipient Access Table: which recipients a public listener takes mail for.
//!
//! Asked at RCPT for accepted clients only; a relayed client may write to anybody. The action of a
//! row decides; the code of its reply is only what the client is told.

use alloc::{collections::BTreeMap, format, string::String, sync::Arc, vec::Vec};
use core::{error::Error, fmt, net::IpAddr};

use ringpost_core::{address::Address, smtp::reply::Reply};

use crate::domain::{self, Domains};

/// Which recipients a row is about.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: Arc<str>,
    form: Form,
}

/// One row: recipients and what happens to them.
#[derive(Clone, Debug)]
pub struct Row {
    /// Which recipients.
    pub pattern: Pattern,
    /// Whether they are accepted.
    pub accept: bool,
    /// What the client is told instead of the default.
    pub reply: Option<Reply>,
}

/// What happens to recipients that no row is about. The default refuses them.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Others {
    /// Whether they are accepted: on a public listener that is an open relay.
    pub accept: bool,
    /// What the client is told instead of the default.
    pub reply: Option<Reply>,
}

/// The table of one listener. Immutable; shared by all shards.
#[derive(Clone, Debug)]
pub struct Rat {
    rows: Vec<Row>,
    others: Others,
    others_text: Arc<str>,
    /// Keyed by local part, `@` and domain.
    addresses: BTreeMap<Arc<str>, u32>,
    /// Keyed by local part.
    locals: BTreeMap<Arc<str>, u32>,
    domains: Domains,
    everything: Option<u32>,
}

/// What the table says about a recipient.
#[derive(Clone, Copy, Debug)]
pub struct Admission<'a> {
    /// Whether the recipient is accepted.
    pub accept: bool,
    /// What the client is told instead of the default.
    pub reply: Option<&'a Reply>,
    /// The row that matched, as written; `ALL` if none did.
    pub row: &'a Arc<str>,
}

/// Why a text is no [`Pattern`]. [`PatternError::help`] says what to write instead.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PatternError {
    /// Nothing was written.
    Empty,
    /// More than [`MAX_PATTERN_SIZE`] octets.
    TooLong,
    /// Not a domain, and not `.domain`.
    Domain,
    /// The local part is not one.
    Local,
    /// Not an address in brackets.
    Literal,
    /// An address without brackets.
    BareAddress,
}

/// Everything is lower case; literals are written in one way.
#[derive(Clone, Debug)]
enum Form {
    Address(Arc<str>),
    Domain(Arc<str>),
    Below(Arc<str>),
    Local(Arc<str>),
    All,
}

impl Pattern {
    /// Reads `user@example.com`, `example.com`, `.example.com`, `user@`, `[192.0.2.1]`,
    /// `[IPv6:2001:db8::1]`, `user@[192.0.2.1]` or `ALL`.
    ///
    /// # Errors
    /// When the text has none of these forms.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let text = text.trim();
        if text.len() > MAX_PATTERN_SIZE {
            return Err(PatternError::TooLong);
        }
        Ok(Self { text: text.into(), form: form(text)? })
    }

    /// As it was written.
    #[must_use]
    pub const fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// Whether it is `ALL`, which stands last and is better said as [`Others`].
    #[must_use]
    pub const fn is_all(&self) -> bool {
        matches!(self.form, Form::All)
    }
}

impl Rat {
    /// A table of `rows` in order, then `others`.
    ///
    /// # Panics
    /// When there are more than [`MAX_ROWS`]; the configuration counts them first.
    #[must_use]
    pub fn new(rows: Vec<Row>, others: Others) -> Self {
        assert!(rows.len() <= MAX_ROWS, "the configuration bounds a RAT");
        let mut rat = Self {
            rows: Vec::new(),
            others,
            others_text: "ALL".into(),
            addresses: BTreeMap::new(),
            locals: BTreeMap::new(),
            domains: Domains::default(),
            everything: None,
        };
        for (number, row) in rows.iter().enumerate() {
            let number = u32::try_from(number).expect("MAX_ROWS fits");
            match &row.pattern.form {
                Form::Address(key) => {
                    rat.addresses.entry(Arc::clone(key)).or_insert(number);
                }
                Form::Local(key) => {
                    rat.locals.entry(Arc::clone(key)).or_insert(number);
                }
                Form::Domain(key) => rat.domains.insert(key, number),
                Form::Below(key) => rat.domains.insert_below(key, number),
                Form::All => {
                    rat.everything.get_or_insert(number);
                }
            }
        }
        rat.rows = rows;
        rat
    }

    /// The first row that matches a recipient, or what happens to all others.
    ///
    /// ASCII case matters in neither part, as in every table of AsyncOS. A recipient without a
    /// domain (`<postmaster>`, RFC 5321 4.5.1) matches `postmaster@` only.
    #[must_use]
    pub fn admit(&self, address: &Address) -> Admission<'_> {
        let local = canonical_local(address.local());
        let domain = canonical_domain(address.domain());
        let rows = [
            self.locals.get(&*local).copied(),
            self.addresses.get(&*format!("{local}@{domain}")).copied(),
            self.domains.find(&domain),
            self.everything,
        ];
        match rows.into_iter().flatten().min() {
            Some(row) => {
                let Row { pattern, accept, reply } = &self.rows[row as usize];
                Admission { accept: *accept, reply: reply.as_ref(), row: &pattern.text }
            }
            None => {
                let Others { accept, reply } = &self.others;
                Admission { accept: *accept, reply: reply.as_ref(), row: &self.others_text }
            }
        }
    }
}

impl PatternError {
    /// What to write instead.
    #[must_use]
    pub const fn help(self) -> &'static str {
        match self {
            Self::Empty => {
                "write user@example.com, example.com, .example.com, user@ or [192.0.2.1]"
            }
            Self::TooLong => "one row holds one recipient; write several as several rows",
            Self::Domain => {
                "write a domain in ASCII without final dot, or `.example.com` for all below it"
            }
            Self::Local => "quote a local part with blanks or an @, as in \"a b\"@example.com",
            Self::Literal => "write [192.0.2.1] or [IPv6:2001:db8::1]",
            Self::BareAddress => "put the address in brackets: [192.0.2.1]",
        }
    }
}

impl fmt::Display for PatternError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Empty => "the recipient is empty",
            Self::TooLong => "the recipient is longer than 320 octets",
            Self::Domain => "this is not a domain",
            Self::Local => "this is not a local part",
            Self::Literal => "this is not an address literal",
            Self::BareAddress => "an IP address as a domain needs brackets",
        })
    }
}

impl Error for PatternError {}

fn form(text: &str) -> Result<Form, PatternError> {
    if text.is_empty() {
        return Err(PatternError::Empty);
    }
    if text.eq_ignore_ascii_case("ALL") {
        return Ok(Form::All);
    }
    let Some(at) = text.rfind('@') else {
        return match text.strip_prefix('.') {
            Some(above) => Ok(Form::Below(domain_of(above)?.into())),
            None => Ok(Form::Domain(domain_of(text)?.into())),
        };
    };
    let (local, domain) = (&text[..at], &text[at + 1..]);
    let is_quoted = local.len() > 2 && local.starts_with('"') && local.ends_with('"');
    let is_plain = |text: &str| !text.contains(['"', '@']) && !text.contains(char::is_whitespace);
    if local.is_empty() || !(is_quoted || is_plain(local)) {
        return Err(PatternError::Local);
    }
    let local = canonical_local(local);
    if domain.is_empty() {
        return Ok(Form::Local(local.into()));
    }
    Ok(Form::Address(format!("{local}@{}", domain_of(domain)?).into()))
}

fn domain_of(text: &str) -> Result<String, PatternError> {
    if text.starts_with('[') {
        return literal(text).ok_or(PatternError::Literal);
    }
    if text.parse::<IpAddr>().is_ok() {
        return Err(PatternError::BareAddress);
    }
    if domain::is_name(text) { Ok(text.to_ascii_lowercase()) } else { Err(PatternError::Domain) }
}

/// Lower case without the quotes, so that `"joe"@x` and `joe@x` are one (RFC 5321 4.1.2).
fn canonical_local(local: &str) -> String {
    let inside = local.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let Some(inside) = inside else {
        return local.to_ascii_lowercase();
    };
    let mut out = String::with_capacity(inside.len());
    let mut characters = inside.chars();
    while let Some(character) = characters.next() {
        let character = if character == '\\' { characters.next() } else { Some(character) };
        out.extend(character.map(|one| one.to_ascii_lowercase()));
    }
    out
}

fn canonical_domain(domain: &str) -> String {
    literal(domain).unwrap_or_else(|| domain::canonical(domain).into_owned())
}

/// The one way in which we write an address literal (RFC 5321 4.1.3).
fn literal(text: &str) -> Option<String> {
    let inside = text.strip_prefix('[')?.strip_suffix(']')?;
    let is_tagged = inside.get(..5).is_some_and(|tag| tag.eq_ignore_ascii_case("IPv6:"));
    let address = if is_tagged { &inside[5..] } else { inside };
    Some(format!("[{}]", address.parse::<IpAddr>().ok()?.to_canonical()))
}

/// Rows one table may have.
pub const MAX_ROWS: usize = 1_000_000;
/// Octets of one pattern: a local part of 64, an `@` and a domain of 255.
pub const MAX_PATTERN_SIZE: usize = 320;

#[cfg(test)]
mod tests {
    use alloc::vec;

    use ringpost_core::event::Status;

    use super::*;

    fn rat(rows: &[(&str, bool)]) -> Rat {
        let row = |&(text, accept): &(&str, bool)| Row {
            pattern: Pattern::parse(text).expect(text),
            accept,
            reply: None,
        };
        Rat::new(rows.iter().map(row).collect(), Others::default())
    }

    fn admit<'a>(rat: &'a Rat, address: &str) -> (bool, &'a str) {
        let admission = rat.admit(&Address::from_text(address));
        (admission.accept, admission.row)
    }

    #[test]
    fn each_form_matches_what_it_says() {
        for (pattern, yes, no) in [
            ("user@example.com", "USER@Example.COM", "user@sub.example.com"),
            ("\"us er\"@example.com", "\"Us er\"@example.com", "user@example.com"),
            ("user@example.com", "\"us\\er\"@example.com", "other@example.com"),
            ("example.com", "any@EXAMPLE.com", "any@sub.example.com"),
            (".example.com", "any@a.b.example.com", "any@example.com"),
            (".example.com", "any@a.example.com", "any@aexample.com"),
            ("postmaster@", "PostMaster@any.example", "postmaster.x@any.example"),
            ("postmaster@", "postmaster", "root"),
            ("[192.0.2.1]", "any@[192.0.2.1]", "any@192.0.2.1"),
            ("[IPv6:2001:db8::1]", "any@[ipv6:2001:DB8:0::1]", "any@[IPv6:2001:db8::2]"),
            ("[2001:db8::1]", "any@[IPv6:2001:db8::1]", "any@[192.0.2.1]"),
            ("user@[192.0.2.1]", "user@[192.0.2.1]", "other@[192.0.2.1]"),
            ("all", "any@where.example", ""),
        ] {
            let table = rat(&[(pattern, true)]);
            assert_eq!(admit(&table, yes), (true, pattern), "{pattern} {yes}");
            if !no.is_empty() {
                assert_eq!(admit(&table, no), (false, "ALL"), "{pattern} {no}");
            }
        }
    }

    #[test]
    fn the_first_row_decides() {
        let table = rat(&[
            ("spam@example.com", false),
            ("postmaster@", true),
            ("bad.sub.example.com", false),
            (".example.com", true),
            ("example.com", true),
            ("deep.sub.example.com", false),
        ]);
        assert_eq!(admit(&table, "spam@example.com"), (false, "spam@example.com"));
        assert_eq!(admit(&table, "postmaster@bad.sub.example.com"), (true, "postmaster@"));
        assert_eq!(admit(&table, "x@bad.sub.example.com"), (false, "bad.sub.example.com"));
        assert_eq!(admit(&table, "x@deep.sub.example.com"), (true, ".example.com"));
        assert_eq!(admit(&table, "x@example.net"), (false, "ALL"));
    }

    #[test]
    fn the_action_decides_and_the_reply_is_only_said() {
        let reply = Reply::new(250, Status::new(2, 1, 5), "come in");
        let row = Row {
            pattern: Pattern::parse("example.com").expect("valid"),
            accept: false,
            reply: Some(reply.clone()),
        };
        let others = Others { accept: true, reply: None };
        let table = Rat::new(vec![row], others);
        let admission = table.admit(&Address::from_text("a@example.com"));
        assert_eq!((admission.accept, admission.reply), (false, Some(&reply)));
        assert!(table.admit(&Address::from_text("a@example.net")).accept);
    }

    #[test]
    fn what_is_no_recipient_is_told_so() {
        use PatternError as E;
        for (text, error) in [
            ("", E::Empty),
            (&*"a".repeat(321), E::TooLong),
            ("exa mple.com", E::Domain),
            ("user@example.com.", E::Domain),
            ("@example.com", E::Local),
            ("a b@example.com", E::Local),
            ("a@b@example.com", E::Local),
            ("192.0.2.1", E::BareAddress),
            ("user@192.0.2.1", E::BareAddress),
            ("[192.0.2]", E::Literal),
            ("[192.0.2.1", E::Literal),
        ] {
            assert_eq!(Pattern::parse(text).map(|pattern| pattern.text), Err(error), "{text}");
        }
    }
}
