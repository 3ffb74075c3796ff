//! What is wrong is answered in words, with a stable code; the connection lives unless it floods.

use std::time::Duration;

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::GROUP;
use crate::support::gateway::TestGateway;
use crate::support::lab::{lab_test, skip};
use crate::support::v1::{Event, V1Client, join_message, open_send_message, send_record};

lab_test! {
    fn every_mistake_is_answered_and_the_connection_lives(lab) {
        let arguments =
            ["--interface", "lan0", "--limit", "streams-per-session=2", "--allow-send", "239.0.0.0/8"];
        let gateway = TestGateway::start(lab, &arguments);
        let mut client = V1Client::open(&gateway);
        for (text, code, words) in [
            ("{", "bad_json", ""),
            ("[1]", "bad_json", ""),
            ("{}", "bad_field", "type"),
            (r#"{"type":"jump","id":3}"#, "unknown_type", "write join"),
            (r#"{"type":7}"#, "bad_field", "type"),
            (r#"{"type":"join","id":"x"}"#, "bad_field", "id"),
            (r#"{"type":"join","group":"10.0.0.1","port":5000}"#, "bad_field", "multicast"),
            (r#"{"type":"join","group":"239.1.2.3","port":"5000"}"#, "bad_field", "port"),
            (r#"{"type":"join","group":"232.1.2.3","port":5000}"#, "bad_field", "sources"),
            (r#"{"type":"leave","stream":-1}"#, "bad_field", "stream"),
            (r#"{"type":"leave","stream":77}"#, "unknown_stream", "77"),
            (r#"{"type":"credit","stream":77,"datagrams":3}"#, "unknown_stream", "77"),
            (r#"{"type":"close_send","sender":77}"#, "unknown_sender", "77"),
            (r#"{"type":"watch","interval_ms":10}"#, "bad_field", "250"),
        ] {
            client.put(Message::text(text));
            let error = client.notice("error");
            assert_eq!(error["code"], code, "{text}: {error}");
            assert!(error["message"].as_str().expect("words").contains(words), "{text}: {error}");
            assert_eq!(error["retry"], false, "{text}: {error}");
        }
        for (message, code) in [
            (join_message("239.255.255.250:5000", &json!({"id": 5})), "not_allowed"),
            (join_message(GROUP, &json!({"id": 6, "interface": "nowhere"})), "no_interface"),
            (open_send_message("[ff15::1]:5000", &json!({"id": 7})), "not_allowed"),
            (open_send_message(GROUP, &json!({"id": 8, "ttl": 200})), "not_allowed"),
            (open_send_message(GROUP, &json!({"id": 9, "interface": "all"})), "bad_field"),
        ] {
            let error = client.refused(&message);
            assert_eq!(error["code"], code, "{message}: {error}");
        }
        let joined = client.join(GROUP, &json!({"id": 10}));
        let twice = client.refused(&join_message(GROUP, &json!({"id": 11})));
        assert_eq!((&twice["code"], &twice["stream"]), (&json!("already_joined"), &joined["stream"]));
        client.join("239.1.2.4:5000", &json!({"id": 12}));
        let third = client.refused(&join_message("239.1.2.5:5000", &json!({"id": 13})));
        assert_eq!(third["code"], "too_many_streams");
        client.ask(&open_send_message(GROUP, &json!({"id": 14})), "sender");
        client.ask(&open_send_message(GROUP, &json!({"id": 15})), "sender");
        let third = client.refused(&open_send_message(GROUP, &json!({"id": 16})));
        assert_eq!(third["code"], "too_many_senders");
        assert!(client.settle().is_empty());
    }
}

lab_test! {
    fn records_that_can_not_be_sent_are_counted_and_told_once_a_second(lab) {
        let gateway = TestGateway::start(lab, &["--interface", "lan0", "--allow-send", "239.0.0.0/8"]);
        let mut client = V1Client::open(&gateway);
        let sender = client.ask(&open_send_message(GROUP, &json!({})), "sender");
        let mut expected = std::collections::BTreeMap::<&str, u64>::new();
        let mut put = |client: &mut V1Client, code, bytes: Vec<u8>| {
            client.put(Message::binary(bytes));
            *expected.entry(code).or_default() += 1;
        };
        put(&mut client, "unknown_sender", send_record(&json!({"sender": 99}), b"x"));
        put(&mut client, "bad_record", Vec::new());
        put(&mut client, "bad_record", vec![3, 0, 9]);
        put(&mut client, "bad_record", vec![3, 0, 9, 0, 1, 0, 0, 0, 1]);
        put(&mut client, "bad_record", vec![1; 60]);
        put(&mut client, "bad_record", vec![3, 1, 0, 0, 1, 0, 0, 0]);
        put(&mut client, "too_large", send_record(&sender, &[0; 1453]));
        put(&mut client, "too_large", send_record(&sender, &[0; 1453]));
        let mut told = std::collections::BTreeMap::<String, u64>::new();
        while told.values().sum::<u64>() < 8 {
            let error: Value = client.notice("error");
            *told.entry(error["code"].as_str().expect("a code").to_owned()).or_default() +=
                error["datagrams"].as_u64().expect("a number");
        }
        assert_eq!(told.iter().map(|(code, count)| (code.as_str(), *count)).collect::<Vec<_>>(),
            expected.into_iter().collect::<Vec<_>>());
        let books = &gateway.status()["sessions"][0]["senders"][0];
        assert_eq!((&books["accepted"], &books["refused"]["size"]), (&json!(2), &json!(2)), "{books:#}");
    }
}

lab_test! {
    fn floods_and_long_texts_end_it(lab) {
        let gateway = TestGateway::start(lab, &["--interface", "lan0", "--limit", "control-messages=10"]);
        let mut client = V1Client::open(&gateway);
        for _ in 0..40 {
            client.put(Message::text(r#"{"type":"ping"}"#));
        }
        let (code, reason) = client.closed();
        assert_eq!((code, reason.starts_with("flood: ")), (1008, true), "{reason}");
        for (bytes, code, word) in [(4097, 4400, "too_long: "), (70_000, 1009, "message_too_large: ")] {
            let mut client = V1Client::open(&gateway);
            let text = format!(r#"{{"type":"ping","more":"{}"}}"#, "x".repeat(bytes - 25));
            assert_eq!(text.len(), bytes);
            client.put(Message::text(text));
            let (closed, reason) = client.closed();
            assert_eq!((closed, reason.starts_with(word)), (code, true), "{reason}");
        }
        let mut client = V1Client::open(&gateway);
        let text = format!(r#"{{"type":"ping","id":1,"more":"{}"}}"#, "x".repeat(4096 - 32));
        assert_eq!(text.len(), 4096);
        client.put(Message::text(text));
        client.notice("pong");
    }
}

lab_test! {
    fn what_the_kernel_refuses_is_told_in_its_words_and_works_once_it_may(lab) {
        if skip("nft", "nftables") {
            return;
        }
        let gateway = TestGateway::start(lab, &["--interface", "lan0", "--allow-send", "239.0.0.0/8"]);
        let mut client = V1Client::open(&gateway);
        // A socket may have so many source filters; one more needs `sysctl net.ipv4.igmp_max_msf`.
        let sources: Vec<_> = (1..=16).map(|number| format!("10.1.0.{number}")).collect();
        let many = json!({"id": 1, "sources": sources});
        let error = client.refused(&join_message("232.1.2.3:5000", &many));
        assert_eq!(error["code"], "join_failed", "{error}");
        assert!(error["message"].as_str().expect("words").contains("igmp_max_msf"), "{error}");
        client.join("232.1.2.3:5000", &json!({"id": 2, "sources": sources[..10]}));

        let sender = client.ask(&open_send_message(GROUP, &json!({"id": 3})), "sender");
        lab.sh(
            "ip netns exec gw nft 'add table inet t; add chain inet t out { type filter hook output priority 0; }; \
             add rule inet t out udp dport 5000 drop'",
        );
        for _ in 0..3 {
            client.put(Message::binary(send_record(&sender, b"dropped")));
        }
        let mut told = 0;
        while told < 3 {
            let error = client.notice("error");
            assert_eq!((&error["code"], &error["sender"]), (&json!("send_failed"), &sender["sender"]), "{error}");
            told += error["datagrams"].as_u64().expect("a number");
        }
        lab.sh("ip netns exec gw nft delete table inet t");
        client.put(Message::binary(send_record(&sender, b"sent")));
        let status = gateway.status_with("all four", |status| status["sessions"][0]["senders"][0]["accepted"] == 4);
        let books = &status["sessions"][0]["senders"][0];
        assert_eq!((&books["sent"], &books["refused"]["kernel"]), (&json!(1), &json!(3)), "{books:#}");
    }
}

lab_test! {
    fn a_session_that_stays_over_its_rate_is_closed(lab) {
        let flags = ["--interface", "lan0", "--allow-send", "239.0.0.0/8", "--limit", "send-rate-per-session=5/s"];
        let gateway = TestGateway::start(lab, &flags);
        let mut client = V1Client::open(&gateway);
        let sender = client.ask(&open_send_message(GROUP, &json!({})), "sender");
        let record = send_record(&sender, b"again");
        let events = std::iter::repeat_with(|| {
            client.put(Message::binary(record.clone()));
            client.next_within(Duration::from_millis(20))
        });
        let close = events.take(2000).flatten().find_map(|event| match event {
            Event::Close(code, reason) => Some((code, reason)),
            _ => None,
        });
        let (code, reason) = close.expect("a close");
        assert!(code == 4529 && reason.starts_with("rate: "), "{code} {reason}");
        let closed = &gateway.closed(1)[0];
        let books = &closed["senders"][0];
        assert!(books["refused"]["rate"].as_u64() > books["sent"].as_u64(), "{closed:#}");
    }
}
