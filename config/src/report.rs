//! Everything found wrong with one configuration, gathered so that it can be said at once.
//!
//! An operator who is told one error at a time needs as many attempts as there are errors.

use std::ops::Range;

use crate::{
    diagnostic::{Code, Diagnostic, Severity},
    source::Source,
};

/// Diagnostics so far.
#[derive(Debug, Default)]
pub(crate) struct Report {
    found: Vec<Diagnostic>,
    /// Stands for all that were found when there was no room any more.
    surplus: Option<Diagnostic>,
    has_errors: bool,
}

impl Report {
    /// Adds an error and returns it, so that help can be added.
    pub(crate) fn error(
        &mut self,
        source: &Source,
        span: &Range<usize>,
        code: Code,
        message: impl Into<String>,
    ) -> &mut Diagnostic {
        self.add(Severity::Error, source, span, code, message.into())
    }

    /// Adds a warning and returns it, so that help can be added.
    pub(crate) fn warning(
        &mut self,
        source: &Source,
        span: &Range<usize>,
        code: Code,
        message: impl Into<String>,
    ) -> &mut Diagnostic {
        self.add(Severity::Warning, source, span, code, message.into())
    }

    /// Whether something stands in the way of adoption.
    pub(crate) const fn has_errors(&self) -> bool {
        self.has_errors
    }

    /// Whether the file is not even TOML.
    pub(crate) fn has_syntax_errors(&self) -> bool {
        self.found.iter().any(|diagnostic| diagnostic.code == Code::Syntax)
    }

    /// The syntax errors alone: what else seems wrong with such a file is mostly their consequence.
    pub(crate) fn finish_syntax(mut self) -> Vec<Diagnostic> {
        self.found.retain(|diagnostic| diagnostic.code == Code::Syntax);
        self.finish()
    }

    /// All of them in the order of the text, errors first where they share a place; then, if there
    /// were more than [`MAX_DIAGNOSTICS`], one that says so.
    pub(crate) fn finish(mut self) -> Vec<Diagnostic> {
        self.found.sort_by(|a, b| {
            let key = |d: &Diagnostic| (d.file.clone(), d.line, d.column, d.severity, d.code);
            key(a).cmp(&key(b))
        });
        self.found.extend(self.surplus.map(|surplus| Diagnostic {
            message: format!("there is more; these are the first {MAX_DIAGNOSTICS}"),
            help: None,
            ..surplus
        }));
        self.found
    }

    fn add(
        &mut self,
        severity: Severity,
        source: &Source,
        span: &Range<usize>,
        code: Code,
        message: String,
    ) -> &mut Diagnostic {
        self.has_errors |= severity == Severity::Error;
        let diagnostic = || {
            let place = source.place(span);
            Diagnostic {
                severity,
                code,
                file: source.name.clone(),
                line: place.line,
                column: place.column,
                message,
                help: None,
                excerpt: place.excerpt,
            }
        };
        if self.found.len() >= MAX_DIAGNOSTICS {
            // An error that does not fit must still be seen as one.
            self.surplus.take_if(|surplus| surplus.severity > severity);
            return self.surplus.get_or_insert_with(diagnostic);
        }
        self.found.push(diagnostic());
        self.found.last_mut().expect("one was pushed")
    }
}

impl Diagnostic {
    /// Says what to do about it.
    pub(crate) fn help(&mut self, help: impl Into<String>) {
        self.help = Some(help.into());
    }
}

/// More than a person reads, and few enough to find the lines of all of them quickly.
const MAX_DIAGNOSTICS: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_errors_is_cut_and_says_so() {
        let (source, mut report) = (Source::new("x", "a"), Report::default());
        for _ in 0..MAX_DIAGNOSTICS {
            report.warning(&source, &(0..1), Code::BadValue, "odd");
        }
        assert!(!report.has_errors());
        for _ in 0..5 {
            report.error(&source, &(0..1), Code::BadValue, "bad").help("help");
        }
        assert!(report.has_errors());
        let found = report.finish();
        let last = found.last().expect("some");
        assert_eq!(found.len(), MAX_DIAGNOSTICS + 1);
        assert_eq!(
            last.to_string(),
            "x:1:1: error[C0004]: there is more; these are the first 1000"
        );
    }
}
