//! Ringpost as it is built: configuration, start, version.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

use super::plan::Plan;
use super::programs::{Program, free_port};

/// Why Ringpost cannot be measured here, if so.
pub fn obstacle(plan: &Plan) -> Option<String> {
    match &plan.ringpost {
        None => Some("no program was given (`--ringpost PATH`)".to_owned()),
        Some(path) if !path.is_file() => Some(format!("{} is no program", path.display())),
        Some(_) => None,
    }
}

/// The version, as the program says it.
pub fn version(program: &Path) -> io::Result<String> {
    let output = Command::new(program).arg("--version").output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Writes the configuration below an absolute directory and starts the program.
pub fn start(
    plan: &Plan,
    program: &Path,
    directory: &Path,
    port: u16,
    sink_port: u16,
) -> io::Result<Program> {
    let file = directory.join("ringpost.toml");
    let configuration = ringpost_configuration(plan, directory, port, sink_port, free_port()?);
    fs::write(&file, configuration)?;
    let mut command = Command::new(program);
    command.arg("run").arg("--config").arg(&file);
    Program::start("ringpost", &mut command, directory)
}

/// The configuration for a plan: everything from loopback is relayed to the sink.
fn ringpost_configuration(
    plan: &Plan,
    directory: &Path,
    port: u16,
    sink_port: u16,
    dns_port: u16,
) -> String {
    let directory = directory.display();
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let max_connections = plan.destination_connections;
    let max_messages = match plan.messages_per_connection {
        0 => MESSAGES_PER_CONNECTION_MAX,
        limit => limit,
    };
    format!(
        r#"hostname = "mx.perf.example"
data_dir = "{directory}/data"
workers = {workers}

[dns]
servers = ["127.0.0.1:{dns_port}"]
timeout = "1s"
attempts = 1

[logs]
mail_logs = "{directory}/mail_logs"

[[mail_flow_policy]]
name = "RELAYED"
behavior = "relay"
max_messages_per_connection = 100000
max_connections_per_ip = 1000

[[listener]]
name = "Perf"
addresses = ["127.0.0.1:{port}"]
kind = "private"

  [[listener.sender_group]]
  name = "RELAYLIST"
  policy = "RELAYED"
  senders = ["127.0.0.0/8"]

[[smtp_route]]
domain = "ALL"
hosts = [{{ host = "127.0.0.1", port = {sink_port} }}]

[[destination]]
domain = "Default"
max_connections = {max_connections}
max_messages_per_connection = {max_messages}
"#
    )
}

/// The most messages a destination may take on one connection, where the plan says unlimited.
const MESSAGES_PER_CONNECTION_MAX: u32 = 1000;

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[test]
    fn the_configuration_follows_the_plan() {
        let arguments = ["compare", "--destination-connections", "7"];
        let plan = Plan::try_parse_from(arguments).expect("the arguments are right");
        let text = ringpost_configuration(&plan, Path::new("/data/x"), 2525, 2526, 5300);
        for line in [
            "data_dir = \"/data/x/data\"",
            "addresses = [\"127.0.0.1:2525\"]",
            "hosts = [{ host = \"127.0.0.1\", port = 2526 }]",
            "max_connections = 7",
            "max_messages_per_connection = 1000",
        ] {
            assert!(text.lines().any(|written| written == line), "{line}");
        }
    }
}
