//! Credit, and what a client gets that is slow by its own wish.

use serde_json::json;

use super::losses::Holes;
use super::{GROUP, sender};
use crate::support::flow::{number_of, numbered};
use crate::support::gateway::{TestGateway, assert_session_balances};
use crate::support::lab::lab_test;
use crate::support::v1::{Event, V1Client};

lab_test! {
    fn credit_is_kept_to_the_record(lab) {
        let gateway = TestGateway::start(lab, &["--interface", "lan0", "--hold", "20ms"]);
        let mut client = V1Client::open(&gateway);
        let joined = client.join(GROUP, &json!({}));
        let mut whole = V1Client::open(&gateway);
        let all = whole.join(GROUP, &json!({}));
        gateway.await_joined("gw-lan0", GROUP);
        let source = sender(lab, GROUP);
        let credit = |datagrams: u32| json!({"type": "credit", "stream": joined["stream"], "datagrams": datagrams});
        client.say(&credit(5));
        client.settle();
        for number in 0..100 {
            source.send(&numbered(number, 60));
        }
        for number in 0..100 {
            assert_eq!(number_of(&whole.record_of(&all).payload), number);
        }
        let mut next = 0;
        let mut granted = 5;
        for more in [7, 1, 30, 0, 57] {
            if more > 0 && next > 0 {
                client.say(&credit(more));
                granted += u64::from(more);
            }
            while next < granted {
                assert_eq!(number_of(&client.record_of(&joined).payload), next);
                next += 1;
            }
            let rest: Vec<_> = client.settle().into_iter().filter(|event| matches!(event, Event::Record(_))).collect();
            assert!(rest.is_empty(), "nothing beyond {granted}: {rest:?}");
            let session = &gateway.status()["sessions"][0];
            let books = &session["subscriptions"][0];
            assert_session_balances(session);
            assert_eq!((&books["written"], &books["pending"]), (&json!(granted), &json!(100 - granted)), "{session:#}");
        }
    }
}

lab_test! {
    fn without_credit_a_client_is_slow_and_its_policy_applies(lab) {
        let gateway = TestGateway::start(lab, &["--interface", "lan0", "--limit", "lag-datagrams=64"]);
        let mut whole = V1Client::open(&gateway);
        let all = whole.join(GROUP, &json!({}));
        let mut skip = V1Client::open(&gateway);
        let skipping = skip.join(GROUP, &json!({"overflow": "skip"}));
        let mut latest = V1Client::open(&gateway);
        let newest = latest.join(GROUP, &json!({"overflow": "latest"}));
        let mut close = V1Client::open(&gateway);
        let closing = close.join(GROUP, &json!({"overflow": "close"}));
        gateway.await_joined("gw-lan0", GROUP);
        for (client, joined) in [(&mut skip, &skipping), (&mut latest, &newest), (&mut close, &closing)] {
            client.say(&json!({"type": "credit", "stream": joined["stream"], "datagrams": 1}));
            client.settle();
        }
        let source = sender(lab, GROUP);
        for number in 0..500 {
            source.send(&numbered(number, 60));
            assert_eq!(number_of(&whole.record_of(&all).payload), number, "with credit nothing is lost");
        }
        let (code, reason) = close.closed();
        assert_eq!((code, reason.starts_with("slow_consumer: lost=")), (4508, true), "{reason}");
        for (client, joined, records) in [(&mut skip, &skipping, 9..=65), (&mut latest, &newest, 2..=2)] {
            client.say(&json!({"type": "credit", "stream": joined["stream"], "datagrams": 1000}));
            let mut holes = Holes::of(joined);
            holes.read_until(client, &numbered(499, 60));
            assert_eq!(holes.records.len() as u64 + holes.told["client"], 500);
            // The first, which it had credit for, and what its policy leaves.
            assert!(records.contains(&holes.records.len()), "{} of {records:?}", holes.records.len());
        }
        for session in gateway.status()["sessions"].as_array().expect("a list") {
            let (published, ..) = assert_session_balances(session);
            assert_eq!(published, 500);
        }
    }
}
