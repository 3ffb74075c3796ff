//! What the kernel drops for want of buffer is counted, to the datagram.

use serde_json::Value;

use crate::support::gateway::{TestGateway, assert_stream_balances};
use crate::support::lab::{Lab, Multicast, PATIENCE, Receiver, lab_test, wait_for};

lab_test! {
    fn a_burst_into_a_tiny_buffer_is_received_or_counted(lab) {
        let gateway = TestGateway::start(lab, &["--interface", "lan0", "--receive-buffer", "4096"]);
        for group in GROUPS {
            let mut client = gateway.open(&format!("/udp/{group}"));
            gateway.await_joined("gw-lan0", group);
            let source = Source::new(lab, group);
            // With nothing behind the burst, only the socket itself can tell what it dropped.
            freeze(lab, &gateway);
            source.burst(BURST);
            gateway.signal("CONT");
            let stream = accounted(&gateway, group, BURST);
            let (received, dropped) = (number(&stream["received"]), number(&stream["lost"]["kernel"]));
            assert!(received > 0 && dropped > 0, "{stream:#}");
            for i in 0..received {
                assert_eq!(client.recv(), i.to_string().as_bytes(), "the first ones fit");
            }
            // With a datagram behind the burst, which brings a count of its own.
            freeze(lab, &gateway);
            source.burst(BURST);
            gateway.signal("CONT");
            let settled = accounted(&gateway, group, 2 * BURST);
            source.sender.send(b"behind");
            let received = number(&settled["received"]) - received;
            let heard: Vec<_> = (0..=received).map(|_| client.recv()).collect();
            assert_eq!(heard.last().unwrap(), b"behind");
            let after = accounted(&gateway, group, 2 * BURST + 1);
            assert_eq!(after["lost"]["kernel"], settled["lost"]["kernel"], "nothing is counted twice");
            client.close();
        }
    }
}

lab_test! {
    fn what_was_dropped_is_counted_before_the_socket_goes(lab) {
        let gateway = TestGateway::start(lab, &["--interface", "lan0", "--receive-buffer", "4096"]);
        for group in GROUPS {
            let mut client = gateway.open(&format!("/udp/{group}"));
            gateway.await_joined("gw-lan0", group);
            let source = Source::new(lab, group);
            freeze(lab, &gateway);
            source.burst(BURST);
            lab.sh("ip -n gw link del lan0");
            gateway.signal("CONT");
            gateway.status_with("stream waiting", |_| gateway.stream(group)["state"] == "waiting-for-interface");
            let lost = accounted(&gateway, group, BURST);
            assert!(number(&lost["lost"]["kernel"]) > 0 && number(&lost["received"]) > 0, "{lost:#}");
            for i in 0..number(&lost["received"]) {
                assert_eq!(client.recv(), i.to_string().as_bytes(), "what the socket held was taken");
            }
            lab.sh("ip -n sw link add gw-lan0 master lana up type veth peer name lan0 netns gw
                ip -n gw link set lan0 up
                ip -n gw addr add 10.1.0.1/24 dev lan0; ip -n gw addr add fd01::1/64 dev lan0 nodad");
            let source = Source::new(lab, group);
            gateway.await_joined("gw-lan0", group);
            gateway.status_with("stream joined again", |_| gateway.stream(group)["state"] == "silent");
            // The new socket counts from nothing, and the stream goes on counting.
            freeze(lab, &gateway);
            source.burst(BURST);
            gateway.signal("CONT");
            let again = accounted(&gateway, group, 2 * BURST);
            assert!(number(&again["lost"]["kernel"]) > number(&lost["lost"]["kernel"]), "{again:#}");
            client.close();
        }
    }
}

lab_test! {
    fn the_grant_of_the_receive_buffer_is_reported(lab) {
        let most: u64 = lab.sh("cat /proc/sys/net/core/rmem_max").trim().parse().unwrap();
        for asked in [4096, most, 2 * most] {
            let gateway = TestGateway::start(lab, &["--interface", "lan0", "--receive-buffer", &asked.to_string()]);
            let client = gateway.open("/udp/239.1.2.3:5000");
            let buffer = &gateway.stream("239.1.2.3:5000")["receive_buffer"];
            // The kernel counts twice what was asked for, socket(7).
            let granted = 2 * asked.min(most);
            assert_eq!((&buffer["asked"], &buffer["granted"]), (&asked.into(), &granted.into()));
            let warning = format!("sysctl -w net.core.rmem_max={asked}");
            assert_eq!(gateway.log().contains(&warning), asked > most, "{}", gateway.log());
            client.close();
        }
    }
}

const GROUPS: [&str; 2] = ["239.1.2.3:5000", "[ff15::42]:5000"];

/// Far more than 4 KiB of buffer hold.
const BURST: u64 = 200;

/// Sends, and shows when what was sent has reached the gateway's host.
struct Source {
    sender: Multicast,
    /// On the gateway's host; it reads all the time.
    witness: Receiver,
}

impl Source {
    fn new(lab: &Lab, group: &str) -> Self {
        let group = group.parse().expect("a group");
        let witness = lab.on("gw", || Receiver::join("lan0", group));
        Source { sender: lab.on("srca", || Multicast::sender("eth0", group, 1)), witness }
    }

    /// Sends `0`, `1`, ... and returns when the last has arrived.
    fn burst(&self, datagrams: u64) {
        for i in 0..datagrams {
            let text = i.to_string();
            self.sender.send(text.as_bytes());
            // One by one, so that the witness itself loses nothing.
            assert_eq!(self.witness.recv().payload, text.as_bytes());
        }
    }
}

/// Stops the gateway, and returns when it stands still.
fn freeze(lab: &Lab, gateway: &TestGateway<'_>) {
    gateway.signal("STOP");
    let stat = format!("cat /proc/{}/task/*/stat", gateway.pid());
    wait_for("the gateway to stand still", PATIENCE, || {
        lab.sh(&stat).lines().all(|thread| thread.contains(") T ")).then_some(())
    });
}

/// The stream, once as many datagrams as were sent are received or counted as lost.
fn accounted(gateway: &TestGateway<'_>, group: &str, sent: u64) -> Value {
    gateway.status_with(&format!("account of {sent} datagrams"), |_| {
        let stream = gateway.stream(group);
        number(&stream["received"]) + number(&stream["lost"]["kernel"]) >= sent
    });
    let stream = gateway.stream(group);
    assert_eq!(number(&stream["received"]) + number(&stream["lost"]["kernel"]), sent, "{stream:#}");
    assert_stream_balances(&stream);
    stream
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}
