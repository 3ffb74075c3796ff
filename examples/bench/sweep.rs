//! Growth: what a delivered message costs as one thing grows and the rest stays as it is. `netns-scripts/plot` draws it.

use std::fs::File;
use std::io::Write;

use serde_json::json;

use crate::load::{Load, measure};
use crate::measure::warn_of_company;
use crate::{Outcome, SweepArguments};

/// One point of a curve.
struct Point {
    sweep: &'static str,
    /// The curve; the same for floor and gateway.
    series: &'static str,
    /// What grows.
    x: usize,
    /// The floor has one group only.
    floor: bool,
    load: Load,
}

/// Measures every point once a run, so that runs of one point lie far apart, and writes each as a line of JSON.
pub(crate) fn run(arguments: &SweepArguments) -> Outcome<()> {
    let quick = arguments.quick;
    let seconds = arguments.seconds.unwrap_or(if quick { 1.0 } else { 1.5 });
    let points: Vec<Point> = points(quick, seconds)
        .into_iter()
        .filter(|point| arguments.only.is_empty() || arguments.only.iter().any(|name| name == point.sweep))
        .collect();
    if points.is_empty() {
        return Err("there are the sweeps clients, streams, size, rate".into());
    }
    let mut log = File::create(&arguments.json)?;
    let (mut runs, mut failed) = (Vec::new(), 0);
    for number in 0..arguments.runs.unwrap_or(if quick { 1 } else { 3 }) {
        for point in &points {
            for server in
                arguments.server.iter().filter(|server| point.floor || server.starts_with("gateway"))
            {
                match measure(&arguments.gateway, server, &point.load) {
                    Ok(mut result) => {
                        result["sweep"] = json!(point.sweep);
                        result["series"] = json!(point.series);
                        result["x"] = json!(point.x);
                        result["run"] = json!(number);
                        eprintln!("{result}");
                        writeln!(log, "{result}")?;
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
    warn_of_company(&runs);
    if failed == 0 { Ok(()) } else { Err(format!("{failed} runs failed").into()) }
}

/// Loads that two cores carry: what is asked is what a message costs, not what is lost under overload.
fn points(quick: bool, seconds: f64) -> Vec<Point> {
    let take = |all: &[usize]| -> Vec<usize> {
        let last = all.len() - 1;
        let wanted = |at: &usize| !quick || at.is_multiple_of(2) || *at == last;
        (0..all.len()).filter(wanted).map(|at| all[at]).collect()
    };
    let one = Load { clients: 100, streams: 1, size: 1316, rate: 100, seconds, probe: false };
    let mut points = Vec::new();
    for x in take(&[1, 10, 100, 1000, 5000]) {
        let load = Load { clients: x, ..one.clone() };
        points.push(Point { sweep: "clients", series: "1,316 B, 100/s", x, floor: true, load });
    }
    for x in take(&[1, 10, 100, 1000]) {
        let load = Load { clients: x, streams: x, rate: 10_000, ..one.clone() };
        let series = "1 client a stream, 10,000/s in all";
        points.push(Point { sweep: "streams", series, x, floor: x == 1, load });
        let load = Load { clients: 1000, streams: x, rate: 20 * x as u32, ..one.clone() };
        let series = "1,000 clients, 20/s a stream";
        points.push(Point { sweep: "streams", series, x, floor: x == 1, load });
    }
    for x in take(&[0, 16, 100, 1316, 8192, 32768, 65507]) {
        let load = Load { clients: 10, size: x, rate: 500, ..one.clone() };
        points.push(Point { sweep: "size", series: "10 clients, 500/s", x, floor: true, load });
    }
    for x in take(&[10, 100, 1000, 10_000]) {
        let load = Load { size: 100, rate: x as u32, ..one.clone() };
        points.push(Point { sweep: "rate", series: "100 clients, 100 B", x, floor: true, load });
    }
    for x in take(&[100, 1000, 10_000, 50_000]) {
        let load = Load { clients: 1, size: 100, rate: x as u32, ..one.clone() };
        points.push(Point { sweep: "rate", series: "1 client, 100 B", x, floor: true, load });
    }
    points
}
