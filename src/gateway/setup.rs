//! From a configuration to what the gateway works by: what it names is read, its memory is reckoned up, its surprises are said.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;
use tracing::{info, warn};

use crate::hub::depacketizer::Depacketizer;
use crate::hub::records::Records;
use crate::hub::settings::log_bounds;
use crate::lan::interface::Interfaces;
use crate::model::config::Config;
use crate::model::quantity::format_size;
use crate::model::selector::InterfaceSelector;
use crate::sys::batch::BATCH;
use crate::web::access::{Access, AccessError};
use crate::web::asset::Asset;
use crate::web::gate::Gate;
use crate::web::rest;
use crate::web::setup::Setup;

/// What a configuration names and the gateway can't have.
#[derive(Debug, Error)]
pub enum SetupError {
    /// The file of `--player` could not be had.
    #[error("reading the player {}: {reason}; give --player the file dist/mpegts.js of the npm package mpegts.js", .file.display())]
    Player {
        /// Which.
        file: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The keys of JWTs could not be had.
    #[error(transparent)]
    Access(#[from] AccessError),
}

/// Memory of a gateway without streams and clients, in bytes, besides its shards' buffers.
const BASE: u64 = 24 << 20;
/// Bytes of a player's file; mpegts.js has 0.3 to 1 MB.
const PLAYER: u64 = 8 << 20;
/// Memory of one client, in bytes.
const CLIENT: u64 = 16 << 10;

/// Reads what `config` names, and says what may surprise. Nothing is in force yet.
///
/// # Errors
/// [`SetupError`].
pub(super) fn prepare(config: Config) -> Result<Setup, SetupError> {
    let player = config.player.as_deref().map(read_player).transpose()?;
    let gate = Gate { hosts: config.allow_host.clone(), origins: config.allow_origin.clone() };
    let access = Arc::new(Access::load(&config)?);
    let memory_bound = memory_bound(&config);
    Ok(Setup { config, gate, access, player, memory_bound })
}

/// Says what an operator of this configuration should know.
pub(super) fn describe(setup: &Setup) {
    warn_of(&setup.config);
    describe_memory(&setup.config, setup.memory_bound);
}

/// The player's file, whole.
fn read_player(path: &Path) -> Result<Asset, SetupError> {
    let error = |reason: String| SetupError::Player { file: path.to_owned(), reason };
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(PLAYER + 1).read_to_end(&mut bytes))
        .map_err(|failed| error(failed.to_string()))?;
    if bytes.len() as u64 > PLAYER {
        return Err(error(format!("it has more than {}", format_size(PLAYER as usize))));
    }
    Ok(Asset::script(bytes))
}

/// The most memory that streams and clients may take; `None` where a limit that bounds it is lifted.
fn memory_bound(config: &Config) -> Option<u64> {
    let (streams, clients) = (config.limits.streams?, config.limits.connections?);
    let logs = u64::from(streams) * stream_memory(config);
    let shards = config.threads.get() as u64;
    let received = (BATCH * 65536) as u64;
    Some(shards * (logs + received) + rest::POOL as u64 + u64::from(clients) * CLIENT + BASE)
}

/// Each stream has a log of payloads, and one of records for clients of `wscast.v1`.
fn stream_memory(config: &Config) -> u64 {
    2 * log_bounds(&config.limits).memory() + Records::memory() + Depacketizer::memory()
}

fn describe_memory(config: &Config, bound: Option<u64>) {
    let log = stream_memory(config);
    let size = |bytes: u64| format_size(usize::try_from(bytes).unwrap_or(usize::MAX));
    match (bound, config.limits.streams, config.limits.connections) {
        (Some(bound), Some(streams), Some(clients)) => {
            let logs = config.threads.get() as u64 * u64::from(streams) * log;
            let base = bound - logs - u64::from(clients) * CLIENT;
            info!(
                bytes = bound,
                "memory bound: {streams} streams x {log} x {threads} threads + {clients} clients x {client} + {base} base = {bound}",
                log = size(log),
                threads = config.threads,
                client = size(CLIENT),
                base = size(base),
                bound = size(bound),
            );
        }
        _ => warn!(
            "no memory bound: limits are lifted; each stream may take {}, each client {}",
            size(log),
            size(CLIENT)
        ),
    }
}

/// Says what may surprise: lifted limits, interfaces that are not there yet.
fn warn_of(config: &Config) {
    if config.limits.is_unlimited() {
        warn!("limits are lifted with --limit: for laboratories and benchmarks, not for strangers");
    }
    let named = config.streams.values().filter_map(|stream| stream.interface.as_ref());
    let Ok(interfaces) = Interfaces::now() else { return };
    for selector in config.interface.iter().chain(named) {
        if *selector != InterfaceSelector::All && interfaces.find(selector).is_none() {
            warn!(
                "there is no interface {selector} yet; streams on it wait for it. There are: {}",
                interfaces.names()
            );
        }
    }
}
