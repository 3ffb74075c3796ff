//! One WebSocket connection after its handshake, whatever is said on it: reading in turns, pings, and an end in order.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::hub::containment::{contain, provoke};
use crate::model::frame::{self, FrameBounds, Opcode};
use crate::model::limits::Limits;
use crate::sys::random;
use crate::sys::transmit_batch::TransmitBatch;
use crate::web::connection;
use crate::web::ending::{EndedBy, Ending};
use crate::web::server::Server;
use crate::web::socket::Socket;
use crate::web::websocket::{Incoming, Intake, ReadEnd, WebSocket, WebSocketLimits};
use crate::web::write_path::WritePath;

/// Why a conversation ends that has lasted long enough.
pub const LIFETIME: &str = "lifetime: a connection lasts no longer here (--limit lifetime), connect again";
/// Bytes of read buffer of each client.
const READ_BUFFER: usize = 4 << 10;
/// Messages taken from one client before others get their turn.
const TURN: usize = 64;
/// Bytes of payload after which a turn is over.
const OUTGOING: usize = 256 << 10;
/// How long a close frame may take to be written, and the client's own to arrive.
pub const CLOSING: Duration = Duration::from_secs(1);
/// What is read and thrown away after our close: unread input would turn the close into a reset.
const CLOSING_BYTES: usize = 256 << 10;

/// One message of a client.
#[derive(Clone, Copy, Debug)]
pub enum Heard<'a> {
    /// Valid UTF-8.
    Text(&'a str),
    /// Bytes.
    Binary(&'a [u8]),
}

/// Who talks on a line.
pub trait Talker: 'static {
    /// The line.
    fn line(&self) -> &Line;
    /// The shard's front.
    fn server(&self) -> &Rc<Server>;
    /// What is written.
    fn writer(&self) -> &dyn WritePath;
    /// One message; what it sends to groups is put into `outgoing`. The error is the close code and reason that end it.
    ///
    /// # Errors
    /// Close code and reason.
    fn hear(
        self: &Rc<Self>,
        message: Heard<'_>,
        outgoing: &mut TransmitBatch,
        now: Instant,
    ) -> Result<(), (u16, String)>;
    /// A turn of reading is over: what is in `outgoing` leaves.
    fn send(&self, outgoing: &mut TransmitBatch);
}

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

/// The state of a connection.
pub struct Line {
    websocket: RefCell<Option<WebSocket>>,
    socket: RefCell<Option<Rc<Socket>>>,
    next_ping: Cell<Instant>,
    /// The last ping, unless something has been read since.
    unanswered: Cell<Option<Instant>>,
    /// When it has lasted long enough.
    expires: Cell<Option<Instant>>,
}

impl Line {
    /// Before the handshake is answered.
    #[must_use]
    pub fn new(limits: &Limits, now: Instant) -> Self {
        // The first ping is spread, so that clients who came together are not asked together.
        let spread = Duration::from_nanos(random::number() % (limits.ping.as_nanos() / 2) as u64);
        Line {
            websocket: RefCell::new(None),
            socket: RefCell::new(None),
            next_ping: Cell::new(now + limits.ping - spread),
            unanswered: Cell::new(None),
            expires: Cell::new(connection::expiry(limits, now)),
        }
    }

    /// The connection is there. `early` is what the client sent right behind its handshake.
    pub fn attach(&self, server: &Server, socket: &Rc<Socket>, early: Bytes) {
        let config = server.config();
        let limits = &config.limits;
        let limits = WebSocketLimits {
            frames: FrameBounds { fragments: limits.fragments, message_size: limits.message_size },
            control_frames: limits.control_frames,
            reassembly: Some(limits.message_time),
            read_buffer: READ_BUFFER,
        };
        self.websocket.replace(Some(WebSocket::server(&limits, early, Instant::now())));
        self.socket.replace(Some(Rc::clone(socket)));
    }

    /// Each quarter of a second: closes a client that takes nothing, or takes too long to say something, or is not there.
    pub fn tick(&self, server: &Server, writer: &dyn WritePath, now: Instant) {
        let limits = &server.config().limits;
        let close = |code, reason: String| {
            writer.end(Ending { code, reason, by: EndedBy::Gateway }, &[], false);
        };
        if let Some(stall) = limits.stall
            && writer.stalled_for(now) >= stall
        {
            close(4508, format!("slow_consumer: no byte taken for {} s", stall.as_secs_f64()));
            return;
        }
        if self.websocket.borrow().as_ref().is_some_and(|websocket| websocket.is_overdue(now)) {
            let most = limits.message_time.as_secs_f64();
            close(1008, format!("slow_message: not complete within {most} s (--limit message-time)"));
            return;
        }
        if self.expires.get().is_some_and(|expires| now >= expires) {
            close(1001, LIFETIME.to_owned());
            return;
        }
        if self.unanswered.get().is_some_and(|asked| now.saturating_duration_since(asked) >= limits.pong)
            && self.is_delivered()
            && !writer.is_blocked()
        {
            close(4508, format!("unresponsive: no answer to a ping within {} s", limits.pong.as_secs_f64()));
            return;
        }
        if now < self.next_ping.get() {
            return;
        }
        self.next_ping.set(now + limits.ping);
        if !writer.is_blocked() {
            let mut ping = Vec::with_capacity(8);
            frame::put(&mut ping, Opcode::Ping, b"wscast");
            writer.control(&ping);
            if self.unanswered.get().is_none() {
                self.unanswered.set(Some(now));
            }
        }
    }

    /// Whether the peer's kernel has everything. One whose connection still carries bytes is merely slow, and a kernel that
    /// no longer acknowledges is the stall's to judge.
    fn is_delivered(&self) -> bool {
        self.socket.borrow().as_ref().is_some_and(|socket| socket.is_delivered())
    }

