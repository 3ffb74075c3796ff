//! Everything at once for a while: memory, descriptors and tasks stay where they are.

use std::collections::VecDeque;
use std::io::Write as _;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::Value;
use socket2::SockRef;

use super::{GROUP, Random, Scene, honest::Honest, resident};
use crate::support::gateway::{TestGateway, assert_stream_balances};
use crate::support::lab::{PATIENCE, lab_test, wait_for};
use crate::support::raw::{BINARY, BINARY_BEGINS, PING, TEXT, announced, frame, handshake};

/// How long, where the environment does not say another number.
const SECONDS: f64 = 45.0;
const SECONDS_VARIABLE: &str = "WSCAST_SOAK_SECONDS";
/// What memory may grow by once it has found its size.
const GROWTH: u64 = 1 << 20;
/// Clients that stay and take nothing; more descriptors than that the test has not.
const SILENT: usize = 400;

lab_test! {
    #[ignore = "it takes 45 s, or as many as WSCAST_SOAK_SECONDS says"]
    fn soak(lab) {
        let seconds = std::env::var(SECONDS_VARIABLE).ok().and_then(|text| text.parse().ok()).unwrap_or(SECONDS);
        let arguments = [
            "--interface", "lan0", "--allow-send", "239.1.2.9:5000", "--linger", "500ms", "--limit", "stall=1s",
            "--limit", "header-time=1s", "--limit", "message-time=1s", "--limit", "join-rate=off",
            "--limit", "connection-rate=off", "--limit", "lag-bytes=256KiB", "--limit", "replay-bytes=256KiB",
        ];
        let gateway = TestGateway::start(lab, &arguments);
        let honest = Honest::begin(lab, &gateway, GROUP);
        let calm = await_calm(&gateway);
        let begun = Instant::now();
        let whole = Duration::from_secs_f64(seconds);
        let scene = Scene { lab, gateway, until: begun + whole };
        let mut random = Random(0x50ac);
        // Each third of the time by itself: memory finds its size in the first.
        let mut thirds = [Vec::new(), Vec::new(), Vec::new()];
        let (mut rounds, mut silent) = (0, VecDeque::new());
        while scene.goes_on() {
            round(&scene, &mut random, &mut silent);
            rounds += 1;
            let third = (begun.elapsed().as_secs_f64() / seconds * 3.0) as usize;
            thirds[third.min(2)].push(resident(scene.gateway.pid()));
        }
        drop(silent);
        let gateway = scene.gateway;
        let report = honest.finish();
        let after = await_calm(&gateway);
        let middle = |values: &[u64]| {
            let mut values = values.to_vec();
            values.sort_unstable();
            values[values.len() / 2]
        };
        let sizes = thirds.each_ref().map(|third| middle(third));
        eprintln!(
            "soak: {rounds} rounds in {whole:.0?}, {report}; resident {:?} KiB in each third, descriptors and tasks {calm:?} before \
             and {after:?} after",
            sizes.map(|size| size >> 10)
        );
        assert_eq!(report.lost, 0);
        assert_eq!(calm, after, "descriptors and tasks are as they were");
        assert!(sizes[2] < sizes[1] + GROWTH, "memory grows: {sizes:?}");
        let status = gateway.status();
        assert_eq!(status["gateway"]["panics"], 0, "{status:#}");
        assert_stream_balances(&gateway.stream(GROUP));
    }
}

/// Some of everything.
fn round(scene: &Scene<'_>, random: &mut Random, silent: &mut VecDeque<TcpStream>) {
    let group = format!("/udp/239.3.{}.{}:5000", random.below(4), random.below(8));
    let paths = [format!("/udp/{GROUP}?replay=5"), format!("/udp/{GROUP}?overflow=latest"), group];
    let v1 = ["Sec-WebSocket-Protocol: wscast.v1"];
    for _ in 0..12 {
        let Some(mut stream) = scene.connect() else { continue };
        let address = scene.gateway.address;
        let request = match random.below(8) {
            0 => Vec::new(),
            1 => b"GET / HTTP/1.1\r\nX-Slow: ".to_vec(),
            2 => format!("GET /api/v1/status HTTP/1.1\r\nHost: {address}\r\n\r\n").repeat(3).into_bytes(),
            3 => format!("GET {} HTTP/1.1\r\nHost: {address}\r\n\r\n", paths[0]).into_bytes(),
            4 | 5 => {
                let join =
                    format!(r#"{{"type":"join","id":1,"group":"239.4.4.{}","port":5}}"#, random.below(9));
                [handshake(address, "/v1", &v1).into_bytes(), frame(TEXT, join.as_bytes())].concat()
            }
            which => {
                let path = &paths[(which + random.below(3)) as usize % 3];
                handshake(address, path, &[]).into_bytes()
            }
        };
        let more = match random.below(6) {
            0 => frame(PING, &[7; 100]).repeat(30),
            1 => frame(BINARY, &[7; 1000]).repeat(5),
            2 => announced(BINARY, 60_000),
            3 => frame(BINARY_BEGINS, b"x"),
            4 => random.bytes(200),
            _ => Vec::new(),
        };
        let _ = stream.write_all(&[request, more].concat());
        if random.below(2) == 0 {
            SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("SO_LINGER");
        }
        if random.below(4) == 0 {
            // One that stays, takes nothing, and is sent away.
            silent.push_back(stream);
            if silent.len() > SILENT {
                silent.pop_front();
            }
        }
    }
}

/// Waits until the honest client is alone; descriptors and tasks then.
fn await_calm(gateway: &TestGateway<'_>) -> (usize, u64) {
    let alone = |status: &Value| {
        let count = |list: &str| status[list].as_array().map(Vec::len);
        // The status itself is asked for over a connection.
        (count("sessions"), count("streams")) == (Some(1), Some(1))
            && status["gateway"]["admission"]["connections"] == 2
    };
    let status =
        wait_for("the honest client to be alone", 3 * PATIENCE, || Some(gateway.status()).filter(alone));
    let descriptors =
        std::fs::read_dir(format!("/proc/{}/fd", gateway.pid())).expect("the gateway runs").count();
    (descriptors, status["tasks"].as_u64().expect("a number of tasks"))
}
