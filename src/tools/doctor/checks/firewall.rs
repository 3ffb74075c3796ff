//! What a datagram to ourselves tells of the host's firewall.

use crate::tools::doctor::facts::{Facts, InterfaceFacts, SelfTest};
use crate::tools::doctor::finding::{Finding, Name};

/// Self-tests that failed.
pub fn check(facts: &Facts, findings: &mut Vec<Finding>) {
    for interface in &facts.interfaces {
        let tests = [("IPv4", &interface.self_tests.0), ("IPv6", &interface.self_tests.1)];
        for (version, test) in tests.into_iter().filter_map(|(version, test)| Some((version, test.as_ref()?)))
        {
            let name = interface.name();
            match test {
                SelfTest::Passed => {}
                SelfTest::Refused => {
                    let seen =
                        format!("sending {version} multicast by {name} is not permitted{}", rules(facts));
                    let mend = "nft list ruleset   # or iptables-save: accept udp to the group in `output`";
                    findings.push(Finding::new(Name::FirewallOutput, name, seen).mend(mend));
                }
                SelfTest::NotHeard => {
                    let seen = format!(
                        "our own {version} datagram to a scratch group on {name} did not come back{}",
                        rules(facts)
                    );
                    findings.push(blocked_input(interface, seen));
                }
                // Its cause is known already.
                SelfTest::Impossible(_)
                    if findings.iter().any(|one| one.about == name || one.name == Name::MembershipLimit) => {}
                SelfTest::Impossible(words) => {
                    let finding = Finding::new(Name::CannotSend, name, words.clone());
                    findings.push(finding.mend(format!("ip address show dev {name}")));
                }
            }
        }
    }
}

/// A firewall in the way, with the rules that let multicast in.
pub fn blocked_input(interface: &InterfaceFacts, seen: String) -> Finding {
    let name = interface.name();
    Finding::new(Name::FirewallInput, name, seen)
        .mend(format!("nft insert rule inet filter input iifname {name} ip daddr 224.0.0.0/4 accept"))
        .mend(format!("nft insert rule inet filter input iifname {name} ip6 daddr ff00::/8 accept"))
        .mend("nft list ruleset   # or iptables-save: table and chain are as yours are called")
}

/// What is known of the rules, behind a colon.
pub fn rules(facts: &Facts) -> String {
    match &facts.firewall {
        Some(words) => format!("; of the firewall: {words}"),
        None => "; its rules can't be read by this user".to_owned(),
    }
}