    fn note_heard(&self) {
        self.unanswered.set(None);
    }
}

/// Reads and writes until the conversation ends, or the connection is lost. A panic is an end too, with 1011.
pub async fn converse<T: Talker>(talker: &Rc<T>, socket: &Rc<Socket>, unread: bool) {
    if let Err(panicked) = contain(talk(talker, socket, unread)).await {
        talker.server().note_failure(&panicked);
        talker.writer().end(Ending::our_mistake(), &[], false);
    }
}

async fn talk<T: Talker>(talker: &Rc<T>, socket: &Rc<Socket>, mut unread: bool) {
    let writer = talker.writer();
    while !(writer.is_dead() || writer.is_ending()) {
        tokio::select! {
            ready = readable(socket, unread), if !writer.is_choked() => match ready {
                Ok(()) => {
                    unread = read(talker, socket);
                    if unread {
                        tokio::task::yield_now().await;
                    }
                }
                Err(_) => writer.abandon(),
            },
            ready = socket.writable(), if writer.is_blocked() => match ready {
                Ok(()) => catch_up(talker).await,
                Err(_) => writer.abandon(),
            },
            () = writer.wake().notified() => {}
        }
    }
}

/// Writes to a client who was blocked, when it is its turn: under overload everybody is, and whoever receives, asks for a
/// page or pings must not wait for all of them.
async fn catch_up<T: Talker>(talker: &Rc<T>) {
    // The server never closes them; without one it would be everybody's turn.
    let _turn = talker.server().turns().acquire().await;
    talker.writer().resume();
    tokio::task::yield_now().await;
}

/// Writes what must still be written and waits for the client's side; how it ended.
pub async fn finish(writer: &dyn WritePath, socket: &Socket) -> Ending {
    let ended = writer.is_ending();
    if ended && !writer.is_dead() {
        let written = tokio::time::timeout(CLOSING, async {
            // The end may have come to a client whose socket was never full.
            writer.resume();
            while !writer.is_finished() {
                if socket.writable().await.is_err() {
                    break;
                }
                writer.resume();
            }
        });
        let written = written.await.is_ok() && !writer.is_dead();
        if written {
            socket.end_writing();
            let _ = tokio::time::timeout(CLOSING, discard(socket)).await;
        } else {
            // The kernel must not keep what this client will never take.
            socket.reset_when_dropped();
        }
    } else if ended {
        socket.reset_when_dropped();
    }
    writer.abandon();
    writer.ending().unwrap_or_else(|| Ending { code: 1006, reason: String::new(), by: EndedBy::Network })
}

/// Takes what the client sent; true when there may be more. What it sends to its groups leaves together, before anything that
/// came behind it is answered.
fn read<T: Talker>(talker: &Rc<T>, socket: &Socket) -> bool {
    let writer = talker.writer();
    let mut control = Vec::new();
    let server = Rc::clone(talker.server());
    let mut outgoing = server.outgoing();
    let turn = take(talker, socket, &mut control, &mut outgoing);
    talker.send(&mut outgoing);
    let more = matches!(turn, Turn::More);
    let put = |control: &[u8]| {
        if !control.is_empty() {
            writer.control(control);
        }
    };
    match turn {
        Turn::Over | Turn::More => put(&control),
        Turn::Answered { code, reason } => {
            writer.end(Ending { code, reason, by: EndedBy::Client }, &control, true);
        }
        Turn::Ended(ending) => {
            put(&control);
            writer.end(ending, &[], false);
        }
        Turn::Gone => writer.abandon(),
    }
    more
}

/// One turn's messages.
fn take<T: Talker>(
    talker: &Rc<T>,
    socket: &Socket,
    control: &mut Vec<u8>,
    outgoing: &mut TransmitBatch,
) -> Turn {
    let line = talker.line();
    let mut slot = line.websocket.borrow_mut();
    let Some(websocket) = slot.as_mut() else { return Turn::Over };
    let scratch = talker.server().scratch();
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
        line.note_heard();
        if let Incoming::Text(text) = &incoming {
            provoke(text);
        }
        let taken = match incoming {
            Incoming::Alive => Ok(()),
            Incoming::Binary(payload) => talker.hear(Heard::Binary(&payload), outgoing, now),
            Incoming::Text(text) => talker.hear(Heard::Text(&text), outgoing, now),
            Incoming::Close { code, reason } => return Turn::Answered { code, reason },
        };
        if let Err((code, reason)) = taken {
            return Turn::Ended(Ending { code, reason, by: EndedBy::Gateway });
        }
        if control.len() > READ_BUFFER || outgoing.bytes() > OUTGOING || talker.writer().is_choked() {
            break;
        }
    }
    websocket.keep(&intake);
    Turn::More
}

/// Writes a close frame to a connection that was never a session, and lets it end in order.
pub async fn say_goodbye(socket: &Socket, close: &[u8]) {
    let mut written = 0;
    let goodbye = async {
        while written < close.len() && socket.writable().await.is_ok() {
            match socket.try_write(&close[written..]) {
                Ok(bytes) => written += bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
        socket.end_writing();
        discard(socket).await;
    };
    let _ = tokio::time::timeout(CLOSING, goodbye).await;
}

/// Waits for something to read, unless the last turn has left something unread.
async fn readable(socket: &Socket, unread: bool) -> io::Result<()> {
    if unread { Ok(()) } else { socket.readable().await }
}

/// Reads and throws away until the peer closes, or [`CLOSING_BYTES`] have come.
async fn discard(socket: &Socket) {
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
