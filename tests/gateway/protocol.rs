//! Frames made by hand: what breaks the protocol is answered with the right code, and the books are closed.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::Shutdown;
use std::time::Duration;

use crate::support::gateway::TestGateway;
use crate::support::lab::{Lab, Multicast, Receiver, lab_test};
use crate::support::raw::{
    BINARY, BINARY_BEGINS, CLOSE, CONTINUES, ENDS, Frame, PING, PONG, Raw, TEXT, TEXT_BEGINS, announced,
    close, frame, unmasked,
};

const GROUP: &str = "239.1.2.3:5000";
const STREAM: &str = "/udp/239.1.2.3:5000";

/// A gateway whose clients may send to [`GROUP`], as fast as they like.
fn start<'a>(lab: &'a Lab, arguments: &[&str]) -> TestGateway<'a> {
    let open = [
        "--interface",
        "lan0",
        "--allow-send",
        GROUP,
        "--limit",
        "connection-rate-per-address=off",
        "--limit",
        "send-rate-per-session=off",
        "--limit",
        "send-rate-per-group=off",
        "--limit",
        "send-rate=off",
        "--limit",
        "send-bandwidth=off",
    ];
    TestGateway::start(lab, &[&open[..], arguments].concat())
}

fn open(gateway: &TestGateway<'_>) -> Raw {
    Raw::open(gateway.connect(), gateway.address, STREAM)
}

lab_test! {
    fn what_breaks_the_protocol_is_closed_with_the_right_code(lab) {
        let gateway = start(lab, &[]);
        let mut seventeen = frame(BINARY_BEGINS, b"x");
        (0..15).for_each(|_| seventeen.extend(frame(CONTINUES, b"x")));
        seventeen.extend(frame(ENDS, b"x"));
        let mut flood: Vec<u8> = Vec::new();
        (0..40).for_each(|_| flood.extend(frame(PING, b"")));
        let half = [frame(TEXT_BEGINS, b"\xc3"), frame(ENDS, b"(")].concat();
        let large = [frame(BINARY_BEGINS, &[0; 40_000]), frame(ENDS, &[0; 25_537])].concat();
        let cases: Vec<(&str, Vec<u8>, u16, &str)> = vec![
            ("an unmasked frame", unmasked(BINARY, b"x"), 1002, "protocol: "),
            ("an unmasked ping", unmasked(PING, b"x"), 1002, "protocol: "),
            ("reserved bit 1", frame(BINARY | 0x40, b"x"), 1002, "protocol: "),
            ("reserved bit 2", frame(BINARY | 0x20, b"x"), 1002, "protocol: "),
            ("reserved bit 3", frame(PING | 0x10, b"x"), 1002, "protocol: "),
            ("opcode 3", frame(0x83, b"x"), 1002, "protocol: "),
            ("opcode 7", frame(0x87, b""), 1002, "protocol: "),
            ("opcode 11", frame(0x8b, b"x"), 1002, "protocol: "),
            ("opcode 15", frame(0x8f, b""), 1002, "protocol: "),
            ("a continuation of nothing", frame(CONTINUES, b"x"), 1002, "protocol: "),
            ("an end of nothing", frame(ENDS, b"x"), 1002, "protocol: "),
            (
                "a message inside a message",
                [frame(BINARY_BEGINS, b"x"), frame(BINARY, b"y")].concat(),
                1002,
                "protocol: ",
            ),
            ("a control frame of 126 bytes", frame(PING, &[0; 126]), 1002, "protocol: "),
            ("a close frame of 126 bytes", frame(CLOSE, &[3; 126]), 1002, "protocol: "),
            ("a control frame in parts", frame(0x09, b"x"), 1002, "protocol: "),
            ("a close in parts", frame(0x08, b"\x03\xe8"), 1002, "protocol: "),
            ("a close of one byte", frame(CLOSE, b"\x03"), 1002, "protocol: "),
            ("bad UTF-8", frame(TEXT, b"\xff"), 1007, "not_utf8: "),
            ("a surrogate", frame(TEXT, b"\xed\xa0\x80"), 1007, "not_utf8: "),
            ("half a character", frame(TEXT, b"gr\xc3"), 1007, "not_utf8: "),
            ("bad UTF-8 over two fragments", half, 1007, "not_utf8: "),
            ("a close reason of bad UTF-8", close(1000, b"\xff"), 1007, "not_utf8: "),
            ("seventeen fragments", seventeen, 1008, "flood: a message in more than 16 fragments"),
            ("a flood of pings", flood, 1008, "flood: too many control frames"),
            ("65537 bytes", frame(BINARY, &[0; 65_537]), 1009, "message_too_large: more than 65536"),
            ("65537 bytes in two fragments", large, 1009, "message_too_large: more than 65536"),
            ("2^40 bytes to come", announced(BINARY, 1 << 40), 1009, "message_too_large: more than 65536"),
            ("2^63 bytes to come", announced(TEXT, 1 << 63), 1009, "message_too_large: more than 65536"),
            ("2^40 bytes of ping to come", announced(PING, 1 << 40), 1009, "message_too_large: "),
            ("1453 bytes", frame(BINARY, &[0; 1453]), 4413, "datagram_too_large: 1453 bytes, at most 1452"),
        ];
        let mut expected: Vec<u16> = cases.iter().map(|(_, _, code, _)| *code).collect();
        for (what, bytes, code, words) in cases {
            let mut client = open(&gateway);
            // More behind the offence, which nobody reads: it must not turn the close into a reset.
            client.send(&[bytes, frame(BINARY, &[7; 1000])].concat());
            let (closed, reason) = client.closed();
            assert_eq!(closed, code, "{what}: {reason}");
            assert!(reason.starts_with(words), "{what}: {reason:?}");
        }
        let sessions = gateway.closed(expected.len());
        let mut codes: Vec<u16> = sessions.iter().map(|one| one["code"].as_u64().unwrap() as u16).collect();
        codes.sort_unstable();
        expected.sort_unstable();
        assert_eq!(codes, expected);
        assert_eq!(gateway.stream(GROUP)["state"], "silent", "the stream minds nothing of it");
    }
}

