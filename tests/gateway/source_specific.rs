//! Source filters on the wire: what the gateway reports to the switch, what the switch makes of it, and what the kernel
//! will not take.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::json;

use crate::support::client::WebSocket;
use crate::support::gateway::TestGateway;
use crate::support::lab::{Lab, Multicast, PATIENCE, lab_test, skip, wait_for};

lab_test! {
    fn the_switch_learns_sources_and_filter_mode_and_the_leave(lab) {
        let gateway = TestGateway::start(lab, &["--interface", "lan0"]);
        let cases = [
            ("10.1.0.2@232.1.2.3:5000", "232.1.2.3", "include", &["10.1.0.2"][..]),
            ("10.1.0.2,10.1.0.3@239.1.2.3:5000", "239.1.2.3", "include", &["10.1.0.2", "10.1.0.3"]),
            ("239.1.2.4:5000?exclude=10.1.0.3", "239.1.2.4", "exclude", &["10.1.0.3"]),
            ("239.1.2.5:5000", "239.1.2.5", "exclude", &[]),
            ("[fd01::2]@[ff35::42]:5000", "ff35::42", "include", &["fd01::2"]),
            ("[fd01::2],[fd01::3]@[ff15::42]:5000", "ff15::42", "include", &["fd01::2", "fd01::3"]),
            ("[ff15::43]:5000?exclude=fd01::3", "ff15::43", "exclude", &["fd01::3"]),
            ("[ff15::44]:5000", "ff15::44", "exclude", &[]),
        ];
        let clients = cases.map(|(path, ..)| gateway.open(&format!("/udp/{path}")));
        for (path, group, mode, sources) in cases {
            let sources = sources.iter().map(ToString::to_string).collect();
            let wanted = Some(Member { mode: mode.to_owned(), sources });
            wait_for(&format!("the switch to have {wanted:?} for {path}"), PATIENCE, || {
                (member(lab, group) == wanted).then_some(())
            });
        }
        clients.into_iter().for_each(WebSocket::close);
        for (path, group, ..) in cases {
            wait_for(&format!("the switch to forget {path}"), PATIENCE, || {
                member(lab, group).is_none().then_some(())
            });
        }
    }
}

lab_test! {
    fn reports_on_the_wire_name_sources_and_say_when_they_are_left(lab) {
        if skip("tshark", "tshark") {
            return;
        }
        let gateway = TestGateway::start(lab, &["--interface", "lan0"]);
        let wire = Wire::tap(lab, "gw-lan0");
        // RFC 3376 section 4.2.12, RFC 3810 section 5.2.12: 3 changes to INCLUDE (of nothing: a leave), 4 to EXCLUDE,
        // 5 allows new sources, 6 blocks old ones.
        let cases = [
            ("10.1.0.2@232.1.2.3:5000", ("5", "232.1.2.3", "10.1.0.2"), ("6", "232.1.2.3", "10.1.0.2")),
            ("239.1.2.5:5000", ("4", "239.1.2.5", ""), ("3", "239.1.2.5", "")),
            ("[fd01::2]@[ff35::42]:5000", ("5", "ff35::42", "fd01::2"), ("6", "ff35::42", "fd01::2")),
            ("[ff15::44]:5000", ("4", "ff15::44", ""), ("3", "ff15::44", "")),
        ];
        let clients = cases.map(|(path, ..)| gateway.open(&format!("/udp/{path}")));
        for (_, joined, left) in cases {
            wire.reported(joined);
            assert!(!wire.has(left), "{left:?} was reported too early");
        }
        clients.into_iter().for_each(WebSocket::close);
        for (.., left) in cases {
            wire.reported(left);
        }
    }
}

lab_test! {
    fn source_specific_streams_need_nothing_but_their_own_join(lab) {
        let gateway = TestGateway::start(lab, &["--interface", "lan0"]);
        for (path, group) in
            [("10.1.0.2@232.1.2.3:5000", "232.1.2.3:5000"), ("[fd01::2]@[ff35::42]:5000", "[ff35::42]:5000")]
        {
            let mut client = gateway.open(&format!("/udp/{path}"));
            gateway.await_joined("gw-lan0", group);
            let [wanted, other] =
                ["srca", "srcc"].map(|host| lab.on(host, || Multicast::sender("eth0", group.parse().unwrap(), 1)));
            other.send(b"from another source");
            wanted.send(b"wanted");
            assert_eq!(client.recv_until(b"wanted"), [b"wanted"]);
            let stream = gateway.stream(group);
            assert_eq!(stream["received"], 1, "{stream:#}");
            assert_eq!(stream["seen_sources"].as_object().unwrap().len(), 1, "{stream:#}");
        }
    }
}

