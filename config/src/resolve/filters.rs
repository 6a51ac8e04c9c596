//! Message filters: scripts of files and of the configuration itself, compiled as one list.
//!
//! The compiler counts octets of one script. Problems are carried back to the file, line and column
//! where an operator wrote them.

use std::{ops::Range, sync::Arc};

use ringpost_policy::filter::{self, Filters, Names, Problem};

use super::Resolver;
use crate::{
    diagnostic::{Code, Severity},
    document::{self, Document, Written},
    snapshot::Listener,
    source::Source,
};

/// One script and where it was written.
struct Script {
    text: String,
    source: Source,
    origin: Origin,
}

/// How octets of a script become octets of the file it was written in.
enum Origin {
    /// By adding this.
    Offset(usize),
    /// Not at all, because escapes stand in between: everything is about this place.
    Place(Range<usize>),
}

impl Resolver<'_> {
    pub(super) fn filters(
        &mut self,
        written: &document::Filters,
        listeners: &[Arc<Listener>],
        document: &Document,
    ) -> Filters {
        let listeners: Vec<_> = listeners.iter().map(|listener| listener.name.clone()).collect();
        let names = Names { listeners: &listeners };
        let scripts = self.scripts(written);
        let mut is_sound = true;
        for script in &scripts {
            if let Err(problems) = filter::compile(&script.text, &names) {
                is_sound = false;
                self.report_problems(&problems, std::slice::from_ref(script), Severity::Error);
            }
        }
        let whole = if is_sound { join(&scripts) } else { String::new() };
        match filter::compile(&whole, &names) {
            Ok(filters) => {
                let lints = filters.lints(&sender_groups(document));
                self.report_problems(&lints, &scripts, Severity::Warning);
                filters
            }
            Err(problems) => {
                self.report_problems(&problems, &scripts, Severity::Error);
                filter::compile("", &names).expect("no filter at all is a script")
            }
        }
    }

    fn scripts(&mut self, written: &document::Filters) -> Vec<Script> {
        let mut scripts = Vec::new();
        for name in &written.files {
            let Some((path, text)) = self.file(name) else {
                continue;
            };
            let source = Source::new(&path.display().to_string(), &text);
            scripts.push(Script { text, source, origin: Origin::Offset(0) });
        }
        if let Some(script) = &written.script {
            let origin = origin(&self.source, script);
            let source = self.source.clone();
            scripts.push(Script { text: script.value.clone(), source, origin });
        }
        scripts
    }

    /// Reports problems whose spans count octets of all `scripts` joined.
    fn report_problems(&mut self, problems: &[Problem], scripts: &[Script], severity: Severity) {
        for problem in problems {
            let Some((script, span)) = find(scripts, &problem.span) else {
                continue;
            };
            let span = match &script.origin {
                Origin::Offset(offset) => span.start + offset..span.end + offset,
                Origin::Place(place) => place.clone(),
            };
            let message = problem.message.clone();
            let diagnostic = match severity {
                Severity::Error => {
                    self.report.error(&script.source, &span, Code::BadFilter, message)
                }
                Severity::Warning => {
                    self.report.warning(&script.source, &span, Code::SuspiciousFilter, message)
                }
            };
            diagnostic.help.clone_from(&problem.help);
        }
    }
}

/// Where the text of a TOML string begins in its file, if the file holds it letter by letter.
fn origin(source: &Source, script: &Written<String>) -> Origin {
    let written = source.text.get(script.span.clone()).unwrap_or_default();
    match written.find(&script.value) {
        // The value cannot begin before the quotes end, nor can a smaller prefix match it all.
        Some(at) if !script.value.is_empty() => Origin::Offset(script.span.start + at),
        _ => Origin::Place(script.span.clone()),
    }
}

/// All scripts in order, each ending with a line end so that no comment swallows the next.
fn join(scripts: &[Script]) -> String {
    scripts.iter().flat_map(|script| [script.text.as_str(), "\n"]).collect()
}

/// Which of the joined scripts a span is in, and where in it.
fn find<'a>(scripts: &'a [Script], span: &Range<usize>) -> Option<(&'a Script, Range<usize>)> {
    let mut start = 0;
    for script in scripts {
        let end = start + script.text.len();
        if span.start <= end {
            let local = span.start - start..span.end.min(end).max(span.start) - start;
            return Some((script, local));
        }
        start = end + 1;
    }
    scripts.last().map(|script| (script, script.text.len()..script.text.len()))
}

/// The names `sendergroup` can be compared with.
fn sender_groups(document: &Document) -> Vec<Arc<str>> {
    let groups = document.listeners.iter().flat_map(|listener| &listener.sender_groups);
    let names = groups.filter_map(|group| group.name.as_ref());
    names.filter(|name| name.value != "ALL").map(Written::shared).collect()
}
