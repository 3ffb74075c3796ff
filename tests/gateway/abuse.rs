//! Hostile clients of every kind, beside an honest one: it must lose nothing, and the gateway must stay within its memory.
//!
//! How quickly the honest client's pings are answered meanwhile is printed, not asserted: `netns-scripts/abuse` runs the same
//! for longer, and asserts.

mod crowd;
mod frames;
mod handshakes;
mod honest;
mod panics;
mod requests;
mod soak;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::Timespec;
use socket2::{Domain, Socket, Type};

use crate::support::gateway::{TestGateway, assert_stream_balances};
use crate::support::lab::{Lab, PATIENCE, wait_for};
use crate::support::raw::handshake;
use honest::Honest;

/// What the honest client reads.
const GROUP: &str = "239.1.2.3:5000";
/// Hostile clients at once; `connections-per-address` lets no more in.
const CROWD: usize = 48;
/// Seconds that an attack takes, where the environment does not say another number.
const SECONDS: f64 = 1.0;
/// The environment's number.
const SECONDS_VARIABLE: &str = "WSCAST_ABUSE_SECONDS";
/// Set where the time of pings is to be asserted, in milliseconds at the 99th percentile.
const PING_VARIABLE: &str = "WSCAST_ABUSE_PING_MS";

/// A gateway under attack.
struct Scene<'a> {
    lab: &'a Lab,
    gateway: TestGateway<'a>,
    until: Instant,
}

/// Runs `attack` again and again beside an honest client, then looks at what is left.
fn under(lab: &Lab, name: &str, arguments: &[&str], mut attack: impl FnMut(&Scene<'_>)) {
    let gateway = TestGateway::start(lab, &[&["--interface", "lan0"], arguments].concat());
    let honest = Honest::begin(lab, &gateway, GROUP);
    let seconds = std::env::var(SECONDS_VARIABLE).ok().and_then(|text| text.parse().ok()).unwrap_or(SECONDS);
    let scene = Scene { lab, gateway, until: Instant::now() + Duration::from_secs_f64(seconds) };
    let mut rounds = 0;
    while scene.goes_on() {
        attack(&scene);
        rounds += 1;
    }
    let gateway = scene.gateway;
    let resident = resident(gateway.pid());
    let report = honest.finish();
    let status = gateway.status_with("nobody but the honest client", |status| {
        status["sessions"].as_array().is_some_and(|sessions| sessions.len() == 1)
    });
    eprintln!("{name}: {rounds} rounds, {report}, {} KiB resident", resident >> 10);
    assert_eq!(report.lost, 0, "{name}: an honest client loses nothing");
    let bound = status["gateway"]["memory_bound_bytes"].as_u64().expect("a bound");
    assert!(resident < bound, "{name}: {resident} bytes are resident, the bound is {bound}");
    assert_eq!(status["gateway"]["panics"], 0, "{name}: {status:#}");
    assert_stream_balances(&gateway.stream(GROUP));
    if let Ok(most) = std::env::var(PING_VARIABLE) {
        let most: f64 = most.parse().expect("milliseconds");
        assert!(report.p99.as_secs_f64() * 1000.0 < most, "{name}: {report}");
    }
}

impl Scene<'_> {
    fn goes_on(&self) -> bool {
        Instant::now() < self.until
    }

    /// A connection with a small receive buffer, on which no write takes long; none where the gateway lets none in.
    fn connect(&self) -> Option<TcpStream> {
        self.lab.on("cli", || {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a TCP socket");
            socket.set_recv_buffer_size(4 << 10).expect("SO_RCVBUF");
            socket.set_read_timeout(Some(PATIENCE)).expect("set a deadline");
            socket.set_write_timeout(Some(Duration::from_millis(100))).expect("set a deadline");
            socket.set_tcp_nodelay(true).expect("TCP_NODELAY");
            socket.connect(&self.gateway.address.into()).ok()?;
            Some(TcpStream::from(socket))
        })
    }

    /// Connections that have asked for `path` as a WebSocket, with `more` header lines, and have not read the answer.
    fn sessions(&self, path: &str, more: &[&str]) -> Vec<TcpStream> {
        let request = handshake(self.gateway.address, path, more);
        let ask = |mut stream: TcpStream| stream.write_all(request.as_bytes()).is_ok().then_some(stream);
        (0..CROWD).filter_map(|_| self.connect().and_then(ask)).collect()
    }
}

/// Writes `bytes` on all connections; those that the gateway has ended are gone from then on.
fn write(crowd: &mut Vec<TcpStream>, bytes: &[u8]) {
    crowd.retain_mut(|stream| match stream.write_all(bytes) {
        Ok(()) => true,
        // It does not read from this one any more, which is as good as any answer.
        Err(error) => error.kind() == std::io::ErrorKind::WouldBlock,
    });
}

/// Waits until the gateway has ended all connections, whatever it says before.
fn await_ends(crowd: Vec<TcpStream>) {
    for mut stream in crowd {
        let mut buffer = [0; 4096];
        let end = Instant::now() + 3 * PATIENCE;
        while matches!(stream.read(&mut buffer), Ok(1..)) {
            assert!(Instant::now() < end, "a hostile client is never sent away");
        }
    }
}

/// Whether the gateway has ended a connection, without reading from it.
fn has_ended(stream: &TcpStream) -> bool {
    let mut ask = [PollFd::new(stream, PollFlags::RDHUP)];
    let none = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut ask, Some(&none)).expect("poll");
    ask[0].revents().intersects(PollFlags::HUP | PollFlags::RDHUP | PollFlags::ERR)
}

/// Resident memory of a process, in bytes.
fn resident(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("the gateway runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
}

/// A generator with a known start (xorshift64*), so that a failure comes again.
struct Random(u64);

impl Random {
    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.below(256) as u8).collect()
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16) % bound
    }
}

/// Waits until `condition` of the gateway's status holds.
fn await_status(
    gateway: &TestGateway<'_>,
    what: &str,
    condition: impl Fn(&serde_json::Value) -> bool,
) -> serde_json::Value {
    wait_for(what, 3 * PATIENCE, || Some(gateway.status()).filter(|status| condition(status)))
}
