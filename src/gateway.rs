//! The gateway as a whole: listeners, one acceptor, shards; started by one call and stopped by another.

mod linking;
mod memory;
pub mod reload;
pub mod setup;
pub mod vitals;

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinSet, LocalSet};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::gateway::memory::Marks;
use crate::gateway::setup::SetupError;
use crate::gateway::vitals::Vitals;
use crate::hub::announcing;
use crate::hub::echo::Senders;
use crate::hub::hub::Hub;
use crate::hub::pressure::Pressure;
use crate::hub::quota::Quota;
use crate::hub::settings::{HubSettings, Tuning};
use crate::hub::twin::Nursery;
use crate::link::announcement::Announcement;
use crate::link::links::Links;
use crate::model::config::{Config, IoUring};
use crate::model::listener::Listener;
use crate::model::status::ConfigurationStatus;
use crate::sys::random;
use crate::sys::uring::SendRing;
use crate::web::acceptor::Acceptor;
use crate::web::admission::Admission;
use crate::web::answers::Answers;
use crate::web::asking::Callers;
use crate::web::facts::{Facts, ShardCommand};
use crate::web::heart::Pulse;
use crate::web::listening::{ListenError, Listening};
use crate::web::server::Server;
use crate::web::setup::Setup;
use crate::web::tls::{Tls, TlsError};

/// A running gateway.
pub struct Gateway {
    facts: Arc<Facts>,
    shards: Vec<Shard>,
    acceptor: JoinSet<()>,
    links: Option<Links>,
    announcement: Option<Announcement>,
    quota: Arc<Quota>,
    /// The configuration in force; held by the one reload that is under way.
    running: tokio::sync::Mutex<Config>,
    /// One for each listener.
    pulses: Vec<Pulse>,
    /// From where on memory is short.
    marks: Arc<Marks>,
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
    setup: Setup,
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
    /// What the configuration names could not be had.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// A shard's thread or runtime could not be had.
    #[error("starting a shard: {0}")]
    Shard(#[source] io::Error),
}

/// Commands that wait for a shard.
const COMMANDS: usize = 1024;
/// How long shutting down waits for conversations to end in order.
const STOPPING: Duration = Duration::from_secs(8);

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
        let setup = setup::prepare(config)?;
        let config = setup.config.clone();
        let pressure = Arc::new(Pressure::default());
        let marks = Marks::of(&setup);
        let facts = Arc::new(Facts {
            id: format!("{:016x}", random::number()),
            started: now,
            listen,
            io_uring: probe_io_uring(config.io_uring)?,
            sessions: AtomicU64::new(1),
            shards: OnceLock::new(),
            draining: CancellationToken::new(),
            admission: Admission::new(&config.limits, now),
            pressure: Arc::clone(&pressure),
            answers: Answers::default(),
            panics: AtomicU64::new(0),
            turned_away: Mutex::default(),
            announcements: Arc::default(),
            callers: Callers::default(),
            links: OnceLock::new(),
            configuration: Mutex::new(ConfigurationStatus {
                generation: 1,
                since: reload::unix_time(),
                ..ConfigurationStatus::default()
            }),
        });
        setup::describe(&setup);
        let quota = Quota::new(&config.limits, Arc::clone(&pressure), now);
        let common = Common {
            setup,
            facts: Arc::clone(&facts),
            quota: Arc::clone(&quota),
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
            shards: doors.collect(),
            tls: tls.clone(),
            trusted: config.trusted_proxies.clone(),
            greeting: config.limits.tls_time,
            refusals: Acceptor::refusals(),
        });
        let links = linking::start(&facts, &config).map_err(StartError::Shard)?;
        let announcement = linking::announce(&facts, &config);
        let (mut acceptor, mut pulses) = (JoinSet::new(), Vec::new());
        let (watched, draining) = (Arc::clone(&marks), facts.draining.clone());
        acceptor.spawn(async move {
            tokio::select! {
                () = memory::watch(&pressure, &watched) => {}
                () = draining.cancelled() => {}
            }
        });
        for listening in listeners {
            let (pulse, heart) = Pulse::new();
            pulses.push(pulse);
            let (door, draining) = (Arc::clone(&door), facts.draining.clone());
            acceptor.spawn(async move {
                tokio::select! {
                    () = door.run(listening, heart) => {}
                    () = draining.cancelled() => {}
                }
            });
        }
        let running = tokio::sync::Mutex::new(config);
        Ok(Gateway { facts, shards, acceptor, quota, running, pulses, links, announcement, marks, tls })
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

    /// What listeners that do speak TLS with.
    #[must_use]
    pub fn tls(&self) -> Option<&Tls> {
        self.tls.as_deref()
    }

    /// What asks whether it gets round.
    #[must_use]
    pub fn vitals(&self) -> Vitals {
        let shards = self.shards.iter().map(|shard| shard.commands.clone()).collect();
        Vitals { shards, listeners: self.pulses.clone() }
    }

    /// Stops: accepts nothing more, closes every conversation with 1001, leaves all groups. Takes 10 s at most.
    pub async fn shutdown(mut self) {
        self.facts.draining.cancel();
        // Nobody is to find what takes nobody; saying so waits for the network.
        if let Some(announcement) = self.announcement.take() {
            let _ = tokio::task::spawn_blocking(move || drop(announcement)).await;
        }
        while self.acceptor.join_next().await.is_some() {}
        if let Some(links) = self.links.take() {
            links.stop().await;
        }
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
        let Common { setup, facts, quota, nurseries, senders } = common;
        let (commands, received) = mpsc::channel(COMMANDS);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let settings = HubSettings {
            shard: number,
            nurseries,
            senders,
            io_uring: setup.config.io_uring,
            tuning: Tuning::of(&setup.config),
        };
        let thread = thread::Builder::new().name(format!("shard-{number}")).spawn(move || {
            let local = LocalSet::new();
            local.block_on(&runtime, async move {
                let hub = Hub::new(settings, quota);
                let following = tokio::task::spawn_local(std::rc::Rc::clone(&hub).follow_interfaces());
                let gathered = tokio::task::spawn_local(std::rc::Rc::clone(&hub).write_gathered());
                let taking_up = tokio::task::spawn_local(std::rc::Rc::clone(&hub).follow_twins());
                // One shard is enough: what it hears all know.
                let listening = (number == 0).then(|| {
                    let (interfaces, heard) =
                        (setup.config.announcements.clone(), Arc::clone(&facts.announcements));
                    tokio::task::spawn_local(announcing::listen(std::rc::Rc::clone(&hub), interfaces, heard))
                });
                Server::new(number, hub, setup, facts).run(received).await;
                if let Some(listening) = listening {
                    listening.abort();
                }
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
