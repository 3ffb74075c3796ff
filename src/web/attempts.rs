//! Tokens that were wrong: so many a minute from one address, and then none is looked at.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::web::admission::bucketed;

/// Wrong tokens of one address, at once and in a minute.
pub const ATTEMPTS: u32 = 5;
/// After this time one more is free.
const INTERVAL: Duration = Duration::from_secs(12);
/// Addresses remembered; a full table forgets the one that has been quiet longest.
const ADDRESSES: usize = 4096;

/// Who has shown wrong tokens, over all shards. An IPv6 /64 is one address.
#[derive(Debug, Default)]
pub struct Attempts {
    /// When each address will have nothing against it any more.
    forgiven: Mutex<HashMap<IpAddr, Instant>>,
}

impl Attempts {
    /// Whether a token from `address` may be looked at.
    #[must_use]
    pub fn may_try(&self, address: IpAddr, now: Instant) -> bool {
        let forgiven = self.forgiven.lock().unwrap_or_else(PoisonError::into_inner);
        let at = forgiven.get(&bucketed(address)).copied();
        at.is_none_or(|at| at.saturating_duration_since(now) <= INTERVAL * (ATTEMPTS - 1))
    }

    /// A token from `address` was wrong.
    pub fn failed(&self, address: IpAddr, now: Instant) {
        let mut forgiven = self.forgiven.lock().unwrap_or_else(PoisonError::into_inner);
        if forgiven.len() >= ADDRESSES {
            forgiven.retain(|_, at| *at > now);
        }
        if forgiven.len() >= ADDRESSES
            && let Some(soonest) = forgiven.iter().min_by_key(|(_, at)| **at).map(|(address, _)| *address)
        {
            forgiven.remove(&soonest);
        }
        let at = forgiven.entry(bucketed(address)).or_insert(now);
        *at = (*at).max(now) + INTERVAL;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_wrong_tokens_a_minute_are_looked_at() {
        let (attempts, now) = (Attempts::default(), Instant::now());
        let [a, b]: [IpAddr; 2] = ["2001:db8::1", "2001:db8::ffff"].map(|text| text.parse().unwrap());
        for _ in 0..ATTEMPTS {
            assert!(attempts.may_try(a, now));
            attempts.failed(a, now);
        }
        assert!(!attempts.may_try(a, now) && !attempts.may_try(b, now), "one household");
        assert!(attempts.may_try("2001:db8:0:1::1".parse().unwrap(), now));
        assert!(!attempts.may_try(a, now + INTERVAL - Duration::from_millis(1)));
        assert!(attempts.may_try(a, now + INTERVAL));
        attempts.failed(a, now + INTERVAL);
        assert!(!attempts.may_try(a, now + INTERVAL));
        assert!(attempts.may_try(a, now + 2 * INTERVAL));
    }

    #[test]
    fn the_table_has_a_bound() {
        let (attempts, now) = (Attempts::default(), Instant::now());
        for number in 0..ADDRESSES as u32 + 100 {
            attempts.failed(std::net::Ipv4Addr::from(number + (10 << 24)).into(), now);
        }
        assert_eq!(attempts.forgiven.lock().unwrap().len(), ADDRESSES);
    }
}
