//! Groups that should come and don't.

use std::net::UdpSocket;

use super::super::support::lab::{Lab, PATIENCE, lab_test, skip, wait_for};
use super::super::{Running, Said, WSCAST, run, wscast};
use super::{Diagnosis, found, prepared};

/// Sends to `group` for as long as the test holds it.
fn sending(lab: &Lab, host: &str, group: &str) -> Running {
    Running::start(lab, host, &format!("send {group} --interface eth0 --rate 50 --count 3000"))
}

/// A firewall rule of gw.
fn firewall(lab: &Lab, hook: &str, rule: &str) {
    lab.sh(&format!(
        "ip netns exec gw nft 'add table inet t; add chain inet t {hook} {{ type filter hook {hook} priority 0; }}; \
         add rule inet t {hook} {rule}'"
    ));
}

fn without_firewall(lab: &Lab) {
    lab.sh("ip netns exec gw nft flush ruleset");
}

lab_test! {
    fn nothing_is_wrong_where_everything_comes(lab) {
        let groups = ["239.1.2.3:5000", "[ff15::42]:5000", "232.1.2.9:5000"];
        let _sending = groups.map(|group| sending(lab, "srca", group));
        let words = "239.1.2.3:5000 [ff15::42]:5000 10.1.0.2@232.1.2.9:5000 --interface lan0 --listen 2";
        let diagnosis = Diagnosis::of(lab, "gw", words).assert_nothing();
        assert!(diagnosis.datagrams().iter().all(|count| *count > 10), "{:#}", diagnosis.report);
        let report = &diagnosis.report;
        let join = &report["groups"][0]["joins"][0];
        assert_eq!((&join["ttls"][0], &join["interface"]), (&1.into(), &"lan0".into()), "{join:#}");
        assert!(join["sources"]["10.1.0.2"].is_u64(), "{join:#}");
        let lan0 = report["interfaces"].as_array().expect("a list").iter().find(|one| one["name"] == "lan0");
        assert!(lan0.expect("lan0")["queriers"].as_object().is_some_and(|all| !all.is_empty()), "{report:#}");
        let text = run(lab, "gw", "doctor 239.1.2.3:5000 --interface lan0 --listen 1").assert_code(0).text();
        assert!(text.contains("from 10.1.0.2, TTL 1") && text.contains("nothing is wrong here"), "{text}");
    }
}

lab_test! {
    fn nothing_is_wrong_in_a_container(lab) {
        // One veth with the default route, and no right to watch the wire.
        lab.sh("touch /run/.containerenv; ip -n srcc route add default via 10.1.0.1");
        let _sending = sending(lab, "srca", "239.1.2.3:5000");
        for words in ["--listen 1", "239.1.2.3:5000 --listen 1"] {
            let mut command = lab.command("srcc", "setpriv");
            command.args(["--bounding-set=-all", "--inh-caps=-all", WSCAST, "doctor", "--json"]);
            let output = command.args(words.split(' ')).output().expect("run setpriv");
            let diagnosis = Diagnosis::read(Said::of(&output)).assert_nothing();
            let why = diagnosis.report["not_checked"][0]["why"].as_str().unwrap_or_default();
            assert!(why.contains("CAP_NET_RAW"), "{:#}", diagnosis.report);
        }
        Diagnosis::of(lab, "srcc", "239.1.2.4:5000 --listen 1").assert(&["container-network"], "fault");
    }
}

lab_test! {
    fn silence_is_told_only_where_nothing_explains_it(lab) {
        found(lab, "", "239.1.2.3:5000 --interface lan0 --listen 1", "no-traffic", "fault");
        found(lab, "gw link set lan0 down", "239.1.2.3:5000 --interface lan0 --listen 1", "interface-down", "fault");
    }
}

lab_test! {
    fn a_port_that_somebody_holds_is_found_with_its_program(lab) {
        let _held = lab.on("gw", || UdpSocket::bind("0.0.0.0:5000").expect("bind"));
        let diagnosis = Diagnosis::of(lab, "gw", "239.1.2.3:5000 --interface lan0 --listen 200ms");
        let diagnosis = diagnosis.assert(&["port-held"], "fault");
        let seen = diagnosis.findings()[0]["seen"].as_str().expect("text");
        assert!(seen.contains(&format!("(pid {})", std::process::id())), "{seen}");
    }
}

lab_test! {
    fn a_refused_join_is_found(lab) {
        let mut command = lab.command("gw", "setpriv");
        command.args(["--bounding-set=-net_bind_service", WSCAST, "doctor", "--json", "239.1.2.3:600"]);
        let output = command.args(["--interface", "lan0", "--listen", "200ms"]).output().expect("run setpriv");
        Diagnosis::read(Said::of(&output)).assert(&["join-refused"], "fault");
    }
}

