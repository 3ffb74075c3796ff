//! What was lost on this host while we listened.

use crate::tools::doctor::checks::join::describe;
use crate::tools::doctor::facts::Facts;
use crate::tools::doctor::finding::{Finding, Name};

/// Frames of protocols that nobody speaks here count as dropped too, a few a second on any network.
const NOISE: u64 = 10;
/// Of a hundred frames, this many may be lost before it is worth a word.
const PERCENT: u64 = 1;

/// Sockets that overflowed, fragments, frames.
pub fn check(facts: &Facts, findings: &mut Vec<Finding>) {
    for group in &facts.groups {
        let (name, port) = (group.target.group, group.target.group.port());
        for (after, before) in group.holders.1.iter().filter_map(|after| {
            Some((after, group.holders.0.iter().find(|before| before.inode == after.inode)?))
        }) {
            let lost = after.drops.saturating_sub(before.drops);
            if lost > 0 {
                let who = describe(after);
                let seen = format!("{who} on port {port} lost {lost} datagrams while we listened");
                findings.push(overflow(name, seen, facts));
            }
        }
        let lost: u64 = group.joins.iter().map(|join| join.heard.drops).sum();
        if lost > 0 {
            let seen = format!(
                "the doctor itself lost {lost} datagrams: the host has little time, or bursts are large"
            );
            findings.push(overflow(name, seen, facts));
        }
    }
    let grown = |counter| facts.counters.1.grown(&facts.counters.0, counter);
    let fragments = grown("IpReasmFails") + grown("Ip6ReasmFails");
    if fragments > 0 {
        let seen = format!("{fragments} fragments found no whole datagram while we listened");
        let finding = Finding::new(Name::FragmentsLost, "", seen);
        findings.push(finding.mend("have the sender keep to its MTU: 1472 bytes over IPv4, 1452 over IPv6"));
    }
    for interface in facts.asked_interfaces() {
        let Some(after) = &interface.link_after else { continue };
        let (before, after, name) = (interface.link.received, after.received, interface.name());
        let (frames, dropped) =
            (after.frames - before.frames.min(after.frames), after.dropped.saturating_sub(before.dropped));
        let broken = after.errors.saturating_sub(before.errors) + after.missed.saturating_sub(before.missed);
        let much = dropped > NOISE && dropped * 100 > (frames + dropped) * PERCENT;
        if broken > 0 || much {
            let seen = format!(
                "{name} took {frames} frames, dropped {dropped}, and had {broken} that were broken or too many"
            );
            findings.push(
                Finding::new(Name::InterfaceDrops, name, seen)
                    .mend(format!("ip link show {name}   # the MTU has to be the sender's or more"))
                    .mend(format!("ethtool -S {name}; ethtool -G {name} rx 4096   # a larger ring")),
            );
        }
    }
}

fn overflow(group: impl std::fmt::Display, seen: String, facts: &Facts) -> Finding {
    let buffer = facts.asked.receive_buffer;
    Finding::new(Name::ReceiveOverflow, group, seen)
        .mend(format!("sysctl -w net.core.rmem_max={buffer}   # and have the program ask for it (SO_RCVBUF)"))
}
