//! Each limit reached, with one below it, and all of them lifted.

use std::io::Read as _;
use std::net::{SocketAddr, TcpStream};
use std::ops::RangeInclusive;

use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

use crate::support::flow::Flow;
use crate::support::gateway::{Answer, TestGateway};
use crate::support::lab::{PATIENCE, lab_test, wait_for};
use crate::support::raw::{Raw, handshake};

lab_test! {
    fn connections_are_counted_in_all(lab) {
        let gateway = TestGateway::start(lab, &["--interface", "lan0", "--limit", "connections=3"]);
        let mut held: Vec<TcpStream> = (0..2).map(|_| gateway.connect()).collect();
        assert_eq!(gateway.fetch("/healthz").status, 200, "the third");
        held.push(await_room(&gateway, "/udp/239.1.2.3:5000"));
        let answer = gateway.fetch("/healthz");
        assert_turned_away(&answer, 503, "--limit connections)", 5..=30);
        held.pop();
        await_room(&gateway, "/udp/239.1.2.3:5000");
    }
}

lab_test! {
    fn connections_are_counted_for_each_address(lab) {
        let gateway = TestGateway::start(lab, &["--interface", "lan0", "--limit", "connections-per-address=2"]);
        let _held = [gateway.open("/udp/239.1.2.3:5000"), gateway.open("/udp/239.1.2.3:5000")];
        let answer = gateway.fetch("/healthz");
        assert_turned_away(&answer, 429, "--limit connections-per-address", 5..=15);
        let request = format!("GET /healthz HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", gateway.address);
        assert_eq!(gateway.ask_from("gw", gateway.address, &request).status, 200, "another address");
        let status = gateway.ask_from("gw", gateway.address, &request.replace("/healthz", "/api/v1/status"));
        let status: Value = serde_json::from_str(&status.body).unwrap();
        assert_eq!(status["refused"], json!({ "429": 1 }), "who is turned away is counted");
    }
}

lab_test! {
    fn connections_come_at_a_rate_for_each_address(lab) {
        let gateway =
            TestGateway::start(lab, &["--interface", "lan0", "--limit", "connection-rate-per-address=1/s"]);
        // Twice the rate at once.
        for _ in 0..2 {
            assert_eq!(gateway.fetch("/healthz").status, 200);
        }
        let refused = (0..10).map(|_| gateway.fetch("/healthz")).find(|answer| answer.status != 200);
        assert_turned_away(&refused.expect("a refusal"), 429, "--limit connection-rate-per-address", 5..=15);
        let request = format!("GET /healthz HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", gateway.address);
        assert_eq!(gateway.ask_from("gw", gateway.address, &request).status, 200, "another address");
        wait_for("the rate to allow another", PATIENCE, || {
            (gateway.fetch("/healthz").status == 200).then_some(())
        });
    }
}

lab_test! {
    fn connections_come_at_a_rate_in_all(lab) {
        let gateway = TestGateway::start(lab, &["--interface", "lan0", "--limit", "connection-rate=2/s"]);
        // Twice the rate, and as much again for those who leave no handshake unfinished.
        let _idle: Vec<TcpStream> = (0..20).map(|_| gateway.connect()).collect();
        let request = format!("GET /healthz HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", gateway.address);
        assert_eq!(gateway.ask_from("gw", gateway.address, &request).status, 200, "another address");
        let refused = (0..20).map(|_| gateway.fetch("/healthz")).find(|answer| answer.status != 200);
        assert_turned_away(&refused.expect("a refusal"), 503, "--limit connection-rate)", 5..=30);
        wait_for("the rate to allow another", PATIENCE, || {
            (gateway.fetch("/healthz").status == 200).then_some(())
        });
    }
}

lab_test! {
    fn the_oldest_unfinished_handshake_gives_way(lab) {
        for limit in ["handshakes-per-address=3", "handshakes=3"] {
            let gateway = TestGateway::start(lab, &["--interface", "lan0", "--limit", limit]);
            // Connections that have asked for something do not count.
            let mut asked: Vec<_> = (0..5).map(|_| gateway.open("/udp/239.1.2.3:5000")).collect();
            let idle: Vec<TcpStream> = (0..3).map(|_| gateway.connect()).collect();
            assert_eq!(gateway.fetch("/healthz").status, 200, "whoever comes next is served");
            assert_eq!(ends(&idle[0]), 0, "and the first of those who said nothing has gone");
            let status = gateway.status();
            assert_eq!(status["gateway"]["admission"]["gave_way"], 1, "{status:#}");
            for mut left in &idle[1..] {
                let answer = Answer::to(&mut left, &handshake(gateway.address, "/udp/239.1.2.3:5000", &[]));
                assert_eq!(answer.status, 101, "there is room for two");
            }
            for session in &mut asked {
                session.put(tokio_tungstenite::tungstenite::Message::Ping(vec![7].into()));
            }
        }
    }
}

