//! What clients send: one message is one datagram on the LAN, if it may be.

use std::net::SocketAddr;

use serde_json::Value;
use tokio_tungstenite::tungstenite::Message;

use crate::support::client::WebSocket;
use crate::support::flow::{SlowClient, masked};
use crate::support::gateway::{TestGateway, assert_session_balances};
use crate::support::lab::{Lab, Multicast, Received, Receiver, lab_test, skip};

mod bursts;
mod rates;
mod replies;

const V4: &str = "239.1.2.3:5000";
const V6: &str = "[ff15::42]:5000";
const MAY_SEND: [&str; 6] =
    ["--interface", "lan0", "--allow-send", "239.0.0.0/8", "--allow-send", "[ff15::]/16"];

lab_test! {
    fn a_message_becomes_a_datagram_on_the_interface_that_was_named(lab) {
        let gateway = TestGateway::start(lab, &MAY_SEND);
        for group in [V4, V6] {
            let ears = Ears::of(lab, group);
            for (interface, heard, source) in
                [("lan0", &ears.lan0, ["10.1.0.1", "fd01::1"]), ("lan1", &ears.lan1, ["10.2.0.1", "fd02::1"])]
            {
                let mut client = gateway.open(&format!("/udp/{group}?interface={interface}"));
                client.send(b"binary");
                client.put(Message::text("text, \u{e4} as UTF-8"));
                client.send(b"");
                client.send(&[7; 1452]);
                for payload in [&b"binary"[..], "text, \u{e4} as UTF-8".as_bytes(), b"", &[7; 1452]] {
                    let Received { payload: heard, source: from } = heard.recv();
                    assert_eq!(heard, payload, "on {interface}");
                    assert!(source.contains(&from.ip().to_string().as_str()), "{from} on {interface}");
                }
                let sender = own_sender(&gateway.status(), &mut client);
                assert_eq!((&sender["accepted"], &sender["sent"]), (&4.into(), &4.into()), "{sender:#}");
                client.close();
            }
            assert_eq!((ears.lan0.take(), ears.lan1.take()), (None, None), "each went to its own network only");
        }
    }
}

lab_test! {
    fn the_ttl_is_1_or_what_was_asked_for(lab) {
        if skip("nft", "nftables") {
            return;
        }
        let gateway = TestGateway::start(lab, &[&MAY_SEND[..], &["--max-ttl", "9"]].concat());
        for (group, family, field) in [(V4, "ip", "ip ttl"), (V6, "ip6", "ip6 hoplimit")] {
            for (ttl, other) in [(1, 5), (5, 1)] {
                let address = group.parse::<SocketAddr>().unwrap().ip();
                lab.sh(&format!(
                    "ip netns exec srca nft 'flush ruleset; add table inet t; \
                     add chain inet t in {{ type filter hook input priority 0; }}; \
                     add rule inet t in {family} daddr {address} {field} != {ttl} drop'"
                ));
                let receiver = lab.on("srca", || Receiver::join("eth0", group.parse().unwrap()));
                lab.await_member("srca-eth0", address);
                let ask = |ttl| if ttl == 1 { String::new() } else { format!("?ttl={ttl}") };
                gateway.open(&format!("/udp/{group}{}", ask(other))).send(b"dropped on arrival");
                let mut client = gateway.open(&format!("/udp/{group}{}", ask(ttl)));
                client.send(b"passes");
                assert_eq!(receiver.recv().payload, b"passes", "ttl={ttl} to {group}");
            }
        }
        for (ttl, status, words) in
            [("0", 400, "1 to 255"), ("256", 400, "1 to 255"), ("10", 403, "above the 9"), ("255", 403, "above the 9")]
        {
            let refused = refused(&gateway, &format!("/udp/{V4}?ttl={ttl}"));
            assert!(refused.0 == status && refused.1.contains(words), "ttl={ttl}: {refused:?}");
        }
        gateway.open(&format!("/udp/{V4}?ttl=9")).send(b"at the bound");
    }
}