lab_test! {
    fn what_is_allowed_passes(lab) {
        let gateway = start(lab, &["--limit", "send-size=65507"]);
        let receiver = lab.on("srca", || Receiver::join("eth0", GROUP.parse().unwrap()));
        lab.await_member("srca-eth0", "239.1.2.3".parse().unwrap());
        let mut client = open(&gateway);
        let mut sixteen = frame(BINARY_BEGINS, b"a");
        (0..14).for_each(|_| sixteen.extend(frame(CONTINUES, b"b")));
        sixteen.extend(frame(ENDS, b"c"));
        let split = [
            frame(TEXT_BEGINS, b"gr\xc3"), frame(PING, b"between"), frame(CONTINUES, b""), frame(ENDS, b"\xbcn"),
        ].concat();
        for (bytes, payload) in [
            (frame(TEXT, "grün".as_bytes()), "grün".as_bytes().to_vec()),
            (frame(BINARY, b"\xff\x00"), b"\xff\x00".to_vec()),
            (frame(BINARY, b""), Vec::new()),
            (frame(TEXT, b""), Vec::new()),
            (sixteen, b"abbbbbbbbbbbbbbc".to_vec()),
            (split, "grün".as_bytes().to_vec()),
            (frame(BINARY, &[9; 1472]), vec![9; 1472]),
            (frame(BINARY, &[8; 65_507]), vec![8; 65_507]),
        ] {
            client.send(&bytes);
            assert_eq!(receiver.recv().payload, payload);
        }
        assert_eq!(client.frame(), Frame { first: PONG, payload: b"between".to_vec() });
        // A frame may come in pieces of one byte.
        client.stream().set_nodelay(true).unwrap();
        for byte in frame(TEXT, b"slowly") {
            client.send(&[byte]);
        }
        assert_eq!(receiver.recv().payload, b"slowly");
        // Pongs that nobody asked for mean nothing.
        client.send(&[frame(PONG, b"unasked"), frame(BINARY, b"on")].concat());
        assert_eq!(receiver.recv().payload, b"on");
    }
}

