//! One subscriber's place in a log, and the books of what became of each datagram since it came.

use std::time::Duration;

use crate::hub::echo::SenderId;
use crate::hub::log::Log;
use crate::model::request::Replay;
use crate::model::status::{ClientLosses, Withheld};

/// How far a client may fall behind before it loses datagrams.
#[derive(Clone, Copy, Debug)]
pub struct LagBounds {
    /// Bytes of frames.
    pub bytes: u64,
    /// Datagrams.
    pub datagrams: u64,
    /// Age of the oldest one not written.
    pub age: Duration,
}

/// How much of the log a late joiner may ask for.
#[derive(Clone, Copy, Debug)]
pub struct ReplayBounds {
    /// Bytes of frames.
    pub bytes: u64,
    /// Age.
    pub age: Duration,
}

/// Why datagrams were passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Lost: lagged more than [`LagBounds::bytes`], or fell out of the log.
    Bytes,
    /// Lost: lagged more than [`LagBounds::datagrams`].
    Datagrams,
    /// Lost: lagged more than [`LagBounds::age`].
    Age,
    /// Lost: not written when the connection ended.
    Closed,
    /// Withheld: the client's own send.
    Echo,
    /// Withheld: `overflow=latest`.
    Latest,
}

/// A place in a log.
///
/// Each datagram from the start on is exactly one of: written, withheld, lost, pending.
#[derive(Debug)]
pub struct Cursor {
    position: u64,
    /// The datagram that `position` is in, or the next one at a boundary.
    sequence: u64,
    /// The first one that was published to this subscriber.
    start: u64,
    /// Datagrams before this one were replayed: bounds of lag do not apply to them, or a replay would lose itself.
    replayed: u64,
    /// Datagrams of a frame whose rest has been copied out and is not written yet.
    unfinished: u64,
    /// It stands inside a shared message of which the rest goes out as a message of its own.
    split: bool,
    withheld: Withheld,
    lost: ClientLosses,
    /// The sum of those that were passed over.
    passed: u64,
}

impl Cursor {
    /// At the head, or before it by what `replay` asks for and the log and `bounds` allow.
    #[must_use]
    pub fn new(log: &Log, replay: Replay, bounds: ReplayBounds, now: Duration) -> Self {
        let head = log.head_sequence();
        let wanted = match replay {
            Replay::None => head,
            Replay::Datagrams(count) => head.saturating_sub(u64::from(count)),
            Replay::Age(age) => log.first_since(now.saturating_sub(age)),
        };
        Self::since(log, wanted, bounds, now)
    }

    /// Before datagram `wanted`, or as near to it as the log and `bounds` allow.
    #[must_use]
    pub fn since(log: &Log, wanted: u64, bounds: ReplayBounds, now: Duration) -> Self {
        let allowed = log
            .first_since(now.saturating_sub(bounds.age))
            .max(first_within(log, bounds.bytes))
            .max(log.first_sequence());
        Self::at(log, wanted.max(allowed).min(log.head_sequence()))
    }

    /// Before datagram `sequence`, which the log holds or will get next.
    #[must_use]
    pub fn at(log: &Log, sequence: u64) -> Self {
        Cursor {
            position: log.start_of(sequence),
            sequence,
            start: sequence,
            replayed: log.head_sequence(),
            unfinished: 0,
            split: !log.begins(sequence),
            withheld: Withheld::default(),
            lost: ClientLosses::default(),
            passed: 0,
        }
    }

    /// Position of the next byte to write.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The datagram that it is in, or comes next.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Whether some bytes of a frame have been written and others have not.
    #[must_use]
    pub fn is_inside_frame(&self, log: &Log) -> bool {
        !self.split && (self.position != log.start_of(self.sequence) || !log.begins(self.sequence))
    }

    /// The end of the frame that is partly written.
    #[must_use]
    pub fn frame_end(&self, log: &Log) -> u64 {
        log.start_of(log.frame_from(self.sequence + 1))
    }

