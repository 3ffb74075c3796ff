//! What the gateway tells about itself: the JSON of `/api/v1/status` and `/api/v1/interfaces`.
//!
//! Every shard fills one [`Status`] from its own books and the gateway adds them up with [`Status::absorb`].
//! All counters count from the start of the stream or session they stand in and never go down.

use std::collections::BTreeMap;

use serde::Serialize;

/// The whole gateway at one moment.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Status {
    /// The gateway itself.
    pub gateway: GatewayStatus,
    /// Every running stream, by number.
    pub streams: Vec<StreamStatus>,
    /// Every open session, by number.
    pub sessions: Vec<SessionStatus>,
    /// The sessions that ended last, newest first, at most [`RECENTLY_CLOSED`].
    pub closed: Vec<ClosedSession>,
    /// Streams that ended last, newest first, at most [`RECENTLY_CLOSED`].
    pub ended_streams: Vec<StreamStatus>,
    /// Requests that were refused, by HTTP status or close code.
    pub refused: BTreeMap<String, u64>,
    /// The host's interfaces as they are now.
    pub interfaces: Vec<InterfaceStatus>,
}

/// How many ended sessions (and streams) the status remembers.
pub const RECENTLY_CLOSED: usize = 64;

/// The gateway's own facts.
#[derive(Clone, Debug, Default, Serialize)]
pub struct GatewayStatus {
    /// Version of this program.
    pub version: &'static str,
    /// A random name of this run (16 hexadecimal digits).
    pub id: String,
    /// Seconds since the start.
    pub uptime_seconds: f64,
    /// Where it listens.
    pub listen: Vec<String>,
    /// Number of shards.
    pub threads: usize,
    /// The most memory that streams and clients may take, in bytes; `null` where a limit is lifted.
    pub memory_bound_bytes: Option<u64>,
    /// `on`, or `off` and why: whether sends to many clients are batched through io_uring.
    pub io_uring: String,
    /// True from the first signal to stop on.
    pub draining: bool,
    /// The streams that the configuration names.
    pub named_streams: BTreeMap<String, NamedStreamStatus>,
    /// Which groups clients may receive and send to.
    pub policy: PolicyStatus,
    /// Whether `/player.js` is there (`--player`).
    pub player: bool,
}

/// A stream that the configuration names, whether it runs or not.
#[derive(Clone, Debug, Default, Serialize)]
pub struct NamedStreamStatus {
    /// Path of its URL.
    pub path: String,
    /// `239.1.2.3:5000` or `[ff15::42]:5000`.
    pub group: String,
    /// Sources heard, empty for all.
    pub sources: Vec<String>,
    /// Sources not heard.
    pub exclude: Vec<String>,
    /// The interface that the configuration gives it; `null` for the gateway's default.
    pub interface: Option<String>,
}

/// What the configuration lets clients do; the deny list stands before both.
#[derive(Clone, Debug, Default, Serialize)]
pub struct PolicyStatus {
    /// Ranges of groups that may be received; `null` for every group.
    pub receive: Option<Vec<String>>,
    /// Ranges of groups that may be sent to; empty where sending is off.
    pub send: Vec<String>,
}

