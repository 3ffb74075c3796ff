//! `wscast doctor` finds exactly what is broken, and nothing where nothing is.

mod gateway;
mod losses;
mod queriers;
mod traffic;

use std::collections::BTreeSet;

use serde_json::Value;
use wscast::tools::doctor::finding::Name;

use super::support::lab::{Lab, lab_test};
use super::{Said, run};

/// A report, and what it came with.
struct Diagnosis {
    report: Value,
    said: Said,
}

impl Diagnosis {
    /// Runs the doctor on `host`.
    fn of(lab: &Lab, host: &str, words: &str) -> Self {
        Self::read(run(lab, host, &format!("doctor --json {words}")))
    }

    fn read(said: Said) -> Self {
        let report = serde_json::from_slice(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:?}"));
        Diagnosis { report, said }
    }

    fn findings(&self) -> &Vec<Value> {
        self.report["findings"].as_array().expect("a list")
    }

    fn names(&self) -> Vec<&str> {
        let names: BTreeSet<_> = self.findings().iter().filter_map(|one| one["name"].as_str()).collect();
        names.into_iter().collect()
    }

    /// Asserts that these were found and no others, with the exit code that their severity wants.
    #[track_caller]
    fn assert(self, names: &[&str], severity: &str) -> Self {
        assert_eq!(self.names(), names, "{:#}\n{}", self.report, self.said.stderr);
        for finding in self.findings() {
            assert_eq!(finding["severity"], severity, "{finding:#}");
            let mend = finding["mend"].as_array().expect("a list");
            assert!(!mend.is_empty() && finding["seen"] != "" && finding["why"] != "", "{finding:#}");
        }
        let code = i32::from(severity == "fault" && !names.is_empty());
        assert_eq!(self.said.code, Some(code), "{:?}", self.said);
        self
    }

    #[track_caller]
    fn assert_nothing(self) -> Self {
        self.assert(&[], "none")
    }

    /// The datagrams that were heard of the groups, over all interfaces.
    fn datagrams(&self) -> Vec<u64> {
        let groups = self.report["groups"].as_array().expect("a list").iter();
        let joins = groups.map(|group| group["joins"].as_array().expect("a list").iter());
        joins.map(|joins| joins.map(|join| join["datagrams"].as_u64().expect("a number")).sum()).collect()
    }
}

/// Breaks one thing with a script (`gw` stands for `ip -n gw`, `sysctl` is gw's), finds exactly it, and mends it.
fn found(lab: &Lab, breaking: &str, words: &str, name: &str, severity: &str) {
    found_on(lab, "gw", breaking, words, name, severity);
}

fn found_on(lab: &Lab, host: &str, breaking: &str, words: &str, name: &str, severity: &str) {
    lab.sh(&prepared(breaking));
    Diagnosis::of(lab, host, words).assert(&[name], severity);
}

fn prepared(script: &str) -> String {
    format!(
        "gw() {{ ip -n gw \"$@\"; }}; sw() {{ ip -n sw \"$@\"; }}; \
         set_() {{ ip netns exec gw sysctl -qw \"$@\"; }}; {script}"
    )
}

#[test]
fn everything_that_can_be_found_is_broken_by_a_test() {
    let tests = [
        include_str!("doctor.rs"),
        include_str!("doctor/gateway.rs"),
        include_str!("doctor/losses.rs"),
        include_str!("doctor/queriers.rs"),
        include_str!("doctor/traffic.rs"),
    ];
    let unbroken = |name: &&Name| !tests.iter().any(|test| test.contains(&format!("\"{}\"", name.word())));
    let unbroken: Vec<_> = Name::ALL.iter().filter(unbroken).map(|name| name.word()).collect();
    assert_eq!(unbroken, [""; 0]);
}

lab_test! {
    fn nothing_is_wrong_with_a_healthy_host(lab) {
        for words in ["", "--interface lan0", "--interface lan1 239.1.2.3:5000", "--interface all [ff15::42]:5000"] {
            Diagnosis::of(lab, "gw", &format!("{words} --listen 0")).assert_nothing();
        }
        // One host with one interface: that one is looked at.
        let report = Diagnosis::of(lab, "srca", "--listen 0").assert_nothing().report;
        let examined = report["interfaces"].as_array().expect("a list").iter().filter(|one| one["examined"] == true);
        assert_eq!(examined.count(), 1, "{report:#}");
        // The bridges of the lab have queriers.
        Diagnosis::of(lab, "sw", "--interface lana --listen 0").assert_nothing();
    }
}

