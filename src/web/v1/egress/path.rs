//! A client's write path, as its line sees it.

use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::web::ending::Ending;
use crate::web::line::WritePath;
use crate::web::v1::egress::{CONTROL_ROOM, Egress};

impl WritePath for Egress {
    fn wake(&self) -> &Notify {
        &self.wake
    }

    fn attach(&self, socket: Rc<TcpStream>) {
        if self.socket.set(socket).is_ok() {
            let mut state = self.state.borrow_mut();
            state.blocked = false;
            self.pump(&mut state, false);
        }
    }

    fn resume(&self) {
        let mut state = self.state.borrow_mut();
        state.blocked = false;
        self.pump(&mut state, true);
    }

    fn control(&self, frames: &[u8]) {
        let mut state = self.state.borrow_mut();
        if state.ending.is_none() {
            state.control.buffer().extend_from_slice(frames);
            self.pump(&mut state, false);
        }
    }

    fn end(&self, ending: Ending, frames: &[u8], answered: bool) {
        let mut state = self.state.borrow_mut();
        if state.ending.is_none() {
            state.control.buffer().extend_from_slice(frames);
            self.end_in(&mut state, ending, answered);
            self.pump(&mut state, false);
        }
    }

    fn ending(&self) -> Option<Ending> {
        self.state.borrow().ending.clone()
    }

    fn is_finished(&self) -> bool {
        let state = self.state.borrow();
        state.dead
            || (state.ending.is_some() && state.control.unwritten().is_empty() && state.rest.is_empty())
    }

    fn is_dead(&self) -> bool {
        self.state.borrow().dead
    }

    fn is_blocked(&self) -> bool {
        self.state.borrow().blocked
    }

    fn is_choked(&self) -> bool {
        self.state.borrow().control.unwritten().len() > CONTROL_ROOM
    }

    fn stalled_for(&self, now: Instant) -> Duration {
        let state = self.state.borrow();
        let since = state.progress.filter(|_| state.blocked);
        since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    fn abandon(&self) {
        let mut state = self.state.borrow_mut();
        state.dead = true;
        for (_, reading) in &mut state.readings {
            let stream = Rc::clone(&reading.stream);
            reading.cursor.close(&stream.records());
        }
    }
}
