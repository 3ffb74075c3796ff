//! What the flushes of a shard's streams are like: counted once a flush, never once a datagram or a subscriber.

use std::cell::Cell;
use std::time::SystemTime;

use crate::model::histogram::Histogram;
use crate::model::status::FlushCounts;

/// Upper bounds of added latency, in nanoseconds.
const LATENCY: &[u64] = &[
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    1_000_000_000,
];
/// Upper bounds of datagrams in one flush.
const DATAGRAMS: &[u64] = &[1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024];
/// Upper bounds of a stream's subscribers.
const SUBSCRIBERS: &[u64] = &[1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000];

/// A shard's measurements.
#[derive(Debug)]
pub struct Flushes {
    latency: Histogram,
    datagrams: Histogram,
    subscribers: Histogram,
    /// Arrival of the oldest datagram that clients with several streams wait for; 0 for none.
    gathered: Cell<u64>,
}

/// What has come to a stream since its last flush.
#[derive(Debug, Default)]
pub struct Unflushed {
    datagrams: Cell<u64>,
    /// When the oldest came to the kernel, in nanoseconds since 1970; 0 where that is not known.
    since: Cell<u64>,
}

impl Default for Flushes {
    fn default() -> Self {
        Flushes {
            latency: Histogram::new(LATENCY),
            datagrams: Histogram::new(DATAGRAMS),
            subscribers: Histogram::new(SUBSCRIBERS),
            gathered: Cell::new(0),
        }
    }
}

impl Flushes {
    /// A stream has written what was `unflushed` to its `subscribers`. Those who are `gathered` come later, together.
    pub fn flushed(&self, unflushed: &Unflushed, subscribers: usize, gathered: bool) {
        let (datagrams, since) = (unflushed.datagrams.take(), unflushed.since.take());
        if datagrams == 0 || subscribers == 0 {
            return;
        }
        self.datagrams.record(datagrams);
        self.subscribers.record(subscribers as u64);
        if !gathered {
            self.record_latency(since);
        } else if self.gathered.get() == 0 {
            self.gathered.set(since);
        }
    }

    /// Those who were gathered have been written to.
    pub fn gathered_flushed(&self) {
        self.record_latency(self.gathered.take());
    }

    /// What has been counted.
    #[must_use]
    pub fn counts(&self) -> FlushCounts {
        FlushCounts {
            latency: self.latency.counts(),
            datagrams: self.datagrams.counts(),
            subscribers: self.subscribers.counts(),
        }
    }

    fn record_latency(&self, since: u64) {
        if since == 0 {
            return;
        }
        // The clock of the kernel's time stamps.
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        self.latency.record(now.saturating_sub(since));
    }
}

impl Unflushed {
    /// So many have come, the first of them at `since`.
    pub fn add(&self, datagrams: usize, since: u64) {
        if self.since.get() == 0 {
            self.since.set(since);
        }
        self.datagrams.set(self.datagrams.get() + datagrams as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flush_counts_once_from_its_oldest_datagram() {
        let (flushes, unflushed) = (Flushes::default(), Unflushed::default());
        unflushed.add(3, 1);
        unflushed.add(2, u64::MAX);
        flushes.flushed(&unflushed, 7, false);
        // Nothing new, or nobody to write to, is no flush.
        flushes.flushed(&unflushed, 7, false);
        unflushed.add(1, 5);
        flushes.flushed(&unflushed, 0, false);
        let counts = flushes.counts();
        assert_eq!((counts.datagrams.count(), counts.datagrams.sum), (1, 5));
        assert_eq!((counts.subscribers.sum, counts.latency.count()), (7, 1));
        assert_eq!(counts.latency.counts.last(), Some(&1), "1970 is long ago");
    }

    #[test]
    fn those_who_are_gathered_are_measured_when_they_have_been_written_to() {
        let (flushes, unflushed) = (Flushes::default(), Unflushed::default());
        for since in [u64::MAX, 9] {
            unflushed.add(1, since);
            flushes.flushed(&unflushed, 1, true);
        }
        assert_eq!(flushes.counts().latency.count(), 0);
        flushes.gathered_flushed();
        flushes.gathered_flushed();
        // From the one that came first, whatever its time.
        let latency = flushes.counts().latency;
        assert_eq!((latency.count(), latency.counts[0]), (1, 1));
    }
}
