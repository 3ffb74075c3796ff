//! The comparison: every server under every load, interleaved, and one table of medians.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use serde_json::{Value, json};

use crate::load::{Load, is_there, measure};
use crate::measure::{median, warn_of_company};
use crate::process::on;
use crate::{Outcome, RunArguments};

/// A load with a name.
struct Scenario {
    name: String,
    load: Load,
}

/// Measures, printing each run as it ends, and the table.
pub(crate) fn run(arguments: &RunArguments) -> Outcome<()> {
    let scenarios = arguments
        .scenario
        .iter()
        .map(|text| scenario(text, arguments.seconds))
        .collect::<Outcome<Vec<_>>>()?;
    let (servers, missing): (Vec<&String>, Vec<&String>) =
        arguments.server.iter().partition(|server| is_there(server));
    for server in missing {
        eprintln!("SKIPPED {server}: it is not installed");
    }
    // A port rests for a minute after each connection, and a crowd comes again and again.
    let ports = ["-qw", "net.ipv4.ip_local_port_range=2000 65000", "net.ipv4.tcp_tw_reuse=1"];
    on("cli", Path::new("sysctl")).args(ports).status()?;
    let mut log = arguments.json.as_ref().map(File::create).transpose()?;
    let mut runs: Vec<Value> = Vec::new();
    let mut failed = 0;
    for number in 0..arguments.runs {
        for scenario in &scenarios {
            // Everybody comes first, and after everybody else, in turn.
            for turn in 0..servers.len() {
                let server = servers[(turn + number) % servers.len()];
                match measure(&arguments.gateway, server, &scenario.load) {
                    Ok(mut result) => {
                        result["scenario"] = json!(scenario.name);
                        result["run"] = json!(number);
                        eprintln!("{result}");
                        if let Some(log) = &mut log {
                            writeln!(log, "{result}")?;
                        }
                        runs.push(result);
                    }
                    Err(error) => {
                        eprintln!("FAILED {error}");
                        failed += 1;
                    }
                }
            }
        }
    }
    print_table(&scenarios, &servers, &runs);
    warn_of_company(&runs);
    if failed == 0 { Ok(()) } else { Err(format!("{failed} runs failed").into()) }
}

fn scenario(text: &str, seconds: f64) -> Outcome<Scenario> {
    let (name, load) = text.split_once('=').ok_or("a scenario is NAME=CLIENTSxSIZExRATE")?;
    let numbers: Vec<usize> = load.split('x').map(str::parse).collect::<Result<_, _>>()?;
    let [clients, size, rate] = numbers[..] else {
        return Err("a scenario is NAME=CLIENTSxSIZExRATE".into());
    };
    let load = Load { clients, streams: 1, size, rate: u32::try_from(rate)?, seconds, probe: false };
    Ok(Scenario { name: name.to_owned(), load })
}

/// Ratios are of runs that stood side by side: each run of a server to the same run of the first one.
fn print_table(scenarios: &[Scenario], servers: &[&String], runs: &[Value]) {
    println!(
        "| scenario | server | CPU per message / {} | (min-max) | CPU s per million | delivered/s | loss % | p50 ms | p99 ms | \
         p99.9 ms | KiB per idle client |",
        servers.first().map_or("", |server| server.as_str())
    );
    println!("|---|---|--:|---|--:|--:|--:|--:|--:|--:|--:|");
    for scenario in scenarios {
        let of_server = |server: &str| -> Vec<&Value> {
            let all = runs.iter().filter(|run| run["scenario"] == scenario.name.as_str());
            all.filter(|run| run["server"] == server).collect()
        };
        let values = |server: &str, key: &str| -> Vec<f64> {
            of_server(server).iter().filter_map(|run| run[key].as_f64()).collect()
        };
        let first = servers.first().map_or_else(Vec::new, |server| of_server(server));
        for server in servers.iter().filter(|server| !of_server(server).is_empty()) {
            let cpu = values(server, "cpu_per_million");
            let ratios: Vec<f64> = of_server(server)
                .iter()
                .filter_map(|run| {
                    let beside = first.iter().find(|first| first["run"] == run["run"])?;
                    Some(run["cpu_per_million"].as_f64()? / beside["cpu_per_million"].as_f64()?)
                })
                .collect();
            let of = |key: &str| median(&values(server, key));
            println!(
                "| {} | {server} | {:.2} | {:.2}-{:.2} | {:.2} | {:.0} | {:.2} | {:.2} | {:.2} | {:.2} | {:.1} |",
                scenario.name,
                median(&ratios),
                ratios.iter().copied().fold(f64::INFINITY, f64::min),
                ratios.iter().copied().fold(0.0, f64::max),
                median(&cpu),
                of("per_second"),
                of("loss_percent"),
                of("p50") / 1000.0,
                of("p99") / 1000.0,
                of("p999") / 1000.0,
                of("kib_per_client"),
            );
        }
    }
}
