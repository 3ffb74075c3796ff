//! What is joined arrives, once, and nothing else does: other groups, ports, interfaces, sources and unicast stay out.
//!
//! That something does *not* arrive is shown in three steps: another socket on the gateway's host has heard it, so it came
//! that far; what was sent behind it has arrived alone; and the stream's own count has no more than that.

use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};

use serde_json::{Value, json};

use crate::support::client::WebSocket;
use crate::support::gateway::TestGateway;
use crate::support::lab::{Lab, Multicast, PATIENCE, Receiver, lab_test, wait_for};

lab_test! {
    fn other_groups_ports_interfaces_and_unicast_stay_out(lab) {
        let gateway = TestGateway::start(lab, &["--interface", "lan0"]);
        for family in FAMILIES {
            let mut client = gateway.open(&format!("/udp/{}", family.group));
            gateway.await_joined("gw-lan0", family.group);
            let others = [
                ("lan0", "gw-lan0", "srca", family.other_group),
                ("lan0", "gw-lan0", "srca", family.other_port),
                ("lan1", "gw-lan1", "srcb", family.group),
            ];
            for (interface, port, host, group) in others {
                let other = lab.on("gw", || Receiver::join(interface, group.parse().unwrap()));
                gateway.await_joined(port, group);
                sender(lab, host, group).send(b"not for the client");
                assert_eq!(other.recv().payload, b"not for the client");
            }
            for (host, own) in [("srca", family.lan0), ("cli", family.mgmt0)] {
                let own: SocketAddr = own.parse().unwrap();
                let unicast = lab.on("gw", || UdpSocket::bind(own).unwrap());
                unicast.set_read_timeout(Some(PATIENCE)).unwrap();
                let any = if own.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                lab.on(host, || UdpSocket::bind(any).unwrap()).send_to(b"injected", own).unwrap();
                assert_eq!(unicast.recv(&mut [0; 100]).unwrap(), 8);
            }
            sender(lab, "srca", family.group).send(b"end");
            assert_eq!(client.recv_until(b"end"), [b"end"], "{}", family.group);
            assert_heard(&gateway.stream(family.group), 1);
        }
    }
}

lab_test! {
    fn all_interfaces_are_heard_once_each_and_apart(lab) {
        let gateway = TestGateway::start(lab, &[]);
        for family in FAMILIES {
            let path = format!("/udp/{}", family.group);
            let mut all = gateway.open(&format!("{path}?interface=all"));
            let named: BTreeSet<&str> = all.interface().split(", ").collect();
            assert_eq!(named, BTreeSet::from(["lan0", "lan1", "lo", "mgmt0"]));
            let mut lan0 = gateway.open(&format!("{path}?interface=lan0"));
            let mut lan1 = gateway.open(&format!("{path}?interface=lan1"));
            gateway.await_joined("gw-lan0", family.group);
            gateway.await_joined("gw-lan1", family.group);
            let (a, b) = (sender(lab, "srca", family.group), sender(lab, "srcb", family.group));
            for source in [&a, &b] {
                source.send(b"each");
            }
            a.send(b"last of a");
            b.send(b"last of b");
            assert_eq!(texts(lan0.recv_until(b"last of a")), ["each", "last of a"]);
            assert_eq!(texts(lan1.recv_until(b"last of b")), ["each", "last of b"]);
            let mut heard = texts((0..4).map(|_| all.recv()).collect());
            heard.sort();
            assert_eq!(heard, ["each", "each", "last of a", "last of b"]);
            // `all` and the names share their streams.
            let status = gateway.status();
            let streams = streams_of(&status, family.group);
            let of = |interface: &str| find(&streams, |stream| stream["interface"] == interface);
            assert_eq!(streams.len(), 4, "{status:#}");
            for (interface, received, subscribers) in [("lan0", 2, 2), ("lan1", 2, 2), ("mgmt0", 0, 1), ("lo", 0, 1)] {
                let stream = of(interface);
                assert_heard(stream, received);
                assert_eq!(stream["subscribers"], subscribers, "{stream:#}");
            }
        }
    }
}

