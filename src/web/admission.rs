//! Who may connect now: so many at once, in all and from one address, and so many a second.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use hyper::StatusCode;

use crate::model::bucket::TokenBucket;
use crate::model::limits::Limits;
use crate::web::refusal::Refusal;

/// Addresses remembered for their rate; a full table forgets those with nothing open first.
const ADDRESSES: usize = 16_384;

/// The gateway's doorman, shared by the acceptor and all connections.
#[derive(Debug)]
pub struct Admission {
    counts: Mutex<Counts>,
}

#[derive(Debug)]
struct Counts {
    limits: Limits,
    connections: u32,
    handshakes: u32,
    addresses: HashMap<IpAddr, OfAddress>,
}

#[derive(Debug, Default)]
struct OfAddress {
    connections: u32,
    handshakes: u32,
    rate: Option<TokenBucket>,
}

/// The right to one connection; given back when dropped.
#[derive(Debug)]
pub struct Admitted {
    admission: Arc<Admission>,
    address: IpAddr,
    in_handshake: bool,
    /// Connections of the shard that serves it.
    shard: Option<Arc<AtomicUsize>>,
}

impl Admission {
    /// From the limits of the same names.
    #[must_use]
    pub fn new(limits: &Limits) -> Arc<Self> {
        let limits = limits.clone();
        Arc::new(Admission {
            counts: Mutex::new(Counts { limits, connections: 0, handshakes: 0, addresses: HashMap::new() }),
        })
    }

    /// From now on these limits count; who is in stays in.
    pub fn adopt(&self, limits: &Limits, _now: Instant) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.limits = limits.clone();
        for of in counts.addresses.values_mut() {
            of.rate = None;
        }
    }

    /// How many connections there are, and how many of them are in their handshake.
    #[must_use]
    pub fn counts(&self) -> (u32, u32) {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        (counts.connections, counts.handshakes)
    }

    /// Asks for one connection from `address`, with its handshake.
    ///
    /// # Errors
    /// 429 for limits of the address, 503 for those of the gateway.
    pub fn admit(self: &Arc<Self>, address: IpAddr, now: Instant) -> Result<Admitted, Refusal> {
        let address = bucketed(address);
        let too_many = |what: &str| Refusal::new(StatusCode::TOO_MANY_REQUESTS, format!("too_many: {what}"));
        let reached = |count: u32, most: Option<u32>| most.is_some_and(|most| count >= most);
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.addresses.len() >= ADDRESSES {
            counts.addresses.retain(|_, of| of.connections > 0);
        }
        let (connections, handshakes) = (counts.connections, counts.handshakes);
        let limits = counts.limits.clone();
        let of = counts.addresses.entry(address).or_default();
        if let Some(rate) = limits.connection_rate_per_address {
            let rate = u64::from(rate);
            let bucket = of.rate.get_or_insert_with(|| TokenBucket::new(rate, rate * 2, now));
            if !bucket.take(1, now) {
                return Err(too_many(
                    "connections a second from this address (--limit connection-rate-per-address)",
                ));
            }
        }
        if reached(of.connections, limits.connections_per_address) {
            return Err(too_many("connections from this address (--limit connections-per-address)"));
        }
        if reached(of.handshakes, limits.handshakes_per_address) {
            return Err(too_many("handshakes from this address (--limit handshakes-per-address)"));
        }
        if reached(connections, limits.connections) {
            return Err(Refusal::overload("as many connections as there may be (--limit connections)"));
        }
        if reached(handshakes, limits.handshakes) {
            return Err(Refusal::overload("as many handshakes as there may be (--limit handshakes)"));
        }
        of.connections += 1;
        of.handshakes += 1;
        counts.connections += 1;
        counts.handshakes += 1;
        Ok(Admitted { admission: Arc::clone(self), address, in_handshake: true, shard: None })
    }
}

impl Admitted {
    /// Counts the connection among those of a shard.
    pub fn served_by(&mut self, connections: Arc<AtomicUsize>) {
        connections.fetch_add(1, Ordering::Relaxed);
        self.shard = Some(connections);
    }

    /// The first request has been read whole: the handshake no longer counts.
    pub fn handshake_done(&mut self) {
        if std::mem::take(&mut self.in_handshake) {
            let mut counts = self.admission.counts.lock().unwrap_or_else(PoisonError::into_inner);
            counts.handshakes -= 1;
            if let Some(of) = counts.addresses.get_mut(&self.address) {
                of.handshakes -= 1;
            }
        }
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.handshake_done();
        if let Some(shard) = &self.shard {
            shard.fetch_sub(1, Ordering::Relaxed);
        }
        let mut counts = self.admission.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.connections -= 1;
        if let Some(of) = counts.addresses.get_mut(&self.address) {
            of.connections -= 1;
            // Without a rate there is nothing to remember.
            if of.connections == 0 && of.rate.is_none() {
                counts.addresses.remove(&self.address);
            }
        }
    }
}

/// One household has a whole IPv6 /64, so that is what counts as an address.
pub fn bucketed(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits {
            connections: Some(3),
            connections_per_address: Some(2),
            handshakes: None,
            handshakes_per_address: Some(1),
            connection_rate_per_address: None,
            ..Limits::default()
        }
    }

    #[test]
    fn places_are_counted_and_given_back() {
        let admission = Admission::new(&limits());
        let now = Instant::now();
        let [a, b, c]: [IpAddr; 3] = ["10.0.0.1", "10.0.0.2", "10.0.0.3"].map(|text| text.parse().unwrap());
        let mut first = admission.admit(a, now).unwrap();
        assert_eq!(admission.admit(a, now).unwrap_err().status(), 429);
        first.handshake_done();
        let mut second = admission.admit(a, now).unwrap();
        second.handshake_done();
        assert_eq!(admission.admit(a, now).unwrap_err().status(), 429);
        let _third = admission.admit(b, now).unwrap();
        assert_eq!(admission.admit(c, now).unwrap_err().status(), 503);
        drop(first);
        assert!(admission.admit(c, now).is_ok());
    }

    #[test]
    fn an_ipv6_household_is_one_address() {
        let admission = Admission::new(&limits());
        let now = Instant::now();
        let _first = admission.admit("2001:db8::1".parse().unwrap(), now).unwrap();
        assert!(admission.admit("2001:db8::2".parse().unwrap(), now).is_err());
        assert!(admission.admit("2001:db8:0:1::2".parse().unwrap(), now).is_ok());
    }

    #[test]
    fn a_rate_lets_through_twice_itself_at_once() {
        let admission = Admission::new(&Limits {
            connection_rate_per_address: Some(2),
            handshakes_per_address: None,
            connections_per_address: None,
            connections: None,
            ..limits()
        });
        let now = Instant::now();
        let address = "10.0.0.1".parse().unwrap();
        assert_eq!((0..10).filter(|_| admission.admit(address, now).is_ok()).count(), 4);
    }
}
