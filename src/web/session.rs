//! One WebSocket conversation on a raw stream: what arrives is written from the logs, what the client sends goes to the
//! group.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tracing::{Span, debug, info};

use crate::hub::sender::{OverRate, Sender};
use crate::hub::subscription::{Subscriber, Subscription};
use crate::model::frame::{self, FrameBounds, Opcode};
use crate::model::status::SessionStatus;
use crate::sys::transmit_batch::TransmitBatch;
use crate::sys::{random, socket};
use crate::web::egress::Egress;
use crate::web::ending::{EndedBy, Ending};
use crate::web::opening::Opening;
use crate::web::reading::Reading;
use crate::web::server::{Conversation, Server};
use crate::web::websocket::{Incoming, Intake, ReadEnd, WebSocket, WebSocketLimits};

/// Time between pings.
const PING: Duration = Duration::from_secs(20);
/// Pings in a row that a client whose connection carries everything may leave without an answer.
const MISSED: u32 = 2;
/// How long a message may take from its first byte to its last.
const REASSEMBLY: Duration = Duration::from_secs(5);
/// Bytes of read buffer of each client.
const READ_BUFFER: usize = 4 << 10;
/// Messages taken from one client before others get their turn.
const TURN: usize = 64;
/// Bytes of payload after which a turn is over.
const OUTGOING: usize = 256 << 10;
/// How long a close frame may take to be written, and the client's own to arrive.
const CLOSING: Duration = Duration::from_secs(1);
/// What is read and thrown away after our close: unread input would turn the close into a reset.
const CLOSING_BYTES: usize = 256 << 10;
/// A client over its send rate for so long is closed.
const FLOOD: Duration = Duration::from_secs(10);

/// How one turn of reading ended.
enum Turn {
    /// Nothing more is there.
    Over,
    /// There may be more.
    More,
    /// The client closes, and the answer is among the control bytes.
    Answered { code: u16, reason: String },
    /// The conversation ends, and the client is yet to be told.
    Ended(Ending),
    /// The connection is lost.
    Gone,
}

/// A conversation from the handshake to the last byte.
pub struct Session {
    server: Rc<Server>,
    number: u64,
    peer: SocketAddr,
    opened: Instant,
    opening: Opening,
    egress: Rc<Egress>,
    subscriptions: RefCell<Vec<Subscription>>,
    websocket: RefCell<Option<WebSocket>>,
    socket: RefCell<Option<Rc<TcpStream>>>,
    sender: RefCell<Option<Rc<Sender>>>,
    replies: RefCell<Option<AbortHandle>>,
    next_ping: Cell<Instant>,
    /// Whether anything has been read since the last ping.
    heard: Cell<bool>,
    missed: Cell<u32>,
    /// Since when, and when last, a send was over the rate.
    over_rate: Cell<Option<(Instant, Instant)>>,
}

impl Session {
    /// Claims the streams before the handshake is answered, so that nothing published from then on is missed.
    #[must_use]
    pub fn open(server: &Rc<Server>, peer: SocketAddr, opening: Opening, readings: Vec<Reading>) -> Rc<Self> {
        let now = Instant::now();
        let streams: Vec<_> = readings.iter().map(|reading| Rc::clone(&reading.stream)).collect();
        let egress =
            Egress::new(readings, opening.options.overflow, server.hub().lag_bounds(), server.rest_pool());
        let subscriber: Rc<dyn Subscriber> = Rc::clone(&egress) as _;
        let subscriptions = Subscription::all(streams, &subscriber, opening.options.latency);
        // The first ping is spread, so that clients who came together are not asked together.
        let spread = Duration::from_millis(random::number() % 10_000);
        Rc::new(Session {
            number: server.next_session(),
            server: Rc::clone(server),
            peer,
            opened: now,
            opening,
            egress,
            subscriptions: RefCell::new(subscriptions),
            websocket: RefCell::new(None),
            socket: RefCell::new(None),
            sender: RefCell::new(None),
            replies: RefCell::new(None),
            next_ping: Cell::new(now + PING - spread),
            heard: Cell::new(true),
            missed: Cell::new(0),
            over_rate: Cell::new(None),
        })
    }

