//! A client of `wscast.v1` as tests want it: it waits with a deadline, reads by the table of docs/protocol.md and by nothing
//! of ours, and panics in words.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::{self, Error, Message};

use super::gateway::TestGateway;
use super::lab::{Lab, PATIENCE};

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// 1 datagram, 2 reply.
    pub kind: u8,
    pub flags: u8,
    /// Stream or sender.
    pub number: u32,
    pub sequence: u32,
    pub source: SocketAddr,
    pub ttl: u8,
    pub arrival: u64,
    pub payload: Vec<u8>,
    /// Which of the binary messages it came in.
    pub message: usize,
}

/// What the gateway sent.
#[derive(Clone, Debug)]
pub enum Event {
    Notice(Value),
    Record(Record),
    Close(u16, String),
}

/// One connection.
pub struct V1Client {
    inner: tungstenite::WebSocket<TcpStream>,
    /// Read and not asked for yet, in order.
    waiting: VecDeque<Event>,
    messages: usize,
    /// The first message.
    pub hello: Value,
}

/// The end of a wait.
enum Read {
    Some,
    Nothing,
}

impl V1Client {
    /// Opens `/v1` and takes the `hello`.
    pub fn open(gateway: &TestGateway<'_>) -> Self {
        Self::over(gateway.connect(), gateway.address)
    }

    /// Over a connection that is there.
    pub fn over(stream: TcpStream, host: SocketAddr) -> Self {
        let mut request = format!("ws://{host}/v1").into_client_request().expect("a request");
        let protocol = HeaderValue::from_static("wscast.v1");
        request.headers_mut().insert("sec-websocket-protocol", protocol);
        let (inner, response) =
            tungstenite::client(request, stream).unwrap_or_else(|error| panic!("opening /v1: {error}"));
        assert_eq!(response.headers()["sec-websocket-protocol"], "wscast.v1");
        let mut client = V1Client { inner, waiting: VecDeque::new(), messages: 0, hello: Value::Null };
        client.hello = client.notice("hello");
        client
    }

    /// Opens `path` with further headers and takes the `hello`.
    pub fn with(gateway: &TestGateway<'_>, path: &str, headers: &[(&'static str, &str)]) -> Self {
        let host = gateway.address;
        let mut request = format!("ws://{host}{path}").into_client_request().expect("a request");
        request.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static("wscast.v1"));
        for (name, value) in headers {
            let value = HeaderValue::from_str(value).expect("a header value");
            request.headers_mut().insert(*name, value);
        }
        let (inner, _) = tungstenite::client(request, gateway.connect())
            .unwrap_or_else(|error| panic!("opening {path}: {error}"));
        let mut client = V1Client { inner, waiting: VecDeque::new(), messages: 0, hello: Value::Null };
        client.hello = client.notice("hello");
        client
    }

    /// Says something.
    pub fn say(&mut self, message: &Value) {
        self.put(Message::text(message.to_string()));
    }

    /// Sends a message of any kind.
    pub fn put(&mut self, message: Message) {
        self.inner.send(message).expect("send a message");
    }

    /// Says something that has `type` of answer, and waits for it.
    pub fn ask(&mut self, message: &Value, answer: &str) -> Value {
        self.say(message);
        self.answer(message, answer)
    }

    /// Waits for the answer of a `type` to a message that was said.
    pub fn answer(&mut self, message: &Value, answer: &str) -> Value {
        let id = &message["id"];
        self.find(&format!("{answer} for {message}"), |event| match event {
            Event::Notice(notice) if notice["id"] == *id && !id.is_null() => {
                assert_eq!(notice["type"], answer, "{message} is answered with {notice}");
                Some(notice.clone())
            }
            _ => None,
        })
    }

    /// Joins `group`, with more fields; the `joined`.
    pub fn join(&mut self, group: &str, more: &Value) -> Value {
        let message = join_message(group, more);
        self.ask(&message, "joined")
    }

    /// The error that answers a message.
    pub fn refused(&mut self, message: &Value) -> Value {
        self.ask(message, "error")
    }

    /// The next notice of a `type`; what came before stays to be asked for.
    pub fn notice(&mut self, kind: &str) -> Value {
        self.find(kind, |event| match event {
            Event::Notice(notice) if notice["type"] == kind => Some(notice.clone()),
            _ => None,
        })
    }

    /// The next record; notices before it stay to be asked for.
    pub fn record(&mut self) -> Record {
        self.find("a record", |event| match event {
            Event::Record(record) => Some(record.clone()),
            _ => None,
        })
    }

    /// The next record of a stream.
    pub fn record_of(&mut self, stream: &Value) -> Record {
        let number = number_in(stream);
        self.find(&format!("a record of stream {number}"), |event| match event {
            Event::Record(record) if record.kind == 1 && record.number == number => Some(record.clone()),
            _ => None,
        })
    }

    /// The gateway's close.
    pub fn closed(&mut self) -> (u16, String) {
        self.find("a close", |event| match event {
            Event::Close(code, reason) => Some((*code, reason.clone())),
            _ => None,
        })
    }

    /// The next of whatever kind, heartbeats apart.
    pub fn next(&mut self) -> Event {
        self.next_within(PATIENCE).unwrap_or_else(|| panic!("nothing came for {PATIENCE:?}"))
    }

    /// The next of whatever kind, if it comes in time.
    pub fn next_within(&mut self, patience: Duration) -> Option<Event> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Some(event);
            }
            if let Read::Nothing = self.read(deadline) {
                return None;
            }
        }
    }

    /// Everything up to the answer to a ping: what was not there before it is not on the way either.
    pub fn settle(&mut self) -> Vec<Event> {
        let ping = json!({"type": "ping", "id": 987_654});
        self.say(&ping);
        let mut events = Vec::new();
        loop {
            match self.next() {
                Event::Notice(notice) if notice["type"] == "pong" && notice["id"] == ping["id"] => {
                    return events;
                }
                event => events.push(event),
            }
        }
    }

    /// The TCP connection.
    pub fn stream(&mut self) -> &mut TcpStream {
        self.inner.get_mut()
    }

    /// Closes from this side and waits for the answer.
    pub fn close(mut self) {
        self.inner.close(None).expect("begin to close");
        self.inner.get_ref().set_read_timeout(Some(PATIENCE)).expect("set a deadline");
        while !matches!(self.inner.read(), Err(Error::ConnectionClosed | Error::AlreadyClosed | Error::Io(_)))
        {
        }
    }

    fn find<T>(&mut self, what: &str, mut take: impl FnMut(&Event) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        let mut seen = 0;
        loop {
            for place in seen..self.waiting.len() {
                if let Some(found) = take(&self.waiting[place]) {
                    self.waiting.remove(place);
                    return found;
                }
            }
            seen = self.waiting.len();
            if let Some(Event::Close(code, reason)) = self.waiting.back() {
                panic!("waiting for {what}: closed with {code} {reason}");
            }
            if let Read::Nothing = self.read(deadline) {
                let last: Vec<_> = self.waiting.iter().rev().take(5).collect();
                panic!("no {what} within {PATIENCE:?}; there were, last first: {last:?}");
            }
        }
    }

    /// Reads one message.
    fn read(&mut self, deadline: Instant) -> Read {
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        self.inner.get_ref().set_read_timeout(Some(left)).expect("set a deadline");
        match self.inner.read() {
            Ok(Message::Binary(bytes)) => {
                self.messages += 1;
                let records = records(&bytes, self.messages);
                self.waiting.extend(records.into_iter().map(Event::Record));
            }
            Ok(Message::Text(text)) => {
                let notice: Value =
                    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text:?}"));
                if notice["type"] != "heartbeat" {
                    self.waiting.push_back(Event::Notice(notice));
                }
            }
            Ok(Message::Close(frame)) => {
                let (code, reason) = frame
                    .map_or((1005, String::new()), |frame| (frame.code.into(), frame.reason.to_string()));
                self.waiting.push_back(Event::Close(code, reason));
            }
            Ok(_) => {}
            Err(Error::Io(error)) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return Read::Nothing;
            }
            Err(error) => panic!("reading: {error}"),
        }
        if Instant::now() >= deadline { Read::Nothing } else { Read::Some }
    }
}

