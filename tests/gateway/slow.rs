//! Clients that read slowly, not at all, or vanish: nobody else notices, and the books say what became of each datagram.

use std::io::ErrorKind;

use serde_json::Value;

use crate::support::flow::{Flow, SlowClient, missing};
use crate::support::gateway::{TestGateway, assert_session_balances, assert_stream_balances};
use crate::support::lab::{PATIENCE, lab_test, skip, wait_for};

mod crowd;
mod http;
mod soak;

const GROUP: &str = "239.1.2.3:5000";
/// A log so small that a few hundred datagrams run through it, and bounds in time that no test reaches.
const SMALL_LOG: [&str; 10] = [
    "--interface",
    "lan0",
    "--limit",
    "all=off",
    "--limit",
    "lag-bytes=256KiB",
    "--limit",
    "replay-bytes=0",
    "--limit",
    "lag-age=600s",
];
/// MPEG-TS in UDP.
const VIDEO: usize = 1316;

lab_test! {
    fn a_stalled_client_costs_the_others_nothing_and_goes_on_near_the_head(lab) {
        let gateway = TestGateway::start(lab, &[&SMALL_LOG[..], &["--limit", "stall=off"]].concat());
        let mut flow = Flow::start(lab, &gateway, GROUP);
        let mut slow = SlowClient::open(lab, &gateway, &path());
        for _ in 0..19 {
            flow.witness(gateway.open(&path()));
        }
        flow.send(3000, VIDEO);
        let session = slow_session(&gateway, slow.port());
        let (published, written, lost) = assert_session_balances(&session);
        assert_eq!((published, session["blocked"].as_bool()), (3000, Some(true)), "{session:#}");
        assert!(written > 0 && lost > 1000 && lost == count(&session, "lost", "bytes"), "{session:#}");
        let held = pending(&session) * (VIDEO as u64 + 4);
        assert!(held <= 256 << 10, "{held} bytes behind the head are more than lag-bytes: {session:#}");

        // What it reads at last are whole frames in order; what is missing has been counted.
        let last = flow.send(1, VIDEO).start;
        let numbers = slow.numbers_until(last);
        assert_eq!((numbers[0], missing(&numbers)), (0, lost));
        assert_eq!(numbers.windows(2).filter(|pair| pair[0] + 1 != pair[1]).count(), 1, "one hole");
        let next = flow.send(10, VIDEO);
        assert_eq!(slow.numbers_until(next.end - 1), next.collect::<Vec<_>>());
        let session = slow_session(&gateway, slow.port());
        assert_eq!(assert_session_balances(&session), (3011, 3011 - lost, lost));
        assert_stream_balances(&gateway.stream(GROUP));
    }
}

lab_test! {
    fn a_client_that_takes_no_byte_is_closed_and_then_reset(lab) {
        let gateway = TestGateway::start(lab, &[&SMALL_LOG[..], &["--limit", "stall=2s"]].concat());
        let mut flow = Flow::start(lab, &gateway, GROUP);
        let mut slow = SlowClient::open(lab, &gateway, &path());
        flow.send(1500, VIDEO);
        let closed = &gateway.closed(1)[0];
        assert_eq!((&closed["code"], &closed["closed_by"]), (&4508.into(), &"gateway".into()), "{closed:#}");
        assert_eq!(closed["reason"], "slow_consumer: no byte taken for 2 s");
        assert!(closed["seconds"].as_f64().is_some_and(|seconds| seconds >= 2.0), "{closed:#}");
        let (published, written, lost) = assert_session_balances(closed);
        assert_eq!((published, pending(closed)), (1500, 0), "{closed:#}");
        assert!(count(closed, "lost", "bytes") > 0 && count(closed, "lost", "closed") > 0, "{closed:#}");
        assert_eq!(written + lost, 1500);
        // What had reached its own buffer is whole and in order; behind it is a reset and no end as if all were well.
        let (numbers, end) = slow.numbers_to_the_end();
        assert!(missing(&numbers) == 0 && numbers.len() as u64 <= written, "{numbers:?}");
        assert_eq!(end.expect_err("no frame").kind(), ErrorKind::ConnectionReset);
        flow.send(10, VIDEO);
    }
}

