//! The write path of one client of `wscast.v1`: ranges of the logs of several streams, and control text between frames.
//!
//! Nothing is queued here. What is due at one time, of however many streams, leaves in one write.

mod subscriber;
mod writing;

use std::cell::{RefCell, RefMut};
use std::rc::{Rc, Weak};

use slab::Slab;

use crate::hub::cursor::{Cause, Cursor, LagBounds};
use crate::hub::echo::SenderId;
use crate::hub::gathering::Gathering;
use crate::hub::log::Log;
use crate::model::control::Notice;
use crate::model::frame::{self, Opcode};
use crate::model::request::Overflow;
use crate::model::status::SubscriptionStatus;
use crate::web::ending::{EndedBy, Ending};
use crate::web::output::{Output, OutputState};
use crate::web::rest::RestPool;
use crate::web::v1::egress::writing::Due;
use crate::web::v1::reading::{self, Reading};
use crate::web::write_path::WritePath;

/// The write path of one client.
pub struct Egress {
    output: Output,
    state: RefCell<State>,
    lag: LagBounds,
    gathering: Rc<Gathering>,
    /// Itself, to be gathered.
    this: Weak<Egress>,
}

struct State {
    output: OutputState,
    /// Whether control holds records that no cursor counts as written yet.
    carries: bool,
    readings: Slab<Reading>,
    /// The reading whose frame is partly written.
    inside: Option<usize>,
    /// The client's own senders.
    mine: Vec<SenderId>,
    /// What is told in its newest form only, when nothing else waits.
    newest: Option<Vec<u8>>,
    /// What may be due.
    due: Due,
    /// Whether it is among those to be written to.
    gathered: bool,
    /// Whether answers wait for the end of the turn that reads the client's messages.
    held: bool,
}

impl Egress {
    /// Before the upgrade is done there is no socket.
    #[must_use]
    pub fn new(lag: LagBounds, pool: Rc<RestPool>, gathering: Rc<Gathering>) -> Rc<Self> {
        let state = State {
            output: OutputState::new(pool),
            carries: false,
            readings: Slab::new(),
            inside: None,
            mine: Vec::new(),
            newest: None,
            due: Due::ALL,
            gathered: false,
            held: false,
        };
        Rc::new_cyclic(|this| Egress {
            output: Output::default(),
            state: RefCell::new(state),
            lag,
            gathering,
            this: Weak::clone(this),
        })
    }

    /// What is told from now on leaves with [`Egress::release`].
    pub fn hold(&self) {
        self.state.borrow_mut().held = true;
    }

    /// Writes what was held.
    pub fn release(&self) {
        let mut state = self.state.borrow_mut();
        if std::mem::take(&mut state.held) {
            self.write_due(&mut state, false);
        }
    }

    /// Tells the client something.
    pub fn tell(&self, notice: &Notice<'_>) {
        let mut state = self.state.borrow_mut();
        if !state.output.is_ending() {
            reading::put(state.output.control.buffer(), notice);
            self.write_due(&mut state, false);
        }
    }

    /// Tells the client something of which only the newest is worth telling: it takes the place of what was not told yet.
    pub fn tell_newest(&self, text: &[u8]) {
        let mut state = self.state.borrow_mut();
        if !state.output.is_ending() {
            let mut message = Vec::with_capacity(text.len() + frame::MAX_HEADER);
            frame::put(&mut message, Opcode::Text, text);
            state.newest = Some(message);
            self.write_due(&mut state, false);
        }
    }

    /// Puts a binary message for this client alone out, if there is room; says whether there was.
    pub fn message(&self, payload: &[u8]) -> bool {
        let mut state = self.state.borrow_mut();
        let fits = state.output.has_room(payload.len());
        if fits && !state.output.is_ending() {
            frame::put(state.output.control.buffer(), Opcode::Binary, payload);
            self.write_due(&mut state, false);
        }
        fits
    }

    /// Begins to write a stream, behind what `announce` appends; the slot that it is kept under.
    pub fn add(&self, reading: Reading, announce: impl FnOnce(&Reading, &mut Vec<u8>)) -> usize {
        let mut state = self.state.borrow_mut();
        announce(&reading, state.output.control.buffer());
        let slot = state.readings.insert(reading);
        state.due = Due::ALL;
        self.write_due(&mut state, false);
        slot
    }

    /// Ends writing a stream; a frame that was begun is finished. Its last books.
    pub fn remove(&self, slot: usize) -> Option<SubscriptionStatus> {
        let mut state = self.state.borrow_mut();
        if state.inside == Some(slot) {
            let State { readings, output, .. } = &mut *state;
            let reading = readings.get_mut(slot)?;
            let stream = Rc::clone(&reading.stream);
            reading.cursor.copy_rest(&stream.records(), output.rest.buffer());
            // Of no reading: the slot may have another by the time that it is written.
            self.hold_rest(&mut state, usize::MAX);
        }
        let mut reading = state.readings.try_remove(slot)?;
        if state.readings.is_empty() {
            state.readings = Slab::new();
        }
        let stream = Rc::clone(&reading.stream);
        reading.cursor.close(&stream.records());
        Some(reading.status())
    }

    /// From now on the client does not hear what `sender` sends, but on streams with echo.
    pub fn withhold(&self, sender: SenderId) {
        self.state.borrow_mut().mine.push(sender);
    }

