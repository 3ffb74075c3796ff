//! `examples/ws_echo`: the WebSocket itself, by the cases that conformance suites try (RFC 6455; their numbers are
//! Autobahn's).
#![allow(clippy::unwrap_used)] // a failed one fails its test

#[path = "support/mod.rs"]
mod support;

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};

use support::gateway::Answer;
use support::lab::PATIENCE;
use support::raw::{
    BINARY, BINARY_BEGINS, CLOSE, CONTINUES, ENDS, Frame, PING, PONG, Raw, TEXT, TEXT_BEGINS, close, frame,
    handshake, unmasked,
};

const LARGEST: usize = 16 << 20;

#[test]
fn messages_come_back_as_what_they_were() {
    // 1.1, 1.2
    let echo = Echo::start();
    let mut client = echo.open();
    for length in [0, 1, 125, 126, 127, 128, 65_535, 65_536, 100_000] {
        let text: String = "grün ".chars().cycle().take(length).collect();
        for (first, payload) in [(TEXT, text.into_bytes()), (BINARY, vec![0xfe; length])] {
            client.send(&frame(first, &payload));
            assert!(client.frame() == Frame { first, payload }, "{length} bytes");
        }
    }
    client.ends(1000);
}

#[test]
fn pings_are_answered_wherever_they_stand() {
    // 2
    let echo = Echo::start();
    let mut client = echo.open();
    for payload in [&b""[..], b"hello", b"\x00\xff\xfe", &[7; 125]] {
        client.send(&frame(PING, payload));
        assert_eq!(client.frame(), Frame { first: PONG, payload: payload.to_vec() });
    }
    client.send(&frame(PONG, b"unasked"));
    for number in 0..100_u8 {
        client.send(&frame(PING, &[number]));
    }
    for number in 0..100 {
        assert_eq!(client.frame(), Frame { first: PONG, payload: vec![number] });
    }
    // 2.6: byte by byte.
    for byte in frame(PING, b"in pieces") {
        client.send(&[byte]);
    }
    assert_eq!(client.frame().payload, b"in pieces");
    // 5.6 to 5.8, 5.19: between fragments, answered before the message is whole.
    client.send(
        &[frame(TEXT_BEGINS, b"one "), frame(PING, b"1"), frame(CONTINUES, b"two "), frame(PING, b"2")]
            .concat(),
    );
    assert_eq!(client.frame(), Frame { first: PONG, payload: b"1".to_vec() });
    assert_eq!(client.frame(), Frame { first: PONG, payload: b"2".to_vec() });
    client.send(&[frame(CONTINUES, b""), frame(ENDS, b"three")].concat());
    assert_eq!(client.frame(), Frame { first: TEXT, payload: b"one two three".to_vec() });
    client.ends(1000);
}

#[test]
fn what_breaks_the_protocol_is_closed_with_1002_after_what_came_before() {
    // 2.5, 3, 4, 5.1 to 5.18, 7.3.2, 7.3.6, 7.9
    let echo = Echo::start();
    let begun = frame(TEXT_BEGINS, b"begun");
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("a ping of 126 bytes", frame(PING, &[0xfe; 126])),
        ("reserved bits", frame(TEXT | 0x70, b"x")),
        ("reserved bits on a close", frame(CLOSE | 0x40, &1000_u16.to_be_bytes())),
        ("reserved bits on a ping", frame(PING | 0x20, b"")),
        ("opcode 3", frame(0x83, b"")),
        ("opcode 4 with a payload", frame(0x84, b"x")),
        ("opcode 11", frame(0x8b, b"")),
        ("opcode 15", frame(0x8f, b"x")),
        ("a ping in fragments", [frame(0x09, b"x"), frame(ENDS, b"y")].concat()),
        ("a pong in fragments", [frame(0x0a, b"x"), frame(ENDS, b"y")].concat()),
        ("a continuation of nothing", frame(ENDS, b"x")),
        ("a beginning inside a message", [begun.clone(), frame(TEXT_BEGINS, b"x")].concat()),
        ("a message inside a message", [begun, frame(BINARY, b"x")].concat()),
        ("an unmasked frame", unmasked(TEXT, b"x")),
        ("a close of one byte", frame(CLOSE, b"\x03")),
        ("a close of 126 bytes", frame(CLOSE, &[&[3, 0xe8][..], &[b'x'; 124]].concat())),
    ];
    let bad_codes = [0, 999, 1004, 1005, 1006, 1012 + 4, 1015, 1100, 2000, 2999, 5000, 65535];
    let codes = bad_codes.map(|code| ("a bad close code", close(code, b"")));
    for (what, bytes) in cases.into_iter().chain(codes) {
        let mut client = echo.open();
        client.send(&[frame(TEXT, b"before"), bytes, frame(TEXT, b"behind")].concat());
        assert_eq!(client.frame(), Frame { first: TEXT, payload: b"before".to_vec() }, "{what}");
        assert_eq!(client.closed().0, 1002, "{what}");
    }
}