lab_test! {
    fn overlapping_source_filters_live_side_by_side(lab) {
        let gateway = TestGateway::start(lab, &["--interface", "lan0"]);
        for family in FAMILIES {
            let (group, a, c) = (family.group, family.srca, family.srcc);
            // Who hears a, who hears c.
            let filters = [
                (format!("/udp/{group}"), true, true),
                (format!("/udp/{a}@{group}"), true, false),
                (format!("/udp/{c}@{group}"), false, true),
                (format!("/udp/{a},{c}@{group}"), true, true),
                (format!("/udp/{group}?exclude={}", bare(a)), false, true),
                (format!("/udp/{group}?exclude={}", bare(c)), true, false),
                (format!("/udp/{group}?exclude={},{}", bare(a), bare(c)), false, false),
            ];
            let mut clients: Vec<WebSocket> = filters.iter().map(|(path, ..)| gateway.open(path)).collect();
            gateway.await_joined("gw-lan0", group);
            let (from_a, from_c) = (sender(lab, "srca", group), sender(lab, "srcc", group));
            for round in ["1", "2"] {
                from_a.send(format!("a{round}").as_bytes());
                from_c.send(format!("c{round}").as_bytes());
            }
            for ((path, hears_a, hears_c), client) in filters.iter().zip(&mut clients) {
                let mut expected = Vec::new();
                expected.extend(["a1", "a2"].into_iter().filter(|_| *hears_a));
                expected.extend(["c1", "c2"].into_iter().filter(|_| *hears_c));
                let mut heard = texts(expected.iter().map(|_| client.recv()).collect());
                heard.sort();
                assert_eq!(heard, expected, "{path}");
            }
            let status = gateway.status();
            let streams = streams_of(&status, group);
            assert_eq!(streams.len(), filters.len(), "{status:#}");
            for (include, exclude, received) in [
                (vec![], vec![], 4),
                (vec![bare(a)], vec![], 2),
                (vec![bare(c)], vec![], 2),
                (vec![bare(a), bare(c)], vec![], 4),
                (vec![], vec![bare(a)], 2),
                (vec![], vec![bare(c)], 2),
                (vec![], vec![bare(a), bare(c)], 0),
            ] {
                let filtered = |stream: &Value| {
                    stream["sources"] == json!(include) && stream["exclude"] == json!(exclude)
                };
                assert_heard(find(&streams, filtered), received);
            }
        }
    }
}

lab_test! {
    fn groups_of_link_scope_belong_to_their_link(lab) {
        let gateway = TestGateway::start(lab, &[]);
        let group = "[ff12::42]:5000";
        let mut lan0 = gateway.open(&format!("/udp/{group}?interface=lan0"));
        let mut lan1 = gateway.open(&format!("/udp/{group}?interface=lan1"));
        gateway.await_joined("gw-lan0", group);
        gateway.await_joined("gw-lan1", group);
        let (a, b) = (sender(lab, "srca", group), sender(lab, "srcb", group));
        b.send(b"other link");
        assert_eq!(lan1.recv(), b"other link");
        a.send(b"this link");
        assert_eq!(lan0.recv(), b"this link");
        b.send(b"end");
        assert_eq!(lan1.recv(), b"end");
        for (interface, received) in [("lan0", 1), ("lan1", 2)] {
            let status = gateway.status();
            let streams = streams_of(&status, group);
            assert_heard(find(&streams, |stream| stream["interface"] == interface), received);
        }
    }
}

