//! The write path of one WebSocket client: ranges of logs, and control bytes between frames.
//!
//! Nothing is queued here. A client is a cursor for each of its streams; what it can't take stays in the log.

mod path;
mod subscriber;

use std::cell::{Cell, OnceCell, RefCell};
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::hub::cursor::{Cause, Cursor, LagBounds};
use crate::hub::echo::SenderId;
use crate::hub::log::Log;
use crate::model::frame::{self, Opcode};
use crate::model::request::Overflow;
use crate::web::control::Control;
use crate::web::ending::{EndedBy, Ending};
use crate::web::reading::{Reading, slow_consumer};
use crate::web::rest::{Rest, RestPool};

/// Parts handed to the kernel in one write.
const PARTS: usize = 16;
/// Control bytes that may wait; above it nothing more is read from the client, whose pings cause most of them.
const CONTROL_ROOM: usize = 8 << 10;
/// The write path of one client.
pub struct Egress {
    socket: OnceCell<Rc<TcpStream>>,
    state: RefCell<State>,
    /// Wakes the session's task: the socket is full, or the end has come.
    wake: Notify,
    overflow: Overflow,
    lag: LagBounds,
    /// The client's own sender, where it is not to hear itself.
    mine: Cell<Option<SenderId>>,
}

struct State {
    control: Control,
    /// The copied rest of a frame that was begun.
    rest: Rest,
    readings: Vec<Reading>,
    /// The reading whose frame is partly written.
    inside: Option<usize>,
    blocked: bool,
    /// When the blocked socket last took a byte.
    progress: Option<Instant>,
    ending: Option<Ending>,
    dead: bool,
    bytes: u64,
}

impl Egress {
    /// Before the upgrade is done there is no socket; what is published meanwhile waits in the log.
    #[must_use]
    pub fn new(readings: Vec<Reading>, overflow: Overflow, lag: LagBounds, pool: Rc<RestPool>) -> Rc<Self> {
        let state = State {
            control: Control::default(),
            rest: Rest::new(pool),
            readings,
            inside: None,
            blocked: true,
            progress: None,
            ending: None,
            dead: false,
            bytes: 0,
        };
        Rc::new(Egress {
            socket: OnceCell::new(),
            state: RefCell::new(state),
            wake: Notify::new(),
            overflow,
            lag,
            mine: Cell::new(None),
        })
    }

    /// The upgrade is done: writes what has come since.
    pub fn attach(&self, socket: Rc<TcpStream>) {
        if self.socket.set(socket).is_ok() {
            let mut state = self.state.borrow_mut();
            state.blocked = false;
            self.pump(&mut state, false);
        }
    }

    /// From now on the client does not hear what `sender` sends.
    pub fn withhold(&self, sender: SenderId) {
        self.mine.set(Some(sender));
    }

    /// The socket can take more.
    pub fn resume(&self) {
        let mut state = self.state.borrow_mut();
        state.blocked = false;
        self.pump(&mut state, true);
    }

    /// Puts whole control frames out, at the next boundary.
    pub fn control(&self, frames: &[u8]) {
        let mut state = self.state.borrow_mut();
        if state.ending.is_none() {
            state.control.buffer().extend_from_slice(frames);
            self.pump(&mut state, false);
        }
    }

    /// Puts a private message out, if there is room; says whether there was.
    pub fn message(&self, payload: &[u8]) -> bool {
        let mut state = self.state.borrow_mut();
        let waiting = state.control.unwritten().len();
        let fits = waiting + payload.len() <= CONTROL_ROOM || (waiting == 0 && !state.blocked);
        if fits && state.ending.is_none() {
            frame::put(state.control.buffer(), Opcode::Binary, payload);
            self.pump(&mut state, false);
        }
        fits
    }

    /// Ends the conversation: a frame that was begun is finished, then comes the close frame, then nothing.
    /// `answered` says that the close frame is there already, among `frames`.
    pub fn end(&self, ending: Ending, frames: &[u8], answered: bool) {
        let mut state = self.state.borrow_mut();
        if state.ending.is_some() {
            return;
        }
        state.control.buffer().extend_from_slice(frames);
        self.end_in(&mut state, ending, answered);
        self.pump(&mut state, false);
    }

    /// How it ends, once that is known.
    #[must_use]
    pub fn ending(&self) -> Option<Ending> {
        self.state.borrow().ending.clone()
    }

