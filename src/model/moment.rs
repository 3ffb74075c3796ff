//! Moments of the calendar in configuration files.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use super::text::{is_digits, quote};

/// A moment in a configuration file: `2027-01-31` (its first second) or `2027-01-31T12:00:00Z`, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(
    /// Seconds since 1970.
    pub u64,
);

/// A text that is no moment.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{} is no moment: write 2027-01-31 or 2027-01-31T12:00:00Z", quote(.0))]
pub struct MomentError(String);

impl FromStr for Moment {
    type Err = MomentError;

    fn from_str(text: &str) -> Result<Moment, MomentError> {
        parse_moment(text).map(Moment).ok_or_else(|| MomentError(text.to_owned()))
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, seconds) = (self.0 / 86400, self.0 % 86400);
        let (year, month, day) = date_of(days);
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        write!(formatter, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

fn parse_moment(text: &str) -> Option<u64> {
    let (date, time) = match text.split_once('T') {
        Some((date, time)) => (date, time.strip_suffix('Z')?),
        None => (text, "00:00:00"),
    };
    let numbers = |text: &str, separator: char, widths: [usize; 3]| -> Option<[u64; 3]> {
        let mut parts = text.split(separator);
        let mut all = [0; 3];
        for (number, width) in all.iter_mut().zip(widths) {
            let digits = parts.next().filter(|part| part.len() == width)?;
            *number = Some(digits).filter(|digits| is_digits(digits))?.parse().ok()?;
        }
        parts.next().is_none().then_some(all)
    };
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let [hour, minute, second] = numbers(time, ':', [2, 2, 2])?;
    if hour > 23 || minute > 59 || second > 59 || year < 1970 {
        return None;
    }
    let days = days_before(year, month, day);
    (date_of(days) == (year, month, day)).then_some(days * 86400 + hour * 3600 + minute * 60 + second)
}

/// Days from 1970-01-01, by the rules of the Gregorian calendar with years that begin in March.
fn days_before(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day.saturating_sub(1);
    (year * 365 + year / 4 - year / 100 + year / 400 + of_year).saturating_sub(719_468)
}

/// Year, month and day of a number of days from 1970-01-01.
fn date_of(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year + era * 400 + u64::from(month <= 2), month, of_year - (153 * shifted + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn moments_are_utc() {
        for (text, seconds) in [
            ("1970-01-01", 0),
            ("2000-02-29T23:59:59Z", 951_868_799),
            ("2027-01-31", 1_801_353_600),
            ("2100-03-01", 4_107_542_400),
        ] {
            assert_eq!(text.parse(), Ok(Moment(seconds)), "{text}");
        }
        for bad in
            ["", "2027", "2027-02-29", "2027-13-01", "2027-00-10", "2027-01-00", "2027-1-1", "1969-12-31"]
                .into_iter()
                .chain(["2027-01-01T24:00:00Z", "2027-01-01T10:00:00", "2027-01-01T10:00:60Z", "+027-01-01"])
        {
            assert!(bad.parse::<Moment>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn moments_round_trip(seconds in 0_u64..253_402_300_800) {
            prop_assert_eq!(Moment(seconds).to_string().parse(), Ok(Moment(seconds)));
        }
    }
}
