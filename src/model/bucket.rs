//! A budget that fills again with time.

use std::time::Instant;

/// A token bucket in integers: what it grants over any time is at most rate times time plus burst, exactly.
///
/// Time is passed in; an earlier time than before counts as no time passed.
#[derive(Clone, Debug)]
pub struct TokenBucket {
    rate: u128,
    /// Tokens times 10^9, so that a nanosecond adds a whole number (the rate) and nothing is rounded away.
    level: u128,
    capacity: u128,
    updated: Instant,
}

/// What one token is in `level`.
const TOKEN: u128 = 1_000_000_000;

impl TokenBucket {
    /// A full bucket: `burst` tokens, and `rate_per_second` more each second up to `burst`.
    pub fn new(rate_per_second: u64, burst: u64, now: Instant) -> TokenBucket {
        let capacity = u128::from(burst) * TOKEN;
        TokenBucket { rate: u128::from(rate_per_second), level: capacity, capacity, updated: now }
    }

    /// Takes `amount` tokens if they are there, all or none, and says whether it did.
    pub fn take(&mut self, amount: u64, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.updated).as_nanos();
        self.updated = self.updated.max(now);
        self.level = self.level.saturating_add(passed.saturating_mul(self.rate)).min(self.capacity);
        match self.level.checked_sub(u128::from(amount) * TOKEN) {
            Some(rest) => {
                self.level = rest;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn gives_the_burst_then_the_rate() {
        let start = Instant::now();
        let mut bucket = TokenBucket::new(50, 100, start);
        assert_eq!((0..200).filter(|_| bucket.take(1, start)).count(), 100);
        assert!(!bucket.take(1, start + Duration::from_millis(19)));
        assert!(bucket.take(1, start + Duration::from_millis(20)));
        assert!(!bucket.take(1, start), "time does not go back");
        assert!(!bucket.take(101, start + Duration::from_secs(3600)), "more than the burst is never there");
        assert!(bucket.take(100, start + Duration::from_secs(3600)));
        assert!(bucket.take(0, start + Duration::from_secs(3600)));
    }

    #[test]
    fn does_not_drift() {
        // A million looks, each a small part of a token apart: rounding would show.
        let start = Instant::now();
        let mut bucket = TokenBucket::new(7, 2, start);
        assert!(bucket.take(2, start));
        let step = Duration::from_micros(1);
        assert_eq!((1..=1_000_000_u32).filter(|&count| bucket.take(1, start + step * count)).count(), 7);
    }

    proptest! {
        #[test]
        fn never_grants_more(
            rate in any::<u64>(),
            burst in any::<u64>(),
            amounts in prop::collection::vec((any::<u64>(), 0_u64..1 << 40), 0..50),
        ) {
            let start = Instant::now();
            let mut bucket = TokenBucket::new(rate, burst, start);
            let (mut passed, mut granted) = (Duration::ZERO, 0_u128);
            for (amount, nanoseconds) in amounts {
                passed += Duration::from_nanos(nanoseconds);
                if bucket.take(amount, start + passed) {
                    granted += u128::from(amount);
                }
            }
            let most = u128::from(burst) + u128::from(rate) * passed.as_nanos() / TOKEN;
            prop_assert!(granted <= most);
        }
    }
}
