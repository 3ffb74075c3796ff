//! Rates that all shards share, leased in small lots so that a send takes no lock.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::model::bucket::TokenBucket;

/// One rate for the whole gateway, which may change while it is used.
#[derive(Debug)]
pub struct SharedBudget {
    /// `None` where there is no rate.
    bucket: Mutex<Option<TokenBucket>>,
    /// Tokens leased at once; 0 where there is no rate.
    lot: AtomicU64,
}

impl SharedBudget {
    /// `per_second` tokens, and twice as many at once; `None` for as many as are wanted.
    #[must_use]
    pub fn new(per_second: Option<u64>, now: Instant) -> Arc<Self> {
        let budget = SharedBudget { bucket: Mutex::new(None), lot: AtomicU64::new(0) };
        budget.set(per_second, now);
        Arc::new(budget)
    }

    /// Another rate from now on. What is leased already stays so: a twentieth of a second's worth for each shard at most.
    pub fn set(&self, per_second: Option<u64>, now: Instant) {
        let bucket = per_second.map(|rate| TokenBucket::new(rate, rate.saturating_mul(2), now));
        *self.bucket.lock().unwrap_or_else(PoisonError::into_inner) = bucket;
        self.lot.store(per_second.map_or(0, |rate| (rate / 20).max(1)), Ordering::Relaxed);
    }

    fn take(&self, amount: u64, now: Instant) -> bool {
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        bucket.as_mut().is_none_or(|bucket| bucket.take(amount, now))
    }
}

/// A shard's share of a [`SharedBudget`].
#[derive(Debug)]
pub struct Lease {
    shared: Arc<SharedBudget>,
    held: Cell<u64>,
    /// The shared bucket was found empty and is not asked again before.
    dry_until: Cell<Option<Instant>>,
}

impl Lease {
    /// Holds nothing yet.
    #[must_use]
    pub fn new(shared: Arc<SharedBudget>) -> Self {
        Lease { shared, held: Cell::new(0), dry_until: Cell::new(None) }
    }

    /// Takes `amount` tokens if they can be had.
    pub fn take(&self, amount: u64, now: Instant) -> bool {
        const DRY: Duration = Duration::from_millis(5);
        let lot = self.shared.lot.load(Ordering::Relaxed);
        if lot == 0 {
            return true;
        }
        if let Some(left) = self.held.get().checked_sub(amount) {
            self.held.set(left);
            return true;
        }
        if self.dry_until.get().is_some_and(|until| now < until) {
            return false;
        }
        let missing = amount - self.held.get();
        for lot in [missing.max(lot), missing] {
            if self.shared.take(lot, now) {
                self.held.set(self.held.get() + lot - amount);
                self.dry_until.set(None);
                return true;
            }
        }
        self.dry_until.set(Some(now + DRY));
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_shards_together_get_the_rate_and_no_more() {
        let start = Instant::now();
        let shared = SharedBudget::new(Some(100), start);
        let leases = [Lease::new(Arc::clone(&shared)), Lease::new(shared)];
        let mut taken = 0;
        for millisecond in 0..=10_000 {
            let now = start + Duration::from_millis(millisecond);
            taken += leases.iter().filter(|lease| lease.take(1, now)).count();
        }
        assert!((1150..=1200).contains(&taken), "{taken} of 200 + 10 s x 100");
    }

    #[test]
    fn another_rate_holds_from_then_on() {
        let start = Instant::now();
        let shared = SharedBudget::new(None, start);
        let lease = Lease::new(Arc::clone(&shared));
        assert!((0..10_000).all(|_| lease.take(1, start)), "without a rate there is no end");
        shared.set(Some(10), start);
        assert_eq!((0..100).filter(|_| lease.take(1, start)).count(), 20);
        shared.set(Some(1000), start);
        let later = start + Duration::from_millis(5);
        assert_eq!((0..5000).filter(|_| lease.take(1, later)).count(), 2000);
        shared.set(None, start);
        assert!((0..10_000).all(|_| lease.take(1, later)));
    }
}