lab_test! {
    fn a_client_that_reads_byte_by_byte_ends_in_bounded_time(lab) {
        let gateway = TestGateway::start(lab, &[&SMALL_LOG[..], &["--limit", "stall=1s"]].concat());
        let mut flow = Flow::start(lab, &gateway, GROUP);
        let mut slow = SlowClient::open(lab, &gateway, &path());
        flow.send(1000, VIDEO);
        let closed = wait_for("the dribbling client to be closed", PATIENCE, || {
            let _ = slow.read(1);
            gateway.status()["closed"].as_array().filter(|closed| !closed.is_empty()).cloned()
        });
        assert_eq!(closed[0]["code"], 4508, "{closed:#?}");
        assert_session_balances(&closed[0]);
        flow.send(10, VIDEO);
    }
}

lab_test! {
    fn a_reset_client_leaves_balanced_books_and_nothing_else(lab) {
        let gateway = TestGateway::start(lab, &SMALL_LOG);
        let mut flow = Flow::start(lab, &gateway, GROUP);
        for (ended, length) in [(1, VIDEO), (2, 60_000)] {
            let slow = SlowClient::open(lab, &gateway, &path());
            let before = flow.next();
            flow.send(20, length);
            flow.send(1000 * VIDEO as u64 / length as u64, length);
            let published = flow.next() - before;
            slow.reset();
            let closed = &gateway.closed(ended)[0];
            assert_eq!((&closed["code"], &closed["closed_by"]), (&1006.into(), &"network".into()), "{closed:#}");
            let (counted, written, lost) = assert_session_balances(closed);
            assert_eq!((counted, pending(closed), written + lost), (published, 0, published), "{closed:#}");
            assert!(count(closed, "lost", "closed") > 0, "{closed:#}");
            flow.send(10, length);
        }
        gateway.status_with("one subscriber left", |status| status["streams"][0]["subscribers"] == 1);
    }
}

lab_test! {
    fn a_client_whose_network_has_gone_is_closed(lab) {
        if skip("nft", "nftables") {
            return;
        }
        let gateway = TestGateway::start(lab, &[&SMALL_LOG[..], &["--limit", "stall=1s"]].concat());
        let mut flow = Flow::start(lab, &gateway, GROUP);
        let gone = SlowClient::open(lab, &gateway, &path());
        flow.send(10, VIDEO);
        lab.sh(&format!(
            "ip netns exec gw nft 'add table inet t; add chain inet t in {{ type filter hook input priority 0; }}; \
             add rule inet t in tcp sport {} drop'",
            gone.port()
        ));
        flow.send(1000, VIDEO);
        let closed = &gateway.closed(1)[0];
        assert_eq!((&closed["code"], &closed["closed_by"]), (&4508.into(), &"gateway".into()), "{closed:#}");
        assert_eq!(assert_session_balances(closed).0, 1010);
        flow.send(10, VIDEO);
    }
}

lab_test! {
    fn a_large_frame_half_written_is_finished_though_the_log_has_let_go_of_it(lab) {
        let gateway = TestGateway::start(lab, &[&SMALL_LOG[..], &["--limit", "stall=off"]].concat());
        let mut flow = Flow::start(lab, &gateway, GROUP);
        let mut slow = SlowClient::open(lab, &gateway, &path());
        flow.send(40, 65507);
        let session = slow_session(&gateway, slow.port());
        let (published, written, lost) = assert_session_balances(&session);
        assert!(published == 40 && written < 10 && lost > 20, "{session:#}");
        let last = flow.send(1, 65507).start;
        let numbers = slow.numbers_until(last);
        let session = slow_session(&gateway, slow.port());
        let (_, written, lost) = assert_session_balances(&session);
        assert_eq!((numbers.len() as u64, missing(&numbers), pending(&session)), (written, lost, 0), "{session:#}");
    }
}

lab_test! {
    fn latest_passes_over_what_is_old_and_counts_it_as_withheld(lab) {
        let gateway = TestGateway::start(lab, &SMALL_LOG);
        let mut flow = Flow::start(lab, &gateway, GROUP);
        let mut slow = SlowClient::open(lab, &gateway, &(path() + "?overflow=latest"));
        flow.send(1000, VIDEO);
        let last = flow.send(1, VIDEO).start;
        gateway.status_with("all of it published to the slow client", |status| {
            session(status, slow.port())["subscriptions"][0]["published"] == 1001
        });
        let numbers = slow.numbers_until(last);
        let session = slow_session(&gateway, slow.port());
        let (published, written, lost) = assert_session_balances(&session);
        assert_eq!((published, written, lost), (1001, numbers.len() as u64, 0), "{session:#}");
        assert_eq!(count(&session, "withheld", "latest"), missing(&numbers), "{session:#}");
        // Nothing but the newest was written once it could be.
        assert!(missing(&numbers) > 500 && numbers[numbers.len() - 2] + 300 < last, "{numbers:?}");
    }
}

