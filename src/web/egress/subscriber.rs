//! What a stream calls of a client's write path.

use crate::hub::cursor::{Cause, Cursor};
use crate::hub::log::Log;
use crate::hub::subscription::{Offer, Subscriber};
use crate::model::request::Overflow;
use crate::web::egress::Egress;
use crate::web::reading::slow_consumer;

impl Subscriber for Egress {
    fn flush(&self, log: &Log, slot: usize) {
        let mut state = self.state.borrow_mut();
        if !state.output.takes_frames() {
            return;
        }
        self.write_reading(&mut state, log, slot);
    }

    fn offer<'a>(&'a self, log: &'a Log, slot: usize) -> Option<Offer<'a>> {
        let mut state = self.state.borrow_mut();
        let socket = self.output.direct()?;
        if !state.output.takes_frames() {
            return None;
        }
        let cursor = &mut state.readings[slot].cursor;
        let end = cursor.writable_end(log, self.mine.get());
        let position = cursor.position();
        (position < end).then(|| Offer { socket, bytes: log.part(position, end) })
    }

    fn sent(&self, log: &Log, slot: usize, offered: usize, result: i32) {
        let mut state = self.state.borrow_mut();
        let Some(written) = self.output.sent(&mut state.output.flow, result) else { return };
        state.advance(log, slot, written);
        if written < offered {
            self.output.block(&mut state.output.flow);
        } else {
            // The range may go on in the next chunk of the log.
            self.write_reading(&mut state, log, slot);
        }
    }

    fn fail(&self) {
        self.output.fail(&mut self.state.borrow_mut().output);
    }

    fn evicting(&self, log: &Log, slot: usize, keep: u64) {
        let mut state = self.state.borrow_mut();
        let Some(reading) = state.readings.get(slot) else { return };
        if reading.cursor.sequence() >= keep {
            return;
        }
        if state.output.is_dead() {
            state.readings[slot].cursor.close(log);
            return;
        }
        let now = reading.stream.now();
        let near = keep.max(Cursor::near_head(log, &self.lag, now)).min(log.head_sequence());
        let (to, cause) = match self.overflow {
            // The rest of a frame that was begun has been copied, and is still being written.
            _ if state.output.is_ending() => (log.head_sequence(), Cause::Closed),
            Overflow::Latest => (near, Cause::Latest),
            Overflow::Skip | Overflow::Close => (near, reading.cursor.overrun(log, &self.lag, now)),
        };
        self.jump(&mut state, log, slot, to, cause);
        if self.overflow == Overflow::Close && !state.output.is_ending() {
            let ending = slow_consumer(&state.readings);
            self.end_in(&mut state, ending, false);
        }
    }
}
