//! A WebSocket client without manners: its frames are made by hand, so they can be wrong.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::lab::PATIENCE;

/// First bytes of frames (RFC 6455 section 5.2): whole ones, and the first of several.
pub const TEXT: u8 = 0x81;
pub const BINARY: u8 = 0x82;
pub const CLOSE: u8 = 0x88;
pub const PING: u8 = 0x89;
pub const PONG: u8 = 0x8a;
pub const TEXT_BEGINS: u8 = 0x01;
pub const BINARY_BEGINS: u8 = 0x02;
pub const CONTINUES: u8 = 0x00;
pub const ENDS: u8 = 0x80;

/// A connection after its handshake.
pub struct Raw {
    stream: TcpStream,
    unread: Vec<u8>,
    /// The answer to the handshake, its head.
    pub head: String,
}

/// A frame of the server's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// FIN bit, reserved bits and opcode.
    pub first: u8,
    /// Payload.
    pub payload: Vec<u8>,
}

/// The handshake for `path`, with further header lines.
pub fn handshake(host: SocketAddr, path: &str, more: &[&str]) -> String {
    let mut request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    );
    for line in more {
        request.push_str(line);
        request.push_str("\r\n");
    }
    request + "\r\n"
}

/// A client's frame: masked.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = header(first, 0x80, payload.len() as u64);
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    bytes.extend_from_slice(&mask);
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

/// A frame as only servers may send it.
pub fn unmasked(first: u8, payload: &[u8]) -> Vec<u8> {
    [&header(first, 0, payload.len() as u64)[..], payload].concat()
}

/// The header alone, with its mask, of a frame that says it has `length` bytes.
pub fn announced(first: u8, length: u64) -> Vec<u8> {
    [&header(first, 0x80, length)[..], &[0; 4]].concat()
}

/// A close frame.
pub fn close(code: u16, reason: &[u8]) -> Vec<u8> {
    frame(CLOSE, &[&code.to_be_bytes()[..], reason].concat())
}

fn header(first: u8, mask: u8, length: u64) -> Vec<u8> {
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ 0..126), _) => vec![first, mask | short],
        (_, Ok(medium)) => [&[first, mask | 126][..], &medium.to_be_bytes()].concat(),
        _ => [&[first, mask | 127][..], &length.to_be_bytes()].concat(),
    }
}

impl Raw {
    /// Opens `path`.
    pub fn open(stream: TcpStream, host: SocketAddr, path: &str) -> Self {
        Self::begin(stream, handshake(host, path, &[]).as_bytes())
    }

    /// Sends `request`, whatever follows it in the same write included, and reads the answer's head.
    pub fn begin(mut stream: TcpStream, request: &[u8]) -> Self {
        stream.write_all(request).expect("write the handshake");
        Self::answered(stream)
    }

    /// Reads the head of the answer to a handshake that has been sent.
    pub fn answered(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("TCP_NODELAY");
        stream.set_read_timeout(Some(PATIENCE)).expect("set a deadline");
        stream.set_write_timeout(Some(PATIENCE)).expect("set a deadline");
        let mut raw = Raw { stream, unread: Vec::new(), head: String::new() };
        let end = loop {
            if let Some(at) = raw.unread.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            assert!(raw.more(), "no answer: {:?}", String::from_utf8_lossy(&raw.unread));
        };
        let head: Vec<u8> = raw.unread.drain(..end).collect();
        raw.head = String::from_utf8_lossy(&head).into_owned();
        assert!(raw.head.starts_with("HTTP/1.1 101 "), "{}", raw.head);
        raw
    }

    /// Writes bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("write");
    }

    /// The next frame.
    pub fn frame(&mut self) -> Frame {
        self.frame_or_end().expect("the connection ended where a frame was due")
    }

    /// The next frame; `None` where the server has ended the connection in order. A reset is a panic.
    pub fn frame_or_end(&mut self) -> Option<Frame> {
        loop {
            if let Some((frame, length)) = parse(&self.unread) {
                self.unread.drain(..length);
                assert_eq!(frame.first & 0x70, 0, "a server uses no reserved bits");
                return Some(frame);
            }
            if !self.more() {
                assert!(self.unread.is_empty(), "the connection ended inside a frame");
                return None;
            }
        }
    }

    /// Waits for the server's close frame, whatever comes before it, and for the end of the connection behind it, which
    /// must not be a reset. Code, 1005 for none, and reason.
    pub fn closed(&mut self) -> (u16, String) {
        let end = Instant::now() + Duration::from_secs(30);
        while Instant::now() < end {
            let Frame { first, payload } = self.frame_or_end().expect("a close frame before the end");
            if first == CLOSE {
                assert_eq!(self.frame_or_end(), None, "nothing follows a close frame");
                return match payload.split_first_chunk() {
                    Some((code, reason)) => {
                        (u16::from_be_bytes(*code), String::from_utf8(reason.to_vec()).expect("UTF-8"))
                    }
                    None => (1005, String::new()),
                };
            }
        }
        panic!("data went on and no close frame came");
    }

    /// Closes from this side, and waits for the answer.
    pub fn ends(mut self, code: u16) {
        self.send(&close(code, b""));
        assert_eq!(self.closed().0, code);
    }

    /// The connection.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Reads more; false at the end of the connection.
    fn more(&mut self) -> bool {
        let mut buffer = vec![0; 1 << 16];
        match self.stream.read(&mut buffer) {
            Ok(0) => false,
            Ok(read) => {
                self.unread.extend_from_slice(&buffer[..read]);
                true
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("nothing came for {PATIENCE:?}")
            }
            Err(error) => panic!("reading: {error}"),
        }
    }
}

/// The first whole frame of a server's bytes, and how many bytes it takes.
fn parse(bytes: &[u8]) -> Option<(Frame, usize)> {
    let (&first, &second) = (bytes.first()?, bytes.get(1)?);
    assert_eq!(second & 0x80, 0, "a server's frames are not masked");
    let (length, header) = match second {
        126 => (u64::from(u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?)), 4),
        127 => (u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?), 10),
        short => (u64::from(short), 2),
    };
    let end = header + usize::try_from(length).expect("a length of this world");
    Some((Frame { first, payload: bytes.get(header..end)?.to_vec() }, end))
}
