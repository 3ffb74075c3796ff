//! Rates that all shards share, leased in small lots so that a send takes no lock.

use std::cell::Cell;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::model::bucket::TokenBucket;

/// One rate for the whole gateway.
#[derive(Debug)]
pub struct SharedBudget {
    bucket: Mutex<TokenBucket>,
    lot: u64,
}

impl SharedBudget {
    /// `per_second` tokens, and twice as many at once.
    #[must_use]
    pub fn new(per_second: u64, now: Instant) -> Arc<Self> {
        let bucket = Mutex::new(TokenBucket::new(per_second, per_second.saturating_mul(2), now));
        Arc::new(SharedBudget { bucket, lot: (per_second / 20).max(1) })
    }

    fn take(&self, amount: u64, now: Instant) -> bool {
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner).take(amount, now)
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
        if let Some(left) = self.held.get().checked_sub(amount) {
            self.held.set(left);
            return true;
        }
        if self.dry_until.get().is_some_and(|until| now < until) {
            return false;
        }
        let missing = amount - self.held.get();
        for lot in [missing.max(self.shared.lot), missing] {
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
        let shared = SharedBudget::new(100, start);
        let leases = [Lease::new(Arc::clone(&shared)), Lease::new(shared)];
        let mut taken = 0;
        for millisecond in 0..=10_000 {
            let now = start + Duration::from_millis(millisecond);
            taken += leases.iter().filter(|lease| lease.take(1, now)).count();
        }
        assert!((1150..=1200).contains(&taken), "{taken} of 200 + 10 s x 100");
    }
}
