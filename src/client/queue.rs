//! What one subscription holds for its reader: bounded, in order, losses counted.

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use serde::Serialize;

use super::ClientError;
use crate::model::control::{LossCause, StreamState};

/// One datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// The UDP payload, not copied from the message that it came in.
    pub payload: Bytes,
    /// Who sent it; unspecified, with port 0, where the gateway's kernel did not say.
    pub source: SocketAddr,
    /// Number within its stream's run; wraps.
    pub sequence: u32,
    /// When the gateway's kernel had it, in nanoseconds since 1970 (UTC); 0 where it did not say.
    pub arrival: u64,
    /// TTL or hop limit on arrival.
    pub ttl: Option<u8>,
    /// The gateway's interface that it came in by.
    pub interface: Arc<str>,
    /// The gateway's number of the stream; for a reply, of the sender.
    pub stream: u32,
    /// Cut off by the gateway's receive buffer.
    pub truncated: bool,
    /// Sent by a client of the same gateway.
    pub from_client: bool,
}

/// What a subscription tells, in the order in which it happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A datagram.
    Datagram(Datagram),
    /// Datagrams are missing here.
    Lost(Loss),
    /// The stream is joined, or in another state.
    State {
        /// How it is.
        state: StreamState,
        /// Where, by name.
        interface: Arc<str>,
    },
    /// The connection is lost, and tried again. The next are [`Lost`](Event::Lost) and [`State`](Event::State).
    Away,
    /// Nothing follows.
    Ended(ClientError),
}

/// Datagrams that do not come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Loss {
    /// Where they were lost.
    pub place: LossPlace,
    /// How many; `None` where nobody can know.
    pub datagrams: Option<u64>,
    /// How long it took, where the number can't be known.
    pub time: Option<Duration>,
}

/// Where datagrams were lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossPlace {
    /// On the way to this program, as the gateway tells.
    Gateway(LossCause),
    /// Here: this program read too slowly.
    Queue,
    /// While there was no connection.
    Outage,
    /// Missing by their numbers, and nobody said why.
    Unexplained,
}

/// All losses of a subscription so far, read or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Losses {
    /// Lost in this program's queue.
    pub queue: u64,
    /// Lost on the way, as far as the number is known.
    pub gateway: u64,
    /// Missing by their numbers, and nobody said why.
    pub unexplained: u64,
    /// Gaps of unknown size.
    pub unknown: u64,
}

/// Events for one reader.
#[derive(Debug)]
pub(super) struct Queue {
    held: Mutex<Held>,
    most_events: usize,
    most_bytes: usize,
}

#[derive(Debug, Default)]
struct Held {
    events: VecDeque<Event>,
    /// Bytes of payload in `events`.
    bytes: usize,
    /// Datagrams that gave way since the reader was last told.
    gave_way: u64,
    /// Losses that gave way, one for each place and kind.
    losses: Vec<Loss>,
    /// The last state that gave way.
    state: Option<Event>,
    counts: Losses,
    ended: bool,
    waker: Option<Waker>,
}

impl Queue {
    pub(super) fn new(most_events: usize, most_bytes: usize) -> Queue {
        Queue { held: Mutex::default(), most_events: most_events.max(1), most_bytes }
    }

