//! Many streams and senders on one connection: `wscast.v1`.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::support::flow::{Flow, number_of};
use crate::support::gateway::{TestGateway, assert_session_balances, assert_stream_balances};
use crate::support::lab::{Lab, Multicast, lab_test};
use crate::support::v1::{Event, V1Client};

mod life;
mod losses;
mod mistakes;
mod sending;
mod slow;
mod streams;

const GROUP: &str = "239.1.2.3:5000";

lab_test! {
    fn hello_joined_records_left(lab) {
        let gateway = TestGateway::start(lab, &["--interface", "lan0"]);
        let mut client = V1Client::open(&gateway);
        let status = gateway.status();
        let run = client.hello["gateway"].as_str().expect("a name");
        assert!(run.starts_with(status["gateway"]["id"].as_str().expect("a name")), "{run}");
        assert_eq!(client.hello["version"], status["gateway"]["version"]);
        assert_eq!(client.hello["limits"], json!({"streams": 16, "datagram": 1452}));
        assert_eq!(client.hello["heartbeat"], 20);

        let joined = client.join(GROUP, &json!({"id": 7}));
        assert_eq!(
            (&joined["id"], &joined["interface"], &joined["state"], &joined["next_sequence"]),
            (&json!(7), &json!("lan0"), &json!("silent"), &json!(0))
        );
        gateway.await_joined("gw-lan0", GROUP);
        let source = sender(lab, GROUP);
        for (sequence, payload) in [&b"one"[..], b"", &[7; 1452]].into_iter().enumerate() {
            source.send(payload);
            let record = client.record_of(&joined);
            assert_eq!((record.kind, record.flags, record.ttl), (1, 0, 1));
            assert_eq!((record.sequence, &record.payload[..]), (sequence as u32, payload));
            let from = SocketAddr::from(([10, 1, 0, 2], source.source().port()));
            assert_eq!(record.source, from);
            let now = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("after 1970").as_nanos() as u64;
            assert!(now - record.arrival < 10_000_000_000, "{} is a moment before {now}", record.arrival);
        }
        assert_eq!(client.notice("state")["state"], "receiving");
        client.ask(&json!({"type": "leave", "id": 8, "stream": joined["stream"]}), "left");
        assert!(client.settle().is_empty(), "nothing comes behind left");
        let session = &gateway.status()["sessions"][0];
        assert_eq!((&session["kind"], &session["subscriptions"]), (&json!("wscast.v1"), &json!([])));
        assert_eq!(
            (&session["ended"]["subscriptions"], &session["ended"]["published"], &session["ended"]["written"]),
            (&json!(1), &json!(3), &json!(3))
        );
        client.close();
        assert_eq!(gateway.closed(1)[0]["code"], 1005);
    }
}

lab_test! {
    fn the_upgrade_wants_a_websocket_and_the_subprotocol(lab) {
        let gateway = TestGateway::start(lab, &["--interface", "lan0"]);
        let plain = gateway.fetch("/v1");
        assert_eq!((plain.status, plain.header("sec-websocket-version")), (426, Some("13")));
        let upgrade = |protocol: &str| {
            gateway.ask(&format!(
                "GET /v1 HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{protocol}\r\n",
                gateway.address
            ))
        };
        for protocol in ["", "Sec-WebSocket-Protocol: wscast.v2, wscast.raw\r\n"] {
            let answer = upgrade(protocol);
            assert_eq!(answer.status, 400, "{answer:?}");
            assert!(answer.body.contains("offer it, as new WebSocket(url, \"wscast.v1\")"), "{answer:?}");
        }
        let answer = upgrade("Sec-WebSocket-Protocol: wscast.bearer.c2VjcmV0, wscast.v1\r\n");
        assert_eq!((answer.status, answer.header("sec-websocket-protocol")), (101, Some("wscast.v1")));
    }
}

lab_test! {
    fn datagrams_that_come_together_share_a_message(lab) {
        let gateway = TestGateway::start(lab, &["--interface", "lan0", "--hold", "50ms"]);
        let mut client = V1Client::open(&gateway);
        let joined = client.join(GROUP, &json!({}));
        gateway.await_joined("gw-lan0", GROUP);
        let source = sender(lab, GROUP);
        for number in 0..300_u64 {
            source.send(&crate::support::flow::numbered(number, 100));
        }
        let records: Vec<_> = (0..300).map(|_| client.record_of(&joined)).collect();
        for (number, record) in records.iter().enumerate() {
            assert_eq!((number_of(&record.payload), record.sequence), (number as u64, number as u32));
        }
        let messages = records.last().expect("300 records").message;
        assert!(messages < 60, "{messages} messages for 300 datagrams that came together");
        // At a low rate each has its own.
        for number in 300..303_u64 {
            source.send(&crate::support::flow::numbered(number, 100));
            assert_eq!(number_of(&client.record_of(&joined).payload), number);
        }
    }
}

lab_test! {
    fn raw_and_v1_clients_of_one_stream_share_it(lab) {
        for threads in ["1", "2"] {
            let gateway = TestGateway::start(lab, &["--interface", "lan0", "--threads", threads]);
            let mut flow = Flow::start(lab, &gateway, GROUP);
            let raw_only = flow.send(10, 500);
            let mut clients: Vec<_> = (0..3).map(|_| V1Client::open(&gateway)).collect();
            let joined: Vec<_> = clients.iter_mut().map(|client| client.join(GROUP, &json!({}))).collect();
            let sent = flow.send(200, 700);
            for (client, joined) in clients.iter_mut().zip(&joined) {
                let next = joined["next_sequence"].as_u64().expect("a number");
                for (place, number) in sent.clone().enumerate() {
                    let record = client.record_of(joined);
                    assert_eq!((number_of(&record.payload), u64::from(record.sequence)), (number, next + place as u64));
                }
                assert_eq!(next, raw_only.end, "the sequence is the stream's");
            }
            let status = gateway.status();
            for stream in status["streams"].as_array().expect("a list") {
                assert_stream_balances(stream);
                assert_eq!((&stream["published"], &stream["subscribers"]), (&json!(210), &json!(4)));
            }
            for session in status["sessions"].as_array().expect("a list") {
                let (published, written, lost) = assert_session_balances(session);
                let expected = if session["kind"] == "wscast.v1" { 200 } else { 210 };
                assert_eq!((published, written, lost), (expected, expected, 0), "{session:#}");
            }
        }
    }
}

/// Sends to `group` from the host `srca`.
fn sender(lab: &Lab, group: &str) -> Multicast {
    lab.on("srca", || Multicast::sender("eth0", group.parse().expect("a group"), 1))
}

/// The notices of a `type` among events.
fn notices<'a>(events: &'a [Event], kind: &str) -> Vec<&'a Value> {
    let notice = |event: &'a Event| match event {
        Event::Notice(notice) if notice["type"] == kind => Some(notice),
        _ => None,
    };
    events.iter().filter_map(notice).collect()
}
