//! Hostile frames: slow, oversized, unmasked, in pieces, too many, at random; and clients who never read.

use super::{CROWD, GROUP, Random, await_ends, has_ended, under, write};
use crate::support::lab::{PATIENCE, lab_test, wait_for};
use crate::support::raw::{BINARY, BINARY_BEGINS, CONTINUES, PING, TEXT, announced, frame, unmasked};

/// A group that nobody sends to but who is told to.
const QUIET: &str = "/udp/239.1.2.9:5000";
const SUBPROTOCOL: &str = "Sec-WebSocket-Protocol: wscast.v1";

lab_test! {
    fn slow_frames(lab) {
        under(lab, "slow frames", &["--limit", "message-time=1s", "--allow-send", "239.1.2.9:5000"], |scene| {
            let mut crowd = scene.sessions(QUIET, &[]);
            write(&mut crowd, &announced(BINARY, 60_000));
            while scene.goes_on() && !crowd.is_empty() {
                write(&mut crowd, b"x");
            }
            await_ends(crowd);
        });
    }
}

lab_test! {
    fn large_messages_that_are_never_completed(lab) {
        let arguments = ["--limit", "message-time=1s", "--allow-send", "239.1.2.9:5000"];
        under(lab, "incomplete messages", &arguments, |scene| {
            let mut crowd = scene.sessions(QUIET, &[]);
            write(&mut crowd, &frame(BINARY_BEGINS, &[7; 30_000]));
            write(&mut crowd, &frame(CONTINUES, &[7; 30_000]));
            write(&mut crowd, &announced(CONTINUES, 5000));
            write(&mut crowd, &[7; 4999]);
            await_ends(crowd);
        });
    }
}

lab_test! {
    fn oversized_messages(lab) {
        under(lab, "oversized messages", &[], |scene| {
            for bytes in [announced(BINARY, 1 << 40), announced(TEXT, 65_537), frame(BINARY, &[7; 70_000])] {
                let mut crowd = scene.sessions(QUIET, &[]);
                write(&mut crowd, &bytes);
                await_ends(crowd);
            }
        });
    }
}

lab_test! {
    fn unmasked_frames(lab) {
        under(lab, "unmasked frames", &[], |scene| {
            let mut crowd = scene.sessions(QUIET, &[]);
            write(&mut crowd, &unmasked(BINARY, b"a server's"));
            await_ends(crowd);
        });
    }
}

lab_test! {
    fn fragments_of_one_byte(lab) {
        under(lab, "one-byte fragments", &["--allow-send", "239.1.2.9:5000"], |scene| {
            let mut crowd = scene.sessions(QUIET, &[]);
            write(&mut crowd, &frame(BINARY_BEGINS, b"x"));
            let pieces: Vec<u8> = (0..1000).flat_map(|_| frame(CONTINUES, b"x")).collect();
            write(&mut crowd, &pieces);
            await_ends(crowd);
        });
    }
}

lab_test! {
    fn ping_floods(lab) {
        under(lab, "ping floods", &[], |scene| {
            let mut crowd = scene.sessions(QUIET, &[]);
            let flood: Vec<u8> = (0..500).flat_map(|_| frame(PING, &[7; 125])).collect();
            write(&mut crowd, &flood);
            await_ends(crowd);
        });
    }
}

lab_test! {
    fn clients_who_never_read(lab) {
        let arguments = ["--limit", "stall=1s", "--limit", "lag-bytes=256KiB", "--limit", "replay-bytes=256KiB"];
        under(lab, "never reading", &arguments, |scene| {
            // What fills their sockets is what the honest client reads.
            let raw = scene.sessions(&format!("/udp/{GROUP}"), &[]);
            wait_for("all of them to be sent away", 3 * PATIENCE, || raw.iter().all(has_ended).then_some(()));
        });
    }
}

lab_test! {
    fn send_floods(lab) {
        under(lab, "send floods", &["--allow-send", "239.1.2.9:5000"], |scene| {
            let mut crowd = scene.sessions(QUIET, &[]);
            let flood: Vec<u8> = (0..50).flat_map(|_| frame(BINARY, &[7; 1000])).collect();
            for _ in 0..10 {
                write(&mut crowd, &flood);
            }
            write(&mut crowd, &frame(BINARY, &[7; 1453]));
        });
    }
}

lab_test! {
    fn random_frames(lab) {
        let mut random = Random(0x5eed);
        under(lab, "random frames", &["--allow-send", "239.1.2.9:5000"], |scene| {
            for path in [QUIET, "/v1"] {
                let more: &[&str] = if path == "/v1" { &[SUBPROTOCOL] } else { &[] };
                for mut stream in scene.sessions(path, more) {
                    let length = random.below(3000) as usize;
                    let bytes = match random.below(3) {
                        0 => random.bytes(length),
                        1 => frame(random.below(256) as u8, &random.bytes(length)),
                        _ => (0..10).flat_map(|_| frame(0x80 | random.below(11) as u8, &[7; 9])).collect(),
                    };
                    let _ = std::io::Write::write_all(&mut stream, &bytes);
                }
            }
        });
    }
}

lab_test! {
    fn control_messages_without_sense(lab) {
        let deep = format!(r#"{{"type":"ping","x":{}{}}}"#, "[".repeat(1900), "]".repeat(1900));
        let joins = (1..30).map(|last| format!(r#"{{"type":"join","id":{last},"group":"239.7.7.{last}","port":9}}"#));
        let texts: Vec<String> = [deep, "{".repeat(5000), "\u{0}".repeat(100), "[]".to_owned()].into_iter().chain(joins).collect();
        under(lab, "control messages", &[], |scene| {
            let mut crowd = scene.sessions("/v1", &[SUBPROTOCOL]);
            assert!(crowd.len() <= CROWD);
            for text in &texts {
                write(&mut crowd, &frame(TEXT, text.as_bytes()));
            }
            for _ in 0..20 {
                write(&mut crowd, &frame(TEXT, br#"{"type":"ping"}"#).repeat(20));
            }
        });
    }
}
