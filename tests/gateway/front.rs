//! Handshakes, Host, Origin, and the refusals that come before a path is looked at.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::gateway::{Answer, TestGateway};
use crate::support::lab::{Lab, Receiver, lab_test};
use crate::support::raw::{BINARY, Raw, frame, handshake};

/// A stream that the gateway serves.
const STREAM: &str = "/udp/239.1.2.3:5000";
/// What makes a request a handshake.
pub(crate) const UPGRADE: [&str; 4] = [
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
];

lab_test! {
    fn malformed_requests_are_told_so(lab) {
        let gateway = start(lab, &[]);
        let [upgrade, connection, version, key] = UPGRADE;
        let host = "Host: HOST";
        let other = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==";
        for (lines, status, words) in [
            (&[upgrade, connection, version, key][..], 400, "Host header is missing"),
            (&[host, host, upgrade, connection, version, key], 400, "Host header stands twice"),
            (&[host, "Host: evil.example", upgrade, connection, version, key], 400, "stands twice"),
            (&[host, upgrade, connection, version], 400, "Key is missing"),
            (&[host, upgrade, connection, version, key, other], 400, "Key stands twice"),
            (&[host, upgrade, connection, version, "Sec-WebSocket-Key: x"], 400, "not 16 bytes"),
            (&[host, upgrade, connection, version, "Sec-WebSocket-Key:"], 400, "not 16 bytes"),
            (&[host, upgrade, connection, version, key, "Content-Length: 3"], 400, "no body"),
            (&[host, upgrade, connection, version, key, "Transfer-Encoding: chunked"], 400, "no body"),
            (&[host, "Content-Length: 3"], 400, "no body"),
            (&[host, "Transfer-Encoding: chunked"], 400, "no body"),
            (&[host, upgrade, connection, key], 426, "version 13"),
            (&[host, upgrade, connection, key, "Sec-WebSocket-Version: 8"], 426, "version 13"),
            (&[host, upgrade, connection, key, version, version], 426, "version 13"),
        ] {
            let answer = ask(&gateway, &format!("GET {STREAM}"), lines);
            assert_refused(&answer, status, words);
            if status == 426 {
                assert_eq!(answer.header("sec-websocket-version"), Some("13"));
                assert_eq!(answer.header("upgrade"), Some("websocket"));
            }
        }
        let old = handshake(gateway.address, STREAM, &[]).replace("HTTP/1.1", "HTTP/1.0");
        assert_refused(&gateway.ask(&old), 400, "HTTP/1.1");
        // What is no HTTP at all is refused by the parser, without words.
        assert_eq!(gateway.ask("GET HTTP\r\n\r\n").status, 400);
        assert_eq!(ask(&gateway, "GET /", &["Host: HOST", "Content-Length: 1", "Content-Length: 2"]).status, 400);
        assert!(gateway.status()["sessions"].as_array().is_some_and(Vec::is_empty));
    }
}

lab_test! {
    fn the_host_is_one_of_ours_on_every_path(lab) {
        let gateway = start(lab, &["--allow-host", "tv.example.org"]);
        for path in ["/", "/page/page.js", "/healthz", "/readyz", "/api/v1/status", "/nothing", STREAM] {
            for method in ["GET", "HEAD", "POST", "OPTIONS"] {
                let answer = ask(&gateway, &format!("{method} {path}"), &["Host: evil.example"]);
                assert_eq!(answer.status, 403, "{method} {path}: {answer:?}");
                assert_eq!(answer.header("access-control-allow-origin"), None);
            }
        }
        let port = gateway.address.port();
        for host in ["HOST", "10.9.0.1", "tv.example.org", "TV.EXAMPLE.ORG:8443", "10.9.0.1:1"] {
            let answer = ask(&gateway, "GET /healthz", &[&format!("Host: {host}"), "Connection: close"]);
            assert_eq!(answer.status, 200, "{host}: {answer:?}");
        }
        for host in [
            "evil.example",
            &format!("evil.example:{port}"),
            "tv.example.org.evil",
            "evil-tv.example.org",
            "tv.example.org@evil.example",
            "10.9.0.1.evil.example",
            "10.9.0.2",
            "10.1.0.1",
            "127.0.0.1",
            "localhost",
            "[::1]",
            "[::ffff:10.9.0.2]",
            "167837697",
            "",
        ] {
            let host = format!("Host: {host}");
            assert_refused(&ask(&gateway, "GET /healthz", &[&host]), 403, "--allow-host");
            let lines = [&[&*host, "Origin: http://HOST"], &UPGRADE[..]].concat();
            assert_refused(&ask(&gateway, &format!("GET {STREAM}"), &lines), 403, "--allow-host");
        }
        // The request line's own address is not a way around the header.
        let answer = ask(&gateway, "GET http://evil.example/healthz", &["Host: HOST"]);
        assert_refused(&answer, 400, "differ");
        assert!(gateway.status()["refused"]["403"].as_u64().is_some_and(|count| count >= 56));
    }
}

