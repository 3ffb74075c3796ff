//! A subscription outlives whatever happens to its interface, on the same WebSocket.
//!
//! Run with `--nocapture` these tests print how long data took to flow again.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::client::WebSocket;
use crate::support::gateway::TestGateway;
use crate::support::lab::{Lab, Multicast, PATIENCE, Receiver, lab_test, skip, wait_for};

lab_test! {
    fn link_down_and_up(lab) {
        let gateway = TestGateway::start(lab, &["--interface", "lan0"]);
        let mut flows = both(lab, &gateway);
        lab.sh("ip -n gw link set lan0 down");
        for flow in &flows {
            let stream = flow.waits("interface lan0 is down");
            assert_eq!(stream["interface"], "lan0");
        }
        // Down, IPv6 addresses are lost, and they are no matter of the gateway's.
        lab.sh("ip -n gw link set lan0 up");
        for flow in &mut flows {
            flow.resumes("link down and up", 1);
        }
    }
}

lab_test! {
    fn carrier_back_at_a_switch_that_forgot_and_is_not_answered(lab) {
        if skip("nft", "nftables") {
            return;
        }
        hear_no_queries(lab);
        let gateway = TestGateway::start(lab, &["--interface", "lan0"]);
        // Two streams of one group are two members on this host, as RTP and RTCP are.
        let mut flows = both(lab, &gateway);
        flows.push(Flow::open(lab, &gateway, "239.1.2.3:5001"));
        flows.push(Flow::open(lab, &gateway, "10.1.0.2@232.1.2.3:5000"));
        reported_for_good(&gateway);
        lab.sh("ip -n sw link set gw-lan0 down");
        for flow in &flows {
            flow.waits("interface lan0 has no carrier");
        }
        assert!(!lab.is_member("gw-lan0", "239.1.2.3".parse().unwrap()), "the switch has forgotten");
        lab.sh("ip -n sw link set gw-lan0 up");
        for flow in &mut flows {
            flow.resumes("carrier lost and back", 1);
        }
    }
}

lab_test! {
    fn shards_leave_together_before_they_join_again(lab) {
        if skip("nft", "nftables") {
            return;
        }
        hear_no_queries(lab);
        let gateway = TestGateway::start(lab, &["--interface", "lan0", "--threads", "2"]);
        let mut first = Flow::open(lab, &gateway, "239.1.2.3:5000");
        let mut second = gateway.open("/udp/239.1.2.3:5000");
        let shards = |status: &Value| status["streams"][0]["copies"].as_array().map_or(0, Vec::len);
        gateway.status_with("stream on each shard", |status| shards(status) == 2);
        reported_for_good(&gateway);
        lab.sh("ip -n sw link set gw-lan0 down");
        first.waits("interface lan0 has no carrier");
        lab.sh("ip -n sw link set gw-lan0 up");
        first.flows("carrier lost and back, two shards");
        first.reaches(&mut second);
        let index = index_of(lab, "lan0");
        lab.sh("ip -n gw link del lan0");
        first.waits("no interface lan0");
        create(lab, "lan0", &index);
        first.flows("created anew, two shards");
        first.reaches(&mut second);
    }
}

lab_test! {
    fn a_short_loss_of_carrier_is_not_missed(lab) {
        if skip("nft", "nftables") {
            return;
        }
        hear_no_queries(lab);
        let gateway = TestGateway::start(lab, &["--interface", "lan0"]);
        let mut flows = both(lab, &gateway);
        reported_for_good(&gateway);
        let known = lab.sh("ip -n sw link set gw-lan0 down; bridge -n sw mdb show; ip -n sw link set gw-lan0 up");
        assert!(!known.contains("port gw-lan0 grp 239.1.2.3 "), "the switch has forgotten: {known}");
        for flow in &mut flows {
            flow.resumes("carrier lost for a moment", 1);
        }
    }
}

lab_test! {
    fn renamed_away_and_back(lab) {
        let gateway = TestGateway::start(lab, &["--interface", "lan0"]);
        let mut flows = both(lab, &gateway);
        let index = lab.sh("ip netns exec gw cat /sys/class/net/lan0/ifindex");
        let mut by_index = Flow::open(lab, &gateway, &format!("239.1.2.4:5000?interface={}", index.trim()));
        lab.sh("ip -n gw link set lan0 down; ip -n gw link set lan0 name other0; ip -n gw link set other0 up");
        for flow in &flows {
            flow.waits("no interface lan0; there are: lo, other0");
        }
        by_index.flows("renamed, configured by index");
        assert_eq!(by_index.stream()["interface"], "other0");
        lab.sh("ip -n gw link set other0 down; ip -n gw link set other0 name lan0; ip -n gw link set lan0 up");
        for flow in &mut flows {
            flow.resumes("renamed and back", 1);
        }
        by_index.flows("renamed back, configured by index");
    }
}

