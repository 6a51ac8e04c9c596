//! Values as a log line may hold them: quoted as Python's `repr` does, and never two lines.
//!
//! Much of what is logged was chosen by strangers; none of it may end a line or look like one.

use std::fmt::{self, Display, Write};

/// As it is, but for what would end the line or hide in it.
pub(super) struct Plain<'a>(pub(super) &'a str);

impl Display for Plain<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|one| escaped(one, out))
    }
}

/// In single quotes; in double ones when it holds single ones only, as Python does.
pub(super) struct Repr<'a>(pub(super) &'a str);

impl Display for Repr<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quote = if self.0.contains('\'') && !self.0.contains('"') { '"' } else { '\'' };
        quoted(self.0, quote, out)
    }
}

/// In double quotes always, which is the one form of a subject that every parser reads.
pub(super) struct DoubleQuoted<'a>(pub(super) &'a str);

impl Display for DoubleQuoted<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        quoted(self.0, '"', out)
    }
}

fn quoted(text: &str, quote: char, out: &mut fmt::Formatter<'_>) -> fmt::Result {
    out.write_char(quote)?;
    for one in text.chars() {
        if one == quote || one == '\\' {
            out.write_char('\\')?;
        }
        escaped(one, out)?;
    }
    out.write_char(quote)
}

/// Control characters, and those that change how a line reads (bidirectional marks, separators),
/// are written as Python escapes.
fn escaped(one: char, out: &mut fmt::Formatter<'_>) -> fmt::Result {
    match one {
        '\r' => out.write_str("\\r"),
        '\n' => out.write_str("\\n"),
        '\t' => out.write_str("\\t"),
        _ if one.is_control() => write!(out, "\\x{:02x}", u32::from(one)),
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            write!(out, "\\u{:04x}", u32::from(one))
        }
        _ => out.write_char(one),
    }
}