lab_test! {
    fn localhost_is_ours_on_the_loopback_interface_only(lab) {
        let gateway = TestGateway::start_with(lab, &["--listen", "127.0.0.1:0", "--listen", "[::1]:0"]);
        let status = "GET /api/v1/status HTTP/1.0\r\nHost: localhost\r\n\r\n";
        let status: serde_json::Value =
            serde_json::from_str(&gateway.ask_from("gw", gateway.address, status).body).unwrap();
        let six = status["gateway"]["listen"][1].as_str().expect("a second listener");
        let six: SocketAddr = six.parse().unwrap();
        for (address, host, status) in [
            (gateway.address, "localhost", 200),
            (gateway.address, "127.0.0.1", 200),
            (gateway.address, "[::1]:80", 200),
            (gateway.address, "10.9.0.1", 403),
            (gateway.address, "localhost.evil", 403),
            (six, "localhost:8080", 200),
            (six, "[::1]", 200),
            (six, "[fd09::1]", 403),
        ] {
            let answer = gateway.ask_from("gw", address, &format!(
                "GET /healthz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
            ));
            assert_eq!(answer.status, status, "{host} at {address}: {answer:?}");
        }
    }
}

lab_test! {
    fn origins_are_compared_whole(lab) {
        let gateway = start(lab, &[
            "--allow-host", "tv.example.org",
            "--allow-origin", "https://app.example.org,https://*.example.net",
        ]);
        let own = format!("http://{}", gateway.address);
        for (origins, host, allowed) in [
            (&[&*own][..], "HOST", true),
            (&["https://app.example.org"], "HOST", true),
            (&["https://a.example.net"], "HOST", true),
            (&["http://tv.example.org"], "tv.example.org", true),
            (&["http://tv.example.org"], "tv.example.org:80", true),
            (&["http://tv.example.org:8080"], "tv.example.org:8080", true),
            (&[], "HOST", true),
            (&["http://tv.example.org"], "tv.example.org:8080", false),
            (&["http://tv.example.org"], "HOST", false),
            (&["null"], "HOST", false),
            (&["file://"], "HOST", false),
            (&[""], "HOST", false),
            (&["chrome-extension://mhjfbmdgcfjbbpaeojofohoefgiehjai"], "HOST", false),
            (&["moz-extension://d0b4a3a2-5a8c-4bb1-9f5f-000000000000"], "HOST", false),
            (&["http://evil.example"], "HOST", false),
            (&["http://10.9.0.1"], "HOST", false),
            (&[&own.replace("http:", "https:")], "HOST", false),
            (&["https://app.example.org.evil"], "HOST", false),
            (&["https://app.example.org/"], "HOST", false),
            (&["https://example.net"], "HOST", false),
            (&["https://a.b.example.net"], "HOST", false),
            (&["http://a.example.net"], "HOST", false),
            (&[&own, &own], "HOST", false),
            (&["https://app.example.org", "http://evil.example"], "HOST", false),
        ] {
            let mut lines = vec![format!("Host: {host}")];
            lines.extend(origins.iter().map(|origin| format!("Origin: {origin}")));
            let mut lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            lines.push("Connection: close");
            let answer = ask(&gateway, "GET /api/v1/interfaces", &lines);
            lines.pop();
            lines.extend(UPGRADE);
            if allowed {
                assert_eq!(answer.status, 200, "{origins:?} at {host}: {answer:?}");
                let origin = origins.first().map(|origin| origin.to_lowercase());
                assert_eq!(answer.header("access-control-allow-origin"), origin.as_deref());
                assert_eq!(answer.header("vary"), origin.map(|_| "origin"));
                let request: String = lines
                    .iter()
                    .map(|line| format!("{}\r\n", line.replace("HOST", &gateway.address.to_string())))
                    .collect();
                let request = format!("GET {STREAM} HTTP/1.1\r\n{request}\r\n");
                Raw::begin(gateway.connect(), request.as_bytes());
            } else {
                assert_refused(&answer, 403, "Origin");
                assert_eq!(answer.header("access-control-allow-origin"), None, "{answer:?}");
                assert_refused(&ask(&gateway, &format!("GET {STREAM}"), &lines), 403, "Origin");
            }
        }
    }
}