lab_test! {
    fn the_interface_is_taken_from_url_then_configuration_then_routing_table(lab) {
        let path = "/udp/239.1.2.3:5000";
        let by_route = TestGateway::start(lab, &[]);
        let refused = by_route.fetch(path);
        assert_eq!(refused.status, 404, "{refused:?}");
        for word in ["routing table", "?interface=", "lan0", "lan1"] {
            assert!(refused.body.contains(word), "{refused:?}");
        }
        lab.sh("ip -n gw route add 239.0.0.0/8 dev lan1");
        assert_eq!(by_route.open(path).interface(), "lan1");
        lab.sh("ip -n gw route replace 239.0.0.0/8 dev lan0");
        assert_eq!(by_route.open(path).interface(), "lan0");
        lab.sh("ip -n gw -6 route add ff15::/16 dev lan1 table local metric 1");
        assert_eq!(by_route.open("/udp/[ff15::42]:5000").interface(), "lan1");
        let configured = TestGateway::start(lab, &["--interface", "lan1"]);
        assert_eq!(configured.open(path).interface(), "lan1");
        let index = lab.sh("ip netns exec gw cat /sys/class/net/lan1/ifindex");
        for (selector, name) in
            [("lan0", "lan0"), ("10.1.0.1", "lan0"), ("10.2.0.1", "lan1"), ("fd02::1", "lan1"), (index.trim(), "lan1")]
        {
            for group in ["239.1.2.3:5000", "[ff15::42]:5000"] {
                let client = configured.open(&format!("/udp/{group}?interface={selector}"));
                assert_eq!(client.interface(), name, "{group} by {selector}");
            }
        }
        let refused = configured.fetch(&format!("{path}?interface=lan7"));
        assert_eq!(refused.status, 404, "{refused:?}");
        assert!(refused.body.contains("no interface lan7; there are: lo, lan0, lan1, mgmt0"), "{refused:?}");
    }
}

lab_test! {
    fn clients_share_a_socket_that_lingers_after_the_last(lab) {
        let gateway = TestGateway::start(lab, &["--interface", "lan0"]);
        for family in FAMILIES {
            let path = format!("/udp/{}", family.group);
            let mut clients: Vec<_> = (0..10).map(|_| gateway.open(&path)).collect();
            // Each shard has a socket of its own.
            let shards = shards(&gateway);
            assert_eq!(sockets(lab, family.group), shards);
            let other = gateway.open(&format!("/udp/{}@{}", family.srca, family.group));
            assert_eq!(sockets(lab, family.group), 2 * shards, "another filter is another socket");
            other.close();
            gateway.await_joined("gw-lan0", family.group);
            let source = sender(lab, "srca", family.group);
            source.send(b"to all");
            for client in &mut clients {
                assert_eq!(client.recv(), b"to all");
            }
            let number = number_of(&gateway, family.group);
            for client in clients.drain(..) {
                client.close();
            }
            // Nobody is left, and it is still there for somebody who comes back at once.
            assert!(sockets(lab, family.group) >= shards);
            let mut again = gateway.open(&path);
            assert_eq!(number_of(&gateway, family.group), number, "the stream was not joined anew");
            source.send(b"again");
            assert_eq!(again.recv(), b"again");
            again.close();
            wait_for("the sockets to be closed", PATIENCE, || (sockets(lab, family.group) == 0).then_some(()));
            let status = gateway.status();
            let ended = status["ended_streams"].as_array().unwrap();
            let ended = find(&ended.iter().collect::<Vec<_>>(), |stream| stream["number"] == number).clone();
            assert_heard(&ended, 2);
            assert_ne!(number_after_opening(&gateway, &path, family.group), number, "a stream's number is used once");
        }
    }
}

lab_test! {
    fn a_stream_refused_in_part_is_not_left_joined(lab) {
        let gateway = TestGateway::start(lab, &["--limit", "streams=1"]);
        let refused = gateway.fetch("/udp/239.1.2.3:5000?interface=all");
        assert_eq!(refused.status, 503, "{refused:?}");
        wait_for("the one that was joined to be left", PATIENCE, || {
            (sockets(lab, "239.1.2.3:5000") == 0).then_some(())
        });
        gateway.open("/udp/239.1.2.3:5000?interface=lan0");
    }
}

