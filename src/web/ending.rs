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

/// The close code of a session that a mistake of this program has ended (RFC 6455 section 7.4.1).
pub const OUR_MISTAKE: u16 = 1011;

impl Ending {
    /// The end of a session in whose work this program has panicked.
    #[must_use]
    pub fn our_mistake() -> Self {
        let reason = "internal: a mistake of the gateway, which it has logged".to_owned();
        Ending { code: OUR_MISTAKE, reason, by: EndedBy::Gateway }
    }
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
