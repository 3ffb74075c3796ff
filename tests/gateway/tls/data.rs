//! What TLS carries: every datagram whole, slow clients by the same rules, and memory within its bound.

use std::io::Read as _;

use super::{GATEWAY, GROUP, start};
use crate::support::client::WebSocket;
use crate::support::flow::{missing, number_of, numbered};
use crate::support::gateway::{TestGateway, assert_session_balances};
use crate::support::lab::{Lab, Multicast, lab_test};
use crate::support::tls::Authority;

lab_test! {
    fn every_datagram_of_every_size_arrives_whole_and_the_books_balance(lab) {
        let gateway = start(lab, &Authority::new().issue("gw", &[GATEWAY]), &["--interface", "lan0"]);
        let (mut client, source) = subscribe(lab, &gateway, "");
        for (number, length) in [8, 125, 126, 1316, 16_384, 40_000, 65_000].into_iter().enumerate() {
            let sent = numbered(number as u64, length);
            source.send(&sent);
            assert_eq!(client.recv(), sent);
        }
        for number in 100..1100 {
            source.send(&numbered(number, 1316));
            if number % 50 == 49 {
                // No faster than the LAN's own socket takes them.
                assert_eq!(number_of(client.recv_until(&numbered(number, 1316)).first().unwrap()) % 50, 0);
            }
        }
        client.close();
        let session = gateway.closed(1).remove(0);
        let (published, written, lost) = assert_session_balances(&session);
        assert_eq!((published, written, lost), (1007, 1007, 0));
    }
}

lab_test! {
    fn a_client_that_stops_reading_loses_the_oldest_in_whole_frames_and_goes_on(lab) {
        let limits = ["--interface", "lan0", "--limit", "lag-datagrams=100", "--limit", "lag-bytes=256KiB"];
        let gateway = start(lab, &Authority::new().issue("gw", &[GATEWAY]), &limits);
        let (mut client, source) = subscribe(lab, &gateway, "");
        let (mut witness, _) = subscribe(lab, &gateway, "");
        let last = 4000;
        for number in 0..=last {
            source.send(&numbered(number, 1316));
            assert_eq!(number_of(&witness.recv()), number);
        }
        let numbers: Vec<u64> = client.recv_until(&numbered(last, 1316)).iter().map(|one| number_of(one)).collect();
        assert!(numbers.is_sorted() && missing(&numbers) > 0, "{} came", numbers.len());
        client.close();
        let session = gateway.closed(1).remove(0);
        let (published, written, lost) = assert_session_balances(&session);
        assert_eq!((published, written), (last + 1, numbers.len() as u64));
        assert_eq!(lost, missing(&numbers) + numbers[0]);
        witness.close();
    }
}

lab_test! {
    fn a_client_that_takes_nothing_is_cut_off(lab) {
        let limits = ["--interface", "lan0", "--limit", "stall=1s"];
        let gateway = start(lab, &Authority::new().issue("gw", &[GATEWAY]), &limits);
        let (_client, source) = subscribe(lab, &gateway, "");
        let (mut witness, _) = subscribe(lab, &gateway, "");
        for number in 0..3000 {
            source.send(&numbered(number, 1316));
            assert_eq!(number_of(&witness.recv()), number);
        }
        let session = gateway.closed(1).remove(0);
        assert_eq!(session["code"], 4508, "{session:#}");
        assert_session_balances(&session);
    }
}

lab_test! {
    fn the_body_of_a_plain_request_is_carried_too(lab) {
        let gateway = start(lab, &Authority::new().issue("gw", &[GATEWAY]), &["--interface", "lan0"]);
        let mut line = gateway.line(gateway.connect());
        let request = format!("GET /udp/{GROUP} HTTP/1.1\r\nHost: {}\r\n\r\n", gateway.address);
        std::io::Write::write_all(&mut line, request.as_bytes()).unwrap();
        gateway.status_with("its session", |status| {
            status["sessions"].as_array().is_some_and(|all| all.len() == 1)
        });
        let source = lab.on("srca", || Multicast::sender("eth0", GROUP.parse().unwrap(), 1));
        source.send(b"over TLS");
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"over TLS\r\n") {
            let mut some = [0; 4096];
            let read = line.read(&mut some).expect("the body goes on");
            assert!(read > 0, "{}", String::from_utf8_lossy(&bytes));
            bytes.extend_from_slice(&some[..read]);
        }
    }
}

lab_test! {
    fn an_idle_client_takes_40_kib_at_most(lab) {
        const CLIENTS: usize = 400;
        let limits = ["--limit", "all=off", "--interface", "lan0"];
        let gateway = start(lab, &Authority::new().issue("gw", &[GATEWAY]), &limits);
        let open = |count: usize| -> Vec<WebSocket> {
            (0..count).map(|_| gateway.open(&format!("/udp/{GROUP}"))).collect()
        };
        let first = open(20);
        gateway.status();
        let before = resident(gateway.pid());
        let clients = open(CLIENTS);
        gateway.status_with("all of them", |status| {
            status["sessions"].as_array().is_some_and(|all| all.len() == CLIENTS + first.len())
        });
        let each = resident(gateway.pid()).saturating_sub(before) / CLIENTS as u64;
        println!("{each} bytes resident for an idle client");
        assert!(each <= 40 << 10, "{each} bytes");
        drop((first, clients));
    }
}

/// A client of the group, and a source.
fn subscribe(lab: &Lab, gateway: &TestGateway<'_>, options: &str) -> (WebSocket, Multicast) {
    let client = gateway.open(&format!("/udp/{GROUP}{options}"));
    gateway.await_joined("gw-lan0", GROUP);
    (client, lab.on("srca", || Multicast::sender("eth0", GROUP.parse().unwrap(), 1)))
}

/// Bytes of a process in memory.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("its status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
}
