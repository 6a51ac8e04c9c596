//! What text a pattern cannot do without: found once, so that most messages need no pattern run.

use alloc::{vec, vec::Vec};

use regex_syntax::hir::{Class, Hir, HirKind, Look};

/// A pattern that is nothing but text.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Plain {
    text: Vec<u8>,
    is_at_start: bool,
    /// At the end, or before a final newline, as Python's `$`.
    is_at_end: bool,
    ignores_case: bool,
}

impl Plain {
    /// The pattern, if it is nothing but text, perhaps anchored, all of one case rule.
    pub(super) fn of(hir: &Hir) -> Option<Self> {
        let parts = match hir.kind() {
            HirKind::Concat(parts) => parts.as_slice(),
            _ => core::slice::from_ref(hir),
        };
        let is_start = |part: &Hir| *part.kind() == HirKind::Look(Look::Start);
        let (parts, is_at_start) = match parts {
            [first, rest @ ..] if is_start(first) => (rest, true),
            _ => (parts, false),
        };
        let (parts, is_at_end) = match parts {
            [rest @ .., newline, end] if is_newline_or_end(newline, end) => (rest, true),
            _ => (parts, false),
        };
        let (mut text, mut ignores_case, mut has_cased) = (Vec::new(), false, false);
        for part in parts {
            match part.kind() {
                HirKind::Literal(literal) => {
                    has_cased |= literal.0.iter().any(u8::is_ascii_alphabetic);
                    text.extend_from_slice(&literal.0);
                }
                HirKind::Class(class) => {
                    text.push(letter_of_either_case(class)?);
                    ignores_case = true;
                }
                HirKind::Empty => {}
                _ => return None,
            }
        }
        // Comparing without case goes octet by octet, which long texts are too long for.
        let is_unfit = ignores_case && (has_cased || text.len() > MAX_CASELESS_TEXT);
        (!is_unfit).then_some(Self { text, is_at_start, is_at_end, ignores_case })
    }

    /// Whether the pattern is found in `value`.
    pub(super) fn is_match(&self, value: &[u8]) -> bool {
        let is_at_end = |value: &[u8]| !self.is_at_end || matches!(value, [] | [b'\n']);
        if !self.is_at_start && !self.is_at_end {
            return self.find(value).is_some();
        }
        if self.is_at_start {
            return self.begins(value) && is_at_end(&value[self.text.len()..]);
        }
        let ends = |value: &[u8]| {
            value.len().checked_sub(self.text.len()).is_some_and(|at| self.begins(&value[at..]))
        };
        ends(value) || value.strip_suffix(b"\n").is_some_and(ends)
    }

    fn begins(&self, value: &[u8]) -> bool {
        let Some(start) = value.get(..self.text.len()) else {
            return false;
        };
        if self.ignores_case { start.eq_ignore_ascii_case(&self.text) } else { start == self.text }
    }

    fn find(&self, value: &[u8]) -> Option<usize> {
        if !self.ignores_case {
            return memchr::memmem::find(value, &self.text);
        }
        (0..=value.len().checked_sub(self.text.len())?).find(|&at| self.begins(&value[at..]))
    }
}

/// Texts in lower-case ASCII of which every match holds at least one, whatever its case; none if
/// nothing useful can be said.
pub(super) fn required(hir: &Hir) -> Option<Vec<Vec<u8>>> {
    match hir.kind() {
        HirKind::Literal(literal) => Some(vec![literal.0.to_ascii_lowercase()]),
        HirKind::Class(class) => letter_of_either_case(class).map(|letter| vec![vec![letter]]),
        HirKind::Capture(capture) => required(&capture.sub),
        HirKind::Repetition(repetition) if repetition.min > 0 => required(&repetition.sub),
        HirKind::Concat(parts) => required_of_sequence(parts),
        HirKind::Alternation(branches) => {
            let mut texts = Vec::new();
            for branch in branches {
                texts.append(&mut required(branch)?);
            }
            (texts.len() <= MAX_REQUIRED).then_some(texts)
        }
        HirKind::Empty | HirKind::Look(_) | HirKind::Repetition(_) => None,
    }
}

