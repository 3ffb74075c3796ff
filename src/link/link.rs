//! One link, through all its connections: what goes out, what has come in, and the books of both.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::Notify;
use tracing::warn;

use crate::link::mirror::Mirror;
use crate::link::outgoing::Outgoing;
use crate::model::link::message::{Call, Channel, LinkMessage, Opened};
use crate::model::link::record::{LinkHeader, LinkRecordError, LinkRecords};
use crate::model::status::{LinkGroupStatus, LinkStatus};

/// Texts that wait to be written.
const TEXTS: usize = 64;

/// One link.
pub(super) struct Link {
    /// Names it on both sides, through all connections.
    pub(super) session: u64,
    pub(super) name: String,
    /// `out` or `in`.
    pub(super) opened: &'static str,
    /// What is mirrored, as the connected gateway sees it.
    pub(super) channels: Vec<Channel>,
    /// Wakes the connection: there is something to write.
    pub(super) wake: Notify,
    /// Ends the connection: there is a newer one, or the link is over.
    pub(super) replaced: Notify,
    state: RefCell<State>,
    connections: Cell<u64>,
}

struct State {
    outgoing: Outgoing,
    /// The last record that came.
    received: u64,
    mirrors: Vec<Result<Rc<Mirror>, String>>,
    texts: VecDeque<String>,
    standing: Standing,
    since: Instant,
    peer: String,
    gateway: Option<u64>,
    round_trip: Option<Duration>,
    /// No record has come since the link is up again: what is missing before the first was lost in the break.
    is_back: bool,
    books: Books,
}

/// How a link is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Up,
    Away(String),
    Refused(String),
}

#[derive(Clone, Copy, Debug, Default)]
struct Books {
    sent: u64,
    sent_bytes: u64,
    received: u64,
    received_bytes: u64,
    repeated: u64,
    lost: u64,
    unknown_gaps: u64,
    last_break: Duration,
    last_break_lost: u64,
}

/// What a link has, to be told to the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The last record that came here.
    pub(super) after: u64,
    /// The oldest record held here.
    pub(super) first: u64,
}

impl Link {
    pub(super) fn new(
        session: u64,
        name: String,
        opened: &'static str,
        peer: String,
        channels: Vec<Channel>,
    ) -> Rc<Link> {
        let state = State {
            outgoing: Outgoing::new(),
            received: 0,
            mirrors: Vec::new(),
            texts: VecDeque::new(),
            standing: Standing::Away("not connected yet".to_owned()),
            since: Instant::now(),
            peer,
            gateway: None,
            round_trip: None,
            is_back: false,
            books: Books::default(),
        };
        Rc::new(Link {
            session,
            name,
            opened,
            channels,
            wake: Notify::new(),
            replaced: Notify::new(),
            state: RefCell::new(state),
            connections: Cell::new(0),
        })
    }

    /// Sets what its channels mirror here.
    pub(super) fn mirror(&self, mirrors: Vec<Result<Rc<Mirror>, String>>) {
        self.state.borrow_mut().mirrors = mirrors;
    }

    /// Lets go of what it mirrors.
    pub(super) fn close(&self) -> Vec<Rc<Mirror>> {
        self.replaced.notify_one();
        std::mem::take(&mut self.state.borrow_mut().mirrors).into_iter().flatten().collect()
    }

    /// Where each channel is mirrored, to answer with.
    pub(super) fn opened_channels(&self) -> Vec<Opened> {
        let opened = |mirror: &Result<Rc<Mirror>, String>| match mirror {
            Ok(mirror) => Opened::Mirrored { interface: mirror.segment.name() },
            Err(error) => Opened::Refused { error: error.clone() },
        };
        self.state.borrow().mirrors.iter().map(opened).collect()
    }