lab_test! {
    fn loop_decides_whether_this_host_hears_it(lab) {
        let gateway = TestGateway::start(lab, &MAY_SEND);
        for group in [V4, V6] {
            let address = group.parse().unwrap();
            let (here, there) =
                (lab.on("gw", || Receiver::join("lan0", address)), lab.on("srca", || Receiver::join("eth0", address)));
            lab.await_member("srca-eth0", address.ip());
            let mut quiet = gateway.open(&format!("/udp/{group}?loop=0"));
            let mut other = gateway.open(&format!("/udp/{group}"));
            quiet.send(b"not here");
            assert_eq!(there.recv().payload, b"not here");
            for option in ["", "?loop=1"] {
                let mut loud = gateway.open(&format!("/udp/{group}{option}"));
                loud.send(b"here too");
                assert_eq!((there.recv().payload, here.recv().payload), (b"here too".into(), b"here too".into()));
                assert_eq!(other.recv(), b"here too", "and not what went out with loop=0");
            }
        }
    }
}

lab_test! {
    fn a_datagram_too_large_closes_with_its_size(lab) {
        let gateway = TestGateway::start(lab, &MAY_SEND);
        let mut client = gateway.open(&format!("/udp/{V4}"));
        client.send(&[7; 1453]);
        let (code, reason) = client.closed();
        assert_eq!(code, 4413);
        assert!(reason.starts_with("datagram_too_large: 1453 bytes, at most 1452"), "{reason}");
        drop(client);
        let closed = &gateway.closed(1)[0];
        let sender = &closed["sender"];
        assert_eq!((&sender["accepted"], &sender["sent"], &sender["refused"]["size"]), (&1.into(), &0.into(), &1.into()));
        // The bound is the operator's.
        let gateway = TestGateway::start(lab, &[&MAY_SEND[..], &["--limit", "send-size=65507"]].concat());
        let ears = Ears::of(lab, V4);
        gateway.open(&format!("/udp/{V4}")).send(&[7; 65507]);
        assert_eq!(ears.lan0.recv().payload.len(), 65507);
    }
}

lab_test! {
    fn who_may_not_send_is_told_so(lab) {
        let gateway = TestGateway::start(lab, &["--interface", "lan0", "--allow-send", "239.9.0.0/16:5000-5010"]);
        for group in [V4, "239.9.0.1:5011", V6] {
            let mut client = gateway.open(&format!("/udp/{group}"));
            client.send(b"no");
            let (code, reason) = client.closed();
            assert!(code == 4403 && reason.starts_with("not_allowed: "), "{group}: {code} {reason}");
            assert!(reason.contains("--allow-send"), "the reason names the fix: {reason}");
            let refused = refused(&gateway, &format!("/udp/{group}?receive=0"));
            assert!(refused.0 == 403 && refused.1.contains("--allow-send"), "{refused:?}");
        }
        gateway.open("/udp/239.9.0.1:5010").send(b"yes");

        let gateway = TestGateway::start(lab, &MAY_SEND);
        let mut client = gateway.open(&format!("/udp/{V4}?interface=all"));
        client.send(b"where to?");
        let (code, reason) = client.closed();
        assert!(code == 4403 && reason.contains("interface=all receives only"), "{code} {reason}");
    }
}

lab_test! {
    fn send_only_joins_nothing(lab) {
        let gateway = TestGateway::start(lab, &MAY_SEND);
        let ears = Ears::of(lab, V4);
        let mut client = gateway.open(&format!("/udp/{V4}?receive=0"));
        for number in 0..10u8 {
            client.send(&[number]);
            assert_eq!(ears.lan0.recv().payload, [number]);
        }
        let status = gateway.status();
        assert_eq!((&status["streams"], &status["sessions"][0]["subscriptions"]), (&Value::Array(vec![]), &Value::Array(vec![])));
        assert!(!lab.is_member("gw-lan0", "239.1.2.3".parse().unwrap()), "the switch was asked for nothing");
        let sender = own_sender(&status, &mut client);
        assert_eq!((&sender["accepted"], &sender["sent"]), (&10.into(), &10.into()));
        client.close();
    }
}

