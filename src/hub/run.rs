//! What the copies of one stream, a copy on each shard, have in common: its number, and when nobody wants it any more.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::hub::subscription::Encoding;

/// One run of one stream, shared by its copies. Asked when somebody comes or goes and each tick; on the data path only
/// one flag is read.
#[derive(Debug)]
pub struct Run {
    number: u32,
    readers: Mutex<Readers>,
    /// Whether records are wanted, for those who can't wait for a lock.
    records: AtomicBool,
}

#[derive(Debug)]
struct Readers {
    count: usize,
    /// Those of records alone.
    of_records: usize,
    /// Since when there are none of those, once there have been some.
    records_idle_since: Option<Instant>,
    /// Since when there are none.
    idle_since: Instant,
    /// Once over it stays over, whoever comes: the copies end together.
    over: bool,
}

impl Run {
    /// A run without readers. It is idle from the start: whoever asked for it may be refused for another reason and
    /// never subscribe.
    #[must_use]
    pub fn new(number: u32, now: Instant) -> Self {
        Run {
            number,
            records: AtomicBool::new(false),
            readers: Mutex::new(Readers {
                count: 0,
                of_records: 0,
                records_idle_since: None,
                idle_since: now,
                over: false,
            }),
        }
    }

    /// The stream's number.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Another reader, on whatever shard.
    pub fn enter(&self, encoding: Encoding) {
        let mut readers = self.readers();
        readers.count += 1;
        if encoding == Encoding::Records {
            readers.of_records += 1;
            self.records.store(true, Ordering::Relaxed);
        }
    }

    /// One reader less.
    pub fn leave(&self, encoding: Encoding, now: Instant) {
        let mut readers = self.readers();
        readers.count = readers.count.saturating_sub(1);
        if encoding == Encoding::Records {
            readers.of_records = readers.of_records.saturating_sub(1);
            readers.records_idle_since = Some(now);
        }
        if readers.count == 0 {
            readers.idle_since = now;
        }
    }

    /// Whether somebody reads records on some shard, or has done so within `keep`.
    #[must_use]
    pub fn wants_records(&self, keep: Duration, now: Instant) -> bool {
        let readers = self.readers();
        let wanted = readers.of_records > 0
            || readers.records_idle_since.is_some_and(|since| now.saturating_duration_since(since) < keep);
        self.records.store(wanted, Ordering::Relaxed);
        wanted
    }

    /// What [`Run::wants_records`] said last, or that somebody has come since: looked at for each batch, so that all
    /// copies have the same records.
    #[must_use]
    pub fn has_asked_for_records(&self) -> bool {
        self.records.load(Ordering::Relaxed)
    }

    /// Whether nobody has read on any shard for `linger`.
    #[must_use]
    pub fn is_over(&self, linger: Duration, now: Instant) -> bool {
        let mut readers = self.readers();
        readers.over |= readers.count == 0 && now.saturating_duration_since(readers.idle_since) >= linger;
        readers.over
    }

    /// Whether some shard has found it over.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.readers().over
    }

    fn readers(&self) -> std::sync::MutexGuard<'_, Readers> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_over_when_nobody_has_read_for_the_linger_and_stays_so() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let linger = Duration::from_secs(2);
        let run = Run::new(7, start);
        assert!(!run.is_over(linger, at(1)));
        run.enter(Encoding::Raw);
        run.enter(Encoding::Raw);
        run.leave(Encoding::Raw, at(5));
        assert!(!run.is_over(linger, at(10)));
        run.leave(Encoding::Raw, at(10));
        assert!(!run.is_over(linger, at(11)) && !run.has_ended());
        assert!(run.is_over(linger, at(12)) && run.has_ended());
        run.enter(Encoding::Raw);
        assert!(run.is_over(linger, at(12)));
    }

    #[test]
    fn records_are_wanted_a_while_longer_than_they_are_read() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let keep = Duration::from_secs(10);
        let run = Run::new(7, start);
        run.enter(Encoding::Raw);
        assert!(!run.wants_records(keep, at(1)));
        run.enter(Encoding::Records);
        assert!(run.has_asked_for_records() && run.wants_records(keep, at(100)));
        run.leave(Encoding::Records, at(100));
        assert!(run.wants_records(keep, at(109)) && !run.wants_records(keep, at(110)));
    }
}
