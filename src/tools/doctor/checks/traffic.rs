//! Groups that were joined and not heard: why, where that can be told.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::model::source::SourceFilter;
use crate::tools::doctor::checks::{firewall, reverse_path};
use crate::tools::doctor::facts::{Facts, GroupFacts, InterfaceFacts, Join};
use crate::tools::doctor::finding::{Finding, Name, Severity};

/// What came in by an interface and got no further, or to another port.
pub fn on_the_wire(facts: &Facts, findings: &mut Vec<Finding>) {
    for (group, _, interface) in silent(facts) {
        let Some(wire) = &interface.wire else { continue };
        let wanted = group.target.group;
        let to_group = wire.datagrams.iter().filter(|((address, ..), _)| *address == wanted.address());
        let wanted_sources = to_group.filter(|((_, _, source), _)| hears(&group.target.filter, *source));
        let (mut here, mut ports) = (0, BTreeSet::new());
        for ((_, port, _), count) in wanted_sources {
            if *port == wanted.port() {
                here += count;
            } else {
                ports.insert(*port);
            }
        }
        let name = interface.name();
        if here > 0 {
            let dropped = facts.counters.1.grown(&facts.counters.0, "TcpExtIPReversePathFilter");
            if interface.rp_filter > 0 && dropped > 0 && wanted.is_ipv4() {
                let mode = interface.rp_filter;
                let seen = format!(
                    "{here} datagrams came in by {name}; rp_filter is {mode} and dropped {dropped} packets"
                );
                if !known(findings, &[Name::NoIpv4Address], name) {
                    findings.push(reverse_path::finding(interface, seen).at(Severity::Fault));
                }
            } else if !known(findings, &[Name::FirewallInput], name) {
                let seen = format!(
                    "{here} datagrams to {wanted} came in by {name} and reached no program{}",
                    firewall::rules(facts)
                );
                findings.push(firewall::blocked_input(interface, seen));
            }
        } else if let Some(port) = ports.first() {
            let ports: Vec<_> = ports.iter().map(u16::to_string).collect();
            let seen = format!("on {name}, {} is sent to port {}", wanted.address(), ports.join(", "));
            let finding = Finding::new(Name::OtherPort, wanted, seen);
            findings.push(
                finding.mend(format!("ask for {}", std::net::SocketAddr::new(wanted.address(), *port))),
            );
        }
    }
}

/// What is found elsewhere, or nowhere.
pub fn check(facts: &Facts, findings: &mut Vec<Finding>) {
    for (group, join, interface) in silent(facts) {
        let wanted = group.target.group;
        let about = wanted.to_string();
        let explained = findings.iter().any(|one| {
            one.severity == Severity::Fault
                && (one.about == about || one.about == interface.name() || one.about.is_empty())
        });
        if explained {
            continue;
        }
        if let Some(here) = group.elsewhere.iter().find(|place| place.index == join.index) {
            let sources: Vec<_> = here.sources.iter().map(ToString::to_string).collect();
            let seen = format!("on {}, {} comes from {}", here.interface, wanted, sources.join(", "));
            let mend = format!(
                "wscast doctor {}@{wanted} --interface {}",
                in_url(here.sources.first()),
                here.interface
            );
            findings.push(Finding::new(Name::OtherSource, wanted, seen).mend(mend));
        } else if let Some(place) = group.elsewhere.first() {
            let seen = format!("{wanted} comes in by {}, and not by {}", place.interface, join.interface);
            let mend = format!("--interface {}", place.interface);
            findings.push(Finding::new(Name::OtherInterface, wanted, seen).mend(mend));
        } else if let Some(sign) = &facts.container {
            let seen = format!("nothing came for {wanted}, and {sign}");
            findings.push(
                Finding::new(Name::ContainerNetwork, wanted, seen)
                    .mend("start the container with the host's network: --network host")
                    .mend("or give it a macvlan network on the LAN's interface"),
            );
        } else {
            let seen = format!(
                "joined on {}, and no datagram came within {} s",
                join.interface,
                facts.asked.listen.as_secs_f64()
            );
            let finding = Finding::new(Name::NoTraffic, wanted, seen)
                .mend("is the sender running? On its host: wscast listen GROUP:PORT --interface ITS_INTERFACE")
                .mend("is its TTL more than 1, where a router lies between? `wscast listen --json` shows what is left of it")
                .mend("does the switch forward it here? See its IGMP or MLD snooping table")
                .mend(format!("watch the wire: tshark -ni {} -Y 'udp.port == {}'", join.interface, wanted.port()));
            findings.push(match interface.wireless {
                true => finding.mend(
                    "many Wi-Fi access points drop multicast, or want \"multicast to unicast\" (RFC 9119)",
                ),
                false => finding,
            });
        }
    }
}

/// Groups that were joined with success where datagrams can come, and not heard.
fn silent(facts: &Facts) -> impl Iterator<Item = (&GroupFacts, &Join, &InterfaceFacts)> {
    let joins = facts.groups.iter().flat_map(|group| {
        // Heard on one of several interfaces is heard.
        let heard = group.joins.iter().any(|join| join.heard.datagrams > 0);
        group.joins.iter().filter(move |_| !heard).map(move |join| (group, join))
    });
    joins.filter(|(_, join)| join.outcome.is_ok()).filter_map(|(group, join)| {
        Some((group, join, facts.interface(join.index).filter(|interface| interface.can_receive())?))
    })
}

fn hears(filter: &SourceFilter, source: IpAddr) -> bool {
    match filter {
        SourceFilter::Any => true,
        SourceFilter::Include(sources) => sources.contains(&source),
        SourceFilter::Exclude(sources) => !sources.contains(&source),
    }
}

fn known(findings: &[Finding], names: &[Name], about: &str) -> bool {
    findings.iter().any(|one| names.contains(&one.name) && one.about == about)
}

fn in_url(source: Option<&IpAddr>) -> String {
    match source {
        Some(IpAddr::V6(six)) => format!("[{six}]"),
        Some(IpAddr::V4(four)) => four.to_string(),
        None => "SOURCE".to_owned(),
    }
}