#[test]
fn nothing_is_wrong_with_this_machine() {
    // It looks and touches nothing: `--listen 0` joins nothing and sends nothing.
    let output = std::process::Command::new(super::WSCAST)
        .args(["doctor", "--json", "--listen", "0"])
        .output()
        .expect("run wscast");
    let diagnosis = Diagnosis::read(Said::of(&output));
    // What is true of a machine is no false alarm: a small buffer, few files.
    let settings = ["receive-buffer", "open-files", "option-memory", "no-interface"];
    let rest: Vec<_> = diagnosis.names().into_iter().filter(|name| !settings.contains(name)).collect();
    assert_eq!(rest, [""; 0], "{:#}", diagnosis.report);
}

lab_test! {
    fn interfaces_that_cannot_receive_are_found(lab) {
        let at = "--interface lan0 --listen 0";
        found(lab, "", "--interface eth7 --listen 0", "no-interface", "fault");
        found(lab, "gw link set lan0 down", at, "interface-down", "fault");
        found(lab, "gw link set lan0 up; sw link set gw-lan0 down", at, "no-carrier", "fault");
        found(lab, "sw link set gw-lan0 up; gw link set lan0 multicast off", at, "no-multicast-flag", "warning");
        lab.sh(&prepared("gw link set lan0 multicast on"));
        Diagnosis::of(lab, "gw", at).assert_nothing();
        found_on(lab, "sw", "", "--interface gw-lan0 --listen 0", "bridge-port", "fault");
        // A host that has nothing at all.
        lab.sh("ip -n srcc link set eth0 down");
        found_on(lab, "srcc", "", "--listen 0", "no-interface", "fault");
    }
}

lab_test! {
    fn missing_addresses_are_found(lab) {
        let four = "239.1.2.3:5000 --interface lan0 --listen 0";
        found(lab, "gw addr del 10.1.0.1/24 dev lan0", four, "no-ipv4-address", "warning");
        found(lab, "set_ net.ipv4.conf.lan0.rp_filter=2", four, "no-ipv4-address", "fault");
        lab.sh(&prepared("set_ net.ipv4.conf.lan0.rp_filter=0; gw addr add 10.1.0.1/24 dev lan0"));
        let six = "[ff15::42]:5000 --interface lan0 --listen 0";
        found(lab, "set_ net.ipv6.conf.lan0.disable_ipv6=1", six, "ipv6-unusable", "fault");
        found(lab, "set_ net.ipv6.conf.lan0.disable_ipv6=0; gw link set lan0 mtu 1200", six, "ipv6-unusable", "fault");
        found(lab, "gw link set lan0 mtu 1500; gw -6 addr flush dev lan0 scope link", six, "ipv6-unusable", "fault");
        // Asking for duplicates takes a second for each question.
        let doubtful = "set_ net.ipv6.conf.lan0.accept_dad=1 net.ipv6.conf.lan0.dad_transmits=60; \
            gw addr add fe80::77/64 dev lan0";
        found(lab, doubtful, six, "ipv6-tentative", "warning");
        lab.sh(&prepared("gw -6 addr flush dev lan0 scope link; gw addr add fe80::77/64 dev lan0 nodad"));
        Diagnosis::of(lab, "gw", six).assert_nothing();
    }
}

lab_test! {
    fn the_reverse_path_filter_is_foreseen(lab) {
        let away = "10.2.0.2@232.1.2.3:5000 --interface lan0 --listen 0";
        let open = "239.1.2.3:5000 --interface lan0 --listen 0";
        found(lab, "set_ net.ipv4.conf.lan0.rp_filter=1", away, "rp-filter", "fault");
        found(lab, "", open, "rp-filter", "warning");
        Diagnosis::of(lab, "gw", "10.1.0.2@232.1.2.3:5000 --interface lan0 --listen 0").assert_nothing();
        // The default route is by it: nobody is refused.
        lab.sh(&prepared("gw route add default via 10.1.0.2"));
        Diagnosis::of(lab, "gw", open).assert_nothing();
        lab.sh(&prepared("gw route del default; set_ net.ipv4.conf.lan0.rp_filter=2"));
        Diagnosis::of(lab, "gw", away).assert_nothing();
        found(lab, "", "192.0.2.9@232.1.2.3:5000 --interface lan0 --listen 0", "rp-filter", "fault");
    }
}

lab_test! {
    fn an_interface_that_nobody_named_is_doubted(lab) {
        found(lab, "", "239.1.2.3:5000 --listen 0", "no-route", "fault");
        found(lab, "gw route add default via 10.9.0.2", "239.1.2.3:5000 --listen 0", "ambiguous-interface", "warning");
        // Named, or with nothing else that could be meant, it is no question.
        Diagnosis::of(lab, "gw", "239.1.2.3:5000 --interface mgmt0 --listen 0").assert_nothing();
        lab.sh("ip -n srca route add default via 10.1.0.1");
        Diagnosis::of(lab, "srca", "239.1.2.3:5000 --listen 0").assert_nothing();
    }
}

