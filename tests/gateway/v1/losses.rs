//! Whatever does not come is told, by cause, before the first record behind it.

use std::time::Duration;

use serde_json::{Value, json};

use super::{GROUP, notices, sender};
use crate::support::flow::{Flow, number_of};
use crate::support::gateway::{TestGateway, assert_session_balances};
use crate::support::lab::{Lab, PATIENCE, lab_test, wait_for};
use crate::support::v1::{
    Event, Record, V1Client, number_in, open_send_message, send_record, slow_connection,
};

/// Follows one stream's records: every hole in the sequences must have been explained, to the datagram.
pub(super) struct Holes {
    stream: u32,
    next: u32,
    explained: u64,
    /// What was told, by cause.
    pub(super) told: std::collections::BTreeMap<String, u64>,
    pub(super) records: Vec<Record>,
}

impl Holes {
    pub(super) fn of(joined: &Value) -> Self {
        let next = joined["next_sequence"].as_u64().expect("a number") as u32;
        let told = std::collections::BTreeMap::new();
        Holes { stream: number_in(joined), next, explained: 0, told, records: Vec::new() }
    }

    pub(super) fn note(&mut self, event: Event) {
        match event {
            Event::Record(record) if record.kind == 1 && record.number == self.stream => {
                let hole = record.sequence.wrapping_sub(self.next);
                assert_eq!(
                    u64::from(hole),
                    self.explained,
                    "the hole before {} is explained",
                    record.sequence
                );
                self.next = record.sequence.wrapping_add(1);
                self.explained = 0;
                self.records.push(record);
            }
            Event::Notice(notice) if notice["type"] == "lost" && number_in(&notice) == self.stream => {
                let cause = notice["where"].as_str().expect("a cause").to_owned();
                let datagrams = notice["datagrams"].as_u64();
                if matches!(&cause[..], "client" | "echo") {
                    self.explained += datagrams.expect("a number");
                }
                let total = self.told.entry(cause).or_default();
                *total += datagrams.unwrap_or(0);
                assert_eq!(notice["total"], *total, "{notice}");
            }
            Event::Close(code, reason) => panic!("closed with {code} {reason}"),
            _ => {}
        }
    }

    /// Reads on until the record with the payload `last`.
    pub(super) fn read_until(&mut self, client: &mut V1Client, last: &[u8]) {
        loop {
            let event = client.next();
            self.note(event);
            if self.records.last().is_some_and(|record| record.payload == last) {
                return;
            }
        }
    }
}

lab_test! {
    fn a_stalled_client_costs_the_others_nothing_and_is_told_what_it_lost(lab) {
        for threads in ["1", "2"] {
            let gateway = TestGateway::start(lab, &[
                "--interface", "lan0", "--threads", threads, "--limit", "all=off", "--limit", "lag-bytes=256KiB",
                "--limit", "replay-bytes=0", "--limit", "lag-age=600s", "--limit", "stall=off",
            ]);
            let mut flow = Flow::start(lab, &gateway, GROUP);
            let mut slow = V1Client::over(slow_connection(lab, &gateway), gateway.address);
            // A second stream, so that its writes are gathered.
            let other = slow.join("239.1.2.9:5000", &json!({"id": 2}));
            let joined = slow.join(GROUP, &json!({}));
            let mut healthy = V1Client::open(&gateway);
            let heard = healthy.join(GROUP, &json!({}));
            for _ in 0..75 {
                for number in flow.send(20, 1316) {
                    assert_eq!(number_of(&healthy.record_of(&heard).payload), number, "a healthy client misses nothing");
                }
            }
            let mut holes = Holes::of(&joined);
            let last = crate::support::flow::numbered(1499, 1316);
            holes.read_until(&mut slow, &last);
            let lost = holes.told["client"];
            assert!(lost > 100, "{lost} were lost to a client that stalled");
            assert_eq!(holes.records.len() as u64 + lost, 1500);
            for record in &holes.records {
                assert_eq!(number_of(&record.payload), u64::from(record.sequence) - u64::from(holes.records[0].sequence)
                    + number_of(&holes.records[0].payload));
            }
            let session = gateway.status()["sessions"].as_array().expect("a list").iter().find(|session| {
                session["subscriptions"].as_array().map(Vec::len) == Some(2)
            }).cloned().expect("the slow session");
            assert_eq!(assert_session_balances(&session), (1500, 1500 - lost, lost), "{session:#}");
            assert_eq!(number_in(&other), session["subscriptions"][0]["stream"].as_u64().unwrap() as u32);
        }
    }
}

lab_test! {
    fn what_the_kernel_dropped_is_told_before_what_comes_behind(lab) {
        let gateway = TestGateway::start(lab, &["--interface", "lan0", "--receive-buffer", "4096"]);
        let mut client = V1Client::open(&gateway);
        let joined = client.join(GROUP, &json!({}));
        gateway.await_joined("gw-lan0", GROUP);
        let source = sender(lab, GROUP);
        let mut told = 0;
        for round in 0..2_u32 {
            freeze(lab, &gateway);
            for _ in 0..300 {
                source.send(b"burst");
            }
            gateway.signal("CONT");
            let behind = format!("behind {round}").into_bytes();
            source.send(&behind);
            // Where the buffer is full still, it is dropped like the others.
            let mut holes = Holes::of(&joined);
            holes.next = client_next(&mut holes, &mut client, &source, &behind);
            told += holes.told.get("kernel").copied().unwrap_or(0);
        }
        let stream = gateway.stream(GROUP);
        assert_eq!(stream["lost"]["kernel"], told, "{stream:#}");
        assert!(told > 0, "{stream:#}");
    }
}