lab_test! {
    fn too_many_sources_are_refused_with_the_sysctl_to_raise(lab) {
        let gateway = TestGateway::start(lab, &["--interface", "lan0"]);
        let list = |sources: u32| (1..=sources).map(|i| format!("10.1.0.{i}")).collect::<Vec<_>>().join(",");
        let (ten, eleven) = (list(10), list(11));
        let path = "/udp/239.1.2.3:5000";
        let kinds = |sources: &str| {
            [format!("/udp/{sources}@239.1.2.3:5000"), format!("{path}?exclude={sources}")]
        };
        for refused in kinds(&eleven).map(|path| gateway.fetch(&path)) {
            assert_eq!(refused.status, 400, "{refused:?}");
            for word in ["239.1.2.3:5000", "lan0", "11 sources", "sysctl -w net.ipv4.igmp_max_msf=11"] {
                assert!(refused.body.contains(word), "{word} in {refused:?}");
            }
        }
        assert_eq!(gateway.status()["streams"], json!([]), "nothing is left of what was refused");
        kinds(&ten).iter().for_each(|path| gateway.open(path).close());
        lab.sh("ip netns exec gw sysctl -qw net.ipv4.igmp_max_msf=11");
        kinds(&eleven).iter().for_each(|path| gateway.open(path).close());
        // IPv6 takes as many as the gateway itself does.
        let v6 = |sources: u32| (1..=sources).map(|i| format!("fd01::{i:x}")).collect::<Vec<_>>().join(",");
        gateway.open(&format!("/udp/{}@[ff15::42]:5000", v6(64)));
        let refused = gateway.fetch(&format!("/udp/{}@[ff15::42]:5000", v6(65)));
        assert_eq!((refused.status, refused.body.contains("more than 64 sources")), (400, true), "{refused:?}");
    }
}

lab_test! {
    fn a_port_that_another_program_keeps_to_itself_is_named(lab) {
        let gateway = TestGateway::start(lab, &["--interface", "lan0"]);
        let selfish = lab.on("gw", || UdpSocket::bind("0.0.0.0:5000").unwrap());
        let refused = gateway.fetch("/udp/239.1.2.3:5000");
        assert_eq!(refused.status, 503, "{refused:?}");
        assert!(refused.header("retry-after").is_some(), "{refused:?}");
        for word in ["another program holds port 5000", "ss -ulpn"] {
            assert!(refused.body.contains(word), "{refused:?}");
        }
        drop(selfish);
        gateway.open("/udp/239.1.2.3:5000");
    }
}

lab_test! {
    fn streams_outlast_the_membership_interval_by_answering_queries(lab) {
        let gateway = TestGateway::start(lab, &["--interface", "lan0"]);
        let groups = ["239.1.2.3:5000", "10.1.0.2@232.1.2.3:5000", "[ff15::42]:5000", "[fd01::2]@[ff35::42]:5000"];
        let mut ends: Vec<_> = groups
            .iter()
            .map(|path| {
                let client = gateway.open(&format!("/udp/{path}"));
                let group = path.rsplit('@').next().unwrap();
                gateway.await_joined("gw-lan0", group);
                (client, lab.on("srca", || Multicast::sender("eth0", group.parse().unwrap(), 1)))
            })
            .collect();
        // A query each second; the switch forgets after 2.5 s who answered none.
        let first = queries(lab);
        for query in 1..=5 {
            wait_for("a query", PATIENCE, || (queries(lab) >= first + query).then_some(()));
            for (client, source) in &mut ends {
                source.send(format!("after query {query}").as_bytes());
                assert_eq!(client.recv(), format!("after query {query}").as_bytes());
            }
        }
        assert!(lab.is_member("gw-lan0", "239.1.2.3".parse().unwrap()));
    }
}