    /// Whether what comes next is the rest of a message that was split: [`Cursor::split_off`] goes on.
    #[must_use]
    pub fn is_split(&self) -> bool {
        self.split
    }

    /// Copies at most `most` datagrams of the message that it stands in or before to `out`, as a message of their own, and
    /// moves over them. They count as written from [`Cursor::finished`] on. The caller has seen that it is between frames
    /// and that none is to be withheld.
    pub fn split_off(&mut self, log: &Log, most: u64, out: &mut Vec<u8>) {
        let end = log.frame_from(self.sequence + 1);
        let to = end.min(self.sequence.saturating_add(most));
        if to == self.sequence {
            return;
        }
        log.copy_records(self.sequence, to, out);
        self.unfinished += to - self.sequence;
        self.sequence = to;
        self.position = log.start_of(to);
        self.split = to != end;
    }

    /// The end of what may be written now, after passing over frames that `mine` caused.
    ///
    /// The end is the head or the start of an own frame; equal to the position when there is nothing to write.
    pub fn writable_end(&mut self, log: &Log, mine: Option<SenderId>) -> u64 {
        self.end_before_own(log, mine.as_slice())
    }

    /// As [`Cursor::writable_end`], for a client with several senders.
    pub fn end_before_own(&mut self, log: &Log, mine: &[SenderId]) -> u64 {
        if mine.is_empty() {
            return log.head();
        }
        while let Some(own) = log.own_from(self.sequence, mine) {
            if own > self.sequence {
                return log.start_of(own);
            }
            if self.is_inside_frame(log) {
                // Only a client that began to send while this frame was under way; it is finished as it began.
                return self.frame_end(log);
            }
            // Whoever caused one datagram of a message caused all.
            self.pass(log, log.frame_from(own + 1), Cause::Echo);
        }
        log.head()
    }

    /// Moves over `bytes` that were written.
    pub fn advance(&mut self, log: &Log, bytes: u64) {
        self.position += bytes;
        self.sequence = log.sequence_at(self.position);
    }

    /// The bound that it breaks, if any, at `now`.
    #[must_use]
    pub fn lag(&self, log: &Log, bounds: &LagBounds, now: Duration) -> Option<Cause> {
        if self.sequence < self.replayed {
            return None;
        }
        let age = log.time_of(self.sequence).map_or(Duration::ZERO, |at| now.saturating_sub(at));
        if log.head() - self.position > bounds.bytes {
            Some(Cause::Bytes)
        } else if log.head_sequence() - self.sequence > bounds.datagrams {
            Some(Cause::Datagrams)
        } else if age > bounds.age {
            Some(Cause::Age)
        } else {
            None
        }
    }

    /// Why it loses what the log lets go of at `now`: the bound that it breaks, or else that of the log.
    #[must_use]
    pub fn overrun(&self, log: &Log, bounds: &LagBounds, now: Duration) -> Cause {
        // A log makes room before it has more datagrams than anybody may lag.
        let full = if log.datagrams() >= bounds.datagrams { Cause::Datagrams } else { Cause::Bytes };
        self.lag(log, bounds, now).unwrap_or(full)
    }

    /// Where a client that lagged goes on: near the head, an eighth of each bound before it.
    #[must_use]
    pub fn near_head(log: &Log, bounds: &LagBounds, now: Duration) -> u64 {
        let head = log.head_sequence();
        let near = head
            .saturating_sub(bounds.datagrams / 8)
            .max(first_within(log, bounds.bytes / 8))
            .max(log.first_since(now.saturating_sub(bounds.age / 8)))
            .max(log.first_sequence())
            .min(head);
        log.frame_from(near)
    }

