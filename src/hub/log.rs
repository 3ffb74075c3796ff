//! One append-only log of complete WebSocket frames; subscribers are positions in it.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::time::Duration;

use crate::hub::echo::SenderId;
use crate::model::frame::{self, Opcode};

/// Bytes of one chunk. Frames run on from one chunk into the next.
pub const CHUNK: usize = 64 << 10;
/// Empty chunks kept: as many as room for the longest datagram empties at once.
const SPARE: usize = 3;

/// How much a log may hold; whatever is reached first sends the oldest frames away.
#[derive(Clone, Copy, Debug)]
pub struct LogBounds {
    /// Bytes of frames.
    pub bytes: usize,
    /// Datagrams.
    pub datagrams: usize,
    /// Age of a datagram.
    pub age: Duration,
}

impl LogBounds {
    /// The most memory a log within these bounds takes: whole chunks, a begun one at either end, and the index. Spare
    /// chunks were in use before, and none is allocated while there is one.
    #[must_use]
    pub fn memory(&self) -> u64 {
        let chunks = self.bytes.div_ceil(CHUNK) + 2;
        // Indexes that grow by doubling may stand at twice their need.
        let index = self.datagrams.saturating_mul(2 * (size_of::<Entry>() + size_of::<Own>()));
        (chunks * CHUNK) as u64 + index as u64
    }
}

/// One frame in the index.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Position of its first byte.
    start: u64,
    /// When it was put in, in the clock of the caller.
    at: Duration,
}

/// A frame that one of our own senders caused.
#[derive(Clone, Copy, Debug)]
struct Own {
    sequence: u64,
    sender: SenderId,
}

/// The log of one stream.
///
/// A *position* counts the bytes ever written before it, a *sequence* the datagrams; neither ever goes back.
#[derive(Debug)]
pub struct Log {
    bounds: LogBounds,
    chunks: VecDeque<Box<[u8]>>,
    /// Kept when chunks are emptied, at most [`SPARE`], so that a busy stream allocates nothing.
    spare: Vec<Box<[u8]>>,
    /// Position of the first byte of `chunks[0]`; a multiple of [`CHUNK`].
    base: u64,
    head: u64,
    entries: VecDeque<Entry>,
    /// Sequence of `entries[0]`.
    first: u64,
    own: VecDeque<Own>,
}

impl Log {
    /// An empty log.
    #[must_use]
    pub fn new(bounds: LogBounds) -> Self {
        Log {
            bounds,
            chunks: VecDeque::new(),
            spare: Vec::new(),
            base: 0,
            head: 0,
            entries: VecDeque::new(),
            first: 0,
            own: VecDeque::new(),
        }
    }

    /// Position behind the newest frame.
    #[must_use]
    pub fn head(&self) -> u64 {
        self.head
    }

    /// Sequence that the next datagram will get.
    #[must_use]
    pub fn head_sequence(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    /// Sequence of the oldest datagram held; equal to [`Log::head_sequence`] when empty.
    #[must_use]
    pub fn first_sequence(&self) -> u64 {
        self.first
    }

    /// Bytes of frames held.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.head - self.start_of(self.first)
    }

    /// Datagrams held.
    #[must_use]
    pub fn datagrams(&self) -> u64 {
        self.entries.len() as u64
    }

    /// Position of the first byte of datagram `sequence`, which the log holds or will get next.
    #[must_use]
    pub fn start_of(&self, sequence: u64) -> u64 {
        self.entry(sequence).map_or(self.head, |entry| entry.start)
    }

    /// When datagram `sequence` was put in; `None` when it isn't there.
    #[must_use]
    pub fn time_of(&self, sequence: u64) -> Option<Duration> {
        self.entry(sequence).map(|entry| entry.at)
    }

    /// Sequence of the datagram whose frame `position` is in; the next one's when it is at the head.
    #[must_use]
    pub fn sequence_at(&self, position: u64) -> u64 {
        if position >= self.head {
            return self.head_sequence();
        }
        let after = self.entries.partition_point(|entry| entry.start <= position);
        self.first + after.saturating_sub(1) as u64
    }

    /// The first datagram from `sequence` on that one of `senders` caused.
    #[must_use]
    pub fn own_from(&self, sequence: u64, sender: SenderId) -> Option<u64> {
        let after = self.own.partition_point(|own| own.sequence < sequence);
        self.own.range(after..).find(|own| own.sender == sender).map(|own| own.sequence)
    }

    /// The oldest datagram put in at `since` or later.
    #[must_use]
    pub fn first_since(&self, since: Duration) -> u64 {
        self.first + self.entries.partition_point(|entry| entry.at < since) as u64
    }

