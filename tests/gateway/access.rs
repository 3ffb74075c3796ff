//! Who may do what: tokens in every way that they travel, what each principal may, and what others learn.

mod browsers;
mod jwt;
mod tls;
mod v1;

use std::fmt::Write as _;
use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde_json::{Value, json};
use tempfile::TempDir;
use wscast::model::token::TokenDigest;

use crate::support::client::WebSocket;
use crate::support::gateway::{Answer, TestGateway};
use crate::support::lab::{Lab, Multicast, lab_test};
use crate::support::raw::{Raw, handshake};

const VIEWER: &str = "token-of-the-viewer-which-is-long-enough";
const WALL: &str = "token-of-the-wall-which-is-long-enough-too";
const ADMIN: &str = "token-of-the-operator-with-everything-open";

/// Principals as a site has them, and two streams with a name.
fn site(extra: &str) -> String {
    let mut text = String::from("listen = [\"10.9.0.1:0\"]\ninterface = \"lan0\"\n");
    text.push_str(extra);
    text.push_str(
        "\n[limits]\nconnection-rate-per-address = \"off\"\n\
         [streams.camera]\ngroup = \"239.1.2.3:5000\"\n[streams.secret]\ngroup = \"239.1.2.4:5000\"\n",
    );
    for (name, token, grants) in [
        ("viewer", VIEWER, "streams = [\"cam*\"]\nsessions = 2"),
        (
            "wall",
            WALL,
            "receive = [\"239.7.0.0/16\", { groups = \"239.8.0.0/16\", interfaces = [\"lan1\"] }, \
             { groups = \"232.0.0.0/8\", sources = [\"10.1.0.0/24\"] }]\nsend = [\"239.7.0.0/16:5000\"]\n\
             streams = [\"camera\"]\nsend-streams = [\"camera\"]\nmax-ttl = 2\nstreams-per-session = 1",
        ),
        (
            "admin",
            ADMIN,
            "receive = [\"224.0.0.0/4\", \"ff00::/8\"]\nsend = [\"224.0.0.0/4\"]\nstreams = [\"*\"]\nstatus = true",
        ),
    ] {
        let digest = TokenDigest::of(token.as_bytes());
        write!(text, "[principals.{name}]\ntokens = [\"{digest}\"]\n{grants}\n").expect("text");
    }
    text
}

/// A gateway with that configuration, in a folder that lives as long.
fn start<'a>(lab: &'a Lab, text: &str, arguments: &[&str]) -> (TestGateway<'a>, TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("wscast.toml");
    fs::write(&path, text).expect("write the configuration");
    let path = path.display().to_string();
    (TestGateway::start_with(lab, &[&["--config", &path][..], arguments].concat()), folder)
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}")
}

/// The answer to a plain request with further header lines.
fn ask(gateway: &TestGateway<'_>, request: &str, more: &[&str]) -> Answer {
    let more: String = more.iter().map(|line| format!("{line}\r\n")).collect();
    let host = gateway.address;
    gateway.ask(&format!("{request} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{more}\r\n"))
}

/// The status that answers a handshake.
fn knock(gateway: &TestGateway<'_>, path: &str, more: &[&str]) -> u16 {
    Answer::to(&mut gateway.connect(), &handshake(gateway.address, path, more)).status
}

/// The close that answers a page.
fn closed(gateway: &TestGateway<'_>, path: &str, more: &[&str]) -> (u16, String) {
    let origin = format!("Origin: http://{}", gateway.address);
    let request = handshake(gateway.address, path, &[&[&*origin], more].concat());
    Raw::begin(gateway.connect(), request.as_bytes()).closed()
}

