//! Several sites: LANs of their own, each with hosts and gateways, and a network between the gateways.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;

use super::gateway::{Answer, TestGateway};
use super::lab::{Lab, Multicast, PATIENCE, Receiver, wait_for};

/// The sites of a test. LAN number `l` (from 0) is 10.`50 + l`.0.0/24; every host has `eth0` there, every gateway `lan0` there
/// and `wan0` on 10.99.0.0/24.
pub struct Sites<'a> {
    lab: &'a Lab,
}

/// A gateway at a site.
pub struct SiteGateway<'a> {
    gateway: TestGateway<'a>,
    host: &'static str,
    _config: Option<tempfile::NamedTempFile>,
}

/// Counts what arrives for a group on a host.
pub struct Counter {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<HashMap<Vec<u8>, u64>>,
}

impl<'a> Sites<'a> {
    /// Builds LANs; each with its gateways, and with its hosts.
    pub fn build(lab: &'a Lab, lans: &[(&[&'static str], &[&'static str])]) -> Self {
        let mut script =
            String::from("ip netns add wan\nip -n wan link add wan type bridge\nip -n wan link set wan up\n");
        let mut wide = 0;
        for (number, (gateways, hosts)) in lans.iter().enumerate() {
            let lan = format!("lan{number}");
            let _ = writeln!(
                script,
                "ip netns add {lan}\nip -n {lan} link add lan type bridge mcast_snooping 0\nip -n {lan} link set lan up"
            );
            for (at, host) in gateways.iter().chain(*hosts).enumerate() {
                let is_gateway = at < gateways.len();
                let (interface, four) = (if is_gateway { "lan0" } else { "eth0" }, at + 1);
                let net = 50 + number;
                let _ = writeln!(
                    script,
                    "ip netns list | grep -q '^{host}\\b' || ip netns add {host}\n\
                     ip -n {host} link set lo up\n\
                     ip -n {lan} link add {host} type veth peer name {interface} netns {host}\n\
                     ip -n {lan} link set {host} master lan up\n\
                     ip -n {host} link set {interface} up\n\
                     ip -n {host} addr add 10.{net}.0.{four}/24 dev {interface}\n\
                     ip -n {host} addr add fd{net}::{four}/64 dev {interface} nodad\n\
                     ip -n {host} route add 224.0.0.0/4 dev {interface}"
                );
                if is_gateway {
                    wide += 1;
                    let _ = writeln!(
                        script,
                        "ip -n wan link add {host} type veth peer name wan0 netns {host}\n\
                         ip -n wan link set {host} master wan up\n\
                         ip -n {host} link set wan0 up\n\
                         ip -n {host} addr add 10.99.0.{wide}/24 dev wan0"
                    );
                }
            }
        }
        lab.sh(&script);
        Sites { lab }
    }

