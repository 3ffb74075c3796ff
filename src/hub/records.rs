//! A stream's second encoding: its datagrams as records of `wscast.v1`, several to a message where they came together.

use std::time::Duration;

use crate::hub::echo::SenderId;
use crate::hub::log::{Log, LogBounds};
use crate::model::record::{DATAGRAM_HEADER, Origin, RecordHeader};
use crate::sys::batch::Received;

/// Bytes of a message with several records; a datagram that alone is longer has a message of its own.
pub const MESSAGE: usize = 16 << 10;
/// Most records in one message, where the log may hold many more.
const RECORDS: usize = 256;

/// The log of messages, and the message that is being put together.
#[derive(Debug)]
pub struct Records {
    log: Log,
    number: u32,
    wanted: bool,
    message: Vec<u8>,
    lengths: Vec<usize>,
    sender: Option<SenderId>,
    most: usize,
}

impl Records {
    /// Those of stream `number`, which nobody wants yet.
    #[must_use]
    pub fn new(number: u32, bounds: LogBounds) -> Self {
        Records {
            log: Log::new(bounds),
            number,
            wanted: false,
            message: Vec::new(),
            lengths: Vec::new(),
            sender: None,
            most: most(bounds),
        }
    }

    /// As [`Log::set_bounds`].
    pub fn set_bounds(&mut self, bounds: LogBounds) {
        self.log.set_bounds(bounds);
        self.most = most(bounds);
    }

    /// The most memory that it takes besides its log: the message that is being put together, at most one of the longest
    /// datagram behind others.
    #[must_use]
    pub fn memory() -> u64 {
        (2 * (MESSAGE + 65536) + 2 * RECORDS * size_of::<usize>()) as u64
    }

    /// The log of messages; it has the same sequences as the stream.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Whether messages are made.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.wanted
    }

    /// From datagram `sequence` on, messages are made.
    pub fn begin(&mut self, sequence: u64) {
        if !self.wanted {
            self.wanted = true;
            self.log = Log::starting_at(sequence, self.log.bounds());
        }
    }

    /// No more messages are made, and none is kept.
    pub fn end(&mut self) {
        *self = Records::new(self.number, self.log.bounds());
    }

    /// Whether a datagram of `length` bytes that `sender` caused must wait for the next message.
    #[must_use]
    pub fn is_full_for(&self, length: usize, sender: Option<SenderId>) -> bool {
        let count = self.lengths.len();
        count > 0
            && (sender != self.sender
                || count >= self.most
                || self.message.len() + DATAGRAM_HEADER + length > MESSAGE)
    }

    /// Puts one datagram into the message that is being put together.
    pub fn put(&mut self, received: &Received<'_>, sender: Option<SenderId>) {
        let sequence = self.log.head_sequence() + self.lengths.len() as u64;
        let header = RecordHeader {
            origin: Origin::Stream(self.number),
            sequence: sequence as u32,
            source: received.source,
            ttl: received.ttl,
            arrival: received.arrival,
            truncated: received.truncated,
            from_client: sender.is_some(),
        };
        header.put(received.payload, &mut self.message);
        self.lengths.push(DATAGRAM_HEADER + received.payload.len());
        self.sender = sender;
    }

    /// What must go before the message has room in the log: the first sequence that may stay.
    #[must_use]
    pub fn crowded(&self) -> Option<u64> {
        if self.lengths.is_empty() {
            None
        } else {
            self.log.crowded_by(self.message.len(), self.lengths.len())
        }
    }

    /// What is too old at `now`.
    #[must_use]
    pub fn aged(&self, now: Duration) -> Option<u64> {
        self.log.aged(now)
    }

    /// Lets go of all datagrams before `sequence`.
    pub fn forget_before(&mut self, sequence: u64) {
        self.log.forget_before(sequence);
    }

    /// Puts the message into the log, where there is one; the caller has made room ([`Records::crowded`]).
    pub fn seal(&mut self, now: Duration) {
        if self.lengths.is_empty() {
            return;
        }
        self.log.append_records(&self.message, &self.lengths, now, self.sender);
        self.message.clear();
        self.lengths.clear();
        if self.message.capacity() > 2 * MESSAGE {
            self.message = Vec::new();
        }
    }
}

