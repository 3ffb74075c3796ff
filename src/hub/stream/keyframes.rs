//! Where a player can begin in a stream that carries MPEG-TS.
//!
//! Worked out from the log, for those who ask and when they ask: each looks through what came since the one before. Nobody
//! else pays for it.

use crate::hub::cursor::{Cursor, ReplayBounds};
use crate::hub::log::Log;
use crate::hub::stream::Stream;
use crate::model::ts::{self, Scanner, Start};

/// Bytes of the log that are looked through at once, at most; what came before them is passed over.
const SEARCH: u64 = 16 << 20;
/// Datagrams looked at to see what a stream carries.
const SAMPLE: u64 = 16;

/// What was found so far.
#[derive(Debug, Default)]
pub(super) struct Keyframes {
    scanner: Scanner,
    /// The first datagram that was not looked through.
    next: u64,
}

impl Stream {
    /// The last datagram that a player can begin with, if it may be replayed within `bounds`.
    #[must_use]
    pub fn keyframe(&self, bounds: ReplayBounds) -> Option<Start> {
        let log = self.log();
        let mut known = self.keyframes.borrow_mut();
        let keyframes = known.get_or_insert_default();
        keyframes.look_through(&log);
        let start = keyframes.scanner.latest()?;
        let cursor = Cursor::since(&log, start.sequence, bounds, self.now());
        (cursor.sequence() == start.sequence).then(|| start.clone())
    }

    /// Whether it carries MPEG-TS: by its last datagram; `None` while it holds none.
    #[must_use]
    pub fn carries_ts(&self) -> Option<bool> {
        let log = self.log();
        let last = log.head_sequence().checked_sub(1).filter(|last| *last >= log.first_sequence())?;
        Some(is_ts(&log, last))
    }

    /// Whether it carries no MPEG-TS, as far as its last datagrams show: waiting for a picture would be in vain.
    #[must_use]
    pub fn carries_something_else(&self) -> bool {
        let log = self.log();
        let head = log.head_sequence();
        let held = head - log.first_sequence();
        held >= SAMPLE && !(head - SAMPLE..head).any(|sequence| is_ts(&log, sequence))
    }
}

fn is_ts(log: &Log, sequence: u64) -> bool {
    let mut payload = Vec::new();
    log.copy_payload(sequence, &mut payload);
    ts::is_stream(&payload)
}

impl Keyframes {
    fn look_through(&mut self, log: &Log) {
        let searched =
            log.sequence_at(log.head().saturating_sub(SEARCH).max(log.start_of(log.first_sequence())));
        let from = self.next.max(searched);
        if from > self.next {
            self.scanner.interrupt();
        }
        let mut payload = Vec::new();
        for sequence in from..log.head_sequence() {
            payload.clear();
            log.copy_payload(sequence, &mut payload);
            self.scanner.scan(&payload, sequence);
        }
        self.next = log.head_sequence();
    }
}
