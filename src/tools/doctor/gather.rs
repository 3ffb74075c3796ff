//! Gathers the facts: looks at everything, then joins, sends to itself and listens for as long as was asked.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::lan::interface::{Interface, Interfaces};
use crate::lan::kernel::{self, Counters};
use crate::lan::membership::KernelMemberships;
use crate::model::policy::{Denied, Policy, ReceiveRule};
use crate::model::selector::InterfaceSelector;
use crate::model::source::SourceFilter;
use crate::sys::links::{self, Link};
use crate::tools::doctor::facts::{
    Asked, Chosen, Elsewhere, Facts, GroupFacts, InterfaceFacts, SelfTest, Settings, Unchecked,
};
use crate::tools::doctor::listening::{self, Watch};
use crate::tools::doctor::self_test;
use crate::tools::failure::Failure;
use crate::tools::lan_tap::LanTarget;

/// How long a group is looked for elsewhere, at most.
const ELSEWHERE: Duration = Duration::from_secs(2);
/// Addresses outside (RFC 5737, RFC 3849): nothing is sent there, the routing table is asked for its default route.
const OUTSIDE: [&str; 1] = ["198.51.100.1"];

/// Gathers everything but the gateway's side, inside a tokio runtime.
///
/// # Errors
/// [`Failure::Running`] where not even the interfaces can be listed.
pub async fn gather(asked: Asked) -> Result<Facts, Failure> {
    let mut facts = look(asked)?;
    if facts.asked.listen.is_zero() {
        let why = "--listen 0 looks only: it joins nothing and sends nothing".to_owned();
        facts.unchecked.push(Unchecked { check: "joins, self-test, queriers, traffic", why });
        return Ok(facts);
    }
    let examined: Vec<u32> = examined(&facts).map(|facts| facts.interface.index).collect();
    let mut watches = Vec::new();
    for index in &examined {
        match Watch::open(*index) {
            Ok(watch) => watches.push(watch),
            Err(error) => {
                if facts.unchecked.is_empty() {
                    facts.unchecked.push(unwatched(&error));
                }
            }
        }
    }
    let mut ears = listening::join(&mut facts);
    let held = KernelMemberships::now();
    let (wants_v4, wants_v6) = (facts.wants_v4(), facts.wants_v6());
    let tests = self_tests(&facts, &examined, wants_v4, wants_v6);
    // Beside each other: the tests leave their scratch groups, which a querier answers while we listen.
    let (tests, ()) = tokio::join!(tests, listening::listen(&mut ears, &mut watches, facts.asked.listen));
    for (index, tests) in tests {
        if let Some(interface) = facts.interfaces.iter_mut().find(|facts| facts.interface.index == index) {
            interface.self_tests = tests;
        }
    }
    let kept = KernelMemberships::now();
    listening::settle(&mut facts, ears, watches, &held, &kept);
    look_again(&mut facts);
    find_elsewhere(&mut facts).await;
    if suspects_firewall(&facts) {
        facts.firewall = firewall();
    }
    Ok(facts)
}

/// What can be seen without joining or sending anything.
fn look(asked: Asked) -> Result<Facts, Failure> {
    let listing = |error: io::Error| Failure::doing("listing the interfaces", &error);
    let interfaces = Interfaces::now().map_err(listing)?;
    let links = links::links().map_err(listing)?;
    let groups: Vec<_> = asked.targets.iter().map(|target| group(target, &asked, &interfaces)).collect();
    let mut chosen: BTreeSet<u32> = groups.iter().flat_map(|(_, indices)| indices.iter().copied()).collect();
    chosen.extend(selected(asked.interface.as_ref(), &interfaces).iter().map(|interface| interface.index));
    let default_route = OUTSIDE.iter().find_map(|address| links::route(address.parse().ok()?).ok()?);
    let (versions, ipv6, wireless) = (kernel::igmp_versions(), kernel::ipv6_states(), kernel::wireless());
    let interfaces = interfaces.iter().map(|interface| {
        let (name, index) = (interface.name.clone(), interface.index);
        let setting = |family: &str, scope: &str, key: &str| {
            kernel::setting(&format!("net/{family}/conf/{scope}/{key}")).unwrap_or(0)
        };
        let either = |family: &str, key: &str| setting(family, &name, key).max(setting(family, "all", key));
        let link = link(&links, index).unwrap_or_default();
        InterfaceFacts {
            asked: chosen.contains(&index),
            master: link.master.and_then(|master| {
                let master = links.iter().find(|link| link.index == master)?;
                Some((master.name.clone(), master.kind.clone().unwrap_or_default()))
            }),
            rp_filter: either("ipv4", "rp_filter"),
            default_route: default_route == Some(index),
            igmp_version: versions.get(&index).copied(),
            forced: (either("ipv4", "force_igmp_version"), either("ipv6", "force_mld_version")),
            ipv6_disabled: setting("ipv6", &name, "disable_ipv6") != 0,
            ipv6: ipv6.iter().filter(|state| state.index == index).copied().collect(),
            mld_queries: (kernel::mld_queries(&name), None),
            wireless: wireless.contains(&name),
            wire: None,
            igmp_behind_firewall: None,
            self_tests: (None, None),
            link_after: Some(link.clone()),
            link,
            interface: interface.clone(),
        }
    });
    let interfaces: Vec<InterfaceFacts> = interfaces.collect();
    let mut facts = Facts {
        interfaces,
        groups: groups.into_iter().map(|(facts, _)| facts).collect(),
        settings: Settings {
            most_memberships: kernel::setting("net/ipv4/igmp_max_memberships"),
            most_sources_v4: kernel::setting("net/ipv4/igmp_max_msf"),
            most_sources_v6: kernel::setting("net/ipv6/mld_max_msf"),
            option_memory: kernel::setting("net/core/optmem_max"),
            most_receive_buffer: kernel::setting("net/core/rmem_max"),
            most_files: kernel::most_files(),
        },
        counters: (Counters::now(), Counters::now()),
        asked,
        ..Facts::default()
    };
    facts.container = container(&facts);
    // Asked for nothing in particular, on a host where only one can be meant.
    if facts.asked.interface.is_none() && facts.groups.is_empty() {
        let candidates: Vec<u32> = candidates(&facts).map(|facts| facts.interface.index).collect();
        if let [only] = candidates[..] {
            for interface in &mut facts.interfaces {
                interface.asked = interface.interface.index == only;
            }
        }
    }
    Ok(facts)
}

