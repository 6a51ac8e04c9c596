//! Whatever stands in a configuration file, the answer is a snapshot or diagnostics.
//!
//! Reading the operator's text is where a typing error must not become a crash.

use std::{fs, io, path::Path};

use ringpost_config::{
    Diagnostic, Loaded,
    init::{M365, m365},
    load,
};

fn diagnostics(text: &str) -> Vec<Diagnostic> {
    let mut read = |path: &Path| match path.to_str() {
        Some("x.toml") => Ok(text.to_owned()),
        _ => Err(io::Error::from(io::ErrorKind::NotFound)),
    };
    match load(Path::new("x.toml"), &mut read) {
        Ok(Loaded { warnings, .. }) => warnings,
        Err(diagnostics) => {
            assert!(!diagnostics.is_empty(), "refused without a reason:\n{text}");
            diagnostics
        }
    }
}

fn examine(text: &str) {
    for diagnostic in diagnostics(text) {
        let lines = u32::try_from(text.split('\n').count()).expect("few lines");
        assert!((1..=lines).contains(&diagnostic.line), "{diagnostic}\n{text}");
        assert!(diagnostic.column > 0 && !diagnostic.message.is_empty());
        assert!(diagnostic.render(true).contains(&diagnostic.code.to_string()));
    }
}

fn texts() -> Vec<String> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wrong");
    let files = fs::read_dir(directory).expect("the cases").map(|it| it.expect("a case").path());
    let files = files.filter(|path| path.is_file());
    let mut texts: Vec<_> = files.map(|path| fs::read_to_string(path).expect("text")).collect();
    texts.push(m365(&M365::new("a.example", "mx.example", "s3cret")).expect("good options"));
    texts
}

#[test]
fn half_a_configuration_is_no_crash() {
    for text in texts() {
        for (at, _) in text.char_indices().step_by(47) {
            examine(&text[..at]);
        }
    }
}

#[test]
fn a_wrong_character_is_no_crash() {
    let others =
        ["", "\"", "[", "]", "=", "\n", "0", "-", "'''", "\u{0}", "\u{feff}", "ü", "\\", "."];
    for text in texts() {
        for ((at, letter), other) in text.char_indices().step_by(61).zip(others.iter().cycle()) {
            examine(&format!("{}{other}{}", &text[..at], &text[at + letter.len_utf8()..]));
        }
    }
}

#[test]
fn depth_and_width_are_bounded() {
    examine(&format!("a = {}", "[".repeat(100_000)));
    examine(&format!("{}x = 1", "a.".repeat(10_000)));
    examine(&"[[listener]]\n".repeat(300));
}

#[test]
fn diagnostics_are_json() {
    let found = diagnostics("hostname = 5\ndata_dir = \"x\"");
    let json = serde_json::to_value(&found[0]).expect("JSON");
    assert_eq!(
        json,
        serde_json::json!({
            "severity": "error",
            "code": "C0003",
            "file": "x.toml",
            "line": 1,
            "column": 12,
            "message": "`hostname` wants a string, not an integer",
            "help": null,
        })
    );
}
