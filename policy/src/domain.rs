//! Names looked up by themselves and by each domain above them; the lowest row wins.
//!
//! The HAT and the RAT both hold `host` and `.domain` rows. Sorted maps rather than hash tables:
//! what a stranger's reverse zone says can then not be chosen to collide.

use alloc::{borrow::Cow, collections::BTreeMap, sync::Arc};

/// Rows keyed by name. Names are ASCII lower case without a final dot.
#[derive(Clone, Debug, Default)]
pub(crate) struct Domains {
    exact: BTreeMap<Arc<str>, u32>,
    /// Keyed without the leading dot.
    below: BTreeMap<Arc<str>, u32>,
}

impl Domains {
    /// Adds a row for the name itself, unless a lower row has it.
    pub(crate) fn insert(&mut self, name: &Arc<str>, row: u32) {
        self.exact.entry(Arc::clone(name)).and_modify(|old| *old = row.min(*old)).or_insert(row);
    }

    /// Adds a row for every name below this one, at any depth.
    pub(crate) fn insert_below(&mut self, name: &Arc<str>, row: u32) {
        self.below.entry(Arc::clone(name)).and_modify(|old| *old = row.min(*old)).or_insert(row);
    }

    /// The lowest row that matches a name.
    pub(crate) fn find(&self, name: &str) -> Option<u32> {
        let exact = self.exact.get(name).copied();
        exact.into_iter().chain(self.find_below(name)).min()
    }

    /// The lowest row that matches every name below this one.
    pub(crate) fn find_at_or_below(&self, name: &str) -> Option<u32> {
        let itself = self.below.get(name).copied();
        itself.into_iter().chain(self.find_below(name)).min()
    }

    /// The lowest row for everything below a domain above this name.
    fn find_below(&self, name: &str) -> Option<u32> {
        if self.below.is_empty() {
            return None;
        }
        let dots = memchr::memchr_iter(b'.', name.as_bytes());
        dots.filter_map(|dot| self.below.get(&name[dot + 1..]).copied()).min()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.below.is_empty()
    }
}

/// Lower case without a final dot; borrows when the name is so already.
pub(crate) fn canonical(name: &str) -> Cow<'_, str> {
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}

/// Whether this can be the name of a host: LDH labels, and underscores, which are in use.
pub(crate) fn is_name(name: &str) -> bool {
    let in_label = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    name.len() <= MAX_NAME_SIZE
        && name.split('.').all(|label| {
            !label.is_empty() && label.len() <= MAX_LABEL_SIZE && label.bytes().all(in_label)
        })
}

/// Octets of a name as text (RFC 1035 2.3.4).
const MAX_NAME_SIZE: usize = 253;
/// Octets of a label (RFC 1035 2.3.4).
const MAX_LABEL_SIZE: usize = 63;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_row_matches_at_any_depth_but_not_itself() {
        let mut domains = Domains::default();
        domains.insert_below(&"b.example".into(), 7);
        domains.insert(&"a.b.example".into(), 9);
        assert_eq!(domains.find("a.b.example"), Some(7));
        assert_eq!(domains.find("z.y.b.example"), Some(7));
        assert_eq!(domains.find("b.example"), None);
        assert_eq!(domains.find("xb.example"), None);
    }

    #[test]
    fn names_have_labels_within_the_limits() {
        assert!(is_name("mail-1.a_b.example"));
        for wrong in ["", "a..b", ".a", "a.", "a b", "ü.example", &"a".repeat(64)] {
            assert!(!is_name(wrong), "{wrong}");
        }
    }
}