    /// Appends an event and wakes the reader; the oldest give way. After [`Event::Ended`], nothing more.
    pub(super) fn push(&self, event: Event) {
        let mut held = self.lock();
        if held.ended {
            return;
        }
        match &event {
            Event::Datagram(datagram) => held.bytes += datagram.payload.len(),
            Event::Lost(loss) => held.counts.count(loss),
            Event::State { .. } | Event::Away => {}
            Event::Ended(_) => held.ended = true,
        }
        let absorbed = match (held.events.back_mut(), &event) {
            (Some(Event::Lost(last)), Event::Lost(loss)) => last.absorb(loss),
            _ => false,
        };
        if !absorbed {
            held.events.push_back(event);
        }
        while held.events.len() > self.most_events || (held.bytes > self.most_bytes && held.events.len() > 1)
        {
            held.give_way();
        }
        let waker = held.waker.take();
        drop(held);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The next event; `None` after the last.
    pub(super) fn poll(&self, context: &mut Context<'_>) -> Poll<Option<Event>> {
        let mut held = self.lock();
        match held.next() {
            Some(event) => Poll::Ready(Some(event)),
            None if held.ended => Poll::Ready(None),
            None => {
                held.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    pub(super) fn losses(&self) -> Losses {
        self.lock().counts
    }

    /// The state is whole between two calls, whoever panicked.
    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// What gave way stood before all that is held.
    fn next(&mut self) -> Option<Event> {
        if self.gave_way > 0 {
            let datagrams = Some(std::mem::take(&mut self.gave_way));
            return Some(Event::Lost(Loss { place: LossPlace::Queue, datagrams, time: None }));
        }
        if let Some(loss) = self.losses.pop() {
            return Some(Event::Lost(loss));
        }
        if let Some(state) = self.state.take() {
            return Some(state);
        }
        let event = self.events.pop_front()?;
        if let Event::Datagram(datagram) = &event {
            self.bytes -= datagram.payload.len();
        }
        Some(event)
    }

    /// Drops the oldest; what it said is kept in sum.
    fn give_way(&mut self) {
        match self.events.pop_front() {
            Some(Event::Datagram(datagram)) => {
                self.bytes -= datagram.payload.len();
                self.gave_way += 1;
                self.counts.queue += 1;
            }
            Some(Event::Lost(loss)) => {
                let absorbed = self.losses.iter_mut().any(|known| known.absorb(&loss));
                self.losses.extend((!absorbed).then_some(loss));
            }
            Some(state @ (Event::State { .. } | Event::Away)) => self.state = Some(state),
            Some(end @ Event::Ended(_)) => self.events.push_front(end),
            None => {}
        }
    }
}

impl Loss {
    /// Adds another of the same place and kind; false where it is not.
    fn absorb(&mut self, other: &Loss) -> bool {
        if self.place != other.place || self.datagrams.is_some() != other.datagrams.is_some() {
            return false;
        }
        self.datagrams = self.datagrams.zip(other.datagrams).map(|(one, more)| one.saturating_add(more));
        self.time = match (self.time, other.time) {
            (Some(one), Some(more)) => Some(one.saturating_add(more)),
            (one, more) => one.or(more),
        };
        true
    }
}

impl Losses {
    fn count(&mut self, loss: &Loss) {
        let place = match loss.place {
            LossPlace::Gateway(_) => &mut self.gateway,
            LossPlace::Queue => &mut self.queue,
            LossPlace::Outage | LossPlace::Unexplained => &mut self.unexplained,
        };
        match loss.datagrams {
            Some(datagrams) => *place = place.saturating_add(datagrams),
            None => self.unknown += 1,
        }
    }
}

impl Datagram {
    /// When the gateway's kernel had it; `None` where it did not say.
    #[must_use]
    pub fn arrived(&self) -> Option<SystemTime> {
        (self.arrival > 0).then(|| SystemTime::UNIX_EPOCH + Duration::from_nanos(self.arrival))
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.datagrams {
            Some(1) => formatter.write_str("1 datagram lost ")?,
            Some(datagrams) => write!(formatter, "{datagrams} datagrams lost ")?,
            None => formatter.write_str("an unknown number of datagrams lost ")?,
        }
        match self.place {
            LossPlace::Gateway(cause) => write!(formatter, "at the gateway ({cause})")?,
            LossPlace::Queue => formatter.write_str("here (read too slowly)")?,
            LossPlace::Outage => formatter.write_str("while the connection was away")?,
            LossPlace::Unexplained => formatter.write_str("on the way")?,
        }
        match self.time {
            Some(time) => write!(formatter, " in {:.1} s", time.as_secs_f64()),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Losses {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Losses { queue, gateway, unexplained, unknown } = self;
        write!(formatter, "lost: {gateway} on the way, {queue} here, {unexplained} unexplained")?;
        if *unknown > 0 { write!(formatter, "; and {unknown} gaps of unknown size") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datagram(sequence: u32, length: usize) -> Event {
        Event::Datagram(Datagram {
            payload: vec![0; length].into(),
            source: ([10, 0, 0, 5], 5000).into(),
            sequence,
            arrival: 0,
            ttl: None,
            interface: "lan0".into(),
            stream: 7,
            truncated: false,
            from_client: false,
        })
    }

    fn lost(place: LossPlace, datagrams: impl Into<Option<u64>>) -> Event {
        Event::Lost(Loss { place, datagrams: datagrams.into(), time: None })
    }

    fn rest(queue: &Queue) -> Vec<Event> {
        std::iter::from_fn(|| queue.lock().next()).collect()
    }

    #[test]
    fn the_oldest_give_way_and_are_told_first() {
        let queue = Queue::new(3, 1000);
        for sequence in 0..5 {
            queue.push(datagram(sequence, 1));
        }
        let expected = [lost(LossPlace::Queue, 2), datagram(2, 1), datagram(3, 1), datagram(4, 1)];
        assert_eq!(rest(&queue), expected);
        assert_eq!(queue.losses().queue, 2);
    }

    #[test]
    fn bytes_are_bounded_and_one_datagram_is_always_held() {
        let queue = Queue::new(100, 10);
        for sequence in 0..3 {
            queue.push(datagram(sequence, 6));
        }
        queue.push(datagram(3, 60));
        assert_eq!(rest(&queue), [lost(LossPlace::Queue, 3), datagram(3, 60)]);
    }

    #[test]
    fn what_gives_way_is_kept_in_sum() {
        let queue = Queue::new(2, 1000);
        let state =
            |interface: &str| Event::State { state: StreamState::Silent, interface: interface.into() };
        let kernel = LossPlace::Gateway(LossCause::Kernel);
        queue.push(state("lan0"));
        queue.push(lost(kernel, 2));
        queue.push(lost(kernel, 3));
        queue.push(datagram(1, 1));
        queue.push(state("lan1"));
        queue.push(lost(kernel, 4));
        queue.push(lost(kernel, None));
        queue.push(datagram(2, 1));
        let told = rest(&queue);
        assert_eq!(told[0], lost(LossPlace::Queue, 1));
        assert_eq!(told[1], lost(kernel, 9));
        assert_eq!(told[2..], [state("lan1"), lost(kernel, None), datagram(2, 1)]);
        assert_eq!(queue.losses(), Losses { queue: 1, gateway: 9, unexplained: 0, unknown: 1 });
    }

    #[test]
    fn the_end_stays_and_nothing_follows() {
        let queue = Queue::new(1, 1000);
        queue.push(datagram(1, 1));
        queue.push(Event::Ended(ClientError::Ended));
        queue.push(datagram(2, 1));
        assert_eq!(rest(&queue), [lost(LossPlace::Queue, 1), Event::Ended(ClientError::Ended)]);
    }
}
