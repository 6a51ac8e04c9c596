//! From what was written to what is meant: names bound, files read, tables and filters compiled.
//!
//! Resolving never stops at an error. What is wrong is reported and replaced by something harmless,
//! so that the rest can be judged too; the replacement never leaves this module.

mod filters;
mod listeners;
mod machine;
mod policies;
mod reply;
mod routing;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

pub(crate) use self::listeners::collide;
use crate::{
    diagnostic::{Code, Diagnostic},
    document::{Document, Written},
    report::Report,
    snapshot::Snapshot,
    source::Source,
};

/// A configuration that can be adopted.
#[derive(Debug)]
pub struct Loaded {
    /// What it means.
    pub snapshot: Snapshot,
    /// What is legal and probably not meant, in the order of the text.
    pub warnings: Vec<Diagnostic>,
}

/// Reads the configuration file `path` and everything it names.
///
/// `read` gives the text of a file; tests give it from memory. Relative paths in the file are taken
/// from the directory of the file.
///
/// # Errors
/// Every error and warning of the configuration at once, in the order of the text.
pub fn load(
    path: &Path,
    read: &mut dyn FnMut(&Path) -> io::Result<String>,
) -> Result<Loaded, Vec<Diagnostic>> {
    let name = path.display().to_string();
    let mut report = Report::default();
    let source = match read(path) {
        Ok(text) => Source::new(&name, &text),
        Err(error) => {
            let source = Source::new(&name, "");
            let message = format!("the configuration cannot be read: {error}");
            report.error(&source, &(0..0), Code::UnreadableFile, message);
            return Err(report.finish());
        }
    };
    if source.text.len() > MAX_FILE_SIZE {
        let message = format!("the configuration is larger than {MAX_FILE_SIZE} octets");
        report.error(&source, &(0..0), Code::BadValue, message);
        return Err(report.finish());
    }
    let document = Document::read(&source, &mut report);
    if report.has_syntax_errors() {
        return Err(report.finish_syntax());
    }
    let directory = path.parent().unwrap_or_else(|| Path::new("")).to_owned();
    let snapshot = Resolver { source, directory, report: &mut report, read }.resolve(&document);
    if report.has_errors() {
        return Err(report.finish());
    }
    Ok(Loaded { snapshot, warnings: report.finish() })
}

/// What resolving needs at hand.
struct Resolver<'a> {
    source: Source,
    directory: PathBuf,
    report: &'a mut Report,
    read: &'a mut dyn FnMut(&Path) -> io::Result<String>,
}

impl Resolver<'_> {
    fn resolve(mut self, document: &Document) -> Snapshot {
        let hostname = self.hostname(document);
        let data_dir = self.path_or(document.data_dir.as_ref(), "");
        let policies = self.policies(&document.mail_flow_policies);
        let spool = self.spool(&document.spool, &policies);
        let listeners = self.listeners(&document.listeners, &policies);
        self.report_unused_policies(document, &policies);
        Snapshot {
            workers: machine::workers(document),
            control: self.control(&document.control, &data_dir),
            dns: machine::dns(&document.dns),
            tls: self.tls(&document.tls),
            limits: self.limits(&document.limits),
            filters: Arc::new(self.filters(&document.filters, &listeners, document)),
            routes: Arc::new(self.routes(&document.routes)),
            destinations: Arc::new(self.destinations(&document.destinations)),
            bounce: self.bounce_profile(&document.bounce_profile),
            delivery: self.delivery(&document.delivery, &hostname),
            logs: self.logs(&document.logs),
            listeners,
            spool,
            hostname,
            data_dir,
        }
    }

    /// A path of the configuration; relative ones start at the directory of its file.
    fn path(&self, text: &str) -> PathBuf {
        self.directory.join(text)
    }

    fn path_or(&mut self, text: Option<&Written<String>>, default: &str) -> PathBuf {
        match text {
            Some(Written { value, span }) if value.trim().is_empty() || value.contains('\0') => {
                self.report.error(&self.source, span, Code::BadValue, "the path is empty");
                self.path(default)
            }
            Some(text) => self.path(&text.value),
            None => self.path(default),
        }
    }

    /// The text of a file that the configuration names at `written`; none after reporting why.
    fn file(&mut self, written: &Written<String>) -> Option<(PathBuf, String)> {
        let path = self.path(&written.value);
        let problem = match (self.read)(&path) {
            Ok(text) if text.len() <= MAX_FILE_SIZE => return Some((path, text)),
            Ok(_) => format!("{} is larger than {MAX_FILE_SIZE} octets", path.display()),
            Err(error) => format!("{} cannot be read: {error}", path.display()),
        };
        self.report
            .error(&self.source, &written.span, Code::UnreadableFile, problem)
            .help("relative paths start at the directory of the configuration file");
        None
    }
}

/// Octets of the configuration and of each file it names: far beyond any policy of a person, and
/// below what would hurt to hold in memory.
const MAX_FILE_SIZE: usize = 64 << 20;
