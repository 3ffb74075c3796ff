//! Reloads while datagrams flow.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use super::{Configured, KEPT};
use crate::support::flow::{Flow, number_of, numbered};
use crate::support::gateway::{assert_session_balances, assert_stream_balances};
use crate::support::lab::{Multicast, lab_test};
use crate::support::tls::{Authority, Line, text};
use crate::support::v1::V1Client;

/// Reloads under load.
const RELOADS: usize = 100;
/// Raw clients, and clients of `wscast.v1`, that must notice nothing.
const CLIENTS: (usize, usize) = (24, 4);
/// Certificates that follow each other under load.
const CERTIFICATES: usize = 20;
/// What the last datagram says.
const LAST: u64 = u64::MAX;

lab_test! {
    fn a_hundred_reloads_under_load_cost_nobody_a_datagram(lab) {
        let variants = [
            "allow-receive = [\"239.1.0.0/16\", \"239.2.0.0/16\"]\nallow-send = [\"239.1.2.3:5000\"]\nallow-host = [\"a.example\"]\n\
             [limits]\nall = \"off\"\n[streams.a]\ngroup = \"239.9.0.1:5000\"\n",
            "allow-receive = [\"239.1.0.0/16\"]\nhold = \"2ms\"\nlinger = \"5s\"\nallow-origin = [\"https://a.example\"]\n\
             [limits]\nall = \"off\"\nlag-bytes = \"8MiB\"\nreplay-age = \"1s\"\n[streams.b]\ngroup = \"239.9.0.2:5000\"\n",
        ];
        let configured = Configured::start(lab, variants[0]);
        let gateway = &configured.gateway;
        let mut flow = Flow::start(lab, gateway, KEPT);
        for _ in 1..CLIENTS.0 {
            flow.witness(gateway.open(&format!("/udp/{KEPT}")));
        }
        let listeners: Vec<_> = (0..CLIENTS.1)
            .map(|_| {
                let mut client = V1Client::open(gateway);
                client.join(KEPT, &json!({}));
                std::thread::spawn(move || {
                    let mut expected = 0;
                    loop {
                        let record = client.record();
                        let number = number_of(&record.payload);
                        if number == LAST {
                            return (client, expected);
                        }
                        assert_eq!((number, record.sequence), (expected, expected as u32), "none is missing");
                        expected += 1;
                    }
                })
            })
            .collect();
        let before = gateway.stream(KEPT);
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for turn in 1..=RELOADS {
                    configured.write(variants[turn % 2]);
                    let answer = configured.reload();
                    assert_eq!((&answer["result"], &answer["closed"]), (&json!("taken_over"), &json!(0)), "{answer}");
                    assert!(answer["changes"]["applied"].as_array().is_some_and(|all| all.len() >= 4), "{answer}");
                }
                over.store(true, Ordering::Release);
            });
            // The gateway is never idle while it reloads; a failed assertion of the other thread ends this too.
            while !over.load(Ordering::Acquire) && flow.next() < 2_000_000 {
                flow.send(64, 1000);
            }
        });
        let sent = flow.next();
        let source = lab.on("srca", || Multicast::sender("eth0", KEPT.parse().unwrap(), 1));
        source.send(&numbered(LAST, 1000));
        let clients: Vec<V1Client> = listeners
            .into_iter()
            .map(|listener| {
                let (client, received) = listener.join().expect("a listener without complaint");
                assert_eq!(received, sent, "each has every datagram");
                client
            })
            .collect();
        let status = gateway.status();
        let stream = gateway.stream(KEPT);
        assert_eq!(status["gateway"]["configuration"]["generation"], RELOADS + 1);
        assert_eq!(stream["number"], before["number"], "the same run of the stream");
        assert_eq!((&stream["published"], &stream["lost"]["kernel"]), (&json!(sent + 1), &json!(0)), "{stream:#}");
        assert_stream_balances(&stream);
        assert_eq!(status["closed"], json!([]), "nobody was disconnected");
        for session in status["sessions"].as_array().unwrap() {
            assert_eq!(assert_session_balances(session).2, 0, "{session:#}");
        }
        println!("{sent} datagrams to {CLIENTS:?} clients during {RELOADS} reloads");
        drop(clients);
    }
}

lab_test! {
    fn certificates_replaced_under_load_cost_nobody_a_datagram(lab) {
        let authority = Authority::new();
        let files = authority.issue("gw", &["10.9.0.1"]);
        let configured = Configured::start(
            lab,
            &format!(
                "allow-receive = [\"239.1.0.0/16\"]\n[limits]\nall = \"off\"\n[tls]\ncert = \"{}\"\nkey = \"{}\"\n",
                text(&files.certificate),
                text(&files.key)
            ),
        );
        let gateway = &configured.gateway;
        let shown = || {
            let Line::Tls(mut line) = Line::secure(gateway.connect()) else { panic!("TLS") };
            line.conn.complete_io(&mut line.sock).expect("a handshake");
            line.conn.peer_certificates().expect("a certificate")[0].to_vec()
        };
        let mut flow = Flow::start(lab, gateway, KEPT);
        for _ in 1..CLIENTS.0 {
            flow.witness(gateway.open(&format!("/udp/{KEPT}")));
        }
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut before = shown();
                for _ in 0..CERTIFICATES {
                    authority.issue("gw", &["10.9.0.1"]);
                    let answer = configured.reload();
                    assert_eq!(answer["closed"], json!(0), "{answer}");
                    let after = shown();
                    assert_ne!(after, before, "who comes now is shown the new one: {answer}");
                    before = after;
                }
                over.store(true, Ordering::Release);
            });
            while !over.load(Ordering::Acquire) && flow.next() < 200_000 {
                flow.send(64, 1000);
            }
        });
        let stream = gateway.stream(KEPT);
        assert_eq!((&stream["published"], &stream["lost"]["kernel"]), (&json!(flow.next()), &json!(0)), "{stream:#}");
        assert_stream_balances(&stream);
        let status = gateway.status();
        assert_eq!(status["closed"], json!([]), "nobody was disconnected");
        println!("{} datagrams to {} clients over TLS during {CERTIFICATES} certificates", flow.next(), CLIENTS.0);
    }
}
