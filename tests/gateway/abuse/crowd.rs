//! A crowd of which half never reads: nobody of the other half misses anything, and each of the first is gone soon after its
//! socket takes no more.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::Timespec;
use serde_json::Value;
use socket2::{Domain, Socket, Type};

use super::{GROUP, await_status, has_ended, resident};
use crate::support::flow::numbered;
use crate::support::gateway::{TestGateway, assert_stream_balances};
use crate::support::lab::{Lab, Multicast, PATIENCE, lab_test};
use crate::support::raw::handshake;

/// MPEG-TS in UDP.
const VIDEO: usize = 1316;
/// 2 Mbit/s of it.
const PACE: Duration = Duration::from_micros(5264);
/// Bytes of receive buffer of those who never read.
const SMALL: usize = 4 << 10;

lab_test! {
    fn half_of_a_hundred_never_reads(lab) {
        crowd(lab, 50, 50, &["--limit", "stall=2s", "--limit", "lag-bytes=256KiB", "--limit", "replay-bytes=0"]);
    }
}

lab_test! {
    #[ignore = "2,000 clients keep the machine busy for half a minute"]
    fn half_of_two_thousand_never_reads(lab) {
        // A build without optimisation can't write to a thousand clients 190 times a second.
        let hold: &[&str] = if cfg!(debug_assertions) { &["--hold", "50ms"] } else { &[] };
        crowd(lab, 1000, 1000, hold);
    }
}

fn crowd(lab: &Lab, reading: usize, silent: usize, arguments: &[&str]) {
    let most = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most }).expect("RLIMIT_NOFILE");
    let limits = [
        "--interface",
        "lan0",
        "--limit",
        "connections=4096",
        "--limit",
        "connections-per-address=off",
        "--limit",
        "connection-rate=off",
        "--limit",
        "handshakes-per-address=off",
    ];
    let gateway = TestGateway::start(lab, &[&limits[..], arguments].concat());
    let (readers, mut stuck) = lab.on("cli", || {
        let readers: Vec<Reader> = (0..reading).map(|_| Reader::new(open(&gateway, 1 << 20))).collect();
        let stuck: Vec<Stuck> = (0..silent).map(|_| Stuck::new(open(&gateway, SMALL))).collect();
        (readers, stuck)
    });
    await_status(&gateway, "all clients to be there", |status| {
        status["sessions"].as_array().is_some_and(|sessions| sessions.len() == reading + silent)
    });
    gateway.await_joined("gw-lan0", GROUP);
    let source = lab.on("srca", || Multicast::sender("eth0", GROUP.parse().expect("a group"), 1));
    let (over, sent) = (AtomicBool::new(false), AtomicU64::new(u64::MAX));
    let (peak, readers) = std::thread::scope(|scope| {
        scope.spawn(|| {
            let begun = Instant::now();
            let mut number = 0;
            while !over.load(Ordering::Relaxed) {
                source.send(&numbered(number, VIDEO));
                number += 1;
                std::thread::sleep((begun + PACE * number as u32).saturating_duration_since(Instant::now()));
            }
            sent.store(number, Ordering::Relaxed);
        });
        let half = reading.div_ceil(2);
        let mut readers = readers;
        let others = readers.split_off(half);
        let reading: Vec<_> =
            [readers, others].into_iter().map(|readers| scope.spawn(|| read_all(readers, &sent))).collect();
        let mut peak = 0;
        while stuck.iter().any(|client| client.gone.is_none()) {
            stuck.iter_mut().for_each(Stuck::look);
            peak = peak.max(resident(gateway.pid()));
            std::thread::sleep(Duration::from_millis(50));
        }
        over.store(true, Ordering::Relaxed);
        let readers = reading.into_iter().flat_map(|thread| thread.join().expect("readers go on to the end"));
        (peak, readers.collect::<Vec<_>>())
    });
    let sent = sent.into_inner();
    let lost: u64 = readers.iter().map(|reader| reader.lost).sum();
    let status = await_status(&gateway, "those who read to be alone", |status| {
        status["sessions"].as_array().is_some_and(|sessions| sessions.len() == reading)
    });
    let mut took: Vec<Duration> = stuck.iter().filter_map(Stuck::took).collect();
    took.sort();
    let bound = status["gateway"]["memory_bound_bytes"].as_u64().expect("a bound");
    eprintln!(
        "{reading} read and {silent} do not, {sent} datagrams: {lost} lost by those who read; the others were gone {:.1?} (median), \
         {:.1?} (longest) after their socket took no more; {} MiB resident at most, the bound is {} MiB",
        took[took.len() / 2],
        took[took.len() - 1],
        peak >> 20,
        bound >> 20,
    );
    assert_eq!((lost, took.len()), (0, silent));
    assert!(peak < bound);
    assert_ledgers(&gateway, &status, sent);
}