    /// From now on the client hears what `sender` sent: it has been closed.
    pub fn hear_again(&self, sender: SenderId) {
        self.state.borrow_mut().mine.retain(|mine| *mine != sender);
    }

    /// Whether nothing that can wait should be told now.
    #[must_use]
    pub fn is_choked_or_blocked(&self) -> bool {
        let state = self.state.borrow();
        state.output.is_blocked() || state.output.is_choked()
    }

    /// The client takes so many records more of a stream.
    pub fn grant(&self, slot: usize, datagrams: u32) {
        let mut state = self.state.borrow_mut();
        let Some(reading) = state.readings.get_mut(slot) else { return };
        reading.grant(datagrams);
        state.due = Due::ALL;
        // It was as good as blocked.
        if !state.output.is_blocked() {
            self.catch_up(&mut state);
        }
        self.write_due(&mut state, false);
    }

    /// Each quarter of a second: tells what has changed without a datagram, and closes who is behind and wants that.
    pub fn tick(&self) {
        let mut state = self.state.borrow_mut();
        if state.output.is_ending() || state.output.is_dead() {
            return;
        }
        let late =
            |reading: &Reading| reading.overflow == Overflow::Close && reading.lag(&self.lag).is_some();
        if state.readings.iter().any(|(_, reading)| late(reading)) {
            let ending = slow_consumer(&state.readings);
            self.end_in(&mut state, ending, false);
        } else if !state.output.is_blocked() {
            let State { readings, output, .. } = &mut *state;
            for (_, reading) in readings.iter_mut() {
                reading.tell_standing(output.control.buffer());
            }
        }
        if !state.output.control.unwritten().is_empty() {
            self.write_due(&mut state, false);
        }
    }

    /// Looks at the readings, for the status, and says how many bytes were written in all.
    pub fn look(&self) -> (Vec<SubscriptionStatus>, u64) {
        let state = self.state.borrow();
        (state.readings.iter().map(|(_, reading)| reading.status()).collect(), state.output.bytes())
    }

    /// Applies the slow client's policy to each reading.
    fn catch_up(&self, state: &mut State) {
        let slots = state.readings.capacity();
        for slot in 0..slots {
            let Some(reading) = state.readings.get(slot) else { continue };
            let stream = Rc::clone(&reading.stream);
            let log = stream.records();
            let (to, cause) = match (reading.overflow, reading.lag(&self.lag)) {
                (_, None) if reading.overflow != Overflow::Latest => continue,
                (Overflow::Latest, _) => (log.frame_of(log.head_sequence().saturating_sub(1)), Cause::Latest),
                (Overflow::Close, Some(_)) => {
                    let ending = slow_consumer(&state.readings);
                    self.end_in(state, ending, false);
                    return;
                }
                (Overflow::Skip, Some(cause)) => (Cursor::near_head(&log, &self.lag, stream.now()), cause),
                (Overflow::Skip | Overflow::Close, None) => continue,
            };
            self.jump(state, &log, slot, to, cause);
        }
    }

    fn jump(&self, state: &mut State, log: &Log, slot: usize, to: u64, cause: Cause) {
        let State { readings, output, .. } = state;
        let rest = &mut output.rest;
        let cursor = &mut readings[slot].cursor;
        let held = rest.buffer().len();
        cursor.jump(log, to, cause, rest.buffer());
        if rest.buffer().len() > held {
            self.hold_rest(state, slot);
        }
    }

    /// A rest has been copied for the reading `slot`.
    fn hold_rest(&self, state: &mut State, slot: usize) {
        state.inside = None;
        self.output.hold_rest(&mut state.output, slot);
    }

    /// Takes note of the end: nothing of the streams is written any more but the frame that was begun.
    fn end_in(&self, state: &mut State, ending: Ending, answered: bool) {
        state.held = false;
        state.newest = None;
        self.output.end(&mut state.output, ending, answered);
        if let Some(slot) = state.inside {
            let State { readings, output, .. } = &mut *state;
            let reading = &mut readings[slot];
            let stream = Rc::clone(&reading.stream);
            reading.cursor.copy_rest(&stream.records(), output.rest.buffer());
            self.hold_rest(state, slot);
        }
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
        let mut state = self.state.borrow_mut();
        if late {
            // What came while it was blocked was not taken note of.
            state.due = Due::ALL;
        }
        self.write_due(&mut state, late);
    }

    fn end(&self, ending: Ending, frames: &[u8], answered: bool) {
        let mut state = self.state.borrow_mut();
        if !state.output.is_ending() {
            state.output.control.buffer().extend_from_slice(frames);
            self.end_in(&mut state, ending, answered);
            self.write_due(&mut state, false);
        }
    }

    fn abandon(&self) {
        let mut state = self.state.borrow_mut();
        state.output.abandon();
        for (_, reading) in &mut state.readings {
            let stream = Rc::clone(&reading.stream);
            reading.cursor.close(&stream.records());
        }
    }
}

/// The end of a client that was to be closed rather than skip.
fn slow_consumer(readings: &Slab<Reading>) -> Ending {
    let lost: u64 = readings
        .iter()
        .map(|(_, reading)| {
            let lost = reading.cursor.lost();
            // What waits will not be written any more either.
            lost.bytes + lost.datagrams + lost.age + reading.cursor.untouched(&reading.stream.records())
        })
        .sum();
    Ending { code: 4508, reason: format!("slow_consumer: lost={lost}"), by: EndedBy::Gateway }
}