    /// Goes to datagram `to`, at a boundary, counting what it passes over. The rest of a frame that was begun is copied to `rest`,
    /// to be written first; [`Cursor::finished`] says when that is done.
    pub fn jump(&mut self, log: &Log, to: u64, cause: Cause, rest: &mut Vec<u8>) {
        if to <= self.sequence {
            return;
        }
        if self.is_inside_frame(log) {
            let next = log.frame_from(self.sequence + 1);
            let end = log.start_of(next);
            log.copy(self.position, end, rest);
            self.unfinished += next - self.sequence;
            self.sequence = next;
            self.position = end;
        }
        if to > self.sequence {
            self.pass(log, to, cause);
        }
    }

    /// Copies the rest of a frame that was begun, so that something else may be written behind it.
    pub fn copy_rest(&mut self, log: &Log, rest: &mut Vec<u8>) {
        if self.is_inside_frame(log) {
            self.jump(log, self.sequence + 1, Cause::Closed, rest);
        }
    }

    /// The copied rest of a frame has been written whole.
    pub fn finished(&mut self) {
        self.unfinished = 0;
    }

    /// The connection has ended: what was not written is lost.
    pub fn close(&mut self, log: &Log) {
        self.lost.closed += log.head_sequence() - self.sequence + std::mem::take(&mut self.unfinished);
        self.split = false;
        self.sequence = log.head_sequence();
        self.position = log.head();
    }

    /// Datagrams published since it came.
    #[must_use]
    pub fn published(&self, log: &Log) -> u64 {
        log.head_sequence() - self.start
    }

    /// Datagrams not written yet.
    #[must_use]
    pub fn pending(&self, log: &Log) -> u64 {
        log.head_sequence() - self.sequence + self.unfinished
    }

    /// Datagrams of which no byte has been written yet.
    #[must_use]
    pub fn untouched(&self, log: &Log) -> u64 {
        log.head_sequence() - self.sequence - u64::from(self.is_inside_frame(log))
    }

    /// Datagrams whose last byte was written.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.handed() - self.unfinished
    }

    /// Datagrams that were written, or copied to be written.
    #[must_use]
    pub fn handed(&self) -> u64 {
        let lost = self.lost.bytes + self.lost.datagrams + self.lost.age + self.lost.closed;
        let withheld = self.withheld.echo + self.withheld.latest;
        self.sequence - self.start - lost - withheld
    }

    /// Datagrams passed over so far, for whatever cause.
    #[must_use]
    pub fn passed(&self) -> u64 {
        self.passed
    }

    /// Datagrams withheld so far.
    #[must_use]
    pub fn withheld(&self) -> Withheld {
        self.withheld
    }

    /// Datagrams lost so far.
    #[must_use]
    pub fn lost(&self) -> ClientLosses {
        self.lost
    }

    fn pass(&mut self, log: &Log, to: u64, cause: Cause) {
        let passed = to - self.sequence;
        self.passed += passed;
        *match cause {
            Cause::Bytes => &mut self.lost.bytes,
            Cause::Datagrams => &mut self.lost.datagrams,
            Cause::Age => &mut self.lost.age,
            Cause::Closed => &mut self.lost.closed,
            Cause::Echo => &mut self.withheld.echo,
            Cause::Latest => &mut self.withheld.latest,
        } += passed;
        self.sequence = to;
        self.position = log.start_of(to);
        self.split = !log.begins(to);
    }
}

