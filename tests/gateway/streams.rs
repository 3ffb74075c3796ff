//! A datagram's way from a source on the LAN to a WebSocket and to a plain HTTP client.

use std::io::{Read, Write};

use crate::support::gateway::{TestGateway, assert_session_balances, assert_stream_balances};
use crate::support::lab::{Multicast, lab_test};

lab_test! {
    fn one_datagram_is_one_message_on_ipv4_and_ipv6(lab) {
        let gateway = TestGateway::start(lab, &["--interface", "lan0"]);
        for group in ["239.1.2.3:5000", "[ff15::42]:5000"] {
            let mut client = gateway.open(&format!("/udp/{group}"));
            assert_eq!(client.interface(), "lan0");
            gateway.await_joined("gw-lan0", group);
            let source = lab.on("srca", || Multicast::sender("eth0", group.parse().unwrap(), 1));
            for payload in [&b"one"[..], b"", b"three", &[7; 1400], b"end"] {
                source.send(payload);
                assert_eq!(client.recv(), payload);
            }
            let stream = gateway.stream(group);
            assert_eq!(stream["received"], 5);
            assert_eq!(stream["state"], "receiving");
            assert_eq!(stream["ttl"], 1);
            assert_stream_balances(&stream);
            client.close();
        }
        for session in gateway.closed(2) {
            let (published, written, lost) = assert_session_balances(&session);
            assert_eq!((published, written, lost), (5, 5, 0));
        }
    }
}

lab_test! {
    fn the_largest_datagrams_pass_whole(lab) {
        let gateway = TestGateway::start(lab, &["--interface", "lan0"]);
        for group in ["239.1.2.3:5000", "[ff15::42]:5000"] {
            let mut client = gateway.open(&format!("/udp/{group}"));
            gateway.await_joined("gw-lan0", group);
            let source = lab.on("srca", || Multicast::sender("eth0", group.parse().unwrap(), 1));
            for length in [1472, 1473, 9000, 65507] {
                let payload: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
                source.send(&payload);
                assert!(client.recv() == payload, "{length} bytes on {group}");
            }
        }
    }
}

lab_test! {
    fn plain_http_gets_the_payloads_one_after_the_other(lab) {
        let gateway = TestGateway::start(lab, &["--interface", "lan0"]);
        let mut stream = gateway.connect();
        write!(stream, "GET /udp/239.1.2.3:5000 HTTP/1.0\r\nHost: {}\r\n\r\n", gateway.address).unwrap();
        gateway.await_joined("gw-lan0", "239.1.2.3:5000");
        let source = lab.on("srca", || Multicast::sender("eth0", "239.1.2.3:5000".parse().unwrap(), 1));
        for part in ["al", "", "pha", "bet!"] {
            source.send(part.as_bytes());
        }
        let mut text = String::new();
        while !text.ends_with("alphabet!") {
            let mut bytes = [0; 1000];
            let read = stream.read(&mut bytes).unwrap();
            assert!(read > 0, "the body ended: {text}");
            text.push_str(&String::from_utf8_lossy(&bytes[..read]));
        }
        assert!(text.to_lowercase().contains("wscast-interface: lan0"), "{text}");
    }
}
