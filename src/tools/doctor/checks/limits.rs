//! The kernel's limits, against what was asked for.

use crate::model::quantity::format_size;
use crate::tools::doctor::facts::Facts;
use crate::tools::doctor::finding::{Finding, Name};

/// A membership and a few sources take some hundred bytes; below this, sockets meet the limit.
const LITTLE_OPTION_MEMORY: u64 = 8192;
/// A gateway as it comes serves 1024 connections; half of them should find a file.
const FEW_FILES: u64 = 512;

/// Memberships, sources, option memory, open files, receive buffer.
pub fn check(facts: &Facts, findings: &mut Vec<Finding>) {
    for group in &facts.groups {
        let sources = group.target.filter.sources().len() as u64;
        let (most, sysctl) = match group.target.group.is_ipv4() {
            true => (facts.settings.most_sources_v4, "net.ipv4.igmp_max_msf"),
            false => (facts.settings.most_sources_v6, "net.ipv6.mld_max_msf"),
        };
        if let Some(most) = most.filter(|most| *most < sources) {
            let seen = format!("{sources} sources are named, and {sysctl} is {most}");
            let finding = Finding::new(Name::TooManySources, group.target.group, seen);
            findings.push(finding.mend(format!("sysctl -w {sysctl}={sources}")));
        }
    }
    if facts.settings.most_memberships == Some(0) && facts.wants_v4() {
        let finding = Finding::new(Name::MembershipLimit, "", "net.ipv4.igmp_max_memberships is 0");
        findings.push(finding.mend("sysctl -w net.ipv4.igmp_max_memberships=20"));
    }
    if let Some(bytes) = facts.settings.option_memory.filter(|bytes| *bytes < LITTLE_OPTION_MEMORY) {
        let seen = format!("net.core.optmem_max is {bytes} bytes");
        let finding = Finding::new(Name::OptionMemory, "", seen);
        findings.push(finding.mend("sysctl -w net.core.optmem_max=131072"));
    }
    if let Some(files) = facts.settings.most_files.filter(|files| *files < FEW_FILES) {
        let seen = format!("a program started here may have {files} files open");
        let finding = Finding::new(Name::OpenFiles, "", seen).mend("ulimit -n 4096");
        findings.push(finding.mend("LimitNOFILE=65536 in the service's unit"));
    }
    receive_buffer(facts, findings);
}

fn receive_buffer(facts: &Facts, findings: &mut Vec<Finding>) {
    let asked = facts.asked.receive_buffer;
    let granted = facts.groups.iter().flat_map(|group| &group.joins);
    let granted = granted.filter_map(|join| Some(join.outcome.as_ref().ok()?.receive_buffer)).min();
    // Without a join the setting tells; root may go beyond it, which no gateway should count on.
    let most = facts.settings.most_receive_buffer.and_then(|bytes| usize::try_from(bytes).ok());
    let Some(granted) = granted.or(most).filter(|granted| *granted < asked) else { return };
    let seen = format!("of {} asked for, the kernel grants {}", format_size(asked), format_size(granted));
    let finding = Finding::new(Name::ReceiveBuffer, "", seen);
    findings.push(finding.mend(format!("sysctl -w net.core.rmem_max={asked}")));
}
