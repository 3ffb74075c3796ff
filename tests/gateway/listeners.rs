//! Listeners that are no plain TCP port for everybody: unix sockets, proxies in front, and whom those speak for.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;

use serde_json::Value;

use crate::support::gateway::TestGateway;
use crate::support::lab::{Lab, PATIENCE, lab_test, skip};

/// Where the lab's client is.
const CLIENT: &str = "10.9.0.2";
/// A listener for proxies.
const PROXIED: &str = "10.9.0.1:9100";
const REQUEST: &str = "GET /api/v1/status HTTP/1.1\r\nHost: 10.9.0.1:9100\r\nConnection: close\r\n";

/// A gateway with a listener for everybody, and these besides.
fn start<'a>(lab: &'a Lab, folder: &tempfile::TempDir, listen: &str, more: &str) -> TestGateway<'a> {
    let file = folder.path().join("wscast.toml");
    let text = format!(
        "listen = [\"10.9.0.1:0\", {listen}]\nno-auth = true\nallow-receive = [\"239.0.0.0/8\"]\ninterface = \"lan0\"\n{more}"
    );
    std::fs::write(&file, text).expect("write the file");
    TestGateway::start_with(lab, &["--config", file.to_str().expect("UTF-8")])
}

/// What comes back for these bytes from `cli` to the listener for proxies, to the end of the connection.
fn say(lab: &Lab, bytes: &[u8]) -> String {
    let mut stream = lab.on("cli", || TcpStream::connect(PROXIED)).expect("connect");
    stream.set_read_timeout(Some(PATIENCE)).expect("set a deadline");
    stream.write_all(bytes).expect("write");
    let mut answer = Vec::new();
    // A reset is an end as well: the gateway leaves what it does not understand unread.
    match stream.read_to_end(&mut answer) {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("no end after {PATIENCE:?}"),
        _ => String::from_utf8_lossy(&answer).into_owned(),
    }
}

/// A header of version 2 for a client, with its first fields as they are given.
fn binary(command: u8, family: u8, tail: &[u8]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    header.extend([command, family]);
    header.extend((tail.len() as u16).to_be_bytes());
    header.extend(tail);
    header
}

