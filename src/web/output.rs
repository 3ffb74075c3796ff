//! What one client is written through: its socket, how that takes it, and how the conversation ends.
//!
//! What is written, and in which order, is the write paths' own affair.

use std::cell::OnceCell;
use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::model::frame;
use crate::web::control::Control;
use crate::web::ending::{EndedBy, Ending};
use crate::web::rest::{Rest, RestPool};
use crate::web::socket::Socket;

/// Control bytes that may wait; above it nothing more is read from the client, who causes most of them.
const CONTROL_ROOM: usize = 8 << 10;

/// One client's socket, from the moment that there is one.
#[derive(Default)]
pub struct Output {
    socket: OnceCell<Rc<Socket>>,
    /// Wakes the session's task: the socket is full, or the end has come.
    wake: Notify,
}

/// What changes as it is written through.
pub struct OutputState {
    /// Control frames that wait for a boundary.
    pub control: Control,
    /// The copied rest of a frame that was begun.
    pub rest: Rest,
    /// How the socket takes it.
    pub flow: Flow,
    ending: Option<Ending>,
}

/// How a socket takes what is written.
#[derive(Debug)]
pub struct Flow {
    blocked: bool,
    /// When the blocked socket last took a byte.
    progress: Option<Instant>,
    dead: bool,
    bytes: u64,
}

impl Output {
    /// The upgrade is done; false where it was before.
    pub fn attach(&self, state: &mut OutputState, socket: Rc<Socket>) -> bool {
        let attached = self.socket.set(socket).is_ok();
        if attached {
            state.flow.blocked = false;
        }
        attached
    }

    /// Wakes the line's task.
    pub fn wake(&self) -> &Notify {
        &self.wake
    }

    /// The descriptor, where somebody else may write to it.
    #[must_use]
    pub fn direct(&self) -> Option<BorrowedFd<'_>> {
        self.socket.get()?.direct()
    }

    /// The socket can take more: first what it has taken before and holds.
    pub fn resume(&self, flow: &mut Flow) {
        flow.blocked = false;
        let Some(socket) = self.socket.get().filter(|socket| socket.holds()) else { return };
        match socket.try_flush() {
            Ok(_) => flow.progress = None,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return self.lose(flow),
        }
        if socket.holds() {
            self.block(flow);
        }
    }

    /// Writes what the socket takes of `parts`; `None` when nothing more can be written now.
    pub fn write(&self, flow: &mut Flow, parts: &[IoSlice<'_>]) -> Option<usize> {
        let Some(socket) = self.socket.get() else {
            flow.blocked = true;
            return None;
        };
        let written = match parts {
            [part] => socket.try_write(part),
            parts => socket.try_write_vectored(parts),
        };
        self.took(flow, written)
    }

    /// Takes note of what somebody else wrote: the bytes taken, or the error number negated.
    pub fn sent(&self, flow: &mut Flow, result: i32) -> Option<usize> {
        let written = usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result));
        self.took(flow, written)
    }

    fn took(&self, flow: &mut Flow, written: io::Result<usize>) -> Option<usize> {
        match written {
            Ok(written) => {
                flow.bytes += written as u64;
                flow.progress = None;
                if self.socket.get().is_some_and(|socket| socket.holds()) {
                    self.block(flow);
                }
                Some(written)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.block(flow);
                None
            }
            Err(_) => {
                self.lose(flow);
                None
            }
        }
    }

    /// The socket is full.
    pub fn block(&self, flow: &mut Flow) {
        flow.blocked = true;
        if flow.progress.is_none() {
            flow.progress = Some(Instant::now());
        }
        self.wake.notify_one();
    }

    /// The connection is lost.
    fn lose(&self, flow: &mut Flow) {
        flow.dead = true;
        self.wake.notify_one();
    }

    /// Writes the rest of a frame; the reading that it was of, when that is done. `None` when nothing more can be written now.
    pub fn write_rest(&self, state: &mut OutputState) -> Option<Option<usize>> {
        let OutputState { rest, flow, .. } = state;
        while !rest.unwritten().is_empty() {
            let written = self.write(flow, &[IoSlice::new(rest.unwritten())])?;
            rest.advance(written);
        }
        Some(rest.finish())
    }

    /// Writes the control frames that wait; `None` when nothing more can be written now.
    pub fn write_control(&self, state: &mut OutputState) -> Option<()> {
        let OutputState { control, flow, .. } = state;
        while !control.unwritten().is_empty() {
            let written = self.write(flow, &[IoSlice::new(control.unwritten())])?;
            control.advance(written);
        }
        Some(())
    }

    /// Takes note of the end, and puts the close frame behind the control frames that wait, unless it is `answered` there
    /// already.
    pub fn end(&self, state: &mut OutputState, ending: Ending, answered: bool) {
        if !answered {
            frame::put_close(state.control.buffer(), ending.code, &ending.reason);
        }
        state.ending = Some(ending);
        self.wake.notify_one();
    }

    /// A panic has left the write path nobody knows where, perhaps inside a frame: nothing more is written.
    pub fn fail(&self, state: &mut OutputState) {
        state.ending = Some(Ending::our_mistake());
        self.lose(&mut state.flow);
    }

    /// A rest has been copied for the reading `slot`. Without room for it the connection can't go on, nor be closed in
    /// order.
    pub fn hold_rest(&self, state: &mut OutputState, slot: usize) {
        if !state.rest.hold(slot) {
            state.ending.get_or_insert_with(|| Ending {
                code: 4508,
                reason: "slow_consumer: too many large frames half written".to_owned(),
                by: EndedBy::Gateway,
            });
            self.lose(&mut state.flow);
        }
    }
}

