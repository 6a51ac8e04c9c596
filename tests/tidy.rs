//! House rules that no compiler checks. Each has its reason in docs/ARCHITECTURE.md.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Who may name whom among the packages of the workspace, and who may name the two runtimes.
const ALLOWED: [(&str, &[&str]); 6] = [
    ("ringpost-core", &[]),
    ("ringpost-policy", &["ringpost-core"]),
    ("ringpost-delivery", &["ringpost-core"]),
    ("ringpost-config", &["ringpost-core", "ringpost-policy", "ringpost-delivery"]),
    (
        "ringpost-shard",
        &["ringpost-core", "ringpost-policy", "ringpost-delivery", "ringpost-config"],
    ),
    (
        "ringpost-control",
        &["ringpost-core", "ringpost-policy", "ringpost-delivery", "ringpost-config"],
    ),
];

/// Functions that may be longer than [`FUNCTION_LINES_MAX`], each with its reason. The table may
/// only shrink.
const LONG_FUNCTIONS: [(&str, &str); 1] = [(
    "control/src/logs/mail_logs.rs lines",
    "one arm an event, each a line shape: splitting would hide that none is missing",
)];

const FILE_LINES_MAX: usize = 800;
const FUNCTION_LINES_MAX: usize = 70;
const LINE_COLUMNS_MAX: usize = 100;
const FIVE_LARGEST_SHARE_MAX: f64 = 0.12;
const BANNED_NAMES: [&str; 17] = [
    "util",
    "utils",
    "common",
    "helper",
    "helpers",
    "misc",
    "manager",
    "handler",
    "service",
    "context",
    "data",
    "info",
    "base",
    "impl",
    "processor",
    "wrapper",
    "types",
];

struct Source {
    path: String,
    text: String,
}

#[test]
fn packages_depend_only_downward() {
    for (package, allowed) in ALLOWED {
        for dependency in direct_dependencies(package) {
            if dependency.starts_with("ringpost-") {
                assert!(
                    allowed.contains(&dependency.as_str()),
                    "{package} must not depend on {dependency}"
                );
            }
        }
    }
}

#[test]
fn each_runtime_is_named_in_one_crate() {
    for (package, _) in ALLOWED {
        let dependencies = direct_dependencies(package);
        let names = |name: &str| dependencies.iter().any(|dependency| dependency == name);
        assert_eq!(names("glommio-ng"), package == "ringpost-shard", "{package} and glommio");
        assert_eq!(names("tokio"), package == "ringpost-control", "{package} and tokio");
    }
}

#[test]
fn pure_crates_cannot_reach_the_machine() {
    for package in ["core", "policy", "delivery"] {
        let lib = fs::read_to_string(root().join(package).join("src/lib.rs")).expect("lib.rs");
        assert!(lib.contains("#![no_std]"), "{package} must be no_std: that is the proof");
    }
    for source in sources() {
        let pure = ["core/src", "policy/src", "delivery/src"];
        if !pure.iter().any(|folder| source.path.starts_with(folder)) {
            continue;
        }
        // Modules of tests say that they are where they are declared.
        let marks = ["/tests.rs", "/tests/", "/differential.rs", "/sample.rs"];
        if marks.iter().any(|mark| source.path.contains(mark)) {
            continue;
        }
        let product = source.text.split("#[cfg(test)]").next().expect("a first part");
        assert!(!product.contains("extern crate std"), "{}: std outside tests", source.path);
    }
}

#[test]
fn no_file_needs_a_table_of_contents() {
    let mut lengths: Vec<(usize, String)> = Vec::new();
    for source in sources() {
        let product = source.text.split("#[cfg(test)]\nmod tests").next().expect("a first part");
        let lines = product.lines().filter(|line| is_code(line)).count();
        let whole = source.text.lines().count();
        assert!(lines <= FILE_LINES_MAX, "{}: {lines} code lines; split it", source.path);
        lengths.push((whole, source.path));
    }
    lengths.sort_unstable();
    let total: usize = lengths.iter().map(|(lines, _)| lines).sum();
    let five: usize = lengths.iter().rev().take(5).map(|(lines, _)| lines).sum();
    let share = five as f64 / total as f64;
    let named: Vec<_> = lengths.iter().rev().take(5).collect();
    assert!(share <= FIVE_LARGEST_SHARE_MAX, "five files hold {share:.2} of the house: {named:?}");
}

