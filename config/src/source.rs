//! A file as text with positions: octets in, line and column out.
//!
//! Everything that reads an operator's text counts octets; only people count lines.

use std::{ops::Range, sync::Arc};

use crate::diagnostic::Excerpt;

/// The text of one file.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// What the file is called when it is talked about.
    pub(crate) name: Arc<str>,
    /// All of it.
    pub(crate) text: Arc<str>,
}

/// Where a stretch of a file begins.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Place {
    /// Counted from 1.
    pub(crate) line: u32,
    /// In characters, counted from 1.
    pub(crate) column: u32,
    /// The line itself.
    pub(crate) excerpt: Excerpt,
}

impl Source {
    /// Names a text.
    pub(crate) fn new(name: &str, text: &str) -> Self {
        Self { name: name.into(), text: text.into() }
    }

    /// The line and column of the first octet of `span`; spans beyond the end mean the end.
    pub(crate) fn place(&self, span: &Range<usize>) -> Place {
        let start = self.boundary(span.start);
        let before = &self.text[..start];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let rest = &self.text[line_start..];
        let line = rest.split('\n').next().unwrap_or_default();
        let line = line.strip_suffix('\r').unwrap_or(line);
        let column_start = (start - line_start).min(line.len());
        let column_end = self.boundary(span.end).saturating_sub(line_start).min(line.len());
        Place {
            line: count(before.bytes().filter(|&byte| byte == b'\n').count() + 1),
            column: count(line[..column_start].chars().count() + 1),
            excerpt: Excerpt {
                line: line.to_owned(),
                start: column_start,
                end: column_end.max(column_start),
            },
        }
    }

    fn boundary(&self, mut at: usize) -> usize {
        at = at.min(self.text.len());
        while !self.text.is_char_boundary(at) {
            at -= 1;
        }
        at
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters_and_lines_end_anyhow() {
        let source = Source::new("x", "a = 1\r\nä = \"ü\" # x\n");
        let place = source.place(&(12..16));
        assert_eq!((place.line, place.column), (2, 5));
        assert_eq!(&place.excerpt.line[place.excerpt.start..place.excerpt.end], "\"ü\"");
        let first = source.place(&(0..40));
        assert_eq!((first.line, first.column, first.excerpt.end), (1, 1, 5));
    }

    #[test]
    fn the_end_of_the_text_is_a_place() {
        for text in ["", "a", "a\n"] {
            let place = Source::new("x", text).place(&(99..200));
            assert_eq!(place.column, if text == "a" { 2 } else { 1 });
        }
    }
}