/// A group, and the indices of the interfaces that it is meant on.
fn group(target: &LanTarget, asked: &Asked, interfaces: &Interfaces) -> (GroupFacts, Vec<u32>) {
    let group = target.group;
    let (chosen, indices) = match &asked.interface {
        Some(_) => {
            let found = selected(asked.interface.as_ref(), interfaces);
            (Chosen::ByName, found.iter().map(|interface| interface.index).collect())
        }
        None => match links::route(group.address()) {
            Ok(Some(index)) => (Chosen::ByRoute, vec![index]),
            _ => (Chosen::Nobody, Vec::new()),
        },
    };
    let denied = match Policy::new(ReceiveRule::AnyButDenied, Vec::new()).may_receive(&group) {
        Err(Denied::OnDenyList { rule, .. }) => Some(rule.to_owned()),
        _ => None,
    };
    let sources: &[IpAddr] = match &target.filter {
        SourceFilter::Include(sources) => sources,
        SourceFilter::Any | SourceFilter::Exclude(_) => &[],
    };
    let facts = GroupFacts {
        target: target.clone(),
        chosen,
        denied,
        source_routes: sources
            .iter()
            .map(|source| (*source, links::route(*source).unwrap_or_default()))
            .collect(),
        holders: (kernel::udp_sockets(group.port()), Vec::new()),
        joins: Vec::new(),
        elsewhere: Vec::new(),
    };
    (facts, indices)
}

/// What `--interface` means now.
fn selected(selector: Option<&InterfaceSelector>, interfaces: &Interfaces) -> Vec<Interface> {
    match selector {
        None => Vec::new(),
        Some(InterfaceSelector::All) => {
            interfaces.for_all().filter(|interface| !interface.loopback).cloned().collect()
        }
        Some(selector) => interfaces.find(selector).cloned().into_iter().collect(),
    }
}

/// The interfaces that could be meant: up, with carrier, able to multicast, not the loopback, nobody's port.
pub fn candidates(facts: &Facts) -> impl Iterator<Item = &InterfaceFacts> {
    let could = |facts: &&InterfaceFacts| {
        facts.can_receive() && facts.interface.multicast && !facts.interface.loopback
    };
    facts.interfaces.iter().filter(could)
}

/// The interfaces that are tried: those asked for, else those that could be meant.
fn examined(facts: &Facts) -> impl Iterator<Item = &InterfaceFacts> {
    let any_asked = facts.asked_interfaces().next().is_some();
    let all = facts.interfaces.iter().filter(|facts| facts.can_receive());
    all.filter(
        move |facts| {
            if any_asked { facts.asked } else { facts.interface.multicast && !facts.interface.loopback }
        },
    )
}

async fn self_tests(
    facts: &Facts,
    examined: &[u32],
    wants_v4: bool,
    wants_v6: bool,
) -> Vec<(u32, (Option<SelfTest>, Option<SelfTest>))> {
    let mut tests = Vec::new();
    for index in examined {
        let Some(facts) = facts.interface(*index) else { continue };
        let has_v6 = !facts.ipv6_disabled && facts.ipv6.iter().any(|state| !state.tentative);
        let v4 = if wants_v4 { Some(self_test::run(&facts.interface, true).await) } else { None };
        let v6 = if wants_v6 && has_v6 { Some(self_test::run(&facts.interface, false).await) } else { None };
        tests.push((*index, (v4, v6)));
    }
    tests
}

