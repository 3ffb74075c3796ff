//! Whether joins succeed, and last.

use crate::lan::kernel::UdpSocket;
use crate::tools::doctor::facts::{Facts, GroupFacts};
use crate::tools::doctor::finding::{Finding, Name};

/// Refused joins, ports that are held, memberships that went.
pub fn check(facts: &Facts, findings: &mut Vec<Finding>) {
    for group in &facts.groups {
        let name = group.target.group;
        for join in &group.joins {
            match &join.outcome {
                Ok(joined) if !(joined.present.0 && joined.present.1) => {
                    let when = if joined.present.0 {
                        "went while we listened"
                    } else {
                        "is not in the kernel's table"
                    };
                    let seen = format!("the membership of {name} on {} {when}", join.interface);
                    let finding = Finding::new(Name::MembershipLost, &join.interface, seen);
                    findings.push(
                        finding.mend("a running gateway joins again by itself; ask for the group again"),
                    );
                }
                Ok(_) => {}
                Err(refused) if refused.code == Some(libc::EADDRINUSE) => {
                    if !findings.iter().any(|one| one.name == Name::PortHeld && one.about == name.to_string())
                    {
                        findings.push(held(group));
                    }
                }
                // Its cause is known.
                Err(_)
                    if findings.iter().any(|one| {
                        one.name == Name::MembershipLimit
                            || one.name == Name::TooManySources && one.about == name.to_string()
                            || one.name == Name::Ipv6Unusable && one.about == join.interface
                    }) => {}
                Err(refused) => {
                    let finding = Finding::new(Name::JoinRefused, name, refused.words.clone());
                    findings.push(finding.mend(format!("ip maddress show dev {}", join.interface)));
                }
            }
        }
    }
}

fn held(group: &GroupFacts) -> Finding {
    let port = group.target.group.port();
    let who: Vec<String> = group.holders.0.iter().map(describe).collect();
    let who = if who.is_empty() { "a program that is not shown".to_owned() } else { who.join(", ") };
    let seen = format!("port {port} is held by {who}");
    Finding::new(Name::PortHeld, group.target.group, seen)
        .mend(format!("ss -ulpn 'sport = :{port}'   # stop it, or have it set SO_REUSEADDR"))
}

/// A socket's program, as far as this user may know it.
pub fn describe(socket: &UdpSocket) -> String {
    match &socket.program {
        Some(program) => program.clone(),
        None => format!("a program of user {} (as root: which)", socket.uid),
    }
}