    /// Puts a record into the log.
    pub(super) fn put(&self, header: LinkHeader, payload: &[u8], now: Instant) {
        let mut state = self.state.borrow_mut();
        let sequence = state.outgoing.head() as u32;
        let record = LinkHeader { sequence, ..header }.encode(payload);
        state.outgoing.put(record, now);
        state.books.sent += 1;
        state.books.sent_bytes += payload.len() as u64;
        drop(state);
        self.wake.notify_one();
    }

    /// Says something, if the link is up.
    pub(super) fn say(&self, message: &LinkMessage) {
        let mut state = self.state.borrow_mut();
        if state.standing == Standing::Up && state.texts.len() < TEXTS {
            state.texts.push_back(message.encode());
            drop(state);
            self.wake.notify_one();
        }
    }

    /// The next text to write.
    pub(super) fn text(&self) -> Option<String> {
        self.state.borrow_mut().texts.pop_front()
    }

    /// The next records to write.
    pub(super) fn message(&self) -> Option<Bytes> {
        self.state.borrow_mut().outgoing.message().map(|(message, _)| message)
    }

    /// Whether what is written next has waited since a break.
    pub(super) fn is_catching_up(&self) -> bool {
        self.state.borrow().outgoing.is_catching_up()
    }

    /// Takes a binary message.
    ///
    /// # Errors
    /// Where it is none; what stood before the mistake counts.
    pub(super) fn hears(&self, message: &[u8]) -> Result<(), LinkRecordError> {
        for record in LinkRecords::new(message) {
            let (header, payload) = record?;
            let mirror = {
                let mut state = self.state.borrow_mut();
                if !state.is_next(header.sequence, payload.len()) {
                    continue;
                }
                state.mirrors.get(header.channel as usize).and_then(|mirror| mirror.as_ref().ok()).cloned()
            };
            // A channel that was refused carries nothing, as both sides know.
            let Some(mirror) = mirror else {
                return Err(LinkRecordError::BadField { at: 0, field: "channel" });
            };
            self.deliver(&mirror, header, payload);
        }
        Ok(())
    }

    /// What the other side has to know to go on.
    pub(super) fn place(&self) -> Place {
        let mut state = self.state.borrow_mut();
        state.outgoing.forget(Instant::now());
        Place { after: state.received, first: state.outgoing.first() }
    }

    /// A connection stands, with the run `gateway` on the other side, which has `there`. Where the other side knew the link,
    /// what it has not had is written again; else it begins anew, and what was missed nobody knows.
    pub(super) fn up(&self, gateway: u64, there: Place, resumed: bool) {
        let now = Instant::now();
        let mut state = self.state.borrow_mut();
        let first_time = self.connections.replace(self.connections.get() + 1) == 0;
        let away = now.saturating_duration_since(state.since);
        let missed = if resumed { there.first.saturating_sub(state.received + 1) } else { 0 };
        if resumed {
            state.outgoing.resume(there.after, now);
            state.received += missed;
            state.books.lost += missed;
        } else {
            state.received = there.first.saturating_sub(1);
            state.books.unknown_gaps += u64::from(!first_time);
        }
        if !first_time {
            (state.books.last_break, state.books.last_break_lost) = (away, missed);
            state.is_back = true;
        }
        state.gateway = Some(gateway);
        (state.standing, state.since) = (Standing::Up, now);
        state.texts.clear();
        drop(state);
        let (name, seconds) = (&self.name, away.as_secs_f64());
        if first_time {
            tracing::info!(link = name, gateway = format!("{gateway:016x}"), "link up");
        } else if !resumed {
            warn!(
                link = name,
                seconds, "link up again; the other gateway began anew, so what was missed nobody knows"
            );
        } else {
            warn!(link = name, seconds, lost = missed, "link up again");
        }
        self.wake.notify_one();
    }

    /// The connection is lost, or there is none yet.
    pub(super) fn down(&self, standing: Standing) {
        let mut state = self.state.borrow_mut();
        let was = std::mem::replace(&mut state.standing, standing);
        if was == Standing::Up {
            state.since = Instant::now();
        }
        let (new, is_news) = (state.standing.clone(), was != state.standing);
        drop(state);
        if let (Standing::Away(reason) | Standing::Refused(reason), true) = (new, is_news) {
            warn!(link = self.name, reason, "link away");
        }
    }

