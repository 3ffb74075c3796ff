//! The write path of one client of `wscast.v1`: ranges of the logs of several streams, and control text between frames.
//!
//! Nothing is queued here. What is due at one time, of however many streams, leaves in one write.

mod path;
mod subscriber;
mod writing;

use std::cell::{OnceCell, RefCell};
use std::rc::{Rc, Weak};
use std::time::Instant;

use slab::Slab;
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::hub::cursor::{Cause, Cursor, LagBounds};
use crate::hub::echo::SenderId;
use crate::hub::gathering::Gathering;
use crate::hub::log::Log;
use crate::model::control::Notice;
use crate::model::frame::{self, Opcode};
use crate::model::request::Overflow;
use crate::model::status::SubscriptionStatus;
use crate::web::control::Control;
use crate::web::ending::{EndedBy, Ending};
use crate::web::rest::{Rest, RestPool};
use crate::web::v1::egress::writing::Due;
use crate::web::v1::reading::{self, Reading};

/// Control bytes that may wait; above it nothing more is read from the client, who causes most of them.
const CONTROL_ROOM: usize = 8 << 10;

/// The write path of one client.
pub struct Egress {
    socket: OnceCell<Rc<TcpStream>>,
    state: RefCell<State>,
    /// Wakes the session's task: the socket is full, or the end has come.
    wake: Notify,
    lag: LagBounds,
    gathering: Rc<Gathering>,
    /// Itself, to be gathered.
    this: Weak<Egress>,
}

struct State {
    control: Control,
    /// Whether control holds records that no cursor counts as written yet.
    carries: bool,
    /// The copied rest of a frame that was begun.
    rest: Rest,
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
    blocked: bool,
    /// When the blocked socket last took a byte.
    progress: Option<Instant>,
    ending: Option<Ending>,
    dead: bool,
    bytes: u64,
}

impl Egress {
    /// Before the upgrade is done there is no socket.
    #[must_use]
    pub fn new(lag: LagBounds, pool: Rc<RestPool>, gathering: Rc<Gathering>) -> Rc<Self> {
        let state = State {
            control: Control::default(),
            carries: false,
            rest: Rest::new(pool),
            readings: Slab::new(),
            inside: None,
            mine: Vec::new(),
            newest: None,
            due: Due::ALL,
            gathered: false,
            held: false,
            blocked: true,
            progress: None,
            ending: None,
            dead: false,
            bytes: 0,
        };
        Rc::new_cyclic(|this| Egress {
            socket: OnceCell::new(),
            state: RefCell::new(state),
            wake: Notify::new(),
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
            self.pump(&mut state, false);
        }
    }

    /// Tells the client something.
    pub fn tell(&self, notice: &Notice<'_>) {
        let mut state = self.state.borrow_mut();
        if state.ending.is_none() {
            reading::put(state.control.buffer(), notice);
            self.pump(&mut state, false);
        }
    }

    /// Tells the client something of which only the newest is worth telling: it takes the place of what was not told yet.
    pub fn tell_newest(&self, text: &[u8]) {
        let mut state = self.state.borrow_mut();
        if state.ending.is_none() {
            let mut message = Vec::with_capacity(text.len() + frame::MAX_HEADER);
            frame::put(&mut message, Opcode::Text, text);
            state.newest = Some(message);
            self.pump(&mut state, false);
        }
    }

    /// Puts a binary message for this client alone out, if there is room; says whether there was.
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

    /// Begins to write a stream, behind what `announce` appends; the slot that it is kept under.
    pub fn add(&self, reading: Reading, announce: impl FnOnce(&Reading, &mut Vec<u8>)) -> usize {
        let mut state = self.state.borrow_mut();
        announce(&reading, state.control.buffer());
        let slot = state.readings.insert(reading);
        state.due = Due::ALL;
        self.pump(&mut state, false);
        slot
    }

    /// Ends writing a stream; a frame that was begun is finished. Its last books.
    pub fn remove(&self, slot: usize) -> Option<SubscriptionStatus> {
        let mut state = self.state.borrow_mut();
        if state.inside == Some(slot) {
            let State { readings, rest, .. } = &mut *state;
            let reading = readings.get_mut(slot)?;
            let stream = Rc::clone(&reading.stream);
            reading.cursor.copy_rest(&stream.records(), rest.buffer());
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
        state.blocked || state.control.unwritten().len() > CONTROL_ROOM
    }

    /// The client takes so many records more of a stream.
    pub fn grant(&self, slot: usize, datagrams: u32) {
        let mut state = self.state.borrow_mut();
        let Some(reading) = state.readings.get_mut(slot) else { return };
        reading.grant(datagrams);
        state.due = Due::ALL;
        // It was as good as blocked.
        if !state.blocked {
            self.catch_up(&mut state);
        }
        self.pump(&mut state, false);
    }

    /// Each quarter of a second: tells what has changed without a datagram, and closes who is behind and wants that.
    pub fn tick(&self) {
        let mut state = self.state.borrow_mut();
        if state.ending.is_some() || state.dead {
            return;
        }
        let late =
            |reading: &Reading| reading.overflow == Overflow::Close && reading.lag(&self.lag).is_some();
        if state.readings.iter().any(|(_, reading)| late(reading)) {
            let ending = slow_consumer(&state.readings);
            self.end_in(&mut state, ending, false);
        } else if !state.blocked {
            let State { readings, control, .. } = &mut *state;
            for (_, reading) in readings.iter_mut() {
                reading.tell_standing(control.buffer());
            }
        }
        if !state.control.unwritten().is_empty() {
            self.pump(&mut state, false);
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
    pub fn look(&self) -> (Vec<SubscriptionStatus>, u64) {
        let state = self.state.borrow();
        (state.readings.iter().map(|(_, reading)| reading.status()).collect(), state.bytes)
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
        let State { readings, rest, .. } = state;
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
        state.held = false;
        if !answered {
            frame::put_close(state.control.buffer(), ending.code, &ending.reason);
        }
        state.ending = Some(ending);
        state.newest = None;
        if let Some(slot) = state.inside {
            let State { readings, rest, .. } = &mut *state;
            let reading = &mut readings[slot];
            let stream = Rc::clone(&reading.stream);
            reading.cursor.copy_rest(&stream.records(), rest.buffer());
            self.hold_rest(state, slot);
        }
        self.wake.notify_one();
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
