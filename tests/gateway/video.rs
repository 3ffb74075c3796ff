//! A real MPEG-TS stream: what ffmpeg sent is what every client gets, byte for byte.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use sha2::{Digest, Sha256};

use crate::support::client::WebSocket;
use crate::support::gateway::{TestGateway, assert_session_balances, assert_stream_balances};
use crate::support::lab::{Lab, Multicast, lab_test, skip};

/// Sent behind the video by the same host: whoever has it has all that came before.
const END: &[u8] = b"the end of the video";

const ANY_SOURCE: Video = Video { group: "239.1.2.3:5000", path: "/udp/239.1.2.3:5000", source: "10.1.0.2" };
const SOURCE_SPECIFIC: Video =
    Video { group: "[ff35::1]:5000", path: "/udp/[fd01::2]@[ff35::1]:5000", source: "fd01::2" };

lab_test! {
    fn video_of_any_source_arrives_byte_for_byte(lab) {
        ANY_SOURCE.watch(lab, 5, 3);
    }
}

lab_test! {
    fn video_of_one_ipv6_source_arrives_byte_for_byte(lab) {
        SOURCE_SPECIFIC.watch(lab, 5, 3);
    }
}

lab_test! {
    #[ignore = "takes a minute"]
    fn a_minute_of_video_of_any_source_arrives_at_ten_clients(lab) {
        ANY_SOURCE.watch(lab, 60, 10);
    }
}

lab_test! {
    #[ignore = "takes a minute"]
    fn a_minute_of_video_of_one_ipv6_source_arrives_at_ten_clients(lab) {
        SOURCE_SPECIFIC.watch(lab, 60, 10);
    }
}

/// A video on its way to a group.
struct Video {
    group: &'static str,
    /// Where the gateway has it.
    path: &'static str,
    /// The address of `srca` that it comes from.
    source: &'static str,
}

impl Video {
    /// Compares what WebSocket clients and one plain HTTP client get with the file that ffmpeg wrote of what it sent.
    fn watch(&self, lab: &Lab, seconds: u32, clients: usize) {
        if skip("ffmpeg", "ffmpeg") {
            return;
        }
        let gateway = TestGateway::start(lab, &["--interface", "lan0"]);
        let mut sockets: Vec<_> = (0..clients).map(|_| gateway.open(self.path)).collect();
        let mut body = self.body(&gateway);
        gateway.await_joined("gw-lan0", self.group);

        let folder = tempfile::tempdir().expect("a folder for the video");
        let file = folder.path().join("video.ts");
        let hashes = std::thread::scope(|scope| {
            let mut viewers: Vec<_> =
                sockets.iter_mut().map(|socket| scope.spawn(|| hash_messages(socket))).collect();
            viewers.push(scope.spawn(|| hash_body(&mut body)));
            let outputs =
                format!("[f=mpegts:muxrate=5M]{}|[f=mpegts:muxrate=5M]{}", file.display(), self.url());
            let ended = ffmpeg(lab, seconds).args(["-f", "tee", &outputs]).status().expect("start ffmpeg");
            assert!(ended.success(), "ffmpeg: {ended}");
            self.send_end(lab);
            viewers.into_iter().map(|viewer| viewer.join().expect("a viewer")).collect::<Vec<_>>()
        });

        let sent = fs::read(&file).expect("read the video");
        let rate = sent.len() as f64 * 8.0 / f64::from(seconds);
        assert!((4.5e6..5.5e6).contains(&rate), "{rate} bit/s is not the video that was asked for");
        let expected: Hash = Sha256::digest(&sent).into();
        for (viewer, hash) in hashes.iter().enumerate() {
            assert!(*hash == expected, "client {viewer} of {} got something else than was sent", clients + 1);
        }

        let stream = gateway.stream(self.group);
        assert_stream_balances(&stream);
        assert_eq!(stream["lost"]["kernel"], 0, "{stream:#}");
        assert_eq!(stream["received_bytes"], sent.len() + END.len(), "{stream:#}");
        assert_eq!(stream["received"], stream["published"], "{stream:#}");
        println!(
            "{}: {} bytes of video in {} datagrams, {seconds} s, {clients} WebSocket clients and one of HTTP",
            self.group,
            sent.len(),
            stream["received"]
        );
        sockets.into_iter().for_each(WebSocket::close);
        drop(body);
        for session in gateway.closed(clients + 1) {
            let (published, written, lost) = assert_session_balances(&session);
            assert_eq!(stream["published"], published, "{session:#}");
            assert_eq!((published, 0), (written, lost), "{session:#}");
        }
    }