#[test]
fn functions_fit_on_a_screen() {
    let mut too_long = BTreeMap::new();
    for source in sources() {
        for (name, lines) in functions(&source.text) {
            if lines > FUNCTION_LINES_MAX {
                too_long.insert(format!("{} {name}", source.path), lines);
            }
        }
    }
    for (allowed, reason) in LONG_FUNCTIONS {
        let message = format!("{allowed} is short now ({reason}): take it out of the table");
        assert!(too_long.remove(allowed).is_some(), "{message}");
    }
    assert!(too_long.is_empty(), "over {FUNCTION_LINES_MAX} lines: {too_long:#?}");
}

#[test]
fn lines_fit_beside_each_other() {
    for source in sources() {
        for (number, line) in source.text.lines().enumerate() {
            let columns = line.chars().count();
            assert!(columns <= LINE_COLUMNS_MAX, "{}:{}: {columns}", source.path, number + 1);
        }
    }
}

#[test]
fn every_file_says_what_it_is_for() {
    for source in sources() {
        let first = source.text.lines().next().unwrap_or_default();
        let head: String = source.text.lines().take_while(|line| line.starts_with("//!")).collect();
        assert!(first.starts_with("//! ") && head.contains('.'), "{}: no `//!` head", source.path);
    }
}

#[test]
fn names_say_what_a_thing_is() {
    for source in sources() {
        let stem = Path::new(&source.path).file_stem().expect("a file").to_string_lossy();
        assert!(!BANNED_NAMES.contains(&&*stem), "{}: a name that says nothing", source.path);
    }
}

#[test]
fn nothing_is_left_for_later_in_the_code() {
    // Written apart, so that this file does not find itself.
    let marks = [concat!("to", "do!("), concat!("unimple", "mented!("), concat!("FIX", "ME")];
    for source in sources() {
        for mark in marks {
            assert!(!source.text.contains(mark), "{}: {mark}", source.path);
        }
        assert!(!source.text.contains(concat!("#[", "ignore")), "{}: ignored test", source.path);
    }
}

#[test]
fn every_event_is_accounted_for_in_the_compatibility_table() {
    let events = fs::read_to_string(root().join("core/src/event.rs")).expect("event.rs");
    let table = fs::read_to_string(root().join("docs/COMPAT.md")).expect("COMPAT.md");
    let body = events.split("pub enum Event {").nth(1).expect("the enum");
    let body = body.split("\n}\n").next().expect("its end");
    let variants = body
        .lines()
        .filter(|line| line.starts_with("    ") && !line.starts_with("     "))
        .map(|line| line.trim().split([' ', ',', '{']).next().expect("a word"))
        .filter(|word| word.starts_with(char::is_uppercase));
    let mut count = 0;
    for variant in variants {
        assert!(
            table.contains(&format!("`{variant}`")),
            "docs/COMPAT.md says nothing of {variant}"
        );
        count += 1;
    }
    assert!(count > 20, "the enum was not read: {count} variants");
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn direct_dependencies(package: &str) -> Vec<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "--package", package])
        .args(["--edges", "normal", "--depth", "1", "--prefix", "none"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let listing = String::from_utf8(output.stdout).expect("names are ASCII");
    listing.lines().skip(1).filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    let folders =
        ["core", "policy", "delivery", "config", "shard", "control", "src", "perf", "benches"];
    for folder in folders {
        collect(&root().join(folder), &mut found);
    }
    collect(&root().join("tests"), &mut found);
    assert!(found.len() > 50, "the sources were not found: {}", found.len());
    found
}

fn collect(folder: &Path, found: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).expect("a folder of the house") {
        let path = entry.expect("an entry").path();
        if path.is_dir() && !path.ends_with("target") {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("UTF-8 source");
            let path = path.strip_prefix(root()).expect("inside").display().to_string();
            found.push(Source { path, text });
        }
    }
}

fn is_code(line: &str) -> bool {
    let line = line.trim();
    !line.is_empty() && !line.starts_with("//")
}

/// Functions and their lengths, by the indentation rustfmt gives: a function ends at the first
/// line that is a closing brace in the column of its `fn`.
fn functions(text: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let trimmed = line.trim_start();
        let indent = line.len() - trimmed.len();
        let Some(name) = function_name(trimmed) else {
            continue;
        };
        let close = format!("{}}}", " ".repeat(indent));
        let end = lines[start..].iter().position(|line| *line == close);
        if let Some(end) = end {
            found.push((name.to_owned(), end + 1));
        }
    }
    found
}

fn function_name(line: &str) -> Option<&str> {
    let mut rest = line;
    for prefix in ["pub ", "pub(crate) ", "pub(super) ", "const ", "async ", "unsafe "] {
        rest = rest.strip_prefix(prefix).unwrap_or(rest);
    }
    let name = rest.strip_prefix("fn ")?;
    if line.ends_with(';') {
        return None;
    }
    name.split(['(', '<']).next()
}
