//! Measures the gateway end to end, against a floor program and a naive relay. Start it with `netns-scripts/bench`.
//!
//! Each part is a subcommand of its own, so that it runs on its own host of the lab: `source` sends numbered and stamped
//! datagrams, `sink` is many WebSocket clients that check every number, `floor` and `naive` are the rivals, `run` puts
//! them together and prints the table.

mod floor;
mod measure;
mod naive;
mod run;
mod sink;
mod source;

use std::net::SocketAddr;
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
}

#[derive(clap::Args)]
pub(crate) struct SourceArguments {
    /// Interface to send on
    #[arg(long)]
    pub(crate) interface: String,
    /// Group to send to
    #[arg(long)]
    pub(crate) group: SocketAddr,
    /// Datagrams a second
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
    /// Path to open
    #[arg(long, default_value = "/")]
    pub(crate) path: String,
    /// Clients
    #[arg(long)]
    pub(crate) clients: usize,
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
}

#[derive(clap::Args)]
pub(crate) struct RunArguments {
    /// The gateway's program
    #[arg(long)]
    pub(crate) gateway: std::path::PathBuf,
    /// Runs of each server in each scenario, interleaved; the median is printed
    #[arg(long, default_value_t = 7)]
    pub(crate) runs: usize,
    /// Seconds of each run
    #[arg(long, default_value_t = 3.0)]
    pub(crate) seconds: f64,
    /// Scenarios: NAME=CLIENTSxSIZExRATE
    #[arg(long, default_values = ["video=100x1316x475", "ticks=100x100x10000", "crowd=1000x1316x475", "small=1000x64x1000"])]
    pub(crate) scenario: Vec<String>,
    /// Servers, the first is what the others are compared with
    #[arg(long, value_delimiter = ',', default_values = ["floor", "gateway", "naive"])]
    pub(crate) server: Vec<String>,
    /// Further arguments of `wscast serve`, in one word each
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) gateway_argument: Vec<String>,
    /// Write every run as a line of JSON to this file
    #[arg(long)]
    pub(crate) json: Option<std::path::PathBuf>,
}

fn main() -> ExitCode {
    let done = match Arguments::parse().part {
        Part::Source(arguments) => source::run(&arguments),
        Part::Sink(arguments) => sink::run(&arguments),
        Part::Floor(arguments) => floor::run(&arguments),
        Part::Naive(arguments) => naive::run(&arguments),
        Part::Run(arguments) => run::run(&arguments),
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
