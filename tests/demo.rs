//! The demonstration, run as a user runs it: the whole gateway over real sockets and a real disk.
//!
//! It judges itself; what is tested is that it finds everything good, and leaves nothing unsaid.

use std::{
    fs,
    process::{Command, Output},
};

use serde_json::Value;

#[test]
fn every_message_goes_as_it_should() {
    let output = demo("demo-good");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let outcome: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let messages = outcome["messages"].as_array().expect("a list");
    assert_eq!(messages.len(), 8, "{said}");
    for message in messages {
        assert_eq!(message["ok"], true, "{message:#}");
        assert!(message["log"].as_array().is_some_and(|log| log.len() >= 3), "{message:#}");
    }
    assert!(outcome["latency"]["total"]["count"].as_u64() > Some(0), "{outcome:#}");
    // What it made itself, it may make again.
    assert!(demo("demo-good").status.success());
}

#[test]
fn a_directory_of_somebody_else_is_left_alone() {
    let folder = format!("{}/demo-foreign", env!("CARGO_TARGET_TMPDIR"));
    fs::create_dir_all(&folder).expect("a directory");
    fs::write(format!("{folder}/thesis"), "years of work").expect("a file");
    let output = demo("demo-foreign");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(73), "{said}");
    assert!(said.contains("--dir"), "{said}");
    assert!(fs::exists(format!("{folder}/thesis")).expect("a directory"));
}

fn demo(folder: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ringpost"))
        .args(["demo", "--once", "--json", "--dir", folder])
        .current_dir(env!("CARGO_TARGET_TMPDIR"))
        .output()
        .expect("the program runs")
}