lab_test! {
    fn a_unix_socket_has_its_mode_and_takes_the_place_of_a_stale_one(lab) {
        if skip("curl", "curl") {
            return;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("socket");
        // Nobody listens behind this file any more.
        drop(UnixListener::bind(&path).expect("bind"));
        let listen = format!("{{ address = \"unix:{}\", mode = \"660\" }}", path.display());
        let mut gateway = start(lab, &folder, &listen, "");
        let metadata = std::fs::symlink_metadata(&path).expect("its file");
        assert!(metadata.file_type().is_socket());
        assert_eq!(metadata.permissions().mode() & 0o777, 0o660);
        let curl = |arguments: &str| {
            let script = format!("curl -sS --max-time 10 --unix-socket {} {arguments} 2>&1; true", path.display());
            let output = lab.command("gw", "sh").args(["-c", &script]).output().expect("a shell");
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        assert_eq!(curl("http://localhost/healthz"), "ok\n");
        let upgraded = curl(
            "-o /dev/null -w '%{http_code}' -H 'Connection: Upgrade' -H 'Upgrade: websocket' -H 'Sec-WebSocket-Version: 13' \
             -H 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==' --max-time 2 http://localhost/udp/239.1.2.3:5000",
        );
        assert!(upgraded.contains("101"), "{upgraded}");
        // A second gateway does not take it over.
        let second = lab
            .command("gw", env!("CARGO_BIN_EXE_wscast"))
            .args(["serve", "--listen", &format!("unix:{}", path.display())])
            .output()
            .expect("serve");
        let said = String::from_utf8_lossy(&second.stderr).into_owned();
        assert!(!second.status.success() && said.contains("somebody listens there already"), "{said}");
        assert_eq!(curl("http://localhost/healthz"), "ok\n");
        gateway.signal("TERM");
        assert!(gateway.wait().success());
        assert!(!path.exists(), "its file goes with it");
    }
}

lab_test! {
    fn the_proxy_protocol_says_whose_a_connection_is(lab) {
        let folder = tempfile::tempdir().expect("a folder");
        let listen = format!("{{ address = \"{PROXIED}\", proxy-protocol = true }}");
        let more = format!("trusted-proxy = [\"{CLIENT}\"]\n[limits]\nconnections-per-address = 2\n");
        let gateway = start(lab, &folder, &listen, &more);
        let request = format!("{REQUEST}\r\n");
        let health = "GET /healthz HTTP/1.1\r\nHost: 10.9.0.1:9100\r\nConnection: close\r\n\r\n";
        let client = [192, 0, 2, 7, 10, 9, 0, 1, 0x9c, 0x40, 0x23, 0x8c];
        for header in [
            b"PROXY TCP4 192.0.2.7 10.9.0.1 40000 9100\r\n".to_vec(),
            b"PROXY UNKNOWN\r\n".to_vec(),
            binary(0x21, 0x11, &client),
            // With more behind the addresses than is understood.
            binary(0x21, 0x11, &[&client[..], &[0x20, 0, 1, 9]].concat()),
            // The proxy's own.
            binary(0x20, 0, &[]),
        ] {
            let answer = say(lab, &[&header[..], health.as_bytes()].concat());
            assert!(answer.starts_with("HTTP/1.1 200"), "{header:?}: {answer}");
        }
        for header in [
            b"".to_vec(),
            b"PROXY TCP4 192.0.2.7 10.9.0.1 40000\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.777 10.9.0.1 40000 9100\r\n".to_vec(),
            b"PROXY TCP6 192.0.2.7 10.9.0.1 40000 9100\r\n".to_vec(),
            [b"PROXY TCP4 ".to_vec(), vec![b'1'; 200]].concat(),
            binary(0x11, 0x11, &client),
            binary(0x2f, 0x11, &client),
            binary(0x21, 0x11, &client[..11]),
            binary(0x21, 0x11, &[0; 1025]),
        ] {
            let answer = say(lab, &[&header[..], request.as_bytes()].concat());
            assert_eq!(answer, "", "{header:?}");
        }
        // The limits of an address are the client's: its third connection is refused, while another's is served.
        let open = |address: &str| {
            let mut stream = lab.on("cli", || TcpStream::connect(PROXIED)).expect("connect");
            stream.set_read_timeout(Some(PATIENCE)).expect("set a deadline");
            let header = format!("PROXY TCP4 {address} 10.9.0.1 40000 9100\r\n{health}");
            stream.write_all(header.replace("close", "keep-alive").as_bytes()).expect("write");
            let mut start = [0; 12];
            stream.read_exact(&mut start).expect("an answer");
            (stream, String::from_utf8_lossy(&start).into_owned())
        };
        let kept: Vec<_> = (0..2).map(|_| open("192.0.2.8")).collect();
        assert!(kept.iter().all(|(_, answer)| answer == "HTTP/1.1 200"), "{kept:?}");
        assert!(matches!(&*open("192.0.2.8").1, "HTTP/1.1 429" | "HTTP/1.1 503"));
        assert_eq!(open("192.0.2.9").1, "HTTP/1.1 200");
        drop(kept);
        assert_eq!(gateway.fetch("/healthz").status, 200);
    }
}

lab_test! {
    fn a_listener_for_proxies_is_for_trusted_ones_alone(lab) {
        let folder = tempfile::tempdir().expect("a folder");
        let listen = format!("{{ address = \"{PROXIED}\", proxy-protocol = true }}");
        let _gateway = start(lab, &folder, &listen, "trusted-proxy = [\"10.9.0.77\"]\n");
        let answer = say(lab, b"PROXY TCP4 127.0.0.1 10.9.0.1 40000 9100\r\n");
        assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("--trusted-proxy"), "{answer}");
    }
}

lab_test! {
    fn forwarded_headers_count_from_trusted_proxies_alone(lab) {
        let peers = |trusted: &str, headers: &str| {
            let folder = tempfile::tempdir().expect("a folder");
            let _gateway = start(lab, &folder, &format!("\"{PROXIED}\""), trusted);
            let mut stream = lab.on("cli", || TcpStream::connect(PROXIED)).expect("connect");
            stream.set_read_timeout(Some(PATIENCE)).expect("set a deadline");
            let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
            write!(stream, "GET /udp/239.1.2.3:5000 HTTP/1.1\r\nHost: 10.9.0.1:9100\r\n{upgrade}{headers}\r\n").expect("write");
            let mut start = [0; 12];
            stream.read_exact(&mut start).expect("an answer");
            if start != *b"HTTP/1.1 101" {
                return String::from_utf8_lossy(&start).into_owned();
            }
            let answer = say(lab, format!("{REQUEST}\r\n").as_bytes());
            let body = answer.split_once("\r\n\r\n").expect("a body").1;
            let start = body.find('{').expect("JSON");
            let status: Value = serde_json::Deserializer::from_str(&body[start..]).into_iter().next().expect("JSON").expect("JSON");
            let peer = status["sessions"][0]["peer"].as_str().expect("a peer").to_owned();
            peer.rsplit_once(':').expect("a port").0.to_owned()
        };
        let trusted = format!("trusted-proxy = [\"{CLIENT}\", \"10.7.0.0/16\"]\n");
        for (trusted, headers, peer) in [
            ("", "X-Forwarded-For: 192.0.2.7\r\n", CLIENT),
            (&*trusted, "", CLIENT),
            (&trusted, "X-Forwarded-For: 192.0.2.7\r\n", "192.0.2.7"),
            // Whatever the client wrote itself stands further left.
            (&trusted, "X-Forwarded-For: 1.2.3.4, 192.0.2.7, 10.7.0.1\r\n", "192.0.2.7"),
            (&trusted, "Forwarded: for=\"[2001:db8::7]:4711\";proto=https\r\n", "[2001:db8::7]"),
            (&trusted, "X-Forwarded-For: 192.0.2.7\r\nForwarded: for=192.0.2.8\r\n", "HTTP/1.1 400"),
        ] {
            assert_eq!(peers(trusted, headers), peer, "{trusted:?} {headers:?}");
        }
    }
}
