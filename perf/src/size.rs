//! Sizes as people write them (`10KiB`), because a plan is read more often than it is run.

/// Reads a number of octets: `4096`, `4096B`, `10KiB` or `1MiB`, up to [`CONTENT_SIZE_MAX`].
pub fn parse_size(text: &str) -> Result<usize, String> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "" | "B" => 1,
        "KiB" => 1024,
        "MiB" => 1024 * 1024,
        _ => return Err(format!("unknown unit `{unit}`: write B, KiB or MiB")),
    };
    let number: usize = number.parse().map_err(|_| format!("`{text}` is not a size"))?;
    match number.checked_mul(factor) {
        Some(size) if size <= CONTENT_SIZE_MAX => Ok(size),
        _ => Err(format!("a content has at most {} MiB", CONTENT_SIZE_MAX / 1024 / 1024)),
    }
}

/// A size in the largest unit that leaves it whole.
pub fn format_size(octets: usize) -> String {
    const KIB: usize = 1024;
    match octets {
        0 => "0 B".to_owned(),
        _ if octets.is_multiple_of(KIB * KIB) => format!("{} MiB", octets / KIB / KIB),
        _ if octets.is_multiple_of(KIB) => format!("{} KiB", octets / KIB),
        _ => format!("{octets} B"),
    }
}

/// Octets of the largest content that the tools send or take.
pub const CONTENT_SIZE_MAX: usize = 128 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_units() {
        assert_eq!(parse_size("4096"), Ok(4096));
        assert_eq!(parse_size("512B"), Ok(512));
        assert_eq!(parse_size("10KiB"), Ok(10_240));
        assert_eq!(parse_size("1MiB"), Ok(1_048_576));
    }

    #[test]
    fn refuses_what_it_does_not_understand() {
        for wrong in ["", "KiB", "10kb", "-1", "1.5MiB", "129MiB", "99999999999999999999"] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn writes_what_it_reads() {
        for size in [0, 1, 1000, 1024, 10_240, 1_048_576, 1_048_577] {
            assert_eq!(parse_size(&format_size(size).replace(' ', "")), Ok(size));
        }
    }
}