    /// The stream as plain HTTP, its head read.
    fn body(&self, gateway: &TestGateway<'_>) -> TcpStream {
        let mut body = gateway.connect();
        write!(body, "GET {} HTTP/1.0\r\nHost: {}\r\n\r\n", self.path, gateway.address).expect("ask");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            body.read_exact(&mut byte).expect("read the head");
            head.push(byte[0]);
        }
        assert!(head.starts_with(b"HTTP/1.0 200"), "{}", String::from_utf8_lossy(&head));
        body
    }

    /// For ffmpeg. Its socket for IPv4 goes by the address; IPv6 has one way out of `srca` only.
    fn url(&self) -> String {
        let Video { group, source, .. } = self;
        format!("udp://{group}?pkt_size=1316&ttl=1&localaddr={source}")
    }

    fn send_end(&self, lab: &Lab) {
        let group = self.group.parse().expect("a group");
        let source = std::net::SocketAddr::new(self.source.parse().expect("an address"), 0);
        lab.on("srca", || Multicast::from("eth0", source, group, 1)).send(END);
    }
}

lab_test! {
    fn ffprobe_finds_what_is_in_a_stream(lab) {
        if skip("ffmpeg", "ffmpeg") || skip("ffprobe", "ffmpeg") {
            return;
        }
        let gateway = TestGateway::start(lab, &["--interface", "lan0"]);
        let mut camera =
            ffmpeg(lab, 3600).args(["-f", "mpegts", &ANY_SOURCE.url()]).spawn().expect("start ffmpeg");
        let found = lab
            .command("cli", "ffprobe")
            .args(["-v", "error", "-show_entries", "format=format_name:stream=codec_name,width,height"])
            .args(["-of", "default=noprint_wrappers=1:nokey=1"])
            .arg(format!("http://{}{}", gateway.address, ANY_SOURCE.path))
            .stdin(Stdio::null())
            .output()
            .expect("start ffprobe");
        camera.kill().expect("stop ffmpeg");
        camera.wait().expect("stop ffmpeg");
        let said = String::from_utf8_lossy(&found.stdout);
        for word in ["mpeg2video", "mp2", "640", "360", "mpegts"] {
            assert!(said.lines().any(|line| line == word), "no {word}: {found:?}");
        }
    }
}

/// ffmpeg on `srca` making `seconds` of video with sound in real time; where it goes is still to be said.
fn ffmpeg(lab: &Lab, seconds: u32) -> Command {
    let mut command = lab.command("srca", "ffmpeg");
    command
        .args(["-nostdin", "-v", "error"])
        .args(["-re", "-f", "lavfi", "-i", "testsrc2=size=640x360:rate=25"])
        .args(["-re", "-f", "lavfi", "-i", "sine", "-map", "0:v", "-map", "1:a"])
        .args(["-c:v", "mpeg2video", "-b:v", "3800k", "-maxrate", "3800k", "-bufsize", "500k"])
        .args(["-c:a", "mp2", "-b:a", "128k", "-t", &seconds.to_string()])
        .stdin(Stdio::null());
    command
}

type Hash = [u8; 32];

/// The hash of all messages before the end.
fn hash_messages(socket: &mut WebSocket) -> Hash {
    let mut hash = Sha256::new();
    loop {
        let message = socket.recv();
        if message == END {
            return hash.finalize().into();
        }
        hash.update(&message);
    }
}

/// The hash of all bytes before the end.
fn hash_body(body: &mut TcpStream) -> Hash {
    let (mut hash, mut tail, mut buffer) = (Sha256::new(), Vec::new(), vec![0; 65536]);
    while tail != END {
        let read = body.read(&mut buffer).expect("read the body");
        assert!(read > 0, "the body ended before the video");
        tail.extend_from_slice(&buffer[..read]);
        // What may be the end is not video yet.
        let before = tail.len().saturating_sub(END.len());
        hash.update(&tail[..before]);
        tail.drain(..before);
    }
    hash.finalize().into()
}
