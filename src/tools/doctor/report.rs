//! The report: for people on a terminal, or as one JSON object.

use std::fmt::Write as _;
use std::net::IpAddr;

use serde::Serialize;
use serde_json::{Value, json};

use crate::tools::doctor::facts::{Facts, GroupFacts, InterfaceFacts, Unchecked};
use crate::tools::doctor::finding::{Finding, Severity};
use crate::tools::doctor::gateway::{GatewayFacts, Reached};

/// What was found, and what was seen besides.
#[derive(Debug, Serialize)]
pub struct Report {
    version: &'static str,
    listened_seconds: f64,
    healthy: bool,
    findings: Vec<Finding>,
    not_checked: Vec<Unchecked>,
    interfaces: Vec<Value>,
    groups: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway: Option<Value>,
    #[serde(skip)]
    lines: Vec<String>,
}

/// Columns that a line of prose may have.
const WIDTH: usize = 100;

/// Marks of the terminal (ECMA-48).
struct Paint(bool);

impl Report {
    /// Of some facts and what was found in them.
    #[must_use]
    pub fn of(facts: &Facts, findings: Vec<Finding>) -> Report {
        let lines = facts.groups.iter().flat_map(|group| heard(facts, group)).collect();
        let shown = facts.interfaces.iter().filter(|one| one.asked || !one.interface.loopback);
        Report {
            version: env!("CARGO_PKG_VERSION"),
            listened_seconds: facts.asked.listen.as_secs_f64(),
            healthy: findings.iter().all(|finding| finding.severity == Severity::Note),
            findings,
            not_checked: facts.unchecked.clone(),
            interfaces: shown.map(interface).collect(),
            groups: facts.groups.iter().map(group).collect(),
            gateway: facts.gateway.as_ref().map(gateway),
            lines,
        }
    }

    /// How many findings are that bad or worse.
    #[must_use]
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity >= severity).count()
    }

    /// For programs.
    #[must_use]
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// For people; `color` where the terminal takes it.
    #[must_use]
    pub fn text(&self, color: bool) -> String {
        let paint = Paint(color);
        let mut text = String::new();
        for line in &self.lines {
            let _ = writeln!(text, "{line}");
        }
        if !self.lines.is_empty() {
            text.push('\n');
        }
        for Finding { name, severity, about, seen, why, mend } in &self.findings {
            let (word, code) = match severity {
                Severity::Fault => ("fault", "31;1"),
                Severity::Warning => ("warning", "33;1"),
                Severity::Note => ("note", "36"),
            };
            let about = if about.is_empty() { String::new() } else { format!(" ({about})") };
            let _ = writeln!(text, "{}: {}{about}", paint.with(code, word), paint.with("1", name.word()));
            wrapped(&mut text, seen);
            wrapped(&mut text, why);
            for command in mend {
                let _ = writeln!(text, "  {} {}", paint.with("32", "->"), command);
            }
            text.push('\n');
        }
        for Unchecked { check, why } in &self.not_checked {
            let _ = writeln!(text, "{}: {check}", paint.with("2", "not checked"));
            wrapped(&mut text, why);
            text.push('\n');
        }
        let counts = [Severity::Fault, Severity::Warning, Severity::Note].map(|severity| {
            let count = self.findings.iter().filter(|finding| finding.severity == severity).count();
            (count > 0).then(|| format!("{count} {}", one_of(severity, count)))
        });
        let counts: Vec<String> = counts.into_iter().flatten().collect();
        if counts.is_empty() {
            let _ = writeln!(text, "{}", paint.with("32", "nothing is wrong here"));
        } else {
            let _ = writeln!(
                text,
                "{}; what they mean: docs/troubleshooting.md, by these words",
                counts.join(", ")
            );
        }
        text
    }
}

impl Paint {
    fn with(&self, code: &str, words: &str) -> String {
        if self.0 { format!("\x1b[{code}m{words}\x1b[0m") } else { words.to_owned() }
    }
}

