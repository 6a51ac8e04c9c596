//! When to try again, and when to give up: the bounce profile.
//!
//! AsyncOS documents the limits and two worked cases, not the formula between them; ours doubles,
//! because a host that is still sick after an hour is not helped by being asked each minute.

use core::time::Duration;

use ringpost_core::time::Date;

/// How long and how often delivery of a message is tried.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BounceProfile {
    /// Attempts after the first. The recipients bounce right after the last has failed.
    pub max_retries: u32,
    /// The age beyond which no attempt is made; checked before each (RFC 5321 4.5.4.1).
    pub max_time_in_queue: Duration,
    /// The wait before the first retry; it doubles from there.
    pub initial_retry: Duration,
    /// The longest wait between two attempts, before jitter.
    pub max_retry: Duration,
}

/// What follows a failure that may pass.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Retry {
    /// Try again then.
    At(Date),
    /// The limits are used up.
    GiveUp,
}

impl BounceProfile {
    /// Whether the message is too old for another attempt. Ask before every attempt.
    #[must_use]
    pub fn is_expired(&self, first_queued: Date, now: Date) -> bool {
        now.since(first_queued) > self.max_time_in_queue
    }

    /// What to do after attempt number `attempts` (1 is the first) has failed for now.
    ///
    /// The wait is `min(max_retry, initial_retry * 2^(attempts - 1))`, moved by up to a tenth
    /// either way as `jitter` says (any 64 random bits; `1 << 63` moves nothing), so that messages
    /// which failed together do not come back together.
    #[must_use]
    pub fn next_attempt(&self, attempts: u32, first_queued: Date, now: Date, jitter: u64) -> Retry {
        assert!(attempts > 0, "an attempt has failed");
        if attempts > self.max_retries || self.is_expired(first_queued, now) {
            return Retry::GiveUp;
        }
        let doublings = (attempts - 1).min(MAX_DOUBLINGS);
        let wait = self.initial_retry.saturating_mul(1 << doublings).min(self.max_retry);
        Retry::At(now + with_jitter(wait, jitter))
    }
}

impl Default for BounceProfile {
    /// The profile AsyncOS ships: 100 retries within 72 hours, after 60 seconds at first.
    fn default() -> Self {
        Self {
            max_retries: 100,
            max_time_in_queue: Duration::from_secs(72 * 3_600),
            initial_retry: Duration::from_secs(60),
            max_retry: Duration::from_secs(3_600),
        }
    }
}

/// `wait`, a tenth shorter for jitter 0, a tenth longer for the greatest, the same in the middle.
pub(crate) fn with_jitter(wait: Duration, jitter: u64) -> Duration {
    let nanos = wait.as_nanos().min(u128::from(u64::MAX));
    let moved = nanos * 9 / 10 + (((nanos / 5) * u128::from(jitter)) >> 64);
    Duration::from_nanos(u64::try_from(moved).unwrap_or(u64::MAX))
}

/// 2^31 times the shortest wait is beyond any configured longest.
const MAX_DOUBLINGS: u32 = 31;

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec::Vec;

    use super::*;

    const MIDDLE: u64 = 1 << 63;

    fn profile(max_retries: u32, time_in_queue: u64, initial: u64, max: u64) -> BounceProfile {
        BounceProfile {
            max_retries,
            max_time_in_queue: Duration::from_secs(time_in_queue),
            initial_retry: Duration::from_secs(initial),
            max_retry: Duration::from_secs(max),
        }
    }

    /// Seconds of each attempt, then the second of the bounce, if every attempt fails.
    fn life(profile: &BounceProfile) -> (Vec<i64>, i64) {
        let (mut now, mut tried) = (Date::from_millis(0), Vec::new());
        loop {
            if profile.is_expired(Date::from_millis(0), now) {
                return (tried, now.millis() / 1_000);
            }
            tried.push(now.millis() / 1_000);
            let attempts = u32::try_from(tried.len()).unwrap();
            match profile.next_attempt(attempts, Date::from_millis(0), now, MIDDLE) {
                Retry::At(date) => now = date,
                Retry::GiveUp => return (tried, now.millis() / 1_000),
            }
        }
    }

    #[test]
    fn the_last_retry_is_made_and_then_the_message_bounces_at_once() {
        assert_eq!(life(&profile(2, 259_200, 60, 60)), (Vec::from([0, 60, 120]), 120));
    }

    #[test]
    fn age_is_checked_before_the_attempt() {
        assert_eq!(life(&profile(100, 100, 60, 60)), (Vec::from([0, 60]), 120));
    }

    #[test]
    fn no_retries_means_one_attempt() {
        assert_eq!(life(&profile(0, 259_200, 60, 60)), (Vec::from([0]), 0));
    }

    #[test]
    fn the_wait_doubles_up_to_its_maximum() {
        let (tried, bounced) = life(&BounceProfile::default());
        let minutes: Vec<_> = tried.iter().take(9).map(|second| second / 60).collect();
        assert_eq!(minutes, [0, 1, 3, 7, 15, 31, 63, 123, 183]);
        assert!((72 * 3_600..73 * 3_600).contains(&bounced), "{bounced}");
    }

    #[test]
    fn jitter_moves_a_wait_by_at_most_a_tenth() {
        let wait = Duration::from_secs(60);
        assert_eq!(with_jitter(wait, 0), Duration::from_secs(54));
        assert_eq!(with_jitter(wait, MIDDLE), wait);
        let most = with_jitter(wait, u64::MAX);
        assert!(most <= Duration::from_secs(66) && most > Duration::from_millis(65_999));
        assert!(with_jitter(Duration::MAX, u64::MAX) > Duration::from_secs(1 << 30));
    }

    #[test]
    fn a_clock_that_steps_back_expires_nothing() {
        let profile = BounceProfile::default();
        assert!(!profile.is_expired(Date::from_millis(9_000_000_000), Date::from_millis(0)));
    }
}
