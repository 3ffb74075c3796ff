//! Many slow clients at once: memory stays within the bound that is printed at the start.

use super::{GROUP, VIDEO, path};
use crate::support::flow::{Flow, SlowClient, missing};
use crate::support::gateway::{TestGateway, assert_session_balances};
use crate::support::lab::lab_test;

lab_test! {
    fn fifty_stalled_clients_stay_within_the_memory_bound(lab) {
        let limits = [
            "streams=1", "connections=64", "connections-per-address=off", "connection-rate-per-address=off",
            "handshakes-per-address=off", "stall=off", "lag-bytes=1MiB", "lag-datagrams=2000", "replay-bytes=0",
        ];
        let limits = limits.iter().flat_map(|limit| ["--limit", limit]);
        let gateway = TestGateway::start(lab, &["--interface", "lan0"].into_iter().chain(limits).collect::<Vec<_>>());
        let mut flow = Flow::start(lab, &gateway, GROUP);
        let slow: Vec<_> = (0..50).map(|_| SlowClient::open(lab, &gateway, &path())).collect();
        flow.send(2000, VIDEO);
        flow.send(50, 65507);
        let status = gateway.status();
        let bound = status["gateway"]["memory_bound_bytes"].as_u64().expect("a bound");
        let used = resident(gateway.pid());
        assert!(used < bound, "{used} bytes are resident, the bound is {bound}");
        let stalled = status["sessions"].as_array().expect("a list").iter().filter(|session| {
            assert_eq!(assert_session_balances(session).0, 2050);
            session["blocked"] == true
        });
        assert_eq!(stalled.count(), slow.len());
    }
}

lab_test! {
    fn half_written_large_frames_are_bounded_too(lab) {
        let limits = ["all=off", "stall=off", "lag-bytes=256KiB", "replay-bytes=0", "lag-age=600s"];
        let limits = limits.iter().flat_map(|limit| ["--limit", limit]);
        let gateway = TestGateway::start(lab, &["--interface", "lan0"].into_iter().chain(limits).collect::<Vec<_>>());
        let mut flow = Flow::start(lab, &gateway, GROUP);
        let mut slow: Vec<_> = (0..160).map(|_| SlowClient::open(lab, &gateway, &path())).collect();
        flow.send(40, 65507);
        let status = gateway.status_with("clients closed for their half-written frames", |status| {
            status["closed"].as_array().is_some_and(|closed| !closed.is_empty())
        });
        for closed in status["closed"].as_array().expect("a list") {
            let reason = "slow_consumer: too many large frames half written";
            assert_eq!((&closed["code"], &closed["reason"]), (&4508.into(), &reason.into()), "{closed:#}");
            assert_session_balances(closed);
        }
        // Those who stay get their frames whole, whatever happened to the others.
        let last = flow.send(1, 65507).start;
        let peers: Vec<String> = gateway.status()["sessions"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|session| session["peer"].as_str().unwrap_or_default().to_owned())
            .collect();
        slow.retain(|client| peers.contains(&format!("10.9.0.2:{}", client.port())));
        assert!(slow.len() > 100, "{} of 160 stay", slow.len());
        for client in &mut slow {
            assert!(missing(&client.numbers_until(last)) > 0);
        }
    }
}

/// Resident memory of a process, in bytes.
fn resident(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("the gateway runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
}
