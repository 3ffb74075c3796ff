//! The host's interfaces as they are now, and which of them an [`InterfaceSelector`] means.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

use getifaddrs::{Address, InterfaceFlags};

use crate::model::group::Group;
use crate::model::selector::InterfaceSelector;
use crate::model::status::InterfaceStatus;
use crate::sys;

/// One interface (RFC 2863) at the moment of the look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Name.
    pub name: String,
    /// Index, unique on this host and namespace while the interface exists.
    pub index: u32,
    /// Addresses on it.
    pub addresses: Vec<IpAddr>,
    /// Administratively up.
    pub up: bool,
    /// Has carrier.
    pub running: bool,
    /// Says that it can multicast.
    pub multicast: bool,
    /// Is the loopback.
    pub loopback: bool,
}

/// All interfaces at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interfaces(Vec<Interface>);

impl Interface {
    /// Up and with carrier: datagrams can come.
    #[must_use]
    pub fn is_able(&self) -> bool {
        self.up && self.running
    }

    /// For the status; reads the MTU besides.
    #[must_use]
    pub fn status(&self) -> InterfaceStatus {
        InterfaceStatus {
            name: self.name.clone(),
            index: self.index,
            addresses: self.addresses.iter().map(ToString::to_string).collect(),
            up: self.up,
            running: self.running,
            multicast: self.multicast,
            loopback: self.loopback,
            mtu: sys::socket::mtu(&self.name).unwrap_or(0),
        }
    }
}

impl Interfaces {
    /// Looks at the network namespace of the calling thread.
    ///
    /// # Errors
    /// As `getifaddrs(3)` gives them.
    pub fn now() -> io::Result<Self> {
        let mut all: Vec<Interface> = Vec::new();
        for entry in getifaddrs::getifaddrs()? {
            let Some(index) = entry.index else { continue };
            let address = match entry.address {
                Address::V4(v4) => Some(IpAddr::from(v4.address)),
                Address::V6(v6) => Some(IpAddr::from(v6.address)),
                Address::Mac(_) => None,
            };
            if let Some(known) = all.iter_mut().find(|known| known.index == index) {
                known.addresses.extend(address);
                continue;
            }
            all.push(Interface {
                name: entry.name,
                index,
                addresses: address.into_iter().collect(),
                up: entry.flags.contains(InterfaceFlags::UP),
                running: entry.flags.contains(InterfaceFlags::RUNNING),
                multicast: entry.flags.contains(InterfaceFlags::MULTICAST),
                loopback: entry.flags.contains(InterfaceFlags::LOOPBACK),
            });
        }
        all.sort_by_key(|interface| interface.index);
        Ok(Interfaces(all))
    }

    /// The interface that a selector means now; `All` means none in particular.
    #[must_use]
    pub fn find(&self, selector: &InterfaceSelector) -> Option<&Interface> {
        self.0.iter().find(|interface| match selector {
            InterfaceSelector::Name(name) => interface.name == *name,
            InterfaceSelector::Index(index) => interface.index == *index,
            InterfaceSelector::Address(address) => interface.addresses.contains(address),
            InterfaceSelector::All => false,
        })
    }

    /// Every interface, by index.
    pub fn iter(&self) -> impl Iterator<Item = &Interface> {
        self.0.iter()
    }

    /// Those that `interface=all` means: up, able to multicast or the loopback.
    pub fn for_all(&self) -> impl Iterator<Item = &Interface> {
        self.0.iter().filter(|interface| interface.up && (interface.multicast || interface.loopback))
    }

    /// Their names, for error messages.
    #[must_use]
    pub fn names(&self) -> String {
        let names: Vec<_> = self.0.iter().map(|interface| interface.name.as_str()).collect();
        names.join(", ")
    }

    /// Whether `address` is one of this host's own.
    #[must_use]
    pub fn own(&self, address: IpAddr) -> bool {
        self.0.iter().any(|interface| interface.addresses.contains(&address))
    }

    /// The interface that the routing table names for `group`.
    ///
    /// Connecting a UDP socket asks the table and sends nothing.
    #[must_use]
    pub fn routed(&self, group: &Group) -> Option<&Interface> {
        let any: IpAddr =
            if group.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = UdpSocket::bind((any, 0)).ok()?;
        socket.connect(group.socket_address()).ok()?;
        let local = socket.local_addr().ok()?.ip();
        self.0.iter().find(|interface| interface.addresses.contains(&local))
    }
}