lab_test! {
    fn close_ends_the_client_with_what_it_lost(lab) {
        let gateway = TestGateway::start(lab, &SMALL_LOG);
        let mut flow = Flow::start(lab, &gateway, GROUP);
        for (ended, length) in [(1, VIDEO), (2, 65507)] {
            let before = flow.next();
            let mut slow = SlowClient::open(lab, &gateway, &(path() + "?overflow=close"));
            flow.send((1 << 20) / length as u64, length);
            let (numbers, end) = slow.numbers_to_the_end();
            let (code, reason) = end.expect("a close frame").close();
            let named: u64 = reason.strip_prefix("slow_consumer: lost=").expect("a reason").parse().expect("a number");
            drop(slow);
            let closed = &gateway.closed(ended)[0];
            assert_eq!((code, &closed["reason"]), (4508, &reason.into()), "{closed:#}");
            let (published, written, lost) = assert_session_balances(closed);
            // All that was written before the close is without a hole, and was read.
            assert_eq!((numbers.first(), missing(&numbers)), (Some(&before), 0));
            assert_eq!((written, written + lost), (numbers.len() as u64, published), "{closed:#}");
            assert!(0 < named && named <= lost, "{closed:#}");
        }
    }
}

lab_test! {
    fn each_bound_of_lag_is_a_cause_of_its_own(lab) {
        let wide = ["all=off", "lag-bytes=4MiB", "lag-datagrams=65536", "lag-age=600s", "replay-bytes=0", "replay-age=0s"];
        for (bound, cause) in
            [("lag-bytes=256KiB", "bytes"), ("lag-datagrams=100", "datagrams"), ("lag-age=300ms", "age")]
        {
            let limits = wide.iter().chain([&bound]).flat_map(|limit| ["--limit", limit]);
            let gateway = TestGateway::start(lab, &["--interface", "lan0"].into_iter().chain(limits).collect::<Vec<_>>());
            let mut flow = Flow::start(lab, &gateway, GROUP);
            let mut slow = SlowClient::open(lab, &gateway, &path());
            flow.send(1000, VIDEO);
            gateway.status_with("a loss", |status| {
                let session = session(status, slow.port());
                assert_session_balances(&session);
                count(&session, "lost", cause) > 0
            });
            let last = flow.send(1, VIDEO).start;
            let numbers = slow.numbers_until(last);
            let session = slow_session(&gateway, slow.port());
            let (published, written, lost) = assert_session_balances(&session);
            assert_eq!((published, written), (1001, numbers.len() as u64), "{session:#}");
            assert_eq!((count(&session, "lost", cause), lost), (lost, missing(&numbers)), "{session:#}");
        }
    }
}

lab_test! {
    fn a_burst_does_not_overrun_those_who_keep_up(lab) {
        let arguments = ["--interface", "lan0", "--limit", "lag-datagrams=16", "--limit", "lag-bytes=256KiB"];
        let gateway = TestGateway::start(lab, &[&arguments[..], &["--limit", "replay-bytes=0"]].concat());
        let mut flow = Flow::start(lab, &gateway, GROUP);
        for (count, length) in [(500, 8), (5, 60_000)] {
            // All of it waits in the socket when the gateway runs again, and is taken in one turn.
            gateway.signal("STOP");
            let sent = flow.burst(count, length);
            gateway.signal("CONT");
            for number in sent {
                assert_eq!(flow.witnessed(), number);
            }
        }
        let session = &gateway.status()["sessions"][0];
        assert_eq!(assert_session_balances(session), (505, 505, 0));
    }
}

fn path() -> String {
    format!("/udp/{GROUP}")
}

/// The open session of the client at `port`.
fn session(status: &Value, port: u16) -> Value {
    let peer = format!("10.9.0.2:{port}");
    let sessions = status["sessions"].as_array().expect("a list of sessions");
    let found = sessions.iter().find(|session| session["peer"] == peer);
    found.unwrap_or_else(|| panic!("no session of {peer}: {status:#}")).clone()
}

/// The same, as the gateway says now.
fn slow_session(gateway: &TestGateway<'_>, port: u16) -> Value {
    session(&gateway.status(), port)
}

/// A counter of a session's only subscription.
fn count(session: &Value, kind: &str, cause: &str) -> u64 {
    session["subscriptions"][0][kind][cause]
        .as_u64()
        .unwrap_or_else(|| panic!("no {kind}.{cause}: {session:#}"))
}

fn pending(session: &Value) -> u64 {
    session["subscriptions"][0]["pending"].as_u64().unwrap_or_else(|| panic!("no pending: {session:#}"))
}