    /// What must go before `length` more bytes of payload have room: the first sequence that may stay.
    ///
    /// Goes in strides, so that the subscribers who lag are looked at once a stride and not once a datagram.
    #[must_use]
    pub fn crowded(&self, length: usize) -> Option<u64> {
        let mut keep = self.first;
        if self.entries.len() >= self.bounds.datagrams {
            let stride = (self.bounds.datagrams / 64).max(1);
            keep += (self.entries.len() - self.bounds.datagrams + stride) as u64;
        }
        let need = (frame::header_length(length) + length) as u64;
        let bound = self.bounds.bytes as u64;
        if self.bytes() + need > bound {
            let from = (self.head + need + CHUNK as u64).saturating_sub(bound).min(self.head);
            let after = self.entries.partition_point(|entry| entry.start < from);
            keep = keep.max(self.first + after as u64);
        }
        (keep > self.first).then(|| keep.min(self.head_sequence()))
    }

    /// What is too old at `now`: the first sequence that may stay.
    #[must_use]
    pub fn aged(&self, now: Duration) -> Option<u64> {
        let keep = self.first_since(now.saturating_sub(self.bounds.age));
        (keep > self.first).then_some(keep)
    }

    /// Lets go of all datagrams before `sequence`. Nobody may stand before it any more.
    pub fn forget_before(&mut self, sequence: u64) {
        let gone = usize::try_from(sequence.saturating_sub(self.first))
            .unwrap_or(usize::MAX)
            .min(self.entries.len());
        self.entries.drain(..gone);
        self.first += gone as u64;
        while self.own.front().is_some_and(|own| own.sequence < self.first) {
            self.own.pop_front();
        }
        let tail = self.start_of(self.first);
        while self.base + CHUNK as u64 <= tail && !self.chunks.is_empty() {
            let emptied = self.chunks.pop_front();
            if self.spare.len() < SPARE {
                self.spare.extend(emptied);
            }
            self.base += CHUNK as u64;
        }
        if self.entries.is_empty() {
            // A silent stream holds no memory but the chunk that it will go on in.
            self.spare = Vec::new();
            self.entries.shrink_to(64);
        }
    }

    /// Puts one datagram in as a binary frame. The caller has made room ([`Log::crowded`]).
    pub fn append(&mut self, payload: &[u8], at: Duration, sender: Option<SenderId>) {
        if let Some(sender) = sender {
            self.own.push_back(Own { sequence: self.head_sequence(), sender });
        }
        self.entries.push_back(Entry { start: self.head, at });
        let (header, length) = frame::header(Opcode::Binary, payload.len());
        self.put(&header[..length]);
        self.put(payload);
    }

    /// The bytes between two positions, as the parts they lie in; at most as many as `parts` has room for.
    /// Says how many parts there are and how many bytes they have.
    pub fn slices<'a>(&'a self, from: u64, to: u64, parts: &mut [IoSlice<'a>]) -> (usize, usize) {
        let (mut at, mut count, mut bytes) = (from, 0, 0);
        while at < to && count < parts.len() {
            let part = self.part(at, to);
            parts[count] = IoSlice::new(part);
            count += 1;
            bytes += part.len();
            at += part.len() as u64;
        }
        (count, bytes)
    }

    /// Appends a copy of the bytes between two positions to `out`.
    pub fn copy(&self, from: u64, to: u64, out: &mut Vec<u8>) {
        let mut at = from;
        while at < to {
            let part = self.part(at, to);
            out.extend_from_slice(part);
            at += part.len() as u64;
        }
    }

    /// Appends a copy of the payload of datagram `sequence`, which the log must hold, to `out`.
    pub fn copy_payload(&self, sequence: u64, out: &mut Vec<u8>) {
        let (start, end) = (self.start_of(sequence), self.start_of(sequence + 1));
        let second = self.part(start + 1, start + 2).first().copied().unwrap_or(0);
        self.copy(start + frame::written_header_length(second) as u64, end, out);
    }

    /// The longest contiguous run from `at`, which the log holds, that does not pass `to`.
    #[must_use]
    pub fn part(&self, at: u64, to: u64) -> &[u8] {
        debug_assert!(at >= self.base && to <= self.head, "a position outside of the log");
        let offset = at - self.base;
        let (chunk, from) = (offset / CHUNK as u64, (offset % CHUNK as u64) as usize);
        let length = usize::try_from(to - at).unwrap_or(usize::MAX).min(CHUNK - from);
        &self.chunks[usize::try_from(chunk).unwrap_or(usize::MAX)][from..from + length]
    }

    fn entry(&self, sequence: u64) -> Option<&Entry> {
        self.entries.get(usize::try_from(sequence.checked_sub(self.first)?).ok()?)
    }

