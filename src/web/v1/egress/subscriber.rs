//! What a stream calls of a client's write path.

use std::io;
use std::os::fd::AsFd;

use crate::hub::cursor::{Cause, Cursor};
use crate::hub::gathering::{Gathered, SendBy};
use crate::hub::log::Log;
use crate::hub::subscription::{Offer, Subscriber};
use crate::model::request::Overflow;
use crate::web::v1::egress::{Egress, State, slow_consumer};

impl State {
    fn takes_records(&self) -> bool {
        !(self.blocked || self.dead || self.ending.is_some())
    }
}

impl Subscriber for Egress {
    fn flush(&self, _: &Log, slot: usize) {
        let mut state = self.state.borrow_mut();
        if !state.takes_records() {
            return;
        }
        state.due.add(slot);
        if state.readings.len() == 1 {
            self.pump(&mut state, false);
        } else if !state.gathered
            && let Some(this) = self.this.upgrade()
        {
            // Its other streams may have something too.
            state.gathered = true;
            self.gathering.add(this);
        }
    }

    fn offer<'a>(&'a self, log: &'a Log, slot: usize) -> Option<Offer<'a>> {
        let mut state = self.state.borrow_mut();
        let socket = self.socket.get()?;
        if !state.takes_records() || state.readings.len() != 1 || state.newest.is_some() {
            return None;
        }
        let State { readings, mine, control, .. } = &mut *state;
        let reading = readings.get_mut(slot)?;
        let mine = if reading.echo { &[] } else { &mine[..] };
        let end = reading.cursor.end_before_own(log, mine);
        let position = reading.cursor.position();
        (position < end && reading.is_plain() && control.unwritten().is_empty())
            .then(|| Offer { socket: socket.as_fd(), bytes: log.part(position, end) })
    }

    fn sent(&self, _: &Log, slot: usize, offered: usize, result: i32) {
        let mut state = self.state.borrow_mut();
        let written = usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result));
        let Some(written) = self.took(&mut state, Some(written)) else { return };
        state.advance(slot, written as u64);
        if written < offered {
            self.block(&mut state);
        } else if state.readings[slot].goes_on() {
            state.due.add(slot);
            // The range goes on in the next chunk of the log.
            self.pump(&mut state, false);
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
        let close = reading.overflow == Overflow::Close && state.ending.is_none();
        let (to, cause) = match reading.overflow {
            // The rest of a frame that was begun has been copied, and is still being written.
            _ if state.ending.is_some() => (log.head_sequence(), Cause::Closed),
            Overflow::Latest => (near, Cause::Latest),
            Overflow::Skip | Overflow::Close => (near, reading.cursor.overrun(log, &self.lag, now)),
        };
        self.jump(&mut state, log, slot, to, cause);
        if close {
            let ending = slow_consumer(&state.readings);
            self.end_in(&mut state, ending, false);
        }
    }
}

impl Gathered for Egress {
    fn write(&self) {
        let mut state = self.state.borrow_mut();
        state.gathered = false;
        if state.takes_records() {
            self.pump(&mut state, false);
        }
    }

    fn fail(&self) {
        self.break_off();
    }

    fn write_by(&self, send: SendBy<'_>) {
        let mut state = self.state.borrow_mut();
        state.gathered = false;
        if state.takes_records() {
            self.pump_by(&mut state, send);
        }
    }
}