lab_test! {
    fn long_requests_are_refused_in_words_until_they_are_too_long_to_read(lab) {
        let gateway = start(lab, &[]);
        let url = |length: usize| format!("GET /{}", "x".repeat(length - 1));
        assert_refused(&ask(&gateway, &url(4096), &["Host: HOST"]), 404, "nothing at this path");
        assert_refused(&ask(&gateway, &url(4097), &["Host: HOST"]), 414, "4097 bytes, at most 4096");
        let query = format!("GET {STREAM}?token={}", "x".repeat(8000));
        assert_refused(&ask(&gateway, &query, &["Host: HOST"]), 414, "at most 4096");
        assert!(matches!(ask(&gateway, &url(60_000), &["Host: HOST"]).status, 414 | 431));

        let field = |bytes: usize| format!("X-Padding: {}", "x".repeat(bytes));
        let plain = |more: &[&str]| {
            ask(&gateway, "GET /healthz", &[&["Host: HOST", "Connection: close"], more].concat())
        };
        assert_eq!(plain(&[&field(8000)]).status, 200);
        assert_refused(&plain(&[&field(8200)]), 431, "at most 8192");
        assert_eq!(plain(&[&field(60_000)]).status, 431);
        let fields: Vec<String> = (0..63).map(|number| format!("X-{number}: x")).collect();
        let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
        assert_eq!(plain(&fields[..62]).status, 200);
        assert_eq!(plain(&fields).status, 431);
    }
}

lab_test! {
    fn pages_of_allowed_origins_may_ask_and_foreign_ones_may_not(lab) {
        let gateway = start(lab, &["--allow-origin", "https://app.example.org"]);
        for path in ["/api/v1/status", "/api/v1/interfaces", STREAM] {
            let preflight = ["Host: HOST", "Origin: https://app.example.org", "Connection: close"];
            let answer = ask(&gateway, &format!("OPTIONS {path}"), &preflight);
            assert_eq!((answer.status, &*answer.body), (204, ""), "{path}: {answer:?}");
            assert_eq!(answer.header("access-control-allow-origin"), Some("https://app.example.org"));
            assert_eq!(answer.header("access-control-allow-methods"), Some("get, head, options"));
            assert_eq!(answer.header("vary"), Some("origin"));
            let answer = ask(&gateway, &format!("OPTIONS {path}"), &["Host: HOST", "Origin: https://evil.example"]);
            assert_refused(&answer, 403, "Origin");
            assert_eq!(answer.header("access-control-allow-methods"), None);

            for site in ["cross-site", "same-site"] {
                let site = format!("Sec-Fetch-Site: {site}");
                assert_refused(&ask(&gateway, &format!("GET {path}"), &["Host: HOST", &site]), 403, "another site");
                assert_refused(
                    &ask(&gateway, &format!("GET {path}"), &[&["Host: HOST", &site], &UPGRADE[..]].concat()),
                    403,
                    "another site",
                );
            }
            for site in ["same-origin", "none"] {
                let site = format!("Sec-Fetch-Site: {site}");
                let answer = ask(&gateway, &format!("HEAD {path}"), &["Host: HOST", &site, "Connection: close"]);
                assert_eq!(answer.status, 200, "{path}: {answer:?}");
            }
        }
        // A refusal of a page that may ask can be read by its script.
        let answer = ask(&gateway, "GET /udp/10.0.0.1:5000", &["Host: HOST", "Origin: https://app.example.org"]);
        assert_refused(&answer, 400, "not a multicast address");
        assert_eq!(answer.header("access-control-allow-origin"), Some("https://app.example.org"));
        assert_eq!(gateway.status()["streams"], json!([]));
    }
}

