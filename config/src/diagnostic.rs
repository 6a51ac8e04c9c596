//! What an operator is told: where, what is wrong, and what to do about it.
//!
//! A diagnostic carries the line it is about, so it can be shown anywhere the file is not at hand.

use std::{fmt, sync::Arc};

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use serde::{Serialize, Serializer};

/// One thing an operator should know about the configuration.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Diagnostic {
    /// Whether the configuration can be adopted in spite of it.
    pub severity: Severity,
    /// A stable name for this kind of diagnostic; shown as `C0004`.
    pub code: Code,
    /// The file, as it was named to [`load`](crate::load) or by the configuration.
    pub file: Arc<str>,
    /// Counted from 1.
    pub line: u32,
    /// In characters, counted from 1.
    pub column: u32,
    /// What is wrong: one line without a full stop.
    pub message: String,
    /// What to do about it: one line.
    pub help: Option<String>,
    /// The line it is about.
    #[serde(skip)]
    pub excerpt: Excerpt,
}

/// The line of the file a diagnostic is about, and which part of it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Excerpt {
    /// The whole line without its ending.
    pub line: String,
    /// Octets of `line` where it begins.
    pub start: usize,
    /// Octets of `line` where it ends; never before `start`.
    pub end: usize,
}

/// Whether a diagnostic stands in the way of adoption.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The configuration is not adopted; what runs keeps running.
    Error,
    /// The configuration can be adopted, and probably does not do what was meant.
    Warning,
}

/// The kinds of diagnostics. Numbers are never used again for something else.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Code {
    /// The file is not TOML.
    Syntax = 1,
    /// A key or table nobody reads.
    UnknownKey = 2,
    /// A string where a number belongs, and so on.
    WrongType = 3,
    /// A value that cannot be understood or is out of range.
    BadValue = 4,
    /// A key that has no default was left out.
    MissingKey = 5,
    /// Two things of one kind have one name.
    DuplicateName = 6,
    /// A mail flow policy that is defined nowhere.
    UnknownPolicy = 7,
    /// A mail flow policy that cannot stand where it stands.
    MisplacedPolicy = 8,
    /// A sender that is not HAT syntax.
    BadSender = 9,
    /// A recipient that is not RAT syntax.
    BadRecipient = 10,
    /// A public listener that accepts no recipient.
    NoRecipients = 11,
    /// Anyone could send mail to anyone.
    OpenRelay = 12,
    /// Two listeners on one address and port.
    DuplicateAddress = 13,
    /// A message filter that does not compile.
    BadFilter = 14,
    /// A message filter that compiles and probably does not do what was meant.
    SuspiciousFilter = 15,
    /// An SMTP route that says where to go more than once, or not at all.
    ContradictoryRoute = 16,
    /// Two rows of a table with one key.
    DuplicateRow = 17,
    /// Two values that exclude each other.
    Contradiction = 18,
    /// A file that is named but cannot be read.
    UnreadableFile = 19,
    /// A key that has no meaning for this kind of listener.
    MisplacedKey = 20,
    /// A row that no connection or recipient can ever reach.
    UnreachableRow = 21,
    /// Nothing accepts mail.
    NoListener = 22,
    /// A domain pattern of a route or destination that cannot be understood.
    BadDomain = 23,
}

impl Diagnostic {
    /// The diagnostic with the line it is about and a mark under the part that is wrong, several
    /// lines, as compilers show it. With `color` it holds ANSI escapes.
    #[must_use]
    pub fn render(&self, color: bool) -> String {
        let code = self.code.to_string();
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let span = self.excerpt.start..self.excerpt.end;
        let snippet = Snippet::source(self.excerpt.line.as_str())
            .line_start(self.line as usize)
            .path(&*self.file)
            .annotation(AnnotationKind::Primary.span(span));
        let title = level.primary_title(self.message.as_str()).id(code.as_str());
        let mut report = vec![title.element(snippet)];
        if let Some(help) = &self.help {
            report.push(Group::with_title(Level::HELP.secondary_title(help.as_str())));
        }
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        renderer.render(&report)
    }
}

impl fmt::Display for Diagnostic {
    /// `file:line:column: error[C0004]: message`, and `help: ...` on a second line.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { severity, code, file, line, column, message, help, .. } = self;
        write!(out, "{file}:{line}:{column}: {severity}[{code}]: {message}")?;
        match help {
            Some(help) => write!(out, "\n  help: {help}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

impl fmt::Display for Code {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "C{:04}", *self as u16)
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diagnostic() -> Diagnostic {
        Diagnostic {
            severity: Severity::Error,
            code: Code::BadValue,
            file: "mx.toml".into(),
            line: 7,
            column: 11,
            message: "no unit".into(),
            help: Some("write \"5s\"".into()),
            excerpt: Excerpt { line: "timeout = \"5\"".into(), start: 10, end: 13 },
        }
    }

    #[test]
    fn one_line_says_where_and_what() {
        let text = diagnostic().to_string();
        assert_eq!(text, "mx.toml:7:11: error[C0004]: no unit\n  help: write \"5s\"");
    }

    #[test]
    fn the_rendering_shows_the_line_and_marks_the_place() {
        let text = diagnostic().render(false);
        assert!(text.starts_with("error[C0004]: no unit"), "{text}");
        assert!(text.contains("mx.toml:7:11"), "{text}");
        assert!(text.contains("7 | timeout = \"5\""), "{text}");
        assert!(text.contains("  |           ^^^"), "{text}");
        assert!(text.contains("help: write \"5s\""), "{text}");
        assert!(!text.contains('\u{1b}') && diagnostic().render(true).contains('\u{1b}'));
    }
}
