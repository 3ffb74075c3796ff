//! The write path of one WebSocket client: ranges of logs, and control bytes between frames.
//!
//! Nothing is queued here. A client is a cursor for each of its streams; what it can't take stays in the log.

mod subscriber;

use std::cell::{Cell, RefCell, RefMut};
use std::io::IoSlice;
use std::rc::Rc;

use crate::hub::cursor::{Cause, Cursor, LagBounds};
use crate::hub::echo::SenderId;
use crate::hub::log::Log;
use crate::model::frame::{self, Opcode};
use crate::model::request::Overflow;
use crate::web::ending::Ending;
use crate::web::output::{Output, OutputState};
use crate::web::reading::{Reading, slow_consumer};
use crate::web::rest::RestPool;
use crate::web::write_path::WritePath;

/// Parts handed to the kernel in one write.
const PARTS: usize = 16;

/// The write path of one client.
pub struct Egress {
    output: Output,
    state: RefCell<State>,
    overflow: Overflow,
    lag: LagBounds,
    /// The client's own sender, where it is not to hear itself.
    mine: Cell<Option<SenderId>>,
}

struct State {
    output: OutputState,
    readings: Vec<Reading>,
    /// The reading whose frame is partly written.
    inside: Option<usize>,
}

impl Egress {
    /// Before the upgrade is done there is no socket; what is published meanwhile waits in the log.
    #[must_use]
    pub fn new(readings: Vec<Reading>, overflow: Overflow, lag: LagBounds, pool: Rc<RestPool>) -> Rc<Self> {
        let state = State { output: OutputState::new(pool), readings, inside: None };
        Rc::new(Egress {
            output: Output::default(),
            state: RefCell::new(state),
            overflow,
            lag,
            mine: Cell::new(None),
        })
    }

    /// From now on the client does not hear what `sender` sends.
    pub fn withhold(&self, sender: SenderId) {
        self.mine.set(Some(sender));
    }

    /// Puts a private message out, if there is room; says whether there was.
    pub fn message(&self, payload: &[u8]) -> bool {
        let mut state = self.state.borrow_mut();
        let fits = state.output.has_room(payload.len());
        if fits && !state.output.is_ending() {
            frame::put(state.output.control.buffer(), Opcode::Binary, payload);
            self.write_all(&mut state, false);
        }
        fits
    }

    /// Applies `overflow=close` to a client that has been behind for too long without a wake-up.
    pub fn check_lag(&self) {
        if self.overflow != Overflow::Close {
            return;
        }
        let mut state = self.state.borrow_mut();
        let late = state.readings.iter().any(|reading| reading.lag(&self.lag).is_some());
        if late && !state.output.is_ending() {
            let ending = slow_consumer(&state.readings);
            self.end_in(&mut state, ending, false);
            self.write_all(&mut state, false);
        }
    }

    /// Looks at the readings, for the status, and says how many bytes were written in all.
    pub fn look<T>(&self, look: impl FnOnce(&[Reading]) -> T) -> (T, u64) {
        let state = self.state.borrow();
        (look(&state.readings), state.output.bytes())
    }

    /// Writes all that may be written now, in the order that keeps frames whole.
    fn write_all(&self, state: &mut State, was_blocked: bool) {
        loop {
            if state.output.is_stuck() || !self.write_rest(state) {
                return;
            }
            if let Some(slot) = state.inside {
                if was_blocked && self.catch_up(state, slot) {
                    // Its rest has been copied, and is written first.
                    continue;
                }
                let reading = &state.readings[slot];
                let stream = Rc::clone(&reading.stream);
                let log = stream.log();
                let end = log.start_of(reading.cursor.sequence() + 1);
                if !self.write_log(state, &log, slot, end) {
                    return;
                }
            }
            if !self.write_control(state) || state.output.is_ending() {
                return;
            }
            for slot in 0..state.readings.len() {
                if was_blocked {
                    self.catch_up(state, slot);
                    if state.output.is_ending() {
                        break;
                    }
                }
                let stream = Rc::clone(&state.readings[slot].stream);
                let log = stream.log();
                if !self.write_reading(state, &log, slot) {
                    return;
                }
            }
            let OutputState { control, rest, .. } = &state.output;
            if control.unwritten().is_empty() && rest.is_empty() && state.inside.is_none() {
                return;
            }
        }
    }

