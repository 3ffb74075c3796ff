//! The text messages of `wscast.v1`: what clients say ([`Command`]) and what the gateway says ([`Notice`]).
//!
//! One JSON object each (docs/protocol.md, section 2; texts to check against: `tests/vectors/control.json`). Values are
//! parsed to the model's own types here and nowhere else.

mod command;
mod error_code;
mod fields;
mod notice;
mod wire;

pub use command::{Action, Command, CommandError, Join, JoinNamed, OpenSend, OpenSendNamed, Resume};
pub use error_code::ErrorCode;
pub use notice::{
    Authenticated, ErrorNotice, Heartbeat, Hello, HelloLimits, Joined, Left, LossCause, Lost, Notice,
    NoticeError, Pong, SenderClosed, SenderOpened, StateChanged, StatusNotice, StreamState,
};

use std::time::Duration;

pub use crate::model::token::Token;

/// Bytes of a text message from a client.
pub const LONGEST_COMMAND: usize = 4 << 10;
/// The largest `id`: the largest whole number that JavaScript tells from its neighbours (2^53 - 1).
pub const LARGEST_ID: u64 = (1 << 53) - 1;
/// The shortest `interval_ms` of a `watch`, but for 0, which ends it.
pub const SHORTEST_WATCH: Duration = Duration::from_millis(250);
/// The longest `interval_ms` of a `watch`.
pub const LONGEST_WATCH: Duration = Duration::from_secs(60);
