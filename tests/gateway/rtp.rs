//! `/rtp/`: what clients get is what the sender put into its packets, in its order.

mod relay;

use std::collections::BTreeSet;
use std::io::Read as _;
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::client::WebSocket;
use crate::support::gateway::{TestGateway, assert_session_balances, assert_stream_balances};
use crate::support::lab::{Lab, Multicast, lab_test, lacks, skip};
use relay::{Harm, Relay};

const GROUP: &str = "239.1.2.3:5000";

/// A packet with every part that has to go: CSRC, extension, padding.
fn packet(ssrc: u32, sequence: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80 | 0x20 | 0x10 | 1, 33];
    packet.extend(sequence.to_be_bytes());
    packet.extend(1234_u32.to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet.extend(b"csrc\xbe\xde\x00\x01extn");
    packet.extend(payload);
    packet.extend([0, 0, 3]);
    packet
}

fn start<'a>(lab: &'a Lab, more: &[&str]) -> TestGateway<'a> {
    TestGateway::start(lab, &[&["--interface", "lan0"], more].concat())
}

fn sender(lab: &Lab, group: &str) -> Multicast {
    lab.on("srca", || Multicast::sender("eth0", group.parse().unwrap(), 1))
}

/// The books of the RTP stream, once it has taken `received` datagrams.
fn books(gateway: &TestGateway<'_>, received: u64) -> Value {
    let status = gateway.status_with("all packets", |status| {
        let all = status["streams"].as_array().expect("a list");
        all.iter().any(|stream| stream["transport"] != "udp" && stream["received"] == received)
    });
    let all = status["streams"].as_array().expect("a list");
    let stream = all.iter().find(|stream| stream["transport"] != "udp").expect("an RTP stream");
    assert_stream_balances(stream);
    stream.clone()
}

lab_test! {
    fn headers_go_order_comes_back_and_nothing_comes_twice(lab) {
        let gateway = start(lab, &[]);
        let mut client = gateway.open(&format!("/rtp/{GROUP}"));
        let mut whole = gateway.open(&format!("/udp/{GROUP}"));
        gateway.await_joined("gw-lan0", GROUP);
        let srca = sender(lab, GROUP);
        let order = [65533, 65535, 65534, 65535, 1, 0, 0, 65534, 2];
        for sequence in order {
            srca.send(&packet(7, sequence, format!("payload {sequence}").as_bytes()));
        }
        for sequence in [65533_u16, 65534, 65535, 0, 1, 2] {
            assert_eq!(client.recv(), format!("payload {sequence}").as_bytes());
        }
        // Beside it, every datagram is what it was.
        for sequence in order {
            assert_eq!(whole.recv(), packet(7, sequence, format!("payload {sequence}").as_bytes()));
        }
        srca.send(b"no RTP at all");
        srca.send(&[&[0x47; 188][..], &[0x47; 188]].concat());
        assert_eq!(client.recv(), [0x47; 376]);
        let stream = books(&gateway, 11);
        let rtp = &stream["rtp"];
        assert_eq!((&rtp["duplicate"], &rtp["malformed"], &rtp["plain"]), (&3.into(), &1.into(), &1.into()));
        assert_eq!((&rtp["missing"], &rtp["reordered"], &rtp["ssrc"]), (&0.into(), &2.into(), &"00000007".into()));
        let other = gateway.status();
        let other = other["streams"].as_array().unwrap().iter().find(|stream| stream["transport"] == "udp").cloned();
        assert_eq!(other.unwrap()["published"], 11);
    }
}

lab_test! {
    fn a_gap_is_waited_for_and_then_counted(lab) {
        let gateway = start(lab, &["--limit", "reorder-age=300ms", "--limit", "reorder-datagrams=8"]);
        let mut client = gateway.open(&format!("/rtp/{GROUP}"));
        gateway.await_joined("gw-lan0", GROUP);
        let srca = sender(lab, GROUP);
        let send = |sequence: u16| srca.send(&packet(7, sequence, &sequence.to_be_bytes()));
        // Nothing more comes: the time decides.
        [10, 12].into_iter().for_each(send);
        assert_eq!((client.recv(), client.recv()), (vec![0, 10], vec![0, 12]));
        // Late is late, also twice.
        [13, 11, 11].into_iter().for_each(send);
        assert_eq!(client.recv(), [0, 13]);
        // The window decides.
        [15, 16, 17, 18, 19, 20, 21, 22].into_iter().for_each(send);
        for sequence in 15..=22 {
            assert_eq!(client.recv(), [0, sequence]);
        }
        let stream = books(&gateway, 13);
        assert_eq!((&stream["rtp"]["missing"], &stream["rtp"]["late"]), (&2.into(), &2.into()), "{stream:#}");
        assert_eq!((&stream["published"], &stream["rtp"]["held"]), (&11.into(), &0.into()));
        client.close();
        let session = &gateway.closed(1)[0];
        assert_eq!(assert_session_balances(session), (11, 11, 0));
    }
}

