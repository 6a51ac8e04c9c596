//! What can be asked of a source on its command line, and whether that makes sense.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use crate::date;
use crate::message::{AddressPattern, MessagePattern, RECIPIENTS_MAX};
use crate::size::parse_size;
use crate::token::RunId;

/// Sends mail to an SMTP server over many connections and measures how it answers.
#[derive(Clone, Debug, Parser)]
#[command(name = "source", version)]
pub struct Options {
    /// The server, as address and port
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub server: SocketAddr,
    /// Connections open at once
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub connections: u32,
    /// Messages to send in all
    #[arg(long, default_value_t = 1000)]
    pub messages: u64,
    /// Octets of each content: 4096, 10KiB, 1MiB
    #[arg(long, default_value = "10KiB", value_parser = parse_size)]
    pub size: usize,
    /// Messages a second over all connections; 0 sends as fast as the server answers
    #[arg(long, default_value_t = 0.0, value_name = "MESSAGES_PER_SECOND", value_parser = rate)]
    pub rate: f64,
    /// Messages on one connection before it is closed and opened anew; 0 is unlimited
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub messages_per_connection: u64,
    /// Source addresses, 127.1.x.y, that connections come from in turn; 0 binds none
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=60_000))]
    pub clients: u32,
    /// Reverse-path; `%d` in it is the number of the message; empty is the null reverse-path
    #[arg(long, default_value = "sender@perf.example", value_parser = AddressPattern::parse)]
    pub from: AddressPattern,
    /// Recipient, may be given several times; `%d` in it is the number of the message
    #[arg(long, default_value = "recipient@perf.example", value_parser = recipient)]
    pub to: Vec<AddressPattern>,
    /// Sends MAIL, RCPT and DATA in one write where the server offers PIPELINING
    #[arg(long)]
    pub pipelining: bool,
    /// The name given in EHLO
    #[arg(long, default_value = "source.perf.example", value_parser = domain)]
    pub helo: String,
    /// Name of this run, the first part of its tokens; made from process id and time if absent
    #[arg(long, value_name = "ID", value_parser = RunId::parse)]
    pub run: Option<RunId>,
    /// Seconds to wait for a connection or a reply, and to go on retrying
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    pub timeout: u64,
    /// Retries what is refused with 4xx, and refused connections, until the timeout
    #[arg(long)]
    pub retry: bool,
    /// Survives restarts of the server: connects again until the messages are used up
    #[arg(long)]
    pub keep_going: bool,
    /// Seconds after which the source stops, whatever is left
    #[arg(long, default_value_t = 300, value_name = "SECONDS")]
    pub max_time: u64,
    /// Writes the tokens that were answered 250 here, one a line
    #[arg(long, value_name = "FILE")]
    pub accepted: Option<PathBuf>,
    /// Writes the latency distribution from final dot to 250 here (hgrm, microseconds)
    #[arg(long, value_name = "FILE")]
    pub histogram: Option<PathBuf>,
    /// Prints the report as JSON
    #[arg(long)]
    pub json: bool,
}

impl Options {
    /// The pattern of all messages, or why these options contradict each other.
    pub fn message_pattern(&self) -> Result<MessagePattern, String> {
        if self.to.len() > RECIPIENTS_MAX {
            return Err(format!("a message has at most {RECIPIENTS_MAX} recipients"));
        }
        let loopback_v4 = matches!(self.server.ip(), IpAddr::V4(ip) if ip.octets()[0] == 127);
        if self.clients > 0 && !loopback_v4 {
            return Err("--clients needs a server in 127.0.0.0/8".to_owned());
        }
        let pattern = MessagePattern {
            run: self.run.clone().unwrap_or_else(RunId::of_this_process),
            from: self.from.clone(),
            to: self.to.clone(),
            domain: self.helo.clone(),
            date: date::rfc5322(date::unix_microseconds() / 1_000_000),
            size: self.size,
        };
        let size_min = pattern.size_min(self.messages);
        if self.size < size_min {
            return Err(format!("--size must be at least {size_min} for these headers"));
        }
        Ok(pattern)
    }

    /// The address that a connection comes from, if it is to be a certain one.
    pub fn client_address(&self, connection: u32) -> Option<Ipv4Addr> {
        let client = connection.checked_rem(self.clients)? + 1;
        let [_, _, high, low] = client.to_be_bytes();
        Some(Ipv4Addr::new(127, 1, high, low))
    }

    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (0.0..=RATE_MAX).contains(&rate) => Ok(rate),
        _ => Err(format!("a rate is a number from 0 to {RATE_MAX}")),
    }
}

fn recipient(text: &str) -> Result<AddressPattern, String> {
    if text.is_empty() {
        return Err("a recipient has an address".to_owned());
    }
    AddressPattern::parse(text)
}

fn domain(text: &str) -> Result<String, String> {
    let fits = (1..=DOMAIN_LENGTH_MAX).contains(&text.len());
    let safe = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'<' | b'>');
    if fits && text.bytes().all(safe) {
        return Ok(text.to_owned());
    }
    Err(format!("a name has 1 to {DOMAIN_LENGTH_MAX} printable characters"))
}

const RATE_MAX: f64 = 1_000_000.0;

/// Octets of a domain (RFC 5321 4.5.3.1.2).
const DOMAIN_LENGTH_MAX: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    fn options(arguments: &[&str]) -> Options {
        let fixed = ["source", "--server", "127.0.0.1:2525"];
        Options::try_parse_from(fixed.iter().chain(arguments)).expect("the arguments are right")
    }

    #[test]
    fn connections_come_from_the_clients_in_turn() {
        let options = options(&["--clients", "300"]);
        assert_eq!(options.client_address(0), Some(Ipv4Addr::new(127, 1, 0, 1)));
        assert_eq!(options.client_address(299), Some(Ipv4Addr::new(127, 1, 1, 44)));
        assert_eq!(options.client_address(300), Some(Ipv4Addr::new(127, 1, 0, 1)));
    }

    #[test]
    fn without_clients_no_address_is_bound() {
        assert_eq!(options(&[]).client_address(7), None);
    }

    #[test]
    fn a_content_must_hold_its_header() {
        assert!(options(&["--size", "100"]).message_pattern().is_err());
        assert!(options(&["--size", "1KiB"]).message_pattern().is_ok());
    }

    #[test]
    fn clients_need_a_loopback_server() {
        let mut options = options(&["--clients", "3"]);
        assert!(options.message_pattern().is_ok());
        options.server = SocketAddr::from(([192, 0, 2, 1], 25));
        assert!(options.message_pattern().is_err());
    }
}
