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

/// One datagram in the index.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Position of its first byte; that of the frame's header where it begins one.
    start: u64,
    /// When it was put in, in the clock of the caller, in nanoseconds: half as large in memory as a `Duration`.
    at: u64,
    /// Whether a frame begins with it. Several records may share one.
    begins: bool,
}

impl Entry {
    fn new(start: u64, at: Duration, begins: bool) -> Self {
        Entry { start, at: nanoseconds(at), begins }
    }
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
        Self::starting_at(0, bounds)
    }

    /// An empty log whose first datagram has the sequence `first`.
    #[must_use]
    pub fn starting_at(first: u64, bounds: LogBounds) -> Self {
        Log {
            bounds,
            chunks: VecDeque::new(),
            spare: Vec::new(),
            base: 0,
            head: 0,
            entries: VecDeque::new(),
            first,
            own: VecDeque::new(),
        }
    }

    /// How much it may hold.
    #[must_use]
    pub fn bounds(&self) -> LogBounds {
        self.bounds
    }

    /// May hold so much from now on; what is too much goes when room is made for the next datagram, or with its age.
    pub fn set_bounds(&mut self, bounds: LogBounds) {
        self.bounds = bounds;
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
        self.entry(sequence).map(|entry| Duration::from_nanos(entry.at))
    }

    /// Whether a frame begins with datagram `sequence`, which the log holds or will get next.
    #[must_use]
    pub fn begins(&self, sequence: u64) -> bool {
        self.entry(sequence).is_none_or(|entry| entry.begins)
    }

    /// The first datagram from `sequence` on with which a frame begins; the next one of all when there is none.
    #[must_use]
    pub fn frame_from(&self, sequence: u64) -> u64 {
        let mut sequence = sequence.max(self.first);
        while !self.begins(sequence) {
            sequence += 1;
        }
        sequence
    }

    /// The first datagram of the frame that `sequence` is in.
    #[must_use]
    pub fn frame_of(&self, mut sequence: u64) -> u64 {
        while sequence > self.first && !self.begins(sequence) {
            sequence -= 1;
        }
        sequence
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
    pub fn own_from(&self, sequence: u64, senders: &[SenderId]) -> Option<u64> {
        let after = self.own.partition_point(|own| own.sequence < sequence);
        self.own.range(after..).find(|own| senders.contains(&own.sender)).map(|own| own.sequence)
    }

    /// The oldest datagram put in at `since` or later.
    #[must_use]
    pub fn first_since(&self, since: Duration) -> u64 {
        let since = nanoseconds(since);
        self.first + self.entries.partition_point(|entry| entry.at < since) as u64
    }

    /// What must go before `length` more bytes of payload have room: the first sequence that may stay.
    ///
    /// Goes in strides, so that the subscribers who lag are looked at once a stride and not once a datagram.
    #[must_use]
    pub fn crowded(&self, length: usize) -> Option<u64> {
        self.crowded_by(length, 1)
    }

    /// As [`Log::crowded`], for a message of `length` bytes with so many datagrams.
    #[must_use]
    pub fn crowded_by(&self, length: usize, datagrams: usize) -> Option<u64> {
        let mut keep = self.first;
        let full = self.entries.len() + datagrams;
        if full > self.bounds.datagrams {
            let stride = (self.bounds.datagrams / 64).max(1);
            keep += (full - 1 - self.bounds.datagrams + stride) as u64;
        }
        let need = (frame::header_length(length) + length) as u64;
        let bound = self.bounds.bytes as u64;
        if self.bytes() + need > bound {
            let from = (self.head + need + CHUNK as u64).saturating_sub(bound).min(self.head);
            let after = self.entries.partition_point(|entry| entry.start < from);
            keep = keep.max(self.first + after as u64);
        }
        (keep > self.first).then(|| self.frame_from(keep.min(self.head_sequence())))
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
        self.entries.push_back(Entry::new(self.head, at, true));
        let (header, length) = frame::header(Opcode::Binary, payload.len());
        self.put(&header[..length]);
        self.put(payload);
    }

    /// Puts one message in as a binary frame: the records of several datagrams, back to back, with the length of each. All
    /// are caused by `sender` or none is. The caller has made room ([`Log::crowded_by`]).
    pub fn append_records(
        &mut self,
        message: &[u8],
        lengths: &[usize],
        at: Duration,
        sender: Option<SenderId>,
    ) {
        let (header, header_length) = frame::header(Opcode::Binary, message.len());
        let (mut start, mut behind) = (self.head, header_length as u64);
        for (place, length) in lengths.iter().enumerate() {
            if let Some(sender) = sender {
                self.own.push_back(Own { sequence: self.head_sequence(), sender });
            }
            self.entries.push_back(Entry::new(start, at, place == 0));
            start += *length as u64 + std::mem::take(&mut behind);
        }
        self.put(&header[..header_length]);
        self.put(message);
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

    /// Appends the records of datagrams `from` to `to`, which the log holds in one frame, to `out` as a frame of their own.
    pub fn copy_records(&self, from: u64, to: u64, out: &mut Vec<u8>) {
        let (mut start, end) = (self.start_of(from), self.start_of(to));
        if self.begins(from) {
            let second = self.part(start + 1, start + 2).first().copied().unwrap_or(0);
            start += frame::written_header_length(second) as u64;
        }
        let (header, length) =
            frame::header(Opcode::Binary, usize::try_from(end - start).unwrap_or(usize::MAX));
        out.extend_from_slice(&header[..length]);
        self.copy(start, end, out);
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

fn nanoseconds(at: Duration) -> u64 {
    u64::try_from(at.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
