//! Overload: the load that the gateway can just carry, then twice as much, and what small things take meanwhile.

use std::fs::File;
use std::io::Write;

use serde_json::{Value, json};

use crate::load::{Load, measure};
use crate::measure::{median, warn_of_company};
use crate::{Outcome, OverloadArguments};

/// Where the search for the knee begins, in datagrams a second.
const FIRST: u32 = 500;
/// A load of which less than this is lost, in percent, is carried.
const CARRIED: f64 = 0.5;
/// Seconds of each step of the search.
const STEP: f64 = 1.0;

/// Measures, printing each run as it ends, and the table.
pub(crate) fn run(arguments: &OverloadArguments) -> Outcome<()> {
    let mut log = arguments.json.as_ref().map(File::create).transpose()?;
    let mut all = Vec::new();
    println!(
        "| load | knee: offered/s | delivered/s there | delivered/s at twice that | of the knee | worst client / median | \
         dropped by the kernel % | page ms: median, slowest | ping ms | join ms |"
    );
    println!("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|");
    for text in &arguments.scenario {
        let (name, load) = scenario(text)?;
        let knee = knee(arguments, &load)?;
        let (mut at, mut beyond) = (Vec::new(), Vec::new());
        for number in 0..arguments.runs {
            for (factor, runs) in [(1, &mut at), (2, &mut beyond)] {
                let load =
                    Load { rate: knee * factor, seconds: arguments.seconds, probe: true, ..load.clone() };
                let mut result = measure(&arguments.gateway, &arguments.server, &load)?;
                result["scenario"] = json!(name);
                result["run"] = json!(number);
                result["knee"] = json!(knee);
                eprintln!("{result}");
                if let Some(log) = &mut log {
                    writeln!(log, "{result}")?;
                }
                runs.push(result);
            }
        }
        print_row(name, knee, &at, &beyond);
        all.extend(at.into_iter().chain(beyond));
    }
    warn_of_company(&all);
    Ok(())
}

fn scenario(text: &str) -> Outcome<(&str, Load)> {
    let usage = "a load is NAME=CLIENTSxSIZE";
    let (name, load) = text.split_once('=').ok_or(usage)?;
    let (clients, size) = load.split_once('x').ok_or(usage)?;
    let load = Load {
        clients: clients.parse()?,
        streams: 1,
        size: size.parse()?,
        rate: FIRST,
        seconds: STEP,
        probe: false,
    };
    Ok((name, load))
}

/// The highest rate that is carried, to a tenth.
fn knee(arguments: &OverloadArguments, load: &Load) -> Outcome<u32> {
    let carried = |rate: u32| -> Outcome<bool> {
        let result = measure(&arguments.gateway, &arguments.server, &Load { rate, ..load.clone() })?;
        Ok(result["loss_percent"].as_f64().is_some_and(|loss| loss < CARRIED))
    };
    let (mut low, mut high) = (0, FIRST);
    while carried(high)? {
        low = high;
        high = high.saturating_mul(2);
    }
    while high - low > high / 10 {
        let middle = low.midpoint(high);
        if carried(middle)? {
            low = middle;
        } else {
            high = middle;
        }
    }
    if low == 0 { Err("not even the first rate is carried".into()) } else { Ok(low) }
}

fn print_row(name: &str, knee: u32, at: &[Value], beyond: &[Value]) {
    let of = |runs: &[Value], value: &dyn Fn(&Value) -> Option<f64>| -> f64 {
        median(&runs.iter().filter_map(value).collect::<Vec<_>>())
    };
    let delivered = |run: &Value| run["per_second"].as_f64();
    let (there, twice) = (of(at, &delivered), of(beyond, &delivered));
    let fairness = |run: &Value| Some(run["worst_client"].as_f64()? / run["median_client"].as_f64()?);
    let dropped = |run: &Value| Some(100.0 * run["probe"]["kernel_drops"].as_f64()? / run["sent"].as_f64()?);
    let times = |what: &str| {
        let median = of(beyond, &|run| run["probe"][what]["median"].as_f64());
        let slowest = of(beyond, &|run| run["probe"][what]["slowest"].as_f64());
        format!("{median:.1}, {slowest:.0}")
    };
    println!(
        "| {name} | {knee} | {there:.0} | {twice:.0} | {:.2} | {:.3} | {:.1} | {} | {} | {} |",
        twice / there.max(1.0),
        of(beyond, &fairness),
        of(beyond, &dropped),
        times("page"),
        times("ping"),
        times("join"),
    );
}