lab_test! {
    fn deleted_and_created_anew(lab) {
        let gateway = TestGateway::start(lab, &["--interface", "lan0"]);
        let mut flows = both(lab, &gateway);
        let before = index_of(lab, "lan0");
        for (index, outages) in [("", 1), (&*before, 2)] {
            lab.sh("ip -n gw link del lan0");
            for flow in &flows {
                let stream = flow.waits("no interface lan0; there are: lo, lan1, mgmt0");
                assert_eq!(stream["outages"]["count"], outages);
            }
            create(lab, "lan0", index);
            for flow in &mut flows {
                let stream = flow.resumes(format!("deleted and created anew {index}").trim_end(), outages);
                let lasted = stream["outages"]["last_seconds"].as_f64().unwrap();
                let total = stream["outages"]["seconds"].as_f64().unwrap();
                assert!(0.0 < lasted && lasted <= total && total < 60.0, "{stream:#}");
            }
        }
        assert_eq!(index_of(lab, "lan0"), before);
    }
}

lab_test! {
    fn created_anew_before_anybody_looked(lab) {
        let gateway = TestGateway::start(lab, &["--interface", "lan0"]);
        let mut flows = both(lab, &gateway);
        let before = index_of(lab, "lan0");
        gateway.signal("STOP");
        lab.sh("ip -n gw link del lan0");
        create(lab, "lan0", &before);
        gateway.signal("CONT");
        for flow in &mut flows {
            flow.resumes("deleted and created anew, unseen", 1);
        }
    }
}

lab_test! {
    fn moved_to_another_namespace_and_back(lab) {
        let gateway = TestGateway::start(lab, &["--interface", "lan0"]);
        let mut flows = both(lab, &gateway);
        let before = index_of(lab, "lan0");
        lab.sh("ip netns add attic; ip -n gw link set lan0 netns attic");
        for flow in &flows {
            flow.waits("no interface lan0; there are: lo, lan1, mgmt0");
        }
        lab.sh("ip -n attic link set lan0 netns gw");
        bring_up(lab, "lan0");
        assert_eq!(index_of(lab, "lan0"), before, "it has come back with its index");
        for flow in &mut flows {
            flow.resumes("moved away and back", 1);
        }
    }
}

lab_test! {
    fn addresses_change_and_go(lab) {
        let gateway = TestGateway::start(lab, &["--interface", "lan0"]);
        let mut flows = both(lab, &gateway);
        for (what, change) in [
            ("IPv4 address changed", "addr add 10.1.0.77/24 dev lan0; ip -n gw addr del 10.1.0.1/24 dev lan0"),
            ("IPv6 address changed", "addr add fd01::77/64 dev lan0 nodad; ip -n gw addr del fd01::1/64 dev lan0"),
            ("IPv4 addresses flushed", "-4 addr flush dev lan0"),
            ("IPv6 addresses flushed", "-6 addr flush dev lan0"),
        ] {
            lab.sh(&format!("ip -n gw {change}"));
            for flow in &mut flows {
                flow.flows(what);
            }
        }
        for flow in &flows {
            assert_eq!(flow.stream()["outages"]["count"], 0);
        }
    }
}