lab_test! {
    fn a_token_opens_what_its_principal_may_and_nothing_else(lab) {
        let (gateway, _folder) = start(lab, &site(""), &[]);
        let (viewer, wall, admin) = (bearer(VIEWER), bearer(WALL), bearer(ADMIN));
        // A stranger learns that a token is wanted, and nothing of what there is.
        for path in ["/streams/camera", "/streams/nothing", "/udp/239.7.2.3:5000", "/api/v1/status", "/metrics", "/api/v1/interfaces"] {
            let answer = ask(&gateway, &format!("GET {path}"), &[]);
            assert_eq!((answer.status, answer.header("www-authenticate")), (401, Some("bearer")), "{path}: {answer:?}");
            assert!(answer.body.starts_with("unauthorized: this gateway wants a token"), "{answer:?}");
        }
        for path in ["/", "/wscast.js", "/healthz", "/readyz"] {
            assert_eq!(ask(&gateway, &format!("GET {path}"), &[]).status, 200, "{path}");
        }
        // Who may not see a stream hears the same as for one that is not there.
        let [unseen, unknown] =
            ["secret", "nothing"].map(|name| ask(&gateway, &format!("HEAD /streams/{name}"), &[&viewer]));
        assert_eq!((unseen.status, &unseen.head), (404, &unknown.head));
        for (path, status) in [
            ("/streams/camera", 200),
            ("/udp/239.1.2.3:5000", 403),
            ("/udp/239.7.2.3:5000", 403),
            ("/streams/camera?ttl=1&receive=0", 403),
            ("/api/v1/status", 403),
            ("/metrics", 403),
        ] {
            assert_eq!(ask(&gateway, &format!("HEAD {path}"), &[&viewer]).status, status, "{path}");
        }
        for (path, status, interface) in [
            ("/udp/239.7.2.3:5000", 200, Some("lan0")),
            ("/udp/239.8.2.3:5000", 200, Some("lan1")),
            ("/udp/239.8.2.3:5000?interface=all", 200, Some("lan1")),
            ("/udp/239.8.2.3:5000?interface=lan0", 403, None),
            ("/udp/239.8.2.3:5000?interface=nope0", 403, None),
            ("/udp/10.1.0.2@232.1.2.3:5000", 200, Some("lan0")),
            ("/udp/10.2.0.2@232.1.2.3:5000", 403, None),
            ("/udp/239.7.2.3:5000?ttl=2", 200, Some("lan0")),
            ("/udp/239.7.2.3:5000?ttl=3", 403, None),
            ("/udp/239.9.2.3:5000", 403, None),
        ] {
            let answer = ask(&gateway, &format!("HEAD {path}"), &[&wall]);
            assert_eq!((answer.status, answer.header("wscast-interface")), (status, interface), "{path}: {answer:?}");
        }
        // Operators see more; what nothing opens, they don't open either.
        for (path, status) in [
            ("/api/v1/status", 200),
            ("/metrics", 200),
            ("/streams/secret", 200),
            ("/udp/239.9.2.3:5000", 200),
            ("/udp/224.0.0.251:5353", 403),
            ("/udp/224.0.0.1:5000", 403),
            ("/udp/239.9.2.3:5353", 403),
            ("/udp/[ff02::1]:5000?interface=lan0", 403),
        ] {
            assert_eq!(ask(&gateway, &format!("HEAD {path}"), &[&admin]).status, status, "{path}");
        }
        let refused = ask(&gateway, "GET /udp/239.9.2.3:5353", &[&admin]).body;
        assert!(refused.contains("denied: port 5353 (mDNS); receive = [\"239.9.2.3:5353\"] would allow it"), "{refused}");
        for secret in [VIEWER, WALL, ADMIN] {
            assert!(!gateway.log().contains(secret));
        }
    }
}

