//! Paths, and what stands in a stream's URL.

use std::io::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use crate::front::{UPGRADE, ask, assert_refused, start};
use crate::support::lab::{Multicast, lab_test, wait_for};
use crate::support::raw::Raw;

/// A stream that the gateway serves.
const STREAM: &str = "/udp/239.1.2.3:5000";

lab_test! {
    fn each_path_takes_its_methods_and_the_rest_is_not_there(lab) {
        let gateway = start(lab, &[]);
        for path in ["/", "/page/page.js", "/page/page.css", "/healthz", "/readyz"] {
            for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "BREW"] {
                let answer = ask(&gateway, &format!("{method} {path}"), &["Host: HOST"]);
                assert_refused(&answer, 405, "GET, HEAD");
                assert_eq!(answer.header("allow"), Some("get, head"));
            }
        }
        for path in ["/api/v1/status", "/api/v1/interfaces", STREAM] {
            for method in ["POST", "PUT", "DELETE", "PATCH"] {
                let answer = ask(&gateway, &format!("{method} {path}"), &["Host: HOST"]);
                assert_refused(&answer, 405, "GET, HEAD, OPTIONS");
                assert_eq!(answer.header("allow"), Some("get, head, options"));
            }
        }
        let answer = ask(&gateway, &format!("POST {STREAM}"), &[&["Host: HOST"], &UPGRADE[..]].concat());
        assert_refused(&answer, 405, "GET");
        for path in [
            "/RTP/239.1.2.3:5000", "/api/v1/ticket", "/wscast.mjs", "/page.js", "/page/wscast.js",
            "/nothing", "/favicon.ico", "/healthz/", "/api", "/api/v1/", "/udp/../healthz", "/page/index.html",
            "/streams", "/streams/unknown", "//", "/UDP/239.1.2.3:5000",
        ] {
            for method in ["GET", "HEAD"] {
                let answer = ask(&gateway, &format!("{method} {path}"), &["Host: HOST", "Connection: close"]);
                let expected = if path.contains("..") { 400 } else { 404 };
                assert_eq!(answer.status, expected, "{method} {path}: {answer:?}");
            }
            let answer = ask(&gateway, &format!("GET {path}"), &[&["Host: HOST"], &UPGRADE[..]].concat());
            assert!(matches!(answer.status, 400 | 404), "{path}: {answer:?}");
        }
    }
}

lab_test! {
    fn head_says_whether_and_joins_nothing(lab) {
        let gateway = start(lab, &["--limit", "join-rate=1/s"]);
        for _ in 0..10 {
            let answer = ask(&gateway, &format!("HEAD {STREAM}"), &["Host: HOST", "Connection: close"]);
            assert_eq!((answer.status, &*answer.body), (200, ""), "{answer:?}");
            assert_eq!(answer.header("wscast-interface"), Some("lan0"));
            assert_eq!(answer.header("cache-control"), Some("no-store"));
        }
        for (path, status) in [
            ("/udp/10.0.0.1:5000", 400),
            ("/udp/224.0.0.251:5353", 403),
            ("/udp/239.1.2.3:5000?interface=nope0", 404),
            ("/healthz", 200),
            ("/", 200),
        ] {
            let answer = ask(&gateway, &format!("HEAD {path}"), &["Host: HOST", "Connection: close"]);
            assert_eq!((answer.status, &*answer.body), (status, ""), "{path}: {answer:?}");
            assert!(answer.header("content-length").is_some_and(|length| length != "0"), "{path}: {answer:?}");
        }
        let status = gateway.status();
        for list in ["streams", "ended_streams", "sessions", "closed"] {
            assert_eq!(status[list], json!([]), "{list}");
        }
    }
}

