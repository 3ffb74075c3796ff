//! Durations and sizes as people write them: `500ms`, `2s`, `64KiB`.

use std::time::Duration;

use thiserror::Error;

use super::text::{is_digits, quote};

/// A text that is no duration or size.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum QuantityError {
    /// Not a duration.
    #[error("{} is not a duration: write a number and a unit (us, ms, s, min, h), as 1.5s", quote(.0))]
    NotADuration(String),
    /// Not a size.
    #[error("{} is not a size: write bytes or a number and a unit (kB, KiB, MB, MiB), as 64KiB", quote(.0))]
    NotASize(String),
}

/// Units of time in nanoseconds, smallest first.
const TIME_UNITS: [(&str, u64); 6] = [
    ("ns", 1),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("min", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Units of size in bytes.
const SIZE_UNITS: [(&str, u64); 8] = [
    ("", 1),
    ("B", 1),
    ("kB", 1_000),
    ("KiB", 1 << 10),
    ("MB", 1_000_000),
    ("MiB", 1 << 20),
    ("GB", 1_000_000_000),
    ("GiB", 1 << 30),
];

/// Reads `500ms`, `2s`, `1.5s`, `250us`, `1min`, `1h`; only `0` may stand without a unit. At most about 584
/// years.
pub fn parse_duration(text: &str) -> Result<Duration, QuantityError> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let not_a_duration = || QuantityError::NotADuration(text.to_owned());
    let (number, unit) = split_unit(text);
    let &(_, unit) = TIME_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(not_a_duration)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if !is_digits(whole) || !is_digits(fraction) || fraction.len() > 9 {
        return Err(not_a_duration());
    }
    let whole: u64 = whole.parse().map_err(|_| not_a_duration())?;
    let part: u64 = fraction.parse().map_err(|_| not_a_duration())?;
    // At most 10^9 times 3.6 * 10^12: it takes 72 bits.
    let part = u128::from(part) * u128::from(unit) / 10_u128.pow(fraction.len() as u32);
    let nanoseconds = u128::from(whole) * u128::from(unit) + part;
    u64::try_from(nanoseconds).map(Duration::from_nanos).map_err(|_| not_a_duration())
}

/// Writes a duration so that [`parse_duration`] reads the same: in the largest of s, ms, us and ns that needs
/// no fraction.
pub fn format_duration(duration: Duration) -> String {
    let nanoseconds = duration.as_nanos();
    let in_units =
        TIME_UNITS[..4].iter().rev().find(|(_, unit)| nanoseconds.is_multiple_of(u128::from(*unit)));
    let &(name, unit) = in_units.unwrap_or(&TIME_UNITS[0]);
    format!("{}{name}", nanoseconds / u128::from(unit))
}

/// Reads `1500`, `1500B`, `64KiB`, `4MiB`, `1MB` (10^6), `1GiB` as bytes; no fractions.
pub fn parse_size(text: &str) -> Result<usize, QuantityError> {
    let not_a_size = || QuantityError::NotASize(text.to_owned());
    let (number, unit) = split_unit(text);
    let &(_, unit) = SIZE_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(not_a_size)?;
    if !is_digits(number) {
        return Err(not_a_size());
    }
    let bytes = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
    bytes.and_then(|bytes| usize::try_from(bytes).ok()).ok_or_else(not_a_size)
}

/// Writes a size so that [`parse_size`] reads the same: whole MiB or KiB where they fit, else bytes.
pub fn format_size(bytes: usize) -> String {
    match bytes {
        0 => "0B".to_owned(),
        _ if bytes.is_multiple_of(1 << 20) => format!("{}MiB", bytes >> 20),
        _ if bytes.is_multiple_of(1 << 10) => format!("{}KiB", bytes >> 10),
        _ => format!("{bytes}B"),
    }
}

/// The number and what follows it, a space between them allowed.
pub(crate) fn split_unit(text: &str) -> (&str, &str) {
    let end =
        text.find(|character: char| !character.is_ascii_digit() && character != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (number, unit.strip_prefix(' ').unwrap_or(unit))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_durations() {
        for (text, nanoseconds) in [
            ("0", 0),
            ("0s", 0),
            ("500ms", 500_000_000),
            ("2s", 2_000_000_000),
            ("1.5s", 1_500_000_000),
            ("0.000000001s", 1),
            ("2 min", 120_000_000_000),
            ("1h", 3_600_000_000_000),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_nanos(nanoseconds)), "{text}");
        }
        for bad in [
            "",
            "5",
            "s",
            "-1s",
            "+1s",
            "1.s",
            ".5s",
            "1..5s",
            "1e3s",
            "1 0s",
            "1S",
            "99999999999h",
            "1.0000000001s",
        ] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn reads_sizes() {
        for (text, bytes) in
            [("0", 0), ("65536", 65536), ("1500B", 1500), ("64KiB", 65536), ("4 MiB", 4 << 20), ("1kB", 1000)]
        {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for bad in ["", "B", "1.5KiB", "64k", "64K", "-1", "99999999999999999999", "99999999999GiB"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn durations_round_trip(nanoseconds in any::<u64>(), unit in 0_usize..4) {
            let unit = TIME_UNITS[unit].1;
            let duration = Duration::from_nanos(nanoseconds / unit * unit);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }

        #[test]
        fn sizes_round_trip(bytes in any::<usize>(), shift in 0..30) {
            let bytes = bytes >> shift << shift;
            prop_assert_eq!(parse_size(&format_size(bytes)), Ok(bytes));
        }

        #[test]
        fn never_panics(text in "[0-9.]{0,25}[a-zA-Zµ ]{0,4}") {
            let _ = (parse_duration(&text), parse_size(&text));
        }
    }
}