lab_test! {
    fn a_token_travels_in_every_way_of_the_protocol(lab) {
        let (gateway, _folder) = start(lab, &site(""), &[]);
        let path = "/streams/camera";
        let protocol = |token: &str| format!("Sec-WebSocket-Protocol: wscast.raw, wscast.bearer.{}", BASE64.encode(token));
        let source = lab.on("srca", || Multicast::sender("eth0", "239.1.2.3:5000".parse().unwrap(), 1));
        let ticket = || {
            let answer = ask(&gateway, "POST /api/v1/tickets", &[&bearer(VIEWER)]);
            assert_eq!(answer.status, 200, "{answer:?}");
            let ticket: Value = serde_json::from_str(&answer.body).expect("JSON");
            assert_eq!(ticket["expires_in"], 30);
            ticket["ticket"].as_str().expect("a ticket").to_owned()
        };
        let by_ticket = format!("{path}?token={}", ticket());
        for (path, more) in [(path, bearer(VIEWER)), (path, protocol(VIEWER)), (&*by_ticket, String::new())] {
            let more: Vec<&str> = [&*more].into_iter().filter(|line| !line.is_empty()).collect();
            let mut client = Raw::begin(gateway.connect(), handshake(gateway.address, path, &more).as_bytes());
            let head = client.head.to_lowercase();
            assert!(!head.contains("bearer") && head.contains("wscast.raw") == more.iter().any(|line| line.contains("raw")), "{head}");
            gateway.await_joined("gw-lan0", "239.1.2.3:5000");
            source.send(b"seen");
            assert_eq!(client.frame().payload, b"seen");
        }
        // A ticket is good once, and no token is a ticket.
        assert_eq!(knock(&gateway, &by_ticket, &[]), 401);
        assert_eq!(knock(&gateway, &format!("{path}?token={VIEWER}"), &[]), 401);
        let once = format!("{path}?token={}", ticket());
        assert_eq!(ask(&gateway, &format!("HEAD {once}"), &[]).status, 200);
        assert_eq!(ask(&gateway, &format!("HEAD {once}"), &[]).status, 401);
        assert_eq!(ask(&gateway, "POST /api/v1/tickets", &[]).status, 401);
        assert_eq!(ask(&gateway, "GET /api/v1/tickets", &[&bearer(VIEWER)]).status, 405);
        let origin = format!("Origin: http://{}", gateway.address);
        let preflight = ask(&gateway, "OPTIONS /api/v1/tickets", &[&origin]);
        assert_eq!((preflight.status, preflight.header("access-control-allow-methods")), (204, Some("post, options")));
        assert_eq!(ask(&gateway, "OPTIONS /api/v1/tickets", &["Origin: http://evil.example"]).status, 403);
        // A page is told in band; a program before.
        let (code, reason) = closed(&gateway, path, &[]);
        assert_eq!((code, reason.starts_with("unauthorized: this gateway wants a token")), (4401, true), "{reason}");
        assert_eq!(closed(&gateway, path, &[&protocol("wrong")]).0, 4401);
        assert_eq!(closed(&gateway, "/streams/secret", &[&protocol(VIEWER)]).0, 4404);
        assert_eq!(closed(&gateway, "/udp/239.1.2.3:5000", &[&protocol(VIEWER)]).0, 4403);
        assert_eq!(knock(&gateway, path, &[]), 401);
    }
}

lab_test! {
    fn sending_is_what_is_granted(lab) {
        let (gateway, _folder) = start(lab, &site(""), &[]);
        let receiver = lab.on("srca", || crate::support::lab::Receiver::join("eth0", "239.1.2.3:5000".parse().unwrap()));
        lab.await_member("srca-eth0", "239.1.2.3".parse().unwrap());
        let open = |path: &str, token: &str| {
            let more = [("authorization", &*format!("Bearer {token}"))];
            WebSocket::try_open(gateway.connect(), gateway.address, path, &more).unwrap_or_else(|refused| panic!("{refused:?}"))
        };
        // By name, where the name may be sent to; the address itself may not.
        let mut wall = open("/streams/camera", WALL);
        wall.send(b"by name");
        assert_eq!(receiver.recv().payload, b"by name");
        let mut viewer = open("/streams/camera", VIEWER);
        viewer.send(b"never");
        assert_eq!(viewer.closed().0, 4403);
        assert_eq!(knock(&gateway, "/udp/239.1.2.3:5000?receive=0", &[&bearer(WALL)]), 403);
        assert_eq!(knock(&gateway, "/udp/239.7.2.3:5001?receive=0", &[&bearer(WALL)]), 403);
        assert_eq!(knock(&gateway, "/udp/239.7.2.3:5000?receive=0", &[&bearer(WALL)]), 101);
        let status = ask(&gateway, "GET /api/v1/status", &[&bearer(ADMIN)]);
        let status: Value = serde_json::from_str(&status.body).expect("JSON");
        assert!(status["sessions"].as_array().expect("a list").iter().any(|session| session["principal"] == "wall"));
    }
}

