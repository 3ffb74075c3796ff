//! What a gateway has done since its start, over all streams and sessions that it ever had.
//!
//! What stands here never goes down: the books of a stream or session that ends are added when it ends.

use std::collections::BTreeMap;

use crate::model::histogram::Counts;
use crate::model::status::{ClosedSession, EndedParts, SessionStatus, Status, StreamStatus};

/// Sums over ended streams and sessions, and measurements of the write path, of one shard or of all.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// The books of streams that have ended.
    pub streams: StreamSums,
    /// The books of sessions that have ended, by their kind.
    pub sessions: BTreeMap<&'static str, SessionSums>,
    /// How sessions ended: close code ([`OTHER_CODE`] for those that are not ours to give), and who closed.
    pub closed: BTreeMap<(u16, &'static str), u64>,
    /// What flushes took.
    pub flushes: FlushCounts,
    /// CPU time of each shard's thread, in seconds.
    pub cpu_seconds: BTreeMap<usize, f64>,
}

/// Under which close codes are counted that a client has chosen.
pub const OTHER_CODE: u16 = 0;

/// The close codes of docs/protocol.md, section 4.
const CODES: [u16; 20] = [
    1000, 1001, 1002, 1003, 1005, 1006, 1007, 1008, 1009, 1011, 1013, 4400, 4401, 4403, 4404, 4408, 4413,
    4508, 4529, 4530,
];

/// Sums of the books of streams.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StreamSums {
    /// How many.
    pub count: u64,
    /// Datagrams read from the kernel.
    pub received: u64,
    /// Payload bytes of those that were published.
    pub received_bytes: u64,
    /// Read and not published: cut off.
    pub truncated: u64,
    /// Read and not published: for another address or interface.
    pub wrong_destination: u64,
    /// Dropped by the kernel before they could be read.
    pub lost_kernel: u64,
    /// Times that the interface was away.
    pub outages: u64,
    /// How long in all, in seconds.
    pub outage_seconds: f64,
}

/// Sums of the books of sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionSums {
    /// How many.
    pub count: u64,
    /// Bytes given to the kernel for them.
    pub bytes: u64,
    /// Their streams and senders.
    pub parts: EndedParts,
}

/// What the flushes of streams to their subscribers were like.
#[derive(Clone, Debug, Default)]
pub struct FlushCounts {
    /// Nanoseconds from the arrival of a flush's oldest datagram at the kernel until all subscribers had been written to.
    pub latency: Counts,
    /// Datagrams that left in one flush.
    pub datagrams: Counts,
    /// Subscribers of the stream then.
    pub subscribers: Counts,
}

impl Totals {
    /// A stream has ended, with these books.
    pub fn stream_ended(&mut self, books: &StreamStatus) {
        self.streams.add(books);
    }

    /// A session has ended.
    pub fn session_closed(&mut self, closed: &ClosedSession) {
        self.sessions.entry(closed.session.kind).or_default().add(&closed.session);
        let code = if CODES.contains(&closed.code) { closed.code } else { OTHER_CODE };
        *self.closed.entry((code, closed.closed_by)).or_default() += 1;
    }

    /// Adds what another shard says.
    pub fn absorb(&mut self, other: Totals) {
        self.streams.absorb(&other.streams);
        for (kind, sums) in other.sessions {
            self.sessions.entry(kind).or_default().absorb(&sums);
        }
        for (how, count) in other.closed {
            *self.closed.entry(how).or_default() += count;
        }
        self.flushes.latency.absorb(&other.flushes.latency);
        self.flushes.datagrams.absorb(&other.flushes.datagrams);
        self.flushes.subscribers.absorb(&other.flushes.subscribers);
        self.cpu_seconds.extend(other.cpu_seconds);
    }
}

impl Status {
    /// The sums over all streams that there are and were, each shard's copy by itself. Before [`Status::settle`].
    #[must_use]
    pub fn stream_sums(&self) -> StreamSums {
        let mut sums = self.totals.streams;
        self.streams.iter().for_each(|books| sums.add(books));
        sums
    }

    /// The sums over all sessions that there are and were, by kind; each kind is there.
    #[must_use]
    pub fn session_sums(&self) -> BTreeMap<&'static str, SessionSums> {
        let mut sums = self.totals.sessions.clone();
        for kind in SessionStatus::KINDS {
            sums.entry(kind).or_default();
        }
        for books in &self.sessions {
            sums.entry(books.kind).or_default().add(books);
        }
        sums
    }
}

impl StreamSums {
    fn add(&mut self, books: &StreamStatus) {
        self.absorb(&StreamSums {
            count: 1,
            received: books.received,
            received_bytes: books.received_bytes,
            truncated: books.refused.truncated,
            wrong_destination: books.refused.wrong_destination,
            lost_kernel: books.lost.kernel,
            outages: books.outages.count,
            outage_seconds: books.outages.seconds,
        });
    }

    fn absorb(&mut self, other: &StreamSums) {
        self.count += other.count;
        self.received += other.received;
        self.received_bytes += other.received_bytes;
        self.truncated += other.truncated;
        self.wrong_destination += other.wrong_destination;
        self.lost_kernel += other.lost_kernel;
        self.outages += other.outages;
        self.outage_seconds += other.outage_seconds;
    }
}

impl SessionSums {
    fn add(&mut self, books: &SessionStatus) {
        self.absorb(&SessionSums { count: 1, bytes: books.bytes, parts: books.sums() });
    }

    fn absorb(&mut self, other: &SessionSums) {
        self.count += other.count;
        self.bytes += other.bytes;
        self.parts.absorb(&other.parts);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::status::SubscriptionStatus;

    #[test]
    fn what_has_ended_counts_on_and_codes_are_few() {
        let session = |bytes| SessionStatus {
            kind: "websocket",
            bytes,
            subscriptions: vec![SubscriptionStatus { published: 3, written: 2, ..Default::default() }],
            ..SessionStatus::default()
        };
        let mut shard = Status { sessions: vec![session(10)], ..Status::default() };
        for code in [1000, 4999, 3000] {
            let closed =
                ClosedSession { session: session(100), code, closed_by: "client", ..Default::default() };
            shard.totals.session_closed(&closed);
        }
        let mut whole = Status::default();
        whole.absorb(shard.clone());
        whole.absorb(shard);
        let sums = whole.session_sums();
        assert_eq!((sums["websocket"].count, sums["websocket"].bytes), (8, 620));
        assert_eq!((sums["websocket"].parts.published, sums["http"].count), (24, 0));
        assert_eq!(whole.totals.closed[&(OTHER_CODE, "client")], 4);
    }
}