lab_test! {
    fn a_sender_that_begins_anew_is_followed_and_a_second_one_is_not(lab) {
        let gateway = start(lab, &[]);
        let mut client = gateway.open(&format!("/rtp/{GROUP}"));
        gateway.await_joined("gw-lan0", GROUP);
        let (srca, srcb) = (sender(lab, GROUP), sender(lab, GROUP));
        for turn in 0..20 {
            srca.send(&packet(1, 100 + turn, b"first"));
            assert_eq!(client.recv(), b"first");
            srcb.send(&packet(2, 9000 + turn, b"second"));
        }
        // The first stops: the second is followed with everything that it sent since.
        for turn in 20..23 {
            srcb.send(&packet(2, 9000 + turn, format!("second {turn}").as_bytes()));
        }
        assert_eq!(client.recv(), b"second");
        for turn in 20..23 {
            assert_eq!(client.recv(), format!("second {turn}").as_bytes());
        }
        let stream = books(&gateway, 43);
        assert_eq!((&stream["rtp"]["restarts"], &stream["rtp"]["other_sender"]), (&1.into(), &19.into()), "{stream:#}");
        assert_eq!(stream["rtp"]["missing"], 0);
    }
}

lab_test! {
    fn a_named_stream_may_be_rtp_and_who_may_is_the_same(lab) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("wscast.toml");
        std::fs::write(&file, "[streams.tv]\ngroup = \"239.1.2.3:5000\"\nrtp = true\nfec = true\n").unwrap();
        let gateway = TestGateway::start_with(lab, &[
            "--listen", "10.9.0.1:0", "--no-auth", "--interface", "lan0", "--config", file.to_str().unwrap(),
            "--allow-receive", "239.5.5.5:5000", "--allow-send", "239.5.5.5:5000",
        ]);
        assert_eq!(gateway.status()["gateway"]["named_streams"]["tv"]["transport"], "rtp+fec");
        let mut client = gateway.open("/streams/tv");
        gateway.await_joined("gw-lan0", GROUP);
        sender(lab, GROUP).send(&packet(1, 1, b"picture"));
        assert_eq!(client.recv(), b"picture");
        assert_eq!(gateway.stream(GROUP)["rtp"]["fec"]["joined"], 2);
        for (path, status, words) in [
            ("/rtp/239.6.6.6:5000", 403, "--allow-receive"),
            // The FEC stands on ports of its own, which nobody may receive here.
            ("/rtp/239.5.5.5:5000?fec=1", 403, "239.5.5.5:5002"),
            ("/rtp/239.5.5.5:65533?fec=1", 400, "port"),
            ("/udp/239.5.5.5:5000?fec=1", 400, "write /rtp/"),
            ("/rtp/239.5.5.5:5000?receive=0", 403, "receives only"),
        ] {
            let answer = gateway.fetch(path);
            assert_eq!(answer.status, status, "{path}: {answer:?}");
            assert!(answer.body.contains(words), "{path}: {answer:?}");
        }
    }
}

lab_test! {
    fn ffmpeg_s_rtp_comes_out_as_it_was_sent(lab) {
        if skip("ffmpeg", "ffmpeg") {
            return;
        }
        let harm = Harm { reorder: 5, duplicate: 1, lose: 0 };
        compare(lab, harm, "", |port| {
            let mut command = lab.command("srca", "ffmpeg");
            command
                .args(["-nostdin", "-v", "error", "-re", "-f", "lavfi", "-i", "testsrc2=size=640x360:rate=25"])
                .args(["-c:v", "mpeg2video", "-b:v", "4M", "-maxrate", "4M", "-bufsize", "500k", "-t", "4"])
                .args(["-f", "rtp_mpegts", &format!("rtp://127.0.0.1:{port}?pkt_size=1328")])
                .stdin(Stdio::null());
            command.spawn().expect("start ffmpeg")
        });
    }
}