lab_test! {
    fn everybody_is_told_what_they_may_and_no_more(lab) {
        let (gateway, _folder) = start(lab, &site(""), &[]);
        assert_eq!(ask(&gateway, "GET /api/v1/grant", &[]).status, 401);
        let grant = |token: &str| -> Value {
            let answer = ask(&gateway, "GET /api/v1/grant", &[&bearer(token)]);
            assert_eq!(answer.status, 200, "{answer:?}");
            serde_json::from_str(&answer.body).expect("JSON")
        };
        assert_eq!(
            grant(VIEWER),
            json!({
                "principal": "viewer", "expires": null, "status": false, "receive": [], "send": [],
                "streams": {"camera": {"receive": true, "send": false}}
            })
        );
        let wall = grant(WALL);
        assert_eq!((&wall["send"], &wall["streams"]), (
            &json!(["239.7.0.0/16:5000"]), &json!({"camera": {"receive": true, "send": true}})
        ));
        assert_eq!(wall["receive"][0], "239.7.0.0/16");
        let admin = grant(ADMIN);
        assert_eq!((&admin["status"], &admin["streams"]["secret"]["send"]), (&json!(true), &json!(true)));
    }
}

lab_test! {
    fn a_principal_has_so_many_sessions(lab) {
        let (gateway, _folder) = start(lab, &site(""), &["--threads", "2"]);
        let open = || {
            Raw::begin(gateway.connect(), handshake(gateway.address, "/streams/camera", &[&bearer(VIEWER)]).as_bytes())
        };
        let (first, _second) = (open(), open());
        assert_eq!(knock(&gateway, "/streams/camera", &[&bearer(VIEWER)]), 429);
        assert_eq!(knock(&gateway, "/streams/camera", &[&bearer(WALL)]), 101, "another's");
        first.ends(1000);
        crate::support::lab::wait_for("a place", crate::support::lab::PATIENCE, || {
            (knock(&gateway, "/streams/camera", &[&bearer(VIEWER)]) == 101).then_some(())
        });
    }
}

lab_test! {
    fn wrong_tokens_are_looked_at_five_times_a_minute(lab) {
        let (gateway, _folder) = start(lab, &site(""), &["--threads", "2"]);
        let ask_from = |host: &str, address: &str, token: &str| {
            let request = format!("HEAD /streams/camera HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{}\r\n\r\n", bearer(token));
            gateway.ask_from(host, gateway.address, &request).status
        };
        let own = gateway.address.to_string();
        let cli = |token: &str| ask_from("cli", &own, token);
        assert_eq!(cli(VIEWER), 200);
        for attempt in 0..5 {
            assert_eq!(cli("wrong"), 401, "{attempt}");
            assert_eq!(ask(&gateway, "HEAD /streams/camera", &[]).status, 401, "nothing shown is nothing wrong");
        }
        // A right one is not looked at either: otherwise guessing would go on.
        assert_eq!((cli("wrong"), cli(VIEWER)), (429, 429));
        let answer = ask(&gateway, "GET /streams/camera", &[&bearer(VIEWER)]);
        assert!(answer.header("retry-after").is_some(), "{answer:?}");
        assert_eq!(ask_from("gw", &own, VIEWER), 200, "another address");
        gateway.logged("a token is not good");
    }
}

