//! CPU time and memory of a process, from `/proc`.

use std::fs;

use serde_json::Value;

/// Seconds on a CPU of all threads of a process, to the nanosecond. On a kernel without IRQ time accounting this includes
/// the network's work done on its behalf.
pub(crate) fn cpu_seconds(pid: u32) -> f64 {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let nanoseconds: u64 = threads
        .filter_map(|thread| fs::read_to_string(thread.path().join("schedstat")).ok())
        .filter_map(|text| text.split_whitespace().next()?.parse::<u64>().ok())
        .sum();
    nanoseconds as f64 / 1e9
}

/// What the machine's CPUs have done since it started, in ticks.
pub(crate) struct Machine {
    all: u64,
    idle: u64,
}

/// The machine as it is now.
pub(crate) fn machine() -> Machine {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    // user nice system idle iowait irq softirq steal; guests are in user already.
    let ticks: Vec<u64> = text
        .lines()
        .next()
        .into_iter()
        .flat_map(|line| line.split_whitespace().skip(1))
        .flat_map(str::parse)
        .collect();
    Machine { all: ticks.iter().take(8).sum(), idle: ticks.iter().skip(3).take(2).sum() }
}

impl Machine {
    /// The share of all CPUs that was in use from here to `later`, 0 to 1.
    pub(crate) fn busy_until(&self, later: &Machine) -> f64 {
        1.0 - (later.idle - self.idle) as f64 / ((later.all - self.all) as f64).max(1.0)
    }
}

/// Whether others took part of the machine, so that figures are worth little: said once, at the end.
pub(crate) fn warn_of_company(runs: &[Value]) {
    let busy: Vec<f64> = runs.iter().filter_map(|run| run["machine_busy_idle"].as_f64()).collect();
    if median(&busy) > 0.05 {
        eprintln!(
            "WARNING: the machine was not quiet: others used {:.0} % of it (median, before each load)",
            100.0 * median(&busy)
        );
    }
}

/// Resident memory of a process in KiB.
pub(crate) fn resident(pid: u32) -> u64 {
    fs::read_to_string(format!("/proc/{pid}/status"))
        .ok()
        .and_then(|text| {
            let line = text.lines().find(|line| line.starts_with("VmRSS:"))?.to_owned();
            line.split_whitespace().nth(1)?.parse().ok()
        })
        .unwrap_or(0)
}

/// The middle one; 0 of none.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}
