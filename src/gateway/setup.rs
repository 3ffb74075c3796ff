//! From a configuration to what the gateway works by: what it names is read, its memory is reckoned up, its surprises are said.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;
use tracing::warn;

use crate::gateway::memory;
use crate::lan::interface::Interfaces;
use crate::model::config::Config;
use crate::model::quantity::format_size;
use crate::model::selector::InterfaceSelector;
use crate::sys::descriptors;
use crate::web::access::{Access, AccessError};
use crate::web::asset::Asset;
use crate::web::gate::Gate;
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

/// Bytes of a player's file; mpegts.js has 0.3 to 1 MB.
const PLAYER: u64 = 8 << 20;

/// Reads what `config` names, and says what may surprise. Nothing is in force yet.
///
/// # Errors
/// [`SetupError`].
pub(super) fn prepare(config: Config) -> Result<Setup, SetupError> {
    let player = config.player.as_deref().map(read_player).transpose()?;
    let gate = Gate { hosts: config.allow_host.clone(), origins: config.allow_origin.clone() };
    let access = Arc::new(Access::load(&config)?);
    let memory_bound = memory::bound(&config);
    Ok(Setup { config, gate, access, player, memory_bound })
}

/// Says what an operator of this configuration should know.
pub(super) fn describe(setup: &Setup) {
    warn_of(&setup.config);
    memory::describe(&setup.config, setup.memory_bound);
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

/// Descriptors that the limits allow for: a connection each, a socket for each stream and thread, and some of our own.
fn wanted_descriptors(config: &Config) -> u64 {
    let (limits, own) = (&config.limits, 64);
    let streams = u64::from(limits.streams.unwrap_or(0)) * config.threads.get() as u64;
    u64::from(limits.connections.unwrap_or(0)) + streams + own
}

/// Says what may surprise: lifted limits, interfaces that are not there yet.
fn warn_of(config: &Config) {
    if config.limits.is_unlimited() {
        warn!("limits are lifted with --limit: for laboratories and benchmarks, not for strangers");
    }
    match descriptors::raise_limit() {
        Ok(most) if most < wanted_descriptors(config) => warn!(
            "at most {most} files and sockets may be open, and the limits allow for {}: connections beyond wait to be \
             accepted; raise LimitNOFILE= of the service (or ulimit -n), or lower --limit connections",
            wanted_descriptors(config)
        ),
        Ok(_) => {}
        Err(error) => warn!(%error, "raising the limit of open files"),
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
