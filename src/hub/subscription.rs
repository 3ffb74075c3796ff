//! One client's claim on a stream, and what a stream calls who reads it.

use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::time::Duration;

use crate::hub::log::Log;
use crate::hub::stream::Stream;

/// Someone who reads a stream. Called from the stream's own task; must not wait nor come back into the stream.
pub trait Subscriber {
    /// There are frames behind the cursor that this subscriber keeps under `slot`.
    fn flush(&self, log: &Log, slot: usize);
    /// Frames before sequence `keep` go away now: whoever stands before it must move.
    fn evicting(&self, log: &Log, slot: usize, keep: u64);
    /// What could be written now by somebody else, together with others' offers; `None` to be flushed instead.
    fn offer<'a>(&'a self, _log: &'a Log, _slot: usize) -> Option<Offer<'a>> {
        None
    }
    /// One of these calls has panicked: whoever it was for is beyond help, and everybody else must not notice.
    fn fail(&self);
    /// An offer of `offered` bytes was sent: the bytes taken, or the error number negated.
    fn sent(&self, _log: &Log, _slot: usize, _offered: usize, _result: i32) {}
}

/// How a stream's datagrams are written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// One message for each payload.
    Raw,
    /// Records of `wscast.v1`.
    Records,
}

/// Bytes for a socket.
#[derive(Clone, Copy, Debug)]
pub struct Offer<'a> {
    /// The socket.
    pub socket: BorrowedFd<'a>,
    /// One contiguous run of the log.
    pub bytes: &'a [u8],
}

/// One client's claim on a stream; ends when dropped, and lets the stream go after the linger.
pub struct Subscription {
    stream: Rc<Stream>,
    encoding: Encoding,
    place: usize,
}

impl Subscription {
    /// Claims `stream` for `subscriber`, who keeps its cursor under `slot` and lets datagrams be held for `latency`.
    #[must_use]
    pub fn new(
        stream: Rc<Stream>,
        encoding: Encoding,
        subscriber: Rc<dyn Subscriber>,
        slot: usize,
        latency: Option<Duration>,
    ) -> Self {
        let place = stream.subscribe(encoding, subscriber, slot, latency);
        Subscription { stream, encoding, place }
    }

    /// Claims the payloads of all `streams` for one subscriber, who keeps their cursors in the same order.
    #[must_use]
    pub fn all(
        streams: Vec<Rc<Stream>>,
        subscriber: &Rc<dyn Subscriber>,
        latency: Option<Duration>,
    ) -> Vec<Self> {
        let claim = |(slot, stream)| Self::new(stream, Encoding::Raw, Rc::clone(subscriber), slot, latency);
        streams.into_iter().enumerate().map(claim).collect()
    }

    /// The stream.
    #[must_use]
    pub fn stream(&self) -> &Rc<Stream> {
        &self.stream
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.stream.unsubscribe(self.encoding, self.place);
    }
}
