//! One client's claim on a stream, and what a stream calls who reads it.

use std::rc::Rc;

use crate::hub::log::Log;
use crate::hub::stream::Stream;

/// Someone who reads a stream. Called from the stream's own task; must not wait nor come back into the stream.
pub trait Subscriber {
    /// There are frames behind the cursor that this subscriber keeps under `slot`.
    fn flush(&self, log: &Log, slot: usize);
    /// Frames before sequence `keep` go away now: whoever stands before it must move.
    fn evicting(&self, log: &Log, slot: usize, keep: u64);
}

/// One client's claim on a stream; ends when dropped, and lets the stream go after the linger.
pub struct Subscription {
    stream: Rc<Stream>,
    place: usize,
}

impl Subscription {
    /// Claims `stream` for `subscriber`, who keeps its cursor under `slot`.
    #[must_use]
    pub fn new(stream: Rc<Stream>, subscriber: Rc<dyn Subscriber>, slot: usize) -> Self {
        let place = stream.subscribe(subscriber, slot);
        Subscription { stream, place }
    }

    /// The stream.
    #[must_use]
    pub fn stream(&self) -> &Rc<Stream> {
        &self.stream
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.stream.unsubscribe(self.place);
    }
}
