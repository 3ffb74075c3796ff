//! What the groups' own addresses say.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::tools::doctor::facts::{Facts, GroupFacts};
use crate::tools::doctor::finding::{Finding, Name, Severity};

/// Source-specific ranges, local control, reserved ranges, the gateway's deny list, shared Ethernet addresses.
pub fn check(facts: &Facts, findings: &mut Vec<Finding>) {
    for group in &facts.groups {
        one(group, findings);
    }
    let four: Vec<Ipv4Addr> = facts.groups.iter().filter_map(v4).collect();
    for (at, one) in four.iter().enumerate() {
        for other in &four[at + 1..] {
            if one != other && mac(*one) == mac(*other) {
                let seen = format!("{one} and {other} share the Ethernet address {}", shown(mac(*one)));
                let finding = Finding::new(Name::MacAliasing, one, seen);
                findings.push(finding.mend("choose groups that differ in their last 23 bits"));
            }
        }
    }
}

fn one(facts: &GroupFacts, findings: &mut Vec<Finding>) {
    let group = facts.target.group;
    let address = group.address();
    if facts.target.filter.check_against(&group).is_err() && group.needs_source() {
        let seen = format!("{address} is source-specific, and no source is named");
        let finding = Finding::new(Name::SourceMissing, group, seen);
        findings.push(finding.mend(format!("name the sender: wscast doctor SOURCE@{group}")));
    }
    if is_link_local(address) {
        let seen = format!("{address} belongs to the control protocols of its link");
        let finding = Finding::new(Name::LinkLocalGroup, group, seen);
        findings.push(finding.mend(format!("--allow-receive {group}   # exactly it, if it is meant")));
    } else if let Some(range) = reserved(address) {
        let seen = format!("{address} is in {range}");
        let mend = "choose a group of 239.0.0.0/8 or ff15::/16, which are for everybody's own use";
        findings.push(Finding::new(Name::ReservedGroup, group, seen).mend(mend));
    } else if let Some(rule) = &facts.denied {
        let seen = format!("a gateway denies {rule}");
        let finding = Finding::new(Name::DeniedGroup, group, seen);
        findings.push(finding.mend(format!("--allow-receive {group}   # exactly it, if it is meant")));
    }
    if let Some(address) = v4(facts)
        && !is_link_local(address.into())
        && mac(address) < 256
    {
        let twin = Ipv4Addr::from(0xe000_0000 | mac(address));
        let seen =
            format!("{address} shares its Ethernet address with {twin}, which switches send to everybody");
        let finding = Finding::new(Name::MacAliasing, group, seen).at(Severity::Warning);
        findings.push(finding.mend("choose a group whose last 23 bits are 256 or more"));
    }
}

fn v4(facts: &GroupFacts) -> Option<Ipv4Addr> {
    match facts.target.group.address() {
        IpAddr::V4(four) => Some(four),
        IpAddr::V6(_) => None,
    }
}

/// The 23 bits of a group that its Ethernet address has (RFC 1112 section 6.4).
fn mac(address: Ipv4Addr) -> u32 {
    address.to_bits() & 0x7f_ffff
}

fn shown(bits: u32) -> String {
    let [_, a, b, c] = bits.to_be_bytes();
    format!("01:00:5e:{a:02x}:{b:02x}:{c:02x}")
}

/// RFC 5771 section 4, RFC 4291 section 2.7: interface and link scope with assigned meanings.
fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(four) => four.octets()[..3] == [224, 0, 0],
        IpAddr::V6(six) => matches!(six.segments()[0], 0xff01 | 0xff02),
    }
}

/// RFC 5771 sections 7 to 9, RFC 4607 section 1, RFC 6676, RFC 7346.
fn reserved(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(four) => Some(match four.octets() {
            [232, 0, 0, _] => "232.0.0.0/24, which is reserved (RFC 4607)",
            [233, 252, 0, _] => "233.252.0.0/24, which is for documents (RFC 6676)",
            [225..=231 | 235..=238, ..] => "a block that is reserved (RFC 5771)",
            _ => return None,
        }),
        IpAddr::V6(six) => reserved_v6(six),
    }
}

fn reserved_v6(address: Ipv6Addr) -> Option<&'static str> {
    match address.segments()[0] & 0xf {
        0 | 0xf => Some("a scope that is reserved (RFC 7346)"),
        _ => None,
    }
}