lab_test! {
    fn a_sender_hears_the_others_and_itself_only_if_it_asks(lab) {
        let gateway = TestGateway::start(lab, &[&MAY_SEND[..], &["--limit", "all=off"]].concat());
        for group in [V4, V6] {
            let ears = Ears::of(lab, group);
            let mut alone = gateway.open(&format!("/udp/{group}"));
            let mut echoing = gateway.open(&format!("/udp/{group}?echo=1"));
            let mut listening = gateway.open(&format!("/udp/{group}"));
            gateway.await_joined("gw-lan0", group);
            let source = lab.on("srca", || Multicast::sender("eth0", group.parse().unwrap(), 1));
            for number in 0..50u8 {
                alone.send(&[b'a', number]);
                echoing.send(&[b'e', number]);
                source.send(&[b's', number]);
            }
            // Senders of their own may overtake each other: compared by who sent.
            let expected = |senders: &str| {
                let mut all: Vec<_> = senders.bytes().flat_map(|who| (0..50u8).map(move |n| vec![who, n])).collect();
                all.sort();
                all
            };
            for (client, senders) in [(&mut alone, "es"), (&mut echoing, "aes"), (&mut listening, "aes")] {
                let mut got: Vec<_> = (0..senders.len() * 50).map(|_| client.recv()).collect();
                let order: Vec<_> = got.iter().filter(|datagram| datagram[0] == b'e').cloned().collect();
                assert_eq!(order, expected("e"), "one sender's datagrams stay in order");
                got.sort();
                assert_eq!(got, expected(senders));
            }
            // It went over the network: who is not the gateway heard it too.
            let heard: Vec<_> = (0..150).map(|_| ears.lan0.recv().payload).collect();
            assert!(expected("ae").iter().all(|datagram| heard.contains(datagram)));
            let sessions = gateway.status();
            for (client, (written, echo)) in
                [(&mut alone, (100, 50)), (&mut echoing, (150, 0)), (&mut listening, (150, 0))]
            {
                let session = session_of(&sessions, client);
                let echoes = &session["subscriptions"][0]["withheld"]["echo"];
                assert_eq!(assert_session_balances(&session), (150, written, 0), "{session:#}");
                assert_eq!(echoes, echo, "{session:#}");
            }
        }
    }
}

lab_test! {
    fn messages_behind_the_handshake_are_all_sent(lab) {
        let gateway = TestGateway::start(lab, &[&MAY_SEND[..], &["--limit", "all=off"]].concat());
        let ears = Ears::of(lab, V4);
        let mut client = SlowClient::connect(lab, &gateway);
        let mut bytes = format!(
            "GET /udp/{V4}?receive=0 HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            gateway.address
        )
        .into_bytes();
        for number in 0..200u8 {
            bytes.extend(masked(2, &[number]));
        }
        client.write(&bytes);
        for number in 0..200u8 {
            assert_eq!(ears.lan0.recv().payload, [number], "the connection says nothing more, and need not");
        }
    }
}

/// Plain receivers of a group on both networks.
struct Ears {
    lan0: Receiver,
    lan1: Receiver,
}

impl Ears {
    fn of(lab: &Lab, group: &str) -> Self {
        let group: SocketAddr = group.parse().expect("a group");
        let ears = Ears {
            lan0: lab.on("srca", || Receiver::join("eth0", group)),
            lan1: lab.on("srcb", || Receiver::join("eth0", group)),
        };
        lab.await_member("srca-eth0", group.ip());
        lab.await_member("srcb-eth0", group.ip());
        ears
    }
}

/// Status and reason of a handshake that is refused.
fn refused(gateway: &TestGateway<'_>, path: &str) -> (u16, String) {
    match WebSocket::try_open(gateway.connect(), gateway.address, path, &[]) {
        Ok(_) => panic!("{path} was not refused"),
        Err(refused) => (refused.status, refused.reason),
    }
}

/// A client's session in a status.
fn session_of(status: &Value, client: &mut WebSocket) -> Value {
    let peer = client.stream().local_addr().expect("a connection has an address").to_string();
    let sessions = status["sessions"].as_array().expect("a list of sessions");
    let found = sessions.iter().find(|session| session["peer"] == peer.as_str());
    found.unwrap_or_else(|| panic!("no session of {peer}: {status:#}")).clone()
}

/// What a client has sent, after checking that the books balance.
fn own_sender(status: &Value, client: &mut WebSocket) -> Value {
    let sender = session_of(status, client)["sender"].clone();
    assert_sender_balances(&sender);
    sender
}

/// Asserts that accepted = sent + refused.
fn assert_sender_balances(sender: &Value) {
    let number = |value: &Value| value.as_u64().unwrap_or_else(|| panic!("a number is missing: {sender:#}"));
    let refused: u64 = ["rate", "size", "kernel"].iter().map(|cause| number(&sender["refused"][cause])).sum();
    assert_eq!(number(&sender["accepted"]), number(&sender["sent"]) + refused, "{sender:#}");
}
