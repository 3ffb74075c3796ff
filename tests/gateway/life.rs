//! Start, configuration, logs, signals and the end.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::gateway::{Answer, TestGateway};
use crate::support::lab::{Lab, Multicast, lab_test, wait_for};
use crate::support::raw::{Raw, handshake};

const GROUP: &str = "239.1.2.3:5000";
const STREAM: &str = "/udp/239.1.2.3:5000";
/// How long the gateway may take to stop.
const STOPPING: Duration = Duration::from_secs(10);

lab_test! {
    fn a_signal_ends_everything_in_order(lab) {
        for signal in ["TERM", "INT"] {
            let mut gateway = TestGateway::start(lab, &["--interface", "lan0", "--linger", "60s", "--threads", "2"]);
            let mut clients: Vec<Raw> =
                (0..4).map(|_| Raw::open(gateway.connect(), gateway.address, STREAM)).collect();
            let mut body = gateway.connect();
            write!(body, "GET {STREAM} HTTP/1.1\r\nHost: {}\r\n\r\n", gateway.address).unwrap();
            let mut idle = gateway.connect();
            write!(idle, "GET /healthz HTTP/1.1\r\nHost: {}\r\n\r\n", gateway.address).unwrap();
            gateway.status_with("five sessions", |status| {
                status["sessions"].as_array().is_some_and(|sessions| sessions.len() == 5)
            });
            gateway.await_joined("gw-lan0", GROUP);

            let start = Instant::now();
            gateway.signal(signal);
            for client in &mut clients {
                assert_eq!(client.closed(), (1001, "draining: the gateway is stopping".to_owned()));
            }
            for (stream, end) in [(&mut body, "\r\n0\r\n\r\n"), (&mut idle, "\r\n\r\nok\n")] {
                let mut text = String::new();
                stream.read_to_string(&mut text).expect("an end in order");
                assert!(text.ends_with(end), "{text:?}");
            }
            assert_eq!(gateway.wait().code(), Some(0));
            assert!(start.elapsed() < STOPPING, "it took {:?}", start.elapsed());
            // The process is gone, but only a leave takes the switch's entry away before its time.
            wait_for("the group to be left", Duration::from_secs(10), || {
                (!lab.is_member("gw-lan0", "239.1.2.3".parse().unwrap())).then_some(())
            });
            let lines = gateway.log();
            let closed: Vec<&str> = lines.lines().filter(|line| line.contains("session closed")).collect();
            assert_eq!(closed.len(), 5, "{lines}");
            assert!(closed.iter().all(|line| line.contains("code=1001 by=\"gateway\"")), "{lines}");
        }
    }
}

lab_test! {
    fn connections_that_ask_nothing_do_not_hold_up_the_end(lab) {
        let mut gateway = TestGateway::start(lab, &["--interface", "lan0"]);
        let mut silent = gateway.connect();
        // Has been accepted, as connections are in their order.
        assert_eq!(gateway.fetch("/healthz").status, 200);
        gateway.signal("TERM");
        let mut rest = Vec::new();
        silent.read_to_end(&mut rest).expect("an end in order");
        assert_eq!(rest, b"");
        assert_eq!(gateway.wait().code(), Some(0));
    }
}

lab_test! {
    fn clients_that_read_nothing_do_not_keep_it_from_ending(lab) {
        let mut gateway = TestGateway::start(lab, &["--interface", "lan0", "--limit", "stall=off"]);
        let _held = stall(lab, &gateway);
        let start = Instant::now();
        gateway.signal("TERM");
        assert_eq!(gateway.wait().code(), Some(0));
        assert!(start.elapsed() < STOPPING, "it took {:?}", start.elapsed());
    }
}

lab_test! {
    fn while_it_stops_it_takes_nothing_new_and_a_second_signal_ends_it_at_once(lab) {
        for second in ["TERM", "INT"] {
            let mut gateway = TestGateway::start(lab, &["--interface", "lan0", "--limit", "stall=off"]);
            let _held = stall(lab, &gateway);
            // Requests of which the last byte is missing.
            let begin = |request: String| {
                let mut stream = gateway.connect();
                stream.write_all(&request.as_bytes()[..request.len() - 1]).unwrap();
                stream
            };
            let ready = begin(format!("GET /readyz HTTP/1.1\r\nHost: {}\r\n\r\n", gateway.address));
            let opening = begin(handshake(gateway.address, STREAM, &[]));
            assert_eq!(gateway.fetch("/readyz").status, 200);
            gateway.signal("TERM");
            gateway.logged("stopping");
            wait_for("the port to be closed", STOPPING, || {
                lab.on("cli", || TcpStream::connect(gateway.address)).is_err().then_some(())
            });
            for mut stream in [ready, opening] {
                let answer = Answer::to(&mut stream, "\n");
                assert_eq!(answer.status, 503, "{answer:?}");
                assert!(answer.body.starts_with("overload: draining") && answer.header("retry-after").is_some());
            }
            gateway.signal(second);
            assert_eq!(gateway.wait().code(), Some(130), "at once, and saying that it was not in order");
        }
    }
}

