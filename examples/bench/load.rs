//! One measurement: one server under one load, in the lab that this program runs in.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::measure::{cpu_seconds, machine, resident};
use crate::process::{Process, on};
use crate::{Outcome, nth_group};

const GROUP: &str = "239.77.0.1:5000";
const SERVER: &str = "10.9.0.1:8080";
/// How long a server may take to listen, and the switch to learn of its joins.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it is watched without any load: what it costs then, and what others take of the machine.
const WATCH: Duration = Duration::from_millis(250);

/// What comes in, and for whom.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    /// Spread evenly over the streams.
    pub(crate) clients: usize,
    /// Groups, one after the other.
    pub(crate) streams: usize,
    /// Bytes of payload.
    pub(crate) size: usize,
    /// Datagrams a second, of all streams together.
    pub(crate) rate: u32,
    pub(crate) seconds: f64,
    /// Whether small things are asked of the gateway meanwhile.
    pub(crate) probe: bool,
}

/// Whether `server` can be measured here: `websocat` need not be installed.
pub(crate) fn is_there(server: &str) -> bool {
    !server.starts_with("websocat") || Command::new("websocat").arg("--version").output().is_ok()
}

/// Starts `server`, connects the clients, sends, and says what it cost. A server is one of `floor`, `naive`, `websocat` and
/// `gateway`, with further arguments for its command line behind it.
pub(crate) fn measure(gateway: &Path, server: &str, load: &Load) -> Outcome<Value> {
    measure_parts(gateway, server, load).map_err(|error| format!("{server}, {load:?}: {error}").into())
}

fn measure_parts(gateway: &Path, server: &str, load: &Load) -> Outcome<Value> {
    let myself = std::env::current_exe()?;
    let on_each = streams_on_each(server)?;
    let apart = connections_of_each(server)?;
    let streams = on_each.or(apart).unwrap_or(load.streams);
    let connections = load.clients * apart.unwrap_or(1);
    let mut serving = Process::start(command(gateway, server, &myself)?)?;
    wait_until_it_listens(&mut serving)?;
    let pid = serving.id();
    let empty = resident(pid);
    let mut sink = on("cli", &myself);
    sink.args(["sink", "--server", SERVER, "--clients", &connections.to_string()]);
    sink.args(["--streams", &streams.to_string(), "--deadline", &(load.seconds * 4.0 + 60.0).to_string()]);
    if server.starts_with("gateway") || on_each.is_some() {
        sink.args(["--group", GROUP]);
    }
    if on_each.is_some() {
        sink.arg("--v1");
    }
    if server.contains(" --tls") || server.contains(" --dev-cert") {
        sink.arg("--tls");
    }
    let mut sink = Process::start(sink)?;
    if sink.line()? != "READY" {
        return Err("the clients did not come in".into());
    }
    wait_until_it_is_member(streams)?;
    let (idle, idle_before, machine_before) = (resident(pid), cpu_seconds(pid), machine());
    thread::sleep(WATCH);
    let (idle_cpu, machine_busy) = (cpu_seconds(pid) - idle_before, machine_before.busy_until(&machine()));
    let (server_before, sink_before) = (cpu_seconds(pid), cpu_seconds(sink.id()));
    let mut probe = load.probe.then(|| start_probe(&myself, load.seconds)).transpose()?;
    let mut source = on("srca", &myself);
    source.args(["source", "--interface", "eth0", "--group", GROUP, "--streams", &streams.to_string()]);
    source.args(["--rate", &load.rate.to_string(), "--size", &load.size.to_string()]);
    source.args(["--seconds", &load.seconds.to_string()]);
    let mut source = Process::start(source)?;
    let sent: Value = serde_json::from_str(&source.line()?)?;
    let datagrams = sent["sent"].as_u64().unwrap_or(0);
    // Every stream has as many clients, so that which of its datagrams failed is all one.
    let wanted = match on_each {
        Some(_) => datagrams * load.clients as u64,
        None => datagrams * connections as u64 / streams as u64,
    };
    sink.tell(&wanted.to_string())?;
    let got: Value = serde_json::from_str(&sink.line()?)?;
    let probed: Value = match &mut probe {
        Some(probe) => serde_json::from_str(&probe.line()?)?,
        None => Value::Null,
    };
    let (cpu, sink_cpu) = (cpu_seconds(pid) - server_before, cpu_seconds(sink.id()) - sink_before);
    let busy = resident(pid);
    if serving.has_ended()? {
        return Err(format!("the server ended during the run: {}", serving.complaints()).into());
    }
    let frames = got["frames"].as_f64().unwrap_or(0.0);
    let seconds = got["seconds"].as_f64().unwrap_or(0.0).max(1e-9);
    Ok(json!({
        "server": server, "clients": load.clients, "streams": streams, "size": load.size, "rate": load.rate,
        "sent": datagrams, "send_seconds": sent["seconds"], "frames": frames,
        "cpu_per_million": cpu / frames.max(1.0) * 1e6,
        "cpu_share": cpu / seconds, "sink_cpu_share": sink_cpu / seconds,
        "per_second": frames / seconds,
        "loss_percent": 100.0 * (1.0 - frames / (wanted as f64).max(1.0)),
        "p50": got["p50"], "p99": got["p99"], "p999": got["p999"],
        "worst_client": got["worst_client"], "median_client": got["median_client"], "probe": probed,
        "missing": got["missing"], "disorder": got["disorder"], "closed": got["closed"],
        "kib_per_client": idle.saturating_sub(empty) as f64 / load.clients as f64,
        "resident_kib": busy,
        "idle_cpu_share": idle_cpu / WATCH.as_secs_f64(), "machine_busy_idle": machine_busy,
    }))
}

