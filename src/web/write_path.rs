//! What is written to a line, as the line sees it.

use std::cell::RefMut;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::web::ending::Ending;
use crate::web::output::{Output, OutputState};
use crate::web::socket::Socket;

/// What is written to a line.
pub trait WritePath {
    /// Where it is written to.
    fn output(&self) -> &Output;
    /// How that is.
    fn state(&self) -> RefMut<'_, OutputState>;
    /// Writes all that may be written now. `late` says that the client was not written to for a while, so that the slow
    /// client's policy comes first.
    fn pump(&self, late: bool);
    /// Ends the conversation: a frame that was begun is finished, then comes the close frame, then nothing.
    /// `answered` says that the close frame is there already, among `frames`.
    fn end(&self, ending: Ending, frames: &[u8], answered: bool);
    /// The connection is over: what was not written is lost.
    fn abandon(&self);

    /// Wakes the line's task: the socket is full, or the end has come.
    fn wake(&self) -> &Notify {
        self.output().wake()
    }

    /// The upgrade is done: writes what has come since.
    fn attach(&self, socket: Rc<Socket>) {
        let attached = self.output().attach(&mut self.state(), socket);
        if attached {
            self.pump(false);
        }
    }

    /// The socket can take more.
    fn resume(&self) {
        self.output().resume(&mut self.state().flow);
        self.pump(true);
    }

    /// Puts whole control frames out, at the next boundary.
    fn control(&self, frames: &[u8]) {
        let mut state = self.state();
        if !state.is_ending() {
            state.control.buffer().extend_from_slice(frames);
            drop(state);
            self.pump(false);
        }
    }

    /// How it ends, once that is known.
    fn ending(&self) -> Option<Ending> {
        self.state().ending()
    }

    /// Whether it ends, or has ended.
    fn is_ending(&self) -> bool {
        self.state().is_ending()
    }

    /// Whether all that had to be written before the end has been.
    fn is_finished(&self) -> bool {
        self.state().is_finished()
    }

    /// Whether the connection is lost.
    fn is_dead(&self) -> bool {
        self.state().is_dead()
    }

    /// Whether the socket takes no more for now.
    fn is_blocked(&self) -> bool {
        self.state().is_blocked()
    }

    /// Whether so much control waits that nothing more should be read.
    fn is_choked(&self) -> bool {
        self.state().is_choked()
    }

    /// How long the socket has taken no byte although there are some.
    fn stalled_for(&self, now: Instant) -> Duration {
        self.state().stalled_for(now)
    }
}