lab_test! {
    fn without_a_word_it_listens_to_this_machine_only(lab) {
        let gateway = TestGateway::start_with(lab, &[]);
        assert_eq!(gateway.address.to_string(), "127.0.0.1:8080");
        for address in ["10.9.0.1:8080", "[fd09::1]:8080"] {
            let refused = lab.on("cli", || TcpStream::connect(address)).expect_err("nobody listens");
            assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        }
        // Every group that is no control protocol's may be received, none sent to.
        let ask = |path: &str| {
            let request = format!("HEAD {path} HTTP/1.0\r\nHost: localhost\r\n\r\n");
            gateway.ask_from("gw", gateway.address, &request).status
        };
        assert_eq!(ask("/udp/239.1.2.3:5000?interface=lan0"), 200);
        assert_eq!(ask("/udp/[ff15::42]:5000?interface=lan0"), 200);
        assert_eq!(ask("/udp/224.0.0.251:5353?interface=lan0"), 403);
        assert_eq!(ask("/udp/239.1.2.3:5000?interface=lan0&receive=0"), 403);
    }
}

lab_test! {
    fn flags_stand_above_the_environment_and_that_above_the_file(lab) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("wscast.toml");
        let text = "listen = [\"127.0.0.1:7001\"]\nthreads = 2\nno-auth = true\ninterface = \"lan1\"\n\
            allow-receive = [\"239.1.0.0/16\"]\n[limits]\nstreams = 5\n";
        std::fs::write(&file, text).unwrap();
        let file = file.to_str().unwrap();
        let asked = |gateway: &TestGateway<'_>, request: &str| {
            let request = format!("{request} HTTP/1.0\r\nHost: {}\r\n\r\n", gateway.address);
            gateway.ask_from("gw", gateway.address, &request)
        };
        let threads = |gateway: &TestGateway<'_>| {
            let status: Value = serde_json::from_str(&asked(gateway, "GET /api/v1/status").body).unwrap();
            status["gateway"]["threads"].as_u64()
        };

        // The suite itself may run with more threads than one.
        let gateway = TestGateway::start_without(lab, &["--config", file], "WSCAST_THREADS");
        assert_eq!((gateway.address.port(), threads(&gateway)), (7001, Some(2)));
        let answer = asked(&gateway, &format!("HEAD {STREAM}"));
        assert_eq!((answer.status, answer.header("wscast-interface")), (200, Some("lan1")));
        assert_eq!(asked(&gateway, "HEAD /udp/239.2.0.1:5000").status, 403);
        gateway.logged("5 streams x");
        drop(gateway);

        let environment = [
            ("WSCAST_CONFIG", file),
            ("WSCAST_LISTEN", "127.0.0.1:7002,127.0.0.1:7003"),
            ("WSCAST_THREADS", "3"),
            ("WSCAST_INTERFACE", "lan0"),
            ("WSCAST_ALLOW_RECEIVE", "239.2.0.0/16"),
            ("WSCAST_LIMIT", "streams=6,connections=7"),
        ];
        let gateway = TestGateway::start_in(lab, &[], &environment);
        assert_eq!((gateway.address.port(), threads(&gateway)), (7002, Some(3)));
        assert_eq!(asked(&gateway, "HEAD /udp/239.2.0.1:5000").header("wscast-interface"), Some("lan0"));
        assert_eq!(asked(&gateway, &format!("HEAD {STREAM}")).status, 403, "a list replaces the file's");
        assert!(gateway.logged("6 streams x").contains(" 7 clients x"));
        drop(gateway);

        let flags = [
            "--listen", "127.0.0.1:7004", "--threads", "4", "--interface", "mgmt0", "--allow-receive",
            "239.3.0.0/16", "--limit", "streams=8", "--log-format", "json",
        ];
        let gateway = TestGateway::start_in(lab, &flags, &environment);
        assert_eq!((gateway.address.port(), threads(&gateway)), (7004, Some(4)));
        assert_eq!(asked(&gateway, "HEAD /udp/239.3.0.1:5000").header("wscast-interface"), Some("mgmt0"));
        assert!(gateway.logged("8 streams x").starts_with('{'));
    }
}