    /// The span that its log lines carry.
    #[must_use]
    pub fn span(&self) -> Span {
        tracing::info_span!("session", number = self.number, peer = %self.peer)
    }

    /// The client went away between its request and our answer.
    pub fn never_began(&self) {
        self.egress.abandon();
        self.subscriptions.take();
    }

    /// The conversation. `early` is what the client sent right behind its handshake.
    pub async fn run(self: Rc<Self>, stream: TcpStream, early: Bytes) {
        let socket = Rc::new(stream);
        let limits = &self.server.config().limits;
        let limits = WebSocketLimits {
            frames: FrameBounds { fragments: limits.fragments, message_size: limits.message_size },
            control_frames: limits.control_frames,
            reassembly: Some(REASSEMBLY),
            read_buffer: READ_BUFFER,
        };
        info!(group = %self.opening.group, interface = self.opening.interface, "session opened");
        // What was read with the request wakes nobody.
        let mut unread = !early.is_empty();
        self.websocket.replace(Some(WebSocket::server(&limits, early, Instant::now())));
        self.socket.replace(Some(Rc::clone(&socket)));
        let registered = self.server.register(Rc::clone(&self) as _);
        self.egress.attach(Rc::clone(&socket));
        while !self.egress.is_dead() && self.egress.ending().is_none() {
            tokio::select! {
                ready = readable(&socket, unread), if !self.egress.is_choked() => match ready {
                    Ok(()) => {
                        unread = self.read(&socket);
                        if unread {
                            tokio::task::yield_now().await;
                        }
                    }
                    Err(_) => self.egress.abandon(),
                },
                ready = socket.writable(), if self.egress.is_blocked() => match ready {
                    Ok(()) => self.egress.resume(),
                    Err(_) => self.egress.abandon(),
                },
                () = self.egress.woken() => {}
            }
        }
        // Apart, so that no conversation carries the room for its end from its beginning.
        Box::pin(self.finish(&socket)).await;
        drop(registered);
    }

    /// Takes what the client sent; true when there may be more. What it sends to its group leaves together, before anything
    /// that came behind it is answered.
    fn read(self: &Rc<Self>, socket: &TcpStream) -> bool {
        let mut control = Vec::new();
        let mut outgoing = self.server.outgoing();
        let turn = self.take(socket, &mut control, &mut outgoing);
        if let Some(sender) = self.sender.borrow().as_ref() {
            sender.send(&mut outgoing);
        }
        let more = matches!(turn, Turn::More);
        match turn {
            Turn::Over | Turn::More => self.put(&control),
            Turn::Answered { code, reason } => {
                self.egress.end(Ending { code, reason, by: EndedBy::Client }, &control, true);
            }
            Turn::Ended(ending) => {
                self.put(&control);
                self.egress.end(ending, &[], false);
            }
            Turn::Gone => self.egress.abandon(),
        }
        more
    }

    /// One turn's messages; those for the group are put into `outgoing`.
    fn take(
        self: &Rc<Self>,
        socket: &TcpStream,
        control: &mut Vec<u8>,
        outgoing: &mut TransmitBatch,
    ) -> Turn {
        let mut slot = self.websocket.borrow_mut();
        let Some(websocket) = slot.as_mut() else { return Turn::Over };
        let scratch = self.server.scratch();
        let mut scratch = scratch.borrow_mut();
        let mut intake = Intake::new(socket, &mut scratch);
        let now = Instant::now();
        for _ in 0..TURN {
            let incoming = match websocket.read(&mut intake, control) {
                Ok(Some(incoming)) => incoming,
                Ok(None) if intake.is_full() => return Turn::More,
                Ok(None) => return Turn::Over,
                Err(ReadEnd::Violation(code, reason)) => {
                    return Turn::Ended(Ending { code, reason, by: EndedBy::Client });
                }
                Err(ReadEnd::Gone) => return Turn::Gone,
            };
            self.heard.set(true);
            self.missed.set(0);
            let taken = match incoming {
                Incoming::Alive => Ok(()),
                Incoming::Binary(payload) => self.take_message(outgoing, &payload, now),
                Incoming::Text(text) => self.take_message(outgoing, text.as_bytes(), now),
                Incoming::Close { code, reason } => return Turn::Answered { code, reason },
            };
            if let Err((code, reason)) = taken {
                return Turn::Ended(Ending { code, reason, by: EndedBy::Gateway });
            }
            if control.len() > READ_BUFFER || outgoing.bytes() > OUTGOING {
                break;
            }
        }
        websocket.keep(&intake);
        Turn::More
    }

