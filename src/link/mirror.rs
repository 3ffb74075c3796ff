//! One mirrored group on one interface: where the LAN and the links meet, and each datagram is judged once.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant, SystemTime};

use tracing::{info, warn};

use crate::lan::interface::Interfaces;
use crate::link::answerers::Answerers;
use crate::link::attachment::Attachment;
use crate::link::election::{LISTENING, Standing};
use crate::link::emitters::{Asker, Emitters};
use crate::link::link::Link;
use crate::link::routes::{Routes, Way};
use crate::link::segment::Segment;
use crate::link::storm::{Breaker, STOPPED, Verdict};
use crate::link::window::Window;
use crate::model::group::Group;
use crate::model::link::MOST_HOPS;
use crate::model::link::record::{Content, Identity, LinkHeader};
use crate::model::status::{AnswersStatus, Discarded, Ignored, MirrorStatus};
use crate::sys::batch::Received;

/// One mirrored group on one interface.
pub(super) struct Mirror {
    this: Weak<Mirror>,
    pub(super) group: Group,
    pub(super) segment: Rc<Segment>,
    /// Our gateway's run.
    gateway: u64,
    /// Our number of this mirror, and so of what it injects.
    run: u32,
    state: RefCell<State>,
}

struct State {
    next: u64,
    window: Window,
    breaker: Breaker,
    standing: Standing,
    attachments: Vec<Attachment>,
    routes: Routes,
    emitters: Emitters,
    answerers: Answerers,
    ttl: u8,
    books: Books,
}

#[derive(Clone, Copy, Debug, Default)]
struct Books {
    heard: u64,
    injected: u64,
    ignored: Ignored,
    arrived: u64,
    emitted: u64,
    handed: u64,
    discarded: Discarded,
    answers: AnswersStatus,
    storms: u64,
}

impl Mirror {
    pub(super) fn new(
        group: Group,
        segment: Rc<Segment>,
        gateway: u64,
        run: u32,
        now: Instant,
    ) -> Rc<Mirror> {
        Rc::new_cyclic(|this| Mirror {
            this: Weak::clone(this),
            group,
            segment,
            gateway,
            run,
            state: RefCell::new(State {
                next: 1,
                window: Window::default(),
                breaker: Breaker::new(now),
                standing: Standing::Listening { until: now + LISTENING },
                attachments: Vec::new(),
                routes: Routes::default(),
                emitters: Emitters::new(group),
                answerers: Answerers::default(),
                ttl: 1,
                books: Books::default(),
            }),
        })
    }

    /// From now on a link takes part.
    pub(super) fn attach(&self, attachment: Attachment) {
        let mut state = self.state.borrow_mut();
        state.ttl = state.ttl.max(attachment.ttl);
        state.attachments.push(attachment);
    }

    /// The link takes part no more; true where none is left.
    pub(super) fn detach(&self, session: u64) -> bool {
        let mut state = self.state.borrow_mut();
        state.attachments.retain(|one| one.link.session != session);
        state.attachments.is_empty()
    }

    /// A datagram of the LAN.
    pub(super) fn heard(&self, received: &Received<'_>, is_fit: bool, interfaces: &Interfaces) {
        let now = Instant::now();
        let mut state = self.state.borrow_mut();
        state.books.heard += 1;
        if !is_fit || received.truncated {
            state.books.ignored.unfit += 1;
            return;
        }
        if state.is_own(received, self.group, interfaces, now) {
            state.books.ignored.own += 1;
            return;
        }
        match state.breaker.hears(received.payload, now) {
            Verdict::Pass => {}
            Verdict::Stopped => return state.books.ignored.stopped += 1,
            Verdict::Stops => {
                state.books.ignored.stopped += 1;
                return self.stopped(&mut state);
            }
        }
        if state.standing != Standing::Speaking {
            state.books.ignored.standby += 1;
            return;
        }
        state.books.injected += 1;
        let identity = Identity { gateway: self.gateway, run: self.run, sequence: state.next };
        state.next += 1;
        let header = LinkHeader {
            content: Content::Datagram(identity),
            channel: 0,
            sequence: 0,
            source: received.source,
            ttl: received.ttl,
            hops: 0,
            arrival: if received.arrival > 0 { received.arrival } else { nanoseconds() },
        };
        self.spread(&mut state, header, received.payload, None, now);
    }