lab_test! {
    fn a_group_that_comes_otherwise_is_found(lab) {
        let _sending = [sending(lab, "srca", "239.1.2.3:5001"), sending(lab, "srca", "232.1.2.3:5000")];
        let _elsewhere = sending(lab, "srcb", "239.1.2.4:5000");
        for (words, name, seen) in [
            ("239.1.2.3:5000", "other-port", "5001"),
            ("10.1.0.9@232.1.2.3:5000", "other-source", "10.1.0.2"),
            ("239.1.2.4:5000", "other-interface", "lan1"),
        ] {
            let diagnosis = Diagnosis::of(lab, "gw", &format!("{words} --interface lan0 --listen 1"));
            let diagnosis = diagnosis.assert(&[name], "fault");
            assert!(diagnosis.findings()[0]["seen"].as_str().is_some_and(|text| text.contains(seen)));
        }
    }
}

lab_test! {
    fn firewalls_are_found(lab) {
        if skip("nft", "nftables") {
            return;
        }
        let _sending = sending(lab, "srca", "239.1.2.3:5000");
        let words = "239.1.2.3:5000 --interface lan0 --listen 1";
        for (hook, rule, name) in [
            // Everything, and only this group, which a test with another one would not show.
            ("input", "meta l4proto udp drop", "firewall-input"),
            ("input", "ip daddr 239.1.2.3 drop", "firewall-input"),
            ("output", "meta l4proto udp drop", "firewall-output"),
            ("input", "ip protocol igmp drop", "igmp-blocked"),
        ] {
            firewall(lab, hook, rule);
            let diagnosis = Diagnosis::of(lab, "gw", words);
            without_firewall(lab);
            assert_eq!(diagnosis.names(), [name], "{rule}: {:#}", diagnosis.report);
        }
        firewall(lab, "input", "icmpv6 type mld-listener-query drop");
        let _six = sending(lab, "srca", "[ff15::42]:5000");
        Diagnosis::of(lab, "gw", "[ff15::42]:5000 --interface lan0 --listen 2").assert(&["mld-blocked"], "fault");
    }
}

lab_test! {
    fn what_the_reverse_path_filter_drops_is_found(lab) {
        // srca sends with an address that gw answers by another interface.
        lab.sh(&prepared(
            "ip -n srca addr add 10.2.0.77/32 dev eth0; set_ net.ipv4.conf.lan0.rp_filter=1",
        ));
        lab.sh("ip -n srca addr del 10.1.0.2/24 dev eth0");
        let _sending = sending(lab, "srca", "239.1.2.3:5000");
        let words = "239.1.2.3:5000 --interface lan0 --listen 1";
        let diagnosis = Diagnosis::of(lab, "gw", words).assert(&["rp-filter"], "fault");
        let seen = diagnosis.findings()[0]["seen"].as_str().expect("text");
        assert!(seen.contains("came in by lan0; rp_filter is 1"), "{seen}");
        // Without the right to watch the wire the counter tells.
        let mut command = lab.command("gw", "setpriv");
        command.args(["--bounding-set=-net_raw", WSCAST, "doctor", "--json"]).args(words.split(' '));
        let output = command.output().expect("run setpriv");
        Diagnosis::read(Said::of(&output)).assert(&["rp-filter"], "fault");
    }
}

lab_test! {
    fn a_membership_that_goes_is_found(lab) {
        // The same interface, gone to another namespace and back: the same index, without its memberships.
        let words = "doctor --json 239.1.2.3:5000 --interface lan0 --listen 3";
        let mut command = wscast(lab, "gw", words);
        let doctor = command.stdout(std::process::Stdio::piped()).spawn().expect("start wscast");
        let held = || lab.sh("ip -n gw maddress show dev lan0").contains("239.1.2.3").then_some(());
        wait_for("the doctor to join", PATIENCE, held);
        lab.sh(
            "index=$(ip -n gw -o link show lan0 | cut -d: -f1); ip -n gw link del lan0; \
             ip -n sw link add gw-lan0 master lana up type veth peer name lan0 netns gw index $index; \
             ip -n gw link set lan0 up; ip -n gw addr add 10.1.0.1/24 dev lan0",
        );
        let output = doctor.wait_with_output().expect("wscast ends");
        let diagnosis = Diagnosis::read(Said::of(&output));
        assert!(diagnosis.names().contains(&"membership-lost"), "{:#}", diagnosis.report);
    }
}

lab_test! {
    fn what_cannot_be_sent_is_found(lab) {
        // The loopback has no route for IPv6 multicast by itself.
        let diagnosis = Diagnosis::of(lab, "gw", "[ff15::42]:5000 --interface lo --listen 300ms");
        assert!(diagnosis.names().contains(&"cannot-send"), "{:#}", diagnosis.report);
    }
}