    /// Since when it has been away; `None` while it is up.
    pub(super) fn away_since(&self) -> Option<Instant> {
        let state = self.state.borrow();
        (state.standing != Standing::Up).then_some(state.since)
    }

    /// Where the other side is now.
    pub(super) fn is_at(&self, peer: String) {
        self.state.borrow_mut().peer = peer;
    }

    /// The run of the other gateway, as far as it is known.
    pub(super) fn gateway(&self) -> Option<u64> {
        self.state.borrow().gateway
    }

    /// The number of its connection.
    pub(super) fn connection(&self) -> u64 {
        self.connections.get()
    }

    /// Takes note of the time from a ping to its answer.
    pub(super) fn round_trip(&self, time: Duration) {
        self.state.borrow_mut().round_trip = Some(time);
    }

    /// Whether `call` is for this link as it was opened.
    pub(super) fn is_called(&self, call: &Call) -> bool {
        self.channels == call.groups
    }

    /// Each tick: lets go of what is too old.
    pub(super) fn tick(&self, now: Instant) {
        self.state.borrow_mut().outgoing.forget(now);
    }

    /// For the status.
    pub(super) fn status(&self) -> LinkStatus {
        let state = self.state.borrow();
        let (word, reason) = match &state.standing {
            Standing::Up => ("up", None),
            Standing::Away(reason) => ("away", Some(reason.clone())),
            Standing::Refused(reason) => ("refused", Some(reason.clone())),
        };
        let groups = state.mirrors.iter().zip(&self.channels).map(|(mirror, channel)| LinkGroupStatus {
            group: match mirror {
                Ok(mirror) => mirror.group.to_string(),
                Err(_) => std::net::SocketAddr::new(channel.group, channel.port).to_string(),
            },
            interface: mirror.as_ref().map_or_else(|_| String::new(), |mirror| mirror.segment.name()),
            direction: channel.direction.to_string(),
            refused: mirror.as_ref().err().cloned(),
            over_rate: mirror.as_ref().map_or(0, |mirror| mirror.over_rate(self.session)),
        });
        let books = state.books;
        LinkStatus {
            name: self.name.clone(),
            session: format!("{:016x}", self.session),
            opened: self.opened,
            peer: state.peer.clone(),
            gateway: state.gateway.map(|gateway| format!("{gateway:016x}")),
            state: word,
            reason,
            seconds: state.since.elapsed().as_secs_f64(),
            connections: self.connections.get(),
            round_trip_ms: state.round_trip.map(|time| time.as_secs_f64() * 1e3),
            groups: groups.collect(),
            sent: books.sent,
            sent_bytes: books.sent_bytes,
            overrun: state.outgoing.overrun(),
            waiting: state.outgoing.waiting(),
            received: books.received,
            received_bytes: books.received_bytes,
            repeated: books.repeated,
            lost: books.lost,
            unknown_gaps: books.unknown_gaps,
            last_break_seconds: books.last_break.as_secs_f64(),
            last_break_lost: books.last_break_lost,
        }
    }
}

impl State {
    /// Counts a record and what is missing before it; false for one that was here.
    fn is_next(&mut self, sequence: u32, length: usize) -> bool {
        let expected = self.received + 1;
        let ahead = sequence.wrapping_sub(expected as u32).cast_signed();
        let Ok(missing) = u64::try_from(ahead) else {
            self.books.repeated += 1;
            return false;
        };
        self.received = expected + missing;
        self.books.lost += missing;
        if std::mem::take(&mut self.is_back) {
            // It grew too old between the greeting and the writing.
            self.books.last_break_lost += missing;
        }
        self.books.received += 1;
        self.books.received_bytes += length as u64;
        true
    }
}
