//! Thousands of handshakes that are never finished, from one address and from hundreds, beside handshakes that are.
//!
//! The gateway has its default limits here.

use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};

use super::{GROUP, PING_VARIABLE, await_status};
use crate::support::gateway::{Answer, TestGateway};
use crate::support::lab::{Lab, PATIENCE, lab_test};
use crate::support::raw::handshake;

/// Connections that say nothing.
const FLOOD: usize = 5000;
/// Addresses of those who finish their handshakes, each within its own rate.
const POLITE: u8 = 20;
/// Between two handshakes of theirs, of all together.
const PACE: Duration = Duration::from_millis(5);

lab_test! {
    fn five_thousand_from_one_address(lab) {
        flood(lab, "one address", 1);
    }
}

lab_test! {
    fn five_thousand_from_five_hundred_addresses(lab) {
        flood(lab, "500 addresses", 500);
    }
}

fn flood(lab: &Lab, name: &str, addresses: usize) {
    let most = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most }).expect("RLIMIT_NOFILE");
    let hostile = |number: usize| Ipv4Addr::new(10, 8, (number / 250) as u8, (number % 250 + 1) as u8);
    let polite = |number: usize| Ipv4Addr::new(10, 7, 0, (number % usize::from(POLITE) + 1) as u8);
    give(lab, (0..addresses).map(hostile).chain((0..usize::from(POLITE)).map(polite)));
    let gateway = TestGateway::start_with(
        lab,
        &[
            "--listen",
            "10.9.0.1:0",
            "--no-auth",
            "--allow-receive",
            "239.0.0.0/8",
            "--interface",
            "lan0",
            // The address that the test itself asks from.
            "--limit",
            "connections-per-address=64",
        ],
    );
    let held = gateway.open(&format!("/udp/{GROUP}"));
    let over = AtomicBool::new(false);
    let (mut times, refused, ends) = std::thread::scope(|scope| {
        let finishing = scope.spawn(|| finish_handshakes(lab, &gateway, &polite, &over));
        let sockets = lab.on("cli", || {
            (0..FLOOD).map(|number| connect(hostile(number % addresses), gateway.address)).collect::<Vec<_>>()
        });
        let ends: Vec<Duration> = sockets.into_iter().map(await_end).collect();
        over.store(true, Ordering::Relaxed);
        let (times, refused) = finishing.join().expect("the polite clients go on to the end");
        (times, refused, ends)
    });
    times.sort();
    let p99 = times[(times.len() * 99).div_ceil(100) - 1];
    let longest = ends.iter().max().expect("some ends");
    let status = await_status(&gateway, "no handshake to be left", |status| {
        // The one that asks is none any more.
        status["gateway"]["admission"]["handshakes"] == 0
    });
    eprintln!(
        "{FLOOD} half-open handshakes from {name}: the last was closed {longest:.1?} after it was opened; {} handshakes beside \
         them, {refused} refused, {:.1?} (median), {p99:.1?} (p99), {:.1?} (longest); {} gave way, refused: {}",
        times.len(),
        times[times.len() / 2],
        times[times.len() - 1],
        status["gateway"]["admission"]["gave_way"],
        status["refused"],
    );
    assert_eq!(refused, 0, "whoever finishes is let in: {status:#}");
    assert_eq!(status["sessions"].as_array().map(Vec::len), Some(1), "who was there is there");
    drop(held);
    if std::env::var_os(PING_VARIABLE).is_some() {
        assert!(p99 < Duration::from_millis(250) && *longest < Duration::from_secs(6), "{p99:?} {longest:?}");
    }
}

/// Gives `cli` these addresses besides, and tells `gw` the way.
fn give(lab: &Lab, addresses: impl Iterator<Item = Ipv4Addr>) {
    let batch: String = addresses.map(|address| format!("address add {address}/32 dev eth0\n")).collect();
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), batch).expect("write the batch");
    lab.sh(&format!("ip -n cli -batch {}", file.path().display()));
    lab.sh("ip -n gw route add 10.7.0.0/16 dev mgmt0; ip -n gw route add 10.8.0.0/16 dev mgmt0");
}

fn connect(from: Ipv4Addr, to: SocketAddr) -> (TcpStream, Instant) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a TCP socket");
    socket
        .bind(&SocketAddr::from((from, 0)).into())
        .unwrap_or_else(|error| panic!("binding {from}: {error}"));
    socket.connect(&to.into()).unwrap_or_else(|error| panic!("connecting from {from}: {error}"));
    socket.set_read_timeout(Some(2 * PATIENCE)).expect("set a deadline");
    (TcpStream::from(socket), Instant::now())
}

/// How long after it was opened the gateway has ended a connection. Asked one after the other, so what is seen late was
/// earlier.
fn await_end((mut stream, opened): (TcpStream, Instant)) -> Duration {
    let mut buffer = [0; 1024];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return opened.elapsed(),
            // Words of refusal.
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return opened.elapsed(),
            Err(error) => panic!("a handshake that is never finished is never closed: {error}"),
        }
    }
}

/// Opens WebSockets, one after the other from one address after the other, until it is `over`: how long each took from its
/// first byte to its answer, and how many were refused. One that is the oldest unfinished before it is read, on a machine that is
/// busy, gives way and is opened again: that is in its time.
fn finish_handshakes(
    lab: &Lab,
    gateway: &TestGateway<'_>,
    address: &(dyn Fn(usize) -> Ipv4Addr + Sync),
    over: &AtomicBool,
) -> (Vec<Duration>, usize) {
    lab.on("cli", || {
        let (mut times, mut refused) = (Vec::new(), 0);
        let request = handshake(gateway.address, &format!("/udp/{GROUP}"), &[]);
        while !over.load(Ordering::Relaxed) || times.is_empty() {
            let begun = Instant::now();
            let answer = std::iter::repeat_with(|| connect(address(times.len()), gateway.address))
                .take(20)
                .find_map(|(mut stream, _)| Answer::if_any(&mut stream, &request))
                .expect("an answer in one of twenty tries");
            times.push(begun.elapsed());
            refused += usize::from(answer.status != 101);
            // The pace of people, not of a flood.
            std::thread::sleep(PACE);
        }
        (times, refused)
    })
}
