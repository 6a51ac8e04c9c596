//! `ringpost status`: asks a running gateway over its control socket and prints the answer.

use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use ringpost_core::latency::Stage;
use serde_json::Value;

use crate::{check, cli::Status, exit::Exit};

pub(crate) fn run(options: &Status) -> Exit {
    let Some(socket) = socket(options) else {
        return Exit::Configuration;
    };
    let answer = match ask(&socket) {
        Ok(answer) => answer,
        Err(error) => {
            eprintln!("ringpost: no gateway answers at {}: {error}", socket.display());
            return Exit::Unavailable;
        }
    };
    let text = if options.json { format!("{answer:#}\n") } else { render(&answer) };
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => Exit::Ok,
        Err(_) => Exit::System,
    }
}

fn socket(options: &Status) -> Option<PathBuf> {
    if let Some(socket) = &options.socket {
        return Some(socket.clone());
    }
    let config = options.config.as_ref().expect("clap requires one of the two");
    Some(check::load(config)?.control.socket)
}

/// The answer of the gateway at `socket` to `status`.
pub(crate) fn ask(socket: &Path) -> io::Result<Value> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.write_all(b"status\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    serde_json::from_str(&text).map_err(io::Error::other)
}

fn render(status: &Value) -> String {
    let text = |key: &str| status[key].as_str().unwrap_or("?").to_owned();
    let uptime = status["uptime_seconds"].as_u64().unwrap_or(0);
    let mut out = format!(
        "System status:  {}\nVersion:        {}\nUptime:         {}\n",
        text("system_status"),
        text("version"),
        duration(uptime),
    );
    out.push_str("\nCounters since the start\n");
    table(&mut out, &status["counters"]);
    out.push_str("\nGauges\n");
    table(&mut out, &status["gauges"]);
    out.push('\n');
    out.push_str(&latency_table(&status["latency"]));
    out
}

/// The latency of each stage as a table: where the time of a message goes.
pub(crate) fn latency_table(latency: &Value) -> String {
    let mut out = format!(
        "{:<14}{:>10}{:>12}{:>12}{:>12}{:>12}{:>12}\n",
        "Stage", "count", "p50", "p90", "p99", "p99.9", "max"
    );
    for stage in Stage::ALL.map(Stage::as_str) {
        let values = &latency[stage];
        let micros = |key: &str| span(values[key].as_u64().unwrap_or(0));
        let count = values["count"].as_u64().unwrap_or(0);
        let columns = ["p50_us", "p90_us", "p99_us", "p999_us", "max_us"].map(micros);
        out.push_str(&format!("{stage:<14}{count:>10}"));
        for column in columns {
            out.push_str(&format!("{column:>12}"));
        }
        out.push('\n');
    }
    out
}

fn table(out: &mut String, values: &Value) {
    for (name, value) in values.as_object().into_iter().flatten() {
        let name = name.replace('_', " ");
        out.push_str(&format!("  {name:<32}{value:>14}\n"));
    }
}

fn span(micros: u64) -> String {
    match micros {
        0..1_000 => format!("{micros} us"),
        1_000..1_000_000 => format!("{}.{:02} ms", micros / 1_000, micros % 1_000 / 10),
        _ => format!("{}.{:02} s", micros / 1_000_000, micros % 1_000_000 / 10_000),
    }
}

fn duration(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    format!("{days}d {hours}h {minutes}m {}s", seconds % 60)
}

const TIMEOUT: Duration = Duration::from_secs(10);