lab_test! {
    fn gstreamer_s_rtp_comes_out_as_it_was_sent(lab) {
        if skip_gstreamer() {
            return;
        }
        let harm = Harm { reorder: 5, duplicate: 1, lose: 0 };
        compare(lab, harm, "", |port| {
            gstreamer(lab, &format!("udpsink host=127.0.0.1 port={port}"), &[])
        });
    }
}

lab_test! {
    fn fec_brings_back_what_was_lost(lab) {
        if skip_gstreamer() {
            return;
        }
        for (enabled, what) in [("", "rows and columns"), (r"\ enable-row-fec\=false", "columns")] {
            let (stream, lost) = compare(lab, Harm { reorder: 0, duplicate: 0, lose: 1 }, "?fec=1", |port| {
                let before = fec_encoder(enabled);
                gstreamer(lab, &fec_sinks(port), &before.each_ref().map(String::as_str))
            });
            let repaired = stream["rtp"]["repaired"].as_u64().unwrap();
            println!("FEC of {what}: {repaired} of {} lost packets repaired", lost.len());
            assert!(lost.len() > 10 && repaired as usize >= repairable(&lost), "{repaired} of {lost:?}: {stream:#}");
        }
    }
}

/// What the pipelines here are made of, with its Debian packages.
const ELEMENTS: [(&str, &str); 4] = [
    ("videotestsrc", "gstreamer1.0-plugins-base"),
    ("rtpst2022-1-fecenc", "gstreamer1.0-plugins-good"),
    ("mpegtsmux", "gstreamer1.0-plugins-bad"),
    ("x264enc", "gstreamer1.0-plugins-ugly"),
];

fn skip_gstreamer() -> bool {
    if skip("gst-launch-1.0", "gstreamer1.0-tools") {
        return true;
    }
    let exists = |name: &str| {
        let asked = std::process::Command::new("gst-inspect-1.0").args(["--exists", name]).status();
        asked.is_ok_and(|status| status.success())
    };
    let missing = ELEMENTS.iter().find(|(name, _)| !exists(name));
    if let Some((name, package)) = missing {
        lacks(&format!("{name} (Debian package {package})"));
    }
    missing.is_some()
}

/// GStreamer on `srca`, with four seconds of MPEG-TS in RTP to `sink`, behind `before`.
fn gstreamer(lab: &Lab, sink: &str, before: &[&str]) -> Child {
    let mut command = lab.command("srca", "gst-launch-1.0");
    let pipeline = format!(
        "videotestsrc is-live=true num-buffers=100 pattern=snow ! video/x-raw,width=320,height=240,framerate=25/1 ! \
         x264enc speed-preset=ultrafast tune=zerolatency bitrate=6000 key-int-max=25 ! queue ! mpegtsmux alignment=7 ! \
         rtpmp2tpay mtu=1328 ssrc=0 ! {sink}"
    );
    command.arg("-q").args(before).args(pipeline.split_whitespace()).stdin(Stdio::null());
    command.spawn().expect("start gst-launch-1.0")
}

/// How many of the packets at these places columns of 10 x 10 can bring back: those alone in theirs, the last matrix apart,
/// which may not be whole.
fn repairable(lost: &BTreeSet<usize>) -> usize {
    let last = lost.last().map_or(0, |place| place / 100);
    let column = |place: usize| (place / 100, place % 10);
    let alone = |place: usize| lost.iter().filter(|other| column(**other) == column(place)).count() == 1;
    lost.iter().filter(|place| **place / 100 < last && alone(**place)).count()
}

