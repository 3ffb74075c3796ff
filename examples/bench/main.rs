//! Measures the gateway end to end, against a floor program and other relays. Start it with `netns-scripts/bench`.
//!
//! Each part is a subcommand of its own, so that it runs on its own host of the lab: `source` sends numbered and stamped
//! datagrams, `sink` is many WebSocket clients that check every number, `floor` and `naive` are rivals. `run` puts them
//! together and prints the table, `sweep` measures growth.

#[path = "../../tests/support/anybody.rs"]
#[allow(unreachable_pub)]
mod anybody;
mod floor;
mod floor_tls;
mod line;
mod load;
mod measure;
mod naive;
mod overload;
mod probe;
mod process;
mod run;
mod sink;
mod source;
mod sweep;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

/// Bytes of number and stamp at the start of each datagram.
pub(crate) const STAMP: usize = 16;

/// What went wrong, in words.
pub(crate) type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

#[derive(Parser)]
#[command(about = "Measure the gateway end to end")]
struct Arguments {
    #[command(subcommand)]
    part: Part,
}

#[derive(Subcommand)]
enum Part {
    /// Send numbered, stamped datagrams at a steady pace
    Source(SourceArguments),
    /// Many WebSocket clients that check every number
    Sink(SinkArguments),
    /// The floor: one thread, one write for each client and wake-up, nothing else
    Floor(RelayArguments),
    /// The obvious relay: a broadcast channel, one send for each client and message
    Naive(RelayArguments),
    /// The whole comparison, inside the lab
    Run(RunArguments),
    /// What a delivered message costs against clients, streams, size and rate, inside the lab
    Sweep(SweepArguments),
    /// Ask a gateway for small things and time the answers
    Probe(ProbeArguments),
    /// What becomes of the gateway at twice the load that it can carry, inside the lab
    Overload(OverloadArguments),
}

#[derive(clap::Args)]
pub(crate) struct ProbeArguments {
    /// Where the gateway listens
    #[arg(long)]
    pub(crate) server: SocketAddr,
    /// First of the groups to join, which nobody sends to
    #[arg(long)]
    pub(crate) group: SocketAddr,
    /// Seconds
    #[arg(long)]
    pub(crate) seconds: f64,
}

#[derive(clap::Args)]
pub(crate) struct OverloadArguments {
    /// The gateway's program
    #[arg(long)]
    pub(crate) gateway: PathBuf,
    /// Runs at the knee and beyond, interleaved; the median is printed
    #[arg(long, default_value_t = 7)]
    pub(crate) runs: usize,
    /// Seconds of each run
    #[arg(long, default_value_t = 3.0)]
    pub(crate) seconds: f64,
    /// Loads: NAME=CLIENTSxSIZE
    #[arg(long, default_values = ["video=100x1316", "ticks=100x100", "crowd=1000x1316"])]
    pub(crate) scenario: Vec<String>,
    /// The gateway with arguments of its own, as in "gateway --hold 0"
    #[arg(long, default_value = "gateway")]
    pub(crate) server: String,
    /// Write every run as a line of JSON to this file
    #[arg(long)]
    pub(crate) json: Option<PathBuf>,
}

#[derive(clap::Args)]
pub(crate) struct SourceArguments {
    /// Interface to send on
    #[arg(long)]
    pub(crate) interface: String,
    /// First group to send to
    #[arg(long)]
    pub(crate) group: SocketAddr,
    /// Groups, the addresses from the first on
    #[arg(long, default_value_t = 1)]
    pub(crate) streams: usize,
    /// Datagrams a second, to all groups together
    #[arg(long)]
    pub(crate) rate: u32,
    /// Bytes of payload
    #[arg(long)]
    pub(crate) size: usize,
    /// Seconds
    #[arg(long)]
    pub(crate) seconds: f64,
}

#[derive(clap::Args)]
pub(crate) struct SinkArguments {
    /// Where the server listens
    #[arg(long)]
    pub(crate) server: SocketAddr,
    /// First group to ask a gateway for; a relay is asked for `/`
    #[arg(long)]
    pub(crate) group: Option<SocketAddr>,
    /// Groups that the clients are spread over, the addresses from the first on
    #[arg(long, default_value_t = 1)]
    pub(crate) streams: usize,
    /// Clients
    #[arg(long)]
    pub(crate) clients: usize,
    /// Speak TLS, with whoever it is
    #[arg(long)]
    pub(crate) tls: bool,
    /// Speak wscast.v1, with all groups on each connection
    #[arg(long)]
    pub(crate) v1: bool,
    /// Seconds after which it ends in any case
    #[arg(long)]
    pub(crate) deadline: f64,
}

