//! The comparison: every server in every scenario, interleaved, and one table of medians.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::measure::{cpu_seconds, median, resident};
use crate::{Outcome, RunArguments};

const GROUP: &str = "239.77.0.1:5000";
const SERVER: &str = "10.9.0.1:8080";

/// One load.
struct Scenario {
    name: String,
    clients: usize,
    size: usize,
    rate: u32,
}

/// A process of the lab; killed when dropped.
struct Process {
    child: Child,
    output: BufReader<ChildStdout>,
}

/// Measures, printing each run as it ends, and the table.
pub(crate) fn run(arguments: &RunArguments) -> Outcome<()> {
    let scenarios = arguments.scenario.iter().map(|text| scenario(text)).collect::<Outcome<Vec<_>>>()?;
    let mut log = arguments.json.as_ref().map(File::create).transpose()?;
    let mut runs: Vec<Value> = Vec::new();
    for number in 0..arguments.runs {
        for scenario in &scenarios {
            for server in &arguments.server {
                let mut result = measure(arguments, scenario, server)?;
                result["run"] = json!(number);
                eprintln!("{result}");
                if let Some(log) = &mut log {
                    writeln!(log, "{result}")?;
                }
                runs.push(result);
            }
        }
    }
    print_table(&scenarios, &arguments.server, &runs);
    Ok(())
}

fn scenario(text: &str) -> Outcome<Scenario> {
    let (name, load) = text.split_once('=').ok_or("a scenario is NAME=CLIENTSxSIZExRATE")?;
    let numbers: Vec<usize> = load.split('x').map(str::parse).collect::<Result<_, _>>()?;
    let [clients, size, rate] = numbers[..] else {
        return Err("a scenario is NAME=CLIENTSxSIZExRATE".into());
    };
    Ok(Scenario { name: name.to_owned(), clients, size, rate: u32::try_from(rate)? })
}

fn measure(arguments: &RunArguments, scenario: &Scenario, server: &str) -> Outcome<Value> {
    let myself = std::env::current_exe()?;
    let mut serving = match server {
        "gateway" => {
            let mut command = on("gw", &arguments.gateway);
            command.args(["serve", "--listen", SERVER, "--interface", "lan0", "--no-auth"]);
            command
                .args(["--allow-receive", "239.0.0.0/8", "--limit", "all=off"])
                .args(&arguments.gateway_argument);
            Process::start(command)?
        }
        rival => {
            let mut command = on("gw", &myself);
            command.args([rival, "--interface", "lan0", "--group", GROUP, "--listen", SERVER]);
            Process::start(command)?
        }
    };
    wait_until_it_listens()?;
    let pid = serving.child.id();
    let empty = resident(pid);
    let path = if server == "gateway" { format!("/udp/{GROUP}") } else { "/".to_owned() };
    let mut sink = on("cli", &myself);
    sink.args(["sink", "--server", SERVER, "--path", &path, "--clients", &scenario.clients.to_string()]);
    let mut sink = Process::start(sink)?;
    if sink.line()? != "READY" {
        return Err(format!("{server}: the clients did not come in").into());
    }
    // The joins are on their way through the switch; the first datagrams must not find it closed.
    thread::sleep(Duration::from_millis(500));
    let (idle, before) = (resident(pid), cpu_seconds(pid));
    let mut source = on("srca", &myself);
    source.args(["source", "--interface", "eth0", "--group", GROUP]);
    source.args(["--rate", &scenario.rate.to_string(), "--size", &scenario.size.to_string()]);
    source.args(["--seconds", &arguments.seconds.to_string()]);
    let sent: Value = serde_json::from_str(&Process::start(source)?.line()?)?;
    let got: Value = serde_json::from_str(&sink.line()?)?;
    let (cpu, busy) = (cpu_seconds(pid) - before, resident(pid));
    if serving.child.try_wait()?.is_some() {
        return Err(format!("{server} ended during the run").into());
    }
    let wanted = sent["sent"].as_f64().unwrap_or(0.0) * scenario.clients as f64;
    let frames = got["frames"].as_f64().unwrap_or(0.0);
    Ok(json!({
        "scenario": scenario.name, "server": server, "clients": scenario.clients, "size": scenario.size,
        "rate": scenario.rate, "frames": frames,
        "cpu_per_million": cpu / frames.max(1.0) * 1e6,
        "per_second": frames / got["seconds"].as_f64().unwrap_or(1.0).max(1e-9),
        "loss_percent": 100.0 * (1.0 - frames / wanted.max(1.0)),
        "p50": got["p50"], "p99": got["p99"], "p999": got["p999"],
        "disorder": got["disorder"], "closed": got["closed"],
        "kib_per_client": (idle.saturating_sub(empty)) as f64 / scenario.clients as f64,
        "resident_kib": busy,
    }))
}

/// A program on a host of the lab, with no other process between, so that its id is its own.
fn on(host: &str, program: &Path) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", host]).arg(program);
    command
}

fn wait_until_it_listens() -> Outcome<()> {
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline {
        let mut probe = on("gw", Path::new("ss"));
        let listening = probe.args(["-ltnH", "sport = :8080"]).output()?;
        if !listening.stdout.is_empty() {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(20));
    }
    Err("the server does not listen".into())
}

fn print_table(scenarios: &[Scenario], servers: &[String], runs: &[Value]) {
    println!(
        "| scenario | server | CPU s per million | (min-max) | ratio | delivered/s | loss % | p50 us | p99 us | p99.9 us | \
         KiB per idle client |"
    );
    println!("|---|---|--:|--|--:|--:|--:|--:|--:|--:|--:|");
    for scenario in scenarios {
        let values = |server: &str, key: &str| -> Vec<f64> {
            let of = runs
                .iter()
                .filter(|run| run["scenario"] == scenario.name.as_str() && run["server"] == server);
            of.filter_map(|run| run[key].as_f64()).collect()
        };
        let first = servers.first().map_or(0.0, |server| median(&values(server, "cpu_per_million")));
        for server in servers {
            let cpu = values(server, "cpu_per_million");
            let of = |key: &str| median(&values(server, key));
            println!(
                "| {} | {server} | {:.2} | {:.2}-{:.2} | {:.2} | {:.0} | {:.2} | {:.0} | {:.0} | {:.0} | {:.1} |",
                scenario.name,
                median(&cpu),
                cpu.iter().copied().fold(f64::INFINITY, f64::min),
                cpu.iter().copied().fold(0.0, f64::max),
                median(&cpu) / first.max(f64::MIN_POSITIVE),
                of("per_second"),
                of("loss_percent"),
                of("p50"),
                of("p99"),
                of("p999"),
                of("kib_per_client"),
            );
        }
    }
}

impl Process {
    fn start(mut command: Command) -> Outcome<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let output = child.stdout.take().ok_or("no standard output")?;
        Ok(Process { child, output: BufReader::new(output) })
    }

    fn line(&mut self) -> Outcome<String> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
