//! What players and their scripts find: playlists, announcements, udpxy's page, and streams behind proxies.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use wscast::model::token::TokenDigest;

use crate::support::client::WebSocket;
use crate::support::gateway::TestGateway;
use crate::support::lab::{Lab, Multicast, PATIENCE, lab_test, skip, wait_for};

const GROUP: &str = "239.1.2.3:5000";

fn sender(lab: &Lab, group: &str) -> Multicast {
    lab.on("srca", || Multicast::sender("eth0", group.parse().unwrap(), 1))
}

/// Sends an announcement on the LAN, or the end of one.
pub(crate) fn announce(lab: &Lab, deletes: bool, text: &str) {
    let head = [if deletes { 0x24 } else { 0x20 }, 0, 0x12, 0x34, 10, 1, 0, 2];
    let packet = [&head[..], b"application/sdp\0", text.as_bytes()].concat();
    sender(lab, "239.255.255.255:9875").send(&packet);
}

fn announced(gateway: &TestGateway<'_>) -> Value {
    let answer = gateway.fetch("/api/v1/announcements");
    assert_eq!(answer.status, 200, "{answer:?}");
    serde_json::from_str(&answer.body).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
}

lab_test! {
    fn what_is_announced_is_listed_until_it_ends(lab) {
        let gateway = TestGateway::start(lab, &["--interface", "lan0", "--announcements", "lan0"]);
        gateway.await_joined("gw-lan0", "239.255.255.255:9875");
        let session = |number: u32, rest: &str| {
            format!("v=0\r\no=- {number} 1 IN IP4 10.1.0.2\r\ns=Channel, {number}\r\nt=0 0\r\n{rest}")
        };
        announce(lab, false, &session(1, "c=IN IP4 239.1.2.3/8\r\nm=video 5004 RTP/AVP 33\r\n"));
        announce(lab, false, &session(2, "c=IN IP4 239.1.2.4/8\r\nm=video 5000 udp 33\r\n"));
        // Nobody may receive this one.
        announce(lab, false, &session(3, "c=IN IP4 224.5.5.5/8\r\nm=video 5000 udp 33\r\n"));
        announce(lab, false, "nonsense");
        let all = wait_for("all announcements", PATIENCE, || {
            let all = announced(&gateway);
            (all["heard"] == 4).then_some(all)
        });
        assert_eq!((all["announcements"].as_array().map(Vec::len), &all["malformed"]), (Some(2), &1.into()), "{all:#}");
        assert_eq!(all["announcements"][0]["streams"][0]["path"], "/rtp/239.1.2.3:5004?interface=lan0", "{all:#}");
        let list = gateway.fetch("/playlist.m3u").body;
        let base = format!("http://{}", gateway.address);
        assert_eq!(list, format!(
            "#EXTM3U\n#EXTINF:-1,Channel, 1\n{base}/rtp/239.1.2.3:5004?interface=lan0\n\
             #EXTINF:-1,Channel, 2\n{base}/udp/239.1.2.4:5000?interface=lan0\n"
        ));
        announce(lab, true, "o=- 1 1 IN IP4 10.1.0.2\r\n");
        wait_for("the end of the first", PATIENCE, || {
            (announced(&gateway)["announcements"].as_array().map(Vec::len) == Some(1)).then_some(())
        });
    }
}

lab_test! {
    fn named_streams_are_in_the_playlist_and_scripts_find_udpxy_s_page(lab) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("wscast.toml");
        let text = "[streams.news]\ngroup = \"239.1.2.3:5000\"\ninterface = \"lan0\"\n\
                    [streams.tv]\ngroup = \"239.1.2.4:5004\"\nrtp = true\n";
        std::fs::write(&file, text).unwrap();
        let gateway = TestGateway::start(lab, &["--config", file.to_str().unwrap()]);
        let base = format!("http://{}", gateway.address);
        for (query, news, tv) in [
            ("", "/streams/news", "/streams/tv"),
            ("?rtp", "/rtp/239.1.2.3:5000?interface=lan0", "/streams/tv"),
            ("?start=keyframe", "/streams/news?start=keyframe", "/streams/tv?start=keyframe"),
        ] {
            let answer = gateway.fetch(&format!("/playlist.m3u{query}"));
            assert_eq!(answer.header("content-type"), Some("audio/x-mpegurl; charset=utf-8"), "{answer:?}");
            let expected = format!("#EXTM3U\n#EXTINF:-1,news\n{base}{news}\n#EXTINF:-1,tv\n{base}{tv}\n");
            assert_eq!(answer.body, expected, "{query}");
        }
        assert_eq!(gateway.fetch("/playlist.m3u?rtsp").status, 400);
        assert_eq!(announced(&gateway)["announcements"], Value::Array(Vec::new()));
        let mut client = gateway.open("/streams/news");
        gateway.await_joined("gw-lan0", GROUP);
        sender(lab, GROUP).send(b"picture");
        assert_eq!(client.recv(), b"picture");
        for path in ["/status", "/status/"] {
            let page = gateway.fetch(path);
            assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
            for words in ["udpxy status", "<th>Active clients</th>", &format!("<td>{}</td>", gateway.pid()), "<td>1</td>", GROUP] {
                assert!(page.body.contains(words), "{words}: {page:?}");
            }
        }
    }
}

