//! How a conversation ends, and who ended it.

/// How a conversation ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// Close code.
    pub code: u16,
    /// Reason, a stable word first.
    pub reason: String,
    /// Who began it.
    pub by: EndedBy,
}

/// Who ended a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndedBy {
    /// The client closed, or broke a rule.
    Client,
    /// The gateway closed.
    Gateway,
    /// The connection was lost.
    Network,
}

impl EndedBy {
    /// For status and log.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            EndedBy::Client => "client",
            EndedBy::Gateway => "gateway",
            EndedBy::Network => "network",
        }
    }
}