lab_test! {
    fn one_stream_has_many_spellings(lab) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("wscast.toml");
        std::fs::write(&file, "[streams.camera-1]\ngroup = \"239.1.2.3:5000\"\ninterface = \"lan0\"\n").unwrap();
        let gateway = start(lab, &["--config", file.to_str().unwrap()]);
        let host = gateway.address;
        let mut clients: Vec<Raw> = [
            "/udp/239.1.2.3:5000",
            "/udp/239.1.2.3:5000/",
            "/udp/239.1.2.3%3A5000",
            "/udp/239.1.2.3%3a5000/?interface=lan0",
            "/udp/239.1.2.3:5000?interface=10.1.0.1&overflow=skip",
            "/streams/camera-1",
            "/streams/camera%2D1/",
        ]
        .iter()
        .map(|path| Raw::open(gateway.connect(), host, path))
        .collect();
        gateway.await_joined("gw-lan0", "239.1.2.3:5000");
        lab.on("srca", || Multicast::sender("eth0", "239.1.2.3:5000".parse().unwrap(), 1)).send(b"picture");
        for client in &mut clients {
            assert_eq!(client.frame().payload, b"picture");
        }
        let status = gateway.status();
        assert_eq!(status["gateway"]["named_streams"]["camera-1"]["path"], "/streams/camera-1");
        let streams = status["streams"].as_array().unwrap();
        assert!(streams.iter().all(|stream| stream["group"] == "239.1.2.3:5000"), "{streams:#?}");

        let specific: Vec<Raw> = [
            "/udp/10.1.0.2@232.1.2.3:5000",
            "/udp/10.1.0.2%40232.1.2.3:5000/",
            "/udp/10.1.0.2%40232.1.2.3%3A5000",
        ]
        .iter()
        .map(|path| Raw::open(gateway.connect(), host, path))
        .collect();
        let status = gateway.status();
        let joined = status["streams"].as_array().unwrap();
        let joined = joined.iter().filter(|stream| stream["group"] == "232.1.2.3:5000").count();
        assert_eq!((joined, specific.len()), (1, 3), "{status:#}");
    }
}

lab_test! {
    fn bad_input_is_named(lab) {
        let gateway = start(lab, &[]);
        let sources: Vec<String> = (1..=200).map(|number| format!("10.0.{number}.1")).collect();
        let many = format!("/udp/{}@239.1.2.3:5000", sources.join(","));
        for (path, status, words) in [
            ("/udp/10.0.0.1:5000", 400, "10.0.0.1"),
            ("/udp/[fd00::1]:5000", 400, "not a multicast address"),
            ("/udp/255.255.255.255:5000", 400, "not a multicast address"),
            ("/udp/239.1.2.3:0", 400, "port"),
            ("/udp/239.1.2.3:65536", 400, "port"),
            ("/udp/239.1.2.3", 400, "port"),
            ("/udp/", 400, "/udp/GROUP:PORT"),
            ("/udp", 400, "/udp/GROUP:PORT"),
            ("/udp/nonsense:5000", 400, "nonsense"),
            ("/udp/[::ffff:239.1.2.3]:5000", 400, "239.1.2.3"),
            ("/udp/::ffff:10.0.0.1@239.1.2.3:5000", 400, "::ffff:10.0.0.1"),
            ("/udp/10.0.0.1@[ff15::42]:5000", 400, "IP versions differ"),
            ("/udp/fd00::1@239.1.2.3:5000", 400, "IP versions differ"),
            ("/udp/232.1.2.3:5000", 400, "SOURCE@GROUP:PORT"),
            ("/udp/[ff35::1]:5000", 400, "SOURCE@GROUP:PORT"),
            ("/udp/@239.1.2.3:5000", 400, "no source"),
            ("/udp/10.0.0.1@239.1.2.3:5000?exclude=10.0.0.2", 400, "exclude each other"),
            (&many, 400, "more than 64 sources"),
            ("/udp/239.1.2.3:5000?interface=nope0", 404, "lan0, lan1"),
            ("/udp/239.1.2.3:5000?interface=99", 404, "lan0, lan1"),
            ("/udp/239.1.2.3:5000?interface=10.9.9.9", 404, "lan0, lan1"),
            ("/udp/239.1.2.3:5000?interface=%0d%0aEvil:%20yes", 400, "\\r\\n"),
            ("/udp/239.1.2.3:5000?interface=", 400, "interface"),
            ("/udp/%ff%fe:5000", 400, "percent"),
            ("/udp/239.1.2.3%zz:5000", 400, "percent"),
            ("/udp/239.1.2.3%", 400, "percent"),
            ("/udp/%00", 400, "is not a group"),
            ("/udp/239.1.2.3:5000?overflow=%", 400, "percent"),
            ("/udp/239.1.2.3:5000?overflow=drop", 400, "skip, latest or close"),
            ("/udp/239.1.2.3:5000?replay=-1", 400, "replay"),
            ("/udp/239.1.2.3:5000?latency=1s", 400, "50ms"),
            ("/udp/239.1.2.3:5000?ttl=0", 400, "1 to 255"),
            ("/udp/239.1.2.3:5000?ttl=256", 400, "1 to 255"),
            ("/udp/239.1.2.3:5000?ttl=200", 403, "--max-ttl"),
            ("/udp/239.1.2.3:5000?echo=yes", 400, "echo=1"),
            ("/udp/239.1.2.3:5000?ehco=1", 400, "ehco"),
            ("/udp/239.1.2.3:5000?echo=1&echo=1", 400, "twice"),
            ("/udp/224.0.0.1:5000", 403, "not_allowed"),
            ("/udp/240.0.0.1:5000", 400, "not a multicast address"),
            ("/udp/238.1.2.3:5000", 403, "--allow-receive"),
            ("/udp/239.1.2.3:5000?receive=0", 403, "not_allowed"),
            ("/streams/", 400, "name"),
            ("/streams/a%2fb", 400, "name"),
            ("/streams/camera", 404, "no stream of that name"),
        ] {
            let answer = ask(&gateway, &format!("GET {path}"), &["Host: HOST"]);
            assert_refused(&answer, status, words);
            assert!(answer.body.len() < 500, "{answer:?}");
            let answer = ask(&gateway, &format!("GET {path}"), &[&["Host: HOST"], &UPGRADE[..]].concat());
            assert_refused(&answer, status, words);
        }
        let status = gateway.status();
        assert_eq!((&status["streams"], &status["ended_streams"]), (&json!([]), &json!([])));
    }
}