lab_test! {
    fn lists_and_pages_show_what_the_caller_may_have(lab) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("wscast.toml");
        let (token, other) = ("token-of-the-viewer-which-is-long-enough", "token-of-the-box-which-is-long-enough-too");
        let text = format!(
            "listen = [\"10.9.0.1:0\"]\ninterface = \"lan0\"\nannouncements = [\"lan0\"]\n\
             [streams.news]\ngroup = \"239.1.2.3:5000\"\n[streams.secret]\ngroup = \"239.1.2.4:5000\"\n\
             [principals.viewer]\ntokens = [\"{}\"]\nstreams = [\"news\"]\n\
             [principals.box]\ntokens = [\"{}\"]\nstatus = true\n\
             receive = [\"239.7.0.0/16\", {{ groups = \"239.8.0.0/16\", interfaces = [\"lan1\"] }}]\n",
            TokenDigest::of(token.as_bytes()), TokenDigest::of(other.as_bytes())
        );
        std::fs::write(&file, text).unwrap();
        let gateway = TestGateway::start_with(lab, &["--config", file.to_str().unwrap()]);
        let ask = |path: &str, token: &str| {
            let host = gateway.address;
            let who = if token.is_empty() { String::new() } else { format!("Authorization: Bearer {token}\r\n") };
            gateway.ask(&format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{who}\r\n"))
        };
        gateway.await_joined("gw-lan0", "239.255.255.255:9875");
        for (number, group) in [(1, "239.7.0.1"), (2, "239.8.0.1"), (3, "239.1.2.3")] {
            let text = format!(
                "v=0\r\no=- {number} 1 IN IP4 10.1.0.2\r\ns=Film {number}\r\nt=0 0\r\nc=IN IP4 {group}/8\r\nm=video 5000 udp 33\r\n"
            );
            announce(lab, false, &text);
        }
        wait_for("the announcements", PATIENCE, || {
            let all: Value = serde_json::from_str(&ask("/api/v1/announcements", other).body).expect("JSON");
            (all["heard"] == 3).then_some(())
        });
        let named = |token: &str| {
            let list = ask("/playlist.m3u", token).body;
            list.lines().filter_map(|line| line.strip_prefix("#EXTINF:-1,")).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!((named(token), named(other)), (vec!["news".to_owned()], vec!["Film 1".to_owned()]));
        // What may be had by its name only has no other URL.
        assert!(ask("/playlist.m3u?rtp", token).body.ends_with("/streams/news\n"));
        for path in ["/playlist.m3u", "/api/v1/announcements", "/status"] {
            assert_eq!(ask(path, "").status, 401, "{path}");
        }
        assert_eq!((ask("/status", token).status, ask("/status", other).status), (403, 200));
    }
}

/// A proxy on `gw`, between `cli` and the gateway.
struct Proxy(Child);

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a client behind each kind of proxy gets: a stream by HTTP, one by WebSocket.
fn through(lab: &Lab, program: &str, package: &str, start: impl FnOnce(&str, SocketAddr) -> Vec<String>) {
    if skip(program, package) || skip("ffplay", "ffmpeg") || skip("curl", "curl") {
        return;
    }
    let gateway = TestGateway::start(lab, &["--interface", "lan0"]);
    let folder = tempfile::tempdir().unwrap();
    let arguments = start(folder.path().to_str().unwrap(), gateway.address);
    let mut command = lab.command("gw", program);
    command.args(arguments).stdin(Stdio::null());
    let _proxy = Proxy(command.spawn().expect("start the proxy"));
    let front: SocketAddr = "10.9.0.1:8088".parse().unwrap();
    wait_for("the proxy", PATIENCE, || lab.on("cli", || std::net::TcpStream::connect(front).ok()));
    let mut camera = lab.command("srca", "ffmpeg");
    camera
        .args(["-nostdin", "-v", "error", "-re", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25"])
        .args(["-c:v", "mpeg2video", "-b:v", "1M", "-g", "12", "-f", "mpegts"])
        .arg(format!("udp://{GROUP}?pkt_size=1316&ttl=1&localaddr=10.1.0.2"))
        .stdin(Stdio::null());
    let _camera = Proxy(camera.spawn().expect("start ffmpeg"));
    let stream = lab.on("cli", || std::net::TcpStream::connect(front).expect("connect to the proxy"));
    let mut socket = WebSocket::open(stream, front, &format!("/udp/{GROUP}"));
    let datagram = socket.recv();
    assert_eq!((datagram.len() % 188, datagram[0]), (0, 0x47), "MPEG-TS by WebSocket");
    let url = format!("http://{front}/udp/{GROUP}/");
    // A second of it, and no more.
    let mut curl: Command = lab.command("cli", "curl");
    curl.args(["-sS", "--max-time", "1.5", "-o", "-", &url]).stdin(Stdio::null());
    let got = curl.output().expect("start curl");
    assert!(
        got.stdout.len() > 20_000,
        "curl got {} bytes: {:?}",
        got.stdout.len(),
        String::from_utf8_lossy(&got.stderr)
    );
    assert!(got.stdout.chunks_exact(188).all(|packet| packet[0] == 0x47), "MPEG-TS by HTTP");
    let mut player: Command = lab.command("cli", "ffplay");
    player
        .args(["-hide_banner", "-nostats", "-an", "-vf", "showinfo", "-i", &url])
        .env("SDL_VIDEODRIVER", "dummy")
        .env("SDL_AUDIODRIVER", "dummy")
        .stdin(Stdio::null())
        .stderr(Stdio::piped());
    let mut player = Proxy(player.spawn().expect("start ffplay"));
    // Each picture that it shows is a line of the filter; it ends with the test, and the reading with it.
    let (told, lines) = std::sync::mpsc::channel();
    let said = BufReader::new(player.0.stderr.take().expect("a pipe"));
    let reading =
        std::thread::spawn(move || said.lines().map_while(Result::ok).try_for_each(|line| told.send(line)));
    let mut said = String::new();
    while !(said.contains("320x180") && said.contains("n:  10 ")) {
        let line = lines.recv_timeout(PATIENCE);
        let line = line.unwrap_or_else(|error| panic!("ffplay showed no ten pictures: {error}: {said}"));
        said = said + &line + "\n";
    }
    drop((player, lines));
    let _ = reading.join();
}

lab_test! {
    fn players_and_websockets_come_through_nginx(lab) {
        through(lab, "nginx", "nginx-light", |folder, gateway| {
            let text = format!(
                "daemon off; master_process off; user root; pid {folder}/pid; error_log {folder}/error.log;\n\
                 events {{}}\n\
                 http {{\n\
                 access_log off; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;\n\
                 uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;\n\
                 map $http_upgrade $connection_upgrade {{ default upgrade; '' close; }}\n\
                 server {{ listen 10.9.0.1:8088;\n\
                 location / {{ proxy_pass http://{gateway}; proxy_http_version 1.1; proxy_buffering off;\n\
                 proxy_set_header Host {gateway}; proxy_set_header Upgrade $http_upgrade;\n\
                 proxy_set_header Connection $connection_upgrade; proxy_read_timeout 1h; }} }} }}\n"
            );
            let file = format!("{folder}/nginx.conf");
            std::fs::write(&file, text).unwrap();
            vec!["-e".to_owned(), format!("{folder}/error.log"), "-c".to_owned(), file]
        });
    }
}

lab_test! {
    fn players_and_websockets_come_through_haproxy(lab) {
        through(lab, "haproxy", "haproxy", |folder, gateway| {
            let text = format!(
                "defaults\n mode http\n timeout connect 5s\n timeout client 1h\n timeout server 1h\n timeout tunnel 1h\n\
                 frontend tv\n bind 10.9.0.1:8088\n default_backend wscast\n\
                 backend wscast\n http-request set-header Host {gateway}\n server one {gateway}\n"
            );
            let file = format!("{folder}/haproxy.cfg");
            std::fs::write(&file, text).unwrap();
            vec!["-db".to_owned(), "-f".to_owned(), file]
        });
    }
}
