//! Durations and sizes as operators write them: `"5m"`, `"1h30m"`, `"10MiB"`, `"10M"`.
//!
//! A number without a unit is where outages come from, so a duration always has one.

use std::time::Duration;

/// Why a quantity cannot be understood: a message and what to write instead.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct QuantityError {
    pub(crate) message: &'static str,
    pub(crate) help: &'static str,
}

/// Reads `"250ms"`, `"5s"`, `"5m"`, `"2h"`, `"3d"` or several in a row, `"1h30m"`.
pub(crate) fn duration(text: &str) -> Result<Duration, QuantityError> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(DURATION);
    }
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let (number, unit, after) = number_and_unit(rest).ok_or(DURATION)?;
        let millis = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(DURATION),
        };
        let part = number.checked_mul(millis).ok_or(TOO_LONG)?;
        total = total.checked_add(Duration::from_millis(part)).ok_or(TOO_LONG)?;
        rest = after;
    }
    if total > LONGEST { Err(TOO_LONG) } else { Ok(total) }
}

/// Reads `"512"`, `"64k"`, `"10M"`, `"2G"` or `"64KiB"`, `"10MiB"`, `"2GiB"`: octets, by 1024.
pub(crate) fn size(text: &str) -> Result<u64, QuantityError> {
    let (number, unit, rest) = number_and_unit(text.trim()).ok_or(SIZE)?;
    if !rest.is_empty() {
        return Err(SIZE);
    }
    let unit = unit.to_ascii_lowercase();
    let shift = match unit.as_str() {
        "" | "b" => 0,
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        "t" | "tib" => 40,
        "kb" | "mb" | "gb" | "tb" => return Err(AMBIGUOUS),
        _ => return Err(SIZE),
    };
    number.checked_mul(1 << shift).ok_or(TOO_LARGE)
}

/// Writes a duration as [`duration`] reads it, in the largest unit that gives a whole number.
pub(crate) fn spell(duration: Duration) -> String {
    let millis = duration.as_millis();
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    let unit = units.into_iter().find(|(size, _)| millis > 0 && millis.is_multiple_of(*size));
    match unit {
        Some((size, unit)) => format!("{}{unit}", millis / size),
        None if millis == 0 => "0s".to_owned(),
        None => format!("{millis}ms"),
    }
}

/// Splits `30m15s` into 30, `m` and `15s`.
fn number_and_unit(text: &str) -> Option<(u64, &str, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number = text[..digits].parse().ok()?;
    let after = text[digits..].trim_start();
    let letters = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
    Some((number, &after[..letters], after[letters..].trim_start()))
}

/// Far longer than any mail may wait, and short enough that no sum of times overflows.
const LONGEST: Duration = Duration::from_secs(3_650 * 86_400);

const DURATION: QuantityError = QuantityError {
    message: "a duration is a number with a unit",
    help: "write it like \"250ms\", \"30s\", \"5m\", \"2h\" or \"3d\"",
};
const TOO_LONG: QuantityError = QuantityError {
    message: "the duration is longer than ten years",
    help: "write it like \"250ms\", \"30s\", \"5m\", \"2h\" or \"3d\"",
};
const SIZE: QuantityError = QuantityError {
    message: "a size is a number of octets, or a number with k, M or G",
    help: "write it like \"10MiB\", \"10M\" or 10485760",
};
const AMBIGUOUS: QuantityError = QuantityError {
    message: "the unit means 1000 to some and 1024 to others",
    help: "write \"10MiB\" or \"10M\", both by 1024 as in AsyncOS",
};
const TOO_LARGE: QuantityError = QuantityError {
    message: "the size does not fit into 64 bits",
    help: "write it like \"10MiB\", \"10M\" or 10485760",
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        for (text, millis) in [
            ("250ms", 250),
            ("0s", 0),
            ("5m", 300_000),
            ("72h", 259_200_000),
            ("1h30m", 5_400_000),
            (" 1 d 1 s ", 86_401_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "5", "m", "5 minutes", "-5s", "1.5h", "5s,", "5µs"] {
            assert_eq!(duration(text), Err(DURATION), "{text}");
        }
        for text in ["99999999999999999999s", "18446744073709551615d", "4000d"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_are_spelt_as_they_are_read() {
        for text in ["0s", "1500ms", "90s", "5m", "2h", "3d"] {
            assert_eq!(spell(duration(text).expect(text)), text);
        }
    }

    #[test]
    fn sizes_count_by_1024() {
        for (text, octets) in [
            ("0", 0),
            ("512", 512),
            ("64k", 65_536),
            ("10M", 10_485_760),
            ("10MiB", 10_485_760),
            ("10 mib", 10_485_760),
            ("1G", 1 << 30),
        ] {
            assert_eq!(size(text), Ok(octets), "{text}");
        }
        assert_eq!(size("10MB"), Err(AMBIGUOUS));
        assert_eq!(size("18446744073709551615k"), Err(TOO_LARGE));
        for text in ["", "M", "10X", "1M1k", "-1", "1.5M"] {
            assert_eq!(size(text), Err(SIZE), "{text}");
        }
    }
}