lab_test! {
    fn a_message_that_is_never_completed_is_not_waited_for(lab) {
        let gateway = start(lab, &[]);
        let mut begun = open(&gateway);
        begun.send(&frame(BINARY_BEGINS, b"and?"));
        let mut announced_only = open(&gateway);
        announced_only.send(&announced(BINARY, 1000));
        let mut half_a_header = open(&gateway);
        half_a_header.send(&[BINARY]);
        for client in [&mut begun, &mut announced_only, &mut half_a_header] {
            assert_eq!(client.closed(), (1008, "slow_message: not complete within 5 s (--limit message-time)".to_owned()));
        }
    }
}

lab_test! {
    fn a_close_is_answered_with_its_own_code_and_an_end_in_order(lab) {
        let gateway = start(lab, &[]);
        let mut expected = Vec::new();
        for (bytes, answer) in [
            (close(1000, b"done"), 1000),
            (close(1001, b""), 1001),
            (close(1011, "ü".repeat(61).as_bytes()), 1011),
            (close(3000, b""), 3000),
            (close(4999, b"own"), 4999),
            (frame(CLOSE, b""), 1005),
            (close(0, b""), 1002),
            (close(999, b""), 1002),
            (close(1004, b""), 1002),
            (close(1005, b""), 1002),
            (close(1006, b""), 1002),
            (close(1015, b""), 1002),
            (close(1016, b""), 1002),
            (close(2999, b""), 1002),
            (close(5000, b""), 1002),
            (close(65535, b""), 1002),
        ] {
            let mut client = open(&gateway);
            // What follows a close is not read, and does no harm.
            client.send(&[bytes, frame(BINARY, &[7; 1000]), frame(PING, b"late")].concat());
            assert_eq!(client.closed().0, answer);
            expected.push(answer);
        }
        for session in gateway.closed(expected.len()) {
            assert_eq!(session["closed_by"], "client", "{session:#}");
            assert_eq!(session["sender"], serde_json::Value::Null, "{session:#}");
        }
    }
}

lab_test! {
    fn a_close_frame_arrives_although_the_client_is_still_sending(lab) {
        let gateway = start(lab, &[]);
        for _ in 0..5 {
            let mut client = open(&gateway);
            let mut sending = client.stream().try_clone().unwrap();
            // 200 KiB on the way when the close is written: a reset would eat it.
            let sender = std::thread::spawn(move || {
                let mut bytes = frame(BINARY, &[0; 2000]);
                (0..200).for_each(|_| bytes.extend(frame(BINARY, &[1; 1000])));
                let _ = sending.write_all(&bytes);
            });
            assert_eq!(client.closed().0, 4413);
            sender.join().unwrap();
        }
    }
}

/// Datagrams on their way at once, but for half as many.
const WINDOW: u32 = 50;

lab_test! {
    fn pings_are_answered_between_the_frames_of_a_stream(lab) {
        let gateway = start(lab, &["--limit", "control-frames=off"]);
        let mut client = open(&gateway);
        gateway.await_joined("gw-lan0", GROUP);
        let source = lab.on("srca", || Multicast::sender("eth0", GROUP.parse().unwrap(), 1));
        let payload = |number: u32| [&number.to_be_bytes()[..], &vec![number as u8; (number as usize * 37) % 9000]].concat();
        // A window at a time, so that no buffer on the way has to hold more.
        let (window, windows) = std::sync::mpsc::channel();
        window.send(()).unwrap();
        let sending = std::thread::spawn(move || {
            for number in 0..2000 {
                if number % WINDOW == 0 {
                    windows.recv().unwrap();
                }
                source.send(&payload(number));
            }
        });
        let (mut datagrams, mut pongs) = (0, 0);
        client.send(&frame(PING, &0_u32.to_be_bytes()));
        while datagrams < 2000 || pongs < 200 {
            let Frame { first, payload: got } = client.frame();
            match first {
                BINARY => {
                    assert!(got == payload(datagrams), "datagram {datagrams}");
                    datagrams += 1;
                    if datagrams % WINDOW == WINDOW / 2 {
                        // Behind the last one there is nobody to take it.
                        let _ = window.send(());
                    }
                }
                PONG => {
                    assert_eq!(got, u32::to_be_bytes(pongs), "each ping is answered with its own payload");
                    pongs += 1;
                    client.send(&frame(PING, &u32::to_be_bytes(pongs)));
                }
                other => panic!("a frame that begins with {other:#x}"),
            }
        }
        sending.join().unwrap();
        client.send(&close(1000, b""));
        assert_eq!(client.closed().0, 1000);
        assert_eq!(gateway.closed(1)[0]["subscriptions"][0]["written"], 2000);
    }
}

