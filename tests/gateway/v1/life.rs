//! Coming back, watching, and the gateway's end.

use serde_json::{Value, json};

use super::{GROUP, notices};
use crate::support::flow::{Flow, number_of, numbered};
use crate::support::gateway::TestGateway;
use crate::support::lab::lab_test;
use crate::support::v1::{V1Client, join_message};

/// A client on the thread that `run` names: only its numbers can be resumed.
fn back(gateway: &TestGateway<'_>, run: &Value) -> V1Client {
    let mut others = Vec::new();
    loop {
        let client = V1Client::open(gateway);
        if client.hello["gateway"] == *run {
            return client;
        }
        // It stays, so that its thread is not the emptiest.
        others.push(client);
        assert!(others.len() < 64, "no way back to {run}");
    }
}

lab_test! {
    fn resume_goes_on_behind_the_last_record(lab) {
        let gateway = TestGateway::start(lab, &["--interface", "lan0"]);
        let mut flow = Flow::start(lab, &gateway, GROUP);
        let mut client = V1Client::open(&gateway);
        let joined = client.join(GROUP, &json!({}));
        flow.burst(40, 60);
        for _ in 0..40 {
            flow.witnessed();
        }
        let mut last = 0;
        for _ in 0..25 {
            last = client.record_of(&joined).sequence;
        }
        let gateway_id = client.hello["gateway"].clone();
        client.close();
        flow.send(30, 60);
        // Some of a message had come, and the connection broke in it.
        let resume = json!({"gateway": gateway_id, "stream": joined["stream"], "after": last});
        let mut client = back(&gateway, &gateway_id);
        let again = client.join(GROUP, &json!({"resume": resume}));
        assert_eq!((&again["stream"], &again["next_sequence"]), (&joined["stream"], &json!(last + 1)));
        for number in 25..70 {
            let record = client.record_of(&again);
            assert_eq!((number_of(&record.payload), u64::from(record.sequence)), (number, number));
        }
        flow.send(3, 60);
        for number in 70..73 {
            assert_eq!(number_of(&client.record_of(&again).payload), number);
        }
        assert!(notices(&client.settle(), "lost").is_empty(), "nothing was lost");
        client.close();
        // Of another run, or what never was: the gap can't be known.
        for (field, value) in [("gateway", json!("another")), ("stream", json!(9999)), ("after", json!(100_000))] {
            let mut resume = resume.clone();
            resume[field] = value;
            let mut client = V1Client::open(&gateway);
            let again = client.join(GROUP, &json!({"resume": resume, "replay": "2"}));
            let lost = client.notice("lost");
            assert_eq!((&lost["where"], &lost["datagrams"]), (&json!("unknown"), &Value::Null), "{lost}");
            for number in 71..73 {
                assert_eq!(number_of(&client.record_of(&again).payload), number, "replay counts");
            }
            client.close();
        }
    }
}

lab_test! {
    fn resume_tells_what_is_not_held_any_more(lab) {
        let gateway = TestGateway::start(lab, &["--interface", "lan0", "--limit", "replay-bytes=5000"]);
        let mut flow = Flow::start(lab, &gateway, GROUP);
        let mut client = V1Client::open(&gateway);
        let joined = client.join(GROUP, &json!({}));
        flow.send(1, 960);
        let last = client.record_of(&joined).sequence;
        let gateway_id = client.hello["gateway"].clone();
        let resume = json!({"gateway": gateway_id, "stream": joined["stream"], "after": last});
        client.close();
        flow.send(20, 960);
        let mut client = back(&gateway, &gateway_id);
        let again = client.join(GROUP, &json!({"resume": resume}));
        let lost = client.notice("lost");
        assert_eq!(lost["where"], "client");
        let lost = lost["datagrams"].as_u64().expect("a number");
        assert!((15..20).contains(&lost), "{lost}");
        assert_eq!(again["next_sequence"], u64::from(last) + 1 + lost);
        for number in 1 + lost..21 {
            assert_eq!(number_of(&client.record_of(&again).payload), number);
        }
    }
}

