//! When each message is meant to be sent. Latency is counted from that time, not from the time
//! a connection came free, so a server that stalls is charged for all who would have waited.

use std::time::Duration;

/// Even spacing at a rate, or no spacing at all.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// Messages a second; 0 is as fast as the server answers.
    rate: f64,
}

impl Schedule {
    pub fn at_rate(messages_per_second: f64) -> Self {
        assert!(messages_per_second >= 0.0, "the command line takes no negative rate");
        Self { rate: messages_per_second }
    }

    /// The intended send time of a message (counted from 0) after the start of the run, or none
    /// when messages go out as fast as they are answered.
    pub fn intended(&self, sequence: u64) -> Option<Duration> {
        if self.rate == 0.0 {
            return None;
        }
        // Each time is computed by itself: adding up intervals would add up their rounding.
        Some(Duration::from_secs_f64(sequence as f64 / self.rate))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spaces_messages_evenly_and_does_not_drift() {
        let schedule = Schedule::at_rate(3000.0);
        assert_eq!(schedule.intended(0), Some(Duration::ZERO));
        assert_eq!(schedule.intended(3), Some(Duration::from_millis(1)));
        assert_eq!(schedule.intended(3_000_000), Some(Duration::from_secs(1000)));
    }

    #[test]
    fn a_rate_below_one_waits_seconds() {
        assert_eq!(Schedule::at_rate(0.5).intended(3), Some(Duration::from_secs(6)));
    }

    #[test]
    fn no_rate_intends_no_time() {
        assert_eq!(Schedule::at_rate(0.0).intended(5), None);
    }
}