lab_test! {
    fn the_example_configuration_runs(lab) {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/example.toml");
        let gateway = TestGateway::start_with(lab, &["--config", file, "--listen", "10.9.0.1:0"]);
        let status = gateway.status();
        let named = &status["gateway"]["named_streams"];
        assert_eq!((&named["camera"]["path"], &named["radio"]["path"]), (&"/streams/camera".into(), &"/streams/radio".into()));
        assert_eq!(named["radio"]["sources"], serde_json::json!(["10.1.0.2", "10.1.0.3"]));
        assert_eq!((&named["camera"]["group"], &named["camera"]["interface"]), (&GROUP.into(), &"lan1".into()));
        let policy = &status["gateway"]["policy"];
        assert_eq!(policy["receive"][2], "[ff15::]/16:5000-5999", "{policy}");
        assert_eq!(policy["send"], serde_json::json!([GROUP]), "{policy}");
        for (path, interface, sender) in [("/streams/camera", "lan1", "srcb"), ("/streams/radio", "lan0", "srcc")] {
            let mut client = gateway.open(path);
            assert_eq!(client.interface(), interface);
            let group = if interface == "lan1" { GROUP } else { "232.1.2.3:5004" };
            gateway.await_joined(&format!("gw-{interface}"), group);
            lab.on(sender, || Multicast::sender("eth0", group.parse().unwrap(), 1)).send(path.as_bytes());
            assert_eq!(client.recv(), path.as_bytes());
        }
    }
}

lab_test! {
    fn json_logs_are_one_object_a_line(lab) {
        let gateway = TestGateway::start(lab, &["--interface", "lan0", "--log-format", "json"]);
        gateway.open(STREAM).close();
        gateway.fetch("/no\"thing");
        gateway.fetch("/udp/%22%0a:1");
        let line = gateway.logged("session closed");
        let closed: Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&closed["fields"]["code"], &closed["level"]), (&1005.into(), &"INFO".into()), "{closed}");
        assert_eq!(closed["span"]["name"], "session");
        gateway.logged("is not a group");
        for line in gateway.log().lines() {
            let parsed: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            assert!(parsed["timestamp"].is_string() && parsed["level"].is_string(), "{line}");
            assert!(parsed["fields"]["message"].is_string(), "{line}");
        }
    }
}

lab_test! {
    fn secrets_are_not_logged(lab) {
        let gateway =
            TestGateway::start_in(
                lab,
                &["--listen", "10.9.0.1:0", "--no-auth", "--allow-receive", "239.0.0.0/8", "--interface", "lan0"],
                &[("RUST_LOG", "trace")],
            );
        let bearer = "Sec-WebSocket-Protocol: wscast.raw, wscast.bearer.SECRET";
        for path in [
            "/udp/239.1.2.3:5000?token=SECRET",
            "/udp/239.1.2.3:5000?interface=nope0&token=SECRET",
            "/udp/239.1.2.3:5000?token=SECRET%zz",
            "/udp/239.1.2.3:5000?token=SECRET&token=SECRET",
            "/udp/239.1.2.3?token=SECRET",
            "/udp/224.0.0.251:5353?token=SECRET",
            "/api/v1/status?token=SECRET",
            "/?token=SECRET",
            "/nothing?token=SECRET",
        ] {
            let more = [bearer, "Authorization: Bearer SECRET", "Cookie: session=SECRET"];
            if path.starts_with("/udp/") {
                Answer::to(&mut gateway.connect(), &handshake(gateway.address, path, &more));
            }
            let plain = handshake(gateway.address, path, &more).replace("Upgrade: websocket\r\n", "");
            Answer::to(&mut gateway.connect(), &plain.replace("GET", "HEAD").replace("Upgrade", "close"));
        }
        gateway.fetch("/last");
        gateway.logged("/last");
        assert!(!gateway.log().contains("SECRET"));
        assert!(!gateway.status().to_string().contains("SECRET"));
    }
}

/// Lets a stream run full into a WebSocket and a body that nobody reads: their connections.
fn stall(lab: &Lab, gateway: &TestGateway<'_>) -> (Raw, TcpStream) {
    let client = Raw::open(gateway.connect(), gateway.address, STREAM);
    let mut body = gateway.connect();
    write!(body, "GET {STREAM} HTTP/1.1\r\nHost: {}\r\n\r\n", gateway.address).expect("write the request");
    gateway.await_joined("gw-lan0", GROUP);
    let source = lab.on("srca", || Multicast::sender("eth0", GROUP.parse().expect("a group"), 1));
    gateway.status_with("both to be blocked", |status| {
        (0..200).for_each(|_| source.send(&[7; 8000]));
        status["sessions"]
            .as_array()
            .is_some_and(|all| all.len() == 2 && all.iter().all(|one| one["blocked"] == true))
    });
    (client, body)
}
