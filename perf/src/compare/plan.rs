//! The plan that every server is measured by.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Parser, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::size::parse_size;

/// Runs the same plan against several servers and compares them.
#[derive(Clone, Debug, Parser, Serialize, Deserialize)]
#[command(name = "compare", version)]
pub struct Plan {
    /// Servers, in the order of their turns
    #[arg(long, value_delimiter = ',', default_value = "direct,postfix,ringpost")]
    pub servers: Vec<ServerName>,
    /// The built `ringpost` program
    #[arg(long, value_name = "PATH")]
    pub ringpost: Option<PathBuf>,
    /// Measured messages in each round
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub messages: u64,
    /// Messages sent before a round is measured
    #[arg(long, default_value_t = 500)]
    pub warm_up: u64,
    /// Octets of each content: 4096, 10KiB, 1MiB
    #[arg(long, default_value = "10KiB", value_parser = parse_size)]
    pub size: usize,
    /// Inbound connections at once
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=2000))]
    pub connections: u32,
    /// Messages a second offered by the source; 0 is as fast as they are answered
    #[arg(long, default_value_t = 0.0, value_name = "MESSAGES_PER_SECOND")]
    pub rate: f64,
    /// Source addresses the connections come from
    #[arg(long, default_value_t = 8)]
    pub clients: u32,
    /// Whether the source uses PIPELINING
    #[arg(long, default_value_t = true, action = ArgAction::Set, value_name = "true|false")]
    pub pipelining: bool,
    /// Rounds; medians are quoted
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: u32,
    /// Connections of the server to the sink at once
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub destination_connections: u32,
    /// Messages on one connection to the sink; 0 is as many as the server can
    #[arg(long, default_value_t = 0)]
    pub messages_per_connection: u32,
    /// A setting for Postfix's main.cf above the plan's own; may be given several times
    #[arg(long, value_name = "NAME=VALUE")]
    pub postfix_setting: Vec<String>,
    /// Seconds for the messages of one round to arrive
    #[arg(long, default_value_t = 300, value_name = "SECONDS")]
    pub max_time: u64,
    /// Directory on a real disk for queues, logs and reports
    #[arg(long, value_name = "DIR", default_value = "target/perf")]
    pub data_dir: PathBuf,
    /// Keeps the servers' directories with their logs and queues
    #[arg(long)]
    pub keep: bool,
    /// Writes the comparison here (Markdown), and as JSON beside it
    #[arg(long, value_name = "FILE.md")]
    pub output: Option<PathBuf>,
}

impl Plan {
    pub fn max_time(&self) -> Duration {
        Duration::from_secs(self.max_time)
    }
}

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServerName {
    /// No server: the source sends straight to the sink, which is the ceiling.
    Direct,
    Postfix,
    Ringpost,
}

impl fmt::Display for ServerName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Direct => "direct",
            Self::Postfix => "postfix",
            Self::Ringpost => "ringpost",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_plan_is_the_published_one() {
        let plan = Plan::try_parse_from(["compare"]).expect("nothing is required");
        assert_eq!((plan.messages, plan.size, plan.connections), (20_000, 10_240, 50));
        assert_eq!((plan.rounds, plan.destination_connections), (3, 10));
        assert!(plan.pipelining);
        assert_eq!(plan.servers.len(), 3);
    }
}
