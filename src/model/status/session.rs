//! What the gateway tells about its sessions.

use serde::Serialize;

/// One open session.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SessionStatus {
    /// Number of the session; not used again while the gateway runs.
    pub number: u64,
    /// The shard that serves it.
    pub shard: usize,
    /// The client's address and port.
    pub peer: String,
    /// `websocket`, `wscast.v1` or `http`.
    pub kind: &'static str,
    /// Whose it is, by the name in the configuration; absent for whoever has shown nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    /// Seconds since it was opened.
    pub seconds: f64,
    /// True while the client's socket takes no more.
    pub blocked: bool,
    /// Bytes given to the kernel for this client, frames and control.
    pub bytes: u64,
    /// One entry for each stream it reads.
    pub subscriptions: Vec<SubscriptionStatus>,
    /// What it sends to its group, where it has sent anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sender: Option<SenderStatus>,
    /// The senders that it has open (`wscast.v1`).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub senders: Vec<SenderStatus>,
    /// The books of the streams that it has left and the senders that it has closed, where there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<EndedParts>,
}

/// The sums of what a session has ended before its own end.
///
/// They balance: `published = written + withheld + lost.*` and `accepted = sent + refused.*`, exactly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct EndedParts {
    /// Streams that it left.
    pub subscriptions: u64,
    /// Datagrams published while subscribed, replayed ones included.
    pub published: u64,
    /// Datagrams whose last byte the kernel took.
    pub written: u64,
    /// Not meant for this client.
    pub withheld: u64,
    /// Lost to this client, by cause; `closed` were not written when it left.
    pub lost: ClientLosses,
    /// Senders that it closed.
    pub senders: u64,
    /// Frames for them.
    pub accepted: u64,
    /// Datagrams handed to the kernel.
    pub sent: u64,
    /// Not sent, by cause.
    pub refused: RefusedSends,
}

/// The books of one client on one stream.
///
/// They balance: `published = written + withheld.* + lost.* + pending`, exactly.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SubscriptionStatus {
    /// Number of the stream.
    pub stream: u32,
    /// `239.1.2.3:5000`.
    pub group: String,
    /// The interface by name.
    pub interface: String,
    /// Datagrams published while subscribed, replayed ones included.
    pub published: u64,
    /// Datagrams whose last byte the kernel took.
    pub written: u64,
    /// Not meant for this client.
    pub withheld: Withheld,
    /// Lost to this client, by cause.
    pub lost: ClientLosses,
    /// In the log, not written yet.
    pub pending: u64,
}

/// Datagrams that a client was not meant to get.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Withheld {
    /// Its own sends (`echo=0`).
    pub echo: u64,
    /// Passed over by `overflow=latest`.
    pub latest: u64,
}

/// Datagrams lost to a client, by the bound that it broke.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ClientLosses {
    /// It lagged more than `lag-bytes`.
    pub bytes: u64,
    /// It lagged more than `lag-datagrams`.
    pub datagrams: u64,
    /// It lagged more than `lag-age`.
    pub age: u64,
    /// Not written when the connection or the subscription ended.
    pub closed: u64,
}

/// What a client sends.
///
/// The books balance: `accepted = sent + refused.*`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SenderStatus {
    /// The group.
    pub group: String,
    /// The interface by name.
    pub interface: String,
    /// Our address and port there, where replies come back.
    pub source: String,
    /// Frames that the client sent.
    pub accepted: u64,
    /// Datagrams handed to the kernel.
    pub sent: u64,
    /// Not sent, by cause.
    pub refused: RefusedSends,
    /// Unicast replies that came back to the client.
    pub replies: u64,
    /// Replies lost because the client read too slowly.
    pub replies_lost: u64,
}

/// Client frames that were not sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RefusedSends {
    /// Over the rate of the session, the group or the gateway.
    pub rate: u64,
    /// Larger than `send-size`.
    pub size: u64,
    /// The kernel refused: queue full, no route, firewall, interface away.
    pub kernel: u64,
}

/// A session that ended.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ClosedSession {
    /// Its books at the end; `pending` is 0, what was not written stands under `lost.closed`.
    #[serde(flatten)]
    pub session: SessionStatus,
    /// The close code: ours, or the client's, or 1006 where there was none.
    pub code: u16,
    /// The close reason.
    pub reason: String,
    /// `client`, `gateway` or `network`.
    pub closed_by: &'static str,
    /// When its books were closed, in seconds since the gateway's start.
    pub closed_at: f64,
}

impl SessionStatus {
    /// What [`SessionStatus::kind`] can be.
    pub const KINDS: [&str; 3] = ["websocket", "wscast.v1", "http"];

    /// The sums of all its streams and senders, those that it has ended included.
    #[must_use]
    pub fn sums(&self) -> EndedParts {
        let mut sums = self.ended.unwrap_or_default();
        self.subscriptions.iter().for_each(|books| sums.add_subscription(books));
        self.sender.iter().chain(&self.senders).for_each(|books| sums.add_sender(books));
        sums
    }
}

impl EndedParts {
    /// Adds other sums.
    pub fn absorb(&mut self, other: &EndedParts) {
        self.subscriptions += other.subscriptions;
        self.published += other.published;
        self.written += other.written;
        self.withheld += other.withheld;
        self.lost.bytes += other.lost.bytes;
        self.lost.datagrams += other.lost.datagrams;
        self.lost.age += other.lost.age;
        self.lost.closed += other.lost.closed;
        self.senders += other.senders;
        self.accepted += other.accepted;
        self.sent += other.sent;
        self.refused.rate += other.refused.rate;
        self.refused.size += other.refused.size;
        self.refused.kernel += other.refused.kernel;
    }

    /// Adds the last books of a stream that was left.
    pub fn add_subscription(&mut self, books: &SubscriptionStatus) {
        self.subscriptions += 1;
        self.published += books.published;
        self.written += books.written;
        self.withheld += books.withheld.echo + books.withheld.latest;
        self.lost.bytes += books.lost.bytes;
        self.lost.datagrams += books.lost.datagrams;
        self.lost.age += books.lost.age;
        self.lost.closed += books.lost.closed;
    }

    /// Adds the last books of a sender that was closed.
    pub fn add_sender(&mut self, books: &SenderStatus) {
        self.senders += 1;
        self.accepted += books.accepted;
        self.sent += books.sent;
        self.refused.rate += books.refused.rate;
        self.refused.size += books.refused.size;
        self.refused.kernel += books.refused.kernel;
    }
}
