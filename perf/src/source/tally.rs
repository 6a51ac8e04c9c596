//! What became of the messages, counted so that every one of them is in exactly one column.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::date;
use crate::latency::{Latencies, LatencySummary};

/// What became of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// 250 after the final dot: the server answers for it.
    Accepted,
    /// Refused with this code, at any stage.
    Refused(u16),
    /// The connection could not be made, or was lost, before the final dot was sent.
    LostBeforeFinalDot,
    /// The connection was lost between the final dot and its reply: only the server knows.
    Unknown,
}

/// Counts and latencies of a run.
#[derive(Debug, Default)]
pub struct Tally {
    pub accepted: u64,
    pub refused: BTreeMap<u16, u64>,
    pub lost_before_final_dot: u64,
    pub unknown: u64,
    /// Messages begun, to be in one of the columns above when they end.
    pub begun: u64,
    pub recipients_refused: u64,
    pub connections: u64,
    pub connections_failed: u64,
    pub retries: u64,
    pub connect: Latencies,
    pub final_dot_to_reply: Latencies,
    pub intended_to_reply: Latencies,
    first_send: Option<u64>,
    last_accepted: Option<u64>,
}

impl Tally {
    /// Notes that a transaction begins now.
    pub fn begin_transaction(&mut self) {
        if self.first_send.is_none() {
            self.first_send = Some(date::unix_microseconds());
        }
    }

    /// Counts the latencies of an accepted message; the second only when it had a schedule.
    pub fn record_accepted(&mut self, since_final_dot: Duration, since_intended: Option<Duration>) {
        self.final_dot_to_reply.record(since_final_dot);
        if let Some(since_intended) = since_intended {
            self.intended_to_reply.record(since_intended);
        }
        self.last_accepted = Some(date::unix_microseconds());
    }

    /// Puts a message that has ended into its column.
    pub fn count(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Accepted => self.accepted += 1,
            Outcome::Refused(code) => *self.refused.entry(code).or_default() += 1,
            Outcome::LostBeforeFinalDot => self.lost_before_final_dot += 1,
            Outcome::Unknown => self.unknown += 1,
        }
    }

    /// The report of a run of so many messages. A message that is still under way counts by how
    /// far it came, as if its connection had been lost now: `awaiting_reply` of them have sent
    /// their final dot.
    pub fn report(
        &self,
        run: &str,
        messages: u64,
        size: usize,
        awaiting_reply: u64,
        took: Duration,
    ) -> SourceReport {
        let refused_messages: u64 = self.refused.values().sum();
        let ended = self.accepted + refused_messages + self.lost_before_final_dot + self.unknown;
        let under_way = self.begun - ended;
        let unanswered = awaiting_reply.min(under_way);
        let sending = match (self.first_send, self.last_accepted) {
            (Some(first), Some(last)) if last > first => (last - first) as f64 / 1e6,
            _ => 0.0,
        };
        let rate = if sending > 0.0 { self.accepted as f64 / sending } else { 0.0 };
        SourceReport {
            run: run.to_owned(),
            messages,
            size,
            accepted: self.accepted,
            refused: self.refused.clone(),
            lost_before_final_dot: self.lost_before_final_dot + under_way - unanswered,
            unknown: self.unknown + unanswered,
            not_sent: messages - self.begun,
            recipients_refused: self.recipients_refused,
            retries: self.retries,
            connections: self.connections,
            connections_failed: self.connections_failed,
            seconds: took.as_secs_f64(),
            accepted_per_second: rate,
            first_send_unix_microseconds: self.first_send,
            last_accepted_unix_microseconds: self.last_accepted,
            connect: self.connect.summary(),
            final_dot_to_reply: self.final_dot_to_reply.summary(),
            intended_to_reply: self.intended_to_reply.summary(),
        }
    }
}

