//! Time as the machines know it: always an argument, never read from a clock.
//!
//! Two kinds, because a wall clock jumps: [`Time`] only goes forward and decides when something is
//! due; [`Date`] is what is written into headers, logs and the spool.

use core::{
    fmt,
    ops::{Add, Sub},
    time::Duration,
};

/// A moment of the monotonic clock, in nanoseconds since an arbitrary start of the process.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Time(u64);

/// A moment of the wall clock, in milliseconds since 1970-01-01 00:00:00 UTC.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Date(i64);

/// Shows a [`Date`] as RFC 5322 3.3 wants it in a header, in UTC.
pub struct Rfc5322(Date);

/// Shows a [`Date`] as `mail_logs` lines begin: `Mon Nov 24 14:22:57 2025`, space-padded day.
pub struct Ctime {
    date: Date,
    offset_seconds: i32,
}

impl Time {
    /// The start of the process.
    pub const ZERO: Self = Self(0);
    /// A deadline that never comes.
    pub const NEVER: Self = Self(u64::MAX);

    /// The moment `nanos` nanoseconds after the start.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the start.
    #[must_use]
    pub const fn nanos(self) -> u64 {
        self.0
    }

    /// How long ago `earlier` was; zero if it is still to come.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }
}

impl Date {
    /// The moment `millis` milliseconds after the epoch.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// How long ago `earlier` was; zero if it is still to come (a wall clock may step back).
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        let millis = self.0.saturating_sub(earlier.0);
        Duration::from_millis(if millis < 0 { 0 } else { millis.unsigned_abs() })
    }

    /// As in a `Date:` or `Received:` header.
    #[must_use]
    pub const fn rfc5322(self) -> Rfc5322 {
        Rfc5322(self)
    }

    /// As at the beginning of a `mail_logs` line, in a zone `offset_seconds` east of Greenwich.
    #[must_use]
    pub const fn ctime(self, offset_seconds: i32) -> Ctime {
        Ctime { date: self, offset_seconds }
    }

    /// Year, month and day, hour, minute and second, in UTC.
    #[must_use]
    pub fn calendar(self) -> [i64; 6] {
        let Civil { day, month, year, hour, minute, second, .. } = self.civil(0);
        [year, i64::try_from(month).expect("below 12") + 1, day, hour, minute, second]
    }

    fn civil(self, offset_seconds: i32) -> Civil {
        let seconds = self.0.div_euclid(1000) + i64::from(offset_seconds);
        Civil::from_days(seconds.div_euclid(DAY), seconds.rem_euclid(DAY))
    }
}

impl Add<Duration> for Date {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl Sub<Duration> for Date {
    type Output = Self;

    fn sub(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl fmt::Display for Rfc5322 {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Civil { weekday, day, month, year, hour, minute, second } = self.0.civil(0);
        let (weekday, month) = (WEEKDAYS[weekday], MONTHS[month]);
        write!(out, "{weekday}, {day} {month} {year:04} {hour:02}:{minute:02}:{second:02} +0000")
    }
}

impl fmt::Display for Ctime {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let civil = self.date.civil(self.offset_seconds);
        let Civil { weekday, day, month, year, hour, minute, second } = civil;
        let (weekday, month) = (WEEKDAYS[weekday], MONTHS[month]);
        write!(out, "{weekday} {month} {day:>2} {hour:02}:{minute:02}:{second:02} {year:04}")
    }
}

struct Civil {
    weekday: usize,
    day: i64,
    month: usize,
    year: i64,
    hour: i64,
    minute: i64,
    second: i64,
}

impl Civil {
    /// The Gregorian calendar counted in 400-year eras that begin on 1 March, so that the leap day
    /// is the last of its year and needs no special case.
    fn from_days(days: i64, second: i64) -> Self {
        let shifted = days + DAYS_FROM_ERA_TO_EPOCH;
        let era = shifted.div_euclid(DAYS_PER_ERA);
        let day_of_era = shifted.rem_euclid(DAYS_PER_ERA);
        let leap_days = day_of_era / 1_460 - day_of_era / 36_524 + day_of_era / 146_096;
        let year_of_era = (day_of_era - leap_days) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let month = (month_from_march + 2) % 12;
        let after_new_year = i64::from(month < 2);
        Self {
            weekday: usize::try_from((days + 4).rem_euclid(7)).expect("a remainder of 7"),
            day: day_of_year - (153 * month_from_march + 2) / 5 + 1,
            month: usize::try_from(month).expect("a remainder of 12"),
            year: year_of_era + era * 400 + after_new_year,
            hour: second / 3_600,
            minute: second / 60 % 60,
            second: second % 60,
        }
    }
}

const DAY: i64 = 86_400;
const DAYS_PER_ERA: i64 = 146_097;
const DAYS_FROM_ERA_TO_EPOCH: i64 = 719_468;
const WEEKDAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

#[cfg(test)]
mod tests {
    extern crate std;

    use std::string::ToString;

    use super::*;

    #[test]
    fn dates_are_written_as_headers_and_logs_want_them() {
        let date = Date::from_millis(1_763_994_177_250);
        assert_eq!(date.rfc5322().to_string(), "Mon, 24 Nov 2025 14:22:57 +0000");
        assert_eq!(date.ctime(0).to_string(), "Mon Nov 24 14:22:57 2025");
        assert_eq!(date.calendar(), [2025, 11, 24, 14, 22, 57]);
        assert_eq!(date.ctime(-15 * 3_600).to_string(), "Sun Nov 23 23:22:57 2025");
        assert_eq!(Date::from_millis(0).ctime(0).to_string(), "Thu Jan  1 00:00:00 1970");
    }

    #[test]
    fn leap_days_and_years_before_the_epoch_are_right() {
        for (seconds, text) in [
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 +0000"),
            (4_107_542_399, "Sun, 28 Feb 2100 23:59:59 +0000"),
            (4_107_542_400, "Mon, 1 Mar 2100 00:00:00 +0000"),
            (-1, "Wed, 31 Dec 1969 23:59:59 +0000"),
        ] {
            assert_eq!(Date::from_millis(seconds * 1000).rfc5322().to_string(), text);
        }
    }

    #[test]
    fn spans_never_wrap() {
        assert_eq!(Time::ZERO.since(Time::from_nanos(5)), Duration::ZERO);
        assert_eq!(Time::from_nanos(5) + Duration::MAX, Time::NEVER);
        assert_eq!(Date::from_millis(1).since(Date::from_millis(9)), Duration::ZERO);
    }
}
