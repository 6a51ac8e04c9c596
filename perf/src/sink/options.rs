//! What can be asked of a sink on its command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;

/// Takes mail as the next hop of a server under test, and accounts for every message.
#[derive(Clone, Debug, Parser)]
#[command(name = "sink", version)]
pub struct Options {
    /// Where to listen; port 0 takes a free one and prints it
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:2526")]
    pub listen: SocketAddr,
    /// Ends with exit code 0 when so many different tokens have arrived
    #[arg(long, value_name = "N")]
    pub expect: Option<u64>,
    /// Milliseconds to wait for duplicates when all that is expected has arrived
    #[arg(long, value_name = "MS", default_value_t = 500)]
    pub linger: u64,
    /// Seconds after which the sink ends in any case
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    pub max_time: u64,
    /// Writes the counts here as JSON, each second and at the end
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Writes the token of each accepted message here, one a line
    #[arg(long, value_name = "FILE")]
    pub received: Option<PathBuf>,
    /// Milliseconds between the final dot and its reply
    #[arg(long, value_name = "MS", default_value_t = 0)]
    pub reply_delay: u64,
    /// Probability (0 to 1) of 451 at the final dot
    #[arg(long, value_name = "P", default_value_t = 0.0, value_parser = probability)]
    pub temporary_failure: f64,
    /// Answers 450 to the first attempt of each pair of sender and recipient
    #[arg(long)]
    pub greylist: bool,
    /// Probability (0 to 1) of closing the connection instead of answering the final dot
    #[arg(long, value_name = "P", default_value_t = 0.0, value_parser = probability)]
    pub drop_at_dot: f64,
    /// Offers STARTTLS with a certificate made at the start
    #[arg(long)]
    pub starttls: bool,
    /// Decides what happens by chance
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Extensions to offer
    #[arg(long, value_delimiter = ',', default_values = EXTENSIONS)]
    pub extensions: Vec<String>,
    /// Writes each content byte for byte to DIR, named by its token
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,
}

fn probability(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(probability) if (0.0..=1.0).contains(&probability) => Ok(probability),
        _ => Err("a probability is a number from 0 to 1".to_owned()),
    }
}

const EXTENSIONS: [&str; 7] = [
    "PIPELINING",
    "SIZE 134217728",
    "8BITMIME",
    "SMTPUTF8",
    "CHUNKING",
    "DSN",
    "ENHANCEDSTATUSCODES",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::size::CONTENT_SIZE_MAX;

    #[test]
    fn offers_what_it_can_do() {
        let options = Options::try_parse_from(["sink"]).expect("nothing is required");
        assert!(options.extensions.contains(&format!("SIZE {CONTENT_SIZE_MAX}")));
        let options = Options::try_parse_from(["sink", "--extensions", "PIPELINING,DSN"]);
        assert_eq!(options.expect("a list").extensions, ["PIPELINING", "DSN"]);
    }

    #[test]
    fn probabilities_are_probabilities() {
        assert!(Options::try_parse_from(["sink", "--drop-at-dot", "1.5"]).is_err());
        assert!(Options::try_parse_from(["sink", "--drop-at-dot", "NaN"]).is_err());
    }
}