    /// Applies the slow client's policy to one reading; true when it has moved.
    fn catch_up(&self, state: &mut State, slot: usize) -> bool {
        let stream = Rc::clone(&state.readings[slot].stream);
        let log = stream.log();
        let (to, cause) = match self.overflow {
            Overflow::Latest => (log.head_sequence().saturating_sub(1), Cause::Latest),
            Overflow::Skip | Overflow::Close => {
                let now = stream.now();
                let Some(cause) = state.readings[slot].lag(&self.lag) else { return false };
                if self.overflow == Overflow::Close {
                    let ending = slow_consumer(&state.readings);
                    self.end_in(state, ending, false);
                    return true;
                }
                (Cursor::near_head(&log, &self.lag, now), cause)
            }
        };
        self.jump(state, &log, slot, to, cause)
    }

    fn jump(&self, state: &mut State, log: &Log, slot: usize, to: u64, cause: Cause) -> bool {
        let State { readings, output, .. } = state;
        let rest = &mut output.rest;
        let cursor = &mut readings[slot].cursor;
        if to <= cursor.sequence() {
            return false;
        }
        let held = rest.buffer().len();
        cursor.jump(log, to, cause, rest.buffer());
        if rest.buffer().len() > held {
            self.hold_rest(state, slot);
        }
        true
    }

    /// A rest has been copied for the reading `slot`.
    fn hold_rest(&self, state: &mut State, slot: usize) {
        state.inside = None;
        self.output.hold_rest(&mut state.output, slot);
    }

    /// Takes note of the end: nothing of the streams is written any more but the frame that was begun.
    fn end_in(&self, state: &mut State, ending: Ending, answered: bool) {
        self.output.end(&mut state.output, ending, answered);
        if let Some(slot) = state.inside {
            let State { readings, output, .. } = &mut *state;
            let stream = Rc::clone(&readings[slot].stream);
            readings[slot].cursor.copy_rest(&stream.log(), output.rest.buffer());
            self.hold_rest(state, slot);
        }
    }

    /// Each of the following says whether the socket took everything.
    fn write_rest(&self, state: &mut State) -> bool {
        let Some(finished) = self.output.write_rest(&mut state.output) else { return false };
        if let Some(slot) = finished {
            state.readings[slot].cursor.finished();
        }
        !state.output.is_blocked()
    }

    fn write_control(&self, state: &mut State) -> bool {
        self.output.write_control(&mut state.output).is_some() && !state.output.is_blocked()
    }

    fn write_reading(&self, state: &mut State, log: &Log, slot: usize) -> bool {
        loop {
            let end = state.readings[slot].cursor.writable_end(log, self.mine.get());
            if end == state.readings[slot].cursor.position() {
                return true;
            }
            if !self.write_log(state, log, slot, end) {
                return false;
            }
        }
    }

    /// Writes the log from the cursor up to `end`.
    fn write_log(&self, state: &mut State, log: &Log, slot: usize, end: u64) -> bool {
        while state.readings[slot].cursor.position() < end {
            let mut parts = [IoSlice::new(&[]); PARTS];
            let (count, bytes) = log.slices(state.readings[slot].cursor.position(), end, &mut parts);
            let written = self.output.write(&mut state.output.flow, &parts[..count]);
            let Some(written) = written else { return false };
            state.advance(log, slot, written);
            if written < bytes {
                self.output.block(&mut state.output.flow);
            }
            if state.output.is_blocked() {
                return false;
            }
        }
        true
    }
}

impl State {
    /// Moves over bytes of one reading's log that were written.
    fn advance(&mut self, log: &Log, slot: usize, bytes: usize) {
        let cursor = &mut self.readings[slot].cursor;
        cursor.advance(log, bytes as u64);
        self.inside = cursor.is_inside_frame(log).then_some(slot);
    }
}

impl WritePath for Egress {
    fn output(&self) -> &Output {
        &self.output
    }

    fn state(&self) -> RefMut<'_, OutputState> {
        RefMut::map(self.state.borrow_mut(), |state| &mut state.output)
    }

    fn pump(&self, late: bool) {
        self.write_all(&mut self.state.borrow_mut(), late);
    }

    fn end(&self, ending: Ending, frames: &[u8], answered: bool) {
        let mut state = self.state.borrow_mut();
        if state.output.is_ending() {
            return;
        }
        state.output.control.buffer().extend_from_slice(frames);
        self.end_in(&mut state, ending, answered);
        self.write_all(&mut state, false);
    }

    fn abandon(&self) {
        let mut state = self.state.borrow_mut();
        state.output.abandon();
        for reading in &mut state.readings {
            reading.cursor.close(&reading.stream.log());
        }
    }
}
