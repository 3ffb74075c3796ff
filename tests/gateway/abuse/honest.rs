//! A client with manners: it reads a steady flow of numbered datagrams, asks to be answered now and then, and tells what it
//! missed and how long answers took.

use std::fmt;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::support::flow::{number_of, numbered};
use crate::support::gateway::TestGateway;
use crate::support::lab::{Lab, Multicast, PATIENCE};
use crate::support::raw::{PING, frame, handshake};

/// Between two datagrams.
const PACE: Duration = Duration::from_millis(2);
/// Between two pings: `control-frames` allows 10 a second.
const ASK: Duration = Duration::from_millis(125);
/// MPEG-TS in UDP.
const VIDEO: usize = 1316;
/// Stands for "not known yet" where the last number is kept.
const GOES_ON: u64 = u64::MAX;

/// The client and its source, at work.
pub(super) struct Honest {
    /// How many datagrams there were, once that is known.
    sent: Arc<AtomicU64>,
    stop: Arc<AtomicU64>,
    source: JoinHandle<()>,
    client: JoinHandle<Report>,
}

/// What became of it.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) datagrams: u64,
    pub(super) lost: u64,
    pub(super) pings: usize,
    pub(super) p50: Duration,
    pub(super) p99: Duration,
    pub(super) longest: Duration,
    /// Its connection, which goes on.
    _connection: TcpStream,
}

impl Honest {
    pub(super) fn begin(lab: &Lab, gateway: &TestGateway<'_>, group: &str) -> Self {
        let mut stream = gateway.connect();
        stream.set_nodelay(true).expect("TCP_NODELAY");
        let request = handshake(gateway.address, &format!("/udp/{group}"), &[]);
        stream.write_all(request.as_bytes()).expect("write the handshake");
        gateway.await_joined("gw-lan0", group);
        let source = lab.on("srca", || Multicast::sender("eth0", group.parse().expect("a group"), 1));
        let (sent, stop) = (Arc::new(AtomicU64::new(GOES_ON)), Arc::new(AtomicU64::new(0)));
        let (known, stopped) = (Arc::clone(&sent), Arc::clone(&stop));
        let source = std::thread::spawn(move || {
            let begun = Instant::now();
            let mut number = 0;
            while stopped.load(Ordering::Relaxed) == 0 {
                source.send(&numbered(number, VIDEO));
                number += 1;
                // Behind the clock it goes on at once: what was held up comes in a burst, as from a real source.
                let due = begun + PACE * number as u32;
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
            }
            known.store(number, Ordering::Relaxed);
        });
        let known = Arc::clone(&sent);
        let client = std::thread::spawn(move || Client::new(stream).run(&known));
        Honest { sent, stop, source, client }
    }

    /// Waits for all that was sent.
    pub(super) fn finish(self) -> Report {
        self.stop.store(1, Ordering::Relaxed);
        self.source.join().expect("the source goes on to the end");
        assert_ne!(self.sent.load(Ordering::Relaxed), GOES_ON);
        self.client.join().expect("the honest client goes on to the end")
    }
}

struct Client {
    stream: TcpStream,
    bytes: Vec<u8>,
    next: u64,
    lost: u64,
    asked: Option<(Instant, u32)>,
    pings: u32,
    times: Vec<Duration>,
}

impl Client {
    fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(Duration::from_millis(5))).expect("set a deadline");
        Client { stream, bytes: Vec::new(), next: 0, lost: 0, asked: None, pings: 0, times: Vec::new() }
    }

    fn run(mut self, sent: &AtomicU64) -> Report {
        let mut buffer = vec![0; 1 << 16];
        let mut ask = Instant::now();
        let mut heard = Instant::now();
        let mut upgraded = false;
        loop {
            let last = sent.load(Ordering::Relaxed);
            if last != GOES_ON && self.next >= last && self.asked.is_none() {
                return self.report(last);
            }
            assert!(heard.elapsed() < PATIENCE, "the honest client hears nothing: {} of {last}", self.next);
            if upgraded && self.asked.is_none() && ask.elapsed() >= ASK && last == GOES_ON {
                ask = Instant::now();
                self.pings += 1;
                self.asked = Some((ask, self.pings));
                self.stream.write_all(&frame(PING, &self.pings.to_be_bytes())).expect("write a ping");
            }
            match self.stream.read(&mut buffer) {
                Ok(0) => panic!("the honest client is sent away"),
                Ok(read) => {
                    heard = Instant::now();
                    self.bytes.extend_from_slice(&buffer[..read]);
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => panic!("the honest client's connection: {error}"),
            }
            if !upgraded {
                let end = self.bytes.windows(4).position(|four| four == b"\r\n\r\n");
                let Some(end) = end else { continue };
                assert!(self.bytes.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&self.bytes));
                self.bytes.drain(..end + 4);
                upgraded = true;
            }
            self.take_frames();
        }
    }

    fn take_frames(&mut self) {
        let mut at = 0;
        while let Some((first, payload, end)) = parse(&self.bytes[at..]) {
            match first {
                0x82 => {
                    let number = number_of(payload);
                    assert!(number >= self.next, "in order");
                    self.lost += number - self.next;
                    self.next = number + 1;
                }
                0x8a => {
                    if let Some((since, ping)) = self.asked
                        && payload == ping.to_be_bytes()
                    {
                        self.times.push(since.elapsed());
                        self.asked = None;
                    }
                }
                0x89 => {}
                other => panic!("the honest client gets a frame that begins with {other:#x}: {payload:?}"),
            }
            at += end;
        }
        self.bytes.drain(..at);
    }

    fn report(mut self, sent: u64) -> Report {
        self.times.sort();
        let at = |share: f64| {
            let place = (self.times.len() as f64 * share).ceil() as usize;
            self.times.get(place.saturating_sub(1)).copied().unwrap_or_default()
        };
        Report {
            datagrams: sent,
            lost: self.lost,
            pings: self.times.len(),
            p50: at(0.5),
            p99: at(0.99),
            longest: at(1.0),
            _connection: self.stream,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { datagrams, lost, pings, p50, p99, longest, .. } = self;
        write!(
            formatter,
            "{lost} of {datagrams} datagrams lost, {pings} pings in {p50:.1?} (median), {p99:.1?} (p99), {longest:.1?} (longest)"
        )
    }
}

/// The first whole frame: its first byte, its payload, and how long it is.
fn parse(bytes: &[u8]) -> Option<(u8, &[u8], usize)> {
    let (&first, &second) = (bytes.first()?, bytes.get(1)?);
    let (length, header) = match second {
        126 => (usize::from(u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?)), 4),
        127 => panic!("no frame of this flow is as long"),
        short => (usize::from(short), 2),
    };
    Some((first, bytes.get(header..header + length)?, header + length))
}