/// Reads to `last`, sent again until it arrives; what the kernel lost is told in time. The next sequence.
fn client_next(
    holes: &mut Holes,
    client: &mut V1Client,
    source: &crate::support::lab::Multicast,
    last: &[u8],
) -> u32 {
    loop {
        match client.next_within(Duration::from_millis(300)) {
            None => source.send(last),
            Some(Event::Record(record)) => {
                holes.next = record.sequence + 1;
                if record.payload == last {
                    return holes.next;
                }
            }
            Some(Event::Notice(notice)) if notice["type"] == "lost" => {
                assert_eq!(notice["where"], "kernel", "{notice}");
                *holes.told.entry("kernel".to_owned()).or_default() +=
                    notice["datagrams"].as_u64().expect("a number");
            }
            Some(_) => {}
        }
    }
}

lab_test! {
    fn an_interface_that_was_away_is_a_state_and_then_a_gap_of_unknown_size(lab) {
        let gateway = TestGateway::start(lab, &["--interface", "lan0"]);
        let mut client = V1Client::open(&gateway);
        let joined = client.join(GROUP, &json!({}));
        gateway.await_joined("gw-lan0", GROUP);
        sender(lab, GROUP).send(b"before");
        assert_eq!(client.record_of(&joined).payload, b"before");
        lab.sh("ip -n gw link set lan0 down");
        let mut state = client.notice("state");
        while state["state"] != "waiting-for-interface" {
            state = client.notice("state");
        }
        assert_eq!((&state["stream"], &state["interface"]), (&joined["stream"], &json!("lan0")));
        lab.sh("ip -n gw link set lan0 up");
        gateway.await_joined("gw-lan0", GROUP);
        gateway.status_with("stream joined again", |_| gateway.stream(GROUP)["state"] != "waiting-for-interface");
        sender(lab, GROUP).send(b"after");
        let mut lost = None;
        loop {
            match client.next() {
                Event::Notice(notice) if notice["type"] == "lost" => lost = Some(notice),
                Event::Record(record) => {
                    assert_eq!((&record.payload[..], record.sequence), (&b"after"[..], 1));
                    break;
                }
                _ => {}
            }
        }
        let lost = lost.expect("the gap is told before the record behind it");
        assert_eq!((&lost["where"], &lost["datagrams"]), (&json!("interface"), &Value::Null));
        assert!(lost["seconds"].as_f64().expect("seconds") > 0.0, "{lost}");
    }
}

lab_test! {
    fn an_echo_that_is_not_wanted_explains_its_hole(lab) {
        let gateway = TestGateway::start(lab, &["--interface", "lan0", "--allow-send", "239.0.0.0/8"]);
        let mut client = V1Client::open(&gateway);
        let mut echoing = V1Client::open(&gateway);
        let joined = client.join(GROUP, &json!({}));
        let echoed = echoing.join(GROUP, &json!({"echo": true}));
        gateway.await_joined("gw-lan0", GROUP);
        let opened = client.ask(&open_send_message(GROUP, &json!({"id": 2})), "sender");
        let other = echoing.ask(&open_send_message(GROUP, &json!({"id": 2})), "sender");
        let source = sender(lab, GROUP);
        let mut holes = Holes::of(&joined);
        for round in 0..5_u8 {
            client.put(tokio_tungstenite::tungstenite::Message::binary(
                [send_record(&opened, b"mine"), send_record(&opened, b"mine too")].concat()));
            for payload in [&b"mine"[..], b"mine too"] {
                let record = echoing.record_of(&echoed);
                assert_eq!((&record.payload[..], record.flags), (payload, 4), "sent by a client of this gateway");
            }
            echoing.put(tokio_tungstenite::tungstenite::Message::binary(send_record(&other, &[b'o', round])));
            assert_eq!(echoing.record_of(&echoed).payload, [b'o', round], "with echo it hears itself");
            source.send(&[b's', round]);
            echoing.record_of(&echoed);
            holes.read_until(&mut client, &[b's', round]);
        }
        assert_eq!((holes.told["echo"], holes.records.len()), (10, 10));
        let session = &gateway.status()["sessions"][0];
        assert_eq!(assert_session_balances(session), (20, 10, 0));
        assert_eq!(session["subscriptions"][0]["withheld"]["echo"], 10);
        assert_eq!((&session["senders"][0]["accepted"], &session["senders"][0]["sent"]), (&json!(10), &json!(10)));
        // Closed, its books stay.
        client.ask(&json!({"type": "close_send", "id": 3, "sender": opened["sender"]}), "sender_closed");
        let session = &gateway.status()["sessions"][0];
        assert_eq!((&session["ended"]["senders"], &session["ended"]["sent"]), (&json!(1), &json!(10)), "{session:#}");
    }
}

lab_test! {
    fn a_stream_falls_silent_and_is_heard_again(lab) {
        let gateway = TestGateway::start(lab, &["--interface", "lan0"]);
        let mut client = V1Client::open(&gateway);
        let joined = client.join(GROUP, &json!({}));
        gateway.await_joined("gw-lan0", GROUP);
        let source = sender(lab, GROUP);
        for _ in 0..2 {
            source.send(b"x");
            assert_eq!(client.notice("state")["state"], "receiving");
            let silent = client.notice("state");
            assert_eq!((&silent["state"], &silent["stream"]), (&json!("silent"), &joined["stream"]));
        }
        assert!(notices(&client.settle(), "lost").is_empty());
    }
}

/// Stops the gateway's process, and waits until it stands.
fn freeze(lab: &Lab, gateway: &TestGateway<'_>) {
    gateway.signal("STOP");
    wait_for("the gateway to stand still", PATIENCE, || {
        let states = lab.sh(&format!("cut -d ' ' -f 3 /proc/{}/task/*/stat", gateway.pid()));
        states.lines().all(|state| state == "T").then_some(())
    });
}