#[derive(clap::Args)]
pub(crate) struct RelayArguments {
    /// Interface to join on
    #[arg(long)]
    pub(crate) interface: String,
    /// Group to join
    #[arg(long)]
    pub(crate) group: SocketAddr,
    /// Where to listen
    #[arg(long)]
    pub(crate) listen: SocketAddr,
    /// Speak TLS, for the floor
    #[arg(long)]
    pub(crate) tls: bool,
}

#[derive(clap::Args)]
pub(crate) struct RunArguments {
    /// The gateway's program
    #[arg(long)]
    pub(crate) gateway: PathBuf,
    /// Runs of each server in each scenario, interleaved; the median is printed
    #[arg(long, default_value_t = 7)]
    pub(crate) runs: usize,
    /// Seconds of each run
    #[arg(long, default_value_t = 3.0)]
    pub(crate) seconds: f64,
    /// Scenarios: NAME=CLIENTSxSIZExRATE
    #[arg(long, default_values = ["video=100x1316x475", "ticks=100x100x10000", "crowd=1000x1316x475", "small=1000x64x1000"])]
    pub(crate) scenario: Vec<String>,
    /// Servers, the first is what the others are compared with: floor, gateway, naive, websocat; the gateway with
    /// clients of wscast.v1: v1, and v1xSTREAMS with so many streams on each connection and the same load in all; gatewayxSTREAMS,
    /// raw clients with as many streams, each on a connection of its own; further words are arguments, as in "gateway --hold 0"
    #[arg(long, value_delimiter = ',', default_values = ["floor", "gateway", "naive", "websocat"])]
    pub(crate) server: Vec<String>,
    /// Write every run as a line of JSON to this file
    #[arg(long)]
    pub(crate) json: Option<PathBuf>,
}

#[derive(clap::Args)]
pub(crate) struct SweepArguments {
    /// The gateway's program
    #[arg(long)]
    pub(crate) gateway: PathBuf,
    /// Which sweeps: clients, streams, size, rate [default: all]
    #[arg(long, value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    /// Every other point, 1 run, 1 second
    #[arg(long)]
    pub(crate) quick: bool,
    /// Runs of each point [default: 3]
    #[arg(long)]
    pub(crate) runs: Option<usize>,
    /// Seconds of each run [default: 1.5]
    #[arg(long)]
    pub(crate) seconds: Option<f64>,
    /// Servers, as for `run`; other ones than the gateway are measured with one stream only
    #[arg(long, value_delimiter = ',', default_values = ["floor", "gateway"])]
    pub(crate) server: Vec<String>,
    /// Write every run as a line of JSON to this file
    #[arg(long)]
    pub(crate) json: PathBuf,
}

fn main() -> ExitCode {
    let done = match Arguments::parse().part {
        Part::Source(arguments) => source::run(&arguments),
        Part::Sink(arguments) => sink::run(&arguments),
        Part::Floor(arguments) if arguments.tls => floor_tls::run(&arguments),
        Part::Floor(arguments) => floor::run(&arguments),
        Part::Naive(arguments) => naive::run(&arguments),
        Part::Run(arguments) => run::run(&arguments),
        Part::Sweep(arguments) => sweep::run(&arguments),
        Part::Probe(arguments) => probe::run(&arguments),
        Part::Overload(arguments) => overload::run(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Nanoseconds since 1970: the same clock for all hosts of a lab.
pub(crate) fn clock() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

/// The group whose address is `number` after that of `first`.
pub(crate) fn nth_group(first: SocketAddr, number: usize) -> SocketAddr {
    let ip = match first.ip() {
        IpAddr::V4(four) => Ipv4Addr::from_bits(four.to_bits().wrapping_add(number as u32)).into(),
        IpAddr::V6(six) => Ipv6Addr::from_bits(six.to_bits().wrapping_add(number as u128)).into(),
    };
    SocketAddr::new(ip, first.port())
}
