//! Many messages at once: each is a datagram of its own, in order, however they leave together.

use serde_json::Value;

use super::{Ears, MAY_SEND, V4, V6, assert_sender_balances};
use crate::support::flow::{SlowClient, masked, numbered};
use crate::support::gateway::TestGateway;
use crate::support::lab::{Lab, PATIENCE, Receiver, lab_test, skip, wait_for};

const UNLIMITED: [&str; 2] = ["--limit", "all=off"];

lab_test! {
    fn equal_messages_of_one_write_arrive_in_order(lab) {
        let gateway = TestGateway::start(lab, &[&MAY_SEND[..], &UNLIMITED].concat());
        for group in [V4, V6] {
            let ears = Ears::of(lab, group);
            let mut client = SlowClient::open(lab, &gateway, &format!("/udp/{group}?receive=0"));
            let payloads: Vec<_> = (0..500).map(|number| numbered(number, 200)).collect();
            let before = packets_sent(lab);
            burst(&mut client, &payloads, &ears.lan0);
            let packets = packets_sent(lab) - before;
            assert!(packets < 250, "500 datagrams went through the host's stack as {packets} packets");
            assert_eq!(own(&gateway, &client, 500)["sent"], 500);
        }
    }
}

lab_test! {
    fn more_than_one_read_takes_is_sent_without_a_further_byte(lab) {
        let gateway = TestGateway::start(lab, &[&MAY_SEND[..], &UNLIMITED].concat());
        let ears = Ears::of(lab, V4);
        let mut client = SlowClient::open(lab, &gateway, &format!("/udp/{V4}?receive=0"));
        // Many turns' worth; frames that lie across the ends of reads and turns; a ping behind them all.
        let payloads: Vec<_> = (0..3000).map(|number| numbered(number, 53)).collect();
        burst(&mut client, &payloads, &ears.lan0);
        let payloads: Vec<_> = (0..150).map(|number| numbered(number, 1451)).collect();
        burst(&mut client, &payloads, &ears.lan0);
        client.write(&[frames(&[numbered(1, 53), numbered(2, 53)]), masked(9, b"there?")].concat());
        let pong = client.next().expect("a pong");
        assert_eq!((pong.opcode, &pong.payload[..]), (10, &b"there?"[..]));
        assert_eq!(own(&gateway, &client, 3152)["sent"], 3152);
    }
}

lab_test! {
    fn messages_of_any_sizes_keep_order_and_bounds(lab) {
        let gateway = TestGateway::start(lab, &[&MAY_SEND[..], &UNLIMITED].concat());
        // Runs of one size with a shorter last, shorter and longer in turns, nothing at all between and at the ends.
        let sizes = [&[0][..], &[700; 40], &[699, 8], &[0, 0], &[1452, 9, 1452, 9, 9], &[1316; 64], &[0], &[1452; 3], &[0]];
        let payloads: Vec<_> = sizes.concat().iter().zip(0..).map(|(size, number)| sized(number, *size)).collect();
        for group in [V4, V6] {
            let ears = Ears::of(lab, group);
            let mut client = SlowClient::open(lab, &gateway, &format!("/udp/{group}?receive=0"));
            for _ in 0..3 {
                burst(&mut client, &payloads, &ears.lan0);
            }
            assert_eq!(own(&gateway, &client, 3 * payloads.len())["sent"], 3 * payloads.len());
        }
    }
}

lab_test! {
    fn what_is_above_the_mtu_is_fragmented(lab) {
        let gateway = TestGateway::start(lab, &[&MAY_SEND[..], &UNLIMITED, &["--limit", "send-size=9000"]].concat());
        let sizes = [&[1232; 5][..], &[1233; 5], &[1252; 5], &[1253; 5], &[1452; 5], &[9000; 3], &[100; 5]].concat();
        let payloads: Vec<_> = sizes.iter().zip(0..).map(|(size, number)| sized(number, *size)).collect();
        for group in [V4, V6] {
            let ears = Ears::of(lab, group);
            let mut first = SlowClient::open(lab, &gateway, &format!("/udp/{group}?receive=0"));
            burst(&mut first, &payloads, &ears.lan0);
            // Whoever has sent before finds the MTU less, at once; whoever comes later knows it; then it is as it was.
            lab.sh("ip -n gw link set lan0 mtu 1280");
            burst(&mut first, &payloads, &ears.lan0);
            let mut later = SlowClient::open(lab, &gateway, &format!("/udp/{group}?receive=0"));
            burst(&mut later, &payloads, &ears.lan0);
            lab.sh("ip -n gw link set lan0 mtu 1500");
            burst(&mut first, &payloads, &ears.lan0);
            assert_eq!(own(&gateway, &first, 3 * payloads.len())["sent"], 3 * payloads.len());
            assert_eq!(own(&gateway, &later, payloads.len())["sent"], payloads.len());
        }
    }
}