/// One stream: the gateway's running copy of one membership.
///
/// The books balance: `received = published + refused.*`, exactly; `lost.kernel` never got as far as `received`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct StreamStatus {
    /// Number of this run of the stream; not used again while the gateway runs.
    pub number: u32,
    /// The shard that runs it.
    pub shard: usize,
    /// `239.1.2.3:5000` or `[ff15::42]:5000`.
    pub group: String,
    /// Sources heard (`SOURCE@`), empty for all.
    pub sources: Vec<String>,
    /// Sources not heard (`exclude=`).
    pub exclude: Vec<String>,
    /// The interface as it was asked for: name, address or index.
    pub asked_interface: String,
    /// The interface it is joined on now, by name; the last one while it waits.
    pub interface: String,
    /// `receiving` (a datagram within the last 2 s), `silent` or `waiting-for-interface`.
    pub state: &'static str,
    /// Why it waits for the interface, in words; absent otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting: Option<String>,
    /// Datagrams read from the kernel.
    pub received: u64,
    /// Payload bytes of them.
    pub received_bytes: u64,
    /// Datagrams put into the log, for every subscriber to read.
    pub published: u64,
    /// Datagrams read but not published, by cause.
    pub refused: RefusedDatagrams,
    /// Datagrams lost before the gateway could read them.
    pub lost: StreamLosses,
    /// Times without the interface; what was missed then is unknown.
    pub outages: Outages,
    /// Subscribers now.
    pub subscribers: usize,
    /// The last sources seen, at most 16, with the datagrams of each.
    pub seen_sources: BTreeMap<String, u64>,
    /// TTL or hop limit of the last datagram.
    pub ttl: Option<u8>,
    /// When the last datagram came, seconds since 1970 (kernel time).
    pub last_received: Option<f64>,
    /// Receive buffer of the socket, in bytes as the kernel counts them.
    pub receive_buffer: ReceiveBuffer,
    /// What the log holds now.
    pub log: LogStatus,
}

/// Datagrams that were read and not published.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct RefusedDatagrams {
    /// Cut off by the receive buffer; never forwarded.
    pub truncated: u64,
    /// Came for another address or interface than the stream's.
    pub wrong_destination: u64,
}

/// Losses of a stream before its log.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct StreamLosses {
    /// Dropped by the kernel because the socket's buffer was full (`SO_MEMINFO`, `SO_RXQ_OVFL`).
    pub kernel: u64,
    /// Lost while the interface was away: `null`, it can't be known, when there was any outage; 0 otherwise.
    pub interface: Option<u64>,
}

/// Times during which a stream had no interface to receive on.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Outages {
    /// How many.
    pub count: u64,
    /// How long in all, in seconds, the present one included.
    pub seconds: f64,
    /// How long the last (or the present) one took, in seconds.
    pub last_seconds: f64,
}

/// Receive buffer asked for and granted.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct ReceiveBuffer {
    /// What was asked for.
    pub asked: usize,
    /// What the kernel granted, already doubled as it accounts.
    pub granted: usize,
}

/// What a log holds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct LogStatus {
    /// Bytes of frames.
    pub bytes: u64,
    /// Datagrams.
    pub datagrams: u64,
}

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

/// One network interface as it is now.
#[derive(Clone, Debug, Default, Serialize)]
pub struct InterfaceStatus {
    /// Name.
    pub name: String,
    /// Index.
    pub index: u32,
    /// Addresses on it.
    pub addresses: Vec<String>,
    /// Administratively up.
    pub up: bool,
    /// Carrier is there.
    pub running: bool,
    /// Says that it can multicast.
    pub multicast: bool,
    /// It is the loopback.
    pub loopback: bool,
    /// MTU in bytes.
    pub mtu: u32,
}

impl SessionStatus {
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

impl Status {
    /// Adds what another shard says.
    pub fn absorb(&mut self, other: Status) {
        self.streams.extend(other.streams);
        self.sessions.extend(other.sessions);
        self.closed.extend(other.closed);
        self.ended_streams.extend(other.ended_streams);
        for (cause, count) in other.refused {
            *self.refused.entry(cause).or_default() += count;
        }
    }

    /// Brings everything in order, newest endings first, and keeps the endings bounded.
    pub fn settle(&mut self) {
        self.streams.sort_by_key(|stream| stream.number);
        self.sessions.sort_by_key(|session| session.number);
        self.closed.sort_by(|one, other| other.closed_at.total_cmp(&one.closed_at));
        self.closed.truncate(RECENTLY_CLOSED);
        self.ended_streams.sort_by_key(|stream| std::cmp::Reverse(stream.number));
        self.ended_streams.truncate(RECENTLY_CLOSED);
    }
}
