//! What the doctor finds of a gateway.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use super::super::Running;
use super::super::support::gateway::TestGateway;
use super::super::support::lab::{Lab, PATIENCE, lab_test, lacks, wait_for};
use super::Diagnosis;

lab_test! {
    fn a_healthy_gateway_is_healthy(lab) {
        let gateway = TestGateway::start(lab, &["--interface", "lan0"]);
        let _sending = Running::start(lab, "srca", "send 239.1.2.3:5000 --interface eth0 --rate 50 --count 3000");
        let _open = gateway.open("/udp/239.1.2.3:5000");
        gateway.status_with("datagrams", |status| status["streams"][0]["state"] == "receiving");
        let words = format!("239.1.2.3:5000 --gateway http://{} --interface eth0 --listen 0", gateway.address);
        let report = Diagnosis::of(lab, "cli", &words).assert_nothing().report;
        assert_eq!(report["gateway"]["streams"]["239.1.2.3:5000"], 200, "{report:#}");
    }
}

lab_test! {
    fn gateways_that_refuse_are_told_apart(lab) {
        let gateway = TestGateway::start(lab, &["--interface", "lan0"]);
        let (address, port) = (gateway.address, gateway.address.port());
        lab.sh("echo '10.9.0.1 tv.example.org' >>/run/hosts; mount --bind /run/hosts /etc/hosts");
        for (words, name) in [
            (format!("--gateway http://tv.example.org:{port}"), "gateway-host-refused"),
            (format!("--gateway http://{address} --origin https://app.example.org"), "gateway-origin-refused"),
            (format!("238.9.9.9:5000 --gateway http://{address}"), "gateway-refuses-group"),
            ("--gateway http://10.9.0.1:9".to_owned(), "gateway-unreachable"),
        ] {
            let diagnosis = Diagnosis::of(lab, "cli", &format!("{words} --interface eth0 --listen 0"));
            let names: Vec<_> = diagnosis.names().into_iter().filter(|one| *one != "reserved-group").collect();
            assert_eq!(names, [name], "{:#}", diagnosis.report);
            assert_eq!(diagnosis.said.code, Some(1));
        }
    }
}

lab_test! {
    fn something_else_is_not_a_gateway(lab) {
        let listener = lab.on("gw", || TcpListener::bind("10.9.0.1:0").expect("bind"));
        let address = listener.local_addr().expect("an address");
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let _ = { stream }.write_all(b"220 mail.example.org\r\n\r\n");
            }
        });
        let words = format!("--gateway http://{address} --interface eth0 --listen 0");
        Diagnosis::of(lab, "cli", &words).assert(&["not-a-gateway"], "fault");
    }
}

lab_test! {
    fn the_state_of_its_streams_is_told(lab) {
        let gateway = TestGateway::start(lab, &["--interface", "lan0"]);
        let _open = gateway.open("/udp/239.1.2.3:5000");
        gateway.await_joined("gw-lan0", "239.1.2.3:5000");
        let words = format!("--gateway http://{} --interface eth0 --listen 0", gateway.address);
        Diagnosis::of(lab, "cli", &words).assert(&["gateway-stream-silent"], "warning");
        lab.sh("ip -n gw link set lan0 down");
        gateway.status_with("waiting", |status| status["streams"][0]["state"] == "waiting-for-interface");
        Diagnosis::of(lab, "cli", &words).assert(&["gateway-stream-waiting"], "fault");
        drop(gateway);
    }
}

lab_test! {
    fn what_its_kernel_loses_is_told(lab) {
        let gateway = TestGateway::start(lab, &["--interface", "lan0", "--receive-buffer", "4KiB"]);
        let _open = gateway.open("/udp/239.1.2.3:5000");
        gateway.await_joined("gw-lan0", "239.1.2.3:5000");
        // Stopped, it takes nothing, and its buffer is small.
        gateway.signal("STOP");
        let sent = super::run(lab, "srca", "send 239.1.2.3:5000 --interface eth0 --count 200 --size 1400");
        gateway.signal("CONT");
        sent.assert_code(0);
        wait_for("a datagram after the loss", PATIENCE, || {
            super::run(lab, "srca", "send 239.1.2.3:5000 --interface eth0").assert_code(0);
            let stream = gateway.stream("239.1.2.3:5000");
            (stream["lost"]["kernel"].as_u64() > Some(0)).then_some(())
        });
        let words = format!("--gateway http://{} --interface eth0 --listen 0", gateway.address);
        let names = Diagnosis::of(lab, "cli", &words);
        assert!(names.names().contains(&"gateway-losses"), "{:#}", names.report);
    }
}

/// Answers every request on gw as `answer` says for its path: a status line's rest, and a body.
fn answering(lab: &Lab, answer: fn(&str) -> (&'static str, &'static str)) -> SocketAddr {
    let listener = lab.on("gw", || TcpListener::bind("10.9.0.1:0").expect("bind"));
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = BufReader::new(stream);
            let mut request = String::new();
            while !request.ends_with("\r\n\r\n") {
                match stream.read_line(&mut request) {
                    Ok(1..) => {}
                    // Not UTF-8, as TLS begins, or gone.
                    _ => break,
                }
            }
            let (status, body) = answer(request.split(' ').nth(1).unwrap_or_default());
            let length = body.len();
            let text =
                format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
            let _ = stream.get_mut().write_all(text.as_bytes());
        }
    });
    address
}

lab_test! {
    fn a_gateway_that_stops_and_one_that_wants_a_token_are_found(lab) {
        let stopping = answering(lab, |path| match path {
            "/readyz" => ("503 Service Unavailable", "draining: the gateway is stopping"),
            "/api/v1/status" => ("200 OK", r#"{"gateway":{"id":"0123456789abcdef"},"streams":[]}"#),
            _ => ("200 OK", "ok"),
        });
        let words = format!("--gateway http://{stopping} --interface eth0 --listen 0");
        Diagnosis::of(lab, "cli", &words).assert(&["gateway-draining"], "warning");
        let careful = answering(lab, |path| match path {
            "/healthz" | "/readyz" => ("200 OK", "ok"),
            _ => ("401 Unauthorized", "unauthorized: a token is wanted"),
        });
        let words = format!("239.1.2.3:5000 --gateway http://{careful} --interface eth0 --listen 0");
        Diagnosis::of(lab, "cli", &words).assert(&["gateway-token-refused"], "fault");
        // TLS, where plain HTTP is spoken.
        if !Path::new("/etc/ssl/certs/ca-certificates.crt").exists() {
            return lacks("certificate authorities (Debian package ca-certificates)");
        }
        let words = format!("--gateway https://{careful} --interface eth0 --listen 0");
        Diagnosis::of(lab, "cli", &words).assert(&["gateway-tls"], "fault");
    }
}
