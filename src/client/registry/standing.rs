//! What of a program's wishes stands at the gateway, one by one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::Answer;
use crate::client::ClientError;
use crate::client::backoff::random;
use crate::client::queue::{Datagram, Event, Loss, LossPlace, Queue};
use crate::client::sender::SenderState;
use crate::client::wanted::{WantedSender, WantedStream};
use crate::model::control::{LossCause, Resume, StreamState};
use crate::model::record::{Record, RecordHeader};

/// One subscription. Its key is the `id` of its `join`.
#[derive(Debug)]
pub(super) struct Subscribed {
    pub(super) wanted: WantedStream,
    pub(super) queue: Arc<Queue>,
    /// Whom to tell that it stands or does not; gone once it has stood.
    pub(super) answer: Option<Answer>,
    /// Numbers of its streams; more than one with `interface: all`.
    pub(super) streams: Vec<u32>,
    /// Where it ended when the connection was lost.
    pub(super) ended: Option<Resume>,
    pub(super) away_since: Option<Instant>,
    pub(super) again: Again,
}

/// One sender. Its key is the `id` of its `open_send`.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) wanted: WantedSender,
    pub(super) queue: Arc<Queue>,
    pub(super) state: Arc<SenderState>,
    pub(super) answer: Option<Answer>,
    pub(super) number: Option<u32>,
    /// Where replies come in.
    pub(super) interface: Arc<str>,
    pub(super) again: Again,
}

/// When to ask again for what was refused.
#[derive(Debug, Default)]
pub(super) struct Again {
    pub(super) at: Option<Instant>,
    pub(super) refusals: u32,
}

/// One stream at the gateway.
#[derive(Debug)]
pub(super) struct Running {
    /// Who hears it: more than one where the program joined the same twice.
    pub(super) keys: Vec<u64>,
    pub(super) interface: Arc<str>,
    pub(super) state: StreamState,
    /// The sequence of the next record.
    pub(super) expected: u32,
    /// Whether `expected` comes from a record; the first may be older than `joined` says, with `replay`.
    pub(super) settled: bool,
    /// Missing sequences that the gateway has explained already.
    pub(super) told: u64,
    /// This gap of unknown size has been told here already, so the gateway's word for it is passed over.
    pub(super) gap_told: bool,
}

/// The first pause before a refused request is repeated, and the bound of the later ones.
const AGAIN: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

impl Subscribed {
    /// It is joined again after a break; says what is missing unless it was `resumed`. True where it said so.
    pub(super) fn back(&mut self, resumed: bool, now: Instant) -> bool {
        let Some(since) = self.away_since.take().filter(|_| !resumed) else { return false };
        let time = Some(now.saturating_duration_since(since));
        self.queue.push(Event::Lost(Loss { place: LossPlace::Outage, datagrams: None, time }));
        true
    }

    pub(super) fn stands(&mut self, stream: u32, running: &Running) {
        self.again = Again::default();
        self.streams.push(stream);
        self.queue.push(running.state_event());
        if let Some(answer) = self.answer.take() {
            let _ = answer.send(Ok(()));
        }
    }

    pub(super) fn end(self, reason: ClientError) {
        match self.answer {
            Some(answer) => drop(answer.send(Err(reason))),
            None => self.queue.push(Event::Ended(reason)),
        }
    }
}

impl Opened {
    pub(super) fn end(self, reason: ClientError) {
        self.state.end(reason.clone());
        self.queue.push(Event::Ended(reason.clone()));
        if let Some(answer) = self.answer {
            let _ = answer.send(Err(reason));
        }
    }
}

impl Again {
    pub(super) fn later(&mut self, now: Instant) {
        let (first, most) = AGAIN;
        let bound = first.saturating_mul(1 << self.refusals.min(8)).min(most);
        self.refusals += 1;
        // Not at once: what was too fast has to become slower.
        self.at = Some(now + bound / 2 + bound.mul_f64(random()) / 2);
    }
}

impl Running {
    pub(super) fn state_event(&self) -> Event {
        Event::State { state: self.state, interface: Arc::clone(&self.interface) }
    }

    pub(super) fn tell(&self, subscriptions: &BTreeMap<u64, Subscribed>, event: &Event) {
        for subscribed in self.keys.iter().filter_map(|key| subscriptions.get(key)) {
            subscribed.queue.push(event.clone());
        }
    }
}

/// Whether what is lost there had sequences of its own: the kernel and an absent interface lose before the gateway counts.
pub(super) fn takes_sequences(cause: LossCause) -> bool {
    match cause {
        LossCause::Client | LossCause::RateLimit | LossCause::Echo | LossCause::Unknown => true,
        LossCause::Kernel | LossCause::Interface => false,
    }
}

pub(super) fn datagram(stream: u32, record: &Record<'_>, message: &Bytes, interface: Arc<str>) -> Event {
    let RecordHeader { origin: _, sequence, source, ttl, arrival, truncated, from_client } = record.header;
    let payload = record.payload_of(message);
    Event::Datagram(Datagram {
        payload,
        source,
        sequence,
        arrival,
        ttl,
        interface,
        stream,
        truncated,
        from_client,
    })
}
