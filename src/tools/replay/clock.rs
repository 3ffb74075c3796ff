//! When a captured datagram is due, and how well that was kept.

use std::fmt;
use std::time::{Duration, Instant};

/// The last stretch before a datagram is due, which the thread waits for by itself.
pub(super) const THREAD: Duration = Duration::from_millis(3);
/// The last of it, which is waited for without sleeping: a thread that sleeps wakes up late by as much.
const SPIN: Duration = Duration::from_micros(120);
/// A silence longer than this, or a step back by any time, is the capture's clock having been set, or several files in one: what
/// follows is sent at once and its times count from there.
const GAP: u64 = 3_600_000_000_000;
/// Errors that are remembered, for the summary.
const ERRORS: usize = 1 << 20;

/// The capture's clock on ours.
#[derive(Debug)]
pub(super) struct Clock {
    /// How many times as fast; `None` for no waiting at all.
    speed: Option<f64>,
    /// When on ours the capture's time `.1` was.
    origin: Option<(Instant, u64)>,
    /// The capture's time of the last one.
    last: u64,
    due: Option<Instant>,
    /// Due and actual time of the one before.
    before: Option<(Instant, Instant)>,
    /// How much the time between two differed from the capture's, in nanoseconds.
    errors: Vec<u32>,
}

impl Clock {
    /// Of a capture that is sent `speed` times as fast.
    pub(super) fn new(speed: Option<f64>) -> Self {
        Clock { speed, origin: None, last: 0, due: None, before: None, errors: Vec::new() }
    }

    /// The capture begins again.
    pub(super) fn begin_again(&mut self) {
        self.origin = None;
        self.before = None;
    }

    /// The one that is sent now is late for a reason of ours: what follows keeps its distance to it.
    pub(super) fn forgive(&mut self, now: Instant) {
        self.before = None;
        if self.due.is_some() {
            self.origin = Some((now, self.last));
            self.due = Some(now);
        }
    }

    /// When the one captured at `time` is due; `None` for at once.
    pub(super) fn due(&mut self, time: Option<u64>, now: Instant) -> Option<Instant> {
        self.due = None;
        let (speed, time) = (self.speed?, time?);
        let follows = self.origin.is_some() && time.saturating_sub(self.last) <= GAP;
        // Packets of several interfaces may stand a little out of order.
        let back = self.last.saturating_sub(time);
        if !follows || back > GAP {
            self.origin = Some((now, time));
            self.before = None;
        }
        self.last = if follows && back <= GAP { self.last.max(time) } else { time };
        let (start, first) = self.origin?;
        let after = Duration::from_nanos(time.saturating_sub(first)).div_f64(speed);
        self.due = Some(start + after);
        self.due
    }

    /// It has been sent.
    pub(super) fn sent(&mut self, now: Instant) {
        let Some(due) = self.due else { return };
        if let Some((due_before, sent_before)) = self.before
            && self.errors.len() < ERRORS
        {
            let wanted = due.saturating_duration_since(due_before);
            let error = now.saturating_duration_since(sent_before).abs_diff(wanted);
            self.errors.push(u32::try_from(error.as_nanos()).unwrap_or(u32::MAX));
        }
        self.before = Some((due, now));
    }
}

impl fmt::Display for Clock {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.errors.is_empty() {
            return Ok(());
        }
        let mut errors = self.errors.clone();
        errors.sort_unstable();
        let at = |share: f64| f64::from(errors[((errors.len() - 1) as f64 * share) as usize]) / 1000.0;
        write!(
            formatter,
            "; time between two off by {:.1} us (median), {:.1} us (99 %), {:.1} us (most)",
            at(0.5),
            at(0.99),
            at(1.0)
        )
    }
}

/// Waits on the thread until `due`.
pub(super) fn wait(due: Instant) {
    loop {
        let left = due.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        match left.checked_sub(SPIN) {
            Some(sleep) if !sleep.is_zero() => std::thread::sleep(sleep),
            _ => std::hint::spin_loop(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn times_are_kept_scaled_and_jumps_are_not_waited_for() {
        let now = Instant::now();
        let mut clock = Clock::new(Some(2.0));
        let mut due = |time: u64| clock.due(Some(time), now).map(|due| due.duration_since(now));
        assert_eq!(due(1000 * SECOND), Some(Duration::ZERO));
        assert_eq!(due(1003 * SECOND), Some(Duration::from_millis(1500)));
        assert_eq!(due(1002 * SECOND), Some(Duration::from_secs(1)), "a little out of order");
        assert_eq!(due(1004 * SECOND), Some(Duration::from_secs(2)));
        assert_eq!(due(9000 * SECOND), Some(Duration::ZERO), "more than an hour later");
        assert_eq!(due(9001 * SECOND), Some(Duration::from_millis(500)));
        assert_eq!(due(10 * SECOND), Some(Duration::ZERO), "hours before");
        assert_eq!(due(11 * SECOND), Some(Duration::from_millis(500)));
        assert_eq!(clock.due(None, now), None);
        assert_eq!(Clock::new(None).due(Some(5), now), None);
    }

    #[test]
    fn errors_are_of_the_time_between_two() {
        let start = Instant::now();
        let mut clock = Clock::new(Some(1.0));
        for (time, actual) in [(0, 100), (1000, 1100), (2000, 2400)] {
            clock.due(Some(time * 1000), start);
            clock.sent(start + Duration::from_micros(actual));
        }
        assert_eq!(clock.errors, [0, 300_000]);
        assert!(clock.to_string().contains("300.0 us (most)"), "{clock}");
    }
}
