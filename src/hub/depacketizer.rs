//! Takes an RTP stream's payloads out of its packets, in the sender's order, once for all subscribers.
//!
//! What comes in order is passed on from the receive buffer as it is; only what comes early is copied, into buffers that are
//! used again.

use std::net::SocketAddr;
use std::time::Duration;

use crate::model::limits::Limits;
use crate::model::rtp::Packet;
use crate::model::rtp::fec::{FecPacket, REACH};
use crate::model::rtp::repair::{self, Repair};
use crate::model::rtp::sequencer::{Bounds, Sequencer, Verdict};
use crate::model::status::{FecStatus, RtpStatus};
use crate::model::transport::Transport;
use crate::model::ts;
use crate::sys::batch::Received;

/// Bytes of packets that wait for others.
const HELD: usize = 1 << 20;
/// Buffers kept for packets that will have to wait, and the largest of them in bytes.
const SPARE: (usize, usize) = (64, 2048);
/// FEC that has not been heard for so long is waited for no more.
const FEC_SILENT: Duration = Duration::from_secs(5);

/// What takes a datagram that is passed on.
pub type Pass<'a> = dyn FnMut(&Received<'_>) + 'a;

/// How long packets wait for others.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Packets, without FEC.
    pub datagrams: u16,
    /// Time, without FEC.
    pub time: Duration,
    /// Time where FEC may bring back what is missed.
    pub fec_time: Duration,
}

/// What clients get of an RTP stream, and the books of what they don't.
#[derive(Debug)]
pub struct Depacketizer {
    patience: Patience,
    sequencer: Sequencer<Held>,
    fec: Option<Fec>,
    spare: Vec<Vec<u8>>,
    books: RtpStatus,
}

/// A packet that waits.
#[derive(Debug)]
struct Held {
    payload: Vec<u8>,
    source: SocketAddr,
    ttl: Option<u8>,
    arrival: u64,
}

#[derive(Debug)]
struct Fec {
    repair: Repair,
    received: u64,
    malformed: u64,
    /// When it was last heard; the beginning counts, where it has not come yet.
    heard: Option<Duration>,
    /// How the last media packet came: so comes what is brought back.
    last: Option<(SocketAddr, Option<u8>, u64)>,
}

impl Patience {
    /// As the limits say.
    #[must_use]
    pub fn of(limits: &Limits) -> Self {
        Patience {
            datagrams: u16::try_from(limits.reorder_datagrams).unwrap_or(u16::MAX),
            time: limits.reorder_age,
            fec_time: limits.fec_age,
        }
    }

    fn bounds(&self) -> Bounds {
        Bounds { span: self.datagrams, wait: self.time, bytes: HELD }
    }
}

impl Depacketizer {
    /// For a stream that comes by `transport`; none for one that is passed on as it is.
    #[must_use]
    pub fn new(transport: Transport, patience: Patience) -> Option<Self> {
        let fec = match transport {
            Transport::Udp => return None,
            Transport::Rtp => None,
            Transport::RtpFec => {
                Some(Fec { repair: Repair::default(), received: 0, malformed: 0, heard: None, last: None })
            }
        };
        Some(Depacketizer {
            patience,
            sequencer: Sequencer::new(patience.bounds()),
            fec,
            spare: Vec::new(),
            books: RtpStatus::default(),
        })
    }

    /// The most memory that one takes, in bytes.
    #[must_use]
    pub fn memory() -> u64 {
        // Those that wait, the spare ones, and those that FEC needs.
        (2 * HELD + SPARE.0 * SPARE.1) as u64 + repair::MEMORY
    }

    /// From now on packets wait so long for others.
    pub fn be(&mut self, patience: Patience) {
        self.patience = patience;
        self.sequencer.set_bounds(patience.bounds());
    }

    /// Takes a datagram, and passes on what may be.
    pub fn take(&mut self, received: &Received<'_>, now: Duration, pass: &mut Pass<'_>) {
        let packet = match Packet::parse(received.payload) {
            Ok(packet) => packet,
            // Its first byte can't be that of RTP, and whoever sends it without means the same by it.
            Err(_) if ts::is_stream(received.payload) => {
                self.books.plain += 1;
                return pass(received);
            }
            Err(_) => return self.books.malformed += 1,
        };
        if let Some(fec) = &mut self.fec {
            let begins = fec.last.is_none();
            fec.last = Some((received.source, received.ttl, received.arrival));
            if begins {
                fec.heard = fec.heard.or(Some(now));
                self.set_patience(now);
            }
        }
        let passed = Received { payload: packet.payload, ..*received };
        match self.sequencer.offer(packet.ssrc, packet.sequence, now) {
            Verdict::Next => {
                self.pass(&passed, pass);
                self.protect(&packet, received.payload);
            }
            Verdict::Keep(place) => {
                let mut payload = self.spare.pop().unwrap_or_default();
                payload.clear();
                payload.extend_from_slice(packet.payload);
                let Received { source, ttl, arrival, .. } = *received;
                let bytes = payload.len();
                self.sequencer.keep(place, Held { payload, source, ttl, arrival }, bytes, now);
                self.protect(&packet, received.payload);
            }
            Verdict::Duplicate => self.books.duplicate += 1,
            Verdict::Late => self.books.late += 1,
        }
        self.pass_ready(pass);
        self.repair(now, pass);
    }