lab_test! {
    fn a_page_is_refused_in_band_and_a_program_before(lab) {
        let gateway = start(lab, &[]);
        let origin = format!("Origin: http://{}", gateway.address);
        for (path, status, code, word) in [
            ("/udp/224.0.0.251:5353", 403, 4403, "not_allowed: "),
            ("/udp/239.1.2.3:5000?receive=0", 403, 4403, "not_allowed: "),
            ("/udp/239.1.2.3:5000?ttl=200", 403, 4403, "not_allowed: "),
            ("/nothing", 404, 4404, "not_found: "),
            ("/v2", 404, 4404, "not_found: "),
            ("/streams/unknown", 404, 4404, "not_found: "),
            ("/udp/239.1.2.3:5000?interface=nope0", 404, 4404, "not_found: "),
        ] {
            let lines = [&["Host: HOST"], &UPGRADE[..]].concat();
            assert_refused(&ask(&gateway, &format!("GET {path}"), &lines), status, word);
            let request = handshake(gateway.address, path, &[&origin]);
            // What comes right behind the handshake must not turn the close into a reset.
            let request = [request.as_bytes(), &frame(BINARY, &[7; 3000])].concat();
            let (closed, reason) = Raw::begin(gateway.connect(), &request).closed();
            assert_eq!(closed, code, "{path}: {reason}");
            assert!(reason.starts_with(word) && reason.len() <= 123, "{path}: {reason}");
            assert!(gateway.logged("refused after the upgrade").contains("code=44"));
        }
        // A page's script gains nothing from an upgrade where the request itself is wrong.
        let request = handshake(gateway.address, "/udp/10.0.0.1:5000", &[&origin]);
        assert_refused(&gateway.ask(&request), 400, "not a multicast address");
        let refused = &gateway.status()["refused"];
        assert_eq!((&refused["4403"], &refused["4404"]), (&3.into(), &4.into()), "{refused}");
    }
}

lab_test! {
    fn a_request_has_five_seconds_however_it_comes(lab) {
        let gateway = start(lab, &[]);
        let silent = gateway.connect();
        let mut dripping = gateway.connect();
        write!(dripping, "GET /healthz HTTP/1.1\r\nHost: {}\r\nX-Padding: ", gateway.address).unwrap();
        // A byte now and then does not buy more time.
        dripping.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let start = Instant::now();
        let mut buffer = [0; 1000];
        loop {
            match dripping.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => panic!("an answer: {}", String::from_utf8_lossy(&buffer[..read])),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if dripping.write_all(b"x").is_err() {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
                Err(error) => panic!("{error}"),
            }
            assert!(start.elapsed() < Duration::from_secs(9), "still open");
        }
        assert_eq!((&silent).read(&mut buffer).expect("an end in order"), 0);
        // Both have given back their places.
        gateway.fetch("/healthz");
    }
}

