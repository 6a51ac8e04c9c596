//! The gateway under test: the built binary, its configuration, its log, its end.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde_json::Value;

use crate::{
    conversation::Conversation,
    directory::Directory,
    dns::Dns,
    patience::{seconds, until},
    process::{Process, free_port, output, succeed},
};

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_ringpost");

pub(crate) struct Gateway<'a> {
    directory: &'a Directory,
    process: Process,
    configuration: PathBuf,
    pub(crate) port: u16,
}

/// What a gateway is configured with beyond the tables of its test.
pub(crate) struct Setting<'a> {
    pub(crate) directory: &'a Directory,
    pub(crate) workers: u16,
    /// Without it every client's name would be waited for.
    pub(crate) dns: Dns,
    pub(crate) port: u16,
    pub(crate) tables: String,
}

impl<'a> Setting<'a> {
    /// A gateway that relays for all of loopback, and more, as the tables say.
    pub(crate) fn relay(directory: &'a Directory, tables: &str) -> Self {
        let port = free_port();
        let tables = format!("{}{tables}", relay_listener(port));
        Self { directory, workers: 2, dns: Dns::start(directory), port, tables }
    }

    /// A gateway whose listener on `port` is in the tables.
    pub(crate) fn with_listener(directory: &'a Directory, port: u16, tables: String) -> Self {
        Self { directory, workers: 2, dns: Dns::start(directory), port, tables }
    }

    /// Starts the gateway and waits until it takes mail.
    pub(crate) fn start(&self) -> Gateway<'a> {
        let configuration = self.directory.write("gateway.toml", self.text());
        Gateway::of_file(self.directory, configuration, self.port)
    }

    /// Starts the process, whatever becomes of it.
    pub(crate) fn spawn(&self, name: &str) -> Process {
        let configuration = self.directory.write(&format!("{name}.toml"), self.text());
        run(name, &configuration, self.directory)
    }

    fn text(&self) -> String {
        let Self { workers, tables, .. } = self;
        let dns = self.dns.port;
        let directory = self.directory.path().display();
        format!(
            r#"hostname = "gateway.example"
data_dir = "{directory}/data"
workers = {workers}

[dns]
servers = ["127.0.0.1:{dns}"]
timeout = "1s"
attempts = 1

[logs]
mail_logs = "{directory}/mail_logs"

{tables}"#
        )
    }
}

impl<'a> Gateway<'a> {
    /// Starts the gateway of a configuration file and waits until it takes mail.
    pub(crate) fn of_file(directory: &'a Directory, configuration: PathBuf, port: u16) -> Self {
        let mut process = run("gateway", &configuration, directory);
        until(seconds(30), "the gateway takes mail", || {
            let said = process.err();
            let ended = process.ended();
            assert!(ended.is_none(), "the gateway ended: {ended:?}\n{said}");
            said.contains("taking mail").then_some(())
        });
        Self { directory, process, configuration, port }
    }

    /// A client that has greeted.
    pub(crate) fn client(&self) -> Conversation {
        let mut client = Conversation::open(self.port);
        client.expect("220 ");
        client.ask("EHLO client.example", "250-gateway.example");
        client
    }

    pub(crate) fn mail_logs(&self) -> String {
        fs::read_to_string(self.directory.join("mail_logs")).unwrap_or_default()
    }

    /// Waits for a line of the log that has all of the texts in it, in this order.
    pub(crate) fn wait_for_line(&self, texts: &[&str]) -> String {
        let mut log = String::new();
        let end = std::time::Instant::now() + seconds(30);
        while std::time::Instant::now() < end {
            log = self.mail_logs();
            if let Some(line) = log.lines().find(|line| has_in_order(line, texts)) {
                return line.to_owned();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("no line with {texts:?} in:\n{log}");
    }

    pub(crate) fn status(&self) -> Value {
        let mut command = Command::new(BINARY);
        command.args(["status", "--json", "--config"]).arg(&self.configuration);
        serde_json::from_str(&succeed(&mut command)).expect("status is JSON")
    }

    /// Waits until nothing is queued any more.
    pub(crate) fn wait_until_empty(&self, limit: Duration) {
        until(limit, "an empty queue", || {
            (self.status()["gauges"]["messages_queued"] == 0).then_some(())
        });
    }

    pub(crate) fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    pub(crate) fn kill(mut self) {
        self.process.kill();
    }

    /// SIGTERM; the gateway must end by itself, and well.
    pub(crate) fn stop(mut self) {
        self.process.terminate();
        let status = self.process.wait(seconds(40));
        assert_eq!(status.code(), Some(0), "{}", self.process.err());
    }
}

/// The exit code and the standard error of `ringpost` with these arguments.
pub(crate) fn ringpost(arguments: &[&str]) -> (Option<i32>, String) {
    let output = output(Command::new(BINARY).args(arguments));
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// A listener that relays for everybody on loopback, with limits that no test reaches.
pub(crate) fn relay_listener(port: u16) -> String {
    format!(
        r#"[[mail_flow_policy]]
name = "RELAYED"
behavior = "relay"
max_messages_per_connection = 1000000
max_connections_per_ip = 10000
max_message_size = "64MiB"
tls = "preferred"

[[listener]]
name = "Relay"
addresses = ["127.0.0.1:{port}"]
kind = "private"

  [[listener.sender_group]]
  name = "RELAYLIST"
  policy = "RELAYED"
  senders = ["127.0.0.0/8"]

"#
    )
}

/// All mail for a domain goes to a port of loopback.
pub(crate) fn route(domain: &str, port: u16) -> String {
    format!(
        "[[smtp_route]]\ndomain = \"{domain}\"\n\
         hosts = [{{ host = \"127.0.0.1\", port = {port} }}]\n\n"
    )
}

/// The limits of all destinations.
pub(crate) fn limits(connections: u32, messages: u32) -> String {
    format!(
        "[[destination]]\ndomain = \"Default\"\nmax_connections = {connections}\n\
         max_messages_per_connection = {messages}\n\n"
    )
}

fn has_in_order(line: &str, texts: &[&str]) -> bool {
    let mut rest = line;
    texts.iter().all(|text| match rest.find(text) {
        Some(at) => {
            rest = &rest[at + text.len()..];
            true
        }
        None => false,
    })
}

fn run(name: &str, configuration: &Path, directory: &Directory) -> Process {
    let mut command = Command::new(BINARY);
    command.arg("run").arg("--config").arg(configuration);
    Process::start(name, &mut command, directory)
}
