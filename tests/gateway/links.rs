//! Links between gateways: every datagram once, in every topology.

mod breaks;
mod neighbours;
mod rules;
mod secure;
mod services;
mod storms;
mod told;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::support::lab::{Lab, Multicast, lab_test};
use crate::support::sites::{Counter, SiteGateway, Sites, link_to, number};

const GROUP: &str = "239.1.2.3:5000";

/// What every host of a topology is to hear, and does.
struct Exchange {
    counters: Vec<Counter>,
    expected: HashMap<Vec<u8>, u64>,
}

impl Exchange {
    /// Counts on all `hosts`, and sends from all `senders` for `time`: 100 datagrams a second each, of which every fourth is a beacon with
    /// the same bytes every time.
    fn run(sites: &Sites<'_>, hosts: &[&str], senders: &[&str], time: Duration) -> Self {
        let counters = hosts.iter().map(|host| sites.count(host, GROUP)).collect();
        let senders: Vec<(&str, Multicast)> =
            senders.iter().map(|host| (*host, sites.sender(host, GROUP))).collect();
        let (mut expected, start, mut turn) = (HashMap::new(), Instant::now(), 0_u64);
        while start.elapsed() < time {
            for (host, sender) in &senders {
                let payload =
                    if turn % 4 == 0 { format!("beacon of {host}") } else { format!("{turn} of {host}") };
                sender.send(payload.as_bytes());
                *expected.entry(payload.into_bytes()).or_insert(0) += 1;
            }
            turn += 1;
            std::thread::sleep(Duration::from_millis(10));
        }
        Exchange { counters, expected }
    }

    /// Waits until everything has gone its way, and compares: each datagram once on each LAN, and no other.
    fn check(self, gateways: &[&SiteGateway<'_>]) {
        let mut before = Vec::new();
        let start = Instant::now();
        // Settled: nothing has moved in any book between two looks.
        loop {
            let now: Vec<_> = gateways.iter().map(|gateway| gateway.mirror(GROUP)).collect();
            let moved: Vec<u64> = now
                .iter()
                .flat_map(|mirror| [number(&mirror["heard"]), number(&mirror["arrived"])])
                .collect();
            std::thread::sleep(Duration::from_millis(100));
            if moved == before {
                break;
            }
            before = moved;
            assert!(start.elapsed() < Duration::from_secs(10), "the gateways do not come to rest: {now:#?}");
        }
        let books: Vec<_> = gateways.iter().map(|gateway| gateway.mirror(GROUP)).collect();
        for (at, counter) in self.counters.into_iter().enumerate() {
            let counts = counter.counts();
            let wrong: Vec<_> = self
                .expected
                .iter()
                .filter(|(payload, count)| counts.get(*payload) != Some(count))
                .map(|(payload, count)| (String::from_utf8_lossy(payload), *count, counts.get(payload)))
                .take(10)
                .collect();
            assert!(wrong.is_empty(), "host {at} (payload, expected, heard): {wrong:?}\n{books:#?}");
            let strange: Vec<_> =
                counts.keys().filter(|payload| !self.expected.contains_key(*payload)).collect();
            assert!(strange.is_empty(), "host {at} heard what nobody sent: {strange:?}");
        }
    }
}

/// Three sites, each linked to the next.
fn ring(lab: &Lab, time: Duration) {
    let sites = Sites::build(lab, &[(&["ga"], &["ha"]), (&["gb"], &["hb"]), (&["gc"], &["hc"])]);
    let a = sites.gateway("ga", 1, &link_to(2, GROUP));
    let b = sites.gateway("gb", 2, &link_to(3, GROUP));
    let c = sites.gateway("gc", 3, &link_to(1, GROUP));
    for gateway in [&a, &b, &c] {
        assert_eq!(gateway.ready(2), ["speaking"]);
    }
    let hosts = ["ha", "hb", "hc"];
    Exchange::run(&sites, &hosts, &hosts, time).check(&[&a, &b, &c]);
    // Each has had everything twice.
    assert!(number(&a.mirror(GROUP)["discarded"]["duplicate"]) > 0);
}

/// Two LANs, and on each two gateways, with a link between the first ones and another between the second ones.
fn parallel(lab: &Lab, time: Duration) {
    let sites = Sites::build(lab, &[(&["ga", "gb"], &["ha"]), (&["gc", "gd"], &["hb"])]);
    let c = sites.gateway("gc", 3, "");
    let d = sites.gateway("gd", 4, "");
    let a = sites.gateway("ga", 1, &link_to(3, GROUP));
    let b = sites.gateway("gb", 2, &link_to(4, GROUP));
    let gateways = [&a, &b, &c, &d];
    let states = gateways.map(|gateway| gateway.ready(1).concat());
    for lan in [&states[..2], &states[2..]] {
        assert_eq!(lan.iter().filter(|state| *state == "speaking").count(), 1, "{states:?}");
    }
    Exchange::run(&sites, &["ha", "hb"], &["ha", "hb"], time).check(&gateways);
}

/// A LAN with two gateways, each linked to another site, and those sites to each other.
fn shared(lab: &Lab, time: Duration) {
    let sites = Sites::build(lab, &[(&["ga", "gb"], &["ha"]), (&["gc"], &["hb"]), (&["gd"], &["hc"])]);
    let c = sites.gateway("gc", 3, &link_to(4, GROUP));
    let d = sites.gateway("gd", 4, "");
    let a = sites.gateway("ga", 1, &link_to(3, GROUP));
    // And one between two that share a LAN.
    let b = sites.gateway("gb", 2, &(link_to(4, GROUP) + &link_to(1, GROUP)));
    let gateways = [&a, &b, &c, &d];
    for (gateway, links) in gateways.into_iter().zip([2, 2, 2, 2]) {
        gateway.ready(links);
    }
    let hosts = ["ha", "hb", "hc"];
    Exchange::run(&sites, &hosts, &hosts, time).check(&gateways);
}

lab_test! {
    fn a_ring_of_three_gateways_passes_each_datagram_once(lab) {
        ring(lab, Duration::from_secs(2));
    }
}

lab_test! {
    fn two_parallel_links_between_two_lans_pass_each_datagram_once(lab) {
        parallel(lab, Duration::from_secs(2));
    }
}

lab_test! {
    fn a_lan_with_two_gateways_hears_each_datagram_once(lab) {
        shared(lab, Duration::from_secs(2));
    }
}

lab_test! {
    #[ignore = "60 s: the shorter test runs the same"]
    fn a_ring_for_a_minute(lab) {
        ring(lab, Duration::from_secs(55));
    }
}

lab_test! {
    #[ignore = "60 s: the shorter test runs the same"]
    fn two_parallel_links_for_a_minute(lab) {
        parallel(lab, Duration::from_secs(55));
    }
}

lab_test! {
    #[ignore = "60 s: the shorter test runs the same"]
    fn a_lan_with_two_gateways_for_a_minute(lab) {
        shared(lab, Duration::from_secs(55));
    }
}