    fn put(&self, control: &[u8]) {
        if !control.is_empty() {
            self.egress.control(control);
        }
    }

    /// One message of the client: one datagram to its group, if it may; otherwise the close that answers it.
    fn take_message(
        self: &Rc<Self>,
        outgoing: &mut TransmitBatch,
        payload: &[u8],
        now: Instant,
    ) -> Result<(), (u16, String)> {
        let most = self.server.config().limits.send_size;
        let sender = self.sender().map_err(|reason| (4403, format!("not_allowed: {reason}")))?;
        let bytes = payload.len();
        if bytes > most {
            sender.refuse_size();
            let reason = format!("datagram_too_large: {bytes} bytes, at most {most} (--limit send-size)");
            return Err((4413, reason));
        }
        // Others may have used up a shared rate.
        if sender.put(outgoing, payload, now) == Err(OverRate::Own) {
            let since = match self.over_rate.get() {
                Some((since, last)) if now.saturating_duration_since(last) < Duration::from_secs(1) => since,
                _ => now,
            };
            self.over_rate.set(Some((since, now)));
            if now.saturating_duration_since(since) >= FLOOD {
                let reason = "rate: sending faster than allowed for 10 s (--limit send-rate-per-session)";
                return Err((4529, reason.to_owned()));
            }
        }
        Ok(())
    }

    /// The session's sender, opened by its first message.
    fn sender(self: &Rc<Self>) -> Result<Rc<Sender>, String> {
        if let Some(sender) = self.sender.borrow().as_ref() {
            return Ok(Rc::clone(sender));
        }
        let key = self.opening.sending.clone()?;
        let sender = self.server.hub().sender(key).map_err(|error| error.to_string())?;
        if !self.opening.options.echo {
            self.egress.withhold(sender.id());
        }
        if self.opening.options.replies {
            let (session, sender) = (Rc::downgrade(self), Rc::clone(&sender));
            let (scratch, egress) = (self.server.scratch(), Rc::clone(&self.egress));
            let task = tokio::task::spawn_local(async move {
                while session.strong_count() > 0 {
                    let taken = sender.reply(&scratch, |reply| egress.message(reply)).await;
                    if let Err(error) = taken {
                        debug!(%error, "reading replies");
                        tokio::time::sleep(CLOSING).await;
                    }
                }
            });
            self.replies.replace(Some(task.abort_handle()));
        }
        self.sender.replace(Some(Rc::clone(&sender)));
        Ok(sender)
    }

    fn close(&self, code: u16, reason: String) {
        self.egress.end(Ending { code, reason, by: EndedBy::Gateway }, &[], false);
    }

    /// Writes what must still be written, waits for the client's side, and closes the books.
    async fn finish(&self, socket: &TcpStream) {
        let ended = self.egress.ending().is_some();
        if ended && !self.egress.is_dead() {
            let written = tokio::time::timeout(CLOSING, async {
                while !self.egress.is_finished() {
                    if socket.writable().await.is_err() {
                        break;
                    }
                    self.egress.resume();
                }
            });
            let written = written.await.is_ok() && !self.egress.is_dead();
            if written {
                let _ = SockRef::from(socket).shutdown(Shutdown::Write);
                let _ = tokio::time::timeout(CLOSING, discard(socket)).await;
            } else {
                // The kernel must not keep what this client will never take.
                let _ = SockRef::from(socket).set_linger(Some(Duration::ZERO));
            }
        } else if ended {
            let _ = SockRef::from(socket).set_linger(Some(Duration::ZERO));
        }
        self.egress.abandon();
        if let Some(replies) = self.replies.take() {
            replies.abort();
        }
        let ending = self.egress.ending().unwrap_or_else(|| Ending {
            code: 1006,
            reason: String::new(),
            by: EndedBy::Network,
        });
        self.server.closed(self.status(), &ending);
        // The streams keep hold of the egress as long as it is subscribed.
        self.subscriptions.take();
        self.sender.take();
    }

