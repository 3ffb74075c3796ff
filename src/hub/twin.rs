//! Copies of one stream: where several shards serve clients, a stream that one of them starts runs on all.
//!
//! The shard that starts it opens every copy's membership at the same moment and hands it over; what comes meanwhile waits
//! in its socket. So a late joiner finds the same past wherever its connection is served.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::hub::key::StreamKey;
use crate::hub::quota::Place;
use crate::hub::run::Run;
use crate::lan::membership::OpenMembership;

/// A copy that waits for its shard to take it up.
#[derive(Debug)]
pub struct Twin {
    /// What it was joined for.
    pub key: StreamKey,
    /// What it has in common with the other copies.
    pub run: Arc<Run>,
    /// Its right to run.
    pub place: Place,
    /// Its membership; `None` where there is none yet, and its shard is to see to it.
    pub membership: Option<OpenMembership>,
}

/// The copies that wait for one shard: as many as streams may be joined, at most.
#[derive(Debug, Default)]
pub struct Nursery {
    waiting: Mutex<VecDeque<Twin>>,
    arrived: Notify,
}

impl Nursery {
    /// Leaves a copy for the shard.
    pub fn leave(&self, twin: Twin) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push_back(twin);
        self.arrived.notify_one();
    }

    /// The one that has waited longest.
    #[must_use]
    pub fn take(&self) -> Option<Twin> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    /// Waits until there may be one.
    pub async fn arrived(&self) {
        self.arrived.notified().await;
    }
}
