//! A program's claim on a stream; ends when dropped.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::Stream;
use tokio::sync::mpsc;

use super::queue::{Datagram, Event, Losses, Queue};
use super::registry::Request;
use crate::model::group::Group;

/// The events of a joined group, as a stream; left when dropped.
#[derive(Debug)]
pub struct Subscription {
    key: u64,
    group: Option<Group>,
    queue: Arc<Queue>,
    requests: mpsc::UnboundedSender<Request>,
}

impl Subscription {
    pub(super) fn new(
        key: u64,
        group: Option<Group>,
        queue: Arc<Queue>,
        requests: mpsc::UnboundedSender<Request>,
    ) -> Subscription {
        Subscription { key, group, queue, requests }
    }

    /// The next event; `None` after [`Event::Ended`]. Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<Event> {
        std::future::poll_fn(|context| self.queue.poll(context)).await
    }

    /// The next datagram, whatever else happens before it; `None` at the end. What was lost, [`losses`](Self::losses)
    /// counts.
    pub async fn next_datagram(&mut self) -> Option<Datagram> {
        loop {
            if let Event::Datagram(datagram) = self.next().await? {
                return Some(datagram);
            }
        }
    }

    /// All losses so far, those included that have not been read yet.
    #[must_use]
    pub fn losses(&self) -> Losses {
        self.queue.losses()
    }

    /// The group; `None` where it was asked for by a name.
    #[must_use]
    pub fn group(&self) -> Option<Group> {
        self.group
    }
}

impl Stream for Subscription {
    type Item = Event;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Event>> {
        self.queue.poll(context)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        // Where nobody takes it, the connection is gone, and the subscription with it.
        let _ = self.requests.send(Request::Leave(self.key));
    }
}