lab_test! {
    fn limits_that_are_too_low_are_found(lab) {
        let sources: Vec<_> = (1..=11).map(|last| format!("10.1.0.{last}")).collect();
        let words = format!("{}@232.1.2.3:5000 --interface lan0 --listen 0", sources.join(","));
        found(lab, "", &words, "too-many-sources", "fault");
        // The kernel's own no is not said twice.
        let dynamic = words.replace("--listen 0", "--listen 100ms");
        Diagnosis::of(lab, "gw", &dynamic).assert(&["too-many-sources"], "fault");
        lab.sh(&prepared("set_ net.ipv4.igmp_max_msf=11"));
        Diagnosis::of(lab, "gw", &words).assert_nothing();
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("wscast.toml");
        std::fs::write(&file, "receive-buffer = \"256MiB\"\n[streams.a]\ngroup = \"239.1.2.3:5000\"\n").expect("a file");
        let config = format!("--config {} --interface lan0 --listen 0", file.display());
        let report = Diagnosis::of(lab, "gw", &config).assert(&["receive-buffer"], "warning").report;
        assert_eq!(report["groups"][0]["group"], "239.1.2.3:5000", "{report:#}");
        let mut few = lab.command("gw", "prlimit");
        few.args(["--nofile=256:256", super::WSCAST, "doctor", "--json", "--listen", "0"]);
        Diagnosis::read(Said::of(&few.output().expect("run prlimit"))).assert(&["open-files"], "warning");
        let join = "239.1.2.3:5000 --interface lan0 --listen 100ms";
        found(lab, "set_ net.ipv4.igmp_max_memberships=0", join, "membership-limit", "fault");
        lab.sh(&prepared("set_ net.ipv4.igmp_max_memberships=20"));
        // A namespace has this setting of its own since Linux 6.8.
        if lab.try_sh(&prepared("set_ net.core.optmem_max=4096")).is_ok() {
            found(lab, "", "--interface lan0 --listen 0", "option-memory", "warning");
        }
    }
}

lab_test! {
    fn groups_that_cannot_work_are_found(lab) {
        for (group, name, severity) in [
            ("232.1.2.3:5000", "source-missing", "fault"),
            ("[ff35::42]:5000", "source-missing", "fault"),
            ("224.0.0.5:5000", "link-local-group", "warning"),
            ("[ff02::42]:5000", "link-local-group", "warning"),
            ("225.1.2.3:5000", "reserved-group", "warning"),
            ("[ff1f::42]:5000", "reserved-group", "warning"),
            ("239.255.255.250:1900", "denied-group", "warning"),
            ("239.128.0.5:5000", "mac-aliasing", "warning"),
            ("239.1.2.3:5000 239.129.2.3:5000", "mac-aliasing", "note"),
        ] {
            found(lab, "", &format!("{group} --interface lan0 --listen 0"), name, severity);
        }
        for (group, words) in [("10.1.2.3:5000", "not a multicast address"), ("239.1.2.3", "has no port")] {
            let said = run(lab, "gw", &format!("doctor {group}")).assert_code(2);
            assert!(said.stderr.contains(words), "{said:?}");
        }
    }
}

lab_test! {
    fn people_read_what_was_seen_why_it_matters_and_what_mends_it(lab) {
        lab.sh("ip -n gw link set lan0 down; ip -n gw link set lan0 multicast off");
        let said = run(lab, "gw", "doctor --interface lan0 --listen 0").assert_code(1);
        let text = said.text();
        for words in [
            "fault: interface-down (lan0)\n  lan0 is down\n  An interface that is down receives nothing",
            "  -> ip link set lan0 up\n",
            "warning: no-multicast-flag (lan0)\n",
            "1 fault, 1 warning; what they mean: docs/troubleshooting.md",
        ] {
            assert!(text.contains(words), "{words:?} is not in\n{text}");
        }
        assert!(!text.contains('\x1b') && said.stderr == "wscast: 1 fault found\n", "{said:?}");
        // Without the fault, warnings count where that is asked for.
        lab.sh("ip -n gw link set lan0 up");
        run(lab, "gw", "doctor --interface lan0 --listen 0").assert_code(0);
        run(lab, "gw", "doctor --interface lan0 --listen 0 --strict").assert_code(1);
    }
}
