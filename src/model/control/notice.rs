//! What the gateway says.

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use thiserror::Error;

use super::ErrorCode;
use crate::model::text::quote;

/// One text message from the gateway. Its texts are borrowed, from what the gateway has or from the message.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Notice<'a> {
    /// The first message.
    Hello(Hello<'a>),
    /// Answers `auth`.
    Authenticated(Authenticated<'a>),
    /// Answers `join`; one for each interface with `"interface":"all"`.
    Joined(Joined<'a>),
    /// Answers `leave`; without `id`, the gateway ended the subscription.
    Left(Left),
    /// Answers `open_send`.
    Sender(SenderOpened<'a>),
    /// Answers `close_send`; without `id`, the gateway closed the sender.
    SenderClosed(SenderClosed),
    /// A stream is in another state.
    State(StateChanged<'a>),
    /// Datagrams of a stream do not come; before the first record after the hole.
    Lost(Lost),
    /// What a client said can't be done.
    Error(ErrorNotice<'a>),
    /// A sign of life, as often as `hello` says.
    Heartbeat(Heartbeat),
    /// The gateway is about to stop.
    Draining {
        /// When to come back, in milliseconds.
        reconnect_after_ms: u32,
    },
    /// Answers `watch`, each time.
    Status(StatusNotice<'a>),
    /// Answers `ping`.
    Pong(Pong),
}

/// `hello`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello<'a> {
    /// The random name of this run of the gateway.
    #[serde(borrow)]
    pub gateway: Cow<'a, str>,
    /// The gateway's version.
    #[serde(borrow)]
    pub version: Cow<'a, str>,
    /// What this client may take.
    pub limits: HelloLimits,
    /// Seconds between two heartbeats.
    pub heartbeat: u32,
}

/// What a client may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HelloLimits {
    /// Streams joined at once; `null` where that is not limited.
    pub streams: Option<u32>,
    /// Bytes of a datagram that this client may send.
    pub datagram: u32,
}

/// `authenticated`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authenticated<'a> {
    /// The client's number of its `auth`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// Who it is, by the name in the gateway's configuration.
    #[serde(borrow)]
    pub principal: Cow<'a, str>,
    /// Until when, in seconds since 1970; `null` for ever.
    pub expires: Option<u64>,
}

/// `joined`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joined<'a> {
    /// The client's number of its `join`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// The stream's number, in the header of each of its records.
    pub stream: u32,
    /// Where it is joined, by name.
    #[serde(borrow)]
    pub interface: Cow<'a, str>,
    /// How it is.
    pub state: StreamState,
    /// The sequence of the first record to come.
    pub next_sequence: u32,
}

/// `left`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// The client's number of its `leave`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// The stream's number.
    pub stream: u32,
}

/// `sender`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SenderOpened<'a> {
    /// The client's number of its `open_send`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// The sender's number, for the header of each record.
    pub sender: u32,
    /// Where it sends, by name.
    #[serde(borrow)]
    pub interface: Cow<'a, str>,
    /// Address and port that the datagrams come from.
    pub source: SocketAddr,
}

/// `sender_closed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SenderClosed {
    /// The client's number of its `close_send`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// The sender's number.
    pub sender: u32,
}

/// How a stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StreamState {
    /// A datagram came within the last 2 s.
    Receiving,
    /// Joined, and nobody sends.
    Silent,
    /// The interface is not there, or down.
    WaitingForInterface,
}

/// `state`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateChanged<'a> {
    /// The stream's number.
    pub stream: u32,
    /// How it is.
    pub state: StreamState,
    /// Where it is joined, by name; while it waits, where it was.
    #[serde(borrow)]
    pub interface: Cow<'a, str>,
}

/// Where datagrams were lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LossCause {
    /// This client was too slow.
    Client,
    /// The gateway's host was too slow: its socket's buffer was full.
    Kernel,
    /// A rate was exceeded.
    RateLimit,
    /// The interface was away.
    Interface,
    /// Not lost: this client sent them itself, and did not ask for its echo.
    Echo,
    /// It can't be known.
    Unknown,
}

/// `lost`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lost {
    /// The stream's number.
    pub stream: u32,
    /// How many; `null` where that can't be known.
    pub datagrams: Option<u64>,
    /// Where.
    #[serde(rename = "where")]
    pub cause: LossCause,
    /// How many of this stream and cause in all, as far as known.
    pub total: u64,
    /// How long it took, where the number can't be known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
}