lab_test! {
    fn an_mtu_too_small_for_ipv6_and_back(lab) {
        let gateway = TestGateway::start(lab, &["--interface", "lan0"]);
        let [mut v4, mut v6] = <[Flow<'_>; 2]>::try_from(both(lab, &gateway)).ok().unwrap();
        lab.sh("ip -n gw link set lan0 mtu 1279");
        v6.waits("MTU of 1280");
        v4.flows("MTU below 1280, IPv4");
        lab.sh("ip -n gw link set lan0 mtu 1500");
        v6.resumes("MTU below 1280 and back", 1);
        assert_eq!(v4.stream()["outages"]["count"], 0);
    }
}

lab_test! {
    fn ipv6_disabled_and_enabled(lab) {
        let gateway = TestGateway::start(lab, &["--interface", "lan0"]);
        let mut flows = both(lab, &gateway);
        lab.sh("ip netns exec gw sysctl -qw net.ipv6.conf.lan0.disable_ipv6=1");
        flows[0].flows("IPv6 disabled, IPv4");
        lab.sh("ip netns exec gw sysctl -qw net.ipv6.conf.lan0.disable_ipv6=0");
        flows[1].flows("IPv6 disabled and enabled");
    }
}

lab_test! {
    fn configured_it_may_appear_later(lab) {
        let gateway = TestGateway::start(lab, &["--interface", "late0"]);
        gateway.logged("there is no interface late0 yet");
        let refused = gateway.fetch("/udp/239.1.2.3:5000?interface=late1");
        assert_eq!(refused.status, 404, "{refused:?}");
        assert!(refused.body.contains("no interface late1; there are: lo, lan0, lan1, mgmt0"), "{refused:?}");
        let paths = ["239.1.2.3:5000", "[ff15::42]:5000?interface=late0"];
        let mut flows = paths.map(|path| Flow::begin(lab, &gateway, path));
        for flow in &flows {
            assert_eq!(flow.client.interface(), "late0");
            flow.waits("no interface late0; there are: lo, lan0");
        }
        create(lab, "late0", "");
        for flow in &mut flows {
            flow.resumes("late appearance", 1);
        }
    }
}

lab_test! {
    fn by_address_it_is_whoever_has_the_address(lab) {
        let gateway = TestGateway::start(lab, &["--interface", "10.1.0.1"]);
        let mut flow = Flow::open(lab, &gateway, "239.1.2.3:5000");
        assert_eq!(flow.client.interface(), "lan0");
        lab.sh("ip -n gw addr del 10.1.0.1/24 dev lan0");
        flow.waits("no interface 10.1.0.1; there are: lo, lan0");
        lab.sh("ip -n gw addr add 10.1.0.1/24 dev lan1");
        flow.source = lab.on("srcb", || Multicast::sender("eth0", "239.1.2.3:5000".parse().unwrap(), 1));
        flow.resumes("address moved to another interface", 1);
        assert_eq!(flow.stream()["interface"], "lan1");
    }
}

lab_test! {
    fn senders_follow_their_interface_and_keep_their_port(lab) {
        let gateway = TestGateway::start(lab, &["--interface", "lan0", "--allow-send", "239.0.0.0/8", "--allow-send", "ff15::/16"]);
        for group in ["239.1.2.3:5000", "[ff15::42]:5000"] {
            let receiver = lab.on("srca", || Receiver::join("eth0", group.parse().unwrap()));
            gateway.await_joined("srca-eth0", group);
            let mut client = gateway.open(&format!("/udp/{group}?receive=0&replies=1"));
            client.send(b"before");
            let before = receiver.recv();
            assert_eq!(before.payload, b"before");
            lab.sh("ip -n gw link del lan0");
            create(lab, "lan0", "");
            let after = wait_for("a datagram through the new interface", PATIENCE, || {
                client.send(b"after");
                receiver.recv_within(Duration::from_millis(20))
            });
            assert_eq!(after.payload, b"after");
            assert_eq!(after.source, before.source, "replies find the way back");
            lab.on("srca", || reply(&after.source.to_string()));
            assert_eq!(client.recv(), b"reply");
            gateway.status_with("sender's address", |status| {
                status["sessions"][0]["sender"]["source"] == before.source.to_string()
            });
            client.close();
            gateway.status_with("no sessions", |status| status["sessions"] == json!([]));
        }
    }
}

/// A source that numbers its datagrams, and a client who hears it.
struct Flow<'a> {
    gateway: &'a TestGateway<'a>,
    client: WebSocket,
    source: Multicast,
    group: String,
    number: Value,
    sent: u32,
    heard: u32,
}

/// Until data must flow again; what is wanted is 2 s on a machine that does nothing else.
const AGAIN: Duration = Duration::from_secs(5);

impl<'a> Flow<'a> {
    /// Opens `/udp/PATH`, sent to by `srca`.
    fn begin(lab: &Lab, gateway: &'a TestGateway<'a>, path: &str) -> Self {
        let client = gateway.open(&format!("/udp/{path}"));
        let group =
            path.rsplit('@').next().and_then(|path| path.split('?').next()).expect("a group").to_owned();
        let source = lab.on("srca", || Multicast::sender("eth0", group.parse().expect("a group"), 1));
        let streams = gateway.status()["streams"].clone();
        // Streams are in the order of their numbers.
        let number =
            streams.as_array().and_then(|streams| streams.last()).expect("a stream")["number"].clone();
        Flow { gateway, client, source, group, number, sent: 0, heard: 0 }
    }

    /// The same, and data flows.
    fn open(lab: &Lab, gateway: &'a TestGateway<'a>, path: &str) -> Self {
        let mut flow = Self::begin(lab, gateway, path);
        flow.flows("at first");
        flow
    }

    /// Sends until something sent from now on has arrived, in order.
    fn flows(&mut self, what: &str) {
        let (start, before) = (Instant::now(), self.sent);
        while self.heard <= before {
            assert!(
                start.elapsed() < AGAIN,
                "{what}: nothing of {} for {AGAIN:?}: {:#}",
                self.group,
                self.stream()
            );
            self.sent += 1;
            self.source.send(self.sent.to_string().as_bytes());
            while let Some(datagram) = self.client.recv_within(Duration::from_millis(10)) {
                let number = String::from_utf8(datagram).expect("text").parse().expect("a number");
                assert!(number > self.heard, "{number} after {}", self.heard);
                self.heard = number;
            }
        }
        println!("{what}, {}: data after {:.0?}", self.group, start.elapsed());
    }