    /// A datagram that came from a link or a neighbour.
    pub(super) fn arrived(&self, way: Way, header: LinkHeader, identity: Identity, payload: &[u8]) {
        let now = Instant::now();
        let mut guard = self.state.borrow_mut();
        let state = &mut *guard;
        state.books.arrived += 1;
        if let Way::Link(session) = way {
            let Some(attachment) = state.attachments.iter_mut().find(|one| one.link.session == session)
            else {
                return state.books.discarded.one_way += 1;
            };
            if !attachment.takes {
                return state.books.discarded.one_way += 1;
            }
            if !attachment.may_take(payload.len(), now) {
                return state.books.discarded.rate += 1;
            }
        }
        // What is ours has been on our LAN: that is where it is from.
        if identity.gateway == self.gateway || !state.window.is_new(identity) {
            return state.books.discarded.duplicate += 1;
        }
        if header.hops > MOST_HOPS {
            return state.books.discarded.hops += 1;
        }
        if state.breaker.stopped(now).is_some() {
            return state.books.discarded.stopped += 1;
        }
        state.routes.remember(identity.gateway, way);
        match state.standing {
            Standing::Speaking => {
                let asker = Asker { gateway: identity.gateway, address: header.source };
                if state.emit(self, asker, payload, now) {
                    state.books.emitted += 1;
                } else {
                    state.books.discarded.kernel += 1;
                }
            }
            Standing::Standby { speaker: Some(speaker) } if way == Way::Neighbour(speaker) => {
                state.books.handed += 1;
            }
            Standing::Standby { speaker: Some(speaker) } => {
                if self.segment.pass(speaker, self.group, &header, payload) {
                    state.books.handed += 1;
                } else {
                    state.books.discarded.kernel += 1;
                }
            }
            Standing::Standby { speaker: None } | Standing::Listening { .. } => {
                state.books.discarded.nobody += 1;
            }
        }
        self.spread(state, header, payload, Some(way), now);
    }

    /// A unicast answer that a host of this LAN gave to what we sent for `asker`.
    pub(super) fn answered(&self, asker: Asker, responder: SocketAddr, payload: &[u8]) {
        let header = LinkHeader {
            content: Content::Answer { gateway: asker.gateway, asker: asker.address },
            channel: 0,
            sequence: 0,
            source: responder,
            ttl: None,
            hops: 0,
            arrival: nanoseconds(),
        };
        let mut state = self.state.borrow_mut();
        let known = asker.address.is_ipv4() == responder.is_ipv4()
            && self.lead_back(&mut state, &header, asker.gateway, payload);
        if known {
            state.books.answers.sent += 1;
        } else {
            state.books.answers.lost += 1;
        }
    }

    /// An answer that came from a link or a neighbour.
    pub(super) fn answer_arrived(
        &self,
        header: &LinkHeader,
        gateway: u64,
        asker: SocketAddr,
        payload: &[u8],
    ) {
        let mut guard = self.state.borrow_mut();
        let state = &mut *guard;
        if gateway == self.gateway {
            let delivered = self
                .segment
                .address(self.group.is_ipv4())
                .is_some_and(|own| state.answerers.deliver(own, header.source, asker, payload));
            *if delivered { &mut state.books.answers.delivered } else { &mut state.books.answers.lost } += 1;
            return;
        }
        let forwarded = header.hops <= MOST_HOPS && self.lead_back(state, header, gateway, payload);
        *if forwarded { &mut state.books.answers.forwarded } else { &mut state.books.answers.lost } += 1;
    }

    /// Sees who is on the LAN now, and what that makes of us.
    pub(super) fn decide(&self, now: Instant) {
        let mut state = self.state.borrow_mut();
        let next = self.segment.decide(self.group, state.standing, now);
        if next == state.standing {
            return;
        }
        let was = std::mem::replace(&mut state.standing, next);
        drop(state);
        match next {
            Standing::Speaking => {
                info!(group = %self.group, interface = %self.segment.selector, "speaking for the links");
            }
            Standing::Standby { speaker: Some(speaker) } => {
                let speaker = format!("{speaker:016x}");
                info!(group = %self.group, interface = %self.segment.selector, speaker, "another gateway on this LAN speaks for the links");
            }
            Standing::Standby { speaker: None } | Standing::Listening { .. } => {}
        }
        if was == Standing::Speaking || next == Standing::Speaking {
            self.segment.say_hello(now);
        }
    }

    /// Whether it speaks for the group on its LAN.
    pub(super) fn speaks(&self) -> bool {
        self.state.borrow().standing == Standing::Speaking
    }

    /// Each tick: what is due by time.
    pub(super) fn tick(&self, now: Instant) {
        {
            let mut state = self.state.borrow_mut();
            state.emitters.tick(now);
            state.answerers.tick(now);
            state.breaker.stopped(now);
        }
        self.decide(now);
    }

    /// The interface has gone, or is another one: nothing is known of its LAN.
    pub(super) fn begin_again(&self, now: Instant) {
        let mut state = self.state.borrow_mut();
        state.emitters.close_all(now);
        state.answerers = Answerers::default();
        state.standing = Standing::Listening { until: now + LISTENING };
    }