/// What may have changed while we listened.
fn look_again(facts: &mut Facts) {
    facts.counters.1 = Counters::now();
    let links = links::links().unwrap_or_default();
    for interface in &mut facts.interfaces {
        interface.link_after = link(&links, interface.interface.index);
        interface.mld_queries.1 = kernel::mld_queries(&interface.interface.name);
    }
    for group in &mut facts.groups {
        group.holders.1 = kernel::udp_sockets(group.target.group.port());
    }
}

/// Looks for groups that were not heard: from any source, on every interface.
async fn find_elsewhere(facts: &mut Facts) {
    let patience = facts.asked.listen.min(ELSEWHERE);
    let places: Vec<Interface> = candidates(facts).map(|facts| facts.interface.clone()).collect();
    for at in 0..facts.groups.len() {
        let group = &facts.groups[at];
        let joined: Vec<u32> = group.joins.iter().map(|join| join.index).collect();
        let silent = group.joins.iter().all(|join| join.heard.datagrams == 0);
        let open = group.target.filter == SourceFilter::Any;
        let new: Vec<Interface> =
            places.iter().filter(|place| !(open && joined.contains(&place.index))).cloned().collect();
        if !silent || joined.is_empty() || new.is_empty() {
            continue;
        }
        let heard = listening::from_anybody(group.target.group, &new, patience).await;
        facts.groups[at].elsewhere = heard
            .into_iter()
            .filter(|(_, heard)| heard.datagrams > 0)
            .map(|(interface, heard)| Elsewhere {
                index: interface.index,
                interface: interface.name,
                sources: heard.sources.into_keys().collect(),
            })
            .collect();
    }
}

fn link(links: &[Link], index: u32) -> Option<Link> {
    links.iter().find(|link| link.index == index).cloned()
}

fn unwatched(error: &io::Error) -> Unchecked {
    let why = match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => {
            "watching the wire needs CAP_NET_RAW: run the doctor with sudo".to_owned()
        }
        _ => format!("watching the wire: {error}"),
    };
    Unchecked { check: "IGMP querier, firewall, ports on the wire", why }
}

/// A container with nothing but links to its host.
fn container(facts: &Facts) -> Option<String> {
    let sign = ["/.dockerenv", "/run/.containerenv"].into_iter().find(|path| Path::new(path).exists());
    let sign = sign.map(str::to_owned).or_else(|| {
        std::env::var_os("KUBERNETES_SERVICE_HOST").map(|_| "KUBERNETES_SERVICE_HOST".to_owned())
    })?;
    // A second network, as macvlan gives one, may well be the LAN's own.
    let mut links = facts.interfaces.iter().filter(|facts| facts.interface.up && !facts.interface.loopback);
    let (only, more) = (links.next()?, links.next());
    let own = more.is_none() && only.link.kind.as_deref() == Some("veth") && only.default_route;
    own.then(|| format!("{sign} exists, and all there is is {}, one end of a veth pair", only.name()))
}

fn suspects_firewall(facts: &Facts) -> bool {
    let tests = facts.interfaces.iter().flat_map(|facts| [&facts.self_tests.0, &facts.self_tests.1]);
    let failed = tests.flatten().any(|test| matches!(test, SelfTest::Refused | SelfTest::NotHeard));
    failed || facts.groups.iter().any(|group| group.joins.iter().all(|join| join.heard.datagrams == 0))
}

/// The rules that drop or reject, as far as this user may see them.
fn firewall() -> Option<String> {
    const SHOWN: usize = 3;
    let run = |program: &str, arguments: &[&str]| {
        let output =
            Command::new(program).args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).output();
        output.ok().filter(|output| output.status.success())
    };
    let output = run("nft", &["list", "ruleset"]).or_else(|| run("/usr/sbin/nft", &["list", "ruleset"]));
    let output = output.or_else(|| run("iptables-save", &[]))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let verdicts = ["drop", "reject", "DROP", "REJECT"];
    let drops =
        text.lines().map(str::trim).filter(|line| verdicts.iter().any(|verdict| line.contains(verdict)));
    let drops: Vec<String> = drops.map(|line| line.escape_debug().to_string()).collect();
    Some(match &drops[..] {
        [] => "its rules drop nothing".to_owned(),
        few if few.len() <= SHOWN => format!("it has: {}", few.join("; ")),
        many => format!("it has {} rules that drop, as: {}", many.len(), many[..SHOWN].join("; ")),
    })
}
