//! Flags of `wscast doctor`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::TrustArgs;
use crate::model::selector::InterfaceSelector;

/// Flags of `wscast doctor`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  wscast doctor
      Look at this host.
  wscast doctor 239.1.2.3:5000 --interface eth0
      Why does this group not arrive here?
  wscast doctor 10.0.0.5@232.1.2.3:5000 --gateway http://gateway.lan:8080
      And what does the gateway say?
  sudo wscast doctor 239.1.2.3:5000 --interface eth0 --listen 130
      Long enough to hear every querier there is.

Findings are faults (datagrams don't get through), warnings (works, and may not later) and notes.
The exit code is 1 where there is a fault, or with --strict a warning; 0 otherwise; 2 for usage.
What each finding means: docs/troubleshooting.md, by the same words.")]
pub struct DoctorArgs {
    /// Groups that should arrive, as GROUP:PORT or SOURCE@GROUP:PORT
    #[arg(value_name = "GROUP")]
    pub groups: Vec<String>,

    /// Interface to join on, or all [default: what the routing table names]
    #[arg(long, value_name = "NAME|ADDRESS|INDEX")]
    pub interface: Option<InterfaceSelector>,

    /// Listen so long, in seconds or with a unit; 0 looks only: it joins nothing and sends nothing
    #[arg(long, value_name = "DURATION", default_value = "3", value_parser = super::tools::parse_seconds)]
    pub listen: Duration,

    /// Take the interface, the receive buffer and the named streams of this configuration besides
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Ask a gateway too, as http://HOST:PORT or https://HOST
    #[arg(long, value_name = "URL")]
    pub gateway: Option<String>,

    /// Ask the gateway as a page of this origin would
    #[arg(long, value_name = "ORIGIN", requires = "gateway")]
    pub origin: Option<String>,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub trust: TrustArgs,

    /// Warnings make the exit code 1 too
    #[arg(long)]
    pub strict: bool,

    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}
