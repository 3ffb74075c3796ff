//! What goes out over one link in one direction: records in order, held for a while so that a broken connection loses nothing
//! that still fits.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

/// Bytes of records that a link holds.
pub(super) const HELD_BYTES: usize = 8 << 20;
/// How long a link holds a record.
pub(super) const HELD: Duration = Duration::from_secs(10);
/// Bytes of records that share a message; a longer one has a message of its own.
const MESSAGE: usize = 16 << 10;

/// The log of one direction.
#[derive(Debug)]
pub(super) struct Outgoing {
    records: VecDeque<(Instant, Bytes)>,
    bytes: usize,
    /// Sequence of the first record held, or of the next one where none is.
    first: u64,
    /// Sequence of the next record to be written.
    next: u64,
    /// Records before this one wait since a break, and are old.
    again_until: u64,
    /// Records that gave way before they were written.
    overrun: u64,
}

impl Outgoing {
    pub(super) fn new() -> Outgoing {
        Outgoing { records: VecDeque::new(), bytes: 0, first: 1, next: 1, again_until: 0, overrun: 0 }
    }

    /// The sequence of the next record to be put in.
    pub(super) fn head(&self) -> u64 {
        self.first + self.records.len() as u64
    }

    /// The sequence of the oldest record held, or of the next one.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// Records that gave way before they were ever written.
    pub(super) fn overrun(&self) -> u64 {
        self.overrun
    }

    /// Records and their bytes that wait to be written.
    pub(super) fn waiting(&self) -> u64 {
        self.head() - self.next
    }

    /// Appends a record that has the number [`Outgoing::head`].
    pub(super) fn put(&mut self, record: Bytes, now: Instant) {
        self.bytes += record.len();
        self.records.push_back((now, record));
        self.forget(now);
    }

    /// Lets go of what is too old or too much.
    pub(super) fn forget(&mut self, now: Instant) {
        let aged = |at: &Instant| now.saturating_duration_since(*at) >= HELD;
        while self.bytes > HELD_BYTES || self.records.front().is_some_and(|(at, _)| aged(at)) {
            let Some((_, record)) = self.records.pop_front() else { return };
            self.bytes -= record.len();
            if self.next == self.first {
                self.next += 1;
                self.overrun += 1;
            }
            self.first += 1;
        }
    }

    /// The other side has had `after`: what follows is written again, as far as it is held.
    pub(super) fn resume(&mut self, after: u64, now: Instant) {
        self.forget(now);
        let wanted = after.saturating_add(1);
        // Of what it has never seen nothing is written a first time either.
        self.next = if wanted > self.head() { self.head() } else { wanted.max(self.first) };
        self.again_until = self.head();
    }

    /// Whether what is written next has waited since a break.
    pub(super) fn is_catching_up(&self) -> bool {
        self.next < self.again_until
    }

    /// The next message, and how many records it has; they count as written.
    pub(super) fn message(&mut self) -> Option<(Bytes, u64)> {
        let from = (self.next - self.first) as usize;
        let mut rest = self.records.range(from..).map(|(_, record)| record);
        let first = rest.next()?.clone();
        let (mut records, mut length) = (1, first.len());
        for record in rest {
            if length + record.len() > MESSAGE {
                break;
            }
            (records, length) = (records + 1, length + record.len());
        }
        let message = if records == 1 {
            first
        } else {
            let mut message = BytesMut::with_capacity(length);
            for (_, record) in self.records.range(from..from + records) {
                message.extend_from_slice(record);
            }
            message.freeze()
        };
        self.next += records as u64;
        Some((message, records as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(records: u64, length: usize, now: Instant) -> Outgoing {
        let mut outgoing = Outgoing::new();
        for _ in 0..records {
            outgoing.put(vec![7; length].into(), now);
        }
        outgoing
    }

    fn written(outgoing: &mut Outgoing) -> u64 {
        std::iter::from_fn(|| outgoing.message()).map(|(_, records)| records).sum()
    }

    #[test]
    fn what_is_held_is_written_again_and_the_rest_is_known() {
        let start = Instant::now();
        let mut outgoing = filled(100, 100, start);
        assert_eq!((written(&mut outgoing), outgoing.waiting()), (100, 0));
        outgoing.resume(40, start);
        assert_eq!((written(&mut outgoing), outgoing.first()), (60, 1));
        let later = start + HELD;
        for _ in 0..5 {
            outgoing.put(vec![7; 100].into(), later);
        }
        outgoing.resume(40, later);
        assert_eq!((outgoing.first(), written(&mut outgoing), outgoing.overrun()), (101, 5, 0));
        outgoing.resume(1000, later);
        assert_eq!(written(&mut outgoing), 0);
    }

    #[test]
    fn bytes_are_bounded_and_what_was_never_written_is_counted() {
        let now = Instant::now();
        let mut outgoing = filled(9, HELD_BYTES / 8, now);
        assert_eq!((outgoing.overrun(), outgoing.first(), outgoing.waiting()), (1, 2, 8));
        assert_eq!(
            outgoing.message().map(|(message, records)| (message.len(), records)),
            Some((HELD_BYTES / 8, 1))
        );
        outgoing.put(vec![7; HELD_BYTES / 8].into(), now);
        assert_eq!((outgoing.overrun(), outgoing.waiting()), (1, 8));
    }
}