/// What the switch knows of a group on the gateway's port.
#[derive(Debug, PartialEq, Eq)]
struct Member {
    mode: String,
    sources: BTreeSet<String>,
}

fn member(lab: &Lab, group: &str) -> Option<Member> {
    let (port, group) = (" port gw-lan0 ", format!(" grp {group} "));
    let table = lab.sh("bridge -n sw -d -s mdb show");
    // `dev lana port gw-lan0 grp 239.1.2.3 temp filter_mode include source_list 10.1.0.2/2.50,10.1.0.3/2.50 ...`; a source
    // of an include list has a line of its own besides, with `src`.
    let line =
        table.lines().find(|line| line.contains(port) && line.contains(&group) && !line.contains(" src "))?;
    let word_after = |name: &str| line.split_whitespace().skip_while(|word| *word != name).nth(1);
    let sources = word_after("source_list").unwrap_or("").split(',').filter(|source| !source.is_empty());
    Some(Member {
        mode: word_after("filter_mode")?.to_owned(),
        sources: sources.map(|source| source.split('/').next().unwrap_or("").to_owned()).collect(),
    })
}

/// MLD queries that the gateway's host has heard on `lan0`; IGMP's come as often.
fn queries(lab: &Lab) -> u64 {
    let counters = lab.sh("ip netns exec gw cat /proc/net/dev_snmp6/lan0");
    let line = counters.lines().find_map(|line| line.strip_prefix("Icmp6InGroupMembQueries"));
    line.and_then(|count| count.trim().parse().ok()).expect("a count of queries")
}

/// The membership reports that a port of the switch carries.
struct Wire {
    tshark: Child,
    reports: Arc<Mutex<Vec<Report>>>,
}

/// One packet with its group records: their types, their groups, and the sources of all of them.
#[derive(Debug)]
struct Report {
    kinds: String,
    groups: String,
    sources: String,
}

impl Report {
    fn has(&self, (kind, group, source): (&str, &str, &str)) -> bool {
        let mut records = self.kinds.split(',').zip(self.groups.split(','));
        records.any(|record| record == (kind, group))
            && (source.is_empty() || self.sources.split(',').any(|one| one == source))
    }
}

impl Wire {
    /// Begins to listen, and has heard something when it returns.
    fn tap(lab: &Lab, port: &str) -> Self {
        let fields = [
            "igmp.record_type",
            "igmp.maddr",
            "igmp.saddr",
            "icmpv6.mldr.mar.record_type",
            "icmpv6.mldr.mar.multicast_address",
            "icmpv6.mldr.mar.source_address",
        ];
        let mut tshark = lab
            .command("sw", "tshark")
            .args([
                "-Qlni",
                port,
                "-f",
                "igmp or ip6",
                "-Y",
                "igmp or icmpv6",
                "-T",
                "fields",
                "-E",
                "separator=;",
            ])
            .args(fields.iter().flat_map(|field| ["-e", field]))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("start tshark");
        let lines = BufReader::new(tshark.stdout.take().expect("stdout is piped")).lines();
        let reports = Arc::new(Mutex::new(Vec::new()));
        let keep = Arc::clone(&reports);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let fields: Vec<&str> = line.split(';').collect();
                for report in fields.chunks(3) {
                    let [kinds, groups, sources] = report else { continue };
                    let [kinds, groups, sources] = [kinds, groups, sources].map(|text| (*text).to_owned());
                    keep.lock().expect("no panic").push(Report { kinds, groups, sources });
                }
            }
        });
        let wire = Wire { tshark, reports };
        // The switch asks each second.
        wait_for("the first packet on the wire", PATIENCE, || {
            (!wire.reports.lock().expect("no panic").is_empty()).then_some(())
        });
        wire
    }

    fn has(&self, record: (&str, &str, &str)) -> bool {
        self.reports.lock().expect("no panic").iter().any(|report| report.has(record))
    }

    /// Waits until the record has been on the wire.
    fn reported(&self, record: (&str, &str, &str)) {
        let found = std::panic::catch_unwind(|| {
            wait_for("a report", PATIENCE, || self.has(record).then_some(()));
        });
        assert!(
            found.is_ok(),
            "{record:?} was not reported, but {:#?}",
            self.reports.lock().expect("no panic")
        );
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        let _ = self.tshark.kill();
        let _ = self.tshark.wait();
    }
}