lab_test! {
    fn a_request_has_so_long_in_all(lab) {
        let gateway = TestGateway::start(lab, &[
            "--interface", "lan0", "--limit", "header-time=60s", "--limit", "handshake-time=300ms",
        ]);
        let mut slow = gateway.connect();
        std::io::Write::write_all(&mut slow, b"GET / HTTP/1.1\r\n").unwrap();
        assert_eq!(ends(&slow), 0);
        // It counts for the first answer only.
        let session = gateway.open("/udp/239.1.2.3:5000");
        gateway.status_with("the session to be older than that", |status| {
            status["sessions"][0]["seconds"].as_f64().is_some_and(|seconds| seconds > 0.6)
        });
        session.close();
    }
}

lab_test! {
    fn sizes_of_requests_are_settings(lab) {
        let gateway = TestGateway::start(lab, &[
            "--limit", "url-size=256B", "--limit", "header-size=1KiB", "--limit", "header-fields=16",
        ]);
        let ask = |path: &str, fields: &str| {
            gateway.ask(&format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{fields}\r\n", gateway.address))
        };
        let query = |length: usize| format!("/healthz?{}", "q".repeat(length - 9));
        assert_eq!(ask(&query(256), "").status, 200);
        let refused = ask(&query(257), "");
        assert!(refused.status == 414 && refused.body.contains("(--limit url-size)"), "{refused:?}");
        let refused = ask("/healthz", &format!("a: {}\r\n", "b".repeat(1024)));
        assert!(refused.status == 431 && refused.body.contains("(--limit header-size)"), "{refused:?}");
        assert_eq!(ask("/healthz", &"a: b\r\n".repeat(14)).status, 200);
        assert_eq!(ask("/healthz", &"a: b\r\n".repeat(15)).status, 431, "hyper's own answer");
    }
}

lab_test! {
    fn requests_on_one_connection_come_at_a_rate(lab) {
        let gateway = TestGateway::start(lab, &["--limit", "requests=1/s"]);
        let mut connection = gateway.connect();
        let request = format!("GET /healthz HTTP/1.1\r\nHost: {}\r\n\r\n", gateway.address);
        let answers = Answer::to(&mut connection, &request.repeat(3));
        let text = format!("{}\n{}", answers.head, answers.body);
        assert_eq!((text.matches("ok\n").count(), text.matches("429 ").count()), (2, 1), "{text}");
        assert!(text.contains("--limit requests") && text.contains("retry-after: "), "{text}");
        assert_eq!(gateway.fetch("/healthz").status, 200, "another connection");
    }
}

lab_test! {
    fn a_connection_lasts_so_long(lab) {
        let gateway = TestGateway::start(lab, &["--interface", "lan0", "--limit", "lifetime=500ms"]);
        let mut session = gateway.open("/udp/239.1.2.3:5000");
        let (code, reason) = session.closed();
        assert!(code == 1001 && reason.starts_with("lifetime: "), "{code} {reason}");
        let body = gateway.fetch("/udp/239.1.2.3:5000");
        assert_eq!((body.status, body.body.as_str()), (200, "0\r\n\r\n"), "ended in order: {body:?}");
        for closed in gateway.closed(2) {
            assert_eq!((&closed["code"], &closed["closed_by"]), (&1001.into(), &"gateway".into()), "{closed:#}");
        }
    }
}

lab_test! {
    fn subscriptions_are_counted(lab) {
        let gateway = TestGateway::start(lab, &["--interface", "lan0", "--limit", "subscriptions=2"]);
        let path = "/udp/239.1.2.3:5000";
        let held = [gateway.open(path), gateway.open(path)];
        let refused = gateway.ask(&handshake(gateway.address, path, &[]));
        assert_turned_away(&refused, 503, "--limit subscriptions)", 5..=30);
        drop(held);
        await_room(&gateway, path);
    }
}

lab_test! {
    fn streams_are_counted(lab) {
        let gateway = TestGateway::start(lab, &[
            "--interface", "lan0", "--linger", "0", "--limit", "streams=2", "--limit", "join-rate=off",
        ]);
        let first = gateway.open("/udp/239.1.2.1:5000");
        let _second = gateway.open("/udp/239.1.2.2:5000");
        let _again = gateway.open("/udp/239.1.2.2:5000");
        let refused = gateway.ask(&handshake(gateway.address, "/udp/239.1.2.3:5000", &[]));
        assert_turned_away(&refused, 503, "2 streams", 5..=30);
        assert_turned_away(&gateway.fetch("/udp/239.1.2.3:5000"), 503, "--limit streams", 5..=30);
        // A page's script learns it the same way, as nobody needs to mend anything.
        let origin = format!("Origin: http://{}", gateway.address);
        let refused = gateway.ask(&handshake(gateway.address, "/udp/239.1.2.3:5000", &[&origin]));
        assert_turned_away(&refused, 503, "--limit streams", 5..=30);
        first.close();
        gateway.status_with("a place to be free", |status| {
            status["streams"].as_array().is_some_and(|streams| streams.len() == 1)
        });
        gateway.open("/udp/239.1.2.3:5000");
    }
}

lab_test! {
    fn a_session_reads_so_many_streams(lab) {
        // lo, lan0, lan1 and mgmt0 make four.
        for (most, status) in [(3, 403), (4, 101)] {
            let gateway = TestGateway::start(lab, &[
                "--limit", &format!("streams-per-session={most}"), "--limit", "join-rate=off",
            ]);
            let path = "/udp/239.1.2.3:5000?interface=all";
            if status == 101 {
                Raw::open(gateway.connect(), gateway.address, path);
            } else {
                let refused = gateway.ask(&handshake(gateway.address, path, &[]));
                assert_eq!(refused.status, status, "{refused:?}");
                assert!(refused.body.contains("4 interfaces") && refused.body.contains("--limit streams-per-session"), "{refused:?}");
                assert_eq!(gateway.status()["streams"], json!([]), "nothing is joined on the way");
            }
        }
    }
}

lab_test! {
    fn joins_come_at_a_rate(lab) {
        let gateway = TestGateway::start(lab, &["--interface", "lan0", "--limit", "join-rate=1/s"]);
        let _first = [gateway.open("/udp/239.1.2.1:5000"), gateway.open("/udp/239.1.2.2:5000")];
        let mut held = Vec::new();
        let refused = (3..20).find_map(|number| {
            let request = handshake(gateway.address, &format!("/udp/239.1.2.{number}:5000"), &[]);
            let mut stream = gateway.connect();
            let answer = Answer::to(&mut stream, &request);
            held.push(stream);
            (answer.status != 101).then_some(answer)
        });
        assert_turned_away(&refused.expect("a refusal"), 503, "--limit join-rate", 5..=30);
        // What is joined already costs nothing.
        for _ in 0..5 {
            gateway.open("/udp/239.1.2.1:5000");
        }
        await_room(&gateway, "/udp/239.1.2.99:5000");
    }
}

lab_test! {
    fn above_its_mark_of_memory_it_begins_nothing_new(lab) {
        let gateway = TestGateway::start(lab, &[
            "--interface", "lan0", "--linger", "0", "--limit", "memory=80MiB", "--limit", "join-rate=off",
            "--limit", "replay-age=60s",
        ]);
        let mut flows: Vec<Flow> =
            (1..=16).map(|last| Flow::start(lab, &gateway, &format!("239.1.2.{last}:5000"))).collect();
        for flow in &mut flows {
            // What the log holds for those who come late, and more.
            flow.send(150, 60_000);
            if gateway.status()["gateway"]["memory_short"] == true {
                break;
            }
        }
        let status = gateway.status_with("memory to be short", |status| status["gateway"]["memory_short"] == true);
        assert!(status["gateway"]["memory_resident_bytes"].as_u64() >= Some(80 << 20), "{status:#}");
        for path in ["/udp/239.1.2.1:5000", "/udp/239.1.2.99:5000", "/readyz"] {
            assert_turned_away(&gateway.fetch(path), 503, "--limit memory)", 5..=30);
        }
        let protocol = "Sec-WebSocket-Protocol: wscast.v1";
        assert_turned_away(&gateway.ask(&handshake(gateway.address, "/v1", &[protocol])), 503, "--limit memory)", 5..=30);
        // A page's script can't read a failed upgrade.
        let origin = format!("Origin: http://{}", gateway.address);
        let request = handshake(gateway.address, "/udp/239.1.2.1:5000", &[&origin]);
        let (code, reason) = Raw::begin(gateway.connect(), request.as_bytes()).closed();
        assert!(code == 1013 && reason.contains("--limit memory"), "{code} {reason}");
        assert_eq!(gateway.fetch("/healthz").status, 200, "it is alive");
        assert!(gateway.logged("memory is above its mark").contains("WARN"));
        // Who is there is served as before.
        for flow in &mut flows {
            flow.send(10, 1316);
        }
        flows.truncate(1);
        await_room(&gateway, "/udp/239.1.2.99:5000");
        gateway.logged("memory is below its mark again");
        flows[0].send(10, 1316);
    }
}

lab_test! {
    fn all_of_them_are_lifted_at_once(lab) {
        let limited = TestGateway::start(lab, &["--interface", "lan0"]);
        let line = limited.logged("memory bound");
        let bound = limited.status()["gateway"]["memory_bound_bytes"].as_u64().expect("a bound");
        assert!(line.contains("64 streams x") && line.contains("1024 clients x 144KiB"), "{line}");
        assert!(line.contains(&format!("bytes={bound}")), "{line}");
        drop(limited);

        let gateway = TestGateway::start(lab, &["--interface", "lan0", "--limit", "all=off"]);
        assert!(gateway.logged("limits are lifted").contains("WARN"));
        assert!(gateway.logged("no memory bound").contains("WARN"));
        assert_eq!(gateway.status()["gateway"]["memory_bound_bytes"], json!(null));
        let _idle: Vec<TcpStream> = (0..100).map(|_| gateway.connect()).collect();
        let _streams: Vec<_> =
            (0..100).map(|number| gateway.open(&format!("/udp/239.1.3.{number}:5000"))).collect();
        assert_eq!(gateway.status()["streams"].as_array().map(Vec::len), Some(100));
        // A later setting puts one back.
        let gateway = TestGateway::start(lab, &[
            "--interface", "lan0", "--limit", "all=off", "--limit", "connections-per-address=1",
        ]);
        let _held = gateway.open("/udp/239.1.2.3:5000");
        assert_turned_away(&gateway.fetch("/healthz"), 429, "--limit connections-per-address", 5..=15);
    }
}

lab_test! {
    fn one_ipv6_network_is_one_address(lab) {
        lab.sh("ip -n cli address add fd09::3/64 dev eth0 nodad");
        let gateway = TestGateway::start_with(lab, &[
            "--listen", "[fd09::1]:0", "--no-auth", "--allow-receive", "[ff15::]/16", "--interface", "lan0",
            "--limit", "connections-per-address=1",
        ]);
        let from = |source: &str| {
            let source: SocketAddr = source.parse().unwrap();
            let socket = Socket::new(Domain::IPV6, Type::STREAM, None).unwrap();
            socket.bind(&source.into()).unwrap();
            socket.connect(&gateway.address.into()).unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            TcpStream::from(socket)
        };
        let [first, second] = lab.on("cli", || [from("[fd09::2]:0"), from("[fd09::3]:0")]);
        Raw::open(first.try_clone().unwrap(), gateway.address, "/udp/[ff15::42]:5000");
        let request = handshake(gateway.address, "/udp/[ff15::42]:5000", &[]);
        let answer = Answer::to(&mut &second, &request);
        assert_turned_away(&answer, 429, "--limit connections-per-address", 5..=15);
        drop(first);
    }
}

/// Bytes that come until the gateway ends the connection.
fn ends(mut stream: &TcpStream) -> usize {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Err(error) if error.kind() != std::io::ErrorKind::ConnectionReset => panic!("it goes on: {error}"),
        _ => bytes.len(),
    }
}

/// Asserts a refusal that asks to come back, and within which seconds.
fn assert_turned_away(answer: &Answer, status: u16, words: &str, after: RangeInclusive<u32>) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert!(answer.body.contains(words), "{words:?} is not in {answer:?}");
    assert_eq!(answer.body.lines().count(), 1, "{answer:?}");
    assert_eq!(answer.header("content-length"), Some(&*answer.body.len().to_string()), "{answer:?}");
    assert_eq!(answer.header("cache-control"), Some("no-store"), "{answer:?}");
    let seconds = answer.header("retry-after").and_then(|seconds| seconds.parse().ok());
    assert!(seconds.is_some_and(|seconds: u32| after.contains(&seconds)), "{answer:?}");
}

/// Waits until `path` can be had as a WebSocket; its connection.
fn await_room(gateway: &TestGateway<'_>, path: &str) -> TcpStream {
    wait_for(&format!("room for {path}"), PATIENCE, || {
        let mut stream = gateway.connect();
        let answer = Answer::to(&mut stream, &handshake(gateway.address, path, &[]));
        (answer.status == 101).then_some(stream)
    })
}