#[test]
fn text_is_utf_8_over_fragments_too() {
    // 6
    let echo = Echo::start();
    let mut client = echo.open();
    let text = "Hello-µ@ßöäüàá-UTF-8!! κόσμε 𐍈 \u{10ffff}\u{fffe}\0";
    client.send(&frame(TEXT, text.as_bytes()));
    assert_eq!(client.frame().payload, text.as_bytes());
    // In fragments of one byte: every character is cut.
    let bytes = text.as_bytes();
    client.send(&frame(TEXT_BEGINS, &bytes[..1]));
    for byte in &bytes[1..] {
        client.send(&frame(CONTINUES, &[*byte]));
    }
    client.send(&frame(ENDS, b""));
    assert_eq!(client.frame(), Frame { first: TEXT, payload: bytes.to_vec() });
    client.ends(1000);
    for bad in [
        &b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited"[..],
        b"\xf4\x90\x80\x80",
        b"\xf8\x88\x80\x80\x80",
        b"\xc0\xaf",
        b"\xe0\x80\xaf",
        b"\x80",
        b"\xbf",
        b"\xff",
        b"\xed\xbf\xbf",
        b"\xce",
    ] {
        let mut whole = echo.open();
        whole.send(&frame(TEXT, bad));
        assert_eq!(whole.closed().0, 1007, "{bad:?}");
        let mut cut = echo.open();
        cut.send(&frame(TEXT_BEGINS, b"good until here "));
        for byte in bad {
            cut.send(&frame(CONTINUES, &[*byte]));
        }
        cut.send(&frame(ENDS, b""));
        assert_eq!(cut.closed().0, 1007, "{bad:?} in fragments");
        let mut reason = echo.open();
        reason.send(&close(1000, bad));
        assert_eq!(reason.closed().0, 1007, "{bad:?} as a reason");
    }
    // 6.4.1: refused before the message is whole.
    let mut early = echo.open();
    early.send(&frame(TEXT_BEGINS, b"\xed\xa0\x80"));
    assert_eq!(early.closed().0, 1007);
}

#[test]
fn a_close_is_answered_and_nothing_follows_it() {
    // 7
    let echo = Echo::start();
    for code in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999] {
        let mut client = echo.open();
        client.send(
            &[frame(TEXT, b"last"), close(code, b"reason"), frame(TEXT, b"late"), close(1001, b"")].concat(),
        );
        assert_eq!(client.frame().payload, b"last");
        assert_eq!(client.closed().0, code);
    }
    let mut client = echo.open();
    client.send(&frame(CLOSE, b""));
    assert_eq!(client.closed().0, 1005);
    let mut client = echo.open();
    client.send(&close(1000, "ü".repeat(61).as_bytes()));
    assert_eq!(client.closed().0, 1000);
    // 7.1.5: in the middle of a message.
    let mut client = echo.open();
    client.send(&[frame(TEXT_BEGINS, b"half"), close(1000, b"")].concat());
    assert_eq!(client.closed().0, 1000);
    // 7.1.6: with 256 KiB on the way before it, and a ping behind it.
    let mut client = echo.open();
    let large = vec![b'x'; 256 << 10];
    client.send(&[frame(TEXT, &large), close(1000, b""), frame(PING, b"")].concat());
    assert!(client.frame().payload == large);
    assert_eq!(client.closed().0, 1000);
}

