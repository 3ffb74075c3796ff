//! What a stream calls of a client's write path.

use std::io;
use std::os::fd::AsFd;

use crate::hub::cursor::{Cause, Cursor};
use crate::hub::log::Log;
use crate::hub::subscription::{Offer, Subscriber};
use crate::model::request::Overflow;
use crate::web::egress::Egress;
use crate::web::reading::slow_consumer;

impl Subscriber for Egress {
    fn flush(&self, log: &Log, slot: usize) {
        let mut state = self.state.borrow_mut();
        if state.blocked || state.dead || state.ending.is_some() {
            return;
        }
        self.pump_reading(&mut state, log, slot);
    }

    fn offer<'a>(&'a self, log: &'a Log, slot: usize) -> Option<Offer<'a>> {
        let mut state = self.state.borrow_mut();
        let socket = self.socket.get()?;
        if state.blocked || state.dead || state.ending.is_some() {
            return None;
        }
        let cursor = &mut state.readings[slot].cursor;
        let end = cursor.writable_end(log, self.mine.get());
        let position = cursor.position();
        (position < end).then(|| Offer { socket: socket.as_fd(), bytes: log.part(position, end) })
    }

    fn sent(&self, log: &Log, slot: usize, offered: usize, result: i32) {
        let mut state = self.state.borrow_mut();
        let written = usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result));
        let Some(written) = self.took(&mut state, Some(written)) else { return };
        let cursor = &mut state.readings[slot].cursor;
        cursor.advance(log, written as u64);
        let inside = cursor.is_inside_frame(log);
        state.inside = inside.then_some(slot);
        if written < offered {
            self.block(&mut state);
        } else {
            // The range may go on in the next chunk of the log.
            self.pump_reading(&mut state, log, slot);
        }
    }

    fn fail(&self) {
        self.break_off();
    }

    fn evicting(&self, log: &Log, slot: usize, keep: u64) {
        let mut state = self.state.borrow_mut();
        let Some(reading) = state.readings.get(slot) else { return };
        if reading.cursor.sequence() >= keep {
            return;
        }
        if state.dead {
            state.readings[slot].cursor.close(log);
            return;
        }
        let now = reading.stream.now();
        let near = keep.max(Cursor::near_head(log, &self.lag, now)).min(log.head_sequence());
        let (to, cause) = match self.overflow {
            // The rest of a frame that was begun has been copied, and is still being written.
            _ if state.ending.is_some() => (log.head_sequence(), Cause::Closed),
            Overflow::Latest => (near, Cause::Latest),
            Overflow::Skip | Overflow::Close => (near, reading.cursor.overrun(log, &self.lag, now)),
        };
        self.jump(&mut state, log, slot, to, cause);
        if self.overflow == Overflow::Close && state.ending.is_none() {
            let ending = slow_consumer(&state.readings);
            self.end_in(&mut state, ending, false);
        }
    }
}
