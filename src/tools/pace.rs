//! When to send: evenly, by deadlines counted from the start, so that delays do not add up.

use std::time::{Duration, Instant};

/// A steady pace. Time is passed in.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    start: Instant,
    interval: Duration,
    taken: u32,
}

/// A sender that is further behind than this (it was stopped, or its machine slept) forgets what was due then; a burst
/// of all of it would do harm.
const FORGIVEN: Duration = Duration::from_secs(1);
/// After so many datagrams the deadlines are counted from there on, exactly where the last one was due.
const REBASE: u32 = 1 << 20;

impl Pace {
    /// One each `interval`, the first at `start`. An interval of 0 is as fast as possible.
    #[must_use]
    pub fn new(interval: Duration, start: Instant) -> Self {
        Pace { start, interval, taken: 0 }
    }

    /// The interval of `rate` per second; a rate beyond 10^9 is as fast as possible.
    #[must_use]
    pub fn interval(rate: f64) -> Duration {
        Duration::try_from_secs_f64(1.0 / rate).unwrap_or(Duration::MAX)
    }

    /// When the next one is due.
    #[must_use]
    pub fn due(&self) -> Instant {
        let far = Duration::from_secs(86_400 * 365);
        self.start + self.interval.checked_mul(self.taken).unwrap_or(far).min(far)
    }

    /// Takes one, sent at `now`.
    pub fn take(&mut self, now: Instant) {
        if now.saturating_duration_since(self.due()) > FORGIVEN {
            self.start = now;
            self.taken = 0;
        } else if self.taken == REBASE {
            self.start = self.due();
            self.taken = 0;
        }
        self.taken += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends whatever is due at each of the times, in milliseconds; says how many each time.
    fn sent(interval: Duration, times: impl IntoIterator<Item = u64>) -> Vec<u32> {
        let start = Instant::now();
        let mut pace = Pace::new(interval, start);
        let mut at = |milliseconds| {
            let now = start + Duration::from_millis(milliseconds);
            let mut count = 0;
            while pace.due() <= now {
                pace.take(now);
                count += 1;
            }
            count
        };
        times.into_iter().map(&mut at).collect()
    }

    #[test]
    fn delays_are_caught_up_with_and_do_not_add_up() {
        assert_eq!(sent(Duration::from_millis(10), [0, 1, 10, 12, 45, 50]), [1, 0, 1, 0, 3, 1]);
        let late = (0..1000).map(|tick| tick * 10 + tick % 7);
        assert_eq!(sent(Duration::from_millis(10), late).iter().sum::<u32>(), 1000);
    }

    #[test]
    fn what_was_due_long_ago_is_forgotten() {
        assert_eq!(sent(Duration::from_millis(10), [0, 60_000, 60_010, 60_020]), [1, 1, 1, 1]);
    }

    #[test]
    fn counting_anew_changes_no_deadline() {
        let microsecond = Duration::from_micros(1);
        let per_call = sent(microsecond, 0..=3000);
        assert_eq!(per_call.iter().sum::<u32>(), 3_000_001);
    }

    #[test]
    fn slow_rates_stay_in_range() {
        let start = Instant::now();
        let mut pace = Pace::new(Pace::interval(1e-300), start);
        pace.take(start);
        assert!(pace.due() > start);
        assert_eq!(Pace::interval(1e12), Duration::ZERO);
    }
}
