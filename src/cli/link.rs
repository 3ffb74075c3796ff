//! What can be typed about links to other gateways.

// The doc comments here are the help text: a terminal shows no links.
#![allow(rustdoc::bare_urls, rustdoc::broken_intra_doc_links)]

use clap::Args;
use clap::builder::BoolishValueParser;

use super::TrustArgs;
use crate::model::config::LogFormat;
use crate::model::link::{DEFAULT_RATE, Direction, Mirrored, parse_mirrored, parse_rate, parse_ttl};
use crate::model::selector::InterfaceSelector;

/// What `wscast serve` says of links.
#[derive(Clone, Debug, Args)]
pub struct AcceptArgs {
    /// Let other gateways mirror what clients may receive and send (docs/links.md)
    #[arg(
        long,
        value_name = "BOOL",
        env = "WSCAST_ACCEPT_LINKS",
        num_args = 0..=1,
        default_missing_value = "true",
        value_parser = BoolishValueParser::new()
    )]
    pub accept_links: Option<bool>,

    /// Announce this gateway to the local network by mDNS, as _wscast._tcp, so that its neighbours find it
    #[arg(
        long,
        value_name = "BOOL",
        env = "WSCAST_ANNOUNCE",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        hide_possible_values = true,
        value_parser = BoolishValueParser::new()
    )]
    pub announce: Option<bool>,
}

/// Flags of `wscast link`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  wscast link ws://gateway.lan:8080 239.1.2.3:5000
      Mirror one group both ways. The gateway was started with --accept-links and lets clients receive and send it.
  wscast link wss://gateway.example:8443 239.1.2.3:5000=239.9.9.9:5000 --direction pull --interface eth0 --ttl 4
      Send its 239.9.9.9:5000 as 239.1.2.3:5000 on eth0, for four hops.
  wscast link --discover --interface eth0
      Find the gateways that were started with --announce on this LAN, and print what links to them.
It runs until it is stopped, and comes back whenever the connection is lost.")]
pub struct LinkArgs {
    /// The gateway's ws:// or wss:// URL
    #[arg(required_unless_present = "discover")]
    pub url: Option<String>,

    /// GROUP:PORT, or GROUP:PORT=GROUP:PORT for another group on the gateway's side; repeatable
    #[arg(required_unless_present = "discover", value_name = "GROUP:PORT[=GROUP:PORT]", value_parser = parse_mirrored)]
    pub groups: Vec<Mirrored>,

    /// Link nothing: print the gateways that announce themselves here, as lines for a configuration file
    #[arg(long, conflicts_with_all = ["url", "groups"])]
    pub discover: bool,

    /// pull (from there to here), push (from here to there) or both
    #[arg(long, value_name = "pull|push|both", default_value_t = Direction::Both)]
    pub direction: Direction,

    /// Interface here [default: what the routing table names]
    #[arg(long, value_name = "NAME|ADDRESS|INDEX")]
    pub interface: Option<InterfaceSelector>,

    /// Interface of the gateway [default: its own default]
    #[arg(long, value_name = "NAME|ADDRESS|INDEX")]
    pub remote_interface: Option<InterfaceSelector>,

    /// TTL with which it is sent anew, on both sides
    #[arg(long, value_name = "1-255", default_value = "1", value_parser = parse_ttl)]
    pub ttl: u8,

    /// What may pass each way, for each group, as 20Mbit/s
    #[arg(long, value_name = "RATE", default_value_t = DEFAULT_RATE, value_parser = parse_rate)]
    pub rate: u64,

    /// Whom to trust, and who to be.
    #[command(flatten)]
    pub trust: TrustArgs,

    /// How log lines look [default: text]
    #[arg(long, value_name = "text|json", env = "WSCAST_LOG_FORMAT")]
    pub log_format: Option<LogFormat>,
}
