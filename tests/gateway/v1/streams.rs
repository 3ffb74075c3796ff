//! Joining and leaving while others flow.

use serde_json::json;

use super::{GROUP, notices, sender};
use crate::support::gateway::{TestGateway, assert_session_balances, assert_stream_balances};
use crate::support::lab::{Multicast, lab_test, wait_for};
use crate::support::v1::{V1Client, join_message, number_in};

lab_test! {
    fn sixteen_streams_of_every_kind_flow_on_one_connection(lab) {
        let gateway = TestGateway::start(lab, &["--limit", "join-rate=off"]);
        let mut client = V1Client::open(&gateway);
        let mut streams = Vec::new();
        for (interface, host, v4, v6) in
            [("lan0", "srca", "10.1.0.2", "fd01::2"), ("lan1", "srcb", "10.2.0.2", "fd02::2")]
        {
            for number in 1..=2 {
                for (group, sources) in [
                    (format!("239.1.2.{number}:5000"), json!([])),
                    (format!("232.1.2.{number}:5000"), json!([v4])),
                    (format!("[ff15::{number}]:5000"), json!([])),
                    (format!("[ff35::{number}]:5000"), json!([v6])),
                ] {
                    let id = streams.len();
                    let joined = client.join(&group, &json!({"id": id, "interface": interface, "sources": sources}));
                    assert_eq!(joined["interface"], interface);
                    let parsed: std::net::SocketAddr = group.parse().expect("a group");
                    let source = lab.on(host, || Multicast::sender("eth0", parsed, 1));
                    streams.push((joined, source, group, format!("gw-{interface}")));
                }
            }
        }
        assert_eq!(streams.len(), 16);
        for (_, _, group, port) in &streams {
            gateway.await_joined(port, group);
        }
        let mut round = 0_u32;
        let mut flow = |client: &mut V1Client, streams: &[(serde_json::Value, Multicast, String, String)]| {
            for _ in 0..20 {
                for (place, (_, source, _, _)) in streams.iter().enumerate() {
                    source.send(format!("{round} to {place}").as_bytes());
                }
                for (place, (joined, ..)) in streams.iter().enumerate() {
                    let payload = client.record_of(joined).payload;
                    assert_eq!(String::from_utf8_lossy(&payload), format!("{round} to {place}"));
                }
                round += 1;
            }
        };
        flow(&mut client, &streams);
        // Half of them leave while all flow.
        let left: Vec<_> = streams.drain(..8).collect();
        for (joined, source, ..) in &left {
            source.send(b"on the way");
            client.ask(&json!({"type": "leave", "id": 1, "stream": joined["stream"]}), "left");
        }
        // What came before a leave is of the same run as what will come after the next join.
        client.settle();
        flow(&mut client, &streams);
        for (_, source, ..) in &left {
            source.send(b"behind");
        }
        flow(&mut client, &streams);
        // And come back.
        for (joined, source, group, port) in left {
            let sources = if group.starts_with("232.") {
                json!([if port == "gw-lan0" { "10.1.0.2" } else { "10.2.0.2" }])
            } else if group.starts_with("[ff35") {
                json!([if port == "gw-lan0" { "fd01::2" } else { "fd02::2" }])
            } else {
                json!([])
            };
            let interface = joined["interface"].clone();
            let again = client.join(&group, &json!({"id": 99, "interface": interface, "sources": sources}));
            streams.push((again, source, group, port));
        }
        flow(&mut client, &streams);
        let status = gateway.status();
        for stream in status["streams"].as_array().expect("a list") {
            assert_stream_balances(stream);
        }
        let session = &status["sessions"][0];
        assert_eq!(session["subscriptions"].as_array().map(Vec::len), Some(16));
        let (published, written, lost) = assert_session_balances(session);
        assert_eq!((published, lost), (written, 0), "{session:#}");
        let ended = &session["ended"];
        let number = |field: &str| ended[field].as_u64().expect("a number");
        assert_eq!(number("published"), number("written") + number("withheld") + ended["lost"]["closed"].as_u64().unwrap());
    }
}

lab_test! {
    fn all_interfaces_answer_one_joined_each(lab) {
        let gateway = TestGateway::start(lab, &[]);
        let mut client = V1Client::open(&gateway);
        let message = join_message(GROUP, &json!({"id": 3, "interface": "all"}));
        client.say(&message);
        let mut interfaces = Vec::new();
        let events = client.settle();
        for joined in notices(&events, "joined") {
            assert_eq!(joined["id"], 3);
            interfaces.push(joined["interface"].as_str().expect("a name").to_owned());
        }
        interfaces.sort();
        assert_eq!(interfaces, ["lan0", "lan1", "lo", "mgmt0"]);
        // Each of them is there already.
        client.say(&message);
        let events = client.settle();
        assert_eq!(notices(&events, "error").len(), 4, "{events:?}");
        assert!(notices(&events, "error").iter().all(|error| error["code"] == "already_joined"));
    }
}

lab_test! {
    fn a_page_that_is_reloaded_leaves_nothing_on_the_wire(lab) {
        let gateway = TestGateway::start(lab, &["--interface", "lan0"]);
        let mut client = V1Client::open(&gateway);
        let first = client.join(GROUP, &json!({}));
        gateway.await_joined("gw-lan0", GROUP);
        client.close();
        let mut client = V1Client::open(&gateway);
        let second = client.join(GROUP, &json!({}));
        assert_eq!(first["stream"], second["stream"], "the stream went on");
        let source = sender(lab, GROUP);
        source.send(b"still here");
        assert_eq!(client.record_of(&second).payload, b"still here");
        let threads = gateway.status()["gateway"]["threads"].as_u64().and_then(|count| usize::try_from(count).ok());
        client.close();
        wait_for("the switch to forget the group", std::time::Duration::from_secs(30), || {
            (!lab.is_member("gw-lan0", "239.1.2.3".parse().unwrap())).then_some(())
        });
        assert_eq!(Some(gateway.log().matches(" joined ").count()), threads, "one join of each thread for both");
    }
}

lab_test! {
    fn excluded_sources_are_not_heard_and_make_a_stream_of_their_own(lab) {
        let gateway = TestGateway::start(lab, &["--interface", "lan0"]);
        let mut client = V1Client::open(&gateway);
        let all = client.join(GROUP, &json!({"id": 1}));
        let without = client.join(GROUP, &json!({"id": 2, "exclude": ["10.1.0.2"]}));
        assert_ne!(number_in(&all), number_in(&without));
        gateway.await_joined("gw-lan0", GROUP);
        sender(lab, GROUP).send(b"from a");
        let other = lab.on("srcc", || Multicast::sender("eth0", GROUP.parse().unwrap(), 1));
        other.send(b"from c");
        assert_eq!(client.record_of(&without).payload, b"from c");
        assert_eq!(client.record_of(&all).payload, b"from a");
        assert_eq!(client.record_of(&all).payload, b"from c");
    }
}
