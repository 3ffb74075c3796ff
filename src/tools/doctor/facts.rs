//! Everything that the checks look at, gathered once: a plain value that tests can make up.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use crate::lan::interface::Interface;
use crate::lan::kernel::{Counters, Ipv6State, UdpSocket};
use crate::model::selector::InterfaceSelector;
use crate::sys::links::Link;
use crate::tools::doctor::gateway::GatewayFacts;
use crate::tools::lan_tap::LanTarget;

/// What was asked for.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// Groups, with their sources.
    pub targets: Vec<LanTarget>,
    /// The interface, where one was named.
    pub interface: Option<InterfaceSelector>,
    /// How long to listen; zero looks only, and sends nothing.
    pub listen: Duration,
    /// Bytes of receive buffer that a stream asks for.
    pub receive_buffer: usize,
}

/// The host, as it was found.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// What was asked for.
    pub asked: Asked,
    /// Every interface.
    pub interfaces: Vec<InterfaceFacts>,
    /// Every group asked for, in that order.
    pub groups: Vec<GroupFacts>,
    /// The host's settings.
    pub settings: Settings,
    /// Counters when it began and when it was over.
    pub counters: (Counters, Counters),
    /// Why this looks like a container with a network of its own.
    pub container: Option<String>,
    /// What is known of the firewall, in words; `None` where nobody may look.
    pub firewall: Option<String>,
    /// The gateway asked about.
    pub gateway: Option<GatewayFacts>,
    /// What could not be looked at.
    pub unchecked: Vec<Unchecked>,
}

/// Something that was not looked at.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Unchecked {
    /// What.
    pub check: &'static str,
    /// Why not, and how it could be.
    pub why: String,
}

/// Settings of the host; `None` where they can't be read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Settings {
    /// `net.ipv4.igmp_max_memberships`: IPv4 groups on one socket; a gateway has one on each.
    pub most_memberships: Option<u64>,
    /// `net.ipv4.igmp_max_msf`: sources of one IPv4 group on one socket.
    pub most_sources_v4: Option<u64>,
    /// `net.ipv6.mld_max_msf`: the same for IPv6.
    pub most_sources_v6: Option<u64>,
    /// `net.core.optmem_max` in bytes.
    pub option_memory: Option<u64>,
    /// `net.core.rmem_max` in bytes.
    pub most_receive_buffer: Option<u64>,
    /// Files that a program may have open.
    pub most_files: Option<u64>,
}

/// One interface.
#[derive(Clone, Debug)]
pub struct InterfaceFacts {
    /// As programs see it.
    pub interface: Interface,
    /// It was asked for, by name or because the routing table chose it for a group.
    pub asked: bool,
    /// As the kernel tells it, at the beginning.
    pub link: Link,
    /// The same at the end; `None` when it has gone.
    pub link_after: Option<Link>,
    /// Name and kind of what it is enslaved to.
    pub master: Option<(String, String)>,
    /// The larger of its own `rp_filter` and that for all.
    pub rp_filter: u64,
    /// The rest of the world is reached by it, so no source is refused for coming in by it.
    pub default_route: bool,
    /// Version of IGMP that the host speaks there.
    pub igmp_version: Option<u8>,
    /// `force_igmp_version`, `force_mld_version`; 0 where nothing is forced.
    pub forced: (u64, u64),
    /// `disable_ipv6`.
    pub ipv6_disabled: bool,
    /// Its IPv6 addresses.
    pub ipv6: Vec<Ipv6State>,
    /// It is a Wi-Fi.
    pub wireless: bool,
    /// MLD queries that the host's MLD has taken, at the beginning and at the end.
    pub mld_queries: (Option<u64>, Option<u64>),
    /// What came in, before any filter; `None` where nobody may look.
    pub wire: Option<Wire>,
    /// IGMP queries behind the firewall; `None` where nobody may look.
    pub igmp_behind_firewall: Option<u64>,
    /// What came of sending to ourselves, over IPv4 and over IPv6, where it was tried.
    pub self_tests: (Option<SelfTest>, Option<SelfTest>),
}

/// Multicast that came in by an interface.
#[derive(Clone, Debug, Default)]
pub struct Wire {
    /// Datagrams by group, port and source.
    pub datagrams: BTreeMap<(IpAddr, u16, IpAddr), u64>,
    /// Queries to all hosts.
    pub general_queries: Queries,
    /// Queries about one group.
    pub specific_queries: Queries,
}

