//! The gateway as a whole: listeners, one acceptor, shards; started by one call and stopped by another.

mod memory;

use std::fs::File;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinSet, LocalSet};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::hub::echo::Senders;
use crate::hub::hub::Hub;
use crate::hub::pressure::Pressure;
use crate::hub::quota::Quota;
use crate::hub::settings::HubSettings;
use crate::hub::twin::Nursery;
use crate::lan::interface::Interfaces;
use crate::model::config::{Config, IoUring};
use crate::model::listener::Listener;
use crate::model::quantity::format_size;
use crate::model::selector::InterfaceSelector;
use crate::sys::descriptors;
use crate::sys::random;
use crate::sys::uring::SendRing;
use crate::web::acceptor::Acceptor;
use crate::web::admission::Admission;
use crate::web::answers::Answers;
use crate::web::asset::Asset;
use crate::web::listening::{ListenError, Listening};
use crate::web::server::{Facts, Server, ShardCommand};
use crate::web::tls::{Tls, TlsError};

/// A running gateway.
pub struct Gateway {
    facts: Arc<Facts>,
    shards: Vec<Shard>,
    acceptor: JoinSet<()>,
    tls: Option<Arc<Tls>>,
}

struct Shard {
    commands: mpsc::Sender<ShardCommand>,
    connections: Arc<AtomicUsize>,
    thread: thread::JoinHandle<()>,
}

/// What the shards have in common, none of it on the data path.
#[derive(Clone)]
struct Common {
    config: Arc<Config>,
    facts: Arc<Facts>,
    quota: Arc<Quota>,
    nurseries: Arc<[Nursery]>,
    senders: Arc<Senders>,
}

