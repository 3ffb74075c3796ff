//! Hostile requests: unfinished, slow, huge, at random, too many; and connections that are reset.

use std::io::Write as _;
use std::time::Duration;

use socket2::SockRef;

use super::{CROWD, GROUP, Random, await_ends, under, write};
use crate::support::lab::lab_test;
use crate::support::raw::handshake;

lab_test! {
    fn half_open_handshakes(lab) {
        under(lab, "half-open handshakes", &["--limit", "header-time=1s"], |scene| {
            let crowd: Vec<_> = (0..CROWD).filter_map(|_| scene.connect()).collect();
            await_ends(crowd);
        });
    }
}

lab_test! {
    fn slow_headers(lab) {
        under(lab, "slow headers", &["--limit", "header-time=1s", "--limit", "handshakes-per-address=64"], |scene| {
            let mut crowd: Vec<_> = (0..CROWD).filter_map(|_| scene.connect()).collect();
            write(&mut crowd, b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ");
            while scene.goes_on() && !crowd.is_empty() {
                write(&mut crowd, b"x");
            }
            await_ends(crowd);
        });
    }
}

lab_test! {
    fn huge_headers(lab) {
        under(lab, "huge headers", &["--limit", "handshakes-per-address=64"], |scene| {
            let mut crowd: Vec<_> = (0..CROWD).filter_map(|_| scene.connect()).collect();
            write(&mut crowd, b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: ");
            for _ in 0..20 {
                write(&mut crowd, &[b'x'; 1000]);
            }
            await_ends(crowd);
        });
    }
}

lab_test! {
    fn random_requests(lab) {
        let mut random = Random(0xfeed);
        under(lab, "random requests", &["--limit", "handshakes-per-address=64"], |scene| {
            let request = handshake(scene.gateway.address, "/udp/239.1.2.9:5000?replay=5", &[]).into_bytes();
            for _ in 0..CROWD {
                let Some(mut stream) = scene.connect() else { continue };
                let mut bytes = request.clone();
                for _ in 0..1 + random.below(4) {
                    let at = random.below(bytes.len() as u64) as usize;
                    bytes[at] = random.below(256) as u8;
                }
                bytes.truncate(random.below(2 * bytes.len() as u64) as usize);
                let _ = stream.write_all(&bytes);
            }
        });
    }
}

lab_test! {
    fn status_requests_that_are_never_read(lab) {
        under(lab, "unread statuses", &["--limit", "stall=1s"], |scene| {
            let request = format!("GET /api/v1/status HTTP/1.1\r\nHost: {}\r\n\r\n", scene.gateway.address);
            let mut crowd: Vec<_> = (0..CROWD).filter_map(|_| scene.connect()).collect();
            for _ in 0..20 {
                write(&mut crowd, request.as_bytes());
            }
        });
    }
}

lab_test! {
    fn reset_storms(lab) {
        under(lab, "reset storms", &[], |scene| {
            for stream in scene.sessions(&format!("/udp/{GROUP}"), &[]) {
                SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("SO_LINGER");
            }
            for stream in (0..CROWD).filter_map(|_| scene.connect()) {
                SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("SO_LINGER");
            }
        });
    }
}