/// The oldest datagram that begins no more than `bytes` before the head.
fn first_within(log: &Log, bytes: u64) -> u64 {
    let from = log.head().saturating_sub(bytes).max(log.start_of(log.first_sequence()));
    let sequence = log.sequence_at(from);
    if log.start_of(sequence) < from { sequence + 1 } else { sequence }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::hub::log::LogBounds;

    const LAG: LagBounds = LagBounds { bytes: 4000, datagrams: 40, age: Duration::from_secs(2) };
    const REPLAY: ReplayBounds = ReplayBounds { bytes: 8000, age: Duration::from_secs(10) };

    fn log() -> Log {
        Log::new(LogBounds { bytes: 256 << 10, datagrams: 1000, age: Duration::from_secs(10) })
    }

    fn balance(cursor: &Cursor, log: &Log) -> u64 {
        let (lost, withheld) = (cursor.lost(), cursor.withheld());
        cursor.written()
            + cursor.pending(log)
            + withheld.echo
            + withheld.latest
            + lost.bytes
            + lost.datagrams
            + lost.age
            + lost.closed
    }

    #[test]
    fn a_jump_inside_a_frame_copies_its_rest() {
        let mut log = log();
        let mut cursor = Cursor::new(&log, Replay::None, REPLAY, Duration::ZERO);
        for _ in 0..10 {
            log.append(&[9; 98], Duration::ZERO, None);
        }
        cursor.advance(&log, 130);
        assert_eq!((cursor.written(), cursor.pending(&log)), (1, 9));
        let mut rest = Vec::new();
        cursor.jump(&log, 8, Cause::Age, &mut rest);
        assert_eq!((rest.len(), cursor.written(), cursor.pending(&log), cursor.lost().age), (70, 1, 3, 6));
        cursor.finished();
        assert_eq!((cursor.written(), cursor.pending(&log)), (2, 2));
        cursor.close(&log);
        assert_eq!((cursor.lost().closed, cursor.pending(&log), balance(&cursor, &log)), (2, 0, 10));
    }

    #[test]
    fn replay_is_bounded_by_count_bytes_and_age() {
        let mut log = log();
        for second in 0..20 {
            log.append(&[9; 998], Duration::from_secs(second), None);
        }
        let now = Duration::from_secs(20);
        let pending = |replay| Cursor::new(&log, replay, REPLAY, now).pending(&log);
        assert_eq!(pending(Replay::None), 0);
        assert_eq!(pending(Replay::Datagrams(3)), 3);
        assert_eq!(pending(Replay::Datagrams(300)), 7);
        assert_eq!(pending(Replay::Age(Duration::from_millis(2500))), 2);
    }

    #[test]
    fn own_frames_split_the_range_and_are_withheld() {
        let mut log = log();
        let me = SenderId(1);
        let mut cursor = Cursor::new(&log, Replay::None, REPLAY, Duration::ZERO);
        for sender in [None, Some(me), Some(me), None, Some(SenderId(2))] {
            log.append(&[9; 8], Duration::ZERO, sender);
        }
        assert_eq!(cursor.writable_end(&log, Some(me)), 10);
        cursor.advance(&log, 10);
        assert_eq!(cursor.writable_end(&log, Some(me)), log.head());
        assert_eq!((cursor.position(), cursor.withheld().echo), (30, 2));
        cursor.advance(&log, 20);
        assert_eq!((cursor.written(), balance(&cursor, &log)), (3, 5));
    }

    proptest! {
        #[test]
        fn the_books_balance_whatever_happens(steps in prop::collection::vec((0u8..6, 1u64..700), 1..200)) {
            let mut log = log();
            let mut cursor = Cursor::new(&log, Replay::None, REPLAY, Duration::ZERO);
            let mut rest = Vec::new();
            for (step, (what, amount)) in steps.into_iter().enumerate() {
                let now = Duration::from_millis(step as u64 * 50);
                match what {
                    0 | 1 => log.append(&vec![1; amount as usize], now, (amount % 5 == 0).then_some(SenderId(1))),
                    2 | 3 => {
                        let end = cursor.writable_end(&log, Some(SenderId(1)));
                        let bytes = amount.min(end - cursor.position());
                        cursor.advance(&log, bytes);
                    }
                    4 => if let Some(cause) = cursor.lag(&log, &LAG, now) {
                        let to = Cursor::near_head(&log, &LAG, now);
                        cursor.jump(&log, to, cause, &mut rest);
                    },
                    _ => { rest.clear(); cursor.finished(); }
                }
                prop_assert_eq!(balance(&cursor, &log), cursor.published(&log));
                prop_assert!(cursor.position() <= log.head());
            }
            cursor.close(&log);
            prop_assert_eq!(balance(&cursor, &log), cursor.published(&log));
        }
    }
}
