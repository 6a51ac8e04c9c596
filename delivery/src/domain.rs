//! A table keyed by recipient domain: exact name, longest `.partial`, then `ALL`.
//!
//! SMTP routes and destination controls are looked up by the same rule, so it is written once.

use alloc::{string::String, sync::Arc, vec::Vec};
use core::{cmp::Ordering, fmt};

/// The left side of a row.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Pattern {
    /// This domain (or address literal, brackets included) and nothing below it. Lower case.
    Exact(Arc<str>),
    /// Every domain below this one, but not itself: `.example.com`, with the dot. Lower case.
    Below(Arc<str>),
    /// Every domain no other row matches: `ALL`, or `Default` among destination controls.
    All,
}

/// Why a text is no [`Pattern`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PatternError {
    /// Nothing, or only a dot.
    Empty,
    /// More than 255 octets (RFC 5321 4.5.3.1.2).
    TooLong,
    /// An empty label, a space, or a character no domain holds.
    NotADomain,
}

/// Rows found by domain. Built once, never changed; finding allocates nothing.
#[derive(Clone, Debug)]
pub struct DomainTable<T> {
    /// Sorted by key.
    exact: Vec<(Arc<str>, T)>,
    /// Sorted by key, which begins with a dot.
    below: Vec<(Arc<str>, T)>,
    all: Option<T>,
}

impl Pattern {
    /// Reads `example.com`, `.example.com`, `[192.0.2.1]`, `ALL` or `Default` (these two in any
    /// case).
    ///
    /// # Errors
    ///
    /// When the text cannot be a domain.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if text.eq_ignore_ascii_case("all") || text.eq_ignore_ascii_case("default") {
            return Ok(Self::All);
        }
        let name = text.strip_prefix('.').unwrap_or(text);
        if name.is_empty() {
            return Err(PatternError::Empty);
        }
        if name.len() > MAX_DOMAIN_OCTETS {
            return Err(PatternError::TooLong);
        }
        let is_literal = text.starts_with('[') && text.ends_with(']');
        if !is_literal && !name.split('.').all(is_label) {
            return Err(PatternError::NotADomain);
        }
        let key: Arc<str> = text.to_ascii_lowercase().into();
        Ok(if text.starts_with('.') { Self::Below(key) } else { Self::Exact(key) })
    }
}

impl<T> DomainTable<T> {
    /// A table of these rows.
    ///
    /// # Errors
    ///
    /// The pattern that stands in two rows: only one of them could ever match.
    pub fn new(rows: Vec<(Pattern, T)>) -> Result<Self, Pattern> {
        let mut table = Self { exact: Vec::new(), below: Vec::new(), all: None };
        for (pattern, row) in rows {
            match pattern {
                Pattern::Exact(key) => table.exact.push((key, row)),
                Pattern::Below(key) => table.below.push((key, row)),
                Pattern::All => {
                    if table.all.replace(row).is_some() {
                        return Err(Pattern::All);
                    }
                }
            }
        }
        if let Some(key) = sort(&mut table.exact) {
            return Err(Pattern::Exact(key));
        }
        if let Some(key) = sort(&mut table.below) {
            return Err(Pattern::Below(key));
        }
        Ok(table)
    }

    /// The row for `domain`, in any case, with or without a final dot.
    #[must_use]
    pub fn find(&self, domain: &str) -> Option<&T> {
        let domain = domain.strip_suffix('.').unwrap_or(domain);
        search(&self.exact, domain)
            .or_else(|| {
                let dots = domain.bytes().enumerate().filter(|&(_, byte)| byte == b'.');
                let mut suffixes = dots.map(|(at, _)| &domain[at..]);
                suffixes.find_map(|suffix| search(&self.below, suffix))
            })
            .or(self.all.as_ref())
    }

    /// Rows, `ALL` included.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.exact.len() + self.below.len() + self.all.is_some() as usize
    }

    /// Whether there is no row.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T> Default for DomainTable<T> {
    fn default() -> Self {
        Self { exact: Vec::new(), below: Vec::new(), all: None }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(key) | Self::Below(key) => out.write_str(key),
            Self::All => out.write_str("ALL"),
        }
    }
}

