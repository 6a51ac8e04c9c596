//! What has arrived, message by message and connection by connection. A message that arrives
//! twice is as much a fault of a server as one that never does, so every token is remembered.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

/// One accepted message.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    pub token: Option<&'a [u8]>,
    pub octets: u64,
    pub recipients: u64,
    /// Which message of its connection it is, from 1.
    pub of_connection: u64,
    pub unix_microseconds: u64,
}

/// Everything a sink counts.
#[derive(Debug, Default)]
pub struct Arrivals {
    /// How often each token has arrived.
    tokens: HashMap<Box<[u8]>, u32>,
    report: SinkReport,
    open: u64,
}

impl Arrivals {
    pub fn connection_opened(&mut self) {
        self.open += 1;
        self.report.connections += 1;
        self.report.connections_simultaneous_max =
            self.report.connections_simultaneous_max.max(self.open);
    }

    pub fn connection_closed(&mut self) {
        assert!(self.open > 0, "only an open connection is closed");
        self.open -= 1;
    }

    pub fn connections_open(&self) -> u64 {
        self.open
    }

    /// Counts a message, and returns how often its token has arrived by now.
    pub fn record(&mut self, arrival: Arrival<'_>) -> u32 {
        let report = &mut self.report;
        report.messages += 1;
        report.octets += arrival.octets;
        report.recipients_of_transaction_max =
            report.recipients_of_transaction_max.max(arrival.recipients);
        report.messages_of_connection_max =
            report.messages_of_connection_max.max(arrival.of_connection);
        report.first_arrival_unix_microseconds.get_or_insert(arrival.unix_microseconds);
        report.last_arrival_unix_microseconds = Some(arrival.unix_microseconds);
        match arrival.token {
            Some(token) => self.count_token(token),
            None => {
                report.without_token += 1;
                1
            }
        }
    }

    pub fn record_temporary_failure(&mut self) {
        self.report.temporary_failures += 1;
    }

    pub fn record_drop(&mut self) {
        self.report.dropped_at_dot += 1;
    }

    pub fn record_greylisted(&mut self, recipients: u64) {
        self.report.recipients_greylisted += recipients;
    }

    pub fn unique(&self) -> u64 {
        self.report.unique
    }

    /// The counts so far.
    pub fn report(&self) -> &SinkReport {
        &self.report
    }

    fn count_token(&mut self, token: &[u8]) -> u32 {
        let report = &mut self.report;
        if let Some(count) = self.tokens.get_mut(token) {
            *count += 1;
            report.duplicates += 1;
            if *count == 2 && report.duplicate_tokens.len() < DUPLICATES_LISTED_MAX {
                report.duplicate_tokens.push(String::from_utf8_lossy(token).into_owned());
            }
            return *count;
        }
        if self.tokens.len() < TOKENS_MAX {
            self.tokens.insert(token.into(), 1);
            report.unique += 1;
        } else {
            report.not_remembered += 1;
        }
        1
    }
}

/// What a sink reports.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SinkReport {
    /// Messages accepted, duplicates included.
    pub messages: u64,
    /// Different tokens among them.
    pub unique: u64,
    /// Arrivals of a token after its first.
    pub duplicates: u64,
    /// Tokens that arrived more than once, the first hundred of them.
    pub duplicate_tokens: Vec<String>,
    pub without_token: u64,
    /// Messages beyond the number of tokens a sink remembers.
    pub not_remembered: u64,
    pub temporary_failures: u64,
    pub dropped_at_dot: u64,
    pub recipients_greylisted: u64,
    pub connections: u64,
    pub connections_simultaneous_max: u64,
    pub messages_of_connection_max: u64,
    pub recipients_of_transaction_max: u64,
    /// Octets of all accepted contents.
    pub octets: u64,
    pub first_arrival_unix_microseconds: Option<u64>,
    pub last_arrival_unix_microseconds: Option<u64>,
}

/// Tokens a sink remembers; a hundred octets each.
pub const TOKENS_MAX: usize = 20_000_000;

/// Duplicates that a report names.
pub const DUPLICATES_LISTED_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn arrival(token: Option<&[u8]>, at: u64) -> Arrival<'_> {
        Arrival { token, octets: 10, recipients: 1, of_connection: 1, unix_microseconds: at }
    }

    #[test]
    fn a_token_that_comes_again_is_a_duplicate() {
        let mut arrivals = Arrivals::default();
        let seen: Vec<u32> =
            [b"a-1", b"a-2", b"a-1", b"a-1"].map(|t| arrivals.record(arrival(Some(t), 5))).into();
        assert_eq!(seen, [1, 1, 2, 3]);
        let report = arrivals.report();
        assert_eq!((report.messages, report.unique, report.duplicates), (4, 2, 2));
        assert_eq!(report.duplicate_tokens, ["a-1"]);
    }

    #[test]
    fn the_list_of_duplicates_is_bounded() {
        let mut arrivals = Arrivals::default();
        for number in 0..DUPLICATES_LISTED_MAX + 50 {
            let token = number.to_string();
            arrivals.record(arrival(Some(token.as_bytes()), 1));
            arrivals.record(arrival(Some(token.as_bytes()), 1));
        }
        let report = arrivals.report();
        assert_eq!(report.duplicate_tokens.len(), DUPLICATES_LISTED_MAX);
        assert_eq!(report.duplicates, DUPLICATES_LISTED_MAX as u64 + 50);
    }

    #[test]
    fn maxima_and_times_are_kept() {
        let mut arrivals = Arrivals::default();
        arrivals.connection_opened();
        arrivals.connection_opened();
        arrivals.connection_closed();
        arrivals.connection_opened();
        arrivals.record(arrival(None, 5));
        arrivals.record(Arrival { recipients: 9, of_connection: 4, ..arrival(None, 8) });
        arrivals.record(arrival(None, 7));
        let report = arrivals.report();
        assert_eq!((report.connections, report.connections_simultaneous_max), (3, 2));
        assert_eq!(
            (report.recipients_of_transaction_max, report.messages_of_connection_max),
            (9, 4)
        );
        assert_eq!(report.first_arrival_unix_microseconds, Some(5));
        assert_eq!(report.last_arrival_unix_microseconds, Some(7));
        assert_eq!((report.without_token, report.unique), (3, 0));
    }
}