    /// Whether all that had to be written before the end has been.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        let state = self.state.borrow();
        state.dead
            || (state.ending.is_some() && state.control.unwritten().is_empty() && state.rest.is_empty())
    }

    /// Whether the connection is lost.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.state.borrow().dead
    }

    /// Whether the socket takes no more for now.
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        self.state.borrow().blocked
    }

    /// Whether so much control waits that nothing more should be read.
    #[must_use]
    pub fn is_choked(&self) -> bool {
        let state = self.state.borrow();
        state.control.unwritten().len() > CONTROL_ROOM
    }

    /// How long the socket has taken no byte although there are some.
    #[must_use]
    pub fn stalled_for(&self, now: Instant) -> Duration {
        let state = self.state.borrow();
        let since = state.progress.filter(|_| state.blocked);
        since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    /// Applies `overflow=close` to a client that has been behind for too long without a wake-up.
    pub fn check_lag(&self) {
        if self.overflow != Overflow::Close {
            return;
        }
        let mut state = self.state.borrow_mut();
        let late = state.readings.iter().any(|reading| reading.lag(&self.lag).is_some());
        if late && state.ending.is_none() {
            let ending = slow_consumer(&state.readings);
            self.end_in(&mut state, ending, false);
            self.pump(&mut state, false);
        }
    }

    /// The connection is over: what was not written is lost.
    pub fn abandon(&self) {
        let mut state = self.state.borrow_mut();
        state.dead = true;
        for reading in &mut state.readings {
            reading.cursor.close(&reading.stream.log());
        }
    }

    /// A panic has left the write path nobody knows where, perhaps inside a frame: nothing more is written.
    pub(super) fn break_off(&self) {
        let mut state = self.state.borrow_mut();
        state.dead = true;
        state.ending = Some(Ending::our_mistake());
        self.wake.notify_one();
    }

    /// Looks at the readings, for the status, and says how many bytes were written in all.
    pub fn look<T>(&self, look: impl FnOnce(&[Reading]) -> T) -> (T, u64) {
        let state = self.state.borrow();
        (look(&state.readings), state.bytes)
    }

    /// Writes all that may be written now, in the order that keeps frames whole.
    fn pump(&self, state: &mut State, was_blocked: bool) {
        loop {
            if state.blocked || state.dead || !self.pump_rest(state) {
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
            if !self.pump_control(state) || state.ending.is_some() {
                return;
            }
            for slot in 0..state.readings.len() {
                if was_blocked {
                    self.catch_up(state, slot);
                    if state.ending.is_some() {
                        break;
                    }
                }
                let stream = Rc::clone(&state.readings[slot].stream);
                let log = stream.log();
                if !self.pump_reading(state, &log, slot) {
                    return;
                }
            }
            if state.control.unwritten().is_empty() && state.rest.is_empty() && state.inside.is_none() {
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
        let State { readings, rest, .. } = state;
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
        if !state.rest.hold(slot) {
            // No room for its half a frame: the connection can't go on, nor be closed in order.
            state.dead = true;
            state.ending.get_or_insert_with(|| Ending {
                code: 4508,
                reason: "slow_consumer: too many large frames half written".to_owned(),
                by: EndedBy::Gateway,
            });
            self.wake.notify_one();
        }
    }

    /// Takes note of the end: nothing of the streams is written any more but the frame that was begun.
    fn end_in(&self, state: &mut State, ending: Ending, answered: bool) {
        if !answered {
            frame::put_close(state.control.buffer(), ending.code, &ending.reason);
        }
        state.ending = Some(ending);
        let begun = state.inside;
        for slot in 0..state.readings.len() {
            let stream = Rc::clone(&state.readings[slot].stream);
            let log = stream.log();
            if begun == Some(slot) {
                let State { readings, rest, .. } = &mut *state;
                readings[slot].cursor.copy_rest(&log, rest.buffer());
                self.hold_rest(state, slot);
            }
        }
        self.wake.notify_one();
    }

    /// Each of the following says whether the socket took everything.
    fn pump_rest(&self, state: &mut State) -> bool {
        while !state.rest.unwritten().is_empty() {
            let written = self.socket().map(|socket| socket.try_write(state.rest.unwritten()));
            let Some(written) = self.took(state, written) else { return false };
            state.rest.advance(written);
        }
        if let Some(slot) = state.rest.finish() {
            state.readings[slot].cursor.finished();
        }
        true
    }

    fn pump_control(&self, state: &mut State) -> bool {
        while !state.control.unwritten().is_empty() {
            let written = self.socket().map(|socket| socket.try_write(state.control.unwritten()));
            let Some(written) = self.took(state, written) else { return false };
            state.control.advance(written);
        }
        true
    }

    fn pump_reading(&self, state: &mut State, log: &Log, slot: usize) -> bool {
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
            let written = self.socket().map(|socket| match count {
                1 => socket.try_write(&parts[0]),
                _ => socket.try_write_vectored(&parts[..count]),
            });
            let Some(written) = self.took(state, written) else { return false };
            let cursor = &mut state.readings[slot].cursor;
            cursor.advance(log, written as u64);
            let inside = cursor.is_inside_frame(log);
            state.inside = inside.then_some(slot);
            if written < bytes {
                self.block(state);
                return false;
            }
        }
        true
    }

    /// Takes note of what a write said; `None` when nothing more can be written now.
    fn took(&self, state: &mut State, written: Option<io::Result<usize>>) -> Option<usize> {
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
                state.blocked = true;
                None
            }
        }
    }

    fn block(&self, state: &mut State) {
        state.blocked = true;
        if state.progress.is_none() {
            state.progress = Some(Instant::now());
        }
        self.wake.notify_one();
    }

    fn socket(&self) -> Option<&TcpStream> {
        self.socket.get().map(Rc::as_ref)
    }
}
