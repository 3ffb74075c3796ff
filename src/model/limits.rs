//! Every bound on what clients may take, by name.

mod slot;

use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;

use super::text::quote;
use slot::Slot;

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
    /// New connections in all, per second; twice that in a burst. Addresses that leave no handshake unfinished may
    /// come at as much again.
    pub connection_rate: Option<u32>,
    /// Connections that have not finished their first request yet; one more takes the place of the oldest.
    pub handshakes: Option<u32>,
    /// The same, of one client address.
    pub handshakes_per_address: Option<u32>,
    /// From an accepted connection to the end of its TLS handshake, 100 ms..=60 s.
    pub tls_time: Duration,
    /// From there, or from the last answer, to the last byte of a request's head, 100 ms..=60 s, however many reads that is.
    pub header_time: Duration,
    /// From an accepted connection to the answer to its first request, 100 ms..=60 s.
    pub handshake_time: Duration,
    /// Bytes of a request's path and query, 256 B..=16 KiB.
    pub url_size: usize,
    /// Bytes of a request's header fields together, 1 KiB..=64 KiB.
    pub header_size: usize,
    /// Header fields of a request, 16..=256.
    pub header_fields: usize,
    /// Requests on one connection, per second; twice that in a burst.
    pub requests: Option<u32>,
    /// How long a connection lasts, at least 100 ms, a tenth more or less; not a count, so `all=off` leaves it.
    pub lifetime: Option<Duration>,
    /// Bytes of a message from a client that the gateway parses, 1024..=16 MiB.
    pub message_size: usize,
    /// Fragments of one message.
    pub fragments: Option<u32>,
    /// How long a message may take from its first byte to its last, 100 ms..=60 s.
    pub message_time: Duration,
    /// Control frames from one client, per second; twice that in a burst.
    pub control_frames: Option<u32>,
    /// Messages of one session that ask for something (`wscast.v1`), per second; twice that in a burst.
    pub control_messages: Option<u32>,
    /// How long a client's socket may take no byte, at least 100 ms; not a count, so `all=off` leaves it.
    pub stall: Option<Duration>,
    /// Between two pings, 1 s..=1 h.
    pub ping: Duration,
    /// How long a client may leave a ping without a sign of life, 100 ms..=1 h.
    pub pong: Duration,
    /// Bytes that the kernel keeps for a client who reads slowly (`SO_SNDBUF`), 16 KiB..=16 MiB.
    pub socket_buffer: usize,
    /// Bytes not sent yet above which a client's socket takes no more (`TCP_NOTSENT_LOWAT`), 4 KiB..=16 MiB.
    pub socket_unsent: usize,
    /// Memory above which no new session is taken in.
    pub memory: MemoryMark,
    /// Streams joined at once.
    pub streams: Option<u32>,
    /// Subscriptions of all sessions to streams.
    pub subscriptions: Option<u32>,
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