lab_test! {
    fn a_refused_one_costs_the_others_nothing(lab) {
        if skip("nft", "nftables") {
            return;
        }
        let gateway = TestGateway::start(lab, &[&MAY_SEND[..], &UNLIMITED].concat());
        // The firewall refuses datagrams of 103 bytes; those that follow an empty one leave on their own.
        lab.sh(
            "ip netns exec gw nft 'add table inet t; add chain inet t out { type filter hook output priority 0; }; \
             add rule inet t out udp length 111 drop'",
        );
        let sizes = [&[200; 20][..], &[0, 103], &[200; 20], &[0, 103, 0, 103], &[200; 20]].concat();
        let payloads: Vec<_> = sizes.iter().zip(0..).map(|(size, number)| sized(number, *size)).collect();
        let passed: Vec<_> = payloads.iter().filter(|payload| payload.len() != 103).cloned().collect();
        for group in [V4, V6] {
            let ears = Ears::of(lab, group);
            let mut client = SlowClient::open(lab, &gateway, &format!("/udp/{group}?receive=0"));
            client.write(&frames(&payloads));
            assert_eq!(heard(&ears.lan0, passed.len()), passed);
            let sender = own(&gateway, &client, payloads.len());
            assert_eq!((&sender["sent"], &sender["refused"]["kernel"]), (&passed.len().into(), &3.into()));
        }
    }
}

lab_test! {
    fn what_the_interface_cannot_take_is_counted(lab) {
        let gateway = TestGateway::start(lab, &[&MAY_SEND[..], &UNLIMITED].concat());
        let payloads: Vec<_> = (0..100).map(|number| numbered(number, 200)).collect();
        let ears = Ears::of(lab, V4);
        let mut client = SlowClient::open(lab, &gateway, &format!("/udp/{V4}?receive=0"));
        burst(&mut client, &payloads, &ears.lan0);
        lab.sh("ip -n gw link set lan0 down");
        client.write(&frames(&payloads));
        let sender = own(&gateway, &client, 200);
        assert_eq!((&sender["sent"], &sender["refused"]["kernel"]), (&100.into(), &100.into()));
        lab.sh("ip -n gw link set lan0 up");
        wait_for("the switch to forward again", PATIENCE, || {
            let port = lab.sh("bridge -n sw link show dev gw-lan0; ip -n gw link show lan0");
            (port.contains("state forwarding") && port.contains("LOWER_UP")).then_some(())
        });
        burst(&mut client, &payloads, &ears.lan0);
        assert_eq!(own(&gateway, &client, 300)["sent"], 200);
    }
}

lab_test! {
    fn what_is_over_the_rate_within_a_burst_is_counted(lab) {
        for limit in ["send-rate-per-session=10/s", "send-rate=10/s"] {
            let gateway = TestGateway::start(lab, &[&MAY_SEND[..], &UNLIMITED, &["--limit", limit]].concat());
            let ears = Ears::of(lab, V4);
            let mut client = SlowClient::open(lab, &gateway, &format!("/udp/{V4}?receive=0"));
            let payloads: Vec<_> = (0..200).map(|number| numbered(number, 97)).collect();
            client.write(&frames(&payloads));
            let sender = own(&gateway, &client, 200);
            let sent = sender["sent"].as_u64().expect("a number") as usize;
            assert!((20..120).contains(&sent) && sender["refused"]["rate"] == 200 - sent, "{limit}: {sender:#}");
            let heard = heard(&ears.lan0, sent);
            assert!(heard.starts_with(&payloads[..20]) && heard.is_sorted(), "{limit}: {heard:?}");
            assert_eq!(ears.lan0.take(), None, "{limit}");
        }
    }
}