lab_test! {
    fn a_client_that_vanishes_leaves_its_books(lab) {
        let gateway = start(lab, &[]);
        // With an end in order and no close frame, then with a reset.
        let client = open(&gateway);
        client.stream().shutdown(Shutdown::Write).unwrap();
        let mut stream = client.stream();
        assert_eq!(stream.read(&mut [0; 10]).unwrap_or(0), 0);
        let session = &gateway.closed(1)[0];
        assert_eq!((&session["code"], &session["closed_by"]), (&1006.into(), &"network".into()));

        let client = open(&gateway);
        socket2::SockRef::from(client.stream()).set_linger(Some(Duration::ZERO)).unwrap();
        drop(client);
        for session in gateway.closed(2) {
            assert_eq!((&session["code"], &session["closed_by"]), (&1006.into(), &"network".into()));
        }
        // In the middle of a frame of its own.
        let mut client = open(&gateway);
        client.send(&frame(BINARY, &[0; 1000])[..500]);
        drop(client);
        gateway.closed(3);
        // And while its handshake is being answered.
        let mut stream = gateway.connect();
        let request = crate::support::raw::handshake(gateway.address, STREAM, &[]);
        stream.write_all(request.as_bytes()).unwrap();
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
        drop(stream);
        gateway.status_with("nobody to be left", |status| {
            status["sessions"].as_array().is_some_and(Vec::is_empty)
                && status["streams"].as_array().is_none_or(|all| all.iter().all(|one| one["subscribers"] == 0))
        });
    }
}

lab_test! {
    fn the_last_line_of_a_session_says_it_all(lab) {
        let gateway = start(lab, &[]);
        let path = format!("{STREAM}?echo=1");
        let mut client = Raw::open(gateway.connect(), gateway.address, &path);
        gateway.await_joined("gw-lan0", GROUP);
        let source = lab.on("srca", || Multicast::sender("eth0", GROUP.parse().unwrap(), 1));
        source.send(b"1234");
        assert_eq!(client.frame().payload, b"1234");
        let peer = client.stream().local_addr().unwrap().to_string();
        client.send(&frame(BINARY, b"sent"));
        assert_eq!(client.frame().payload, b"sent");
        client.send(&close(4001, b"enough"));
        assert_eq!(client.closed().0, 4001);
        let line = gateway.logged("session closed");
        for words in [
            &format!("peer=\"{peer}\""), "kind=\"websocket\"", "streams=\"239.1.2.3:5000%lan0\"", "written=2 ",
            "lost_bytes=0", "lost_datagrams=0", "lost_age=0", "lost_closed=0", "withheld=", "sent=1 ", "code=4001",
            "by=\"client\"", "reason=\"enough\"", "INFO",
        ] {
            assert!(line.contains(words), "{words} is not in {line}");
        }
        let bytes = line.split(" bytes=").nth(1).and_then(|rest| rest.split(' ').next());
        assert!(bytes.and_then(|bytes| bytes.parse().ok()).is_some_and(|bytes: u64| bytes >= 6), "{line}");

        // And that of a body.
        let mut body = gateway.connect();
        write!(body, "GET {STREAM} HTTP/1.1\r\nHost: {}\r\n\r\n", gateway.address).unwrap();
        gateway.status_with("the body's session", |status| {
            status["sessions"].as_array().is_some_and(|all| all.len() == 1)
        });
        source.send(b"payload");
        let mut text = Vec::new();
        while !text.ends_with(b"payload\r\n") {
            let mut bytes = [0; 100];
            match body.read(&mut bytes) {
                Ok(read) => text.extend_from_slice(&bytes[..read]),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Interrupted),
            }
        }
        drop(body);
        let line = gateway.logged("kind=\"http\"");
        for words in ["session closed", "bytes=7 ", "written=1 ", "code=1000", "by=\"client\""] {
            assert!(line.contains(words), "{words} is not in {line}");
        }
    }
}
