//! Latencies in microseconds, kept in HdrHistograms: every one of a run is counted, none is
//! averaged away, and three significant digits remain at any magnitude.

use std::io::{self, Write};
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// A histogram of durations; what is longer than [`DURATION_MAX`] counts as that.
#[derive(Debug)]
pub struct Latencies {
    histogram: Histogram<u64>,
}

impl Default for Latencies {
    fn default() -> Self {
        let highest = microseconds(DURATION_MAX);
        let histogram = Histogram::new_with_bounds(1, highest, SIGNIFICANT_DIGITS)
            .expect("the bounds are constants that HdrHistogram takes");
        Self { histogram }
    }
}

impl Latencies {
    /// Counts one duration.
    pub fn record(&mut self, took: Duration) {
        self.histogram.saturating_record(microseconds(took));
    }

    /// The percentiles that reports quote.
    pub fn summary(&self) -> LatencySummary {
        let at = |quantile| self.histogram.value_at_quantile(quantile);
        LatencySummary {
            count: self.histogram.len(),
            mean: self.histogram.mean(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: self.histogram.max(),
        }
    }

    /// Writes the percentile distribution in the `.hgrm` format that HdrHistogram's plotters read,
    /// values in microseconds.
    pub fn write_percentiles(&self, out: &mut dyn Write) -> io::Result<()> {
        let heads = ["Value", "Percentile", "TotalCount", "1/(1-Percentile)"];
        writeln!(out, "{:>12} {:>14} {:>10} {:>14}\n", heads[0], heads[1], heads[2], heads[3])?;
        let mut total = 0;
        for step in self.histogram.iter_quantiles(TICKS_PER_HALF_DISTANCE) {
            total += step.count_since_last_iteration();
            let (value, quantile) = (step.value_iterated_to(), step.quantile_iterated_to());
            write!(out, "{value:>12} {quantile:>14.12} {total:>10}")?;
            if quantile < 1.0 {
                write!(out, " {:>14.2}", 1.0 / (1.0 - quantile))?;
            }
            writeln!(out)?;
        }
        let (mean, deviation) = (self.histogram.mean(), self.histogram.stdev());
        writeln!(out, "#[Mean    = {mean:>12.3}, StdDeviation   = {deviation:>12.3}]")?;
        let (max, count) = (self.histogram.max(), self.histogram.len());
        writeln!(out, "#[Max     = {max:>12}, Total count    = {count:>12}]")
    }
}

/// Percentiles in microseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LatencySummary {
    pub count: u64,
    pub mean: f64,
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p999: u64,
    pub max: u64,
}

fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// The longest duration that is told from longer ones.
pub const DURATION_MAX: Duration = Duration::from_secs(3600);

const SIGNIFICANT_DIGITS: u8 = 3;
const TICKS_PER_HALF_DISTANCE: u32 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summarises_what_was_recorded() {
        let mut latencies = Latencies::default();
        for value in 1..=1000 {
            latencies.record(Duration::from_micros(value));
        }
        let summary = latencies.summary();
        assert_eq!((summary.count, summary.max), (1000, 1000));
        assert_eq!((summary.p50, summary.p90, summary.p99), (500, 900, 990));
    }

    #[test]
    fn a_longer_duration_counts_as_the_longest() {
        let mut latencies = Latencies::default();
        latencies.record(Duration::from_secs(100_000));
        let longest = microseconds(DURATION_MAX);
        assert!(latencies.summary().max.abs_diff(longest) <= longest / 1000);
    }

    #[test]
    fn percentiles_end_with_every_value() {
        let mut latencies = Latencies::default();
        for value in [10, 20, 30, 40] {
            latencies.record(Duration::from_micros(value));
        }
        let mut out = Vec::new();
        latencies.write_percentiles(&mut out).expect("a Vec takes all");
        let text = String::from_utf8(out).expect("only ASCII is written");
        let last = text.lines().rfind(|line| !line.starts_with('#')).expect("there are values");
        let words: Vec<&str> = last.split_whitespace().collect();
        assert_eq!(words, ["40", "1.000000000000", "4"]);
    }
}
