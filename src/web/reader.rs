//! One plain HTTP reader of streams: the payloads one after the other, copied for each client.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::hub::cursor::{Cause, Cursor, LagBounds};
use crate::hub::log::Log;
use crate::hub::subscription::{Subscriber, Subscription};
use crate::model::request::Overflow;
use crate::web::reading::Reading;

/// Payload bytes handed to hyper at once, but for a single datagram that is larger: what a client takes of memory.
const BLOCK: usize = 12 << 10;

/// A reader's places in its streams.
pub struct Reader {
    state: RefCell<State>,
    overflow: Overflow,
    lag: LagBounds,
    /// When hyper last took something, or was last asked to.
    taken: Cell<Instant>,
    bytes: Cell<u64>,
}

struct State {
    readings: Vec<Reading>,
    /// Set while hyper waits for more.
    waker: Option<Waker>,
    /// Hyper has been woken and has not asked yet.
    woken: bool,
    /// By reading: something came while hyper had no room for it.
    behind: Vec<bool>,
    /// What comes before everything else.
    first: Bytes,
    ended: Option<String>,
    next: usize,
}

/// What hyper asks for more; dropped when the connection ends.
pub struct StreamBody {
    reader: Rc<Reader>,
    /// Called when the body is dropped: the session is over.
    on_drop: Option<Box<dyn FnOnce()>>,
    _subscriptions: Vec<Subscription>,
}

impl Reader {
    /// At these places, with `first` before what they bring.
    #[must_use]
    pub fn new(readings: Vec<Reading>, first: Vec<u8>, overflow: Overflow, lag: LagBounds) -> Rc<Self> {
        let behind = vec![false; readings.len()];
        let first = Bytes::from(first);
        let state = State { readings, waker: None, woken: false, behind, first, ended: None, next: 0 };
        Rc::new(Reader {
            state: RefCell::new(state),
            overflow,
            lag,
            taken: Cell::new(Instant::now()),
            bytes: Cell::new(0),
        })
    }

    /// Ends the body in order: the client sees the last chunk.
    pub fn end(&self, reason: &str) {
        let mut state = self.state.borrow_mut();
        state.ended.get_or_insert_with(|| reason.to_owned());
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }

    /// Why it was ended from this side.
    #[must_use]
    pub fn ended(&self) -> Option<String> {
        self.state.borrow().ended.clone()
    }

    /// How long the connection has taken nothing although there is something.
    #[must_use]
    pub fn stalled_for(&self, now: Instant) -> Duration {
        let state = self.state.borrow();
        let pending = state.readings.iter().any(|reading| reading.cursor.pending(&reading.stream.log()) > 0);
        if pending && state.waker.is_none() {
            now.saturating_duration_since(self.taken.get())
        } else {
            Duration::ZERO
        }
    }

    /// The connection is over: what was not handed over is lost.
    pub fn abandon(&self) {
        for reading in &mut self.state.borrow_mut().readings {
            reading.cursor.close(&reading.stream.log());
        }
    }

    /// Looks at the readings, for the status, and says how many payload bytes were handed over.
    pub fn look<T>(&self, look: impl FnOnce(&[Reading]) -> T) -> (T, u64) {
        (look(&self.state.borrow().readings), self.bytes.get())
    }

    fn poll_data(&self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let mut state = self.state.borrow_mut();
        state.woken = false;
        if state.ended.is_some() {
            return Poll::Ready(None);
        }
        if !state.first.is_empty() {
            let first = std::mem::take(&mut state.first);
            self.bytes.set(self.bytes.get() + first.len() as u64);
            return Poll::Ready(Some(first));
        }
        let count = state.readings.len();
        for _ in 0..count {
            let slot = state.next % count;
            state.next = slot + 1;
            let behind = std::mem::take(&mut state.behind[slot]);
            if self.catch_up(&mut state.readings[slot], behind) {
                state.ended = Some("slow_consumer".to_owned());
                return Poll::Ready(None);
            }
            let block = take_block(&mut state.readings[slot]);
            if !block.is_empty() {
                self.taken.set(Instant::now());
                self.bytes.set(self.bytes.get() + block.len() as u64);
                return Poll::Ready(Some(block));
            }
        }
        self.taken.set(Instant::now());
        state.waker = Some(context.waker().clone());
        Poll::Pending
    }

    /// Applies the slow client's policy; true when the body is to end.
    fn catch_up(&self, reading: &mut Reading, behind: bool) -> bool {
        let log = reading.stream.log();
        let now = reading.stream.now();
        let lag = reading.cursor.lag(&log, &self.lag, now);
        let (to, cause) = match (self.overflow, lag) {
            (Overflow::Latest, _) if behind => (log.head_sequence().saturating_sub(1), Cause::Latest),
            (Overflow::Latest, _) | (_, None) => return false,
            (Overflow::Close, Some(_)) => return true,
            (Overflow::Skip, Some(cause)) => (Cursor::near_head(&log, &self.lag, now), cause),
        };
        // Payloads are handed over whole, so a cursor never stands inside a frame and there is no rest.
        reading.cursor.jump(&log, to, cause, &mut Vec::new());
        false
    }
}

impl Subscriber for Reader {
    fn flush(&self, _: &Log, slot: usize) {
        let mut state = self.state.borrow_mut();
        if let Some(waker) = state.waker.take() {
            // Before this there was nothing to take.
            self.taken.set(Instant::now());
            state.woken = true;
            waker.wake();
        } else if !state.woken {
            state.behind[slot] = true;
        }
    }

    fn fail(&self) {
        self.end("internal: a mistake of the gateway, which it has logged");
    }

    fn evicting(&self, log: &Log, slot: usize, keep: u64) {
        let mut state = self.state.borrow_mut();
        let Some(reading) = state.readings.get_mut(slot) else { return };
        if reading.cursor.sequence() >= keep {
            return;
        }
        let now = reading.stream.now();
        let cause = match self.overflow {
            Overflow::Latest => Cause::Latest,
            Overflow::Skip | Overflow::Close => reading.cursor.overrun(log, &self.lag, now),
        };
        let to = keep.max(Cursor::near_head(log, &self.lag, now));
        reading.cursor.jump(log, to, cause, &mut Vec::new());
        if self.overflow == Overflow::Close {
            state.ended.get_or_insert_with(|| "slow_consumer".to_owned());
        }
    }
}

impl StreamBody {
    /// A body that ends its session through `on_drop`.
    #[must_use]
    pub fn new(reader: Rc<Reader>, subscriptions: Vec<Subscription>, on_drop: Box<dyn FnOnce()>) -> Self {
        StreamBody { reader, on_drop: Some(on_drop), _subscriptions: subscriptions }
    }

    /// The next payloads; `None` when the body has ended.
    pub fn poll_data(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        self.reader.poll_data(context)
    }
}

impl Drop for StreamBody {
    fn drop(&mut self) {
        if let Some(on_drop) = self.on_drop.take() {
            on_drop();
        }
    }
}

/// Copies payloads, at most about [`BLOCK`] bytes but at least one, and moves over them.
fn take_block(reading: &mut Reading) -> Bytes {
    let log = reading.stream.log();
    let mut block = Vec::new();
    while block.len() < BLOCK && reading.cursor.sequence() < log.head_sequence() {
        let sequence = reading.cursor.sequence();
        log.copy_payload(sequence, &mut block);
        let frame = log.start_of(sequence + 1) - log.start_of(sequence);
        reading.cursor.advance(&log, frame);
    }
    Bytes::from(block)
}
