//! Rates of sending: what is over them is counted, and a client that stays over its own is closed.

use std::time::Duration;

use super::{Ears, MAY_SEND, V4, assert_sender_balances, session_of};
use crate::support::flow::{SlowClient, masked};
use crate::support::gateway::TestGateway;
use crate::support::lab::lab_test;

lab_test! {
    fn what_is_over_the_rate_is_counted_and_not_sent(lab) {
        for limit in ["send-rate-per-session=10/s", "send-rate-per-group=10/s", "send-rate=10/s", "send-bandwidth=10kbit/s"] {
            let limits = ["--limit", "all=off", "--limit", limit];
            let gateway = TestGateway::start(lab, &[&MAY_SEND[..], &limits].concat());
            let ears = Ears::of(lab, V4);
            let mut client = gateway.open(&format!("/udp/{V4}?receive=0"));
            for number in 0..200u8 {
                client.send(&[number; 97]);
            }
            let status = gateway.status_with("all counted", |status| status["sessions"][0]["sender"]["accepted"] == 200);
            let sender = session_of(&status, &mut client)["sender"].clone();
            assert_sender_balances(&sender);
            let (sent, refused) = (sender["sent"].as_u64().unwrap(), sender["refused"]["rate"].as_u64().unwrap());
            // Twice the rate at once: 20 datagrams (of 125 bytes with headers), and some while the 200 came.
            assert!((20..120).contains(&sent) && sent + refused == 200, "{limit}: {sender:#}");
            let heard: Vec<_> = (0..sent).map(|_| ears.lan0.recv().payload[0]).collect();
            assert!(heard.starts_with(&(0..20).collect::<Vec<_>>()) && heard.is_sorted(), "{limit}: {heard:?}");
            assert_eq!(ears.lan0.take(), None, "{limit}");
            client.close();
        }
    }
}

lab_test! {
    fn a_client_that_stays_over_its_rate_is_closed(lab) {
        let gateway = TestGateway::start(lab, &[&MAY_SEND[..], &["--limit", "send-rate-per-session=5/s"]].concat());
        let mut client = SlowClient::open(lab, &gateway, &format!("/udp/{V4}?receive=0"));
        let close = std::iter::repeat_with(|| {
            client.write(&masked(2, b"again"));
            client.next_within(Duration::from_millis(20))
        });
        // A ping may come first.
        let (code, reason) = close.take(2000).flatten().find(|frame| frame.opcode == 8).expect("a close frame").close();
        assert!(code == 4529 && reason.starts_with("rate: "), "{code} {reason}");
        drop(client);
        let closed = &gateway.closed(1)[0];
        assert!(closed["seconds"].as_f64().is_some_and(|seconds| seconds >= 10.0), "{closed:#}");
        assert_sender_balances(&closed["sender"]);
        assert!(closed["sender"]["refused"]["rate"].as_u64() > closed["sender"]["sent"].as_u64(), "{closed:#}");
    }
}

lab_test! {
    fn nobody_is_closed_for_what_others_send(lab) {
        let limits = ["--limit", "send-rate-per-group=2/s", "--limit", "send-rate-per-session=50/s"];
        let gateway = TestGateway::start(lab, &[&MAY_SEND[..], &limits].concat());
        let mut greedy = gateway.open(&format!("/udp/{V4}?receive=0"));
        let mut modest = SlowClient::open(lab, &gateway, &format!("/udp/{V4}?receive=0"));
        // Eleven seconds of five a second, a tenth of what it may, while another takes all that the group has.
        for _ in 0..55 {
            for _ in 0..5 {
                greedy.send(b"mine");
            }
            modest.write(&masked(2, b"may I?"));
            assert!(modest.next_within(Duration::from_millis(200)).is_none_or(|frame| frame.opcode != 8));
        }
        let status = gateway.status();
        let sessions = status["sessions"].as_array().expect("a list");
        assert_eq!(sessions.len(), 2, "{status:#}");
        for session in sessions {
            assert_sender_balances(&session["sender"]);
            assert!(session["sender"]["refused"]["rate"].as_u64() > Some(0), "{session:#}");
        }
    }
}
