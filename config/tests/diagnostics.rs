//! What operators are told about wrong configurations, word by word.
//!
//! Each file of `tests/wrong` is a configuration; what is wrong with it stands at its foot.

use std::{collections::BTreeSet, fs, io, path::Path};

use ringpost_config::{Diagnostic, load};

#[test]
fn every_wrong_configuration_is_explained() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wrong");
    let mut failures = Vec::new();
    let mut codes = BTreeSet::new();
    for entry in fs::read_dir(&directory).expect("the cases") {
        let path = entry.expect("a case").path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let text = fs::read_to_string(&path).expect("a case");
        let name = path.file_name().expect("a name").to_str().expect("ASCII");
        let found = diagnostics(name, &directory);
        codes.extend(found.iter().map(|diagnostic| diagnostic.code));
        let actual: Vec<_> = found.iter().flat_map(lines).collect();
        let wanted: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("#> ")).collect();
        assert!(!wanted.is_empty(), "{name} says nothing at its foot");
        if actual != wanted {
            failures.push(format!("{name}:\n{}\n", actual.join("\n")));
        }
        for diagnostic in &found {
            assert!(diagnostic.render(false).contains(&diagnostic.message), "{name}");
        }
    }
    assert!(failures.is_empty(), "these say something else:\n{}", failures.join("\n"));
    assert!(codes.len() >= 23, "only {codes:?} are shown");
}

fn diagnostics(name: &str, directory: &Path) -> Vec<Diagnostic> {
    let mut read = |path: &Path| {
        let path = directory.join(path);
        let text = fs::read_to_string(&path);
        text.map_err(|_| io::Error::new(io::ErrorKind::NotFound, "no such file"))
    };
    match load(Path::new(name), &mut read) {
        Ok(loaded) => loaded.warnings,
        Err(diagnostics) => diagnostics,
    }
}

fn lines(diagnostic: &Diagnostic) -> Vec<String> {
    diagnostic.to_string().lines().map(str::to_owned).collect()
}
