//! Every bound on what clients may take, by name.

use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;

use super::quantity::{format_size, parse_duration, parse_size, split_unit};
use super::text::{is_digits, quote};

/// The limits of the gateway. Where a field is an `Option`, `None` means off. Names and defaults are those of
/// `docs/protocol.md`, section 7; on the command line they are written with dashes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Open connections, of all listeners together.
    pub connections: Option<u32>,
    /// Open connections of one client address.
    pub connections_per_address: Option<u32>,
    /// New connections of one client address, per second; twice that in a burst.
    pub connection_rate_per_address: Option<u32>,
    /// Connections that have not finished their request yet.
    pub handshakes: Option<u32>,
    /// The same, of one client address.
    pub handshakes_per_address: Option<u32>,
    /// Bytes of a message from a client that the gateway parses, 1024..=16 MiB.
    pub message_size: usize,
    /// Fragments of one message.
    pub fragments: Option<u32>,
    /// Control frames from one client, per second; twice that in a burst.
    pub control_frames: Option<u32>,
    /// Messages of one session that ask for something (`wscast.v1`), per second; twice that in a burst.
    pub control_messages: Option<u32>,
    /// How long a client's socket may take no byte, at least 100 ms; not a count, so `all=off` leaves it.
    pub stall: Option<Duration>,
    /// Streams joined at once.
    pub streams: Option<u32>,
    /// Streams of one session.
    pub streams_per_session: Option<u32>,
    /// Joins of streams that are not joined yet, of all sessions together, per second; twice that in a burst.
    pub join_rate: Option<u32>,
    /// Datagrams that one session sends, per second; twice that in a burst.
    pub send_rate_per_session: Option<u32>,
    /// Datagrams that all sessions send to one group, per second; twice that in a burst.
    pub send_rate_per_group: Option<u32>,
    /// Datagrams that all sessions send, per second; twice that in a burst.
    pub send_rate: Option<u32>,
    /// What all sessions send, in bits of payload per second.
    pub send_bandwidth: Option<u64>,
    /// Bytes of a datagram from a client, 0..=65507 (RFC 768: what IPv4 can carry).
    pub send_size: usize,
    /// Bytes that a client may lag behind, and a stream's log holds for that; 256 KiB..=1 GiB.
    pub lag_bytes: usize,
    /// The same in datagrams, 16..=2^24.
    pub lag_datagrams: usize,
    /// The same in time, 10 ms..=1 h.
    pub lag_age: Duration,
    /// Bytes that a stream's log keeps for `replay`, up to 1 GiB; 0 for none.
    pub replay_bytes: usize,
    /// The same in time, up to 60 s.
    pub replay_age: Duration,
    /// Packets of an RTP stream, from one that is missed to the newest, that wait for it, 1..=1024.
    pub reorder_datagrams: usize,
    /// The same in time, up to 5 s.
    pub reorder_age: Duration,
    /// The same where forward error correction may bring it back, up to 10 s.
    pub fec_age: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: Some(1024),
            connections_per_address: Some(64),
            connection_rate_per_address: Some(20),
            handshakes: Some(256),
            handshakes_per_address: Some(16),
            message_size: 65536,
            fragments: Some(16),
            control_frames: Some(10),
            control_messages: Some(100),
            stall: Some(Duration::from_secs(10)),
            streams: Some(64),
            streams_per_session: Some(16),
            join_rate: Some(5),
            send_rate_per_session: Some(50),
            send_rate_per_group: Some(200),
            send_rate: Some(500),
            send_bandwidth: Some(1_000_000),
            send_size: 1452,
            lag_bytes: 4 << 20,
            lag_datagrams: 65536,
            lag_age: Duration::from_secs(2),
            replay_bytes: 8 << 20,
            replay_age: Duration::from_secs(10),
            reorder_datagrams: 128,
            reorder_age: Duration::from_millis(100),
            fec_age: Duration::from_secs(2),
        }
    }
}

/// The names of all limits, in the order of [`Limits`].
pub const NAMES: [&str; 26] = [
    "connections",
    "connections-per-address",
    "connection-rate-per-address",
    "handshakes",
    "handshakes-per-address",
    "message-size",
    "fragments",
    "control-frames",
    "control-messages",
    "stall",
    "streams",
    "streams-per-session",
    "join-rate",
    "send-rate-per-session",
    "send-rate-per-group",
    "send-rate",
    "send-bandwidth",
    "send-size",
    "lag-bytes",
    "lag-datagrams",
    "lag-age",
    "replay-bytes",
    "replay-age",
    "reorder-datagrams",
    "reorder-age",
    "fec-age",
];