/// The connections that each client of `gatewayxSTREAMS` has, for a stream each.
fn connections_of_each(server: &str) -> Outcome<Option<usize>> {
    let word = server.split_whitespace().next().unwrap_or_default();
    word.strip_prefix("gatewayx").map(|number| Ok(number.parse()?)).transpose()
}

/// The streams that each client of `v1` and `v1xSTREAMS` has on its connection.
fn streams_on_each(server: &str) -> Outcome<Option<usize>> {
    let word = server.split_whitespace().next().unwrap_or_default();
    match word.strip_prefix("v1") {
        Some("") => Ok(Some(1)),
        Some(number) if number.starts_with('x') => Ok(Some(number[1..].parse()?)),
        _ => Ok(None),
    }
}

/// Its groups are none of the load's.
fn start_probe(myself: &Path, seconds: f64) -> Outcome<Process> {
    let mut probe = on("cli", myself);
    probe.args([
        "probe",
        "--server",
        SERVER,
        "--group",
        "239.78.0.1:5000",
        "--seconds",
        &seconds.to_string(),
    ]);
    let mut probe = Process::start(probe)?;
    if probe.line()? != "READY" {
        return Err("the probe did not come in".into());
    }
    Ok(probe)
}

fn command(gateway: &Path, server: &str, myself: &Path) -> Outcome<Command> {
    let mut words = server.split_whitespace();
    let group: SocketAddr = GROUP.parse()?;
    let (on_each, apart) = (streams_on_each(server)?, connections_of_each(server)?);
    let mut command = match words.next().unwrap_or_default() {
        word if word == "gateway" || on_each.is_some() || apart.is_some() => {
            let mut command = on("gw", gateway);
            command.args(["serve", "--listen", SERVER, "--interface", "lan0", "--no-auth"]);
            command.args(["--allow-receive", "239.0.0.0/8", "--limit", "all=off"]);
            command
        }
        "websocat" => {
            let mut command = on("gw", Path::new("websocat"));
            command.args(["-q", "-b", "-E", "--queue-len", "1024", &format!("ws-l:{SERVER}")]);
            command.arg(format!("broadcast:udp-listen:{GROUP}"));
            command.args([
                "--udp-multicast",
                &group.ip().to_string(),
                "--udp-multicast-iface-v4",
                "10.1.0.1",
            ]);
            command.arg("--udp-reuseaddr");
            command
        }
        relay @ ("floor" | "naive") => {
            let mut command = on("gw", myself);
            command.args([relay, "--interface", "lan0", "--group", GROUP, "--listen", SERVER]);
            command
        }
        other => {
            return Err(format!(
                "no server {other:?}: there are floor, gateway, gatewayxSTREAMS, naive, websocat, v1, v1xSTREAMS"
            )
            .into());
        }
    };
    command.args(words);
    Ok(command)
}

fn wait_until_it_listens(serving: &mut Process) -> Outcome<()> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        let mut probe = on("gw", Path::new("ss"));
        let listening = probe.args(["-ltnH", "sport = :8080"]).output()?;
        if !listening.stdout.is_empty() {
            return Ok(());
        }
        if serving.has_ended()? {
            break;
        }
        thread::sleep(Duration::from_millis(20));
    }
    Err(format!("the server does not listen: {}", serving.complaints()).into())
}

/// Waits until the switch has learnt of the joins; the first datagrams must not find it closed.
fn wait_until_it_is_member(streams: usize) -> Outcome<()> {
    let first: SocketAddr = GROUP.parse()?;
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        let shown = Command::new("bridge").args(["-n", "sw", "mdb", "show", "dev", "lana"]).output()?.stdout;
        let shown = String::from_utf8_lossy(&shown);
        let members: HashSet<&str> = shown
            .lines()
            .filter_map(|line| line.split_once(" port gw-lan0 grp ")?.1.split_whitespace().next())
            .collect();
        if (0..streams).all(|number| members.contains(nth_group(first, number).ip().to_string().as_str())) {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(50));
    }
    Err("the switch has not heard of the joins".into())
}
