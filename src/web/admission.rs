//! Who may connect now: so many at once, in all and from one address, and so many a second; and who gives way.

mod counts;

use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use hyper::StatusCode;
use tokio::sync::Notify;

use crate::model::limits::Limits;
use crate::model::status::AdmissionStatus;
use crate::web::admission::counts::{Counts, Visitor};
use crate::web::refusal::Refusal;

/// The gateway's doorman, shared by the acceptor and all connections.
#[derive(Debug)]
pub struct Admission {
    counts: Mutex<Counts>,
}

/// The right to one connection; given back when dropped.
#[derive(Debug)]
pub struct Admitted {
    admission: Arc<Admission>,
    address: IpAddr,
    since: Instant,
    /// The number of its unfinished handshake.
    handshake: Option<u64>,
    cut: Arc<Notify>,
    /// Connections of the shard that serves it.
    shard: Option<Arc<AtomicUsize>>,
}

impl Admission {
    /// From the limits of the same names.
    #[must_use]
    pub fn new(limits: &Limits, now: Instant) -> Arc<Self> {
        Arc::new(Admission { counts: Mutex::new(Counts::new(limits, now)) })
    }

    /// From now on these limits count; who is in stays in.
    pub fn adopt(&self, limits: &Limits, now: Instant) {
        self.counts().adopt(limits, now);
    }

    /// Asks for one connection from `address`, with its handshake. Where that is one handshake more than there may be,
    /// the oldest unfinished one gives way: whoever floods keeps out itself first, and nobody who asks at once.
    ///
    /// # Errors
    /// 429 for limits of the address, 503 for those of the gateway.
    pub fn admit(self: &Arc<Self>, address: IpAddr, now: Instant) -> Result<Admitted, Refusal> {
        self.enter(Visitor::Client(bucketed(address)), now)
    }

    /// Asks for one connection of a trusted proxy's: its own address has no bounds. [`Admitted::serve_for`] says whose the
    /// connection is.
    ///
    /// # Errors
    /// 503 for limits of the gateway.
    pub fn admit_proxy(self: &Arc<Self>, address: IpAddr, now: Instant) -> Result<Admitted, Refusal> {
        self.enter(Visitor::Proxy(bucketed(address)), now)
    }

    fn enter(self: &Arc<Self>, visitor: Visitor, now: Instant) -> Result<Admitted, Refusal> {
        let cut = Arc::new(Notify::new());
        let handshake = self.counts().enter(visitor, &cut, now).map_err(Over::refusal)?;
        let admission = Arc::clone(self);
        let handshake = Some(handshake);
        Ok(Admitted { admission, address: visitor.address(), since: now, handshake, cut, shard: None })
    }

    /// What is open now, and what has given way.
    #[must_use]
    pub fn status(&self) -> AdmissionStatus {
        self.counts().status()
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Admitted {
    /// Counts the connection among those of a shard.
    pub fn served_by(&mut self, connections: Arc<AtomicUsize>) {
        connections.fetch_add(1, Ordering::Relaxed);
        self.shard = Some(connections);
    }

    /// The connection turns out to be, or from now on is, that of the client at `address`, who has bounds.
    ///
    /// # Errors
    /// 429 for limits of the address; then it is whose it was.
    pub fn serve_for(&mut self, address: IpAddr, now: Instant) -> Result<(), Refusal> {
        let address = bucketed(address);
        if address != self.address {
            let (from, handshake) = (self.address, self.handshake);
            self.admission.counts().pass_on(from, address, handshake, now).map_err(Over::refusal)?;
            self.address = address;
        }
        Ok(())
    }

    /// When the connection was accepted.
    #[must_use]
    pub fn since(&self) -> Instant {
        self.since
    }

    /// Notified when the connection has to end at once: it gave way while its handshake was unfinished.
    #[must_use]
    pub fn cut(&self) -> Arc<Notify> {
        Arc::clone(&self.cut)
    }

    /// The first request has been read whole: the handshake no longer counts.
    pub fn handshake_done(&mut self) {
        if let Some(handshake) = self.handshake.take() {
            self.admission.counts().finish(handshake);
        }
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        if let Some(shard) = &self.shard {
            shard.fetch_sub(1, Ordering::Relaxed);
        }
        self.admission.counts().leave(self.address, self.handshake, Instant::now());
    }
}

/// The limit that a connection would break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    AddressRate,
    AddressConnections,
    Connections,
    Rate,
}

impl Over {
    fn refusal(self) -> Refusal {
        let too_many = |what: &str| Refusal::new(StatusCode::TOO_MANY_REQUESTS, format!("too_many: {what}"));
        match self {
            Over::AddressRate => {
                too_many("connections a second from this address (--limit connection-rate-per-address)")
            }
            Over::AddressConnections => {
                too_many("connections from this address (--limit connections-per-address)")
            }
            Over::Connections => {
                Refusal::overload("as many connections as there may be (--limit connections)")
            }
            Over::Rate => {
                Refusal::overload("as many connections a second as may be (--limit connection-rate)")
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
mod tests;
