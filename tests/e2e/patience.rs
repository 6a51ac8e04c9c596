//! Waiting with a limit: nothing here sleeps for a fixed time and hopes.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

/// Asks until there is an answer. Panics with `what` when there is none within `limit`.
pub(crate) fn until<T>(limit: Duration, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + limit;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < end, "{what}: not within {limit:?}");
        sleep(INTERVAL);
    }
}

pub(crate) const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

const INTERVAL: Duration = Duration::from_millis(10);
