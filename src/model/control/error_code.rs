//! The stable names of what can be wrong with what a client said.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The `code` of an `error` message. Names are stable; new ones may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The text is not one JSON object.
    BadJson,
    /// The text is longer than [`LONGEST_COMMAND`](super::LONGEST_COMMAND).
    TooLong,
    /// `type` is none that this gateway knows.
    UnknownType,
    /// A field is missing, of the wrong type, or its value is not possible.
    BadField,
    /// A binary message, or what is left of it, is no record.
    BadRecord,
    /// The policy does not let this client join or send there.
    NotAllowed,
    /// The token of `auth` is not valid.
    BadToken,
    /// This session has as many streams as it may (`limits.streams` of `hello`): leave one first.
    TooManyStreams,
    /// This session has as many senders as it may: close one first.
    TooManySenders,
    /// Joins come too fast: join again in a moment.
    JoinRate,
    /// This session has that stream already; `stream` is its number.
    AlreadyJoined,
    /// This session has no stream of that number.
    UnknownStream,
    /// This session has no sender of that number.
    UnknownSender,
    /// The configuration has no stream of that name, or this client may not see it.
    NoSuchStream,
    /// A datagram is longer than this client may send (`limits.datagram` of `hello`).
    TooLarge,
    /// Datagrams come faster than this client may send; the ones counted were not sent.
    Rate,
    /// There is no such interface, or none that can multicast.
    NoInterface,
    /// The kernel refused to join, in the words of `message`.
    JoinFailed,
    /// The kernel refused to send, in the words of `message`.
    SendFailed,
    /// The gateway has as many streams, senders or other things as it may: try again later.
    Overloaded,
    /// The gateway's own mistake.
    Internal,
    /// A code that this version does not know. Never sent.
    #[serde(other)]
    Other,
}

impl ErrorCode {
    /// The name on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            ErrorCode::BadJson => "bad_json",
            ErrorCode::TooLong => "too_long",
            ErrorCode::UnknownType => "unknown_type",
            ErrorCode::BadField => "bad_field",
            ErrorCode::BadRecord => "bad_record",
            ErrorCode::NotAllowed => "not_allowed",
            ErrorCode::BadToken => "bad_token",
            ErrorCode::TooManyStreams => "too_many_streams",
            ErrorCode::TooManySenders => "too_many_senders",
            ErrorCode::JoinRate => "join_rate",
            ErrorCode::AlreadyJoined => "already_joined",
            ErrorCode::UnknownStream => "unknown_stream",
            ErrorCode::UnknownSender => "unknown_sender",
            ErrorCode::NoSuchStream => "no_such_stream",
            ErrorCode::TooLarge => "too_large",
            ErrorCode::Rate => "rate",
            ErrorCode::NoInterface => "no_interface",
            ErrorCode::JoinFailed => "join_failed",
            ErrorCode::SendFailed => "send_failed",
            ErrorCode::Overloaded => "overloaded",
            ErrorCode::Internal => "internal",
            ErrorCode::Other => "other",
        }
    }

    /// True where the same words may be right at another time, without anything changed by the client.
    #[must_use]
    pub fn retry(self) -> bool {
        matches!(
            self,
            ErrorCode::JoinRate
                | ErrorCode::Rate
                | ErrorCode::NoInterface
                | ErrorCode::JoinFailed
                | ErrorCode::SendFailed
                | ErrorCode::Overloaded
                | ErrorCode::Internal
        )
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_on_the_wire() {
        for code in [ErrorCode::BadJson, ErrorCode::TooManyStreams, ErrorCode::JoinFailed, ErrorCode::Other] {
            assert_eq!(serde_json::to_value(code).expect("a text"), code.name());
        }
        let newer: ErrorCode = serde_json::from_str(r#""of_a_later_version""#).expect("taken");
        assert_eq!(newer, ErrorCode::Other);
    }
}