/// Text written side by side is one text; of several candidates the most telling.
fn required_of_sequence(parts: &[Hir]) -> Option<Vec<Vec<u8>>> {
    let mut best: Option<Vec<Vec<u8>>> = None;
    let mut run = Vec::new();
    let mut offer = |candidate: Vec<Vec<u8>>| {
        let worth = |texts: &Vec<Vec<u8>>| {
            (texts.iter().map(Vec::len).min().unwrap_or(0), usize::MAX - texts.len())
        };
        if best.as_ref().is_none_or(|best| worth(&candidate) > worth(best)) {
            best = Some(candidate);
        }
    };
    for part in parts {
        match part.kind() {
            HirKind::Literal(literal) => run.extend(literal.0.iter().map(u8::to_ascii_lowercase)),
            HirKind::Class(class) if let Some(letter) = letter_of_either_case(class) => {
                run.push(letter);
            }
            _ => {
                if !run.is_empty() {
                    offer(vec![core::mem::take(&mut run)]);
                }
                if let Some(candidate) = required(part) {
                    offer(candidate);
                }
            }
        }
    }
    if !run.is_empty() {
        offer(vec![run]);
    }
    best
}

/// The letter in lower case, if the class is one ASCII letter in both cases.
fn letter_of_either_case(class: &Class) -> Option<u8> {
    let literal = match class {
        Class::Unicode(class) => match class.ranges() {
            [upper, lower] if upper.len() == 1 && lower.len() == 1 => {
                (u8::try_from(upper.start()).ok()?, u8::try_from(lower.start()).ok()?)
            }
            _ => return None,
        },
        Class::Bytes(class) => match class.ranges() {
            [upper, lower] if upper.len() == 1 && lower.len() == 1 => {
                (upper.start(), lower.start())
            }
            _ => return None,
        },
    };
    let (upper, lower) = literal;
    (upper.is_ascii_uppercase() && upper.to_ascii_lowercase() == lower).then_some(lower)
}

/// `\n?\z`.
fn is_newline_or_end(newline: &Hir, end: &Hir) -> bool {
    let HirKind::Repetition(repetition) = newline.kind() else {
        return false;
    };
    let is_newline =
        matches!(repetition.sub.kind(), HirKind::Literal(literal) if *literal.0 == *b"\n");
    is_newline
        && (repetition.min, repetition.max) == (0, Some(1))
        && *end.kind() == HirKind::Look(Look::End)
}

/// Alternatives beyond which a required text tells too little.
const MAX_REQUIRED: usize = 64;
/// Octets of a text that is compared without case; a longer one is left to an engine.
const MAX_CASELESS_TEXT: usize = 256;

#[cfg(test)]
mod tests {
    extern crate std;

    use std::string::String;

    use super::*;
    use crate::filter::matcher::Pattern;

    fn required_texts(pattern: &str) -> Option<Vec<String>> {
        let pattern = Pattern::new(pattern, false).expect("it is valid");
        let text = |text| String::from_utf8(text).expect("the tests are ASCII");
        pattern.required().map(|texts| texts.into_iter().map(text).collect())
    }

    #[test]
    fn the_most_telling_text_is_found() {
        for (pattern, texts) in [
            ("viagra", &["viagra"][..]),
            ("(?i)ViAgra", &["viagra"]),
            ("^a.*unsubscribe[0-9]+b$", &["unsubscribe"]),
            ("(cheap|free) (?i)offer", &[" offer"]),
            ("x(alpha|beta)", &["alpha", "beta"]),
            ("(ab)+c*", &["ab"]),
        ] {
            let expected = texts.iter().map(|&text| String::from(text)).collect();
            assert_eq!(required_texts(pattern), Some(expected), "{pattern}");
        }
        for pattern in ["", ".", "a*", "a?", "a|.", "[0-9]+", "^$", r"\b", "(?i)[a-z]"] {
            assert_eq!(required_texts(pattern), None, "{pattern}");
        }
    }

    #[test]
    fn plain_text_is_compared_as_python_would() {
        for (pattern, value, expected) in [
            ("lit", "a lit b", true),
            ("lit", "a Lit b", false),
            ("(?i)lit", "a LiT b", true),
            ("(?i)lit", "li", false),
            ("^lit", "lit!", true),
            ("^lit", "a lit", false),
            ("lit$", "a lit", true),
            ("lit$", "a lit\n", true),
            ("lit$", "lit\n\n", false),
            ("^lit$", "lit\n", true),
            ("^lit$", "lits", false),
            ("^$", "", true),
            ("^$", "\n", true),
            ("^$", "x", false),
            ("", "x", true),
            ("$", "x\n", true),
            ("\n$", "a\n", true),
        ] {
            let pattern_read = Pattern::new(pattern, false).expect("it is valid");
            let plain = pattern_read.plain().expect("it is plain");
            assert_eq!(plain.is_match(value.as_bytes()), expected, "{pattern} on {value:?}");
        }
        for pattern in ["a.b", "a|b", "(?i:a)b", "a+", "^a^", "$a"] {
            let pattern_read = Pattern::new(pattern, false).expect("it is valid");
            assert_eq!(pattern_read.plain(), None, "{pattern}");
        }
    }
}