/// A limit that can't be set.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LimitError {
    /// No `=`.
    #[error("limit {} has no value: write NAME=VALUE or NAME=off", quote(.0))]
    NoValue(String),
    /// No such limit.
    #[error("there is no limit {}: known are {}, and all=off", quote(.0), NAMES.join(", "))]
    Unknown(String),
    /// The value is not of the limit's kind, or out of its bounds.
    #[error("limit {name}={} is not possible: {fix}", quote(.value))]
    BadValue {
        /// Which limit.
        name: &'static str,
        /// The value given.
        value: String,
        /// What can be written.
        fix: String,
    },
    /// A message must hold the largest datagram that may be sent.
    #[error(
        "limit message-size ({message}) is less than send-size ({send}): raise the one or lower the other"
    )]
    MessageBelowSend {
        /// `message-size`, in bytes.
        message: usize,
        /// `send-size`, in bytes.
        send: usize,
    },
}

/// One `NAME=VALUE` that is known to be settable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitSetting(String);

impl FromStr for LimitSetting {
    type Err = LimitError;

    fn from_str(text: &str) -> Result<LimitSetting, LimitError> {
        Limits::default().set(text)?;
        Ok(LimitSetting(text.to_owned()))
    }
}

/// A limit's place and what may be put there.
#[derive(PartialEq)]
enum Slot<'a> {
    Count(&'a mut Option<u32>),
    Rate(&'a mut Option<u32>),
    Bandwidth(&'a mut Option<u64>),
    Deadline(&'a mut Option<Duration>),
    Size(&'a mut usize, usize, usize),
    Datagrams(&'a mut usize, usize, usize),
    Age(&'a mut Duration, Duration, Duration),
}

impl Limits {
    /// Sets one limit: `NAME=VALUE`, `NAME=off`, or `all=off`, which lifts every count and rate and leaves
    /// sizes, ages and `stall`.
    ///
    /// Counts are `64`, rates `20/s` or `20`, sizes and durations as in [`quantity`](super::quantity),
    /// bandwidth `1Mbit/s`, `500kbit/s` or bits. Sets nothing on an error. What only two limits together can
    /// break, [`check`](Self::check) finds.
    pub fn set(&mut self, name_equals_value: &str) -> Result<(), LimitError> {
        let (name, value) = name_equals_value
            .split_once('=')
            .ok_or_else(|| LimitError::NoValue(name_equals_value.to_owned()))?;
        self.set_value(name.trim(), value.trim())
    }

    /// The same with name and value apart.
    pub fn set_value(&mut self, name: &str, value: &str) -> Result<(), LimitError> {
        if name == "all" {
            return self.lift(value);
        }
        let known = NAMES.iter().find(|&&known| known == name);
        let &name = known.ok_or_else(|| LimitError::Unknown(name.to_owned()))?;
        let refuse = |fix: String| LimitError::BadValue { name, value: value.to_owned(), fix };
        match self.slot(name) {
            Slot::Count(place) => *place = count(value).map_err(refuse)?,
            Slot::Rate(place) => *place = rate(value).map_err(refuse)?,
            Slot::Bandwidth(place) => *place = bandwidth(value).map_err(refuse)?,
            Slot::Deadline(place) => *place = deadline(value).map_err(refuse)?,
            Slot::Size(place, least, most) => {
                let fix = format!("write {} to {}", format_size(least), format_size(most));
                *place = bounded(parse_size(value), least, most, fix).map_err(refuse)?;
            }
            Slot::Datagrams(place, least, most) => {
                let fix = format!("write {least} to {most}");
                let number = Some(value).filter(|value| is_digits(value)).ok_or("not a number");
                let number = number.and_then(|value| value.parse().map_err(|_| "too large"));
                *place = bounded(number, least, most, fix).map_err(refuse)?;
            }
            Slot::Age(place, least, most) => {
                let fix = format!("write {} to {} s", least.as_secs_f64(), most.as_secs());
                *place = bounded(parse_duration(value), least, most, fix).map_err(refuse)?;
            }
        }
        Ok(())
    }

    /// Applies a setting that was checked when it was read.
    pub fn apply(&mut self, setting: &LimitSetting) {
        self.set(&setting.0).expect("a setting is made only of what can be set, whatever was set before");
    }

    /// Checks what only two limits together can break: a message holds the largest datagram.
    pub fn check(&self) -> Result<(), LimitError> {
        if self.message_size < self.send_size {
            return Err(LimitError::MessageBelowSend { message: self.message_size, send: self.send_size });
        }
        Ok(())
    }

    /// The names of the limits that differ from those of `other`.
    pub fn differing(&self, other: &Limits) -> Vec<&'static str> {
        let (mut ours, mut others) = (self.clone(), other.clone());
        NAMES.into_iter().filter(|name| ours.slot(name) != others.slot(name)).collect()
    }

    /// True where any count or rate is off, so that memory and load have no bound; the log should say so.
    pub fn is_unlimited(&self) -> bool {
        let mut copy = self.clone();
        NAMES.iter().any(|name| match copy.slot(name) {
            Slot::Count(place) | Slot::Rate(place) => place.is_none(),
            Slot::Bandwidth(place) => place.is_none(),
            _ => false,
        })
    }

    fn lift(&mut self, value: &str) -> Result<(), LimitError> {
        if value != "off" {
            let fix = "write all=off, or name a limit".to_owned();
            return Err(LimitError::BadValue { name: "all", value: value.to_owned(), fix });
        }
        for name in NAMES {
            match self.slot(name) {
                Slot::Count(place) | Slot::Rate(place) => *place = None,
                Slot::Bandwidth(place) => *place = None,
                _ => {}
            }
        }
        Ok(())
    }

    /// Panics for a name that is not in [`NAMES`].
    fn slot(&mut self, name: &str) -> Slot<'_> {
        match name {
            "connections" => Slot::Count(&mut self.connections),
            "connections-per-address" => Slot::Count(&mut self.connections_per_address),
            "connection-rate-per-address" => Slot::Rate(&mut self.connection_rate_per_address),
            "handshakes" => Slot::Count(&mut self.handshakes),
            "handshakes-per-address" => Slot::Count(&mut self.handshakes_per_address),
            "message-size" => Slot::Size(&mut self.message_size, 1024, 16 << 20),
            "fragments" => Slot::Count(&mut self.fragments),
            "control-frames" => Slot::Rate(&mut self.control_frames),
            "control-messages" => Slot::Rate(&mut self.control_messages),
            "stall" => Slot::Deadline(&mut self.stall),
            "streams" => Slot::Count(&mut self.streams),
            "streams-per-session" => Slot::Count(&mut self.streams_per_session),
            "join-rate" => Slot::Rate(&mut self.join_rate),
            "send-rate-per-session" => Slot::Rate(&mut self.send_rate_per_session),
            "send-rate-per-group" => Slot::Rate(&mut self.send_rate_per_group),
            "send-rate" => Slot::Rate(&mut self.send_rate),
            "send-bandwidth" => Slot::Bandwidth(&mut self.send_bandwidth),
            "send-size" => Slot::Size(&mut self.send_size, 0, 65507),
            "lag-bytes" => Slot::Size(&mut self.lag_bytes, 256 << 10, 1 << 30),
            "lag-datagrams" => Slot::Datagrams(&mut self.lag_datagrams, 16, 1 << 24),
            "lag-age" => Slot::Age(&mut self.lag_age, Duration::from_millis(10), Duration::from_secs(3600)),
            "replay-bytes" => Slot::Size(&mut self.replay_bytes, 0, 1 << 30),
            "replay-age" => Slot::Age(&mut self.replay_age, Duration::ZERO, Duration::from_secs(60)),
            "reorder-datagrams" => Slot::Datagrams(&mut self.reorder_datagrams, 1, 1024),
            "reorder-age" => Slot::Age(&mut self.reorder_age, Duration::ZERO, Duration::from_secs(5)),
            "fec-age" => Slot::Age(&mut self.fec_age, Duration::ZERO, Duration::from_secs(10)),
            other => unreachable!("{other} is not a limit: NAMES and this match name the same"),
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

fn deadline(value: &str) -> Result<Option<Duration>, String> {
    if value == "off" {
        return Ok(None);
    }
    let fix = "write 0.1 s to 3600 s, or off".to_owned();
    bounded(parse_duration(value), Duration::from_millis(100), Duration::from_secs(3600), fix).map(Some)
}

fn bounded<T: PartialOrd + Copy, E>(
    value: Result<T, E>,
    least: T,
    most: T,
    fix: String,
) -> Result<T, String> {
    value.ok().filter(|value| (&least..=&most).contains(&value)).ok_or(fix)
}

#[cfg(test)]
mod tests;
