//! A flow of numbered datagrams, and a client that reads it at its own pace, down to the byte.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::ops::Range;
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};

use super::client::WebSocket;
use super::gateway::TestGateway;
use super::lab::{Lab, Multicast, PATIENCE};

/// Bytes of a [`SlowClient`]'s receive buffer as asked for: what it doesn't read soon waits in the gateway.
const WINDOW: usize = 4 << 10;
/// Bytes that a [`Flow`] has under way at most.
const UNDER_WAY: usize = 64 << 10;

/// `length` bytes, at least 8, that carry `number` and are recognised when they arrive whole.
pub fn numbered(number: u64, length: usize) -> Vec<u8> {
    let mut payload = number.to_be_bytes().to_vec();
    payload.extend((8..length).map(|at| (at as u64).wrapping_add(number) as u8));
    payload
}

/// The number of a payload that [`numbered`] made. Panics when a byte of it is not as it was made.
pub fn number_of(payload: &[u8]) -> u64 {
    let number = payload.first_chunk().map(|bytes| u64::from_be_bytes(*bytes)).expect("8 bytes and more");
    assert!(payload == numbered(number, payload.len()), "datagram {number} is not as it was sent");
    number
}

/// Sends numbered datagrams from `srca` as fast as healthy clients read them, which must miss none.
pub struct Flow {
    source: Multicast,
    witnesses: Vec<WebSocket>,
    next: u64,
}

impl Flow {
    /// Begins at number 0, once `group` is joined on `lan0`, with one healthy client.
    pub fn start(lab: &Lab, gateway: &TestGateway<'_>, group: &str) -> Self {
        let witnesses = vec![gateway.open(&format!("/udp/{group}"))];
        gateway.await_joined("gw-lan0", group);
        let source = lab.on("srca", || Multicast::sender("eth0", group.parse().expect("a group"), 1));
        Flow { source, witnesses, next: 0 }
    }

    /// Adds a healthy client.
    pub fn witness(&mut self, client: WebSocket) {
        self.witnesses.push(client);
    }

    /// Sends `count` datagrams of `length` bytes and returns their numbers when the healthy clients have them all.
    pub fn send(&mut self, count: u64, length: usize) -> Range<u64> {
        let sent = self.next..self.next + count;
        let window = (UNDER_WAY / length).clamp(1, 32) as u64;
        while self.next < sent.end {
            let part = self.next..sent.end.min(self.next + window);
            for number in part.clone() {
                self.source.send(&numbered(number, length));
            }
            for witness in &mut self.witnesses {
                for number in part.clone() {
                    assert_eq!(number_of(&witness.recv()), number, "a healthy client misses nothing");
                }
            }
            self.next = part.end;
        }
        sent
    }

    /// Sends `count` datagrams of `length` bytes without waiting for anybody.
    pub fn burst(&mut self, count: u64, length: usize) -> Range<u64> {
        let sent = self.next..self.next + count;
        for number in sent.clone() {
            self.source.send(&numbered(number, length));
        }
        self.next = sent.end;
        sent
    }

    /// The first healthy client's next datagram.
    pub fn witnessed(&mut self) -> u64 {
        number_of(&self.witnesses[0].recv())
    }

    /// The first healthy client's next datagram, whoever sent it.
    pub fn witness_any(&mut self) -> Vec<u8> {
        self.witnesses[0].recv()
    }

    /// The number that the next datagram will have.
    pub fn next(&self) -> u64 {
        self.next
    }
}

/// One WebSocket frame from the gateway.
#[derive(Debug)]
pub struct Frame {
    /// 2 binary, 8 close, 9 ping.
    pub opcode: u8,
    /// Payload.
    pub payload: Vec<u8>,
}

impl Frame {
    /// Code and reason of a close frame.
    pub fn close(&self) -> (u16, String) {
        assert_eq!(self.opcode, 8, "{self:?} is a close frame");
        let code = self.payload.first_chunk().map(|bytes| u16::from_be_bytes(*bytes)).expect("a close code");
        (code, String::from_utf8(self.payload[2..].to_vec()).expect("a reason in UTF-8"))
    }
}

/// A WebSocket client on `cli` that takes from a small receive buffer what it is told to and no more.
pub struct SlowClient {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl SlowClient {
    /// Opens `path` as a WebSocket.
    pub fn open(lab: &Lab, gateway: &TestGateway<'_>, path: &str) -> Self {
        let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        let mut client = Self::connect(lab, gateway);
        let head =
            client.request(&format!("GET {path} HTTP/1.1\r\nHost: {}\r\n{upgrade}\r\n", gateway.address));
        assert!(head.starts_with("HTTP/1.1 101 "), "opening {path}: {head}");
        client
    }

    /// Opens `path` as an endless body.
    pub fn fetch(lab: &Lab, gateway: &TestGateway<'_>, path: &str) -> Self {
        let mut client = Self::connect(lab, gateway);
        let head = client.request(&format!("GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", gateway.address));
        assert!(head.starts_with("HTTP/1.0 200 "), "fetching {path}: {head}");
        client
    }

    /// A connection on which nothing has been said.
    pub fn connect(lab: &Lab, gateway: &TestGateway<'_>) -> Self {
        let stream = lab.on("cli", || {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a TCP socket");
            socket.set_recv_buffer_size(WINDOW).expect("SO_RCVBUF");
            socket.connect(&gateway.address.into()).expect("connect to the gateway");
            TcpStream::from(socket)
        });
        stream.set_read_timeout(Some(PATIENCE)).expect("set a deadline");
        SlowClient { stream, buffer: Vec::new() }
    }

