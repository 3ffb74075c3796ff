//! What can go wrong between a program and its gateway.

use std::time::Duration;

use thiserror::Error;

use crate::model::control::ErrorCode;

/// Why there is no connection, no subscription or no sender.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ClientError {
    /// Not a gateway's URL.
    #[error("connecting to {url}: {fix}")]
    Url {
        /// As it was given.
        url: String,
        /// What to write.
        fix: String,
    },
    /// Nobody there, or the connection broke.
    #[error("{url}: {reason}")]
    Unreachable {
        /// Where.
        url: String,
        /// In the system's words.
        reason: String,
    },
    /// The handshake was refused.
    #[error("connecting to {url}: refused with {status}: {reason}")]
    Refused {
        /// Where.
        url: String,
        /// HTTP status.
        status: u16,
        /// The first line of the answer.
        reason: String,
        /// When to come back, where the gateway says.
        retry_after: Option<Duration>,
    },
    /// Somebody is there who does not speak `wscast.v1`.
    #[error("connecting to {url}: no wscast.v1 is spoken there: {reason}")]
    NotSpoken {
        /// Where.
        url: String,
        /// What is.
        reason: String,
    },
    /// The gateway closed the connection.
    #[error("{url} closed the connection: {code} {reason}")]
    Closed {
        /// Where.
        url: String,
        /// The close code (docs/protocol.md, section 4).
        code: u16,
        /// The close reason.
        reason: String,
    },
    /// The gateway said nothing for too long.
    #[error("{url} said nothing for {silence:?}")]
    Silent {
        /// Where.
        url: String,
        /// How long.
        silence: Duration,
    },
    /// The gateway refuses a join or a sender.
    #[error("{message} ({code})")]
    Denied {
        /// What kind of refusal.
        code: ErrorCode,
        /// What to change, in the gateway's words.
        message: String,
        /// Whether it may be different at another time.
        retry: bool,
    },
    /// The gateway ended the subscription or sender.
    #[error("the gateway ended it")]
    Ended,
    /// The [`Gateway`](super::Gateway) was closed or dropped.
    #[error("the connection was closed here")]
    Gone,
}

impl ClientError {
    /// True where another attempt makes no sense without a change: docs/protocol.md, section 4.
    #[must_use]
    pub fn is_final(&self) -> bool {
        match self {
            ClientError::Unreachable { .. } | ClientError::Silent { .. } => false,
            ClientError::Closed { code, .. } => {
                !matches!(code, 1001 | 1005 | 1006 | 1011 | 1013 | 4500..=4999)
            }
            ClientError::Refused { status, .. } => !matches!(status, 429 | 500..=599),
            ClientError::Denied { retry, .. } => !retry,
            ClientError::Url { .. }
            | ClientError::NotSpoken { .. }
            | ClientError::Ended
            | ClientError::Gone => true,
        }
    }
}

/// Why a datagram was not taken for sending.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SendError {
    /// The connection is away, or the sender not open again yet; what is live now is stale then, so it is not kept.
    #[error("the gateway is away: the datagram was not sent")]
    Away,
    /// Longer than this client may send.
    #[error("the datagram has {length} bytes and this client may send {most}: raise the gateway's send-size")]
    TooLarge {
        /// Bytes of the payload.
        length: usize,
        /// Bytes that may be.
        most: usize,
    },
    /// There is no sender any more.
    #[error("the sender has ended: {0}")]
    Over(ClientError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_codes_say_whether_to_come_back() {
        let closed = |code| ClientError::Closed { url: String::new(), code, reason: String::new() };
        for code in [1001, 1006, 1011, 1013, 4500, 4508, 4999] {
            assert!(!closed(code).is_final(), "{code}");
        }
        for code in [1000, 1002, 1003, 1008, 1009, 4000, 4401, 4403, 4408, 4499, 5000] {
            assert!(closed(code).is_final(), "{code}");
        }
    }
}
