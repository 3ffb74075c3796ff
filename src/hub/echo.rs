//! Recognises the gateway's own datagrams when the network brings them back: by (own address, own port).

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};

/// Number of a sender; not used again while the shard runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SenderId(pub u32);

/// The ports of this shard's senders and the addresses of this host.
#[derive(Debug, Default)]
pub struct Echoes {
    /// By family (true for IPv4) and port: each send socket has its own.
    ports: RefCell<HashMap<(bool, u16), SenderId>>,
    addresses: RefCell<HashSet<IpAddr>>,
    next: Cell<u32>,
}

impl Echoes {
    /// A number for a new sender.
    #[must_use]
    pub fn number(&self) -> SenderId {
        self.next.set(self.next.get().wrapping_add(1));
        SenderId(self.next.get())
    }

    /// From now on datagrams from `port` are this sender's.
    pub fn add(&self, ipv4: bool, port: u16, sender: SenderId) {
        self.ports.borrow_mut().insert((ipv4, port), sender);
    }

    /// The sender has given up `port`.
    pub fn remove(&self, ipv4: bool, port: u16) {
        self.ports.borrow_mut().remove(&(ipv4, port));
    }

    /// Sets the addresses of this host.
    pub fn own_addresses(&self, addresses: impl Iterator<Item = IpAddr>) {
        let mut own = self.addresses.borrow_mut();
        own.clear();
        own.extend(addresses);
    }

    /// The sender that caused a datagram from `source`, if it was one of ours.
    #[must_use]
    pub fn sender_of(&self, source: SocketAddr) -> Option<SenderId> {
        let ports = self.ports.borrow();
        if ports.is_empty() {
            return None;
        }
        let sender = *ports.get(&(source.is_ipv4(), source.port()))?;
        self.addresses.borrow().contains(&source.ip()).then_some(sender)
    }
}
