//! The WebSocket protocol without its I/O: tungstenite parses what was read and says what must be answered; the bytes
//! move through our own hands.

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use tokio_tungstenite::tungstenite::error::{CapacityError, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};

use crate::model::bucket::TokenBucket;
use crate::model::frame::{FrameBounds, FrameViolation, FrameWalk};
use crate::web::socket::Socket;

/// What a peer may do on one connection.
#[derive(Clone, Copy, Debug)]
pub struct WebSocketLimits {
    /// Frames in a message and bytes in it.
    pub frames: FrameBounds,
    /// Control frames a second, twice as many at once; `None` for any number.
    pub control_frames: Option<u32>,
    /// How long a message may take from its first byte to its last; `None` for ever.
    pub reassembly: Option<Duration>,
    /// Bytes of the parser's buffer, there only while something is being read.
    pub read_buffer: usize,
}

/// What a peer sent.
#[derive(Debug)]
pub enum Incoming {
    /// A whole text message, valid UTF-8.
    Text(Utf8Bytes),
    /// A whole binary message.
    Binary(Bytes),
    /// A pong, or a ping that has been answered.
    Alive,
    /// It closes; the answer is among the control bytes.
    Close {
        /// Its code, 1005 where it gave none (RFC 6455 section 7.1.5).
        code: u16,
        /// Its reason.
        reason: String,
    },
}

/// Why nothing more will be read.
#[derive(Debug)]
pub enum ReadEnd {
    /// The peer broke a rule: to be closed with this code and reason.
    Violation(u16, String),
    /// The connection is gone without a close.
    Gone,
}

/// One read of the connection, into a buffer that is borrowed for a turn: a client's own is small.
pub struct Intake<'a> {
    /// None where what is to be taken is in the buffer already.
    socket: Option<&'a Socket>,
    buffer: &'a mut [u8],
    /// What was read, and how far it has been taken.
    filled: Option<(usize, usize)>,
}

impl<'a> Intake<'a> {
    /// Has read nothing yet.
    pub fn new(socket: &'a Socket, buffer: &'a mut [u8]) -> Self {
        Intake { socket: Some(socket), buffer, filled: None }
    }

    /// Of bytes that somebody else has read.
    pub fn of(read: &'a mut [u8]) -> Self {
        let filled = Some((read.len(), 0));
        Intake { socket: None, buffer: read, filled }
    }

    /// Whether the read filled the buffer, so that there may be more.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.filled.is_some_and(|(length, _)| length == self.buffer.len())
    }

    /// What has not been taken.
    fn rest(&self) -> &[u8] {
        self.filled.map_or(&[], |(length, taken)| &self.buffer[taken..length])
    }

    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let (length, taken) = match self.filled {
            Some((length, taken)) if taken == length => return Err(io::ErrorKind::WouldBlock.into()),
            Some(filled) => filled,
            None => match self.socket.map_or(Ok(0), |socket| socket.try_read(self.buffer))? {
                0 => return Ok(0),
                length => (length, 0),
            },
        };
        let copied = (length - taken).min(to.len());
        to[..copied].copy_from_slice(&self.buffer[taken..taken + copied]);
        self.filled = Some((length, taken + copied));
        Ok(copied)
    }
}

/// One side of a conversation's protocol state.
#[derive(Debug)]
pub struct WebSocket {
    /// There only while something is being read: between messages a peer costs no buffer.
    context: Option<Box<WebSocketContext>>,
    frames: FrameBounds,
    read_buffer: usize,
    walk: FrameWalk,
    control: Option<TokenBucket>,
    /// Bytes that came with the handshake, or were left by the last turn.
    early: Bytes,
    violation: Option<FrameViolation>,
    reassembly: Option<Duration>,
    /// Since when a message has been incomplete.
    incomplete: Option<Instant>,
}

impl WebSocket {
    /// The server's side, after the handshake. `early` is what was read behind the request.
    #[must_use]
    pub fn server(limits: &WebSocketLimits, early: Bytes, now: Instant) -> Self {
        WebSocket {
            context: None,
            frames: limits.frames,
            read_buffer: limits.read_buffer,
            walk: FrameWalk::new(limits.frames),
            control: limits
                .control_frames
                .map(|rate| TokenBucket::new(u64::from(rate), u64::from(rate) * 2, now)),
            early,
            violation: None,
            reassembly: limits.reassembly,
            incomplete: None,
        }
    }