    /// A gateway on `host`, that listens on the network between the sites at port 8080, lets others link to it, and lets
    /// everything be received and sent; `links` is the rest of its configuration.
    pub fn gateway(&self, host: &'static str, number: u8, links: &str) -> SiteGateway<'a> {
        let mut config = tempfile::NamedTempFile::new().expect("a file for the configuration");
        std::io::Write::write_all(&mut config, links.as_bytes()).expect("write the configuration");
        let listen = format!("10.99.0.{number}:8080");
        let path = config.path().to_str().expect("a plain path").to_owned();
        let arguments =
            ["--config", &path, "--listen", &listen, "--accept-links", "--interface", "lan0", "--no-auth"];
        let open = [
            "--allow-receive",
            "239.0.0.0/8,ff00::/8",
            "--allow-send",
            "239.0.0.0/8,ff00::/8",
            "--limit",
            "all=off",
        ];
        // What stands on the deny list has to be named.
        let denied = "239.255.255.250:1900,224.0.0.251:5353,224.0.1.187:5683";
        let named = ["--allow-receive", denied, "--allow-send", denied];
        let arguments = [&arguments[..], &open[..], &named[..]].concat();
        let gateway = TestGateway::start_on(self.lab, host, &arguments);
        SiteGateway { gateway, host, _config: Some(config) }
    }

    /// A sender on a host.
    pub fn sender(&self, host: &str, group: &str) -> Multicast {
        self.lab.on(host, || Multicast::sender("eth0", group.parse().expect("a group"), 1))
    }

    /// A receiver on a host.
    pub fn receiver(&self, host: &str, group: &str) -> Receiver {
        self.lab.on(host, || Receiver::join("eth0", group.parse().expect("a group")))
    }

    /// Counts on a host from now on.
    pub fn count(&self, host: &str, group: &str) -> Counter {
        Counter::of(self.receiver(host, group))
    }
}

/// `[[link]]` to gateway `number`, mirroring `group` both ways.
pub fn link_to(number: u8, group: &str) -> String {
    format!(
        "[[link]]\nname = \"to-{number}\"\nurl = \"ws://10.99.0.{number}:8080\"\ninterface = \"lan0\"\n[[link.group]]\ngroup = \"{group}\"\n"
    )
}

impl SiteGateway<'_> {
    /// Its status, asked for on its own host.
    pub fn status(&self) -> Value {
        let address = self.gateway.address;
        let request = format!("GET /api/v1/status HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        let answer = self.ask(&request);
        serde_json::from_str(&answer.body).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
    }

    /// What it answers to a request from its own host.
    pub fn ask(&self, request: &str) -> Answer {
        self.gateway.ask_from(self.host, self.gateway.address, request)
    }

    /// Waits until its status satisfies `condition`; the status.
    pub fn status_with(&self, what: &str, condition: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait_for(what, PATIENCE + Duration::from_secs(10), || {
                last = self.status();
                condition(&last).then(|| last.clone())
            })
        }));
        found.unwrap_or_else(|_| {
            panic!("no {what} in the status of {}:\n{:#}\n{:#}", self.host, last["links"], last["mirrors"])
        })
    }

    /// Waits until `links` links are up and every mirrored group has somebody who speaks for it; the states of the groups.
    pub fn ready(&self, links: usize) -> Vec<String> {
        let status = self.status_with("links that are up, with their groups", |status| {
            let up = list(status, "links").iter().filter(|link| link["state"] == "up").count();
            let settled = |mirror: &Value| mirror["state"] == "speaking" || !mirror["speaker"].is_null();
            up >= links && !list(status, "mirrors").is_empty() && list(status, "mirrors").iter().all(settled)
        });
        list(&status, "mirrors")
            .iter()
            .map(|mirror| mirror["state"].as_str().unwrap_or("").to_owned())
            .collect()
    }

    /// The mirror of a group, after its books have been seen to balance.
    pub fn mirror(&self, group: &str) -> Value {
        let status = self.status();
        let mirror = list(&status, "mirrors").iter().find(|mirror| mirror["group"] == group);
        let mirror = mirror.unwrap_or_else(|| panic!("no mirror of {group}: {status:#}")).clone();
        assert_mirror_balances(&mirror);
        mirror
    }

    /// The gateway.
    pub fn inner(&self) -> &TestGateway<'_> {
        &self.gateway
    }
}

impl Counter {
    /// Counts what `receiver` gets.
    pub fn of(receiver: Receiver) -> Counter {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut counts = HashMap::new();
            while !stopped.load(Ordering::Relaxed) {
                if let Some(received) = receiver.recv_within(Duration::from_millis(50)) {
                    *counts.entry(received.payload).or_insert(0) += 1;
                }
            }
            while let Some(received) = receiver.take() {
                *counts.entry(received.payload).or_insert(0) += 1;
            }
            counts
        });
        Counter { stop, thread }
    }

    /// What has come, each payload with its number.
    pub fn counts(self) -> HashMap<Vec<u8>, u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the counter")
    }
}

/// A number of a status.
pub fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("not a number: {value}"))
}

/// A list of a status.
pub fn list<'v>(status: &'v Value, name: &str) -> &'v [Value] {
    status[name].as_array().map_or(&[], Vec::as_slice)
}

/// The sum of an object's numbers.
pub fn sum(value: &Value) -> u64 {
    value.as_object().map_or(0, |fields| fields.values().map(number).sum())
}

fn assert_mirror_balances(mirror: &Value) {
    assert_eq!(number(&mirror["heard"]), number(&mirror["injected"]) + sum(&mirror["ignored"]), "{mirror:#}");
    let arrived = number(&mirror["emitted"]) + number(&mirror["handed"]) + sum(&mirror["discarded"]);
    assert_eq!(number(&mirror["arrived"]), arrived, "{mirror:#}");
}

/// An address of a site's network.
pub fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}
