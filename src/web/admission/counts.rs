//! What is open, by address, and which handshakes are unfinished, the oldest first.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::Over;
use crate::model::bucket::TokenBucket;
use crate::model::limits::Limits;
use crate::model::status::AdmissionStatus;

/// Addresses remembered for their rate; a full table forgets those with nothing open first.
const ADDRESSES: usize = 16_384;
/// How long an address that has left a handshake unfinished shares the common rate only.
const BLAME: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Counts {
    bounds: Bounds,
    connections: u32,
    addresses: HashMap<IpAddr, OfAddress>,
    /// By number, and so by age.
    unfinished: BTreeMap<u64, Unfinished>,
    next: u64,
    rate: Option<CommonRate>,
    gave_way: u64,
}

#[derive(Clone, Copy, Debug)]
struct Bounds {
    connections: Option<u32>,
    connections_per_address: Option<u32>,
    rate_per_address: Option<u32>,
    handshakes: Option<u32>,
    handshakes_per_address: Option<u32>,
}

/// The rate of all addresses together. A flood uses it up; those who were never seen to leave a handshake unfinished
/// then have as much again, which a flood from many addresses gets once for each.
#[derive(Debug)]
struct CommonRate {
    common: TokenBucket,
    reserve: TokenBucket,
}

#[derive(Debug, Default)]
struct OfAddress {
    connections: u32,
    unfinished: BTreeSet<u64>,
    rate: Option<TokenBucket>,
    /// When it last left a handshake unfinished.
    left_unfinished: Option<Instant>,
}

/// Who asks for a connection.
#[derive(Clone, Copy, Debug)]
pub(super) enum Visitor {
    /// For itself.
    Client(IpAddr),
    /// For others: no bounds of the address.
    Proxy(IpAddr),
}

impl Visitor {
    pub(super) fn address(self) -> IpAddr {
        match self {
            Visitor::Client(address) | Visitor::Proxy(address) => address,
        }
    }
}

#[derive(Debug)]
struct Unfinished {
    address: IpAddr,
    cut: Arc<Notify>,
}

impl Counts {
    pub(super) fn new(limits: &Limits, now: Instant) -> Self {
        Counts {
            bounds: Bounds::of(limits),
            connections: 0,
            addresses: HashMap::new(),
            unfinished: BTreeMap::new(),
            next: 0,
            rate: CommonRate::of(limits, now),
            gave_way: 0,
        }
    }

    pub(super) fn adopt(&mut self, limits: &Limits, now: Instant) {
        self.bounds = Bounds::of(limits);
        self.rate = CommonRate::of(limits, now);
        for of in self.addresses.values_mut() {
            of.rate = None;
        }
    }

    /// Counts a connection and its handshake; the handshake's number.
    pub(super) fn enter(&mut self, visitor: Visitor, cut: &Arc<Notify>, now: Instant) -> Result<u64, Over> {
        let address = visitor.address();
        let bounds = match visitor {
            Visitor::Client(_) => self.bounds,
            Visitor::Proxy(_) => self.bounds.without_those_of_addresses(),
        };
        let reached = |count: u32, most: Option<u32>| most.is_some_and(|most| count >= most);
        if self.addresses.len() >= ADDRESSES {
            self.addresses.retain(|_, of| of.connections > 0);
        }
        let of = self.addresses.entry(address).or_default();
        if let Some(rate) = bounds.rate_per_address {
            let rate = u64::from(rate);
            let bucket = of.rate.get_or_insert_with(|| TokenBucket::new(rate, rate * 2, now));
            if !bucket.take(1, now) {
                return Err(Over::AddressRate);
            }
        }
        if reached(of.connections, bounds.connections_per_address) {
            return Err(Over::AddressConnections);
        }
        if reached(self.connections, bounds.connections) {
            return Err(Over::Connections);
        }
        if let Some(rate) = &mut self.rate
            && !rate.common.take(1, now)
            && (of.is_blamed(now) || !rate.reserve.take(1, now))
        {
            return Err(Over::Rate);
        }
        let oldest_of_address = of.unfinished.first().copied();
        if let Some(oldest) = oldest_of_address
            && reached(of.unfinished.len() as u32, bounds.handshakes_per_address)
        {
            self.give_way(oldest, now);
        }
        if reached(self.unfinished.len() as u32, bounds.handshakes)
            && let Some((&oldest, _)) = self.unfinished.first_key_value()
        {
            self.give_way(oldest, now);
        }
        let number = self.next;
        self.next += 1;
        self.connections += 1;
        let of = self.addresses.entry(address).or_default();
        of.connections += 1;
        of.unfinished.insert(number);
        self.unfinished.insert(number, Unfinished { address, cut: Arc::clone(cut) });
        Ok(number)
    }

