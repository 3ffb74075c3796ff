//! A finding: what was seen, why it matters, and the command that mends it, under a name that stays.

use std::fmt;

use serde::Serialize;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Good to know; nothing has to be done.
    Note,
    /// Works now and may not later, or not for everybody, or under load.
    Warning,
    /// Datagrams don't get through.
    Fault,
}

/// One thing that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The word that `docs/troubleshooting.md` is indexed by.
    pub name: Name,
    /// How bad it is here.
    pub severity: Severity,
    /// The interface, group, program or gateway that it is about; empty for the host.
    pub about: String,
    /// What was seen.
    pub seen: String,
    /// Why it matters.
    pub why: &'static str,
    /// What mends it: commands, or where there is none for this host, what to do. The first is the usual one.
    pub mend: Vec<String>,
}

impl Finding {
    /// With the severity that its name usually has.
    #[must_use]
    pub fn new(name: Name, about: impl fmt::Display, seen: impl Into<String>) -> Finding {
        let (severity, why) = name.meaning();
        Finding { name, severity, about: about.to_string(), seen: seen.into(), why, mend: Vec::new() }
    }

    /// With a command that mends it, besides those there are.
    #[must_use]
    pub fn mend(mut self, command: impl Into<String>) -> Finding {
        self.mend.push(command.into());
        self
    }

    /// With another severity.
    #[must_use]
    pub fn at(self, severity: Severity) -> Finding {
        Finding { severity, ..self }
    }
}

