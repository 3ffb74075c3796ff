//! What a hub and its streams are set up with.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::hub::cursor::LagBounds;
use crate::hub::depacketizer::Patience;
use crate::hub::echo::{Echoes, Senders};
use crate::hub::flushes::Flushes;
use crate::hub::gathering::Gathering;
use crate::hub::log::LogBounds;
use crate::hub::twin::Nursery;
use crate::model::config::Config;
use crate::model::limits::Limits;
use crate::model::setting::IoUring;
use crate::sys::batch::ReceiveBatch;
use crate::sys::uring::SendRing;

/// What a hub is made from.
#[derive(Clone, Debug)]
pub struct HubSettings {
    /// The shard's number.
    pub shard: usize,
    /// Where copies of streams wait for their shards, in the order of the shards.
    pub nurseries: Arc<[Nursery]>,
    /// The senders of all shards.
    pub senders: Arc<Senders>,
    /// Whether sends are batched through io_uring.
    pub io_uring: IoUring,
    /// What may change while it runs.
    pub tuning: Tuning,
}

/// What a hub takes over from another configuration while it runs.
#[derive(Clone, Debug)]
pub struct Tuning {
    /// Receive buffer to ask for on each stream's socket, in bytes.
    pub receive_buffer: usize,
    /// Time from one flush of a stream to the next at least; `None` for the adaptive one.
    pub hold: Option<Duration>,
    /// How long a stream stays joined after its last subscriber left.
    pub linger: Duration,
    /// Bounds of logs, lag, replay and sends.
    pub limits: Limits,
}

impl Tuning {
    /// What a configuration says of it.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        Tuning {
            receive_buffer: config.receive_buffer,
            hold: config.hold,
            linger: config.linger,
            limits: config.limits.clone(),
        }
    }

    /// The log serves both those who lag and those who join late.
    #[must_use]
    pub fn log_bounds(&self) -> LogBounds {
        log_bounds(&self.limits)
    }

    /// How far a client may lag.
    #[must_use]
    pub fn lag_bounds(&self) -> LagBounds {
        let limits = &self.limits;
        LagBounds {
            bytes: limits.lag_bytes as u64,
            datagrams: limits.lag_datagrams as u64,
            age: limits.lag_age,
        }
    }
}

/// The log serves both those who lag and those who join late.
#[must_use]
pub fn log_bounds(limits: &Limits) -> LogBounds {
    LogBounds {
        bytes: limits.lag_bytes.max(limits.replay_bytes),
        datagrams: limits.lag_datagrams,
        age: limits.lag_age.max(limits.replay_age),
    }
}

/// What a stream needs of its surroundings.
#[derive(Clone)]
pub struct StreamSettings {
    /// Bounds of the log.
    pub log: LogBounds,
    /// How long packets of an RTP stream wait for others.
    pub patience: Patience,
    /// Receive buffer to ask the kernel for, in bytes.
    pub receive_buffer: usize,
    /// Time from one flush to the next at least; `None` for the adaptive one.
    pub hold: Option<Duration>,
    /// The shard's ring, where it has one.
    pub ring: Option<Rc<RefCell<SendRing>>>,
    /// The shard's clients with several streams.
    pub gathering: Rc<Gathering>,
    /// The shard's measurements of its flushes.
    pub flushes: Rc<Flushes>,
    /// Start of the shard's clock.
    pub epoch: Instant,
    /// Recognises what senders of the gateway sent.
    pub echoes: Rc<Echoes>,
    /// The shard's receive buffers.
    pub batch: Rc<RefCell<ReceiveBatch>>,
    /// The shard's number.
    pub shard: usize,
}