    fn put(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let offset = usize::try_from(self.head - self.base).unwrap_or(usize::MAX);
            if offset == self.chunks.len() * CHUNK {
                let chunk = self.spare.pop().unwrap_or_else(|| vec![0; CHUNK].into_boxed_slice());
                self.chunks.push_back(chunk);
            }
            let (chunk, from) = (offset / CHUNK, offset % CHUNK);
            let step = bytes.len().min(CHUNK - from);
            self.chunks[chunk][from..from + step].copy_from_slice(&bytes[..step]);
            self.head += step as u64;
            bytes = &bytes[step..];
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bounds(bytes: usize, datagrams: usize) -> LogBounds {
        LogBounds { bytes, datagrams, age: Duration::from_secs(10) }
    }

    fn append(log: &mut Log, payload: &[u8], at: Duration) {
        if let Some(keep) = log.crowded(payload.len()) {
            log.forget_before(keep);
        }
        log.append(payload, at, None);
    }

    #[test]
    fn frames_come_out_as_they_went_in_across_chunks() {
        let mut log = Log::new(bounds(8 << 20, 1000));
        let payloads: Vec<Vec<u8>> =
            [0, 1, 125, 126, 1316, 65507, 65507, 40_000].iter().map(|&n| vec![n as u8; n]).collect();
        let mut expected = Vec::new();
        for payload in &payloads {
            append(&mut log, payload, Duration::ZERO);
            frame::put(&mut expected, Opcode::Binary, payload);
        }
        let mut parts = [IoSlice::new(&[]); 16];
        let (count, bytes) = log.slices(0, log.head(), &mut parts);
        let joined: Vec<u8> = parts[..count].iter().flat_map(|part| part.to_vec()).collect();
        assert_eq!((bytes, &joined), (expected.len(), &expected));
        for (sequence, payload) in payloads.iter().enumerate() {
            let mut copied = Vec::new();
            log.copy_payload(sequence as u64, &mut copied);
            assert_eq!(&copied, payload);
        }
    }

    #[test]
    fn a_full_log_goes_on_in_its_own_memory() {
        for size in [100, 1316, 65507] {
            let mut log = Log::new(bounds(1 << 20, 10_000));
            let payload = vec![7; size];
            let mut fill = |count| {
                (0..count).for_each(|_| append(&mut log, &payload, Duration::ZERO));
                let mut all: Vec<_> =
                    log.chunks.iter().chain(&log.spare).map(|chunk| chunk.as_ptr()).collect();
                all.sort_unstable();
                all
            };
            let before = fill(30_000);
            assert_eq!(fill(1001), before, "{size}");
        }
    }

    #[test]
    fn age_sends_the_oldest_away() {
        let mut log = Log::new(bounds(1 << 20, 1000));
        for second in 0..20 {
            append(&mut log, b"x", Duration::from_secs(second));
        }
        assert_eq!(log.aged(Duration::from_secs(20)), Some(10));
        log.forget_before(10);
        assert_eq!((log.first_sequence(), log.datagrams()), (10, 10));
        assert_eq!(log.aged(Duration::from_secs(20)), None);
        log.forget_before(20);
        assert_eq!((log.bytes(), log.head_sequence()), (0, 20));
    }

    #[test]
    fn own_frames_are_found_by_sender() {
        let mut log = Log::new(bounds(1 << 20, 1000));
        for sender in [None, Some(SenderId(1)), None, Some(SenderId(2)), Some(SenderId(1))] {
            log.append(b"x", Duration::ZERO, sender);
        }
        assert_eq!(log.own_from(0, SenderId(1)), Some(1));
        assert_eq!(log.own_from(2, SenderId(1)), Some(4));
        assert_eq!(log.own_from(4, SenderId(2)), None);
    }

    proptest! {
        #[test]
        fn bounds_hold_and_positions_agree(sizes in prop::collection::vec(0usize..5000, 1..400)) {
            let mut log = Log::new(bounds(256 << 10, 100));
            for size in sizes {
                append(&mut log, &vec![7; size], Duration::ZERO);
                prop_assert!(log.bytes() <= 256 << 10);
                prop_assert!(log.datagrams() <= 100);
                prop_assert!(log.chunks.len() + log.spare.len() <= (256 << 10) / CHUNK + 2);
                for sequence in log.first_sequence()..log.head_sequence() {
                    let start = log.start_of(sequence);
                    prop_assert_eq!(log.sequence_at(start), sequence);
                    prop_assert_eq!(log.sequence_at(log.start_of(sequence + 1) - 1), sequence);
                }
            }
        }
    }
}