/// A message goes as a whole, so that the log must hold several.
fn most(bounds: LogBounds) -> usize {
    RECORDS.min(bounds.datagrams / 4).max(1)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use super::*;
    use crate::hub::cursor::{Cause, Cursor};

    const BOUNDS: LogBounds = LogBounds { bytes: 1 << 20, datagrams: 1000, age: Duration::from_secs(10) };

    fn records(lengths: &[usize], senders: &[Option<SenderId>]) -> Records {
        let mut records = Records::new(7, BOUNDS);
        records.begin(100);
        for (place, length) in lengths.iter().enumerate() {
            let sender = senders.get(place).copied().flatten();
            let payload = vec![place as u8; *length];
            let source = SocketAddr::from((Ipv4Addr::new(10, 0, 0, 5), 5000));
            let received = Received {
                payload: &payload,
                source,
                destination: None,
                ttl: None,
                arrival: 1,
                drops: None,
                truncated: false,
            };
            if records.is_full_for(*length, sender) {
                records.seal(Duration::ZERO);
            }
            records.put(&received, sender);
        }
        records.seal(Duration::ZERO);
        records
    }

    fn begins(records: &Records) -> Vec<u64> {
        let log = records.log();
        (log.first_sequence()..log.head_sequence()).filter(|sequence| log.begins(*sequence)).collect()
    }

    #[test]
    fn a_message_ends_where_it_is_full_and_where_the_sender_changes() {
        assert_eq!(begins(&records(&[100; 4], &[])), [100]);
        assert_eq!(begins(&records(&[8000, 8000, 8000, 60000, 1], &[])), [100, 102, 103, 104]);
        let me = Some(SenderId(1));
        assert_eq!(
            begins(&records(&[10; 6], &[None, me, me, None, Some(SenderId(2)), me])),
            [100, 101, 103, 104, 105]
        );
    }

    #[test]
    fn a_cursor_counts_datagrams_and_stands_between_messages() {
        let records = records(&[60, 60, 60, 8000, 9000], &[]);
        let log = records.log();
        assert_eq!(begins(&records), [100, 104]);
        let mut cursor = Cursor::at(log, 100);
        cursor.advance(log, 4 + 100 + 50);
        assert_eq!((cursor.written(), cursor.pending(log), cursor.is_inside_frame(log)), (1, 4, true));
        cursor.advance(log, 50);
        assert_eq!((cursor.written(), cursor.is_inside_frame(log)), (2, true));
        let mut rest = Vec::new();
        cursor.jump(log, 105, Cause::Age, &mut rest);
        assert_eq!(
            (rest.len(), cursor.written(), cursor.pending(log), cursor.lost().age),
            (100 + 8040, 2, 2, 1)
        );
        cursor.finished();
        assert_eq!((cursor.written(), cursor.pending(log)), (4, 0));
    }

    #[test]
    fn a_message_is_split_for_one_reader_and_read_on() {
        let records = records(&[60; 10], &[]);
        let log = records.log();
        let mut cursor = Cursor::at(log, 103);
        assert!(cursor.is_split() && !cursor.is_inside_frame(log));
        let mut out = Vec::new();
        cursor.split_off(log, 2, &mut out);
        assert_eq!((out.len(), cursor.is_split(), cursor.pending(log)), (4 + 200, true, 7));
        assert_eq!(&out[4 + 8..4 + 12], 103_u32.to_le_bytes());
        cursor.finished();
        assert_eq!((cursor.written(), cursor.pending(log)), (2, 5));
        cursor.split_off(log, u64::MAX, &mut out);
        assert!(!cursor.is_split());
        cursor.finished();
        assert_eq!((cursor.written(), cursor.pending(log), cursor.position()), (7, 0, log.head()));
    }

    #[test]
    fn own_messages_are_passed_over_whole() {
        let me = Some(SenderId(1));
        let records = records(&[60; 4], &[None, me, me, None]);
        let log = records.log();
        let mut cursor = Cursor::at(log, 100);
        let mine = [SenderId(1)];
        let end = cursor.end_before_own(log, &mine);
        cursor.advance(log, end - cursor.position());
        assert_eq!(cursor.end_before_own(log, &mine), log.head());
        assert_eq!((cursor.withheld().echo, cursor.sequence()), (2, 103));
    }
}