    /// A connection that was counted for `from` is from now on counted for `to`, where that has room.
    pub(super) fn pass_on(
        &mut self,
        from: IpAddr,
        to: IpAddr,
        handshake: Option<u64>,
        now: Instant,
    ) -> Result<(), Over> {
        let of = self.addresses.entry(to).or_default();
        if let Some(rate) = self.bounds.rate_per_address {
            let rate = u64::from(rate);
            let bucket = of.rate.get_or_insert_with(|| TokenBucket::new(rate, rate * 2, now));
            if !bucket.take(1, now) {
                return Err(Over::AddressRate);
            }
        }
        if self.bounds.connections_per_address.is_some_and(|most| of.connections >= most) {
            return Err(Over::AddressConnections);
        }
        of.connections += 1;
        if let Some(unfinished) = handshake.and_then(|number| self.unfinished.get_mut(&number)) {
            unfinished.address = to;
            of.unfinished.extend(handshake);
        }
        if let Entry::Occupied(mut entry) = self.addresses.entry(from) {
            let of = entry.get_mut();
            of.connections -= 1;
            if let Some(number) = handshake {
                of.unfinished.remove(&number);
            }
            if of.connections == 0 && of.rate.is_none() && !of.is_blamed(now) {
                entry.remove();
            }
        }
        Ok(())
    }

    /// A handshake is over, one way or the other; whether it was still counted.
    pub(super) fn finish(&mut self, number: u64) -> bool {
        let Some(unfinished) = self.unfinished.remove(&number) else { return false };
        if let Some(of) = self.addresses.get_mut(&unfinished.address) {
            of.unfinished.remove(&number);
        }
        true
    }

    /// A connection has ended; with its handshake, where that was never finished.
    pub(super) fn leave(&mut self, address: IpAddr, handshake: Option<u64>, now: Instant) {
        let left_unfinished = handshake.is_some_and(|number| self.finish(number));
        self.connections -= 1;
        if let Entry::Occupied(mut entry) = self.addresses.entry(address) {
            let of = entry.get_mut();
            of.connections -= 1;
            if left_unfinished {
                of.left_unfinished = Some(now);
            }
            // Without a rate and without blame there is nothing to remember.
            if of.connections == 0 && of.rate.is_none() && !of.is_blamed(now) {
                entry.remove();
            }
        }
    }

    pub(super) fn status(&self) -> AdmissionStatus {
        AdmissionStatus {
            connections: self.connections,
            handshakes: self.unfinished.len() as u64,
            gave_way: self.gave_way,
        }
    }

    fn give_way(&mut self, number: u64, now: Instant) {
        let Some(unfinished) = self.unfinished.remove(&number) else { return };
        self.gave_way += 1;
        if let Some(of) = self.addresses.get_mut(&unfinished.address) {
            of.unfinished.remove(&number);
            of.left_unfinished = Some(now);
        }
        unfinished.cut.notify_one();
    }
}

impl Bounds {
    fn of(limits: &Limits) -> Self {
        Bounds {
            connections: limits.connections,
            connections_per_address: limits.connections_per_address,
            rate_per_address: limits.connection_rate_per_address,
            handshakes: limits.handshakes,
            handshakes_per_address: limits.handshakes_per_address,
        }
    }

    fn without_those_of_addresses(self) -> Self {
        Bounds { connections_per_address: None, rate_per_address: None, handshakes_per_address: None, ..self }
    }
}

impl CommonRate {
    fn of(limits: &Limits, now: Instant) -> Option<Self> {
        let rate = u64::from(limits.connection_rate?);
        let bucket = || TokenBucket::new(rate, rate * 2, now);
        Some(CommonRate { common: bucket(), reserve: bucket() })
    }
}

impl OfAddress {
    fn is_blamed(&self, now: Instant) -> bool {
        self.unfinished.len() > 1
            || self.left_unfinished.is_some_and(|left| now.saturating_duration_since(left) < BLAME)
    }
}
