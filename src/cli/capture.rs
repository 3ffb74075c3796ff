//! Flags of `wscast record` and `wscast replay`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::tools::parse_seconds;
use crate::model::group::Group;
use crate::model::policy::Spec;
use crate::model::selector::InterfaceSelector;

/// Flags of `wscast record`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  wscast record 239.1.2.3:5000 -o camera.pcapng
  wscast record 239.1.2.3:5000 10.0.0.5@232.1.2.3:5004 --interface eth0 --duration 30s -o two.pcapng
  wscast record 239.1.2.3:5000 -o - | wireshark -k -i -")]
pub struct RecordArgs {
    /// Groups to record, as GROUP:PORT or SOURCE@GROUP:PORT
    #[arg(required = true, value_name = "GROUP:PORT")]
    pub groups: Vec<String>,

    /// File to write (pcapng), - for standard output; one that is there is replaced
    #[arg(long, short, value_name = "FILE")]
    pub output: PathBuf,

    /// Interface to join on, or all [default: what the routing table names]
    #[arg(long, value_name = "NAME|ADDRESS|INDEX")]
    pub interface: Option<InterfaceSelector>,

    /// Stop after this time, in seconds or with a unit, as 5 or 500ms
    #[arg(long, value_name = "DURATION", value_parser = parse_seconds)]
    pub duration: Option<Duration>,

    /// Stop after so many datagrams
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
}

/// Flags of `wscast replay`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  wscast replay camera.pcapng --interface eth0
  wscast replay wireshark.pcap --only 239.1.0.0/16 --speed 2
  wscast replay phone.pcapng --to 239.9.9.9:5000 --repeat
      Everything in the file that is UDP, to one group, until interrupted.")]
pub struct ReplayArgs {
    /// Capture to send: pcapng or pcap, as Wireshark, tcpdump and wscast record write them
    pub file: PathBuf,

    /// Interface to send on [default: what the routing table names]
    #[arg(long, value_name = "NAME|ADDRESS|INDEX")]
    pub interface: Option<InterfaceSelector>,

    /// How many times as fast as it was recorded: 2, 0.5; max for as fast as it goes
    #[arg(long, value_name = "FACTOR|max", default_value = "1", value_parser = parse_speed)]
    pub speed: Speed,

    /// Send only these groups of the file, as 239.0.0.0/8 or 239.1.2.3:5000; repeatable
    #[arg(long, value_name = "SPEC", value_delimiter = ',')]
    pub only: Vec<Spec>,

    /// Send everything to this group instead of where it went, what was unicast too
    #[arg(long, value_name = "GROUP:PORT")]
    pub to: Option<Group>,

    /// How many routers the datagrams may pass, plus one: 1 stays on the link, whatever the capture says
    #[arg(long, value_name = "1-255", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..))]
    pub ttl: u8,

    /// Programs on this machine don't hear what is sent
    #[arg(long)]
    pub no_loop: bool,

    /// Begin again at the end of the file, until interrupted
    #[arg(long)]
    pub repeat: bool,

    /// Stop after so many datagrams
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
}

/// How fast a capture is sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speed {
    /// So many times as fast as it was recorded.
    Times(f64),
    /// As fast as it goes.
    Max,
}

fn parse_speed(text: &str) -> Result<Speed, String> {
    if text == "max" {
        return Ok(Speed::Max);
    }
    let factor = text.parse().ok().filter(|factor| (0.001..=1000.0).contains(factor));
    factor.map(Speed::Times).ok_or_else(|| "a speed is 0.001 to 1000, or max".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds_are_factors_within_reason() {
        assert_eq!(parse_speed("0.5"), Ok(Speed::Times(0.5)));
        assert_eq!(parse_speed("max"), Ok(Speed::Max));
        for bad in ["0", "-1", "NaN", "inf", "fast", "1e9"] {
            assert!(parse_speed(bad).is_err(), "{bad}");
        }
    }
}