lab_test! {
    fn the_page_and_what_machines_ask_for_are_served(lab) {
        let gateway = start(lab, &[]);
        for (path, kind) in [
            ("/", "text/html; charset=utf-8"),
            ("/page/page.js", "text/javascript; charset=utf-8"),
            ("/page/ts.js", "text/javascript; charset=utf-8"),
            ("/page/page.css", "text/css; charset=utf-8"),
        ] {
            let answer = gateway.fetch(path);
            assert_eq!((answer.status, answer.header("content-type")), (200, Some(kind)));
            let policy = answer.header("content-security-policy").expect("a policy");
            assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
            assert!(!policy.contains("unsafe"), "{policy}");
            assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
            assert_eq!(answer.header("content-length"), Some(&*answer.body.len().to_string()));
            // Who has it already is not sent it again.
            let tag = answer.header("etag").expect("a tag").to_owned();
            let known = ["Host: HOST", &format!("If-None-Match: \"other\", {tag}"), "Connection: close"];
            let again = ask(&gateway, &format!("GET {path}"), &known);
            assert_eq!((again.status, &*again.body, again.header("etag")), (304, "", Some(&*tag)));
        }
        let page = gateway.fetch("/").body;
        assert!(page.contains("page.js") && page.contains("page.css") && !page.contains("<script>"), "{page}");
        for (path, body) in [("/healthz", "ok\n"), ("/readyz", "ready\n")] {
            let answer = gateway.fetch(path);
            assert_eq!((answer.status, &*answer.body), (200, body));
            assert_eq!(answer.header("cache-control"), Some("no-store"));
        }
        let answer = gateway.fetch("/api/v1/interfaces");
        assert_eq!(answer.header("content-type"), Some("application/json"));
        let all: Value = serde_json::from_str(&answer.body).unwrap();
        let names: Vec<_> = all["interfaces"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
        for name in ["lo", "lan0", "lan1", "mgmt0"] {
            assert!(names.iter().any(|one| *one == name), "{name} is not in {names:?}");
        }
        assert!(answer.body.contains("10.1.0.1") && answer.body.contains("fd01::1"), "{}", answer.body);
        let status = gateway.status();
        assert_eq!(status["gateway"]["listen"][0], gateway.address.to_string());
        assert_eq!(status["gateway"]["version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(status["interfaces"], all["interfaces"]);
        assert_eq!((&status["gateway"]["player"], gateway.fetch("/player.js").status), (&false.into(), 404));
    }
}

lab_test! {
    fn a_body_without_data_ends_with_its_client(lab) {
        let gateway = start(lab, &["--linger", "0"]);
        let mut stream = gateway.connect();
        write!(stream, "GET {STREAM} HTTP/1.1\r\nHost: {}\r\n\r\n", gateway.address).unwrap();
        gateway.await_joined("gw-lan0", "239.1.2.3:5000");
        gateway.status_with("the body begun", |status| status["sessions"][0]["kind"] == "http");
        drop(stream);
        assert_eq!(gateway.closed(1)[0]["kind"], "http");
        wait_for("the group to be left", Duration::from_secs(10), || {
            (!lab.is_member("gw-lan0", "239.1.2.3".parse().unwrap())).then_some(())
        });
    }
}
