//! JWTs: signed by those whose keys stand in the set, and good until they expire.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_tungstenite::tungstenite::Message;
use wscast::model::jwt::{sign, sign_with_secret};

use super::{ask, bearer, knock, site, start};
use crate::support::gateway::TestGateway;
use crate::support::lab::{Lab, Multicast, lab_test};
use crate::support::raw::{Raw, TEXT, frame, handshake};
use crate::support::v1::V1Client;

const SECRET: [u8; 32] = [9; 32];

struct Issuer {
    key: Vec<u8>,
    set: Value,
}

impl Issuer {
    fn new() -> Self {
        let key = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("a key").as_ref().to_vec();
        let pair = Ed25519KeyPair::from_pkcs8(&key).expect("the same");
        let public = json!({"kty": "OKP", "crv": "Ed25519", "x": BASE64.encode(pair.public_key().as_ref()), "kid": "ed"});
        let shared = json!({"kty": "oct", "k": BASE64.encode(SECRET), "kid": "hs"});
        Issuer { key, set: json!({"keys": [public, shared]}) }
    }

    fn claims(subject: &Value, seconds: i64) -> serde_json::Map<String, Value> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
        let claims = json!({"sub": subject, "aud": "wscast", "exp": now.saturating_add_signed(seconds)});
        claims.as_object().expect("an object").clone()
    }

    fn token(&self, subject: &str, seconds: i64) -> String {
        sign(&Self::claims(&json!(subject), seconds), &self.key).expect("signed")
    }

    fn gateway<'a>(&self, lab: &'a Lab) -> (TestGateway<'a>, TempDir) {
        let folder = tempfile::tempdir().expect("a folder");
        let keys = folder.path().join("keys.json");
        fs::write(&keys, self.set.to_string()).expect("write the keys");
        let text = site("").replace(
            "streams = [\"cam*\"]\nsessions = 2",
            "subjects = [\"alice\", \"viewers\"]\nstreams = [\"cam*\"]",
        );
        let text =
            format!("{text}[jwt]\nkeys = \"{}\"\naudience = \"wscast\"\nleeway = \"0\"\n", keys.display());
        let (gateway, _) = start(lab, &text, &[]);
        (gateway, folder)
    }
}

lab_test! {
    fn a_jwt_is_as_good_as_a_token(lab) {
        let issuer = Issuer::new();
        let (gateway, _folder) = issuer.gateway(lab);
        let status = |token: &str| ask(&gateway, "HEAD /streams/camera", &[&bearer(token)]).status;
        assert_eq!(status(&issuer.token("alice", 60)), 200);
        let by_secret = sign_with_secret(&Issuer::claims(&json!("viewers"), 60), &SECRET).expect("signed");
        assert_eq!(status(&by_secret), 200);
        assert_eq!(ask(&gateway, "HEAD /streams/secret", &[&bearer(&by_secret)]).status, 404, "the same grant");
        assert_eq!(status(&issuer.token("mallory", 60)), 401);
        assert_eq!(status(&issuer.token("alice", -1)), 401);
        assert_eq!(status(&Issuer::new().token("alice", 60)), 401);
        let mut elsewhere = Issuer::claims(&json!("alice"), 60);
        elsewhere.insert("aud".to_owned(), json!("another"));
        assert_eq!(status(&sign(&elsewhere, &issuer.key).expect("signed")), 401);
        for words in ["no principal has its subject", "it expired at", "no key of the set", "another audience"] {
            gateway.logged(words);
        }
        assert!(!gateway.log().contains(&by_secret));
    }
}

lab_test! {
    fn a_conversation_ends_when_its_token_does(lab) {
        let issuer = Issuer::new();
        let (gateway, _folder) = issuer.gateway(lab);
        let short = issuer.token("alice", 3);
        let source = lab.on("srca", || Multicast::sender("eth0", "239.1.2.3:5000".parse().unwrap(), 1));
        let mut raw =
            Raw::begin(gateway.connect(), handshake(gateway.address, "/streams/camera", &[&bearer(&short)]).as_bytes());
        let v1 = |token: &str| {
            let more = ["Sec-WebSocket-Protocol: wscast.v1", &bearer(token)];
            Raw::begin(gateway.connect(), handshake(gateway.address, "/v1", &more).as_bytes())
        };
        let (mut ends, mut renewed) = (v1(&short), v1(&short));
        let renew = json!({"type": "auth", "id": 1, "token": issuer.token("alice", 600)});
        renewed.send(&frame(TEXT, renew.to_string().as_bytes()));
        let other = json!({"type": "auth", "id": 2, "token": super::WALL});
        renewed.send(&frame(TEXT, other.to_string().as_bytes()));
        gateway.await_joined("gw-lan0", "239.1.2.3:5000");
        source.send(b"in time");
        assert_eq!(raw.frame().payload, b"in time");
        let mut body = gateway.connect();
        let request = format!("GET /streams/camera HTTP/1.1\r\nHost: {}\r\n{}\r\n\r\n", gateway.address, bearer(&short));
        std::io::Write::write_all(&mut body, request.as_bytes()).expect("write the request");
        let mut text = String::new();
        std::io::Read::read_to_string(&mut body, &mut text).expect("an end in order");
        for client in [&mut raw, &mut ends] {
            let (code, reason) = client.closed();
            assert_eq!((code, &*reason), (4401, "unauthorized: the token has expired"));
        }
        // The one that showed a new token in time goes on, and is nobody else.
        let mut notices = Vec::new();
        let ping = json!({"type": "ping", "id": 3});
        renewed.send(&frame(TEXT, ping.to_string().as_bytes()));
        while !notices.iter().any(|notice: &Value| notice["type"] == "pong") {
            notices.push(serde_json::from_slice(&renewed.frame().payload).expect("JSON"));
        }
        let about = |id: u64| notices.iter().find(|notice| notice["id"] == id).expect("an answer").clone();
        assert_eq!((&about(1)["type"], &about(1)["principal"]), (&json!("authenticated"), &json!("viewer")));
        assert_eq!((&about(2)["type"], &about(2)["code"]), (&json!("error"), &json!("bad_token")));
        assert_eq!(knock(&gateway, "/streams/camera", &[&bearer(&short)]), 401);
    }
}

lab_test! {
    fn rs256_of_another_program_opens_the_gateway(lab) {
        let made: Value = serde_json::from_str(include_str!("../../../src/model/jwt/rs256.json")).expect("JSON");
        let folder = tempfile::tempdir().expect("a folder");
        let keys = folder.path().join("keys.json");
        fs::write(&keys, json!({"keys": [made["key"]]}).to_string()).expect("write the keys");
        let text = site("").replace("sessions = 2", "subjects = [\"alice\"]");
        let jwt = format!("[jwt]\nkeys = \"{}\"\naudience = \"wscast\"\nissuer = \"https://sso.example.org\"\n", keys.display());
        let (gateway, _folder) = start(lab, &format!("{text}{jwt}"), &[]);
        let token = made["token"].as_str().expect("a token");
        let mut client = V1Client::with(&gateway, "/v1", &[("authorization", &format!("Bearer {token}"))]);
        client.put(Message::text(json!({"type": "join", "id": 1, "name": "camera"}).to_string()));
        assert_eq!(client.notice("joined")["interface"], "lan0");
    }
}