lab_test! {
    fn replay_begins_with_exactly_the_last_ones(lab) {
        let gateway = TestGateway::start(lab, &["--interface", "lan0", "--hold", "50ms"]);
        let mut flow = Flow::start(lab, &gateway, GROUP);
        let mut first = V1Client::open(&gateway);
        first.join(GROUP, &json!({}));
        flow.burst(50, 60);
        for _ in 0..50 {
            flow.witnessed();
        }
        for (replay, count) in [("0", 0), ("1", 1), ("7", 7), ("49", 49), ("1000", 50), ("10s", 50)] {
            let mut client = V1Client::open(&gateway);
            let joined = client.join(GROUP, &json!({"replay": replay}));
            assert_eq!(joined["next_sequence"], 50 - count, "replay={replay}");
            for number in 50 - count..50 {
                assert_eq!(number_of(&client.record_of(&joined).payload), number, "replay={replay}");
            }
            assert!(client.settle().is_empty());
        }
    }
}

lab_test! {
    fn the_status_is_watched(lab) {
        let gateway = TestGateway::start(lab, &["--interface", "lan0", "--threads", "2"]);
        let mut client = V1Client::open(&gateway);
        client.join(GROUP, &json!({}));
        client.say(&json!({"type": "auth", "id": 1, "token": "whatever"}));
        client.say(&json!({"type": "watch", "id": 5, "interval_ms": 250}));
        for _ in 0..3 {
            let status = client.notice("status");
            assert_eq!(status["id"], 5);
            // The hello names the shard besides.
            let run = client.hello["gateway"].as_str().expect("a name");
            assert!(run.starts_with(status["status"]["gateway"]["id"].as_str().expect("a name")), "{run}");
            assert_eq!(status["status"]["streams"][0]["group"], GROUP);
            assert_eq!(status["status"]["sessions"][0]["subscriptions"][0]["group"], GROUP);
        }
        client.say(&json!({"type": "watch", "id": 6, "interval_ms": 0}));
        client.settle();
        assert!(client.next_within(std::time::Duration::from_millis(700)).is_none(), "it has ended");
    }
}

lab_test! {
    fn draining_is_told_before_the_end(lab) {
        let mut gateway = TestGateway::start(lab, &["--interface", "lan0"]);
        let mut clients: Vec<_> = (0..3).map(|_| V1Client::open(&gateway)).collect();
        for client in &mut clients {
            client.join(GROUP, &json!({}));
        }
        gateway.signal("TERM");
        for client in &mut clients {
            let after = client.notice("draining")["reconnect_after_ms"].as_u64().expect("a time");
            assert!((200..=2000).contains(&after), "{after}");
            let (code, reason) = client.closed();
            assert_eq!((code, reason.starts_with("draining: ")), (1001, true));
        }
        drop(clients);
        assert!(gateway.wait().success());
    }
}

lab_test! {
    fn joins_come_as_fast_as_they_may(lab) {
        let gateway = TestGateway::start(lab, &[
            "--interface", "lan0", "--limit", "join-rate=1", "--limit", "streams-per-session=4", "--limit", "streams=5",
            "--limit", "control-messages=off",
        ]);
        let mut client = V1Client::open(&gateway);
        for number in 1..=4 {
            client.join(&format!("239.1.2.{number}:5000"), &json!({"id": number}));
        }
        let mut other = V1Client::open(&gateway);
        let error = other.refused(&join_message("239.1.2.5:5000", &json!({"id": 5})));
        assert_eq!((&error["code"], &error["retry"]), (&json!("join_rate"), &json!(true)));
        // What is joined already costs nothing.
        other.join("239.1.2.4:5000", &json!({"id": 6}));
        let mut id = 7;
        let error = loop {
            id += 1;
            let message = join_message(&format!("239.1.3.{}:5000", id % 200), &json!({"id": id}));
            other.say(&message);
            let events = other.settle();
            if let Some(joined) = notices(&events, "joined").first() {
                assert_eq!(joined["id"], id);
                continue;
            }
            let error = notices(&events, "error")[0].clone();
            if error["code"] != "join_rate" {
                break error;
            }
        };
        assert_eq!((&error["code"], &error["retry"]), (&json!("overloaded"), &json!(true)));
    }
}

lab_test! {
    fn numbered_payloads_of_all_sizes_arrive(lab) {
        let gateway = TestGateway::start(lab, &["--interface", "lan0"]);
        let mut flow = Flow::start(lab, &gateway, GROUP);
        let mut client = V1Client::open(&gateway);
        let joined = client.join(GROUP, &json!({}));
        for length in [8, 100, 1316, 1472, 9000, 40_000, 65_507] {
            let sent = flow.send(3, length);
            for number in sent {
                assert_eq!(client.record_of(&joined).payload, numbered(number, length));
            }
        }
    }
}
