//! What all shards together may join: so many streams at once, so many joins a second.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::hub::budget::SharedBudget;
use crate::hub::key::StreamKey;
use crate::hub::pressure::Pressure;
use crate::model::bucket::TokenBucket;
use crate::model::group::Group;
use crate::model::limits::Limits;

/// Counts streams over all shards; asked when one is joined, never on the data path.
#[derive(Debug)]
pub struct Quota {
    subscriptions: AtomicU32,
    pressure: Arc<Pressure>,
    joined: Mutex<Joined>,
    numbers: AtomicU32,
    groups: Mutex<Groups>,
    /// Sends of the whole gateway, in datagrams.
    pub send_rate: Arc<SharedBudget>,
    /// Sends of the whole gateway, in bits.
    pub send_bandwidth: Arc<SharedBudget>,
}

/// What may be sent to each group.
#[derive(Debug)]
struct Groups {
    rate: Option<u32>,
    budgets: HashMap<Group, Arc<SharedBudget>>,
}

#[derive(Debug)]
struct Joined {
    /// The most streams, where there is a bound.
    most: Option<u32>,
    /// The most subscriptions, where there is a bound.
    most_subscriptions: Option<u32>,
    /// How many shards run the stream.
    shards: HashMap<StreamKey, u32>,
    rate: Option<TokenBucket>,
}

/// Why a stream may not be joined now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverQuota {
    /// That many are joined already.
    Streams(u32),
    /// Too many joins in the last second.
    Rate,
    /// There are that many subscriptions already.
    Subscriptions(u32),
    /// Memory is short.
    Memory,
}

/// The right to run one stream on one shard; given back when dropped.
#[derive(Debug)]
pub struct Place {
    quota: Arc<Quota>,
    key: StreamKey,
}

impl Quota {
    /// Under `pressure` nothing is joined. From the limits `streams`, `subscriptions`, `join-rate`, `send-rate-per-group`, `send-rate` and `send-bandwidth`.
    #[must_use]
    pub fn new(limits: &Limits, pressure: Arc<Pressure>, now: Instant) -> Arc<Self> {
        let joined = Joined {
            most: limits.streams,
            most_subscriptions: limits.subscriptions,
            shards: HashMap::new(),
            rate: join_rate(limits, now),
        };
        let groups = Groups { rate: limits.send_rate_per_group, budgets: HashMap::new() };
        Arc::new(Quota {
            subscriptions: AtomicU32::new(0),
            pressure,
            joined: Mutex::new(joined),
            numbers: AtomicU32::new(1),
            groups: Mutex::new(groups),
            send_rate: SharedBudget::new(limits.send_rate.map(u64::from), now),
            send_bandwidth: SharedBudget::new(limits.send_bandwidth, now),
        })
    }

    /// Takes over other limits. What is joined stays joined, be it more than may be joined now.
    pub fn apply(&self, limits: &Limits, now: Instant) {
        {
            let mut joined = self.joined.lock().unwrap_or_else(PoisonError::into_inner);
            joined.most = limits.streams;
            joined.most_subscriptions = limits.subscriptions;
            joined.rate = join_rate(limits, now);
        }
        {
            let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
            groups.rate = limits.send_rate_per_group;
            for budget in groups.budgets.values() {
                budget.set(limits.send_rate_per_group.map(u64::from), now);
            }
        }
        self.send_rate.set(limits.send_rate.map(u64::from), now);
        self.send_bandwidth.set(limits.send_bandwidth, now);
    }

    /// Asks for a place for `key`. A stream that another shard runs takes no further place of the limit.
    ///
    /// # Errors
    /// [`OverQuota`].
    pub fn place(self: &Arc<Self>, key: &StreamKey, now: Instant) -> Result<Place, OverQuota> {
        let mut joined = self.joined.lock().unwrap_or_else(PoisonError::into_inner);
        let known = joined.shards.get(key).copied().unwrap_or(0);
        if known == 0 {
            if self.pressure.is_high() {
                return Err(OverQuota::Memory);
            }
            if let Some(most) = joined.most
                && joined.shards.len() >= most as usize
            {
                return Err(OverQuota::Streams(most));
            }
            if joined.rate.as_mut().is_some_and(|rate| !rate.take(1, now)) {
                return Err(OverQuota::Rate);
            }
        }
        joined.shards.insert(key.clone(), known + 1);
        Ok(Place { quota: Arc::clone(self), key: key.clone() })
    }

    /// Whether there may be one subscription more. Those that are asked for at the same moment on several shards, or by
    /// one request for several interfaces, are all let in.
    ///
    /// # Errors
    /// [`OverQuota::Subscriptions`].
    pub fn room_to_subscribe(&self) -> Result<(), OverQuota> {
        let joined = self.joined.lock().unwrap_or_else(PoisonError::into_inner);
        match joined.most_subscriptions {
            Some(most) if self.subscriptions.load(Ordering::Relaxed) >= most => {
                Err(OverQuota::Subscriptions(most))
            }
            _ => Ok(()),
        }
    }

    /// A number for a stream.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// The budget of all senders to `group`.
    #[must_use]
    pub fn group_budget(&self, group: Group, now: Instant) -> Arc<SharedBudget> {
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        let Groups { rate, budgets } = &mut *groups;
        // Groups nobody sends to any more; their next sender finds a full budget, as after a second of silence.
        if budgets.len() > 1024 {
            budgets.retain(|_, budget| Arc::strong_count(budget) > 1);
        }
        let budget = budgets.entry(group).or_insert_with(|| SharedBudget::new(rate.map(u64::from), now));
        Arc::clone(budget)
    }
}

/// One session may open all the streams it is allowed at once.
fn join_rate(limits: &Limits, now: Instant) -> Option<TokenBucket> {
    let burst = |rate: u32| u64::from(rate.saturating_mul(2).max(limits.streams_per_session.unwrap_or(0)));
    limits.join_rate.map(|rate| TokenBucket::new(u64::from(rate), burst(rate), now))
}

impl Place {
    /// One subscription more.
    pub fn subscribed(&self) {
        self.quota.subscriptions.fetch_add(1, Ordering::Relaxed);
    }

    /// One subscription less.
    pub fn unsubscribed(&self) {
        self.quota.subscriptions.fetch_sub(1, Ordering::Relaxed);
    }

    /// The right of another shard to run the same stream.
    #[must_use]
    pub fn another(&self) -> Place {
        let mut joined = self.quota.joined.lock().unwrap_or_else(PoisonError::into_inner);
        *joined.shards.entry(self.key.clone()).or_insert(0) += 1;
        Place { quota: Arc::clone(&self.quota), key: self.key.clone() }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut joined = self.quota.joined.lock().unwrap_or_else(PoisonError::into_inner);
        match joined.shards.get_mut(&self.key) {
            Some(shards) if *shards > 1 => *shards -= 1,
            _ => {
                joined.shards.remove(&self.key);
            }
        }
    }
}
