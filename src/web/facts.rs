//! What the gateway as a whole knows, and what its shards are asked for.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::hub::pressure::Pressure;
use crate::link::links::Door;
use crate::model::announcement::Announcements;
use crate::model::listener::Listener;
use crate::model::status::{ConfigurationStatus, Status};
use crate::web::admission::{Admission, Admitted};
use crate::web::answers::Answers;
use crate::web::arrival::{Arrival, Detached};
use crate::web::asking::Callers;
use crate::web::setup::Setup;

/// What the gateway as a whole knows, shared by its shards.
#[derive(Debug)]
pub struct Facts {
    /// A random name of this run.
    pub id: String,
    /// When it started.
    pub started: Instant,
    /// Where it listens.
    pub listen: Vec<Listener>,
    /// Whether sends are batched through io_uring, in words.
    pub io_uring: String,
    /// Whether memory is short.
    pub pressure: Arc<Pressure>,
    /// Room for answers that are made for one client.
    pub answers: Answers,
    /// Panics that were contained.
    pub panics: AtomicU64,
    /// Numbers of sessions.
    pub sessions: AtomicU64,
    /// Set once: the way to every shard.
    pub shards: OnceLock<Vec<mpsc::Sender<ShardCommand>>>,
    /// Cancelled when the gateway begins to stop.
    pub draining: CancellationToken,
    /// Who may connect, and how many do.
    pub admission: Arc<Admission>,
    /// What is known of those who came.
    pub callers: Callers,
    /// Connections turned away before they asked for anything, by the status of the refusal.
    pub turned_away: Mutex<BTreeMap<u16, u64>>,
    /// What was announced on the LAN.
    pub announcements: Arc<Mutex<Announcements>>,
    /// Which configuration is in force.
    pub configuration: Mutex<ConfigurationStatus>,
    /// The way to the links, where there may be some.
    pub links: OnceLock<Door>,
}

impl Facts {
    /// Which configuration is in force.
    #[must_use]
    pub fn configuration(&self) -> ConfigurationStatus {
        self.configuration.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What a shard is asked for.
#[derive(Debug)]
pub enum ShardCommand {
    /// To serve a connection.
    Serve(Detached, Box<Arrival>, Admitted),
    /// To say what it knows.
    Status(oneshot::Sender<Status>),
    /// To work by another configuration from now on, and to say how many conversations it ended.
    Apply(Arc<Setup>, oneshot::Sender<usize>),
    /// To answer, as a sign that it gets round.
    Pulse(oneshot::Sender<()>),
    /// To end all conversations and leave all groups, and to answer then.
    Stop(oneshot::Sender<()>),
}

impl Facts {
    /// What is announced now.
    pub fn announced(&self) -> MutexGuard<'_, Announcements> {
        self.announcements.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
