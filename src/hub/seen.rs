//! What a stream has seen last, for people to look at.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::sys::batch::Received;

/// Sources remembered.
const SOURCES: usize = 16;

/// The last sources with the datagrams of each, and the last datagram's circumstances.
#[derive(Debug, Default)]
pub struct Seen {
    sources: Vec<(IpAddr, u64)>,
    /// The source of the last datagram, which is most likely that of the next.
    last: usize,
    ttl: Option<u8>,
    /// Kernel time of the last datagram, in nanoseconds since 1970.
    arrival: u64,
    /// The same on the clock of the log.
    at: Option<Duration>,
}

impl Seen {
    /// Takes note of a datagram, at `now` on the clock of the log.
    pub fn note(&mut self, received: &Received<'_>, now: Duration) {
        self.ttl = received.ttl;
        self.arrival = received.arrival;
        self.at = Some(now);
        let address = received.source.ip();
        if let Some((known, count)) = self.sources.get_mut(self.last)
            && *known == address
        {
            *count += 1;
        } else if let Some(at) = self.sources.iter().position(|(known, _)| *known == address) {
            self.sources[at].1 += 1;
            self.last = at;
        } else {
            if self.sources.len() == SOURCES {
                self.sources.remove(0);
            }
            self.sources.push((address, 1));
            self.last = self.sources.len() - 1;
        }
    }

    /// Whether a datagram came at `since` or later.
    #[must_use]
    pub fn any_since(&self, since: Duration) -> bool {
        self.at.is_some_and(|at| at >= since)
    }

    /// TTL of the last datagram.
    #[must_use]
    pub fn ttl(&self) -> Option<u8> {
        self.ttl
    }

    /// When the last datagram came, in seconds since 1970.
    #[must_use]
    pub fn arrival(&self) -> Option<f64> {
        (self.arrival > 0).then(|| Duration::from_nanos(self.arrival).as_secs_f64())
    }

    /// The last sources with the datagrams of each.
    #[must_use]
    pub fn sources(&self) -> BTreeMap<String, u64> {
        self.sources.iter().map(|(address, count)| (address.to_string(), *count)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use super::*;

    #[test]
    fn sources_are_counted_and_bounded() {
        let mut seen = Seen::default();
        for turn in 0..40u8 {
            for _ in 0..2 {
                let source = SocketAddr::from((Ipv4Addr::new(10, 0, 0, turn), 5000));
                let received = Received {
                    payload: b"",
                    source,
                    destination: None,
                    ttl: Some(3),
                    arrival: 1,
                    drops: None,
                    truncated: false,
                };
                seen.note(&received, Duration::from_secs(u64::from(turn)));
            }
        }
        let sources = seen.sources();
        assert_eq!(
            (sources.len(), sources["10.0.0.39"], sources.contains_key("10.0.0.23")),
            (SOURCES, 2, false)
        );
        assert!(seen.any_since(Duration::from_secs(39)) && !seen.any_since(Duration::from_secs(40)));
    }
}
