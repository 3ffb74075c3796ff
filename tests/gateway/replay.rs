//! What a late joiner gets of what the gateway still holds.

use std::time::Duration;

use crate::support::client::WebSocket;
use crate::support::flow::{Flow, SlowClient, number_of};
use crate::support::gateway::{TestGateway, assert_session_balances};
use crate::support::lab::{PATIENCE, lab_test, wait_for};

const GROUP: &str = "239.1.2.3:5000";

lab_test! {
    fn a_late_joiner_begins_with_the_last_datagrams_held(lab) {
        let gateway = TestGateway::start(lab, &["--interface", "lan0"]);
        let mut flow = Flow::start(lab, &gateway, GROUP);
        flow.send(20, 1000);
        let all = u64::MAX;
        for (replay, count) in
            [("0", 0), ("1", 1), ("5", 5), ("20", 20), ("1000", all), ("60s", all), ("60000ms", all)]
        {
            let mut client = open(&gateway, replay);
            let live = flow.send(1, 1000).start;
            let expected: Vec<_> = (live.saturating_sub(count)..=live).collect();
            assert_eq!(numbers_until(&mut client, live), expected, "replay={replay}");
        }
        for session in gateway.status()["sessions"].as_array().expect("a list") {
            let (published, written, lost) = assert_session_balances(session);
            assert_eq!((published, lost), (written, 0), "{session:#}");
        }
    }
}

lab_test! {
    fn a_time_replays_what_is_not_older(lab) {
        let gateway = TestGateway::start(lab, &["--interface", "lan0"]);
        let mut flow = Flow::start(lab, &gateway, GROUP);
        replays_until_old(&gateway, &mut flow, "300ms");
    }
}

lab_test! {
    fn replay_is_bounded_in_age(lab) {
        let gateway = TestGateway::start(lab, &["--interface", "lan0", "--limit", "replay-age=300ms"]);
        let mut flow = Flow::start(lab, &gateway, GROUP);
        replays_until_old(&gateway, &mut flow, "1000000");
    }
}

lab_test! {
    fn replay_is_bounded_in_bytes(lab) {
        let gateway = TestGateway::start(lab, &["--interface", "lan0", "--limit", "replay-bytes=10000"]);
        let mut flow = Flow::start(lab, &gateway, GROUP);
        flow.send(50, 1000);
        for replay in ["1000", "10s"] {
            let mut client = open(&gateway, replay);
            let live = flow.send(1, 1000).start;
            // Frames of 1004 bytes: nine of them are within 10,000 bytes.
            assert_eq!(numbers_until(&mut client, live), (live - 9..=live).collect::<Vec<_>>(), "replay={replay}");
        }
        let gateway = TestGateway::start(lab, &["--interface", "lan0", "--limit", "replay-bytes=0"]);
        let mut flow = Flow::start(lab, &gateway, GROUP);
        flow.send(5, 1000);
        let mut client = open(&gateway, "1000");
        let live = flow.send(1, 1000).start;
        assert_eq!(numbers_until(&mut client, live), [live]);
    }
}

lab_test! {
    fn plain_http_begins_with_a_replay_too(lab) {
        let gateway = TestGateway::start(lab, &["--interface", "lan0"]);
        let mut flow = Flow::start(lab, &gateway, GROUP);
        flow.send(20, 1000);
        let mut client = SlowClient::fetch(lab, &gateway, &format!("/udp/{GROUP}?replay=7"));
        flow.send(3, 1000);
        for number in 13..23 {
            assert_eq!(number_of(&client.take(1000)), number);
        }
    }
}

lab_test! {
    fn a_replay_runs_into_the_live_datagrams_without_a_seam(lab) {
        let limits = ["--limit", "all=off"];
        let gateway = TestGateway::start(lab, &[&["--interface", "lan0"][..], &limits].concat());
        let mut flow = Flow::start(lab, &gateway, GROUP);
        flow.send(100, 1000);
        for _ in 0..30 {
            // Under way while the client joins, so that some are replayed and some are live.
            let sent = flow.burst(40, 1000);
            let mut client = open(&gateway, "50");
            for number in sent.clone() {
                assert_eq!(flow.witnessed(), number);
            }
            let last = flow.send(1, 1000).start;
            let numbers = numbers_until(&mut client, last);
            assert!(numbers.len() > 50 && numbers.len() <= 91, "50 and what came since: {numbers:?}");
            assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{numbers:?}");
        }
    }
}

lab_test! {
    fn bounds_of_lag_do_not_eat_the_replay(lab) {
        let limits = ["all=off", "lag-bytes=256KiB", "lag-age=10ms", "replay-bytes=8MiB", "replay-age=60s"];
        let limits = limits.iter().flat_map(|limit| ["--limit", limit]);
        let gateway = TestGateway::start(lab, &["--interface", "lan0"].into_iter().chain(limits).collect::<Vec<_>>());
        let mut flow = Flow::start(lab, &gateway, GROUP);
        flow.send(4000, 1000);
        for overflow in ["skip", "close"] {
            let mut slow =
                SlowClient::open(lab, &gateway, &format!("/udp/{GROUP}?replay=3000&overflow={overflow}"));
            let peer = format!("10.9.0.2:{}", slow.port());
            // It is behind by 3 MB, and stays so for longer than lag-age.
            gateway.status_with("a blocked client", |status| {
                let sessions = status["sessions"].as_array().expect("a list");
                sessions.iter().any(|session| {
                    let old = session["seconds"].as_f64().is_some_and(|seconds| seconds > 0.5);
                    session["peer"] == peer.as_str() && session["blocked"] == true && old
                })
            });
            assert_eq!(slow.numbers_until(3999), (1000..4000).collect::<Vec<_>>(), "overflow={overflow}");
        }
    }
}

/// Joins with `replay` until what was sent at first is too old for it, and nothing of it comes any more.
fn replays_until_old(gateway: &TestGateway<'_>, flow: &mut Flow, replay: &str) {
    let old = flow.send(10, 1000);
    let mut client = open(gateway, "1000");
    let live = flow.send(1, 1000).start;
    assert_eq!(numbers_until(&mut client, live).last(), Some(&live));
    wait_for("the first datagrams to be too old", PATIENCE, || {
        let mut client = open(gateway, replay);
        let live = flow.send(1, 1000).start;
        let numbers = numbers_until(&mut client, live);
        client.close();
        (numbers[0] >= old.end).then_some(())
    });
}

fn open(gateway: &TestGateway<'_>, replay: &str) -> WebSocket {
    gateway.open(&format!("/udp/{GROUP}?replay={replay}"))
}

fn numbers_until(client: &mut WebSocket, last: u64) -> Vec<u64> {
    let mut numbers = Vec::new();
    while numbers.last() != Some(&last) {
        let datagram = client.recv_within(Duration::from_secs(10));
        numbers.push(number_of(&datagram.unwrap_or_else(|| panic!("{last} did not come: {numbers:?}"))));
    }
    numbers
}
