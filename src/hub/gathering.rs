//! Clients with several streams, each written to once for all that came together, and not once for each stream.

use std::cell::{Cell, RefCell};
use std::io::IoSlice;
use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::hub::audience::adaptive_wait;
use crate::hub::containment::contain_now;
use crate::hub::flushes::Flushes;
use crate::sys::uring::{SendParts, SendRing};

/// Clients whose writes are handed over in one call, as many as of a stream's; each takes about 1 KiB of the stack meanwhile. In
/// calls of 32 a hundred clients cost half as much again and more: their threads fall asleep between two of them.
const TOGETHER: usize = 128;

/// How a client's bytes are sent: the bytes taken, or the error number negated.
pub type SendBy<'a> = &'a mut dyn FnMut(BorrowedFd<'_>, &[IoSlice<'_>]) -> i32;

/// A client who can be written to.
pub trait Gathered {
    /// Writes all that waits for it, of whichever stream.
    fn write(&self);
    /// The same, with the first write made by `send`, which is called once at most.
    fn write_by(&self, send: SendBy<'_>);
    /// One of these calls has panicked: this client is beyond help, and everybody else must not notice.
    fn fail(&self);
}

/// The clients of a shard that something waits for.
#[derive(Default)]
pub struct Gathering {
    waiting: RefCell<Vec<Rc<dyn Gathered>>>,
    ring: Option<Rc<RefCell<SendRing>>>,
    flushes: Rc<Flushes>,
    /// From the first client that waits until all have been written to and the hold is over.
    busy: Cell<bool>,
    /// Whether a round is followed by a hold as long as it took.
    adaptive: Cell<bool>,
    begun: Notify,
    over: Notify,
}

impl Gathering {
    /// Nobody waits yet. With an `adaptive` hold a round is followed by one as long as it took.
    #[must_use]
    pub fn new(ring: Option<Rc<RefCell<SendRing>>>, flushes: Rc<Flushes>, adaptive: bool) -> Self {
        Gathering { ring, flushes, adaptive: Cell::new(adaptive), ..Gathering::default() }
    }

    /// Another hold from now on.
    pub fn set_adaptive(&self, adaptive: bool) {
        self.adaptive.set(adaptive);
    }

    /// Whether nobody waits to be written to.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.borrow().is_empty()
    }

    /// Something waits for `client`, which adds itself once until it is written to.
    pub fn add(&self, client: Rc<dyn Gathered>) {
        self.waiting.borrow_mut().push(client);
        if !self.busy.replace(true) {
            self.begun.notify_one();
        }
    }

    /// Writes at once to everybody who waits.
    pub fn write_now(&self) {
        let mut waiting = self.waiting.take();
        match &self.ring {
            Some(ring) if waiting.len() > 1 && ring.borrow().is_open() => {
                let mut batch = Batch { ring: &mut ring.borrow_mut(), results: [0; TOGETHER] };
                for clients in waiting.chunks(TOGETHER) {
                    write_together(clients, None, 0, &mut batch);
                }
            }
            _ => waiting.iter().for_each(|client| contained(&**client, || client.write())),
        }
        waiting.clear();
        self.flushes.gathered_flushed();
        // Its room is used again.
        let mut later = self.waiting.borrow_mut();
        if later.is_empty() {
            *later = waiting;
        }
    }

    /// Waits until those who wait now have been written to, and the hold after it is over: what comes to a stream meanwhile
    /// stays in its socket.
    pub async fn over(&self) {
        if self.busy.get() {
            self.over.notified().await;
        }
    }

    /// Writes for as long as it is polled.
    pub async fn run(self: Rc<Self>) {
        loop {
            // Whoever woke this one task has others beside it, which are polled before.
            self.begun.notified().await;
            loop {
                let begun = Instant::now();
                self.write_now();
                let wait = if self.adaptive.get() { adaptive_wait(begun.elapsed()) } else { Duration::ZERO };
                if wait.is_zero() {
                    tokio::task::yield_now().await;
                } else {
                    tokio::time::sleep(wait).await;
                }
                let more = !self.waiting.borrow().is_empty();
                self.over.notify_waiters();
                if !more {
                    break;
                }
            }
            self.busy.set(false);
        }
    }
}

/// Writes that are handed over together, and what became of them.
struct Batch<'a> {
    ring: &'a mut SendRing,
    results: [i32; TOGETHER],
}

/// A write that waits to be handed over, and those before it.
struct Link<'a> {
    before: Option<&'a Link<'a>>,
    send: SendParts<'a>,
}

/// What is done for one client; a panic in it is this client's end alone.
fn contained(client: &dyn Gathered, work: impl FnOnce()) {
    if contain_now(work).is_err() {
        let _ = contain_now(|| client.fail());
    }
}

/// Each client lends its parts from a call inside the one before it, so that all are borrowed when the last hands them
/// over, and each finds its result when the calls return.
fn write_together(
    clients: &[Rc<dyn Gathered>],
    before: Option<&Link<'_>>,
    place: usize,
    batch: &mut Batch<'_>,
) {
    let Some((client, rest)) = clients.split_first() else {
        let mut sends: Vec<SendParts<'_>> = Vec::with_capacity(place);
        let mut link = before;
        while let Some(Link { before, send }) = link {
            sends.push(*send);
            link = *before;
        }
        sends.reverse();
        return batch.ring.send_parts(&sends, &mut batch.results[..place]);
    };
    let mut lent = false;
    contained(&**client, || {
        client.write_by(&mut |socket, parts| {
            lent = true;
            let link = Link { before, send: SendParts { socket, parts } };
            write_together(rest, Some(&link), place + 1, batch);
            batch.results[place]
        });
    });
    if !lent {
        write_together(rest, before, place, batch);
    }
}