/// Queries of IGMP and MLD.
#[derive(Clone, Debug, Default)]
pub struct Queries {
    /// IGMP: how many.
    pub igmp: u64,
    /// MLD: how many.
    pub mld: u64,
    /// Who asked, in which version.
    pub queriers: BTreeMap<IpAddr, u8>,
}

/// What came of a datagram to a scratch group, sent to ourselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SelfTest {
    /// It came back.
    Passed,
    /// A firewall refused it.
    Refused,
    /// It was sent and did not come back.
    NotHeard,
    /// It could not be sent or listened for.
    Impossible(String),
}

/// One group.
#[derive(Clone, Debug)]
pub struct GroupFacts {
    /// The group and its sources.
    pub target: LanTarget,
    /// Who chose the interfaces.
    pub chosen: Chosen,
    /// Why a gateway denies it unless it is listed exactly.
    pub denied: Option<String>,
    /// The sources that were named, each with the interface that the routing table answers them by.
    pub source_routes: Vec<(IpAddr, Option<u32>)>,
    /// Who has its port.
    pub holders: (Vec<UdpSocket>, Vec<UdpSocket>),
    /// A join for each interface, where joins were tried.
    pub joins: Vec<Join>,
    /// What came when everything else was tried.
    pub elsewhere: Vec<Elsewhere>,
}

/// Who chose a group's interfaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chosen {
    /// The flag, the configuration.
    ByName,
    /// The routing table.
    ByRoute,
    /// Nobody.
    Nobody,
}

/// A group joined on an interface.
#[derive(Clone, Debug)]
pub struct Join {
    /// Index of the interface.
    pub index: u32,
    /// Its name.
    pub interface: String,
    /// What the kernel said.
    pub outcome: Result<Joined, Refused>,
    /// What came.
    pub heard: Heard,
}

/// A join that succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Joined {
    /// Bytes of receive buffer, without the kernel's own share.
    pub receive_buffer: usize,
    /// The membership was in the kernel's table at once, and still at the end.
    pub present: (bool, bool),
}

/// A join that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The error number.
    pub code: Option<i32>,
    /// In words.
    pub words: String,
}

/// Datagrams that a socket heard.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Heard {
    /// How many.
    pub datagrams: u64,
    /// Bytes of payload.
    pub bytes: u64,
    /// From whom, each with the number of datagrams; those of the first 32 sources.
    pub sources: BTreeMap<IpAddr, u64>,
    /// TTLs or hop limits.
    pub ttls: BTreeSet<u8>,
    /// What the kernel dropped for want of room.
    pub drops: u64,
}

/// Where the group was found when it was looked for everywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elsewhere {
    /// Name of the interface.
    pub interface: String,
    /// Its index.
    pub index: u32,
    /// Who sends there.
    pub sources: BTreeSet<IpAddr>,
}

impl Facts {
    /// The interfaces that were asked for.
    pub fn asked_interfaces(&self) -> impl Iterator<Item = &InterfaceFacts> {
        self.interfaces.iter().filter(|facts| facts.asked)
    }

    /// The interface with `index`.
    #[must_use]
    pub fn interface(&self, index: u32) -> Option<&InterfaceFacts> {
        self.interfaces.iter().find(|facts| facts.interface.index == index)
    }

    /// IPv4 groups were asked for, or none at all.
    #[must_use]
    pub fn wants_v4(&self) -> bool {
        self.groups.is_empty() || self.groups.iter().any(|facts| facts.target.group.is_ipv4())
    }

    /// IPv6 groups were asked for.
    #[must_use]
    pub fn wants_v6(&self) -> bool {
        self.groups.iter().any(|facts| !facts.target.group.is_ipv4())
    }
}

impl InterfaceFacts {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.interface.name
    }

    /// Datagrams can come in by it and reach whoever joined there.
    #[must_use]
    pub fn can_receive(&self) -> bool {
        self.interface.is_able() && !self.is_port()
    }

    /// What it receives belongs to another: a bridge, bond or team. (A VRF's members keep what they receive.)
    #[must_use]
    pub fn is_port(&self) -> bool {
        let owners = ["bridge", "bond", "team", "openvswitch"];
        self.master.as_ref().is_some_and(|(_, kind)| owners.contains(&kind.as_str()))
    }
}

impl Heard {
    /// The most sources that are told apart.
    pub const MOST_SOURCES: usize = 32;
}
