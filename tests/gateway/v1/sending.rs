//! What clients send over one connection, and who answers.

use std::net::{SocketAddr, UdpSocket};

use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use super::GROUP;
use crate::support::gateway::TestGateway;
use crate::support::lab::{Receiver, lab_test};
use crate::support::v1::{Event, V1Client, open_send_message, send_record};

lab_test! {
    fn records_leave_by_their_sender_in_order(lab) {
        let gateway = TestGateway::start(lab, &[
            "--interface", "lan0", "--allow-send", "239.0.0.0/8", "--allow-send", "[ff15::]/16",
            "--allow-send", "232.0.0.0/8", "--max-ttl", "9",
        ]);
        let groups = [(GROUP, "10.1.0.1"), ("[ff15::42]:5000", "fd01::1"), ("232.1.2.3:5000", "10.1.0.1")];
        let ears = groups.map(|(group, _)| {
            let group: SocketAddr = group.parse().expect("a group");
            let ears = if group.ip().to_string().starts_with("232.") {
                lab.on("srca", || Receiver::join_source("eth0", group, "10.1.0.1".parse().unwrap()))
            } else {
                lab.on("srca", || Receiver::join("eth0", group))
            };
            lab.await_member("srca-eth0", group.ip());
            ears
        });
        let mut client = V1Client::open(&gateway);
        let senders = groups.map(|(group, source)| {
            let opened = client.ask(&open_send_message(group, &json!({"id": 4, "ttl": 5, "loop": false})), "sender");
            assert_eq!(opened["interface"], "lan0");
            let from: SocketAddr = opened["source"].as_str().expect("text").parse().expect("an address");
            assert_eq!(from.ip().to_string(), source);
            (opened, from)
        });
        // Several records share a message, of several senders.
        let mut message = Vec::new();
        for number in 0..4_u8 {
            for (sender, _) in &senders {
                message.extend(send_record(sender, &[number; 10]));
            }
        }
        client.put(Message::binary(message));
        client.put(Message::binary(send_record(&senders[0].0, b"")));
        for (place, ears) in ears.iter().enumerate() {
            for number in 0..4_u8 {
                let heard = ears.recv();
                assert_eq!(heard.payload, [number; 10]);
                assert_eq!(heard.source.port(), senders[place].1.port());
            }
        }
        assert_eq!(ears[0].recv().payload, b"");
        // What is closed sends nothing; what came before the close has left.
        client.put(Message::binary(send_record(&senders[0].0, b"last")));
        client.ask(&json!({"type": "close_send", "id": 5, "sender": senders[0].0["sender"]}), "sender_closed");
        client.put(Message::binary(send_record(&senders[0].0, b"too late")));
        let error = client.notice("error");
        assert_eq!((&error["code"], &error["sender"]), (&json!("unknown_sender"), &senders[0].0["sender"]));
        assert_eq!(ears[0].recv().payload, b"last");
        let session = &gateway.status()["sessions"][0];
        assert_eq!((&session["ended"]["accepted"], &session["ended"]["sent"]), (&json!(6), &json!(6)), "{session:#}");
        assert_eq!(session["senders"].as_array().map(Vec::len), Some(2));
    }
}

lab_test! {
    fn answers_come_back_to_their_sender(lab) {
        let gateway = TestGateway::start(lab, &["--interface", "lan0", "--allow-send", "239.0.0.0/8"]);
        let address: SocketAddr = GROUP.parse().unwrap();
        let responder = lab.on("srca", || Receiver::join("eth0", address));
        lab.await_member("srca-eth0", address.ip());
        let own = lab.on("srca", || UdpSocket::bind("0.0.0.0:0").expect("a UDP socket"));
        let mut client = V1Client::open(&gateway);
        let deaf = client.ask(&open_send_message(GROUP, &json!({"id": 1})), "sender");
        let hearing = client.ask(&open_send_message(GROUP, &json!({"id": 2, "replies": true})), "sender");
        for (sender, question) in [(&deaf, b"without"), (&hearing, b"replies")] {
            client.put(Message::binary(send_record(sender, question)));
            let heard = responder.recv();
            assert_eq!(heard.payload, question);
            for number in 0..3_u8 {
                own.send_to(&[&question[..], &[number]].concat(), heard.source).expect("send an answer");
            }
        }
        for number in 0..3_u8 {
            let Event::Record(record) = client.next() else { panic!("an answer") };
            assert_eq!((record.kind, record.sequence), (2, u32::from(number)));
            assert_eq!(u64::from(record.number), hearing["sender"].as_u64().unwrap());
            assert_eq!(record.payload, [&b"replies"[..], &[number]].concat());
            assert_eq!(record.source, SocketAddr::from(([10, 1, 0, 2], own.local_addr().unwrap().port())));
        }
        assert!(client.settle().is_empty());
    }
}

lab_test! {
    fn one_session_has_one_rate_however_many_senders(lab) {
        let gateway = TestGateway::start(lab, &[
            "--interface", "lan0", "--allow-send", "239.0.0.0/8", "--limit", "send-rate-per-session=10",
        ]);
        let mut client = V1Client::open(&gateway);
        let senders: Vec<_> = (1..=4)
            .map(|n| client.ask(&open_send_message(&format!("239.1.2.{n}:5000"), &json!({"id": n})), "sender"))
            .collect();
        let message: Vec<u8> = (0..100).flat_map(|n| send_record(&senders[n % 4], b"x")).collect();
        client.put(Message::binary(message));
        let mut told = 0;
        let books = || {
            let session = gateway.status()["sessions"][0].clone();
            let sum = |field: &dyn Fn(&serde_json::Value) -> u64| {
                session["senders"].as_array().expect("a list").iter().map(field).sum::<u64>()
            };
            let refused = sum(&|sender| sender["refused"]["rate"].as_u64().unwrap());
            (sum(&|sender| sender["accepted"].as_u64().unwrap()), sum(&|sender| sender["sent"].as_u64().unwrap()), refused)
        };
        client.settle();
        let (accepted, sent, refused) = books();
        assert_eq!((accepted, accepted), (100, sent + refused));
        assert!((20..30).contains(&sent), "{sent} of a burst of 20");
        while told < refused {
            let error = client.notice("error");
            assert_eq!(error["code"], "rate");
            told += error["datagrams"].as_u64().expect("a number");
        }
        assert_eq!(told, refused);
    }
}
