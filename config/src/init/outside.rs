//! A pattern for addresses outside of some domains, for a language that can only say "any matches".
//!
//! `rcpt-to == "re"` is true when any recipient matches, and patterns have no "unless". So the
//! pattern has to spell out each way in which an address can fail to end in `@domain`: it ends in a
//! tail of it, and the character before that tail is another one, or there is none.

use std::collections::{BTreeMap, BTreeSet};

/// Patterns of which one matches an address if it is in none of `domains`; each short enough for
/// the filter language, and written as inside of a filter string.
pub(super) fn outside(domains: &[String]) -> Vec<String> {
    let ends: Vec<String> = domains.iter().map(|it| format!("@{}", it.to_lowercase())).collect();
    // What may stand before a tail for the address to still be inside.
    let mut before: BTreeMap<&str, BTreeSet<char>> = BTreeMap::new();
    for end in &ends {
        for (at, letter) in end.char_indices() {
            let tail = &end[at + letter.len_utf8()..];
            before.entry(tail).or_default().insert(letter);
        }
    }
    let mut patterns: Vec<String> = Vec::new();
    for (tail, letters) in before {
        let way = format!("(^|[^{}]){}$", class(&letters), tail.replace('.', "\\\\."));
        match patterns.last_mut() {
            Some(last) if last.len() + way.len() < MAX_PATTERN => {
                last.push('|');
                last.push_str(&way);
            }
            _ => patterns.push(way),
        }
    }
    patterns
}

/// The inside of brackets: a hyphen means itself only where no range can be.
fn class(letters: &BTreeSet<char>) -> String {
    let hyphen = letters.contains(&'-').then_some('-');
    letters.iter().copied().filter(|letter| *letter != '-').chain(hyphen).collect()
}

/// Octets; the filter language takes twice as many.
const MAX_PATTERN: usize = 8 * 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_be_outside_is_spelt_out() {
        assert_eq!(
            outside(&["a.b".to_owned()]),
            ["(^|[^b])$|(^|[^a])\\\\.b$|(^|[^@])a\\\\.b$|(^|[^.])b$"]
        );
    }

    #[test]
    fn domains_share_their_tails() {
        let patterns = outside(&["a.b".to_owned(), "c-.B".to_owned()]).join("|");
        assert!(patterns.contains("(^|[^a-])\\\\.b$"), "{patterns}");
    }

    #[test]
    fn patterns_stay_short() {
        let domains: Vec<_> =
            (0..100).map(|it| format!("a-rather-long-name-{it}.example")).collect();
        let patterns = outside(&domains);
        assert!(patterns.len() > 1 && patterns.iter().all(|pattern| pattern.len() <= MAX_PATTERN));
    }
}
