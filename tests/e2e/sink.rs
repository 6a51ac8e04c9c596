//! The next hop that accounts for every message: the `sink` of the load tools, and its `source`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde_json::Value;

use crate::{
    directory::Directory,
    gateway::BINARY,
    patience::{seconds, until},
    process::{Process, output},
};

pub(crate) struct Sink {
    process: Process,
    folder: PathBuf,
    pub(crate) port: u16,
}

impl Sink {
    /// A sink that keeps contents and tokens.
    pub(crate) fn keeping(directory: &Directory, arguments: &[&str]) -> Self {
        let keep = directory.folder("kept");
        let keep = keep.to_str().expect("our paths are ASCII");
        Self::start(directory, &[&["--keep", keep], arguments].concat())
    }

    /// The same at a certain address and port.
    pub(crate) fn keeping_at(directory: &Directory, address: &str) -> Self {
        let keep = directory.folder("kept");
        let keep = keep.to_str().expect("our paths are ASCII");
        Self::start_at(directory, address, &["--keep", keep])
    }

    pub(crate) fn start(directory: &Directory, arguments: &[&str]) -> Self {
        Self::start_at(directory, "127.0.0.1:0", arguments)
    }

    /// A sink at a certain address and port.
    pub(crate) fn start_at(directory: &Directory, address: &str, arguments: &[&str]) -> Self {
        let folder = directory.path().to_owned();
        let mut command = Command::new(tool("sink"));
        command.args(["--listen", address, "--max-time", "600"]).args(arguments);
        command.arg("--report").arg(folder.join("sink.json"));
        command.arg("--received").arg(folder.join("received"));
        let process = Process::start("sink", &mut command, directory);
        let port = until(seconds(10), "the sink listens", || {
            let said = process.out();
            said.lines().next()?.rsplit_once(':')?.1.parse().ok()
        });
        Self { process, folder, port }
    }

    /// How often each token has arrived until now.
    pub(crate) fn received(&self) -> BTreeMap<String, u32> {
        let mut counts = BTreeMap::new();
        for token in tokens(&self.folder.join("received")) {
            *counts.entry(token).or_default() += 1;
        }
        counts
    }

    /// The content of a message, once it has come.
    pub(crate) fn content(&self, token: &str) -> Vec<u8> {
        let path = self.folder.join("kept").join(token);
        until(seconds(60), &format!("{token} arrives"), || fs::read(&path).ok())
    }

    /// The files of what has come.
    pub(crate) fn kept(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.folder.join("kept")).expect("the sink keeps contents");
        let paths = entries.map(|entry| entry.expect("an entry").path());
        let mut paths: Vec<_> =
            paths.filter(|path| path.extension().is_none_or(|it| it != "unfinished")).collect();
        paths.sort();
        paths
    }

    /// Waits for so many different tokens, and a moment longer for duplicates.
    pub(crate) fn wait_for(&self, count: usize, limit: Duration) {
        until(limit, &format!("{count} messages arrive"), || {
            (self.received().len() >= count).then_some(())
        });
        std::thread::sleep(Duration::from_millis(500));
    }

    /// Ends it; returns its report.
    pub(crate) fn finish(mut self) -> Value {
        self.process.terminate();
        self.process.wait(seconds(10));
        let report = fs::read_to_string(self.folder.join("sink.json")).expect("a report");
        serde_json::from_str(&report).expect("the report is JSON")
    }
}

/// Runs a source to its end; returns its report.
pub(crate) fn source(port: u16, arguments: &[&str]) -> Value {
    let mut command = source_command(port);
    let output = output(command.args(arguments));
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)))
}

pub(crate) fn source_command(port: u16) -> Command {
    let mut command = Command::new(tool("source"));
    command.args(["--json", "--pipelining", "--server", &format!("127.0.0.1:{port}")]);
    command.args(["--from", "a@sender.example", "--to", "b@remote.example"]);
    command
}

/// The tokens of a file, one a line; a line that is still being written is left out.
pub(crate) fn tokens(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(str::to_owned).collect()
}

/// Those tokens that were promised and have not come.
pub(crate) fn missing(promised: &Path, received: &BTreeMap<String, u32>) -> BTreeSet<String> {
    tokens(promised).into_iter().filter(|token| !received.contains_key(token)).collect()
}

/// The content as it was sent: what came less the one field that a gateway must add.
#[track_caller]
pub(crate) fn without_received(content: &[u8]) -> &[u8] {
    assert!(content.starts_with(b"Received: "), "{:?}", String::from_utf8_lossy(content));
    let mut end = 0;
    for line in content.split_inclusive(|octet| *octet == b'\n') {
        if end > 0 && !matches!(line.first(), Some(b' ' | b'\t')) {
            break;
        }
        end += line.len();
    }
    &content[end..]
}

fn tool(name: &str) -> PathBuf {
    let path = Path::new(BINARY).with_file_name(name);
    let hint = "build the tools first: cargo build --release --workspace --bins";
    assert!(path.exists(), "{} is missing; {hint}", path.display());
    path
}