impl OutputState {
    /// Before the upgrade is done there is no socket.
    #[must_use]
    pub fn new(pool: Rc<RestPool>) -> Self {
        OutputState {
            control: Control::default(),
            rest: Rest::new(pool),
            flow: Flow { blocked: true, progress: None, dead: false, bytes: 0 },
            ending: None,
        }
    }

    /// Whether anything of the streams may be written now.
    #[must_use]
    pub fn takes_frames(&self) -> bool {
        !(self.flow.blocked || self.flow.dead || self.ending.is_some())
    }

    /// Whether the socket takes no more for now.
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        self.flow.blocked
    }

    /// Whether the connection is lost.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.flow.dead
    }

    /// Whether nothing can be written, for now or for ever.
    #[must_use]
    pub fn is_stuck(&self) -> bool {
        self.flow.blocked || self.flow.dead
    }

    /// Whether so much control waits that nothing more should be read.
    #[must_use]
    pub fn is_choked(&self) -> bool {
        self.control.unwritten().len() > CONTROL_ROOM
    }

    /// Whether a private message of so many bytes may wait behind what waits already.
    #[must_use]
    pub fn has_room(&self, bytes: usize) -> bool {
        let waiting = self.control.unwritten().len();
        waiting + bytes <= CONTROL_ROOM || (waiting == 0 && !self.flow.blocked)
    }

    /// Whether it ends, or has ended.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        self.ending.is_some()
    }

    /// How it ends, once that is known.
    #[must_use]
    pub fn ending(&self) -> Option<Ending> {
        self.ending.clone()
    }

    /// Whether all that had to be written before the end has been.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.flow.dead
            || (self.ending.is_some() && self.control.unwritten().is_empty() && self.rest.is_empty())
    }

    /// How long the socket has taken no byte although there are some.
    #[must_use]
    pub fn stalled_for(&self, now: Instant) -> Duration {
        let since = self.flow.progress.filter(|_| self.flow.blocked);
        since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    /// Bytes written in all.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.flow.bytes
    }

    /// The connection is over.
    pub fn abandon(&mut self) {
        self.flow.dead = true;
    }
}