impl fmt::Display for PatternError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Empty => "a domain is missing",
            Self::TooLong => "a domain has at most 255 octets",
            Self::NotADomain => "this is not a domain name",
        })
    }
}

impl core::error::Error for PatternError {}

/// The domain in the form every key of this crate has: lower case, no final dot.
pub(crate) fn normal(domain: &Arc<str>) -> Arc<str> {
    let name = domain.strip_suffix('.').unwrap_or(domain);
    if name.len() == domain.len() && !name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return domain.clone();
    }
    let mut text = String::from(name);
    text.make_ascii_lowercase();
    text.into()
}

fn is_label(label: &str) -> bool {
    !label.is_empty()
        && label.chars().all(|letter| {
            letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_') || !letter.is_ascii()
        })
}

/// Sorts by key; gives a key that occurs twice.
fn sort<T>(rows: &mut [(Arc<str>, T)]) -> Option<Arc<str>> {
    rows.sort_by(|one, other| one.0.cmp(&other.0));
    let twice = rows.windows(2).find(|pair| pair[0].0 == pair[1].0);
    twice.map(|pair| pair[0].0.clone())
}

fn search<'a, T>(rows: &'a [(Arc<str>, T)], domain: &str) -> Option<&'a T> {
    let found = rows.binary_search_by(|(key, _)| compare(key, domain));
    found.ok().map(|index| &rows[index].1)
}

/// Orders a lower-case key against a domain in any case.
fn compare(key: &str, domain: &str) -> Ordering {
    key.bytes().cmp(domain.bytes().map(|byte| byte.to_ascii_lowercase()))
}

/// RFC 5321 4.5.3.1.2.
const MAX_DOMAIN_OCTETS: usize = 255;

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec;

    use super::*;

    fn table(rows: &[&str]) -> DomainTable<String> {
        let parse = |row: &&str| (Pattern::parse(row).unwrap(), (*row).into());
        DomainTable::new(rows.iter().map(parse).collect()).unwrap()
    }

    #[test]
    fn exact_beats_the_longest_partial_which_beats_all() {
        let table = table(&["Example.com", ".example.com", ".b.example.com", "ALL"]);
        for (domain, row) in [
            ("example.com", "Example.com"),
            ("EXAMPLE.COM.", "Example.com"),
            ("a.example.com", ".example.com"),
            ("b.example.com", ".example.com"),
            ("x.y.B.example.com", ".b.example.com"),
            ("anexample.com", "ALL"),
            ("com", "ALL"),
            ("[192.0.2.1]", "ALL"),
        ] {
            assert_eq!(table.find(domain).unwrap(), row, "{domain}");
        }
        assert_eq!(table.len(), 4);
    }

    #[test]
    fn without_all_an_unknown_domain_has_no_row() {
        let table = table(&["[192.0.2.1]", ".a.example"]);
        assert_eq!(table.find("[192.0.2.1]").unwrap(), "[192.0.2.1]");
        assert_eq!(table.find("a.example"), None);
        assert_eq!(table.find(""), None);
    }

    #[test]
    fn a_row_that_could_never_match_is_refused() {
        let exact = |text: &str| (Pattern::parse(text).unwrap(), ());
        assert_eq!(
            DomainTable::new(vec![exact("a.example"), exact("A.example")]).unwrap_err(),
            Pattern::Exact("a.example".into())
        );
        assert_eq!(
            DomainTable::new(vec![exact("ALL"), exact("default")]).unwrap_err(),
            Pattern::All
        );
    }

    #[test]
    fn what_is_no_domain_is_no_pattern() {
        for (text, error) in [
            ("", PatternError::Empty),
            (".", PatternError::Empty),
            ("a..example", PatternError::NotADomain),
            ("a example", PatternError::NotADomain),
            ("..example", PatternError::NotADomain),
            ("user@a.example", PatternError::NotADomain),
        ] {
            assert_eq!(Pattern::parse(text), Err(error), "{text:?}");
        }
        assert_eq!(Pattern::parse(&"a".repeat(256)), Err(PatternError::TooLong));
    }
}
