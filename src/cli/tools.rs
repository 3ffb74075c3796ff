//! What can be typed behind `wscast listen` and `wscast send`.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::cli::trust::TrustArgs;
use crate::model::group::{Group, GroupError};
use crate::model::quantity::{parse_duration, parse_size};
use crate::model::selector::InterfaceSelector;
use crate::model::source::parse_source;

/// Flags of `wscast listen`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  wscast listen 239.1.2.3:5000
  wscast listen 239.1.2.3:5000 --raw | ffplay -
  wscast listen 10.0.0.5@232.1.2.3:5000 --interface eth0 --count 10 --hex
  wscast listen wss://gateway.lan/streams/camera --token-file token
  wscast listen ws://gateway.lan:8080/udp/239.1.2.3:5000 --raw > recording.ts
      Over wscast.v1: tells what is lost, and comes back when the connection is lost.")]
pub struct ListenArgs {
    /// GROUP:PORT, SOURCE@GROUP:PORT or a gateway's ws:// or wss:// URL
    pub target: String,

    /// Interface to join on, or all [default: what the routing table names]
    #[arg(long, value_name = "NAME|ADDRESS|INDEX")]
    pub interface: Option<InterfaceSelector>,

    /// Hear only this sender, as SOURCE@GROUP:PORT does; repeatable
    #[arg(long, value_name = "IP", value_parser = parse_source, conflicts_with = "exclude")]
    pub source: Vec<IpAddr>,

    /// Don't hear this sender; repeatable
    #[arg(long, value_name = "IP", value_parser = parse_source)]
    pub exclude: Vec<IpAddr>,

    /// Stop after so many datagrams
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,

    /// Stop after this time, in seconds or with a unit, as 5 or 500ms
    #[arg(long, value_name = "DURATION", value_parser = parse_seconds)]
    pub seconds: Option<Duration>,

    /// Print each payload as a hex dump
    #[arg(long, group = "output")]
    pub hex: bool,

    /// Write the payloads to standard output as they are, one after the other
    #[arg(long, group = "output")]
    pub raw: bool,

    /// Print one JSON object a datagram; the last line on standard error is the summary as one
    #[arg(long, group = "output")]
    pub json: bool,

    /// Hear a gateway's URL as players do: payloads alone, and the end of the connection is the end
    #[arg(long)]
    pub no_v1: bool,

    /// Print no datagrams and no join, only the summary at the end (with --json as JSON)
    #[arg(long, conflicts_with_all = ["hex", "raw"])]
    pub quiet: bool,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub trust: TrustArgs,
}

/// Flags of `wscast send`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  echo hello | wscast send 239.1.2.3:5000 --line
  wscast send 239.1.2.3:5000 --count 1000 --rate 100 --size 1316 --number
  wscast send ws://gateway.lan:8080/udp/239.1.2.3:5000 --line
  wscast send 239.1.2.3:5000 --interface eth0 --ttl 4 --size 1316 --rate 500 recording.ts")]
pub struct SendArgs {
    /// GROUP:PORT, or a gateway's ws[s]://HOST:PORT/udp/GROUP:PORT or /streams/NAME to send through it
    #[arg(value_parser = parse_send_target)]
    pub target: SendTarget,

    /// File to send, - for standard input [default: made-up datagrams, or with --line standard input]
    pub file: Option<PathBuf>,

    /// Interface to send on [default: what the routing table names]
    #[arg(long, value_name = "NAME|ADDRESS|INDEX")]
    pub interface: Option<InterfaceSelector>,

    /// How many routers the datagrams may pass, plus one: 1 stays on the link
    #[arg(long, value_name = "1-255", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..))]
    pub ttl: u8,

    /// Programs on this machine don't hear what is sent
    #[arg(long)]
    pub no_loop: bool,

    /// Datagrams per second, fractions allowed [default: as fast as they go]
    #[arg(long, value_name = "N", value_parser = parse_rate, conflicts_with = "interval")]
    pub rate: Option<f64>,

    /// Stop after so many datagrams [default: the whole input, or 1 made-up datagram]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,

    /// Bytes of payload in each datagram, 0 to 65507 [default: 1316 of input, 100 made up]
    #[arg(long, value_name = "BYTES", value_parser = parse_datagram_size, conflicts_with = "line")]
    pub size: Option<usize>,

    /// Time from one datagram to the next, as 20ms
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub interval: Option<Duration>,

    /// Begin each datagram with its number from 0, in decimal, and a space: listen counts what is lost
    #[arg(long)]
    pub number: bool,

    /// One datagram for each line of the input
    #[arg(long)]
    pub line: bool,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub trust: TrustArgs,
}

/// Where `wscast send` sends to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SendTarget {
    /// A group, from here.
    Group(Group),
    /// A group through a gateway, by URL.
    Gateway(String),
}

fn parse_send_target(text: &str) -> Result<SendTarget, String> {
    if text.contains("://") {
        return Ok(SendTarget::Gateway(text.to_owned()));
    }
    text.parse().map(SendTarget::Group).map_err(|error: GroupError| error.to_string())
}

/// A duration where a bare number means seconds.
pub(super) fn parse_seconds(text: &str) -> Result<Duration, String> {
    parse_duration(&format!("{text}s")).or_else(|_| parse_duration(text)).map_err(|error| error.to_string())
}

fn parse_rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate: &f64| rate.is_finite() && *rate > 0.0);
    rate.ok_or_else(|| "a rate is datagrams per second, more than 0, as 100 or 0.5".to_owned())
}

fn parse_datagram_size(text: &str) -> Result<usize, String> {
    let size = parse_size(text).map_err(|error| error.to_string())?;
    if size <= 65507 { Ok(size) } else { Err("a UDP datagram over IPv4 carries 0 to 65507 bytes".to_owned()) }
}
