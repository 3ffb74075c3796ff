//! The times during which a stream had no interface to receive on. What was missed then can't be known.

use std::time::{Duration, Instant};

use crate::model::status::Outages;

/// The present outage and the sum of those before.
#[derive(Debug, Default)]
pub struct OutageBook {
    present: Option<(Instant, String)>,
    count: u64,
    before: Duration,
    last: Duration,
}

impl OutageBook {
    /// From now on nothing can come, because of `why`; true when that is news. A new reason replaces the last.
    pub fn begin(&mut self, why: String, now: Instant) -> bool {
        let news = self.present.is_none();
        let since = self.present.take().map_or(now, |(since, _)| since);
        self.count += u64::from(news);
        self.present = Some((since, why));
        news
    }

    /// From now on datagrams can come again; how long they could not, if that is news.
    pub fn end(&mut self, now: Instant) -> Option<Duration> {
        let (since, _) = self.present.take()?;
        self.last = now.saturating_duration_since(since);
        self.before += self.last;
        Some(self.last)
    }

    /// Why nothing can come, while that is so.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.present.as_ref().map(|(_, why)| why.as_str())
    }

    /// How long all outages took up to `now`, the present one included.
    #[must_use]
    pub fn time(&self, now: Instant) -> Duration {
        let present = self.present.as_ref().map(|(since, _)| now.saturating_duration_since(*since));
        self.before + present.unwrap_or_default()
    }

    /// Its sums at `now`.
    #[must_use]
    pub fn status(&self, now: Instant) -> Outages {
        let present = self.present.as_ref().map(|(since, _)| now.saturating_duration_since(*since));
        Outages {
            count: self.count,
            seconds: self.time(now).as_secs_f64(),
            last_seconds: present.unwrap_or(self.last).as_secs_f64(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outages_are_counted_once_each_and_add_up() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut book = OutageBook::default();
        assert!(book.begin("gone".to_owned(), at(0)));
        assert!(!book.begin("down".to_owned(), at(2)));
        assert_eq!((book.reason(), book.status(at(3)).last_seconds), (Some("down"), 3.0));
        assert_eq!(book.end(at(5)), Some(Duration::from_secs(5)));
        assert_eq!(book.end(at(6)), None);
        assert!(book.begin("gone".to_owned(), at(10)));
        let status = book.status(at(11));
        assert_eq!((status.count, status.seconds, status.last_seconds), (2, 6.0, 1.0));
    }
}
