//! What the gateway tells about itself: the JSON of `/api/v1/status` and `/api/v1/interfaces`.
//!
//! Every shard fills one [`Status`] from its own books and the gateway adds them up with [`Status::absorb`].
//! All counters count from the start of the stream or session they stand in and never go down.

mod grant;
mod link;
mod rtp;
mod session;
mod totals;

use std::collections::BTreeMap;

use serde::Serialize;

pub use grant::{GrantStatus, NamedGrant};
pub use link::{AnswersStatus, Discarded, Ignored, LinkGroupStatus, LinkStatus, LinksStatus, MirrorStatus};
pub use rtp::{FecStatus, RtpStatus};
pub use session::{
    ClientLosses, ClosedSession, EndedParts, RefusedSends, SenderStatus, SessionStatus, SubscriptionStatus,
    Withheld,
};
pub use totals::{FlushCounts, OTHER_CODE, SessionSums, StreamSums, Totals};

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
    /// Tasks of connections and sessions that are alive, of all shards.
    pub tasks: u64,
    /// The host's interfaces as they are now.
    pub interfaces: Vec<InterfaceStatus>,
    /// Links to other gateways.
    #[serde(flatten)]
    pub linked: LinksStatus,
    /// What was done since the start: for `/metrics`.
    #[serde(skip)]
    pub totals: Totals,
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
    /// Resident memory by the last look, in bytes.
    pub memory_resident_bytes: u64,
    /// Whether memory is above its mark (`--limit memory`), so that nothing new is begun.
    pub memory_short: bool,
    /// What is open at the doors.
    pub admission: AdmissionStatus,
    /// Panics that were contained to a session or a stream: each is a mistake of ours.
    pub panics: u64,
    /// True from the first signal to stop on.
    pub draining: bool,
    /// The streams that the configuration names.
    pub named_streams: BTreeMap<String, NamedStreamStatus>,
    /// Which groups clients may receive and send to.
    pub policy: PolicyStatus,
    /// Whether `/player.js` is there (`--player`).
    pub player: bool,
    /// The configuration in force, and what came of asking for another.
    pub configuration: ConfigurationStatus,
}

/// Which configuration is in force.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ConfigurationStatus {
    /// 1 from the start, one more with each reload that was taken over.
    pub generation: u64,
    /// Since when it is in force, seconds since 1970.
    pub since: f64,
    /// Reloads that were refused because the new configuration is wrong.
    pub reloads_refused: u64,
    /// The last reload, whether taken over or refused; absent before the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_reload: Option<LastReload>,
}

/// What came of a reload.
#[derive(Clone, Debug, Default, Serialize)]
pub struct LastReload {
    /// When, seconds since 1970.
    pub at: f64,
    /// Whether it was taken over.
    pub taken_over: bool,
    /// What has changed, or why nothing has.
    pub result: String,
}

/// Connections, from their acceptance to their end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AdmissionStatus {
    /// Open TCP connections.
    pub connections: u32,
    /// Those of them whose first request has not been read.
    pub handshakes: u64,
    /// Unfinished handshakes that gave way to newer ones since the start.
    pub gave_way: u64,
}