lab_test! {
    fn what_came_before_the_end_is_sent(lab) {
        let gateway = TestGateway::start(lab, &[&MAY_SEND[..], &UNLIMITED].concat());
        let ears = Ears::of(lab, V4);
        let payloads: Vec<_> = (0..30).map(|number| numbered(number, 200)).collect();
        let closing = [3, 232]; // 1000
        let mut last = gateway.open(&format!("/udp/{V4}?receive=0"));
        for (count, end, expected) in
            [(1, masked(2, &[7; 1453]), 4413), (2, masked(8, &closing), 1000), (3, masked(3, b"no such opcode"), 1002)]
        {
            let mut client = SlowClient::open(lab, &gateway, &format!("/udp/{V4}?receive=0"));
            client.write(&[frames(&payloads), end, masked(2, b"too late")].concat());
            let (code, reason) = client.next().expect("a close frame").close();
            assert_eq!(code, expected, "{reason}");
            assert_eq!(heard(&ears.lan0, 30), payloads);
            last.send(b"marker");
            assert_eq!(ears.lan0.recv().payload, b"marker", "nothing behind the close");
            drop(client);
            let sender = &gateway.closed(count)[0]["sender"];
            assert_sender_balances(sender);
            assert_eq!((&sender["sent"], &sender["refused"]["size"]), (&30.into(), &u8::from(code == 4413).into()));
        }
    }
}

lab_test! {
    fn a_burst_comes_back_to_the_others_alone(lab) {
        let gateway = TestGateway::start(lab, &[&MAY_SEND[..], &UNLIMITED].concat());
        for group in [V4, V6] {
            let mut own = SlowClient::open(lab, &gateway, &format!("/udp/{group}"));
            let mut echoing = SlowClient::open(lab, &gateway, &format!("/udp/{group}?echo=1"));
            let mut other = SlowClient::open(lab, &gateway, &format!("/udp/{group}"));
            gateway.await_joined("gw-lan0", group);
            let payloads: Vec<_> = (0..100).map(|number| numbered(number, 200)).collect();
            own.write(&frames(&payloads));
            assert_eq!(other.numbers_until(99), (0..100).collect::<Vec<_>>());
            assert_eq!(echoing.numbers_until(99), (0..100).collect::<Vec<_>>());
            echoing.write(&frames(&[numbered(100, 200), numbered(101, 200)]));
            assert_eq!(own.numbers_until(101), [100, 101], "and nothing of its own");
            assert_eq!(echoing.numbers_until(101), [100, 101]);
        }
    }
}

/// A payload of any size, with its number where it has room for one.
fn sized(number: u64, size: usize) -> Vec<u8> {
    if size < 8 { vec![number as u8; size] } else { numbered(number, size) }
}

/// Binary messages, as one piece.
fn frames(payloads: &[Vec<u8>]) -> Vec<u8> {
    payloads.iter().flat_map(|payload| masked(2, payload)).collect()
}

/// Writes messages as one piece, and asserts that they arrive as they are.
fn burst(client: &mut SlowClient, payloads: &[Vec<u8>], ear: &Receiver) {
    let bytes = frames(payloads);
    std::thread::scope(|scope| {
        scope.spawn(|| client.write(&bytes));
        for (number, payload) in payloads.iter().enumerate() {
            let heard = ear.recv().payload;
            assert!(heard == *payload, "datagram {number} of {}: {} bytes came", payload.len(), heard.len());
        }
    });
}

/// The next datagrams.
fn heard(ear: &Receiver, count: usize) -> Vec<Vec<u8>> {
    (0..count).map(|_| ear.recv().payload).collect()
}

/// What a client has sent, once so much is on the books; they balance.
fn own(gateway: &TestGateway<'_>, client: &SlowClient, accepted: usize) -> Value {
    let port = format!(":{}", client.port());
    let find = |status: &Value| {
        let sessions = status["sessions"].as_array().cloned().unwrap_or_default();
        sessions
            .into_iter()
            .find(|session| session["peer"].as_str().is_some_and(|peer| peer.ends_with(&port)))
    };
    let status = gateway.status_with("all accepted", |status| {
        find(status).is_some_and(|session| session["sender"]["accepted"] == accepted)
    });
    let sender = find(&status).expect("the session")["sender"].clone();
    assert_sender_balances(&sender);
    sender
}

/// Packets that the gateway's host has sent on `lan0`; those that the receiver cuts up count once.
fn packets_sent(lab: &Lab) -> u64 {
    let packets = lab.sh("ip netns exec gw cat /sys/class/net/lan0/statistics/tx_packets");
    packets.trim().parse().expect("a number of packets")
}