/// Makes the enumeration of names with their words, usual severities and reasons.
macro_rules! names {
    ($($(#[$doc:meta])* $name:ident $word:literal $severity:ident $why:literal)*) => {
        /// What can be found. The words are stable: scripts and `docs/troubleshooting.md` go by them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        pub enum Name {
            $($(#[$doc])* #[serde(rename = $word)] $name,)*
        }

        impl Name {
            /// Every name.
            pub const ALL: &[Name] = &[$(Name::$name),*];

            /// Its word.
            #[must_use]
            pub fn word(self) -> &'static str {
                match self { $(Name::$name => $word,)* }
            }

            fn meaning(self) -> (Severity, &'static str) {
                match self { $(Name::$name => (Severity::$severity, $why),)* }
            }
        }
    };
}

names! {
    /// The interface asked for does not exist, or none could be used.
    NoInterface "no-interface" Fault
        "Groups are joined on an interface; without it nothing can be received."
    /// Not up.
    InterfaceDown "interface-down" Fault
        "An interface that is down receives nothing, and the kernel accepts joins on it without a word."
    /// Up, with nothing at the other end.
    NoCarrier "no-carrier" Fault
        "Without carrier no frame comes in."
    /// The carrier came and went while we looked.
    CarrierFlapping "carrier-flapping" Warning
        "A switch forgets its port's memberships when the carrier goes; IPv4 reports them again only when asked."
    /// The multicast flag is off.
    NoMulticastFlag "no-multicast-flag" Warning
        "The driver may not open the hardware's filter for groups on an interface that is set not to multicast."
    /// The interface is a port of a bridge, bond or team.
    BridgePort "bridge-port" Fault
        "What a port receives belongs to its bridge, bond or team: a join on the port itself hears nothing."
    /// No IPv4 address on an interface that an IPv4 group is joined on.
    NoIpv4Address "no-ipv4-address" Warning
        "Reports and datagrams then carry another interface's address, and rp_filter 1 or 2 drops everything that comes."
    /// IPv6 is off, or has no link-local address or too small an MTU there.
    Ipv6Unusable "ipv6-unusable" Fault
        "MLD reports are sent from a link-local address; IPv6 wants an MTU of 1280 or more."
    /// The link-local address is not usable yet, or a duplicate.
    Ipv6Tentative "ipv6-tentative" Warning
        "Until duplicate address detection is over nothing is sent from the address, MLD reports included."
    /// Reverse path filtering drops, or may drop, the group's sources.
    RpFilter "rp-filter" Warning
        "The kernel drops IPv4 datagrams whose source it would not answer by the interface they come in by, silently."
    /// No interface was named and the routing table has none for the group.
    NoRoute "no-route" Fault
        "Who names no interface joins where the routing table sends the group, and it sends it nowhere."
    /// No interface was named and several could be meant.
    AmbiguousInterface "ambiguous-interface" Warning
        "The routing table chose; a default route by the wrong interface is the usual reason that nothing comes."
    /// The kernel refused the join.
    JoinRefused "join-refused" Fault
        "Without the membership neither the host nor its switch lets the group in."
    /// Another program has the port for itself.
    PortHeld "port-held" Fault
        "A program that opens a port without SO_REUSEADDR shares it with nobody."
    /// The kernel allows no membership at all.
    MembershipLimit "membership-limit" Fault
        "A gateway joins one group on each socket, so any limit but 0 will do; with 0 every IPv4 join is refused."
    /// More sources than the kernel takes for one group.
    TooManySources "too-many-sources" Fault
        "The kernel refuses a source filter that is longer than its setting."
    /// `net.core.optmem_max` is very small.
    OptionMemory "option-memory" Warning
        "Memberships and source filters live in the socket's option memory; joins fail when it is used up."
    /// Few files may be open.
    OpenFiles "open-files" Warning
        "Every client and every stream is a file of the gateway; at the limit it can't accept anybody."
    /// The kernel grants less receive buffer than asked for.
    ReceiveBuffer "receive-buffer" Warning
        "A burst that does not fit into the socket's buffer is lost in the kernel, before any program can read it."
    /// The membership is not, or no longer, in the kernel's tables.
    MembershipLost "membership-lost" Fault
        "An interface that is deleted and made anew, or moved, takes its memberships with it without telling the program."
    /// The host speaks an old version of IGMP there.
    OldIgmp "old-igmp" Warning
        "IGMP before version 3 knows no sources: unwanted ones reach this host and are filtered only here."
    /// The host speaks the old version of MLD there.
    OldMld "old-mld" Warning
        "MLD before version 2 knows no sources: unwanted ones reach this host and are filtered only here."
    /// No IGMP query was heard.
    NoIgmpQuerier "no-igmp-querier" Note
        "A switch that snoops forgets members when nobody asks: the stream works for some four minutes and then stops."
    /// No MLD query was heard.
    NoMldQuerier "no-mld-querier" Note
        "A switch that snoops forgets members when nobody asks: the stream works for some four minutes and then stops."
    /// IGMP queries reach the interface and not the host's IGMP.
    IgmpBlocked "igmp-blocked" Fault
        "A host that hears no queries does not answer them, and the switch cuts its streams after some minutes."
    /// MLD queries reach the interface and not the host's MLD.
    MldBlocked "mld-blocked" Fault
        "A host that hears no queries does not answer them, and the switch cuts its streams after some minutes."
    /// A bridge of this host snoops and nobody asks.
    BridgeWithoutQuerier "bridge-without-querier" Warning
        "A snooping bridge without a querier floods, or with mcast_flood off on its ports forwards nothing."
    /// A firewall refuses what is sent.
    FirewallOutput "firewall-output" Fault
        "What this host sends to groups is refused before it leaves."
    /// A firewall drops what comes in.
    FirewallInput "firewall-input" Fault
        "Datagrams reach the interface and are dropped before any program hears them."
    /// Sending is impossible for another reason.
    CannotSend "cannot-send" Warning
        "Clients that may send through the gateway will be refused by the kernel."
    /// The group comes in by another interface.
    OtherInterface "other-interface" Fault
        "A group is heard only on the interface that it is joined on."
    /// The group has other sources than those asked for.
    OtherSource "other-source" Fault
        "A source-specific join hears nobody but the sources it names."
    /// The group is sent to another port.
    OtherPort "other-port" Fault
        "A socket hears only its own port, whatever group it has joined."
    /// Joined, nothing came, and nothing here explains it.
    NoTraffic "no-traffic" Fault
        "Nothing on this host keeps the group away: look at the sender and at what lies between."
    /// Nothing came, and this is a container with a network of its own.
    ContainerNetwork "container-network" Fault
        "A container's own network is a link to its host: multicast of the LAN is not routed into it."
    /// Datagrams were lost because a program read too slowly.
    ReceiveOverflow "receive-overflow" Warning
        "The program did not read fast enough for its buffer, and the kernel threw datagrams away."
    /// Fragments did not make whole datagrams.
    FragmentsLost "fragments-lost" Warning
        "A datagram that is larger than the MTU travels in pieces, and is lost with any one of them."
    /// The interface drops frames.
    InterfaceDrops "interface-drops" Warning
        "Frames are lost before IP sees them: too long for the MTU, damaged, or more than the ring holds."
    /// 232/8 or ff3x::/32 without a source.
    SourceMissing "source-missing" Fault
        "Routers forward source-specific groups only for joins that name a source (RFC 4607)."
    /// A group of the local network's own control protocols.
    LinkLocalGroup "link-local-group" Warning
        "Such a group never passes a router, whatever the TTL, and a gateway denies it until it is listed exactly."
    /// A range that nobody may use.
    ReservedGroup "reserved-group" Warning
        "The range is reserved: routers and firewalls may drop it."
    /// On the gateway's deny list.
    DeniedGroup "denied-group" Warning
        "Control protocols and services that answer whoever asks are denied both ways until exactly they are listed."
    /// Groups that share an Ethernet address.
    MacAliasing "mac-aliasing" Note
        "32 IPv4 groups share each Ethernet address: a switch that knows no better forwards them together."
    /// Nobody answers at the gateway's address.
    GatewayUnreachable "gateway-unreachable" Fault
        "No client can connect."
    /// The gateway's TLS does not come up.
    GatewayTls "gateway-tls" Fault
        "Browsers refuse what this machine refuses."
    /// Something else answers there.
    NotAGateway "not-a-gateway" Fault
        "The address belongs to another program, or a proxy in front knows no such path."
    /// The Host is not on the gateway's list.
    GatewayHostRefused "gateway-host-refused" Fault
        "A gateway answers only to its own names and addresses, or any page could reach it through DNS."
    /// The Origin is not on the gateway's list.
    GatewayOriginRefused "gateway-origin-refused" Fault
        "A browser says whose page connects; pages that are not listed are refused."
    /// A token is wanted, or not good.
    GatewayTokenRefused "gateway-token-refused" Fault
        "The gateway's policy wants to know who asks."
    /// The gateway would not serve the group.
    GatewayRefusesGroup "gateway-refuses-group" Fault
        "The gateway's policy, or its host's kernel, does not let it serve this stream."
    /// A stream of the gateway waits for its interface.
    GatewayStreamWaiting "gateway-stream-waiting" Fault
        "Its clients are connected and hear nothing until the interface is back."
    /// A stream of the gateway hears nothing.
    GatewayStreamSilent "gateway-stream-silent" Warning
        "The gateway has joined, and nothing reaches it: run the doctor on its host."
    /// The gateway loses datagrams in its kernel.
    GatewayLosses "gateway-losses" Warning
        "Datagrams that the gateway's kernel dropped are lost for all of its clients."
    /// The gateway is stopping.
    GatewayDraining "gateway-draining" Warning
        "It takes no new clients; those it has are told to reconnect."
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_words_and_appear_once() {
        let mut words: Vec<_> = Name::ALL.iter().map(|name| name.word()).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), Name::ALL.len());
        assert!(words.iter().all(|word| {
            word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        }));
        let json = serde_json::to_value(Finding::new(Name::Ipv6Unusable, "lan0", "off")).expect("JSON");
        assert_eq!((&json["name"], &json["severity"]), (&"ipv6-unusable".into(), &"fault".into()));
    }
}