/// A stream that the configuration names, whether it runs or not.
#[derive(Clone, Debug, Default, Serialize)]
pub struct NamedStreamStatus {
    /// Path of its URL.
    pub path: String,
    /// `239.1.2.3:5000` or `[ff15::42]:5000`.
    pub group: String,
    /// `udp`; `rtp` where RTP is taken off, `rtp+fec` where it is repaired too.
    pub transport: &'static str,
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
/// The books balance: `received = published + refused.*`, exactly; `lost.kernel` never got as far as `received`. A stream
/// of `/rtp/` has more of them ([`RtpStatus`]).
#[derive(Clone, Debug, Default, Serialize)]
pub struct StreamStatus {
    /// Number of this run of the stream; not used again while the gateway runs.
    pub number: u32,
    /// The shard that runs it.
    pub shard: usize,
    /// `239.1.2.3:5000` or `[ff15::42]:5000`.
    pub group: String,
    /// `udp`; `rtp` where RTP is taken off, `rtp+fec` where it is repaired too.
    pub transport: &'static str,
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
    /// What became of its packets, where it is an RTP stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtp: Option<RtpStatus>,
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
    /// Where several shards serve clients each receives a copy of its own, and these are all of them. The books above
    /// are then those of the copy that has received most, the subscribers those of all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub copies: Vec<StreamCopy>,
}

/// One shard's copy of a stream.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct StreamCopy {
    /// The shard that runs it.
    pub shard: usize,
    /// Datagrams read from the kernel.
    pub received: u64,
    /// Datagrams put into its log.
    pub published: u64,
    /// Datagrams that the kernel dropped before this copy could read them.
    pub lost_kernel: u64,
    /// Subscribers on this shard.
    pub subscribers: usize,
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

impl Status {
    /// Adds what another shard says.
    pub fn absorb(&mut self, other: Status) {
        self.streams.extend(other.streams);
        self.sessions.extend(other.sessions);
        self.tasks += other.tasks;
        self.closed.extend(other.closed);
        self.ended_streams.extend(other.ended_streams);
        self.totals.absorb(other.totals);
        for (cause, count) in other.refused {
            *self.refused.entry(cause).or_default() += count;
        }
    }

    /// Brings everything in order, newest endings first, makes one of the copies of a stream, and keeps the endings bounded.
    pub fn settle(&mut self) {
        self.streams.sort_by_key(|stream| (stream.number, stream.shard));
        self.ended_streams.sort_by_key(|stream| (stream.number, stream.shard));
        join_copies(&mut self.streams);
        join_copies(&mut self.ended_streams);
        self.sessions.sort_by_key(|session| session.number);
        self.closed.sort_by(|one, other| other.closed_at.total_cmp(&one.closed_at));
        self.closed.truncate(RECENTLY_CLOSED);
        self.ended_streams.sort_by_key(|stream| std::cmp::Reverse(stream.number));
        self.ended_streams.truncate(RECENTLY_CLOSED);
    }
}

/// Makes one entry of those that follow one another with the same number.
fn join_copies(streams: &mut Vec<StreamStatus>) {
    let mut joined: Vec<StreamStatus> = Vec::with_capacity(streams.len());
    for stream in streams.drain(..) {
        match joined.last_mut() {
            Some(first) if first.number == stream.number => first.absorb(stream),
            _ => joined.push(stream),
        }
    }
    *streams = joined;
}

impl StreamStatus {
    fn absorb(&mut self, other: StreamStatus) {
        let copy = |stream: &StreamStatus| StreamCopy {
            shard: stream.shard,
            received: stream.received,
            published: stream.published,
            lost_kernel: stream.lost.kernel,
            subscribers: stream.subscribers,
        };
        let mut copies = std::mem::take(&mut self.copies);
        if copies.is_empty() {
            copies.push(copy(self));
        }
        copies.push(copy(&other));
        let subscribers = self.subscribers + other.subscribers;
        if other.received > self.received {
            *self = other;
        }
        self.subscribers = subscribers;
        self.copies = copies;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_of_a_stream_are_one_entry_with_the_books_of_the_best() {
        let copy = |number, shard, received, subscribers| StreamStatus {
            number,
            shard,
            received,
            published: received,
            lost: StreamLosses { kernel: 100 - received, interface: Some(0) },
            subscribers,
            ..StreamStatus::default()
        };
        let mut whole = Status::default();
        for shard in 0..3 {
            let streams = vec![
                copy(7, shard, 90 + shard as u64 % 2 * 5, 1 + shard),
                copy(8 + shard as u32, shard, 1, 0),
            ];
            whole.absorb(Status { streams, ..Status::default() });
        }
        whole.settle();
        let numbers: Vec<_> =
            whole.streams.iter().map(|stream| (stream.number, stream.copies.len())).collect();
        assert_eq!(numbers, [(7, 3), (8, 0), (9, 0), (10, 0)]);
        let joined = &whole.streams[0];
        assert_eq!((joined.received, joined.lost.kernel, joined.subscribers), (95, 5, 6));
        assert_eq!((joined.copies[2].received, joined.copies[2].lost_kernel), (90, 10));
    }
}
