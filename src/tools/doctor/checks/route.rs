//! Where a group is joined when nobody says where.

use crate::tools::doctor::facts::{Chosen, Facts, InterfaceFacts};
use crate::tools::doctor::finding::{Finding, Name};
use crate::tools::doctor::gather::candidates;

/// No route, or one of several that could be meant.
pub fn check(facts: &Facts, findings: &mut Vec<Finding>) {
    for group in &facts.groups {
        let name = group.target.group;
        let address = name.address();
        match group.chosen {
            Chosen::ByName => {}
            Chosen::Nobody => {
                let could: Vec<_> = candidates(facts).map(InterfaceFacts::name).collect();
                let seen = match &could[..] {
                    [] => "the routing table names no interface, and none could be meant".to_owned(),
                    could => {
                        format!("the routing table names no interface; could be meant: {}", could.join(", "))
                    }
                };
                let first = could.first().copied().unwrap_or("eth0");
                let route = match name.is_ipv4() {
                    true => format!("ip route add 224.0.0.0/4 dev {first}"),
                    false => format!("ip -6 route add multicast ff00::/8 dev {first} table local"),
                };
                let finding = Finding::new(Name::NoRoute, name, seen).mend(format!("--interface {first}"));
                findings.push(finding.mend(route));
            }
            Chosen::ByRoute => {
                let heard = group.joins.iter().any(|join| join.heard.datagrams > 0);
                let Some(chosen) = facts.asked_interfaces().find(|facts| {
                    group.joins.is_empty()
                        || group.joins.iter().any(|join| join.index == facts.interface.index)
                }) else {
                    continue;
                };
                let others: Vec<_> = candidates(facts)
                    .filter(|other| other.interface.index != chosen.interface.index && alike(other, chosen))
                    .map(InterfaceFacts::name)
                    .collect();
                if heard || others.is_empty() {
                    continue;
                }
                let seen = format!(
                    "the routing table chose {} for {address}; could be meant as well: {}",
                    chosen.name(),
                    others.join(", ")
                );
                let finding = Finding::new(Name::AmbiguousInterface, name, seen);
                findings.push(finding.mend(format!("--interface {}", others[0])));
            }
        }
    }
}

/// Whether two interfaces are of a kind that people take for one another: a container's bridge is not the LAN.
fn alike(one: &InterfaceFacts, other: &InterfaceFacts) -> bool {
    let class = |facts: &InterfaceFacts| match facts.link.kind.as_deref() {
        None | Some("vlan" | "bond" | "team" | "macvlan" | "ipvlan") => Some(0),
        Some("bridge") => Some(1),
        Some("veth") => Some(2),
        Some(_) => None,
    };
    class(one).is_some() && class(one) == class(other)
}
