//! `ringpost check`: every error of a configuration at once, and what to do about each.

use std::{
    fs,
    io::{self, IsTerminal, Write},
    path::Path,
};

use ringpost_config::{Diagnostic, Severity, Snapshot};
use serde_json::json;

use crate::{cli::Check, exit::Exit};

pub(crate) fn run(options: &Check) -> Exit {
    let result =
        ringpost_config::load(&options.config.config, &mut |path| fs::read_to_string(path));
    let (diagnostics, is_usable) = match result {
        Ok(loaded) => (loaded.warnings, true),
        Err(diagnostics) => (diagnostics, false),
    };
    if options.json {
        print_json(&diagnostics);
    } else {
        print(&diagnostics);
        summarise(&options.config.config, &diagnostics, is_usable);
    }
    if is_usable { Exit::Ok } else { Exit::Configuration }
}

/// The meaning of a configuration file. What is wrong with it goes to standard error.
pub(crate) fn load(path: &Path) -> Option<Snapshot> {
    match ringpost_config::load(path, &mut |path| fs::read_to_string(path)) {
        Ok(loaded) => {
            print(&loaded.warnings);
            Some(loaded.snapshot)
        }
        Err(diagnostics) => {
            print(&diagnostics);
            summarise(path, &diagnostics, false);
            None
        }
    }
}

fn print(diagnostics: &[Diagnostic]) {
    let is_colored = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    for diagnostic in diagnostics {
        eprintln!("{}\n", diagnostic.render(is_colored));
    }
}

fn print_json(diagnostics: &[Diagnostic]) {
    let mut out = io::stdout().lock();
    for it in diagnostics {
        let line = json!({
            "severity": it.severity.to_string(),
            "code": it.code.to_string(),
            "file": &*it.file,
            "line": it.line,
            "column": it.column,
            "message": it.message,
            "help": it.help,
        });
        // A reader that went away wants no more lines.
        let _ = writeln!(out, "{line}");
    }
}

fn summarise(path: &Path, diagnostics: &[Diagnostic], is_usable: bool) {
    let errors = diagnostics.iter().filter(|it| it.severity == Severity::Error).count();
    let warnings = diagnostics.len() - errors;
    let path = path.display();
    if is_usable {
        eprintln!("{path}: no errors, {warnings} warnings");
    } else {
        eprintln!("{path}: {errors} errors, {warnings} warnings; nothing was started");
    }
}
