//! One write for all that is due: the rest of a frame, control, and ranges of logs.

use std::cell::Ref;
use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::Instant;

use crate::hub::gathering::SendBy;
use crate::hub::log::Log;
use crate::web::v1::egress::{Egress, State};

/// Parts handed to the kernel in one write.
const PARTS: usize = 32;
/// Streams whose ranges go into one write.
const RANGES: usize = 16;

/// A stretch of one log that is being written.
#[derive(Clone, Copy)]
struct Range {
    slot: usize,
    end: u64,
}

/// The slots of readings that something may be due of.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Due(u64);

impl Due {
    /// Any of them.
    pub(super) const ALL: Due = Due(u64::MAX);

    /// This one too.
    pub(super) fn add(&mut self, slot: usize) {
        self.0 |= 1 << slot.min(63);
    }

    /// Slots from 63 on share a bit.
    fn has(self, slot: usize) -> bool {
        self.0 & (1 << slot.min(63)) != 0
    }
}

impl Egress {
    /// Writes all that may be written now, in the order that keeps frames whole. `late` says that the client was not written
    /// to for a while, so that what it missed is passed over first.
    pub(super) fn pump(&self, state: &mut State, late: bool) {
        if late && !state.blocked {
            self.catch_up(state);
        }
        loop {
            if state.blocked || state.dead || state.held {
                return;
            }
            let (ranges, count, again) = state.prepare();
            let Some(complete) = self.write(state, &ranges[..count], None) else { return };
            if !complete {
                self.block(state);
                return;
            }
            if !again {
                return;
            }
        }
    }

    /// As [`Egress::pump`], with the first write made by `send`.
    pub(super) fn pump_by(&self, state: &mut State, send: SendBy<'_>) {
        let (ranges, count, again) = state.prepare();
        match self.write(state, &ranges[..count], Some(send)) {
            Some(true) if again => self.pump(state, false),
            Some(false) => self.block(state),
            Some(true) | None => {}
        }
    }

    /// One write: the rest of a frame, control, and the ranges. Whether the kernel took all; `None` when nothing more can be
    /// written now.
    fn write(&self, state: &mut State, ranges: &[Range], send: Option<SendBy<'_>>) -> Option<bool> {
        // A frame that was begun is finished before control; then there is no other range.
        let control: &[u8] = if state.inside.is_some() { &[] } else { state.control.unwritten() };
        let rest = state.rest.unwritten();
        let (rest_length, control_length) = (rest.len(), control.len());
        let (written, offered) = {
            let mut logs: [Option<Ref<'_, Log>>; RANGES] = [const { None }; RANGES];
            for (log, range) in logs.iter_mut().zip(ranges) {
                *log = state.readings.get(range.slot).map(|reading| reading.stream.records());
            }
            let mut parts = [IoSlice::new(&[]); PARTS];
            let (mut count, mut offered) = (0, 0);
            for part in [rest, control] {
                if !part.is_empty() {
                    parts[count] = IoSlice::new(part);
                    count += 1;
                    offered += part.len();
                }
            }
            for (log, range) in logs.iter().flatten().zip(ranges) {
                let from = state.readings[range.slot].cursor.position();
                let (more, bytes) = log.slices(from, range.end, &mut parts[count..]);
                count += more;
                offered += bytes;
                if (bytes as u64) < range.end - from {
                    break;
                }
            }
            let parts = &parts[..count];
            let written = match (parts, self.socket.get(), send) {
                ([], ..) => return Some(true),
                (_, None, _) => None,
                (parts, Some(socket), Some(send)) => {
                    let result = send(socket.as_fd(), parts);
                    Some(usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result)))
                }
                ([part], Some(socket), None) => Some(socket.try_write(part)),
                (parts, Some(socket), None) => Some(socket.try_write_vectored(parts)),
            };
            (written, offered)
        };
        let written = self.took(state, written)?;
        let mut left = written;
        let mut share = |length: usize| {
            let share = left.min(length);
            left -= share;
            share
        };
        state.rest.advance(share(rest_length));
        if rest_length > 0 && state.rest.unwritten().is_empty() {
            let of = state.rest.finish();
            if let Some(reading) = of.and_then(|slot| state.readings.get_mut(slot)) {
                reading.cursor.finished();
            }
        }
        if control_length > 0 {
            state.control.advance(share(control_length));
            if state.carries && state.control.unwritten().is_empty() {
                state.carries = false;
                state.readings.iter_mut().for_each(|(_, reading)| reading.cursor.finished());
            }
        }
        for range in ranges {
            let cursor = &mut state.readings[range.slot].cursor;
            let share = share(usize::try_from(range.end - cursor.position()).unwrap_or(usize::MAX));
            if share == 0 {
                break;
            }
            state.advance(range.slot, share as u64);
        }
        if written < offered {
            return Some(false);
        }
        // What had no part is written next.
        let whole = ranges.iter().all(|range| state.readings[range.slot].cursor.position() >= range.end);
        if whole { Some(true) } else { self.write(state, ranges, None) }
    }

    /// Takes note of what a write said; `None` when nothing more can be written now.
    pub(super) fn took(&self, state: &mut State, written: Option<io::Result<usize>>) -> Option<usize> {
        match written {
            Some(Ok(written)) => {
                state.bytes += written as u64;
                state.progress = None;
                Some(written)
            }
            Some(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                self.block(state);
                None
            }
            Some(Err(_)) => {
                state.dead = true;
                self.wake.notify_one();
                None
            }
            None => {
                state.due = Due::ALL;
                state.blocked = true;
                None
            }
        }
    }

    pub(super) fn block(&self, state: &mut State) {
        state.due = Due::ALL;
        state.blocked = true;
        if state.progress.is_none() {
            state.progress = Some(Instant::now());
        }
        self.wake.notify_one();
    }
}

impl State {
    /// What is to be written now; whether there may be more behind it.
    fn prepare(&mut self) -> ([Range; RANGES], usize, bool) {
        let mut ranges = [Range { slot: 0, end: 0 }; RANGES];
        let (mut count, mut again) = (0, false);
        if let Some(slot) = self.inside {
            // First its end: control and other streams wait for a boundary.
            if let Some(reading) = self.readings.get(slot) {
                ranges[0] = Range { slot, end: reading.cursor.frame_end(&reading.stream.records()) };
                count = 1;
            }
            return (ranges, count, true);
        }
        if self.ending.is_some() {
            return (ranges, 0, false);
        }
        if self.control.unwritten().is_empty()
            && let Some(newest) = self.newest.take()
        {
            self.control.buffer().extend_from_slice(&newest);
        }
        let State { readings, control, mine, carries, due, .. } = self;
        for (slot, reading) in readings.iter_mut() {
            if count == RANGES {
                again = true;
                break;
            }
            if !due.has(slot) {
                continue;
            }
            let end = reading.prepare(mine, control.buffer(), carries);
            if end > reading.cursor.position() {
                ranges[count] = Range { slot, end };
                count += 1;
                again |= end < reading.stream.records().head();
            }
        }
        if !again {
            *due = Due::default();
        }
        (ranges, count, again)
    }

    /// Moves over bytes of one reading's log that were written.
    pub(super) fn advance(&mut self, slot: usize, bytes: u64) {
        let reading = &mut self.readings[slot];
        let stream = Rc::clone(&reading.stream);
        let log = stream.records();
        reading.cursor.advance(&log, bytes);
        self.inside = reading.cursor.is_inside_frame(&log).then_some(slot);
    }
}