lab_test! {
    fn a_handshake_may_come_byte_by_byte_and_with_several_connection_headers(lab) {
        let gateway = start(lab, &[]);
        let host = gateway.address;
        let mut stream = gateway.connect();
        stream.set_nodelay(true).unwrap();
        for byte in handshake(host, STREAM, &["Connection: keep-alive"]).bytes() {
            stream.write_all(&[byte]).unwrap();
        }
        Raw::answered(stream);
        for (from, to) in [
            ("Connection: Upgrade\r\n", "Connection: keep-alive, Upgrade\r\n"),
            ("Connection: Upgrade\r\n", "Connection: keep-alive\r\nconnection: x-y ,UPGRADE\r\nConnection: te\r\n"),
            ("Upgrade: websocket\r\n", "Upgrade: h2c\r\nupgrade: WebSocket\r\n"),
            ("Version: 13", "Version:  13 "),
            ("ZQ==\r\n", "ZQ==\r\nContent-Length: 0\r\n"),
            ("ZQ==\r\n", "ZQ==\r\nSec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"),
        ] {
            let request = handshake(host, STREAM, &[]).replace(from, to);
            assert!(request.contains(to));
            let raw = Raw::begin(gateway.connect(), request.as_bytes());
            assert!(raw.head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{}", raw.head);
            assert!(!raw.head.to_lowercase().contains("extensions"), "{}", raw.head);
        }
        let raw = Raw::begin(
            gateway.connect(),
            handshake(host, STREAM, &["Sec-WebSocket-Protocol: wscast.raw, other"]).as_bytes(),
        );
        assert!(raw.head.to_lowercase().contains("sec-websocket-protocol: wscast.raw\r\n"), "{}", raw.head);
        let raw = Raw::begin(
            gateway.connect(),
            handshake(host, STREAM, &["Sec-WebSocket-Protocol: other"]).as_bytes(),
        );
        assert!(!raw.head.to_lowercase().contains("sec-websocket-protocol"), "{}", raw.head);
    }
}

lab_test! {
    fn what_comes_right_behind_the_handshake_is_read(lab) {
        let gateway = start(lab, &["--allow-send", "239.1.2.3:5000", "--limit", "all=off"]);
        let receiver = lab.on("srca", || Receiver::join("eth0", "239.1.2.3:5000".parse().unwrap()));
        lab.await_member("srca-eth0", "239.1.2.3".parse().unwrap());
        let mut bytes = handshake(gateway.address, STREAM, &[]).into_bytes();
        // More messages than the gateway takes in one turn, and nothing behind them that would wake it.
        for number in 0..300_u32 {
            bytes.extend(frame(BINARY, &number.to_be_bytes()));
        }
        let _raw = Raw::begin(gateway.connect(), &bytes);
        for number in 0..300_u32 {
            assert_eq!(receiver.recv().payload, number.to_be_bytes());
        }
    }
}

/// A gateway whose tests may connect as often as they like.
pub(crate) fn start<'a>(lab: &'a Lab, arguments: &[&str]) -> TestGateway<'a> {
    let patient = ["--interface", "lan0", "--limit", "connection-rate-per-address=off"];
    TestGateway::start(lab, &[&patient[..], arguments].concat())
}

/// Sends a request line and header lines; `HOST` stands for the gateway's address.
pub(crate) fn ask(gateway: &TestGateway<'_>, request: &str, lines: &[&str]) -> Answer {
    let host = gateway.address.to_string();
    let head: String = lines.iter().map(|line| format!("{}\r\n", line.replace("HOST", &host))).collect();
    gateway.ask(&format!("{request} HTTP/1.1\r\n{head}\r\n"))
}

/// Asserts a status, a form that every refusal has, and words of its reason.
pub(crate) fn assert_refused(answer: &Answer, status: u16, words: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert!(answer.body.contains(words), "{words:?} is not in {answer:?}");
    assert_eq!(answer.body.lines().count(), 1, "{answer:?}");
    assert!(answer.body.ends_with('\n') && !answer.body.contains('\r'), "{answer:?}");
    assert_eq!(answer.header("content-length"), Some(&*answer.body.len().to_string()), "{answer:?}");
    assert_eq!(answer.header("cache-control"), Some("no-store"), "{answer:?}");
    assert_eq!(answer.header("connection"), Some("close"), "{answer:?}");
}
