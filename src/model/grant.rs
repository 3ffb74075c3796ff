//! What somebody may do, and how much of it.

use super::name::Names;
use super::policy::Policy;

/// Everything that one principal may. Looked at when something is opened or joined, never for a datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Groups of its own choice.
    pub policy: Policy,
    /// Streams of the configuration that it sees and may receive, by name.
    pub streams: Names,
    /// Those of them that it may send to.
    pub send_streams: Names,
    /// The largest TTL that it may send with, below the gateway's own.
    pub max_ttl: Option<u8>,
    /// Datagrams a second that each of its sessions may send, in place of the limit `send-rate-per-session`.
    pub send_rate: Option<u32>,
    /// Streams, and senders, of each of its sessions, in place of the limit `streams-per-session`.
    pub streams_per_session: Option<u32>,
    /// Sessions at once, over all addresses.
    pub sessions: Option<u32>,
    /// Whether it may read what the gateway tells of itself and of all clients: status, interfaces, metrics.
    pub status: bool,
    /// Whether it is another gateway, which may mirror what the lists of the flags allow.
    pub link: bool,
}

impl Grant {
    /// What everybody may whom nobody asks for a token: what the flags say, and every stream that has a name.
    #[must_use]
    pub fn open(policy: Policy) -> Grant {
        Grant {
            policy,
            streams: Names::all(),
            send_streams: Names::default(),
            max_ttl: None,
            send_rate: None,
            streams_per_session: None,
            sessions: None,
            status: true,
            link: true,
        }
    }
}
