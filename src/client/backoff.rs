//! When to try again after the connection was lost (docs/protocol.md, section 4): full jitter, so that a thousand clients of
//! one gateway do not come back together.

use std::time::{Duration, Instant};

/// The first pause is shorter than this; each further bound is twice the one before, up to the cap.
const FIRST: Duration = Duration::from_millis(500);
/// The cap in the beginning of an outage: a restart is over in seconds.
const CAP_AT_FIRST: Duration = Duration::from_secs(1);
/// The cap later.
const CAP: Duration = Duration::from_secs(20);
/// How long the beginning of an outage is, and how long a connection has to stand for the outage before it to be over.
const BEGINNING: Duration = Duration::from_secs(30);

/// The pauses of one outage.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    began: Option<Instant>,
    attempts: u32,
}

impl Backoff {
    /// Takes note that a connection that came up at `up` is lost at `now`.
    pub(super) fn lost(&mut self, up: Instant, now: Instant) {
        if self.began.is_none() || now.duration_since(up) >= BEGINNING {
            *self = Backoff { began: Some(now), attempts: 0 };
        }
    }

    /// How long to wait before the next attempt; `random` is 0 to 1. What the gateway asked for (`hint`) goes before.
    pub(super) fn pause(&mut self, hint: Option<Duration>, now: Instant, random: f64) -> Duration {
        let outage = self.began.map_or(Duration::ZERO, |began| now.duration_since(began));
        let cap = if outage < BEGINNING { CAP_AT_FIRST } else { CAP };
        let bound = FIRST.saturating_mul(1 << self.attempts.min(16)).min(cap);
        self.attempts += 1;
        hint.unwrap_or_else(|| bound.mul_f64(random.clamp(0.0, 1.0)))
    }
}

/// A number of 0 to 1 that neither this process nor another has seen; not for secrets.
pub(super) fn random() -> f64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id()) as f64 / u64::MAX as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_second_then_to_twenty() {
        let now = Instant::now();
        let mut backoff = Backoff::default();
        backoff.lost(now, now);
        let pauses =
            [0, 1, 2, 10].map(|seconds| backoff.pause(None, now + Duration::from_secs(seconds), 1.0));
        assert_eq!(pauses, [FIRST, CAP_AT_FIRST, CAP_AT_FIRST, CAP_AT_FIRST]);
        let later = now + Duration::from_secs(31);
        assert_eq!(backoff.pause(None, later, 1.0), Duration::from_secs(8));
        assert_eq!(backoff.pause(None, later, 1.0), Duration::from_secs(16));
        assert_eq!(backoff.pause(None, later, 1.0), CAP);
        assert_eq!(backoff.pause(None, later, 0.5), CAP / 2);
        assert_eq!(backoff.pause(None, later, 0.0), Duration::ZERO);
        assert_eq!(backoff.pause(Some(Duration::from_secs(3)), later, 0.0), Duration::from_secs(3));
    }

    #[test]
    fn an_outage_ends_with_a_connection_that_stands() {
        let now = Instant::now();
        let later = now + Duration::from_secs(31);
        let mut backoff = Backoff::default();
        backoff.lost(now, now);
        for _ in 0..9 {
            backoff.pause(None, now, 1.0);
        }
        backoff.lost(later, later);
        assert_eq!(backoff.pause(None, later, 1.0), CAP, "up for no time at all: the same outage");
        backoff.lost(now, later);
        assert_eq!(backoff.pause(None, later, 1.0), FIRST);
    }

    #[test]
    fn randomness_is_spread() {
        let numbers: Vec<f64> = (0..100).map(|_| random()).collect();
        assert!(numbers.iter().all(|number| (0.0..=1.0).contains(number)));
        assert!(numbers.iter().any(|number| *number < 0.5) && numbers.iter().any(|number| *number > 0.5));
    }
}
