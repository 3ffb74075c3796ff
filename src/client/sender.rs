//! A program's right to send to a group through the gateway; ends when dropped.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;
use tokio::sync::mpsc;

use super::queue::{Datagram, Event, Queue};
use super::registry::Request;
use super::{ClientError, SendError};
use crate::model::group::Group;

/// Sends datagrams to one group; closed when dropped.
#[derive(Debug)]
pub struct Sender {
    key: u64,
    group: Option<Group>,
    state: Arc<SenderState>,
    replies: Option<Replies>,
    requests: mpsc::UnboundedSender<Request>,
    datagrams: mpsc::Sender<(u64, Bytes)>,
}

/// Unicast answers to what a [`Sender`] sent, as a stream that ends with the sender.
#[derive(Debug)]
pub struct Replies {
    queue: Arc<Queue>,
}

/// How a sender is, written by the connection and read by the program.
#[derive(Debug, Default)]
pub(super) struct SenderState {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    open: Option<Open>,
    over: Option<ClientError>,
    refused: u64,
    refusal: Option<String>,
}

#[derive(Clone, Debug)]
struct Open {
    interface: Arc<str>,
    source: SocketAddr,
    most: usize,
}

impl Sender {
    pub(super) fn new(
        key: u64,
        group: Option<Group>,
        state: Arc<SenderState>,
        queue: Arc<Queue>,
        requests: mpsc::UnboundedSender<Request>,
        datagrams: mpsc::Sender<(u64, Bytes)>,
    ) -> Sender {
        Sender { key, group, state, replies: Some(Replies { queue }), requests, datagrams }
    }

    /// Sends one datagram; waits where many are on their way to the gateway already. What the gateway then refuses,
    /// [`refused`](Self::refused) counts.
    ///
    /// # Errors
    /// [`SendError`], with the datagram not sent.
    pub async fn send(&self, payload: impl Into<Bytes>) -> Result<(), SendError> {
        let payload = payload.into();
        self.state.check(payload.len())?;
        let gone = |_| SendError::Over(self.state.over().unwrap_or(ClientError::Gone));
        self.datagrams.send((self.key, payload)).await.map_err(gone)
    }

    /// Address and port that the datagrams come from, and the gateway's interface; `None` while it is away.
    #[must_use]
    pub fn source(&self) -> Option<(SocketAddr, Arc<str>)> {
        self.state.lock().open.as_ref().map(|open| (open.source, Arc::clone(&open.interface)))
    }

    /// Datagrams that were taken and not sent: refused by the gateway (rate, size, policy), or on their way when the
    /// connection broke, as far as known.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.state.lock().refused
    }

    /// The gateway's words for the last refusal.
    #[must_use]
    pub fn refusal(&self) -> Option<String> {
        self.state.lock().refusal.clone()
    }

    /// The answers; the first call has them. They come where the sender was opened with `replies`.
    pub fn replies(&mut self) -> Option<Replies> {
        self.replies.take()
    }

    /// The group; `None` where it was asked for by a name.
    #[must_use]
    pub fn group(&self) -> Option<Group> {
        self.group
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        // Where nobody takes it, the connection is gone, and the sender with it.
        let _ = self.requests.send(Request::Close(self.key));
    }
}

impl Replies {
    /// The next answer; `None` when the sender has ended.
    pub async fn next(&mut self) -> Option<Datagram> {
        std::future::poll_fn(|context| self.poll(context)).await
    }

    fn poll(&self, context: &mut Context<'_>) -> Poll<Option<Datagram>> {
        loop {
            match std::task::ready!(self.queue.poll(context)) {
                Some(Event::Datagram(datagram)) => return Poll::Ready(Some(datagram)),
                Some(_) => {}
                None => return Poll::Ready(None),
            }
        }
    }
}

impl Stream for Replies {
    type Item = Datagram;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Datagram>> {
        self.poll(context)
    }
}

impl SenderState {
    pub(super) fn open(&self, interface: Arc<str>, source: SocketAddr, most: usize) {
        self.lock().open = Some(Open { interface, source, most });
    }

    pub(super) fn away(&self) {
        self.lock().open = None;
    }

    pub(super) fn end(&self, reason: ClientError) {
        let mut inner = self.lock();
        inner.open = None;
        inner.over.get_or_insert(reason);
    }

    pub(super) fn refuse(&self, datagrams: u64, words: Option<String>) {
        let mut inner = self.lock();
        inner.refused = inner.refused.saturating_add(datagrams);
        inner.refusal = words.or(inner.refusal.take());
    }

    fn check(&self, length: usize) -> Result<(), SendError> {
        let inner = self.lock();
        match (&inner.over, &inner.open) {
            (Some(reason), _) => Err(SendError::Over(reason.clone())),
            (None, None) => Err(SendError::Away),
            (None, Some(open)) if length > open.most => Err(SendError::TooLarge { length, most: open.most }),
            (None, Some(_)) => Ok(()),
        }
    }

    fn over(&self) -> Option<ClientError> {
        self.lock().over.clone()
    }

    /// The state is whole between two calls, whoever panicked.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