    /// Sends until another client of the group hears it too.
    fn reaches(&mut self, other: &mut WebSocket) {
        let before = self.sent;
        wait_for("data at the other client", AGAIN, || {
            self.sent += 1;
            self.source.send(self.sent.to_string().as_bytes());
            let datagram = other.recv_within(Duration::from_millis(10))?;
            let number: u32 = String::from_utf8(datagram).ok()?.parse().ok()?;
            (number > before).then_some(())
        });
    }

    /// Its stream in the status: the same one as at first.
    fn stream(&self) -> Value {
        let status = self.gateway.status();
        let mut streams = status["streams"].as_array().expect("a list of streams").iter();
        let stream = streams.find(|stream| stream["number"] == self.number);
        stream.unwrap_or_else(|| panic!("no stream {} any more: {status:#}", self.number)).clone()
    }

    /// Waits until the stream waits for its interface, for this reason.
    fn waits(&self, reason: &str) -> Value {
        self.gateway.status_with(&format!("stream waiting: {reason}"), |_| {
            let stream = self.stream();
            stream["state"] == "waiting-for-interface"
                && stream["waiting"].as_str().is_some_and(|waiting| waiting.contains(reason))
        });
        let stream = self.stream();
        assert_eq!(stream["lost"]["interface"], Value::Null, "what is missed is not known: {stream:#}");
        stream
    }

    /// Data flows again after so many outages; the stream.
    fn resumes(&mut self, what: &str, outages: u64) -> Value {
        self.flows(what);
        self.gateway.status_with("stream receiving", |_| self.stream()["state"] == "receiving");
        let stream = self.stream();
        assert_eq!(stream["outages"]["count"], outages, "{stream:#}");
        assert_eq!(stream["lost"]["interface"], Value::Null, "{stream:#}");
        assert_eq!(stream["received"], stream["published"], "{stream:#}");
        stream
    }
}

/// A stream of each family on the configured interface, flowing.
fn both<'a>(lab: &Lab, gateway: &'a TestGateway<'a>) -> Vec<Flow<'a>> {
    ["239.1.2.3:5000", "[ff15::42]:5000"].map(|group| Flow::open(lab, gateway, group)).into()
}

/// The gateway's host hears no queries any more, and the switch forgets nobody for it: only reports that come by
/// themselves count.
fn hear_no_queries(lab: &Lab) {
    lab.sh("ip -n sw link set lana type bridge mcast_membership_interval 100000
        ip netns exec gw nft 'add table inet t; add chain inet t in { type filter hook input priority 0; };
            add rule inet t in ip protocol igmp drop; add rule inet t in icmpv6 type mld-listener-query drop'");
}

/// Waits until reports of the last join have been repeated: within a second (RFC 3376 section 8.10).
fn reported_for_good(gateway: &TestGateway<'_>) {
    let uptime = |status: &Value| status["gateway"]["uptime_seconds"].as_f64().expect("an uptime");
    let joined = uptime(&gateway.status());
    gateway.status_with("second gone", |status| uptime(status) > joined + 1.2);
}

fn index_of(lab: &Lab, interface: &str) -> String {
    lab.sh(&format!("ip netns exec gw cat /sys/class/net/{interface}/ifindex")).trim().to_owned()
}

/// Gives the gateway's host an interface on the first LAN, with this index or any.
fn create(lab: &Lab, interface: &str, index: &str) {
    let (switch, gateway) = match index {
        "" => (String::new(), String::new()),
        // The index of one end is heeded where the other's is given too.
        index => ("index 4711".to_owned(), format!("index {index}")),
    };
    lab.sh(&format!(
        "ip -n sw link add gw-{interface} master lana up {switch} type veth peer name {interface} {gateway} netns gw"
    ));
    bring_up(lab, interface);
}

fn bring_up(lab: &Lab, interface: &str) {
    // `late0` stands beside a `lan0` that has the usual ones.
    let host = if interface == "lan0" { 1 } else { 9 };
    lab.sh(&format!(
        "ip -n gw link set {interface} up
        ip -n gw addr add 10.1.0.{host}/24 dev {interface}; ip -n gw addr add fd01::{host}/64 dev {interface} nodad"
    ));
}

fn reply(to: &str) {
    let any = if to.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
    std::net::UdpSocket::bind(any).expect("a socket").send_to(b"reply", to).expect("send");
}