/// Where too much memory begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryMark {
    /// Nowhere.
    Off,
    /// At so many hundredths (1..=100) of what there is: of the bound that the other limits make, of the machine's
    /// memory, and of the cgroup's, whichever is least.
    Share(u8),
    /// At so many resident bytes.
    Bytes(u64),
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: Some(1024),
            connections_per_address: Some(64),
            connection_rate_per_address: Some(20),
            connection_rate: Some(500),
            handshakes: Some(256),
            handshakes_per_address: Some(16),
            tls_time: Duration::from_secs(3),
            header_time: Duration::from_secs(5),
            handshake_time: Duration::from_secs(10),
            url_size: 4 << 10,
            header_size: 8 << 10,
            header_fields: 64,
            requests: Some(20),
            lifetime: None,
            message_size: 65536,
            fragments: Some(16),
            message_time: Duration::from_secs(5),
            control_frames: Some(10),
            control_messages: Some(100),
            stall: Some(Duration::from_secs(10)),
            ping: Duration::from_secs(20),
            pong: Duration::from_secs(10),
            socket_buffer: 128 << 10,
            socket_unsent: 64 << 10,
            memory: MemoryMark::Share(90),
            streams: Some(64),
            subscriptions: Some(4096),
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
pub const NAMES: [&str; 42] = [
    "connections",
    "connections-per-address",
    "connection-rate-per-address",
    "connection-rate",
    "handshakes",
    "handshakes-per-address",
    "tls-time",
    "header-time",
    "handshake-time",
    "url-size",
    "header-size",
    "header-fields",
    "requests",
    "lifetime",
    "message-size",
    "fragments",
    "message-time",
    "control-frames",
    "control-messages",
    "stall",
    "ping",
    "pong",
    "socket-buffer",
    "socket-unsent",
    "memory",
    "streams",
    "subscriptions",
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

const TENTH: Duration = Duration::from_millis(100);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

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
        self.slot(name).put(value).map_err(refuse)
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

    /// True where any count or rate is off, so that memory and load have no bound; the log should say so.
    pub fn is_unlimited(&self) -> bool {
        let mut copy = self.clone();
        NAMES.iter().any(|name| copy.slot(name).is_lifted())
    }

    /// The names of the limits that differ from those of `other`.
    pub fn differing(&self, other: &Limits) -> Vec<&'static str> {
        let (mut ours, mut others) = (self.clone(), other.clone());
        NAMES.into_iter().filter(|name| ours.slot(name) != others.slot(name)).collect()
    }

    fn lift(&mut self, value: &str) -> Result<(), LimitError> {
        if value != "off" {
            let fix = "write all=off, or name a limit".to_owned();
            return Err(LimitError::BadValue { name: "all", value: value.to_owned(), fix });
        }
        for name in NAMES {
            self.slot(name).lift();
        }
        Ok(())
    }

    /// Panics for a name that is not in [`NAMES`].
    fn slot(&mut self, name: &str) -> Slot<'_> {
        match name {
            "connections" => Slot::Count(&mut self.connections),
            "connections-per-address" => Slot::Count(&mut self.connections_per_address),
            "connection-rate-per-address" => Slot::Rate(&mut self.connection_rate_per_address),
            "connection-rate" => Slot::Rate(&mut self.connection_rate),
            "handshakes" => Slot::Count(&mut self.handshakes),
            "handshakes-per-address" => Slot::Count(&mut self.handshakes_per_address),
            "tls-time" => Slot::Age(&mut self.tls_time, TENTH, MINUTE),
            "header-time" => Slot::Age(&mut self.header_time, TENTH, MINUTE),
            "handshake-time" => Slot::Age(&mut self.handshake_time, TENTH, MINUTE),
            "url-size" => Slot::Size(&mut self.url_size, 256, 16 << 10),
            "header-size" => Slot::Size(&mut self.header_size, 1 << 10, 64 << 10),
            "header-fields" => Slot::Number(&mut self.header_fields, 16, 256),
            "requests" => Slot::Rate(&mut self.requests),
            "lifetime" => Slot::Deadline(&mut self.lifetime, 24 * HOUR),
            "message-size" => Slot::Size(&mut self.message_size, 1024, 16 << 20),
            "fragments" => Slot::Count(&mut self.fragments),
            "message-time" => Slot::Age(&mut self.message_time, TENTH, MINUTE),
            "control-frames" => Slot::Rate(&mut self.control_frames),
            "control-messages" => Slot::Rate(&mut self.control_messages),
            "stall" => Slot::Deadline(&mut self.stall, HOUR),
            "ping" => Slot::Age(&mut self.ping, Duration::from_secs(1), HOUR),
            "pong" => Slot::Age(&mut self.pong, TENTH, HOUR),
            "socket-buffer" => Slot::Size(&mut self.socket_buffer, 16 << 10, 16 << 20),
            "socket-unsent" => Slot::Size(&mut self.socket_unsent, 4 << 10, 16 << 20),
            "memory" => Slot::Mark(&mut self.memory),
            "streams" => Slot::Count(&mut self.streams),
            "subscriptions" => Slot::Count(&mut self.subscriptions),
            "streams-per-session" => Slot::Count(&mut self.streams_per_session),
            "join-rate" => Slot::Rate(&mut self.join_rate),
            "send-rate-per-session" => Slot::Rate(&mut self.send_rate_per_session),
            "send-rate-per-group" => Slot::Rate(&mut self.send_rate_per_group),
            "send-rate" => Slot::Rate(&mut self.send_rate),
            "send-bandwidth" => Slot::Bandwidth(&mut self.send_bandwidth),
            "send-size" => Slot::Size(&mut self.send_size, 0, 65507),
            "lag-bytes" => Slot::Size(&mut self.lag_bytes, 256 << 10, 1 << 30),
            "lag-datagrams" => Slot::Number(&mut self.lag_datagrams, 16, 1 << 24),
            "lag-age" => Slot::Age(&mut self.lag_age, Duration::from_millis(10), HOUR),
            "replay-bytes" => Slot::Size(&mut self.replay_bytes, 0, 1 << 30),
            "replay-age" => Slot::Age(&mut self.replay_age, Duration::ZERO, MINUTE),
            "reorder-datagrams" => Slot::Number(&mut self.reorder_datagrams, 1, 1024),
            "reorder-age" => Slot::Age(&mut self.reorder_age, Duration::ZERO, Duration::from_secs(5)),
            "fec-age" => Slot::Age(&mut self.fec_age, Duration::ZERO, Duration::from_secs(10)),
            other => unreachable!("{other} is not a limit: NAMES and this match name the same"),
        }
    }
}

#[cfg(test)]
mod tests;