/// `error`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorNotice<'a> {
    /// The client's number, where one was given and could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// What kind of mistake.
    pub code: ErrorCode,
    /// What is wrong and what to change, one line.
    #[serde(borrow)]
    pub message: Cow<'a, str>,
    /// Whether the same may be right at another time.
    pub retry: bool,
    /// The stream that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<u32>,
    /// The sender that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<u32>,
    /// Datagrams from this client that were refused since the last such message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub datagrams: Option<u64>,
}

/// `heartbeat`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// The gateway's clock, in seconds since 1970.
    pub time: f64,
}

/// `status`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct StatusNotice<'a> {
    /// The client's number of its `watch`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// As `/api/v1/status` has it, written once for all who watch.
    #[serde(borrow)]
    pub status: &'a RawValue,
}

/// `pong`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pong {
    /// The client's number of its `ping`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
}

/// A text that a client does not understand.
#[derive(Debug, Error)]
pub enum NoticeError {
    /// Not JSON, or fields are missing or of another type.
    #[error("the gateway's message is not as docs/protocol.md has it: {0}")]
    Malformed(#[from] serde_json::Error),
    /// A later gateway's; to be ignored.
    #[error("the gateway's message is of type {}, which this version does not know", quote(.0))]
    UnknownType(String),
}

impl<'a> Notice<'a> {
    /// Reads one text message; unknown fields are ignored.
    ///
    /// # Errors
    /// [`NoticeError::UnknownType`], which a client ignores, and [`NoticeError::Malformed`].
    pub fn decode(text: &'a str) -> Result<Notice<'a>, NoticeError> {
        #[derive(Deserialize)]
        struct Kind<'a> {
            #[serde(borrow, rename = "type")]
            kind: Cow<'a, str>,
        }
        #[derive(Deserialize)]
        struct Draining {
            reconnect_after_ms: u32,
        }
        let kind: Kind<'_> = serde_json::from_str(text)?;
        Ok(match &*kind.kind {
            "hello" => Notice::Hello(serde_json::from_str(text)?),
            "authenticated" => Notice::Authenticated(serde_json::from_str(text)?),
            "joined" => Notice::Joined(serde_json::from_str(text)?),
            "left" => Notice::Left(serde_json::from_str(text)?),
            "sender" => Notice::Sender(serde_json::from_str(text)?),
            "sender_closed" => Notice::SenderClosed(serde_json::from_str(text)?),
            "state" => Notice::State(serde_json::from_str(text)?),
            "lost" => Notice::Lost(serde_json::from_str(text)?),
            "error" => Notice::Error(serde_json::from_str(text)?),
            "heartbeat" => Notice::Heartbeat(serde_json::from_str(text)?),
            "draining" => {
                let Draining { reconnect_after_ms } = serde_json::from_str(text)?;
                Notice::Draining { reconnect_after_ms }
            }
            "status" => Notice::Status(serde_json::from_str(text)?),
            "pong" => Notice::Pong(serde_json::from_str(text)?),
            other => return Err(NoticeError::UnknownType(other.to_owned())),
        })
    }

    /// The message's text.
    #[must_use]
    pub fn encode(&self) -> String {
        serde_json::to_string(self).expect("texts, numbers and raw JSON are always JSON")
    }
}

impl<'a> ErrorNotice<'a> {
    /// An error that is about nothing in particular; `retry` is the code's.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<Cow<'a, str>>) -> ErrorNotice<'a> {
        let (message, retry) = (message.into(), code.retry());
        ErrorNotice { id: None, code, message, retry, stream: None, sender: None, datagrams: None }
    }
}

impl StreamState {
    /// The name on the wire and in the status.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            StreamState::Receiving => "receiving",
            StreamState::Silent => "silent",
            StreamState::WaitingForInterface => "waiting-for-interface",
        }
    }
}

impl fmt::Display for StreamState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl LossCause {
    /// The name on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            LossCause::Client => "client",
            LossCause::Kernel => "kernel",
            LossCause::RateLimit => "rate-limit",
            LossCause::Interface => "interface",
            LossCause::Echo => "echo",
            LossCause::Unknown => "unknown",
        }
    }
}

impl fmt::Display for LossCause {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}
