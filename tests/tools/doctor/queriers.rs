//! Queriers that are missing, old, or on bridges of this host.

use super::super::support::lab::{PATIENCE, lab_test, wait_for};
use super::{Diagnosis, found, found_on};

lab_test! {
    fn a_missing_querier_is_noted(lab) {
        lab.sh("ip -n sw link set lana type bridge mcast_querier 0");
        let report = Diagnosis::of(lab, "gw", "--interface lan0 --listen 2").assert(&["no-igmp-querier"], "note").report;
        let seen = report["findings"][0]["seen"].as_str().expect("text");
        assert!(seen.contains("--listen 130 is sure"), "{seen}");
        // A fresh interface has heard no MLD query either.
        lab.sh(
            "ip -n gw link del lan0; ip -n sw link add gw-lan0 master lana up type veth peer name lan0 netns gw; \
             ip -n gw link set lan0 up; ip -n gw addr add 10.1.0.1/24 dev lan0",
        );
        let diagnosis = Diagnosis::of(lab, "gw", "[ff15::42]:5000 --interface lan0 --listen 2");
        assert!(diagnosis.names().contains(&"no-mld-querier"), "{:#}", diagnosis.report);
        // And on the bridge itself it can be mended.
        found_on(lab, "sw", "", "--interface lana --listen 0", "bridge-without-querier", "warning");
    }
}

lab_test! {
    fn old_versions_are_found(lab) {
        let source = "10.1.0.2@232.1.2.3:5000 --interface lan0 --listen 0";
        found(lab, "set_ net.ipv4.conf.lan0.force_igmp_version=2", source, "old-igmp", "warning");
        found(lab, "", "239.1.2.3:5000 --interface lan0 --listen 0", "old-igmp", "note");
        let six = "[fd01::2]@[ff35::42]:5000 --interface lan0 --listen 0";
        found(lab, "set_ net.ipv4.conf.lan0.force_igmp_version=0 net.ipv6.conf.lan0.force_mld_version=1", six,
            "old-mld", "warning");
        lab.sh("ip netns exec gw sysctl -qw net.ipv6.conf.lan0.force_mld_version=0");
        Diagnosis::of(lab, "gw", source).assert_nothing();
        // What a querier speaks, the host speaks.
        lab.sh("ip -n sw link set lana type bridge mcast_igmp_version 2");
        lab.on("gw", || wait_for("a query of version 2", PATIENCE, || {
            let table = std::fs::read_to_string("/proc/thread-self/net/igmp").expect("the table");
            table.lines().any(|line| line.contains("lan0") && line.contains("V2")).then_some(())
        }));
        found(lab, "", source, "old-igmp", "warning");
        lab.sh("ip -n sw link set lana type bridge mcast_igmp_version 3 mcast_mld_version 1");
        let diagnosis = Diagnosis::of(lab, "gw", "[ff15::42]:5000 --interface lan0 --listen 2");
        assert!(diagnosis.names().contains(&"old-mld"), "{:#}", diagnosis.report);
    }
}