    /// Takes a datagram of the FEC beside the stream, and passes on what it brought back.
    pub fn take_fec(&mut self, received: &Received<'_>, now: Duration, pass: &mut Pass<'_>) {
        let Some(fec) = &mut self.fec else { return };
        fec.received += 1;
        match FecPacket::parse(received.payload) {
            Ok(packet) if !received.truncated => {
                fec.repair.fec(&packet);
                fec.heard = Some(now);
                self.set_patience(now);
            }
            _ => fec.malformed += 1,
        }
        self.repair(now, pass);
    }

    /// A datagram came where FEC does, and for somebody else.
    pub fn refuse_fec(&mut self) {
        if let Some(fec) = &mut self.fec {
            fec.received += 1;
            fec.malformed += 1;
        }
    }

    /// When [`Depacketizer::expire`] has something to do.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        self.sequencer.deadline()
    }

    /// Waits no more for what has been waited for long enough.
    pub fn expire(&mut self, now: Duration, pass: &mut Pass<'_>) {
        self.set_patience(now);
        self.sequencer.expire(now);
        self.pass_ready(pass);
    }

    /// Waits for nothing more: the interface is away.
    pub fn flush(&mut self, pass: &mut Pass<'_>) {
        self.sequencer.flush();
        self.pass_ready(pass);
    }

    /// Its books, with `joined` groups of FEC.
    #[must_use]
    pub fn status(&self, joined: usize) -> RtpStatus {
        let counts = self.sequencer.counts();
        RtpStatus {
            ssrc: self.sequencer.ssrc().map(|ssrc| format!("{ssrc:08x}")),
            other_sender: counts.other_sender,
            held: self.sequencer.held(),
            reordered: counts.reordered,
            missing: counts.missing,
            restarts: counts.restarts,
            fec: self.fec.as_ref().map(|fec| FecStatus {
                joined,
                received: fec.received,
                malformed: fec.malformed,
                unneeded: fec.repair.unneeded(),
                waiting: fec.repair.waiting(),
                matrix: fec.repair.reach(),
            }),
            ..self.books.clone()
        }
    }

    /// With FEC, what is missed is waited for until its matrix has been sent, which is while the next one is.
    fn set_patience(&mut self, now: Duration) {
        let Some(fec) = &self.fec else { return };
        let heard = fec.heard.is_some_and(|heard| now.saturating_sub(heard) < FEC_SILENT);
        let mut bounds = self.patience.bounds();
        if heard {
            // As long as nothing is known of its matrix it may be any.
            let matrix = Some(fec.repair.reach()).filter(|reach| *reach > 0).unwrap_or(REACH);
            bounds.span = bounds.span.saturating_add(2 * matrix);
            bounds.wait = bounds.wait.max(self.patience.fec_time);
        }
        self.sequencer.set_bounds(bounds);
    }

    fn protect(&mut self, packet: &Packet<'_>, whole: &[u8]) {
        if let Some(fec) = &mut self.fec {
            fec.repair.media(packet.sequence, packet.ssrc, whole);
        }
    }

    fn repair(&mut self, now: Duration, pass: &mut Pass<'_>) {
        loop {
            let (Some(fec), true) = (&mut self.fec, self.sequencer.has_gap()) else { return };
            let Some((source, ttl, arrival)) = fec.last else { return };
            let Some((_, whole)) = fec.repair.next(|sequence| self.sequencer.misses(sequence)) else {
                return;
            };
            let Ok(packet) = Packet::parse(&whole) else { continue };
            let received = Received {
                payload: packet.payload,
                source,
                destination: None,
                ttl,
                arrival,
                drops: None,
                truncated: false,
            };
            match self.sequencer.offer(packet.ssrc, packet.sequence, now) {
                Verdict::Next => {
                    self.books.repaired += 1;
                    self.pass(&received, pass);
                }
                Verdict::Keep(place) => {
                    self.books.repaired += 1;
                    let held = Held { payload: packet.payload.to_vec(), source, ttl, arrival };
                    self.sequencer.keep(place, held, packet.payload.len(), now);
                }
                // It was missed a moment ago.
                Verdict::Duplicate | Verdict::Late => {}
            }
            self.pass_ready(pass);
        }
    }

    fn pass_ready(&mut self, pass: &mut Pass<'_>) {
        while let Some(held) = self.sequencer.ready() {
            let received = Received {
                payload: &held.payload,
                source: held.source,
                destination: None,
                ttl: held.ttl,
                arrival: held.arrival,
                drops: None,
                truncated: false,
            };
            self.pass(&received, pass);
            if self.spare.len() < SPARE.0 && held.payload.capacity() <= SPARE.1 {
                self.spare.push(held.payload);
            }
        }
    }

    fn pass(&mut self, received: &Received<'_>, pass: &mut Pass<'_>) {
        if received.payload.is_empty() {
            self.books.empty += 1;
        } else {
            pass(received);
        }
    }
}