/// One of the two families' addresses in the lab.
struct Family {
    group: &'static str,
    other_group: &'static str,
    other_port: &'static str,
    /// The gateway's own, with the groups' port.
    lan0: &'static str,
    mgmt0: &'static str,
    srca: &'static str,
    srcc: &'static str,
}

const FAMILIES: [Family; 2] = [
    Family {
        group: "239.1.2.3:5000",
        other_group: "239.1.2.4:5000",
        other_port: "239.1.2.3:5001",
        lan0: "10.1.0.1:5000",
        mgmt0: "10.9.0.1:5000",
        srca: "10.1.0.2",
        srcc: "10.1.0.3",
    },
    Family {
        group: "[ff15::42]:5000",
        other_group: "[ff15::43]:5000",
        other_port: "[ff15::42]:5001",
        lan0: "[fd01::1]:5000",
        mgmt0: "[fd09::1]:5000",
        srca: "[fd01::2]",
        srcc: "[fd01::3]",
    },
];

fn sender(lab: &Lab, host: &str, group: &str) -> Multicast {
    lab.on(host, || Multicast::sender("eth0", group.parse().expect("a group"), 1))
}

/// An address without the brackets that a URL's path wants.
fn bare(address: &str) -> &str {
    address.trim_matches(['[', ']'])
}

fn texts(datagrams: Vec<Vec<u8>>) -> Vec<String> {
    datagrams.into_iter().map(|datagram| String::from_utf8(datagram).expect("text")).collect()
}

fn streams_of<'a>(status: &'a Value, group: &str) -> Vec<&'a Value> {
    status["streams"]
        .as_array()
        .expect("a list of streams")
        .iter()
        .filter(|stream| stream["group"] == group)
        .collect()
}

fn find<'a>(streams: &[&'a Value], wanted: impl Fn(&Value) -> bool) -> &'a Value {
    let mut found = streams.iter().copied().filter(|stream| wanted(stream));
    match (found.next(), found.next()) {
        (Some(stream), None) => stream,
        other => panic!("not exactly one such stream: {other:?} in {streams:#?}"),
    }
}

/// The stream's socket was given that many datagrams by the kernel, and all were meant for it.
fn assert_heard(stream: &Value, datagrams: u64) {
    let counts = [&stream["received"], &stream["published"], &stream["refused"]["wrong_destination"]];
    assert_eq!(counts, [&json!(datagrams), &json!(datagrams), &json!(0)], "{stream:#}");
}

/// How many shards the gateway runs.
fn shards(gateway: &TestGateway<'_>) -> usize {
    gateway.status()["gateway"]["threads"]
        .as_u64()
        .and_then(|threads| threads.try_into().ok())
        .expect("a number")
}

/// How many sockets of the gateway's host are bound to `group`, address and port.
fn sockets(lab: &Lab, group: &str) -> usize {
    let family = if group.starts_with('[') { "-6" } else { "-4" };
    let bound = lab.sh(&format!("ip netns exec gw ss {family} -Huanp"));
    // `239.1.2.3%lan0:5000`, `[ff15::42]%lan0:5000`
    let (address, port) = group.rsplit_once(':').expect("a port");
    let local = |line: &str| line.split_whitespace().nth(3).map(str::to_owned);
    bound
        .lines()
        .filter_map(local)
        .filter(|local| local.starts_with(address) && local.ends_with(&format!(":{port}")))
        .count()
}

fn number_of(gateway: &TestGateway<'_>, group: &str) -> Value {
    let status = gateway.status();
    let streams = streams_of(&status, group);
    find(&streams, |stream| stream["sources"] == json!([]))["number"].clone()
}

fn number_after_opening(gateway: &TestGateway<'_>, path: &str, group: &str) -> Value {
    let _client = gateway.open(path);
    number_of(gateway, group)
}
