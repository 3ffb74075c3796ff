//! The checks: pure functions over the facts, one noun each.

pub mod address;
pub mod firewall;
pub mod gateway;
pub mod interface;
pub mod join;
pub mod limits;
pub mod loss;
pub mod querier;
pub mod range;
pub mod reverse_path;
pub mod route;
pub mod traffic;

#[cfg(test)]
mod tests;

use crate::tools::doctor::facts::Facts;
use crate::tools::doctor::finding::Finding;

/// Looks at some facts, and adds what it finds. What was found before may explain what it sees.
pub type Check = fn(&Facts, &mut Vec<Finding>);

/// Every check, causes before their consequences.
pub const CHECKS: [Check; 13] = [
    range::check,
    interface::check,
    address::check,
    route::check,
    limits::check,
    join::check,
    firewall::check,
    traffic::on_the_wire,
    reverse_path::check,
    querier::check,
    loss::check,
    gateway::check,
    // Last: only what nothing else explains.
    traffic::check,
];

/// Everything that is found in `facts`, the worst first.
#[must_use]
pub fn all(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    for check in CHECKS {
        check(facts, &mut findings);
    }
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    findings
}
