//! The command line, as users know it: verbs, flags, help.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};

/// A durable, sharded mail gateway that stands in front of Microsoft 365.
#[derive(Debug, Parser)]
#[command(name = "ringpost", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Show the whole job on this machine: a gateway, a tenant, an Internet, mail both ways
    Demo(Demo),
    /// Run the gateway in the foreground
    Run(Config),
    /// Report every error of a configuration at once, with file, line, column and help
    Check(Check),
    /// Write a complete configuration
    #[command(subcommand)]
    Init(Init),
    /// Say how a running gateway is doing: counters, gauges, latency by stage
    Status(Status),
}

#[derive(Args, Debug)]
pub(crate) struct Demo {
    /// Stop when all messages have been accounted for; exit 0 only if each went as it should
    #[arg(long)]
    pub(crate) once: bool,
    /// Where the gateway keeps its spool and logs; an earlier demonstration there is removed
    #[arg(long, value_name = "DIR", default_value = "ringpost-demo")]
    pub(crate) dir: PathBuf,
    /// Print the outcome as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Config {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,
}

#[derive(Args, Debug)]
pub(crate) struct Check {
    #[command(flatten)]
    pub(crate) config: Config,
    /// Print the diagnostics as JSON, one object a line
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Status {
    /// The configuration file of the running gateway; its control socket is named there
    #[arg(long, value_name = "FILE", required_unless_present = "socket")]
    pub(crate) config: Option<PathBuf>,
    /// The control socket, instead of a configuration file
    #[arg(long, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Init {
    /// In front of Microsoft 365: inbound from the Internet, outbound from Exchange Online
    M365(Box<M365>),
}

#[derive(Args, Debug)]
pub(crate) struct M365 {
    /// A domain of the tenant; may be given several times
    #[arg(long, value_name = "D", required = true)]
    pub(crate) domain: Vec<String>,
    /// The tenant's own mail exchanger, as in contoso-example.mail.protection.outlook.com
    #[arg(long, value_name = "HOST[:PORT]")]
    pub(crate) tenant_host: String,
    /// The gateway's name in greetings and trace headers
    #[arg(long, value_name = "H")]
    pub(crate) hostname: Option<String>,
    /// The header by which the tenant proves outgoing mail is its own
    #[arg(long, value_name = "NAME", default_value = "X-OUTBOUND-AUTH")]
    pub(crate) secret_header: String,
    /// A file holding the secret; without it a new one is made and printed in the configuration
    #[arg(long, value_name = "F")]
    pub(crate) secret_file: Option<PathBuf>,
    /// Where spool, logs and control socket live
    #[arg(long, value_name = "DIR", default_value = "/var/lib/ringpost")]
    pub(crate) data_dir: PathBuf,
    /// Where mail from the Internet arrives
    #[arg(long, value_name = "ADDR", default_value = "0.0.0.0:25")]
    pub(crate) inbound: SocketAddr,
    /// Where mail from Exchange Online arrives; the same address as --inbound is one listener
    #[arg(long, value_name = "ADDR", default_value = "0.0.0.0:25")]
    pub(crate) outbound: SocketAddr,
    /// Where the administration interface will listen
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8443")]
    pub(crate) admin: SocketAddr,
    /// A DNS server; may be given several times; the system's when absent
    #[arg(long, value_name = "ADDR")]
    pub(crate) dns: Vec<SocketAddr>,
    /// A HAT entry whose clients may relay; may be given several times
    #[arg(long, value_name = "SENDER", default_value = ".protection.outlook.com")]
    pub(crate) relay_sender: Vec<String>,
    /// Send outgoing mail through this host instead of the recipients' exchangers
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) smarthost: Option<String>,
    /// What TLS toward the tenant must be
    #[arg(long, value_enum, default_value_t = TenantTls::Required)]
    pub(crate) tenant_tls: TenantTls,
    /// Shards; one a core when absent
    #[arg(long, value_name = "N")]
    pub(crate) workers: Option<u16>,
    /// Where to write the configuration; never overwrites
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum TenantTls {
    None,
    Preferred,
    Required,
    Verify,
}
