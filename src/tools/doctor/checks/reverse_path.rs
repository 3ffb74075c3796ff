//! What the reverse path filter drops, or would.

use crate::tools::doctor::facts::{Facts, InterfaceFacts};
use crate::tools::doctor::finding::{Finding, Name, Severity};

const STRICT: u64 = 1;
const COUNTER: &str = "TcpExtIPReversePathFilter";

/// Sources that the filter refuses, by what is known of them and by its counter.
pub fn check(facts: &Facts, findings: &mut Vec<Finding>) {
    if !facts.wants_v4() {
        return;
    }
    let dropped = facts.counters.1.grown(&facts.counters.0, COUNTER);
    for interface in facts.asked_interfaces() {
        let (name, mode, index) = (interface.name(), interface.rp_filter, interface.interface.index);
        let explained = findings
            .iter()
            .any(|one| one.about == name && matches!(one.name, Name::RpFilter | Name::NoIpv4Address));
        if mode == 0 || interface.interface.loopback || !interface.can_receive() || explained {
            continue;
        }
        let joins = || facts.groups.iter().flat_map(|group| &group.joins).filter(|join| join.index == index);
        let heard = joins().any(|join| join.heard.datagrams > 0);
        if !heard && dropped > 0 {
            let seen =
                format!("rp_filter is {mode} on {name}, and dropped {dropped} packets within this look");
            findings.push(finding(interface, seen).at(Severity::Fault));
            continue;
        }
        let routes = facts.groups.iter().flat_map(|group| &group.source_routes);
        let refused = routes.filter(|(source, out)| {
            source.is_ipv4() && if mode == STRICT { *out != Some(index) } else { out.is_none() }
        });
        let refused: Vec<String> = refused.map(|(source, _)| source.to_string()).collect();
        let any_source =
            facts.groups.is_empty() || facts.groups.iter().any(|group| group.source_routes.is_empty());
        if !refused.is_empty() && !heard {
            let sources = refused.join(", ");
            let seen = format!("rp_filter is {mode} on {name}, and {sources} would not be answered by it");
            findings.push(finding(interface, seen).at(Severity::Fault));
        } else if mode == STRICT && !interface.default_route && !heard && any_source {
            let seen = format!(
                "rp_filter is 1 (strict) on {name}, and the default route is not by it: sources beyond its own networks \
                 are dropped"
            );
            findings.push(finding(interface, seen));
        }
    }
}

/// The filter, with what mends it.
pub fn finding(interface: &InterfaceFacts, seen: String) -> Finding {
    let name = interface.name();
    let finding = Finding::new(Name::RpFilter, name, seen);
    let finding = if interface.rp_filter == STRICT {
        finding.mend(format!("sysctl -w net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.{name}.rp_filter=2"))
    } else {
        finding
    };
    finding.mend(format!(
        "ip route add 192.0.2.0/24 dev {name}   # the source's network, if it is not known here"
    ))
}