/// Why the gateway did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// A listener could not be had.
    #[error(transparent)]
    Bind(#[from] ListenError),
    /// TLS could not be had: its files, mostly.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// `io-uring = on`, and the kernel has none for us.
    #[error("opening an io_uring: {0}; the kernel or the container forbids it: leave --io-uring at auto")]
    IoUring(#[source] io::Error),
    /// The file of `--player` could not be had.
    #[error("reading the player {}: {reason}; give --player the file dist/mpegts.js of the npm package mpegts.js", .file.display())]
    Player {
        /// Which.
        file: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A shard's thread or runtime could not be had.
    #[error("starting a shard: {0}")]
    Shard(#[source] io::Error),
}

/// Commands that wait for a shard.
const COMMANDS: usize = 1024;
/// How long shutting down waits for conversations to end in order.
const STOPPING: Duration = Duration::from_secs(8);
/// Bytes of a player's file; mpegts.js has 0.3 to 1 MB.
const PLAYER: u64 = 8 << 20;

impl Gateway {
    /// Starts a gateway, inside a tokio runtime, which accepts its connections; the shards bring threads of their own.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let now = Instant::now();
        let tls = config.tls.as_ref().map(Tls::new).transpose()?.map(Arc::new);
        let listeners: Vec<Listening> =
            config.listen.iter().cloned().map(Listening::open).collect::<Result<_, _>>()?;
        let listen = listeners.iter().map(|listening| listening.listener.clone()).collect();
        let bound = memory::bound(&config);
        let pressure = Arc::new(Pressure::default());
        let admission = Admission::new(&config.limits, now);
        let facts = Arc::new(Facts {
            id: format!("{:016x}", random::number()),
            started: now,
            listen,
            io_uring: probe_io_uring(config.io_uring)?,
            memory_bound: bound,
            pressure: Arc::clone(&pressure),
            admission: Arc::clone(&admission),
            answers: Answers::default(),
            panics: AtomicU64::new(0),
            sessions: AtomicU64::new(1),
            shards: OnceLock::new(),
            draining: CancellationToken::new(),
            turned_away: Mutex::default(),
            player: config.player.as_deref().map(read_player).transpose()?,
        });
        warn_of(&config);
        memory::describe(&config, bound);
        let watch = memory::Watch::new(&config, bound, Arc::clone(&pressure));
        let config = Arc::new(config);
        let common = Common {
            config: Arc::clone(&config),
            facts: Arc::clone(&facts),
            quota: Quota::new(&config.limits, pressure, now),
            nurseries: (0..config.threads.get()).map(|_| Nursery::default()).collect(),
            senders: Arc::default(),
        };
        let shards = (0..config.threads.get())
            .map(|number| Shard::start(number, common.clone()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(StartError::Shard)?;
        let ways = shards.iter().map(|shard| shard.commands.clone()).collect();
        // Set here only, before anybody can connect.
        let _ = facts.shards.set(ways);
        let doors = shards.iter().map(|shard| (shard.commands.clone(), Arc::clone(&shard.connections)));
        let door = Arc::new(Acceptor {
            facts: Arc::clone(&facts),
            admission,
            shards: doors.collect(),
            tls: tls.clone(),
            trusted: config.trusted_proxies.clone(),
            greeting: config.limits.tls_time,
            refusals: Acceptor::refusals(),
        });
        let mut acceptor = JoinSet::new();
        if let Some(watch) = watch {
            let draining = facts.draining.clone();
            acceptor.spawn(async move {
                tokio::select! {
                    () = watch.run() => {}
                    () = draining.cancelled() => {}
                }
            });
        }
        for listening in listeners {
            let (door, draining) = (Arc::clone(&door), facts.draining.clone());
            acceptor.spawn(async move {
                tokio::select! {
                    () = door.run(listening) => {}
                    () = draining.cancelled() => {}
                }
            });
        }
        Ok(Gateway { facts, shards, acceptor, tls })
    }

    /// Where it listens; a port 0 in the configuration has become a real one.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.facts.listen.iter().filter_map(|listener| listener.at.tcp()).collect()
    }

    /// Its listeners, as [`Gateway::addresses`], with what is spoken there; unix sockets too.
    #[must_use]
    pub fn listeners(&self) -> &[Listener] {
        &self.facts.listen
    }

    /// What listeners that do speak TLS with; where [`Tls::reload`] reads the certificates again.
    #[must_use]
    pub fn tls(&self) -> Option<&Tls> {
        self.tls.as_deref()
    }

    /// Stops: accepts nothing more, closes every conversation with 1001, leaves all groups. Takes 10 s at most.
    pub async fn shutdown(mut self) {
        self.facts.draining.cancel();
        while self.acceptor.join_next().await.is_some() {}
        let mut stopped = Vec::new();
        for shard in &self.shards {
            let (answer, ended) = oneshot::channel();
            if shard.commands.send(ShardCommand::Stop(answer)).await.is_ok() {
                stopped.push(ended);
            }
        }
        let all = async {
            for ended in stopped {
                let _ = ended.await;
            }
        };
        if tokio::time::timeout(STOPPING, all).await.is_err() {
            warn!("some conversations did not end in time and are cut off");
            return;
        }
        for shard in self.shards {
            if shard.thread.join().is_err() {
                error!("a shard ended in a panic");
            }
        }
    }
}

impl Shard {
    fn start(number: usize, common: Common) -> io::Result<Self> {
        let Common { config, facts, quota, nurseries, senders } = common;
        let (commands, received) = mpsc::channel(COMMANDS);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let settings = HubSettings {
            shard: number,
            nurseries,
            senders,
            receive_buffer: config.receive_buffer,
            hold: config.hold,
            io_uring: config.io_uring,
            linger: config.linger,
            limits: config.limits.clone(),
        };
        let thread = thread::Builder::new().name(format!("shard-{number}")).spawn(move || {
            let local = LocalSet::new();
            local.block_on(&runtime, async move {
                let hub = Hub::new(settings, quota);
                let following = tokio::task::spawn_local(std::rc::Rc::clone(&hub).follow_interfaces());
                let gathered = tokio::task::spawn_local(std::rc::Rc::clone(&hub).write_gathered());
                let taking_up = tokio::task::spawn_local(std::rc::Rc::clone(&hub).follow_twins());
                Server::new(number, hub, config, facts).run(received).await;
                gathered.abort();
                following.abort();
                taking_up.abort();
            });
        })?;
        Ok(Shard { commands, connections: Arc::default(), thread })
    }
}

/// Tries whether io_uring can be had; what the status says of it.
fn probe_io_uring(wanted: IoUring) -> Result<String, StartError> {
    if wanted == IoUring::Off {
        return Ok("off: not wanted (--io-uring)".to_owned());
    }
    match SendRing::open() {
        Ok(_) => Ok("on".to_owned()),
        Err(error) if wanted == IoUring::On => Err(StartError::IoUring(error)),
        Err(error) => {
            info!(%error, "no io_uring here: clients are written to one by one");
            Ok(format!("off: {error}"))
        }
    }
}

/// The player's file, whole.
fn read_player(path: &Path) -> Result<Asset, StartError> {
    let error = |reason: String| StartError::Player { file: path.to_owned(), reason };
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