/// What a source reports. Latencies are in microseconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SourceReport {
    pub run: String,
    pub messages: u64,
    pub size: usize,
    pub accepted: u64,
    /// Messages refused, by the code of the reply.
    pub refused: BTreeMap<u16, u64>,
    pub lost_before_final_dot: u64,
    /// Messages lost between the final dot and its reply.
    pub unknown: u64,
    pub not_sent: u64,
    pub recipients_refused: u64,
    pub retries: u64,
    pub connections: u64,
    pub connections_failed: u64,
    /// Wall time of the whole run.
    pub seconds: f64,
    /// Accepted messages over the time from the first MAIL to the last 250.
    pub accepted_per_second: f64,
    pub first_send_unix_microseconds: Option<u64>,
    pub last_accepted_unix_microseconds: Option<u64>,
    pub connect: LatencySummary,
    pub final_dot_to_reply: LatencySummary,
    /// From the intended send time; empty when no rate was given.
    pub intended_to_reply: LatencySummary,
}

impl SourceReport {
    pub fn all_accepted(&self) -> bool {
        self.accepted == self.messages
    }
}

impl fmt::Display for SourceReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { run, messages, size, accepted, seconds, .. } = self;
        writeln!(formatter, "run {run}: {messages} messages of {size} octets in {seconds:.3} s")?;
        let rate = self.accepted_per_second;
        writeln!(formatter, "accepted {accepted} ({rate:.0} a second)")?;
        for (code, count) in &self.refused {
            writeln!(formatter, "refused with {code}: {count}")?;
        }
        writeln!(formatter, "lost before the final dot: {}", self.lost_before_final_dot)?;
        writeln!(formatter, "unknown (lost after the final dot): {}", self.unknown)?;
        writeln!(formatter, "not sent: {}", self.not_sent)?;
        if self.recipients_refused + self.retries > 0 {
            let (refused, retries) = (self.recipients_refused, self.retries);
            writeln!(formatter, "recipients refused: {refused}, retries: {retries}")?;
        }
        let (made, failed) = (self.connections, self.connections_failed);
        writeln!(formatter, "connections: {made} made, {failed} failed")?;
        let rows = [
            ("connect", &self.connect),
            ("final dot to 250", &self.final_dot_to_reply),
            ("intended to 250", &self.intended_to_reply),
        ];
        for (name, row) in rows.into_iter().filter(|(_, row)| row.count > 0) {
            let LatencySummary { mean, p50, p90, p99, p999, max, .. } = row;
            write!(formatter, "{name} (us): mean {mean:.0} p50 {p50} p90 {p90} p99 {p99}")?;
            writeln!(formatter, " p99.9 {p999} max {max}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_is_in_one_column() {
        let mut tally = Tally { begun: 7, ..Tally::default() };
        let ended = [
            Outcome::Accepted,
            Outcome::Refused(451),
            Outcome::Refused(550),
            Outcome::LostBeforeFinalDot,
            Outcome::Unknown,
        ];
        ended.into_iter().for_each(|outcome| tally.count(outcome));
        let report = tally.report("r", 10, 1024, 1, Duration::from_secs(1));
        // Of the two that are under way one awaits its reply.
        assert_eq!((report.accepted, report.refused.len()), (1, 2));
        assert_eq!((report.lost_before_final_dot, report.unknown, report.not_sent), (2, 2, 3));
        assert!(!report.all_accepted());
    }

    #[test]
    fn a_report_survives_json() {
        let mut tally = Tally { begun: 1, ..Tally::default() };
        tally.begin_transaction();
        tally.record_accepted(Duration::from_micros(700), Some(Duration::from_micros(900)));
        tally.count(Outcome::Accepted);
        let report = tally.report("r", 1, 1024, 0, Duration::from_secs(1));
        let json = serde_json::to_string(&report).expect("a report is plain JSON");
        let again: SourceReport = serde_json::from_str(&json).expect("it was just written");
        assert!(again.all_accepted());
        assert_eq!(again.final_dot_to_reply, report.final_dot_to_reply);
        assert!(again.to_string().contains("intended to 250 (us): mean 900 p50 900"));
    }
}
