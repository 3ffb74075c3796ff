//! One write for all that is due: the rest of a frame, control, and ranges of logs.

use std::cell::Ref;
use std::io::IoSlice;
use std::rc::Rc;

use crate::hub::gathering::SendBy;
use crate::hub::log::Log;
use crate::web::output::OutputState;
use crate::web::v1::egress::{Egress, State};

/// Parts handed to the kernel in one write.
const PARTS: usize = 16;
/// Streams whose ranges go into one write.
const RANGES: usize = 8;

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

    /// Those of so many, without a look at the others: what is not in the cache costs more than all the rest here. Slots from
    /// 63 on share a bit.
    fn slots(self, count: usize) -> impl Iterator<Item = usize> {
        let (mut near, far) = (self.0 & !(1 << 63), self.0 >> 63 != 0);
        let near = std::iter::from_fn(move || {
            let slot = near.trailing_zeros() as usize;
            near &= near.wrapping_sub(1);
            (slot < 64).then_some(slot)
        });
        near.take_while(move |slot| *slot < count).chain((63..count).filter(move |_| far))
    }
}

impl Egress {
    /// Writes all that may be written now, in the order that keeps frames whole. `late` says that the client was not written
    /// to for a while, so that what it missed is passed over first.
    pub(super) fn write_due(&self, state: &mut State, late: bool) {
        if late && !state.output.is_blocked() {
            self.catch_up(state);
        }
        loop {
            if state.output.is_stuck() || state.held {
                return;
            }
            let (ranges, count, again) = state.prepare();
            let Some(complete) = self.write(state, &ranges[..count], None) else { return };
            if !complete {
                self.output.block(&mut state.output.flow);
                return;
            }
            if !again {
                return;
            }
        }
    }

    /// As [`Egress::write_due`], with the first write made by `send`.
    pub(super) fn write_due_by(&self, state: &mut State, send: SendBy<'_>) {
        let (ranges, count, again) = state.prepare();
        match self.write(state, &ranges[..count], Some(send)) {
            Some(true) if again => self.write_due(state, false),
            Some(false) => self.output.block(&mut state.output.flow),
            Some(true) | None => {}
        }
    }

    /// One write: the rest of a frame, control, and the ranges. Whether the kernel took all; `None` when nothing more can be
    /// written now.
    fn write(&self, state: &mut State, ranges: &[Range], send: Option<SendBy<'_>>) -> Option<bool> {
        let State { output: OutputState { control, rest, flow, .. }, readings, inside, .. } = &mut *state;
        // A frame that was begun is finished before control; then there is no other range.
        let control: &[u8] = if inside.is_some() { &[] } else { control.unwritten() };
        let rest = rest.unwritten();
        let (rest_length, control_length) = (rest.len(), control.len());
        let (written, offered) = {
            let mut logs: [Option<Ref<'_, Log>>; RANGES] = [const { None }; RANGES];
            for (log, range) in logs.iter_mut().zip(ranges) {
                *log = readings.get(range.slot).map(|reading| reading.stream.records());
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
                let from = readings[range.slot].cursor.position();
                let (more, bytes) = log.slices(from, range.end, &mut parts[count..]);
                count += more;
                offered += bytes;
                if (bytes as u64) < range.end - from {
                    break;
                }
            }
            let written = match (&parts[..count], self.output.direct(), send) {
                ([], ..) => return Some(true),
                (parts, Some(socket), Some(send)) => self.output.sent(flow, send(socket, parts)),
                (parts, ..) => self.output.write(flow, parts),
            };
            (written?, offered)
        };
        let mut left = written;
        let mut share = |length: usize| {
            let share = left.min(length);
            left -= share;
            share
        };
        state.output.rest.advance(share(rest_length));
        if rest_length > 0 && state.output.rest.unwritten().is_empty() {
            let of = state.output.rest.finish();
            if let Some(reading) = of.and_then(|slot| state.readings.get_mut(slot)) {
                reading.cursor.finished();
            }
        }
        if control_length > 0 {
            state.output.control.advance(share(control_length));
            if state.carries && state.output.control.unwritten().is_empty() {
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
        if self.output.is_ending() {
            return (ranges, 0, false);
        }
        if self.output.control.unwritten().is_empty()
            && let Some(newest) = self.newest.take()
        {
            self.output.control.buffer().extend_from_slice(&newest);
        }
        let State { readings, output, mine, carries, due, .. } = self;
        for slot in due.slots(readings.capacity()) {
            let Some(reading) = readings.get_mut(slot) else { continue };
            if count == RANGES {
                again = true;
                break;
            }
            let end = reading.prepare(mine, output.control.buffer(), carries);
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