/// `faults`, or what `--strict` counts besides.
#[must_use]
pub fn words(severity: Severity, count: usize) -> String {
    match severity {
        Severity::Fault => format!("{} found", one_of(Severity::Fault, count)),
        _ => format!(
            "{} found (--strict counts warnings)",
            if count == 1 { "thing was" } else { "things were" }
        ),
    }
}

fn one_of(severity: Severity, count: usize) -> &'static str {
    match (severity, count) {
        (Severity::Fault, 1) => "fault",
        (Severity::Fault, _) => "faults",
        (Severity::Warning, 1) => "warning",
        (Severity::Warning, _) => "warnings",
        (Severity::Note, 1) => "note",
        (Severity::Note, _) => "notes",
    }
}

fn wrapped(text: &mut String, words: &str) {
    let mut column = 0;
    for word in words.split(' ') {
        let length = word.chars().count();
        if column == 0 || column + 1 + length > WIDTH {
            text.push_str(if column == 0 { "  " } else { "\n  " });
            column = 2;
        } else {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += length;
    }
    text.push('\n');
}

/// A line for each place where a group was joined.
fn heard(facts: &Facts, group: &GroupFacts) -> Vec<String> {
    let seconds = facts.asked.listen.as_secs_f64();
    let lines = group.joins.iter().filter(|join| join.outcome.is_ok()).map(|join| {
        let heard = &join.heard;
        let mut line = format!("{} on {}: {} datagrams", group.target.group, join.interface, heard.datagrams);
        if heard.datagrams > 0 {
            let rate = heard.datagrams as f64 / seconds;
            let bits = heard.bytes as f64 * 8.0 / seconds / 1e6;
            let sources: Vec<String> = heard.sources.keys().map(IpAddr::to_string).collect();
            let ttls: Vec<String> = heard.ttls.iter().map(u8::to_string).collect();
            let (sources, ttls) = (sources.join(", "), ttls.join(", "));
            let _ = write!(line, ", {rate:.1} a second, {bits:.3} Mbit/s, from {sources}, TTL {ttls}");
        }
        line
    });
    lines.collect()
}

fn interface(facts: &InterfaceFacts) -> Value {
    let seen = &facts.interface;
    let queriers = facts.wire.as_ref().map(|wire| {
        let both = wire.general_queries.queriers.iter().chain(&wire.specific_queries.queriers);
        let each = both.map(|(address, version)| (address.to_string(), Value::from(*version)));
        each.collect::<serde_json::Map<_, _>>()
    });
    json!({
        "name": seen.name,
        "index": seen.index,
        "addresses": seen.addresses,
        "up": seen.up,
        "carrier": seen.running,
        "multicast": seen.multicast,
        "loopback": seen.loopback,
        "mtu": facts.link.mtu,
        "kind": facts.link.kind,
        "master": facts.master.as_ref().map(|(name, _)| name),
        "rp_filter": facts.rp_filter,
        "igmp_version": facts.igmp_version,
        "queriers": queriers,
        "examined": facts.asked,
    })
}

fn group(facts: &GroupFacts) -> Value {
    let joins = facts.joins.iter().map(|join| {
        json!({
            "interface": join.interface,
            "joined": join.outcome.is_ok(),
            "datagrams": join.heard.datagrams,
            "bytes": join.heard.bytes,
            "sources": join.heard.sources,
            "ttls": join.heard.ttls,
            "dropped": join.heard.drops,
        })
    });
    let holders = facts.holders.0.iter().map(|socket| {
        json!({"address": socket.address, "user": socket.uid, "program": socket.program, "dropped": socket.drops})
    });
    json!({
        "group": facts.target.group.to_string(),
        "sources": facts.target.filter.sources(),
        "joins": joins.collect::<Vec<_>>(),
        "port_shared_with": holders.collect::<Vec<_>>(),
    })
}

fn gateway(facts: &GatewayFacts) -> Value {
    let streams = facts.streams.iter().map(|(group, answer)| (group.clone(), Value::from(answer.code)));
    json!({
        "url": facts.url,
        "answers": facts.reached == Reached::Answers,
        "streams": streams.collect::<serde_json::Map<_, _>>(),
        "version": facts.status.as_ref().and_then(|status| Some(status.as_ref().ok()?["gateway"]["version"].clone())),
    })
}