    /// Writes a request, with what may follow it at once, and reads the head of the answer.
    pub fn request(&mut self, request: &str) -> String {
        self.write(request.as_bytes());
        loop {
            let end = self.buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n");
            if let Some(end) = end {
                let rest = self.buffer.split_off(end + 4);
                let head = std::mem::replace(&mut self.buffer, rest);
                return String::from_utf8_lossy(&head).into_owned();
            }
            assert!(self.read(100).expect("read the answer") > 0, "the connection ended before the answer");
        }
    }

    /// Writes bytes as they are.
    pub fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("write to the gateway");
    }

    /// Takes at most `most` bytes from the connection; 0 at its end.
    pub fn read(&mut self, most: usize) -> io::Result<usize> {
        let before = self.buffer.len();
        self.buffer.resize(before + most, 0);
        let read = self.stream.read(&mut self.buffer[before..]);
        self.buffer.truncate(before + read.as_ref().map_or(0, |read| *read));
        read
    }

    /// As [`SlowClient::read`], of what is there already.
    pub fn read_now(&mut self, most: usize) -> usize {
        self.stream.set_nonblocking(true).expect("O_NONBLOCK");
        let read = self.read(most);
        self.stream.set_nonblocking(false).expect("O_NONBLOCK");
        match read {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => panic!("reading: {error}"),
        }
    }

    /// Reads on to the end of the next frame. The end of the connection is `UnexpectedEof`.
    pub fn next(&mut self) -> io::Result<Frame> {
        loop {
            if let Some(frame) = self.frame() {
                return Ok(frame);
            }
            if self.read(4 << 10)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// As [`SlowClient::next`], or `None` when nothing comes for so long.
    pub fn next_within(&mut self, patience: Duration) -> Option<Frame> {
        self.stream.set_read_timeout(Some(patience)).expect("set a deadline");
        let next = self.next();
        self.stream.set_read_timeout(Some(PATIENCE)).expect("set a deadline");
        match next {
            Ok(frame) => Some(frame),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) => panic!("reading a frame: {error}"),
        }
    }

    /// Numbers of the datagrams up to and with `last`.
    pub fn numbers_until(&mut self, last: u64) -> Vec<u64> {
        let mut numbers = Vec::new();
        while numbers.last() != Some(&last) {
            let frame = self.next().unwrap_or_else(|error| panic!("{error} after {numbers:?}"));
            if frame.opcode == 2 {
                numbers.push(number_of(&frame.payload));
            }
        }
        numbers
    }

    /// Numbers of the datagrams that still come, and the close frame or error behind them.
    pub fn numbers_to_the_end(&mut self) -> (Vec<u64>, io::Result<Frame>) {
        let mut numbers = Vec::new();
        loop {
            match self.next() {
                Ok(frame) if frame.opcode == 2 => numbers.push(number_of(&frame.payload)),
                Ok(frame) if frame.opcode == 9 => {}
                end => return (numbers, end),
            }
        }
    }

    /// All bytes that still come, up to the end of the connection or its reset.
    pub fn bytes_to_the_end(&mut self) -> Vec<u8> {
        while self.read(4 << 10).is_ok_and(|read| read > 0) {}
        std::mem::take(&mut self.buffer)
    }

    /// Reads on until there are so many bytes, and takes them.
    pub fn take(&mut self, bytes: usize) -> Vec<u8> {
        while self.buffer.len() < bytes {
            assert!(self.read(4 << 10).expect("read from the gateway") > 0, "the connection has ended");
        }
        self.buffer.drain(..bytes).collect()
    }

    /// Ends the connection with a reset.
    pub fn reset(self) {
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).expect("SO_LINGER");
    }

    /// Our port.
    pub fn port(&self) -> u16 {
        self.stream.local_addr().expect("a connection has an address").port()
    }

    /// Throws away what has been read; so many bytes.
    pub fn discard(&mut self) -> usize {
        std::mem::take(&mut self.buffer).len()
    }

    /// A whole frame from what has been read.
    pub fn frame(&mut self) -> Option<Frame> {
        let head = self.buffer.get(..2)?;
        assert_eq!(head[0] & 0xf0, 0x80, "every frame is final and has no reserved bits: {head:?}");
        let opcode = head[0] & 0xf;
        let (start, length) = match head[1] {
            126 => (4, self.buffer.get(2..4)?.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte))),
            127 => (10, self.buffer.get(2..10)?.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte))),
            short => (2, usize::from(short)),
        };
        let payload = self.buffer.get(start..start + length)?.to_vec();
        self.buffer.drain(..start + length);
        Some(Frame { opcode, payload })
    }
}

/// One frame as a client sends it, masked with zeros.
pub fn masked(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x80 | opcode];
    match payload.len() {
        short @ 0..126 => bytes.push(0x80 | short as u8),
        long => {
            bytes.push(0x80 | 126);
            bytes.extend((long as u16).to_be_bytes());
        }
    }
    bytes.extend([0; 4]);
    bytes.extend(payload);
    bytes
}

/// The numbers that are missing between those that came. Panics unless they came in order.
pub fn missing(numbers: &[u64]) -> u64 {
    assert!(numbers.is_sorted_by(|one, next| one < next), "in order and none twice: {numbers:?}");
    numbers.windows(2).map(|pair| pair[1] - pair[0] - 1).sum()
}
