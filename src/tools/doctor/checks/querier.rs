//! Who asks for memberships, in which version, and whether the host hears it.

use std::net::IpAddr;

use crate::tools::doctor::facts::{Facts, InterfaceFacts, SelfTest};
use crate::tools::doctor::finding::{Finding, Name, Severity};

/// A querier asks every 125 s (RFC 3376 section 8.2); who heard none for longer has heard that there is none.
const CERTAIN: u64 = 130;
/// Below this a querier that answers a leave may not have answered yet (RFC 3376 section 8.8: 1 s).
const ENOUGH: u64 = 2;

/// Versions, queriers, queries that a firewall eats, bridges of this host.
pub fn check(facts: &Facts, findings: &mut Vec<Finding>) {
    for interface in facts.asked_interfaces().filter(|one| one.can_receive() && !one.interface.loopback) {
        versions(facts, interface, findings);
        bridge(interface, findings);
        let seconds = facts.asked.listen.as_secs();
        if facts.wants_v4() {
            igmp(interface, seconds, findings);
        }
        if facts.wants_v6() {
            mld(interface, seconds, findings);
        }
    }
}

fn versions(facts: &Facts, interface: &InterfaceFacts, findings: &mut Vec<Finding>) {
    let name = interface.name();
    let selects = |ipv4: bool| {
        let groups = facts.groups.iter().map(|group| &group.target);
        groups
            .filter(|target| target.group.is_ipv4() == ipv4)
            .any(|target| !target.filter.sources().is_empty())
    };
    let (forced_igmp, forced_mld) = interface.forced;
    let weight = |ipv4| if selects(ipv4) { Severity::Warning } else { Severity::Note };
    if let version @ 1..=2 = forced_igmp {
        let seen = format!("force_igmp_version is {version} on {name}");
        let finding = Finding::new(Name::OldIgmp, name, seen).at(weight(true));
        let keys = format!(
            "sysctl -w net.ipv4.conf.all.force_igmp_version=0 net.ipv4.conf.{name}.force_igmp_version=0"
        );
        findings.push(finding.mend(keys));
    } else if let Some(version @ 1..=2) = interface.igmp_version {
        let seen = format!("a querier on {name} speaks IGMP version {version}, so this host does too");
        let finding = Finding::new(Name::OldIgmp, name, seen).at(weight(true));
        findings.push(finding.mend("set the switch's or router's querier to IGMP version 3"));
    }
    if forced_mld == 1 {
        let seen = format!("force_mld_version is 1 on {name}");
        let finding = Finding::new(Name::OldMld, name, seen).at(weight(false));
        let keys = format!(
            "sysctl -w net.ipv6.conf.all.force_mld_version=0 net.ipv6.conf.{name}.force_mld_version=0"
        );
        findings.push(finding.mend(keys));
    } else if let Some(querier) = old_mld_querier(interface) {
        let seen = format!("the querier {querier} on {name} speaks MLD version 1, so this host does too");
        let finding = Finding::new(Name::OldMld, name, seen).at(weight(false));
        findings.push(finding.mend("set the switch's or router's querier to MLD version 2"));
    }
}

/// The kernel does not tell which version of MLD it speaks; the wire does.
fn old_mld_querier(interface: &InterfaceFacts) -> Option<IpAddr> {
    let queriers = &interface.wire.as_ref()?.general_queries.queriers;
    queriers
        .iter()
        .find(|(address, version)| address.is_ipv6() && **version == 1)
        .map(|(address, _)| *address)
}

fn bridge(interface: &InterfaceFacts, findings: &mut Vec<Finding>) {
    let name = interface.name();
    let asked = interface.wire.as_ref().is_some_and(|wire| wire.general_queries.igmp > 0);
    if interface.link.bridge.is_some_and(|bridge| bridge.snooping && !bridge.querier) && !asked {
        let seen = format!("the bridge {name} snoops (mcast_snooping 1) and asks nobody (mcast_querier 0)");
        findings.push(
            Finding::new(Name::BridgeWithoutQuerier, name, seen)
                .mend(format!("ip link set {name} type bridge mcast_querier 1"))
                .mend(format!("ip link set {name} type bridge mcast_snooping 0   # instead: flood always")),
        );
    }
}

fn igmp(interface: &InterfaceFacts, seconds: u64, findings: &mut Vec<Finding>) {
    let name = interface.name();
    let Some(wire) = &interface.wire else { return };
    let heard = wire.general_queries.igmp;
    if heard > 0 && interface.igmp_behind_firewall == Some(0) {
        let seen = format!("{heard} IGMP queries came in by {name}, and none got as far as the host's IGMP");
        findings.push(
            Finding::new(Name::IgmpBlocked, name, seen)
                .mend(format!("nft insert rule inet filter input iifname {name} ip protocol igmp accept"))
                .mend(format!("iptables -I INPUT -i {name} -p igmp -j ACCEPT")),
        );
    }
    let bridge_asks = interface.link.bridge.is_some_and(|bridge| bridge.querier);
    // A test that left its scratch group has asked every querier to ask back.
    let provoked = interface.self_tests.0 == Some(SelfTest::Passed) && seconds >= ENOUGH;
    let known = findings.iter().any(|one| one.name == Name::BridgeWithoutQuerier && one.about == name);
    if heard + wire.specific_queries.igmp == 0 && !bridge_asks && !known && (provoked || seconds >= CERTAIN) {
        findings.push(silent(Name::NoIgmpQuerier, "IGMP", interface, seconds));
    }
}

fn mld(interface: &InterfaceFacts, seconds: u64, findings: &mut Vec<Finding>) {
    let name = interface.name();
    let wire = interface.wire.as_ref();
    let came = wire.map_or(0, |wire| wire.general_queries.mld);
    let (Some(before), Some(after)) = interface.mld_queries else { return };
    if came > 0 && after == before {
        let seen = format!("{came} MLD queries came in by {name}, and none got as far as the host's MLD");
        findings.push(
            Finding::new(Name::MldBlocked, name, seen)
                .mend(format!(
                    "nft insert rule inet filter input iifname {name} icmpv6 type mld-listener-query accept"
                ))
                .mend(format!("ip6tables -I INPUT -i {name} -p icmpv6 --icmpv6-type 130 -j ACCEPT")),
        );
    }
    let any = came + wire.map_or(0, |wire| wire.specific_queries.mld) + after;
    let bridge_asks = interface.link.bridge.is_some_and(|bridge| bridge.querier);
    if any == 0 && !bridge_asks && seconds >= ENOUGH {
        findings.push(silent(Name::NoMldQuerier, "MLD", interface, seconds));
    }
}

fn silent(name: Name, protocol: &str, interface: &InterfaceFacts, seconds: u64) -> Finding {
    let about = interface.name();
    let certain = seconds >= CERTAIN;
    let doubt = if certain {
        ""
    } else {
        "; queriers ask every 125 s and when a group is left, so --listen 130 is sure"
    };
    let seen = format!("no {protocol} query was heard on {about} within {seconds} s{doubt}");
    let finding =
        Finding::new(name, about, seen).mend("enable a querier on the switch or a router of that network");
    if certain { finding.at(Severity::Warning) } else { finding }
}