    /// Asks a client that has been quiet whether it is there. One whose connection still carries bytes is merely slow.
    fn keep_alive(&self, now: Instant) {
        if now < self.next_ping.get() {
            return;
        }
        self.next_ping.set(now + PING);
        let delivered = self
            .socket
            .borrow()
            .as_ref()
            .is_some_and(|socket| socket::unacknowledged(socket.as_ref()).is_ok_and(|bytes| bytes == 0));
        if !self.heard.get() && delivered && !self.egress.is_blocked() {
            self.missed.set(self.missed.get() + 1);
            if self.missed.get() >= MISSED {
                self.close(4508, "unresponsive: no answer to two pings".to_owned());
                return;
            }
        }
        self.heard.set(false);
        if !self.egress.is_blocked() {
            let mut ping = Vec::with_capacity(8);
            frame::put(&mut ping, Opcode::Ping, b"wscast");
            self.egress.control(&ping);
        }
    }
}

impl Conversation for Session {
    fn tick(&self, now: Instant) {
        if self.egress.ending().is_some() {
            return;
        }
        if let Some(stall) = self.server.config().limits.stall
            && self.egress.stalled_for(now) >= stall
        {
            let seconds = stall.as_secs_f64();
            self.close(4508, format!("slow_consumer: no byte taken for {seconds} s"));
            return;
        }
        let overdue = self.websocket.borrow().as_ref().is_some_and(|websocket| websocket.is_overdue(now));
        if overdue {
            self.close(1008, "slow_message: not complete within 5 s".to_owned());
            return;
        }
        self.egress.check_lag();
        self.keep_alive(now);
    }

    fn drain(&self) {
        self.close(1001, "draining: the gateway is stopping".to_owned());
    }

    fn status(&self) -> SessionStatus {
        let (subscriptions, bytes) =
            self.egress.look(|readings| readings.iter().map(Reading::status).collect());
        SessionStatus {
            number: self.number,
            shard: self.server.shard(),
            peer: self.peer.to_string(),
            kind: "websocket",
            seconds: self.opened.elapsed().as_secs_f64(),
            blocked: self.egress.is_blocked(),
            bytes,
            subscriptions,
            sender: self.sender.borrow().as_ref().map(|sender| sender.status()),
        }
    }
}

/// Writes a close frame to a connection that was never a session, and lets it end in order.
pub async fn say_goodbye(socket: &TcpStream, close: &[u8]) {
    let mut written = 0;
    let goodbye = async {
        while written < close.len() && socket.writable().await.is_ok() {
            match socket.try_write(&close[written..]) {
                Ok(bytes) => written += bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
        let _ = SockRef::from(socket).shutdown(Shutdown::Write);
        discard(socket).await;
    };
    let _ = tokio::time::timeout(CLOSING, goodbye).await;
}

/// Waits for something to read, unless the last turn has left something unread.
async fn readable(socket: &TcpStream, unread: bool) -> io::Result<()> {
    if unread { Ok(()) } else { socket.readable().await }
}

/// Reads and throws away until the peer closes, or [`CLOSING_BYTES`] have come.
async fn discard(socket: &TcpStream) {
    let mut buffer = [0; 1024];
    let mut left = CLOSING_BYTES;
    while left > 0 && socket.readable().await.is_ok() {
        match socket.try_read(&mut buffer) {
            Ok(0) => return,
            Ok(read) => left = left.saturating_sub(read),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}