lab_test! {
    fn who_shows_nothing_gets_what_is_said_for_that(lab) {
        // With principals, even this machine wants a token; without, it does not.
        let text = site("").replace("10.9.0.1:0", "127.0.0.1:0");
        let (gateway, _folder) = start(lab, &text, &[]);
        let on_host = |gateway: &TestGateway<'_>, path: &str| {
            let host = gateway.address;
            gateway.ask_from("gw", host, &format!("HEAD {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")).status
        };
        assert_eq!(on_host(&gateway, "/streams/camera"), 401);
        let open = TestGateway::start_with(lab, &["--listen", "127.0.0.1:0", "--interface", "lan0"]);
        assert_eq!((on_host(&open, "/udp/239.1.2.3:5000"), on_host(&open, "/api/v1/status")), (200, 200));

        let text = site("") + "[principals.anonymous]\nstreams = [\"camera\"]\n";
        let (gateway, _folder) = start(lab, &text, &[]);
        for (path, status) in
            [("/streams/camera", 200), ("/streams/secret", 404), ("/udp/239.1.2.3:5000", 403), ("/api/v1/status", 403)]
        {
            assert_eq!(ask(&gateway, &format!("HEAD {path}"), &[]).status, status, "{path}");
        }
        // A token that is wrong is a mistake, not nobody.
        assert_eq!(ask(&gateway, "HEAD /streams/camera", &[&bearer("wrong")]).status, 401);

        let text = site("no-auth = true\nallow-receive = [\"239.5.0.0/16\"]\n");
        let (gateway, _folder) = start(lab, &text, &[]);
        for (path, status) in [("/udp/239.5.2.3:5000", 200), ("/udp/239.7.2.3:5000", 403), ("/streams/secret", 200)] {
            assert_eq!(ask(&gateway, &format!("HEAD {path}"), &[]).status, status, "{path}");
        }
        assert_eq!(ask(&gateway, "HEAD /udp/239.7.2.3:5000", &[&bearer(WALL)]).status, 200);
    }
}

lab_test! {
    fn a_reload_takes_away_what_is_no_longer_granted(lab) {
        let (gateway, folder) = start(lab, &site(""), &[]);
        let path = folder.path().join("wscast.toml");
        let open = |path: &str, token: &str| {
            Raw::begin(gateway.connect(), handshake(gateway.address, path, &[&bearer(token)]).as_bytes())
        };
        let mut viewer = open("/streams/camera", VIEWER);
        let mut wall = open("/udp/239.7.2.3:5000", WALL);
        let mut stays = open("/streams/camera", WALL);
        let mut admin = open("/streams/secret", ADMIN);
        // One token is another's now, one list is shorter, one stream is out of sight.
        let text = site("")
            .replace(&TokenDigest::of(VIEWER.as_bytes()).to_string(), &TokenDigest::of(b"another").to_string())
            .replace("receive = [\"239.7.0.0/16\", ", "receive = [")
            .replace("streams = [\"*\"]", "streams = [\"camera\"]");
        fs::write(&path, text).expect("write the configuration");
        gateway.signal("HUP");
        for (client, code, word) in
            [(&mut viewer, 4401, "unauthorized: "), (&mut wall, 4403, "not_allowed: "), (&mut admin, 4404, "not_found: ")]
        {
            let (closed, reason) = client.closed();
            assert_eq!((closed, reason.starts_with(word)), (code, true), "{reason}");
        }
        let source = lab.on("srca", || Multicast::sender("eth0", "239.1.2.3:5000".parse().unwrap(), 1));
        gateway.await_joined("gw-lan0", "239.1.2.3:5000");
        source.send(b"still there");
        assert_eq!(stays.frame().payload, b"still there");
        assert_eq!(ask(&gateway, "HEAD /streams/camera", &[&bearer(VIEWER)]).status, 401);
        assert_eq!(ask(&gateway, "HEAD /streams/camera", &[&bearer("another")]).status, 200);
    }
}