/// Every session that is left has it all; those that ended and are remembered were sent away for taking nothing.
fn assert_ledgers(gateway: &TestGateway<'_>, status: &Value, sent: u64) {
    let stream = gateway.stream(GROUP);
    assert_stream_balances(&stream);
    assert_eq!((&stream["published"], &stream["lost"]["kernel"]), (&sent.into(), &0.into()), "{stream:#}");
    for session in status["sessions"].as_array().expect("a list") {
        let (published, written, lost) = crate::support::gateway::assert_session_balances(session);
        assert_eq!((published, written, lost), (sent, sent, 0), "{session:#}");
    }
    for closed in status["closed"].as_array().expect("a list") {
        crate::support::gateway::assert_session_balances(closed);
        assert_eq!((&closed["code"], &closed["closed_by"]), (&4508.into(), &"gateway".into()), "{closed:#}");
    }
}

/// A WebSocket that has asked for the stream.
fn open(gateway: &TestGateway<'_>, buffer: usize) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a TCP socket");
    socket.set_recv_buffer_size(buffer).expect("SO_RCVBUF");
    socket.connect(&gateway.address.into()).expect("connect to the gateway");
    let mut stream = TcpStream::from(socket);
    let request = handshake(gateway.address, &format!("/udp/{GROUP}"), &[]);
    stream.write_all(request.as_bytes()).expect("write the handshake");
    stream.set_nonblocking(true).expect("O_NONBLOCK");
    stream
}

/// One who never reads.
struct Stuck {
    stream: TcpStream,
    /// What waits for it, and since when that has been no more.
    waiting: (u64, Instant),
    gone: Option<Instant>,
}

impl Stuck {
    fn new(stream: TcpStream) -> Self {
        Stuck { stream, waiting: (0, Instant::now()), gone: None }
    }

    fn look(&mut self) {
        if self.gone.is_some() {
            return;
        }
        if has_ended(&self.stream) {
            self.gone = Some(Instant::now());
            return;
        }
        let waiting = rustix::io::ioctl_fionread(self.stream.as_fd()).expect("FIONREAD");
        if waiting != self.waiting.0 {
            self.waiting = (waiting, Instant::now());
        }
    }

    fn took(&self) -> Option<Duration> {
        self.gone.map(|gone| gone - self.waiting.1)
    }
}

/// One who reads everything.
struct Reader {
    stream: TcpStream,
    bytes: Vec<u8>,
    upgraded: bool,
    next: u64,
    lost: u64,
}

impl Reader {
    fn new(stream: TcpStream) -> Self {
        Reader { stream, bytes: Vec::new(), upgraded: false, next: 0, lost: 0 }
    }

    /// Takes what is there.
    fn read(&mut self, buffer: &mut [u8]) {
        match self.stream.read(buffer) {
            Ok(0) => panic!("one who reads is sent away"),
            Ok(read) => self.bytes.extend_from_slice(&buffer[..read]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(error) => panic!("reading: {error}"),
        }
        let mut at = 0;
        if !self.upgraded {
            let end = self.bytes.windows(4).position(|four| four == b"\r\n\r\n");
            let Some(end) = end else { return };
            assert!(self.bytes.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&self.bytes));
            (self.upgraded, at) = (true, end + 4);
        }
        // Every data frame of this flow is as long; pings of 6 bytes come between.
        while let Some(&[first, length]) = self.bytes.get(at..at + 2) {
            if first == 0x89 {
                at += 2 + usize::from(length);
                continue;
            }
            assert_eq!((first, length), (0x82, 126), "a frame of the flow");
            let Some(number) = self.bytes.get(at + 4..at + 12).filter(|_| self.bytes.len() >= at + 4 + VIDEO)
            else {
                break;
            };
            let number = u64::from_be_bytes(number.try_into().expect("8 bytes"));
            assert!(number >= self.next, "in order");
            self.lost += number - self.next;
            self.next = number + 1;
            at += 4 + VIDEO;
        }
        self.bytes.drain(..at.min(self.bytes.len()));
    }
}

/// Reads until everybody has the last of all that were sent.
fn read_all(mut readers: Vec<Reader>, sent: &AtomicU64) -> Vec<Reader> {
    let mut buffer = vec![0; 1 << 16];
    let mut progress = Instant::now();
    loop {
        let last = sent.load(Ordering::Relaxed);
        let before: u64 = readers.iter().map(|reader| reader.next).sum();
        if readers.iter().all(|reader| reader.next >= last) {
            return readers;
        }
        let mut ask: Vec<_> =
            readers.iter().map(|reader| PollFd::new(&reader.stream, PollFlags::IN)).collect();
        let soon = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
        poll(&mut ask, Some(&soon)).expect("poll");
        let ready: Vec<bool> = ask.iter().map(|one| !one.revents().is_empty()).collect();
        for (reader, ready) in readers.iter_mut().zip(ready) {
            if ready {
                reader.read(&mut buffer);
            }
        }
        if readers.iter().map(|reader| reader.next).sum::<u64>() > before {
            progress = Instant::now();
        }
        assert!(progress.elapsed() < PATIENCE, "those who read hear nothing more");
    }
}
