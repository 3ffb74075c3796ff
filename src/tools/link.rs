//! `wscast link`: mirrors groups between this machine's network and that of a gateway, without a gateway here.

use std::io::{self, Write as _};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tracing::info;

use crate::cli::LinkArgs;
use crate::link::Rules;
use crate::link::links::Links;
use crate::link::neighbour;
use crate::model::config::LogLevel;
use crate::model::link::{Credentials, LinkConfig, Mirrored};
use crate::model::policy::{Policy, ReceiveRule};
use crate::model::selector::InterfaceSelector;
use crate::model::setting::RECEIVE_BUFFER;
use crate::sys::random;
use crate::tools::failure::Failure;
use crate::tools::trust::token;
use crate::tools::{log, serve};

/// Bytes of receive buffer to ask for.
const BUFFER: usize = 4 << 20;
const _: () = assert!(BUFFER >= *RECEIVE_BUFFER.start());

/// How long a search listens; responders answer within half a second, and a lost answer comes again a second later.
const SEARCH: Duration = Duration::from_secs(3);

/// Runs until SIGINT or SIGTERM.
///
/// # Errors
/// [`Failure`].
pub fn run(arguments: LinkArgs) -> Result<(), Failure> {
    let LinkArgs {
        url,
        groups,
        discover,
        direction,
        interface,
        remote_interface,
        ttl,
        rate,
        trust,
        log_format,
    } = arguments;
    if interface == Some(InterfaceSelector::All) {
        return Err(Failure::Usage(
            "a group is mirrored on one interface: name it, all is for receiving".to_owned(),
        ));
    }
    // The command line asks for one of the two.
    let url = match url {
        Some(url) if !discover => url,
        _ => return neighbours(interface.as_ref()),
    };
    let mirrored = |one: Mirrored| Mirrored {
        direction,
        interface: interface.clone(),
        remote_interface: remote_interface.clone(),
        ttl,
        rate,
        ..one
    };
    let name = LinkConfig::name_of(&url);
    let config = LinkConfig {
        name,
        credentials: Credentials {
            token: token(&url, &trust)?,
            token_file: trust.token_file,
            ca: trust.ca,
            client_cert: trust.client_cert,
            client_key: trust.client_key,
        },
        url,
        groups: groups.into_iter().map(mirrored).collect(),
    };
    config.check().map_err(|error| Failure::Usage(error.to_string()))?;
    log::start(log_format.unwrap_or_default(), LogLevel::Info);
    serve::block_on(link(config))
}

/// Prints the gateways that announce themselves, as lines to be pasted into a configuration file.
fn neighbours(interface: Option<&InterfaceSelector>) -> Result<(), Failure> {
    let found = neighbour::find(interface, SEARCH)
        .map_err(|error| Failure::Running(format!("looking for gateways by mDNS: {error}")))?;
    if found.is_empty() {
        return Err(Failure::Running(format!(
            "no gateway answered within {SEARCH:?}: start one with --announce on this LAN, let UDP port 5353 through the \
             firewalls, and name the interface with --interface"
        )));
    }
    let lines: Vec<String> = found.iter().map(|neighbour| neighbour.lines(interface)).collect();
    let printed = writeln!(io::stdout(), "{}", lines.join("\n").trim_end());
    printed.map_err(|error| Failure::doing("writing what was found", &error))
}

async fn link(config: LinkConfig) -> Result<(), Failure> {
    let handler = |kind| signal(kind).map_err(|error| Failure::doing("waiting for signals", &error));
    let (mut interrupt, mut terminate) =
        (handler(SignalKind::interrupt())?, handler(SignalKind::terminate())?);
    // Nobody links to this process.
    let policy = Policy::new(ReceiveRule::Listed(Vec::new()), Vec::new());
    let rules = Rules { policy, max_ttl: 1, interface: None, receive_buffer: BUFFER };
    let links = Links::start(random::number(), rules, vec![config])
        .map_err(|error| Failure::doing("starting the link's thread", &error))?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    info!("stopping: leaving groups and closing the link");
    links.stop().await;
    Ok(())
}