/// GStreamer's FEC, as its own documentation puts it.
fn fec_encoder(enabled: &str) -> [String; 3] {
    let encoder = format!(r#"fec-encoders=fec,0="rtpst2022-1-fecenc\ rows\=10\ columns\=10{enabled}";"#);
    ["rtpbin".to_owned(), "name=rtp".to_owned(), encoder]
}

/// Media to `port`, columns and rows to those behind it.
fn fec_sinks(port: u16) -> String {
    let sink = |step: u16| format!("udpsink host=127.0.0.1 port={} async=false", port + step);
    format!(
        "rtp.send_rtp_sink_0 rtp.send_rtp_src_0 ! {} rtp.send_fec_src_0_0 ! {} rtp.send_fec_src_0_1 ! {}",
        sink(0),
        sink(2),
        sink(4)
    )
}

/// Sends what `start` makes through a relay that does `harm`, and compares what clients of both kinds get with the payloads
/// before that: all of them, less what stayed lost. The stream's books, and the places of the packets that were lost.
fn compare(
    lab: &Lab,
    harm: Harm,
    query: &str,
    start_sender: impl FnOnce(u16) -> Child,
) -> (Value, BTreeSet<usize>) {
    let gateway = start(lab, &[]);
    let path = format!("/rtp/{GROUP}{query}");
    let mut socket = gateway.open(&path);
    let mut body = gateway.get(&path).stream;
    gateway.await_joined("gw-lan0", GROUP);
    let relay = Relay::start(lab, GROUP, harm);
    let published = OnceLock::new();
    let (sent, stream, got, bytes) = std::thread::scope(|scope| {
        let socket = scope.spawn(|| messages(&mut socket, &published));
        let body = scope.spawn(|| bytes(&mut body, &published));
        let mut process = start_sender(relay.port);
        let ended = process.wait().expect("wait for the sender");
        assert!(ended.success(), "the sender: {ended}");
        let sent = relay.finish();
        let stream = books(&gateway, sent.passed_on);
        let all = (
            stream["published"].as_u64().expect("a number"),
            stream["received_bytes"].as_u64().expect("a number"),
        );
        published.set(all).expect("set once");
        (sent, stream, socket.join().expect("the WebSocket"), body.join().expect("the body"))
    });
    let rtp = &stream["rtp"];
    let number = |value: &Value| value.as_u64().expect("a number");
    let gone = sent.lost.len() as u64 - number(&rtp["repaired"]);
    println!(
        "{} packets, {} reordered, {} twice, {} lost: {rtp}",
        sent.payloads.len(),
        number(&rtp["reordered"]),
        number(&rtp["duplicate"]),
        sent.lost.len()
    );
    assert!(sent.payloads.len() > 500, "{} packets are no stream", sent.payloads.len());
    assert_eq!(number(&stream["published"]), sent.payloads.len() as u64 - gone, "{stream:#}");
    assert_eq!(number(&rtp["missing"]), gone - number(&rtp["held"]).min(gone), "{stream:#}");
    assert_eq!(number(&rtp["duplicate"]), sent.duplicates, "{stream:#}");
    let mut missing = 0;
    let mut came = got.iter();
    let mut next = came.next();
    for (place, payload) in sent.payloads.iter().enumerate() {
        if next == Some(payload) {
            next = came.next();
        } else {
            assert!(sent.lost.contains(&place), "packet {place} of {} is not there", sent.payloads.len());
            missing += 1;
        }
    }
    assert_eq!((next, missing), (None, gone));
    assert!(bytes == got.concat(), "HTTP and WebSocket got the same");
    (stream, sent.lost)
}

/// Datagrams and bytes that were published, once that is known.
type Published = OnceLock<(u64, u64)>;

fn messages(socket: &mut WebSocket, published: &Published) -> Vec<Vec<u8>> {
    let mut got = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(60);
    while published.get().is_none_or(|(count, _)| (got.len() as u64) < *count) {
        got.extend(socket.recv_within(Duration::from_millis(100)));
        assert!(Instant::now() < deadline, "{} messages of {published:?}", got.len());
    }
    got
}

fn bytes(body: &mut TcpStream, published: &Published) -> Vec<u8> {
    let (mut got, mut buffer) = (Vec::new(), vec![0; 65536]);
    let deadline = Instant::now() + Duration::from_secs(60);
    body.set_read_timeout(Some(Duration::from_millis(100))).expect("a timeout");
    while published.get().is_none_or(|(_, bytes)| (got.len() as u64) < *bytes) {
        match body.read(&mut buffer) {
            Ok(read) => got.extend_from_slice(&buffer[..read]),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock, "{error}"),
        }
        assert!(Instant::now() < deadline, "{} bytes of {published:?}", got.len());
    }
    got
}
