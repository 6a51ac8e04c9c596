//! The reference of the configuration names every key that is read, and no other.

use std::{collections::BTreeMap, io, path::Path};

use ringpost_config::{Code, load};

/// Each table of the file with a key nobody knows, so that the help lists those that are known.
const DOCUMENT: &str = r#"
qqqqqqqq = 1
[control]
qqqqqqqq = 1
[dns]
qqqqqqqq = 1
[tls]
qqqqqqqq = 1
[limits]
qqqqqqqq = 1
[spool]
qqqqqqqq = 1
[logs]
qqqqqqqq = 1
[[mail_flow_policy]]
qqqqqqqq = 1
[[listener]]
qqqqqqqq = 1
[[listener.sender_group]]
qqqqqqqq = 1
[[listener.recipient]]
qqqqqqqq = 1
[filters]
qqqqqqqq = 1
[[smtp_route]]
qqqqqqqq = 1
hosts = [{ qqqqqqqq = 1 }]
[[destination]]
qqqqqqqq = 1
[bounce_profile]
qqqqqqqq = 1
[delivery]
qqqqqqqq = 1
"#;

#[test]
fn every_key_is_in_the_reference_and_no_other() {
    let mut known = known_keys();
    let documented = documented_keys();
    let hosts = known.remove("hosts").expect("hosts are read");
    known.get_mut("[[smtp_route]]").expect("routes are read").extend(hosts);
    let top = known.get_mut("").expect("the top level is read");
    // Tables of the top level have a section instead of a row.
    top.retain(|key| {
        let headings = [format!("[{key}]"), format!("[[{key}]]")];
        !headings.iter().any(|heading| documented.contains_key(heading))
    });
    for (table, keys) in &mut known {
        keys.sort();
        let mut listed = documented.get(table).cloned().unwrap_or_default();
        listed.sort();
        assert_eq!(*keys, listed, "table {table:?}: read on the left, documented on the right");
    }
    assert_eq!(known.len(), documented.len(), "{:?}", documented.keys());
}

#[test]
fn every_code_is_in_the_reference() {
    let reference = reference();
    let last = Code::BadDomain;
    for number in 1..=last as u16 {
        assert!(reference.contains(&format!("| C{number:04} | ")), "C{number:04}");
    }
    assert!(!reference.contains(&format!("C{:04}", last as u16 + 1)));
}

fn known_keys() -> BTreeMap<String, Vec<String>> {
    let mut read = |_: &Path| io::Result::Ok(DOCUMENT.to_owned());
    let diagnostics = load(Path::new("x.toml"), &mut read).expect_err("unknown keys");
    let unknown = diagnostics.into_iter().filter(|it| it.code == Code::UnknownKey);
    unknown
        .map(|diagnostic| {
            let table = diagnostic.message.rsplit_once(" in ").map_or("", |(_, table)| table);
            let help = diagnostic.help.expect("help");
            let keys = help.strip_prefix("known here: ").expect("all keys").split(", ");
            (table.to_owned(), keys.map(str::to_owned).collect())
        })
        .collect()
}

/// The first column of the tables under each heading; the top level is under no such heading.
fn documented_keys() -> BTreeMap<String, Vec<String>> {
    let mut keys: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let (mut table, mut is_list_of_keys) = (String::new(), false);
    for line in reference().lines() {
        if let Some(heading) = line.strip_prefix("### ") {
            table = heading.trim_matches('`').to_owned();
        } else if line.starts_with("| key |") {
            is_list_of_keys = true;
        } else if !line.starts_with('|') {
            is_list_of_keys = false;
        } else if let Some(row) = line.strip_prefix("| `").filter(|_| is_list_of_keys) {
            let key = row.split('`').next().expect("a first piece");
            keys.entry(table.clone()).or_default().push(key.to_owned());
        }
    }
    keys
}

fn reference() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/CONFIGURATION.md");
    std::fs::read_to_string(path).expect("the reference")
}
