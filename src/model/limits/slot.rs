//! A limit's place, what may be put there, and how it is written.

use std::str::FromStr;
use std::time::Duration;

use super::MemoryMark;
use crate::model::quantity::{format_size, parse_duration, parse_size, split_unit};
use crate::model::text::is_digits;

/// A limit's place and what may be put there.
#[derive(PartialEq)]
pub(super) enum Slot<'a> {
    Count(&'a mut Option<u32>),
    Rate(&'a mut Option<u32>),
    Bandwidth(&'a mut Option<u64>),
    /// A deadline that can be off, and the most it can be.
    Deadline(&'a mut Option<Duration>, Duration),
    Size(&'a mut usize, usize, usize),
    Number(&'a mut usize, usize, usize),
    Age(&'a mut Duration, Duration, Duration),
    Mark(&'a mut MemoryMark),
}

impl Slot<'_> {
    /// Puts `value` there, or says what can be written.
    pub(super) fn put(self, value: &str) -> Result<(), String> {
        match self {
            Slot::Count(place) => *place = count(value)?,
            Slot::Rate(place) => *place = rate(value)?,
            Slot::Bandwidth(place) => *place = bandwidth(value)?,
            Slot::Deadline(place, most) => *place = deadline(value, most)?,
            Slot::Size(place, least, most) => {
                let fix = format!("write {} to {}", format_size(least), format_size(most));
                *place = bounded(parse_size(value), least, most, fix)?;
            }
            Slot::Number(place, least, most) => {
                let fix = format!("write {least} to {most}");
                let number = Some(value).filter(|value| is_digits(value)).ok_or("not a number");
                let number = number.and_then(|value| value.parse().map_err(|_| "too large"));
                *place = bounded(number, least, most, fix)?;
            }
            Slot::Age(place, least, most) => {
                let fix = format!("write {} to {} s", least.as_secs_f64(), most.as_secs());
                *place = bounded(parse_duration(value), least, most, fix)?;
            }
            Slot::Mark(place) => *place = mark(value)?,
        }
        Ok(())
    }

    /// Lifts a count or a rate; sizes, ages and deadlines stay.
    pub(super) fn lift(self) {
        match self {
            Slot::Count(place) | Slot::Rate(place) => *place = None,
            Slot::Bandwidth(place) => *place = None,
            _ => {}
        }
    }

    /// Whether it is a count or a rate that is off.
    pub(super) fn is_lifted(&self) -> bool {
        match self {
            Slot::Count(place) | Slot::Rate(place) => place.is_none(),
            Slot::Bandwidth(place) => place.is_none(),
            _ => false,
        }
    }
}

fn count(value: &str) -> Result<Option<u32>, String> {
    positive(value).ok_or_else(|| "write a number of at least 1, or off".to_owned())
}

fn rate(value: &str) -> Result<Option<u32>, String> {
    positive(value.strip_suffix("/s").unwrap_or(value))
        .ok_or_else(|| "write a rate of at least 1/s, as 20/s, or off".to_owned())
}

/// A positive number, or `Some(None)` for `off`.
fn positive<T: FromStr + Default + PartialEq>(value: &str) -> Option<Option<T>> {
    if value == "off" {
        return Some(None);
    }
    let number = Some(value).filter(|value| is_digits(value))?.parse().ok()?;
    (number != T::default()).then_some(Some(number))
}

fn bandwidth(value: &str) -> Result<Option<u64>, String> {
    let refused =
        || "write bits per second, as 1Mbit/s, 500kbit/s or 1000000, at least 1000, or off".to_owned();
    let (number, unit) = if value == "off" { (value, "") } else { split_unit(value) };
    let factor = match unit {
        "" | "bit/s" => 1_u64,
        "kbit/s" => 1_000,
        "Mbit/s" => 1_000_000,
        "Gbit/s" => 1_000_000_000,
        _ => return Err(refused()),
    };
    match positive::<u64>(number).ok_or_else(refused)? {
        None => Ok(None),
        Some(number) => {
            let bits = number.checked_mul(factor).filter(|&bits| bits >= 1000);
            bits.map(Some).ok_or_else(refused)
        }
    }
}

fn bounded<T: PartialOrd + Copy, E>(
    value: Result<T, E>,
    least: T,
    most: T,
    fix: String,
) -> Result<T, String> {
    value.ok().filter(|value| (&least..=&most).contains(&value)).ok_or(fix)
}

fn deadline(value: &str, most: Duration) -> Result<Option<Duration>, String> {
    if value == "off" {
        return Ok(None);
    }
    let fix = format!("write 0.1 s to {} s, or off", most.as_secs());
    bounded(parse_duration(value), Duration::from_millis(100), most, fix).map(Some)
}

fn mark(value: &str) -> Result<MemoryMark, String> {
    let fix = "write a share of the bound as 90%, a size of at least 16MiB, or off";
    if value == "off" {
        return Ok(MemoryMark::Off);
    }
    if let Some(share) = value.strip_suffix('%') {
        let share = Some(share).filter(|share| is_digits(share)).and_then(|share| share.parse().ok());
        return share
            .filter(|share| (1..=100).contains(share))
            .map(MemoryMark::Share)
            .ok_or_else(|| fix.to_owned());
    }
    bounded(parse_size(value), 16 << 20, usize::MAX, fix.to_owned())
        .map(|bytes| MemoryMark::Bytes(bytes as u64))
}
