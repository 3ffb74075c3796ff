//! Clients with several streams, each written to once for all that came together, and not once for each stream.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::hub::audience::adaptive_wait;

/// A client who can be written to.
pub trait Gathered {
    /// Writes all that waits for it, of whichever stream.
    fn write(&self);
}

/// The clients of a shard that something waits for.
#[derive(Default)]
pub struct Gathering {
    waiting: RefCell<Vec<Rc<dyn Gathered>>>,
    /// From the first client that waits until all have been written to and the hold is over.
    busy: Cell<bool>,
    begun: Notify,
    over: Notify,
}

impl Gathering {
    /// Something waits for `client`, which adds itself once until it is written to.
    pub fn add(&self, client: Rc<dyn Gathered>) {
        self.waiting.borrow_mut().push(client);
        if !self.busy.replace(true) {
            self.begun.notify_one();
        }
    }

    /// Writes at once to everybody who waits.
    pub fn write_now(&self) {
        let waiting = self.waiting.take();
        for client in &waiting {
            client.write();
        }
    }

    /// Waits until those who wait now have been written to, and the hold after it is over: what comes to a stream meanwhile
    /// stays in its socket.
    pub async fn over(&self) {
        if self.busy.get() {
            self.over.notified().await;
        }
    }

    /// Writes for as long as it is polled; with an `adaptive` hold for as long again as a round took.
    pub async fn run(self: Rc<Self>, adaptive: bool) {
        loop {
            // Whoever woke this one task has others beside it, which are polled before.
            self.begun.notified().await;
            loop {
                let begun = Instant::now();
                self.write_now();
                let wait = if adaptive { adaptive_wait(begun.elapsed()) } else { Duration::ZERO };
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
