//! Recognises the gateway's own datagrams when the network brings them back: by (own address, own port).

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Number of a sender; not used again while the gateway runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SenderId(pub u32);

/// By family (true for IPv4) and port: each send socket has its own.
type Ports = HashMap<(bool, u16), SenderId>;

/// The senders of all shards. A shard looks at them when there was a change, never at a datagram.
#[derive(Debug, Default)]
pub struct Senders {
    ports: Mutex<Ports>,
    changes: AtomicU64,
    next: AtomicU32,
}

/// What one shard knows of the gateway's senders, and the addresses of this host.
#[derive(Debug, Default)]
pub struct Echoes {
    senders: Arc<Senders>,
    known: RefCell<Ports>,
    /// The changes that `known` has in it.
    seen: Cell<u64>,
    addresses: RefCell<HashSet<IpAddr>>,
}

impl Senders {
    fn ports(&self) -> MutexGuard<'_, Ports> {
        self.ports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a change, after it was made.
    fn changed(&self) {
        self.changes.fetch_add(1, Ordering::Release);
    }
}

impl Echoes {
    /// A shard's view of `senders`.
    #[must_use]
    pub fn of(senders: Arc<Senders>) -> Self {
        Echoes { senders, ..Echoes::default() }
    }

    /// A number for a new sender.
    #[must_use]
    pub fn number(&self) -> SenderId {
        SenderId(self.senders.next.fetch_add(1, Ordering::Relaxed).wrapping_add(1))
    }

    /// From now on datagrams from `port` are this sender's.
    pub fn add(&self, ipv4: bool, port: u16, sender: SenderId) {
        self.senders.ports().insert((ipv4, port), sender);
        self.senders.changed();
    }

    /// The sender has given up `port`.
    pub fn remove(&self, ipv4: bool, port: u16) {
        self.senders.ports().remove(&(ipv4, port));
        self.senders.changed();
    }

    /// Learns of senders that have come and gone: before the datagrams that were received since are looked at.
    pub fn refresh(&self) {
        let changes = self.senders.changes.load(Ordering::Acquire);
        if self.seen.replace(changes) != changes {
            self.known.borrow_mut().clone_from(&self.senders.ports());
        }
    }

    /// Sets the addresses of this host.
    pub fn own_addresses(&self, addresses: impl Iterator<Item = IpAddr>) {
        let mut own = self.addresses.borrow_mut();
        own.clear();
        own.extend(addresses);
    }

    /// The sender that caused a datagram from `source`, if it was one of ours, on whatever shard.
    #[must_use]
    pub fn sender_of(&self, source: SocketAddr) -> Option<SenderId> {
        let ports = self.known.borrow();
        if ports.is_empty() {
            return None;
        }
        let sender = *ports.get(&(source.is_ipv4(), source.port()))?;
        self.addresses.borrow().contains(&source.ip()).then_some(sender)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_know_each_other_s_senders() {
        let senders = Arc::<Senders>::default();
        let (one, other) = (Echoes::of(Arc::clone(&senders)), Echoes::of(senders));
        let source: SocketAddr = "10.0.0.1:4000".parse().unwrap();
        one.own_addresses([source.ip()].into_iter());
        other.own_addresses([source.ip()].into_iter());
        let sender = one.number();
        assert_ne!(sender, other.number());
        one.add(true, source.port(), sender);
        other.refresh();
        assert_eq!(other.sender_of(source), Some(sender));
        assert_eq!(other.sender_of("10.0.0.2:4000".parse().unwrap()), None);
        one.remove(true, source.port());
        other.refresh();
        assert_eq!(other.sender_of(source), None);
    }
}
