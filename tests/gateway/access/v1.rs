//! `/v1`: who it is, said in the first message, and streams by name.

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use wscast::model::record::SendRecord;

use super::{ADMIN, VIEWER, WALL, ask, bearer, closed, knock, site, start};
use crate::support::gateway::TestGateway;
use crate::support::lab::{Multicast, Receiver, lab_test};
use crate::support::raw::{BINARY, Raw, TEXT, frame, handshake};
use crate::support::v1::{V1Client, join_message, open_send_message};

const V1: &str = "Sec-WebSocket-Protocol: wscast.v1";

fn open(gateway: &TestGateway<'_>) -> Raw {
    Raw::begin(gateway.connect(), handshake(gateway.address, "/v1", &[V1]).as_bytes())
}

fn say(client: &mut Raw, message: &Value) {
    client.send(&frame(TEXT, message.to_string().as_bytes()));
}

fn hear(client: &mut Raw) -> Value {
    serde_json::from_slice(&client.frame().payload).expect("JSON")
}

lab_test! {
    fn the_first_message_says_who_it_is_within_five_seconds(lab) {
        let (gateway, _folder) = start(lab, &site(""), &[]);
        let silent = open(&gateway);
        let mut client = open(&gateway);
        say(&mut client, &json!({"type": "auth", "id": 5, "token": WALL}));
        let hello = hear(&mut client);
        assert_eq!((&hello["type"], &hello["limits"]["streams"]), (&json!("hello"), &json!(1)), "{hello}");
        assert_eq!(hear(&mut client), json!({"type": "authenticated", "id": 5, "principal": "wall", "expires": null}));
        for (first, code) in [
            (frame(TEXT, json!({"type": "ping"}).to_string().as_bytes()), 4401),
            (frame(TEXT, join_message("239.7.2.3:5000", &json!({"id": 1})).to_string().as_bytes()), 4401),
            (frame(BINARY, &[3, 0, 0, 0, 1, 0, 0, 0]), 4401),
            (frame(TEXT, json!({"type": "auth", "token": "wrong"}).to_string().as_bytes()), 4401),
        ] {
            let mut client = open(&gateway);
            client.send(&first);
            assert_eq!(client.closed().0, code, "{first:?}");
        }
        let mut silent = silent;
        let (code, reason) = silent.closed();
        assert_eq!((code, reason.starts_with("auth_timeout: ")), (4408, true), "{reason}");
        // A token that is wrong in the handshake is refused there, or in band for a page.
        assert_eq!(knock(&gateway, "/v1", &[V1, &bearer("wrong")]), 401);
        assert_eq!(closed(&gateway, "/v1", &[V1, &bearer("wrong")]).0, 4401);
        for _ in 0..2 {
            assert_eq!(knock(&gateway, "/v1", &[V1, &bearer("wrong")]), 401);
        }
        let mut late = open(&gateway);
        say(&mut late, &json!({"type": "auth", "token": VIEWER}));
        let (code, reason) = late.closed();
        assert_eq!((code, reason.starts_with("too_many: ")), (4529, true), "{reason}");
    }
}

lab_test! {
    fn a_stream_can_be_joined_by_its_name(lab) {
        let (gateway, _folder) = start(lab, &site(""), &[]);
        let with = |token: &str| V1Client::with(&gateway, "/v1", &[("authorization", &format!("Bearer {token}"))]);
        let mut client = with(VIEWER);
        let joined = client.ask(&json!({"type": "join", "id": 1, "name": "camera"}), "joined");
        gateway.await_joined("gw-lan0", "239.1.2.3:5000");
        let source = lab.on("srca", || Multicast::sender("eth0", "239.1.2.3:5000".parse().unwrap(), 1));
        source.send(b"by name");
        let record = client.record();
        assert_eq!((json!(record.number), &record.payload[..]), (joined["stream"].clone(), &b"by name"[..]));
        // The group itself is not this client's to choose, and what it may not see is as if it were not there.
        assert_eq!(client.refused(&join_message("239.1.2.3:5000", &json!({"id": 2})))["code"], "not_allowed");
        let unseen = client.refused(&json!({"type": "join", "id": 3, "name": "secret"}));
        let mut unknown = client.refused(&json!({"type": "join", "id": 4, "name": "nothing"}));
        unknown["id"] = json!(3);
        assert_eq!((unseen["code"].as_str(), &unseen), (Some("no_such_stream"), &unknown));
        for wrong in [
            json!({"type": "join", "id": 5, "name": "a/b"}),
            json!({"type": "join", "id": 5, "name": "camera", "group": "239.1.2.3", "port": 5000}),
            json!({"type": "join", "id": 5, "name": 7}),
        ] {
            assert_eq!(client.refused(&wrong)["code"], "bad_field", "{wrong}");
        }
        assert_eq!(client.refused(&json!({"type": "watch", "id": 6, "interval_ms": 1000}))["code"], "not_allowed");
        assert_eq!(client.refused(&open_send_message("239.7.2.3:5000", &json!({"id": 7})))["code"], "not_allowed");

        let mut wall = with(WALL);
        assert_eq!(wall.hello["limits"]["streams"], 1);
        wall.ask(&open_send_message("239.7.2.3:5000", &json!({"id": 1, "ttl": 2})), "sender");
        assert_eq!(wall.refused(&open_send_message("239.7.2.3:5000", &json!({"id": 2})))["code"], "too_many_senders");
        wall.join("239.7.2.3:5000", &json!({"id": 3}));
        assert_eq!(wall.refused(&join_message("239.7.2.4:5000", &json!({"id": 4})))["code"], "too_many_streams");
        // To a name, where the name may be sent to; to its group not.
        let mut wall = with(WALL);
        assert_eq!(wall.refused(&open_send_message("239.1.2.3:5000", &json!({"id": 1})))["code"], "not_allowed");
        let unseen = wall.refused(&json!({"type": "open_send", "id": 2, "name": "secret"}));
        let mut unknown = wall.refused(&json!({"type": "open_send", "id": 3, "name": "nothing"}));
        unknown["id"] = json!(2);
        assert_eq!((unseen["code"].as_str(), &unseen), (Some("no_such_stream"), &unknown));
        assert_eq!(client.refused(&json!({"type": "open_send", "id": 8, "name": "camera"}))["code"], "not_allowed");
        let opened = wall.ask(&json!({"type": "open_send", "id": 4, "name": "camera"}), "sender");
        let receiver = lab.on("srca", || Receiver::join("eth0", "239.1.2.3:5000".parse().unwrap()));
        lab.await_member("srca-eth0", "239.1.2.3".parse().unwrap());
        let number = u32::try_from(opened["sender"].as_u64().expect("a number")).expect("a small one");
        let mut record = bytes::BytesMut::new();
        SendRecord { sender: number, payload: b"to a name" }.put(&mut record);
        wall.put(Message::binary(record.freeze()));
        assert_eq!(receiver.recv().payload, b"to a name");
        let mut admin = with(ADMIN);
        let status = admin.ask(&json!({"type": "watch", "id": 1, "interval_ms": 1000}), "status");
        let sessions = status["status"]["sessions"].as_array().expect("a list").clone();
        let names: Vec<&str> = sessions.iter().filter_map(|session| session["principal"].as_str()).collect();
        assert!(names.contains(&"viewer") && names.contains(&"wall") && names.contains(&"admin"), "{names:?}");
        assert_eq!(ask(&gateway, "HEAD /api/v1/status", &[&bearer(ADMIN)]).status, 200);
    }
}
