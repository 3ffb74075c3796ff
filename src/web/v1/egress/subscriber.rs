//! What a stream calls of a client's write path.

use crate::hub::cursor::{Cause, Cursor};
use crate::hub::gathering::{Gathered, SendBy};
use crate::hub::log::Log;
use crate::hub::subscription::{Offer, Subscriber};
use crate::model::request::Overflow;
use crate::web::v1::egress::{Egress, State, slow_consumer};

impl Subscriber for Egress {
    fn flush(&self, _: &Log, slot: usize) {
        let mut state = self.state.borrow_mut();
        if !state.output.takes_frames() {
            return;
        }
        state.due.add(slot);
        if state.readings.len() == 1 {
            self.write_due(&mut state, false);
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
        let socket = self.output.direct()?;
        if !state.output.takes_frames() || state.readings.len() != 1 || state.newest.is_some() {
            return None;
        }
        let State { readings, mine, output, .. } = &mut *state;
        let reading = readings.get_mut(slot)?;
        let mine = if reading.echo { &[] } else { &mine[..] };
        let end = reading.cursor.end_before_own(log, mine);
        let position = reading.cursor.position();
        (position < end && reading.is_plain() && output.control.unwritten().is_empty())
            .then(|| Offer { socket, bytes: log.part(position, end) })
    }

    fn sent(&self, _: &Log, slot: usize, offered: usize, result: i32) {
        let mut state = self.state.borrow_mut();
        let Some(written) = self.output.sent(&mut state.output.flow, result) else { return };
        state.advance(slot, written as u64);
        if written < offered {
            self.output.block(&mut state.output.flow);
        } else if state.readings[slot].goes_on() {
            state.due.add(slot);
            // The range goes on in the next chunk of the log.
            self.write_due(&mut state, false);
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
        let close = reading.overflow == Overflow::Close && !state.output.is_ending();
        let (to, cause) = match reading.overflow {
            // The rest of a frame that was begun has been copied, and is still being written.
            _ if state.output.is_ending() => (log.head_sequence(), Cause::Closed),
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
        if state.output.takes_frames() {
            self.write_due(&mut state, false);
        }
    }

    fn fail(&self) {
        self.output.fail(&mut self.state.borrow_mut().output);
    }

    fn write_by(&self, send: SendBy<'_>) {
        let mut state = self.state.borrow_mut();
        state.gathered = false;
        if state.output.takes_frames() {
            self.write_due_by(&mut state, send);
        }
    }
}