    /// The next thing that the peer sent, without waiting; `None` when nothing is there, or no more may be read in this
    /// turn. What must be answered is appended to `control` as whole frames.
    ///
    /// # Errors
    /// [`ReadEnd`].
    pub fn read(
        &mut self,
        intake: &mut Intake<'_>,
        control: &mut Vec<u8>,
    ) -> Result<Option<Incoming>, ReadEnd> {
        let (frames, read_buffer) = (self.frames, self.read_buffer);
        let context = self.context.get_or_insert_with(|| Box::new(context(frames, read_buffer)));
        let mut wire = Wire {
            intake,
            control,
            walk: &mut self.walk,
            bucket: &mut self.control,
            early: &mut self.early,
            violation: &mut self.violation,
        };
        let read = context.read(&mut wire);
        let incoming = match read {
            Ok(Message::Text(text)) => Ok(Some(Incoming::Text(text))),
            Ok(Message::Binary(bytes)) => Ok(Some(Incoming::Binary(bytes))),
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => Ok(Some(Incoming::Alive)),
            Ok(Message::Close(frame)) => {
                // Puts the queued answer out.
                let _ = context.flush(&mut wire);
                let (code, reason) = frame
                    .map_or((1005, String::new()), |frame| (frame.code.into(), frame.reason.to_string()));
                Ok(Some(Incoming::Close { code, reason }))
            }
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::InvalidData => Err(self.violated()),
            Err(error) => Err(end(error)),
        };
        self.incomplete =
            if self.walk.is_inside() { self.incomplete.or_else(|| Some(Instant::now())) } else { None };
        if matches!(incoming, Ok(None)) && self.incomplete.is_none() {
            // Between messages, with nothing left to read or to answer: the parser knows nothing that a new one does not.
            self.context = None;
        }
        incoming
    }

    /// The end of a turn: keeps what was read and not looked at.
    pub fn keep(&mut self, intake: &Intake<'_>) {
        if !intake.rest().is_empty() {
            // Nothing is taken in before what was kept is used up.
            self.early = Bytes::copy_from_slice(intake.rest());
        }
    }

    /// Whether a message has been under way for too long at `now`.
    #[must_use]
    pub fn is_overdue(&self, now: Instant) -> bool {
        let (Some(since), Some(most)) = (self.incomplete, self.reassembly) else { return false };
        now.saturating_duration_since(since) > most
    }

    fn violated(&self) -> ReadEnd {
        match self.violation {
            Some(violation @ FrameViolation::MessageSize(_)) => {
                ReadEnd::Violation(1009, violation.to_string())
            }
            Some(violation) => ReadEnd::Violation(1008, violation.to_string()),
            None => ReadEnd::Gone,
        }
    }
}

fn context(frames: FrameBounds, read_buffer: usize) -> WebSocketContext {
    let config = WebSocketConfig::default()
        .read_buffer_size(read_buffer)
        .write_buffer_size(0)
        .max_write_buffer_size(64 << 10)
        .max_message_size(Some(frames.message_size))
        .max_frame_size(Some(frames.message_size));
    WebSocketContext::new(Role::Server, Some(config))
}

/// The close code that answers an error of the protocol's parser (RFC 6455 section 7.4.1).
fn end(error: Error) -> ReadEnd {
    match error {
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)
        | Error::ConnectionClosed
        | Error::AlreadyClosed
        | Error::Io(_) => ReadEnd::Gone,
        Error::Capacity(CapacityError::MessageTooLong { size, max_size }) => ReadEnd::Violation(
            1009,
            format!("message_too_large: {size} bytes, at most {max_size} (--limit message-size)"),
        ),
        Error::Capacity(error) => ReadEnd::Violation(1009, format!("message_too_large: {error}")),
        Error::Utf8(_) => ReadEnd::Violation(1007, "not_utf8: a text message must be UTF-8".to_owned()),
        error => ReadEnd::Violation(1002, format!("protocol: {error}")),
    }
}

/// What tungstenite takes for the connection: it reads from the socket and writes among the control bytes.
struct Wire<'a, 's> {
    intake: &'a mut Intake<'s>,
    control: &'a mut Vec<u8>,
    walk: &'a mut FrameWalk,
    bucket: &'a mut Option<TokenBucket>,
    early: &'a mut Bytes,
    violation: &'a mut Option<FrameViolation>,
}

impl Read for Wire<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.violation.is_some() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let length = if self.early.is_empty() {
            self.intake.read(buffer)?
        } else {
            let length = self.early.len().min(buffer.len());
            self.early.copy_to_slice(&mut buffer[..length]);
            if self.early.is_empty() {
                *self.early = Bytes::new();
            }
            length
        };
        let bucket = &mut *self.bucket;
        let allow = || bucket.as_mut().is_none_or(|bucket| bucket.take(1, Instant::now()));
        match self.walk.walk(&buffer[..length], allow) {
            Ok(()) => Ok(length),
            Err((violation, before)) => {
                // What came before the offending frame is still good, and is parsed first.
                *self.violation = Some(violation);
                if before == 0 { Err(io::ErrorKind::InvalidData.into()) } else { Ok(before) }
            }
        }
    }
}

impl Write for Wire<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.control.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
