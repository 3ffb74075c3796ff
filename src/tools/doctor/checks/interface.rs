//! Whether the interfaces can receive multicast at all.

use crate::tools::doctor::facts::{Facts, InterfaceFacts};
use crate::tools::doctor::finding::{Finding, Name};
use crate::tools::doctor::gather::candidates;

/// Existence, up, carrier, multicast flag, enslavement.
pub fn check(facts: &Facts, findings: &mut Vec<Finding>) {
    let all = || {
        let names: Vec<_> = facts.interfaces.iter().map(InterfaceFacts::name).collect();
        names.join(", ")
    };
    if let Some(selector) = &facts.asked.interface
        && facts.asked_interfaces().next().is_none()
    {
        let seen = format!("there is no {selector}; there are: {}", all());
        findings.push(Finding::new(Name::NoInterface, selector, seen).mend("ip address show"));
    } else if facts.asked_interfaces().next().is_none()
        && facts.groups.is_empty()
        && candidates(facts).next().is_none()
    {
        let seen = format!("none is up, has carrier and can multicast; there are: {}", all());
        findings.push(Finding::new(Name::NoInterface, "", seen).mend("ip link show"));
    }
    for facts in facts.asked_interfaces() {
        let (name, interface) = (facts.name(), &facts.interface);
        if !interface.up {
            let seen = format!("{name} is down");
            findings
                .push(Finding::new(Name::InterfaceDown, name, seen).mend(format!("ip link set {name} up")));
        } else if !interface.running {
            let seen = format!("{name} is up and has no carrier");
            let mend = "look at the cable, the other end, or the access point";
            findings.push(Finding::new(Name::NoCarrier, name, seen).mend(mend));
        }
        let changes = facts
            .link_after
            .as_ref()
            .map_or(0, |after| after.carrier_changes.saturating_sub(facts.link.carrier_changes));
        if changes > 0 && interface.is_able() {
            let seen = format!("the carrier of {name} changed {changes} times within this look");
            let mend = "look at the cable and the switch's log";
            findings.push(Finding::new(Name::CarrierFlapping, name, seen).mend(mend));
        }
        if !interface.multicast && !interface.loopback {
            let seen = format!("{name} has no MULTICAST flag");
            let mend = format!("ip link set {name} multicast on");
            findings.push(Finding::new(Name::NoMulticastFlag, name, seen).mend(mend));
        }
        if facts.is_port()
            && let Some((master, kind)) = &facts.master
        {
            let seen = format!("{name} is a port of the {kind} {master}");
            let mend = format!("join on {master}: --interface {master}");
            findings.push(Finding::new(Name::BridgePort, name, seen).mend(mend));
        }
    }
}