#[test]
fn sixteen_mebibytes_pass_in_one_frame_and_in_many() {
    // 9
    let echo = Echo::start();
    let payload: Vec<u8> = (0..LARGEST).map(|at| b'a' + (at % 23) as u8).collect();
    let mut client = echo.open();
    for first in [TEXT, BINARY] {
        client.send(&frame(first, &payload));
        assert!(client.frame() == Frame { first, payload: payload.clone() }, "in one frame");
    }
    for fragment in [128, 64 << 10] {
        let mut bytes = Vec::new();
        for part in payload.chunks(fragment) {
            bytes.extend(frame(if bytes.is_empty() { BINARY_BEGINS } else { CONTINUES }, part));
        }
        bytes.extend(frame(ENDS, b""));
        client.send(&bytes);
        assert!(
            client.frame() == Frame { first: BINARY, payload: payload.clone() },
            "in fragments of {fragment}"
        );
    }
    client.send(&frame(BINARY, &vec![0; LARGEST + 1]));
    let (code, reason) = client.closed();
    assert_eq!(code, 1009, "{reason}");
    assert!(reason.starts_with("message_too_large: more than 16777216 bytes"), "{reason}");
}

#[test]
fn a_peer_that_sends_before_it_reads_loses_nothing() {
    let echo = Echo::start();
    let mut client = echo.open();
    let mut sending = client.stream().try_clone().expect("a second hand on the socket");
    let payload = |number: u32| [&number.to_be_bytes()[..], &vec![number as u8; 1 << 15]].concat();
    // 32 MiB: more than both kernels hold, so the echo server has to stop reading meanwhile.
    let sender = std::thread::spawn(move || {
        for number in 0..1024 {
            sending.write_all(&frame(BINARY, &payload(number))).expect("it is read in the end");
        }
    });
    for number in 0..1024 {
        assert!(client.frame().payload == payload(number), "message {number}");
    }
    sender.join().expect("all is sent");
    client.ends(1000);
}

#[test]
fn many_are_served_at_once() {
    let echo = Echo::start();
    let mut clients: Vec<Raw> = (0..200).map(|_| echo.open()).collect();
    // One that never completes its message, and one that is gone, are nobody else's business.
    clients[0].send(&frame(BINARY_BEGINS, b"and?"));
    drop(clients.remove(1));
    for (number, client) in clients.iter_mut().enumerate().skip(1) {
        client.send(&frame(TEXT, number.to_string().as_bytes()));
    }
    for (number, client) in clients.iter_mut().enumerate().skip(1) {
        assert_eq!(client.frame().payload, number.to_string().as_bytes());
    }
    clients[0].send(&frame(ENDS, b"yes"));
    assert_eq!(clients[0].frame().payload, b"and?yes");
}

#[test]
fn handshakes_are_those_of_the_gateway() {
    let echo = Echo::start();
    let request = handshake(echo.address, "/any/path?agent=x", &[]);
    // 300 messages in the packet of the handshake.
    let early: Vec<u8> = (0..300_u32).flat_map(|number| frame(BINARY, &number.to_be_bytes())).collect();
    let mut client = Raw::begin(echo.connect(), &[request.as_bytes(), &early].concat());
    for number in 0..300_u32 {
        assert_eq!(client.frame().payload, number.to_be_bytes());
    }
    client.ends(1000);
    for (from, to, status) in [
        ("Version: 13", "Version: 12", 426),
        ("Upgrade: websocket\r\n", "", 426),
        ("ZQ==\r\n", "\r\n", 400),
        ("GET", "POST", 405),
    ] {
        let answer = Answer::to(&mut echo.connect(), &request.replace(from, to));
        assert_eq!(answer.status, status, "{answer:?}");
        let version = (status == 426).then_some("13");
        assert_eq!(answer.header("sec-websocket-version"), version, "{answer:?}");
    }
}

/// The running example; killed when dropped.
struct Echo {
    child: Child,
    address: SocketAddr,
}

impl Echo {
    fn start() -> Self {
        let tests = std::env::current_exe().expect("this test binary has a path");
        let built = tests.ancestors().nth(2).expect("target/PROFILE/deps/TEST").join("examples/ws_echo");
        let mut child = Command::new(&built)
            .args(["--listen", "127.0.0.1:0"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{}: {error}: build it with cargo build --examples", built.display())
            });
        let mut first = String::new();
        let stdout = child.stdout.take().expect("stdout is piped");
        BufReader::new(stdout).read_line(&mut first).expect("read the first line");
        let address = first.trim().strip_prefix("listening on http://").expect("where it listens");
        Echo { child, address: address.parse().expect("an address") }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("connect");
        stream.set_read_timeout(Some(PATIENCE)).expect("set a deadline");
        stream
    }

    fn open(&self) -> Raw {
        Raw::open(self.connect(), self.address, "/")
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