/// A connection from `cli` with a small receive buffer: what is not read soon waits in the gateway.
pub fn slow_connection(lab: &Lab, gateway: &TestGateway<'_>) -> TcpStream {
    lab.on("cli", || {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a TCP socket");
        socket.set_recv_buffer_size(4 << 10).expect("SO_RCVBUF");
        socket.connect(&gateway.address.into()).expect("connect to the gateway");
        TcpStream::from(socket)
    })
}

/// A `join` of `group` (`239.1.2.3:5000`, `[ff15::42]:5000`) with more fields, `id` among them or 1.
pub fn join_message(group: &str, more: &Value) -> Value {
    with_group("join", group, more)
}

/// An `open_send` to `group` with more fields.
pub fn open_send_message(group: &str, more: &Value) -> Value {
    with_group("open_send", group, more)
}

fn with_group(kind: &str, group: &str, more: &Value) -> Value {
    let group: SocketAddr = group.parse().expect("a group");
    let mut message = json!({"type": kind, "id": 1, "group": group.ip().to_string(), "port": group.port()});
    for (field, value) in more.as_object().into_iter().flatten() {
        message[field] = value.clone();
    }
    message
}

/// The number in a `joined`, or of itself.
pub fn number_in(stream: &Value) -> u32 {
    let number = stream.as_u64().or_else(|| stream["stream"].as_u64());
    u32::try_from(number.expect("a stream's number")).expect("a number of 32 bits")
}

/// A record that a client sends.
pub fn send_record(sender: &Value, payload: &[u8]) -> Vec<u8> {
    let number = sender["sender"].as_u64().expect("a sender's number") as u32;
    let mut record = vec![3, 0];
    record.extend_from_slice(&(payload.len() as u16).to_le_bytes());
    record.extend_from_slice(&number.to_le_bytes());
    record.extend_from_slice(payload);
    record
}

fn records(mut bytes: &[u8], message: usize) -> Vec<Record> {
    assert!(!bytes.is_empty(), "a binary message has a record");
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let (head, rest) = bytes.split_at(40);
        let word = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().expect("as many bytes"));
        let half = |at: usize| u16::from_le_bytes(head[at..at + 2].try_into().expect("as many bytes"));
        let address = Ipv6Addr::from(<[u8; 16]>::try_from(&head[24..40]).expect("16 bytes"));
        let address = if head[1] & 1 == 0 {
            IpAddr::V4(address.to_ipv4_mapped().expect("an IPv4 source stands mapped"))
        } else {
            IpAddr::V6(address)
        };
        assert!(matches!(head[0], 1 | 2) && head[15] == 0, "{head:?} is a record's header");
        let length = usize::from(half(2));
        records.push(Record {
            kind: head[0],
            flags: head[1],
            number: word(4),
            sequence: word(8),
            source: SocketAddr::new(address, half(12)),
            ttl: head[14],
            arrival: u64::from_le_bytes(head[16..24].try_into().expect("as many bytes")),
            payload: rest[..length].to_vec(),
            message,
        });
        bytes = &rest[length..];
    }
    records
}
