//! Whether the interfaces have addresses to report and send from.

use std::net::IpAddr;

use crate::tools::doctor::facts::{Facts, InterfaceFacts};
use crate::tools::doctor::finding::{Finding, Name, Severity};

/// The smallest MTU that carries IPv6 (RFC 8200 section 5).
const SMALLEST_MTU: u32 = 1280;

/// IPv4 address, IPv6 in use, link-local address.
pub fn check(facts: &Facts, findings: &mut Vec<Finding>) {
    let (wants_v4, wants_v6) =
        (facts.groups.iter().any(|group| group.target.group.is_ipv4()), facts.wants_v6());
    for facts in facts.asked_interfaces().filter(|facts| facts.can_receive() && !facts.interface.loopback) {
        if wants_v4 && !facts.interface.addresses.iter().any(IpAddr::is_ipv4) {
            findings.push(without_v4(facts));
        }
        if wants_v6 {
            v6(facts, findings);
        }
    }
}

fn without_v4(facts: &InterfaceFacts) -> Finding {
    let name = facts.name();
    let seen = match facts.rp_filter {
        0 => format!("{name} has no IPv4 address"),
        mode => format!("{name} has no IPv4 address, and rp_filter is {mode}: it takes no IPv4 from anybody"),
    };
    let finding = Finding::new(Name::NoIpv4Address, name, seen)
        .mend(format!("ip address add 192.0.2.1/24 dev {name}   # an address of that network"));
    if facts.rp_filter == 0 { finding } else { finding.at(Severity::Fault) }
}

fn v6(facts: &InterfaceFacts, findings: &mut Vec<Finding>) {
    let name = facts.name();
    let unusable = |seen: String, mend: String| Finding::new(Name::Ipv6Unusable, name, seen).mend(mend);
    let mut link_local = facts.ipv6.iter().filter(|state| state.address.is_unicast_link_local()).peekable();
    if facts.ipv6_disabled {
        let seen = format!("IPv6 is switched off on {name}");
        findings.push(unusable(seen, format!("sysctl -w net.ipv6.conf.{name}.disable_ipv6=0")));
    } else if facts.link.mtu < SMALLEST_MTU {
        let seen = format!("the MTU of {name} is {}", facts.link.mtu);
        findings.push(unusable(seen, format!("ip link set {name} mtu 1500")));
    } else if link_local.peek().is_none() {
        let seen = format!("{name} has no link-local address (fe80::)");
        findings.push(unusable(
            seen,
            format!("ip link set {name} addrgenmode eui64; ip link set {name} down; ip link set {name} up"),
        ));
    } else if link_local.all(|state| state.tentative) {
        let seen = format!("the link-local address of {name} is tentative, or a duplicate on its link");
        let finding = Finding::new(Name::Ipv6Tentative, name, seen);
        findings.push(
            finding.mend(format!("ip -6 address show dev {name}   # wait, or give it another address")),
        );
    }
}
