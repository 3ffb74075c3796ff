//! The storm breaker of a mirrored group: what we sent to a LAN must not come back from there in numbers.
//!
//! Identities keep the gateways themselves from ever making a loop. A host that re-sends what it hears makes new datagrams,
//! which nobody can tell from an application's; two of them on two sites send each other the same bytes for ever. The
//! breaker sees payloads that it has just sent to the LAN come back from somebody else. A few are an application's own
//! business; many stop the group.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use crate::model::bucket::TokenBucket;

/// How long a group stays stopped.
pub(super) const STOPPED: Duration = Duration::from_secs(30);
/// How long what was sent is remembered.
const REMEMBERED: Duration = Duration::from_secs(2);
/// Payloads remembered at most.
const PAYLOADS: usize = 8192;
/// Payloads that may come back each second, and at once.
const RETURNS: (u64, u64) = (25, 100);

/// What has been sent to one LAN lately, and what of it came back.
#[derive(Debug)]
pub(super) struct Breaker {
    hashes: RandomState,
    sent: HashMap<u64, Sent>,
    order: VecDeque<(Instant, u64)>,
    returns: TokenBucket,
    until: Option<Instant>,
}

/// How often one payload was sent.
#[derive(Debug, Default)]
struct Sent {
    /// Within the time that is remembered.
    times: u32,
    /// Those of which the echo has not been heard.
    unheard: u32,
}

/// What the breaker says of a datagram that was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It may pass.
    Pass,
    /// The group is stopped.
    Stopped,
    /// The group is stopped by this one.
    Stops,
}

impl Breaker {
    pub(super) fn new(now: Instant) -> Breaker {
        let (rate, burst) = RETURNS;
        Breaker {
            hashes: RandomState::new(),
            sent: HashMap::new(),
            order: VecDeque::new(),
            returns: TokenBucket::new(rate, burst, now),
            until: None,
        }
    }

    /// Whether the group is stopped at `now`, and for how long.
    pub(super) fn stopped(&mut self, now: Instant) -> Option<Duration> {
        let left = self.until?.saturating_duration_since(now);
        if left.is_zero() {
            self.until = None;
            // What was remembered before has nothing to do with what comes now.
            self.sent.clear();
            self.order.clear();
            return None;
        }
        Some(left)
    }

    /// Takes note of a payload that is sent to the LAN.
    pub(super) fn sends(&mut self, payload: &[u8], now: Instant) {
        self.forget(now);
        if self.order.len() >= PAYLOADS {
            self.drop_oldest();
        }
        let hash = self.hashes.hash_one(payload);
        let sent = self.sent.entry(hash).or_default();
        (sent.times, sent.unheard) = (sent.times + 1, sent.unheard + 1);
        self.order.push_back((now, hash));
    }

    /// Whether a payload is one that was sent just now; takes it as seen. For sockets that share their port with programs of
    /// this host, where the address says too little.
    pub(super) fn is_echo(&mut self, payload: &[u8], now: Instant) -> bool {
        self.forget(now);
        let hash = self.hashes.hash_one(payload);
        match self.sent.get_mut(&hash) {
            Some(sent) if sent.unheard > 0 => {
                sent.unheard -= 1;
                true
            }
            _ => false,
        }
    }

    /// Judges a payload that somebody else sent on the LAN.
    pub(super) fn hears(&mut self, payload: &[u8], now: Instant) -> Verdict {
        if self.stopped(now).is_some() {
            return Verdict::Stopped;
        }
        if self.order.is_empty() {
            return Verdict::Pass;
        }
        self.forget(now);
        let came_back = self.sent.contains_key(&self.hashes.hash_one(payload));
        if !came_back || self.returns.take(1, now) {
            return Verdict::Pass;
        }
        self.until = Some(now + STOPPED);
        Verdict::Stops
    }

    fn forget(&mut self, now: Instant) {
        while self.order.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) >= REMEMBERED) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        let Some((_, hash)) = self.order.pop_front() else { return };
        if let Some(sent) = self.sent.get_mut(&hash) {
            sent.times -= 1;
            if sent.times == 0 {
                self.sent.remove(&hash);
            } else {
                sent.unheard = sent.unheard.min(sent.times);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn what_comes_back_in_numbers_stops_the_group_for_30_seconds() {
        let start = Instant::now();
        let mut breaker = Breaker::new(start);
        let mut passed = 0;
        for step in 0_u32..1000 {
            let now = start + MS * step;
            breaker.sends(b"again", now);
            match breaker.hears(b"again", now) {
                Verdict::Pass => passed += 1,
                Verdict::Stops => break,
                Verdict::Stopped => unreachable!("it says first that it stops"),
            }
        }
        assert!((100..110).contains(&passed), "{passed}");
        assert_eq!(breaker.hears(b"other", start + 20 * STOPPED / 30), Verdict::Stopped);
        assert_eq!(breaker.hears(b"again", start + 2 * STOPPED), Verdict::Pass);
    }

    #[test]
    fn what_was_not_sent_from_here_passes_however_often() {
        let start = Instant::now();
        let mut breaker = Breaker::new(start);
        for step in 0_u32..100_000 {
            breaker.sends(&step.to_be_bytes(), start + MS * (step / 50));
            assert_eq!(
                breaker.hears(b"a beacon, the same each time", start + MS * (step / 50)),
                Verdict::Pass
            );
        }
        assert!(breaker.order.len() <= PAYLOADS && breaker.sent.len() <= PAYLOADS);
    }

    #[test]
    fn an_echo_is_taken_once() {
        let now = Instant::now();
        let mut breaker = Breaker::new(now);
        breaker.sends(b"a", now);
        assert!(breaker.is_echo(b"a", now) && !breaker.is_echo(b"a", now) && !breaker.is_echo(b"b", now));
        breaker.sends(b"a", now);
        assert!(!breaker.is_echo(b"a", now + 2 * REMEMBERED));
    }
}