    /// For the status.
    pub(super) fn status(&self) -> MirrorStatus {
        let now = Instant::now();
        let mut state = self.state.borrow_mut();
        let stopped = state.breaker.stopped(now);
        let (word, speaker) = match state.standing {
            _ if !self.segment.is_there() => ("waiting-for-interface", None),
            _ if stopped.is_some() => ("stopped", None),
            Standing::Listening { .. } => ("listening", None),
            Standing::Speaking => ("speaking", None),
            Standing::Standby { speaker } => ("standby", speaker.map(|speaker| format!("{speaker:016x}"))),
        };
        let books = state.books;
        MirrorStatus {
            group: self.group.to_string(),
            interface: self.segment.name(),
            state: word,
            speaker,
            stopped_seconds: stopped.map(|left| left.as_secs_f64()),
            storms: books.storms,
            neighbours: self.segment.neighbours_of(self.group),
            heard: books.heard,
            injected: books.injected,
            ignored: books.ignored,
            lost_kernel: self.segment.kernel_drops(self.group),
            arrived: books.arrived,
            emitted: books.emitted,
            handed: books.handed,
            discarded: books.discarded,
            answers: books.answers,
        }
    }

    /// Datagrams over the cap on their way to a link.
    pub(super) fn over_rate(&self, session: u64) -> u64 {
        let state = self.state.borrow();
        state.attachments.iter().filter(|one| one.link.session == session).map(Attachment::over_rate).sum()
    }

    /// Gives a datagram to everybody but who it came from.
    fn spread(&self, state: &mut State, header: LinkHeader, payload: &[u8], from: Option<Way>, now: Instant) {
        if header.hops < MOST_HOPS {
            let next = LinkHeader { hops: header.hops + 1, ..header };
            for attachment in &mut state.attachments {
                if attachment.gives && from != Some(Way::Link(attachment.link.session)) {
                    attachment.give(next, payload, now);
                }
            }
        }
        // The others on this LAN have links of their own, and can't tell what they hear from what we have given away.
        if state.standing == Standing::Speaking {
            let except = if let Some(Way::Neighbour(neighbour)) = from { Some(neighbour) } else { None };
            let shown = LinkHeader { hops: header.hops.max(1), ..header };
            self.segment.pass_to_all(self.group, &shown, payload, except);
        }
    }

    /// Sends an answer towards a gateway; false where nobody knows the way.
    fn lead_back(&self, state: &mut State, header: &LinkHeader, gateway: u64, payload: &[u8]) -> bool {
        let next = LinkHeader { hops: header.hops.saturating_add(1), ..*header };
        match state.routes.find(gateway) {
            Some(Way::Link(session)) => {
                let attachment = state.attachments.iter_mut().find(|one| one.link.session == session);
                attachment.is_some_and(|attachment| {
                    attachment.lead_back(next, payload);
                    true
                })
            }
            Some(Way::Neighbour(neighbour)) => self.segment.pass(
                neighbour,
                self.group,
                &LinkHeader { hops: header.hops.max(1), ..*header },
                payload,
            ),
            None => false,
        }
    }

    fn stopped(&self, state: &mut State) {
        state.books.storms += 1;
        let seconds = STOPPED.as_secs();
        warn!(
            group = %self.group,
            interface = %self.segment.selector,
            seconds,
            "a storm: what the link sends to this LAN comes back from other hosts, again and again: the group is stopped \
             for a while; find the host that re-sends what it hears"
        );
        for attachment in &state.attachments {
            attachment.tell_stopped(STOPPED);
        }
    }
}

impl State {
    fn is_own(
        &mut self,
        received: &Received<'_>,
        group: Group,
        interfaces: &Interfaces,
        now: Instant,
    ) -> bool {
        let port = received.source.port();
        let (alone, kept) =
            (self.emitters.has_port(port), port == group.port() && self.emitters.keeps_port());
        if !(alone || kept) || !interfaces.own(received.source.ip()) {
            return false;
        }
        alone || self.breaker.is_echo(received.payload, now)
    }

    fn emit(&mut self, mirror: &Mirror, asker: Asker, payload: &[u8], now: Instant) -> bool {
        let ttl = self.ttl;
        let sent = mirror.segment.with_interface(|interface| {
            let transmitter = self.emitters.of(asker, interface, ttl, &mirror.this, now)?;
            transmitter.send(payload).ok()
        });
        if sent.flatten().is_none() {
            return false;
        }
        self.breaker.sends(payload, now);
        true
    }
}

impl Link {
    /// Takes one record that came over this link.
    pub(super) fn deliver(&self, mirror: &Mirror, header: LinkHeader, payload: &[u8]) {
        deliver(mirror, Way::Link(self.session), header, payload);
    }
}

/// Gives one record to the mirror that it is for.
pub(super) fn deliver(mirror: &Mirror, way: Way, header: LinkHeader, payload: &[u8]) {
    match header.content {
        Content::Datagram(identity) => mirror.arrived(way, header, identity, payload),
        Content::Answer { gateway, asker } => mirror.answer_arrived(&header, gateway, asker, payload),
    }
}

/// Now, in nanoseconds since 1970.
fn nanoseconds() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_nanos()).unwrap_or(0)
}
