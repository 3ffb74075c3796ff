//! The deny list: groups and ports that no prefix opens, whatever anybody was granted.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::group::Group;
use super::policy::Direction;

/// Why a group is denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DenyRule {
    /// What stands on the list, at most 22 bytes for IPv6 and 40 for IPv4.
    pub words: &'static str,
    /// Whether an operator can open it.
    pub opens: Opens,
}

/// What opens an entry of the deny list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opens {
    /// A rule that names exactly that address and port: services that some networks want to hear, and that
    /// nobody should reach because a wide prefix was listed.
    ByName,
    /// Nothing: the network's own control, and what is no group of anybody.
    Never,
}

/// What `group` stands on the deny list for, for that direction; the entry that nothing opens first.
#[must_use]
pub fn denied(group: &Group, direction: Direction) -> Option<DenyRule> {
    let address = match group.address() {
        IpAddr::V4(four) => denied_v4(four),
        IpAddr::V6(six) => denied_v6(six),
    };
    let by_name = |words| DenyRule { words, opens: Opens::ByName };
    let port = || denied_port(group.port()).map(by_name);
    let system = || {
        let denied = direction == Direction::Send && group.port() < 1024;
        denied.then(|| by_name("ports below 1024"))
    };
    address.or_else(port).or_else(system)
}

/// RFC 5771 and the IANA registry: network control, what is reserved or for documents, and services that answer
/// whoever asks.
fn denied_v4(address: Ipv4Addr) -> Option<DenyRule> {
    let (words, opens) = match address.octets() {
        [224, 0, 0, 251] => ("224.0.0.251 (mDNS)", Opens::ByName),
        [224, 0, 0, _] => ("224.0.0.0/24 (network control)", Opens::Never),
        [224, 0, 1, 1] => ("224.0.1.1 (NTP)", Opens::ByName),
        [224, 0, 1, 129..=132] => ("224.0.1.129-132 (PTP)", Opens::ByName),
        [224, 0, 1, 22 | 35] => ("224.0.1.22 and .35 (SLP)", Opens::ByName),
        [224, 0, 1, 39 | 40] => ("224.0.1.39 and .40 (auto-RP)", Opens::ByName),
        [224, 0, 1, 187] => ("224.0.1.187 (CoAP)", Opens::ByName),
        [224, 2, 127, 254] => ("224.2.127.254 (SAP)", Opens::ByName),
        [232, 0, 0, _] => ("232.0.0.0/24 (reserved)", Opens::Never),
        [233, 252, 0, _] => ("233.252.0.0/24 (documentation)", Opens::Never),
        [239, 255, 255, 250] => ("239.255.255.250 (SSDP)", Opens::ByName),
        [239, 255, 255, 253] => ("239.255.255.253 (SLP)", Opens::ByName),
        [239, 255, 255, 255] => ("239.255.255.255 (SAP)", Opens::ByName),
        _ => return None,
    };
    Some(DenyRule { words, opens })
}

/// RFC 4291 section 2.7, RFC 7346 and the IANA registry. The well-known groups are those without the T flag
/// (`ff0x`).
fn denied_v6(address: Ipv6Addr) -> Option<DenyRule> {
    let segments = address.segments();
    let (flags, scope) = (segments[0] >> 4 & 0xf, segments[0] & 0xf);
    let well_known = flags == 0 && segments[1..7] == [0; 6];
    let (words, opens) = match (scope, segments[7]) {
        _ if flags & 0x8 != 0 => ("reserved IPv6 flags", Opens::Never),
        (0x0 | 0xf, _) => ("reserved IPv6 scope", Opens::Never),
        (0x1, _) if flags == 0 => ("ff01::/16 (interface)", Opens::Never),
        (_, 0xc) if well_known => ("ff0x::c (SSDP)", Opens::ByName),
        (_, 0xfb) if well_known => ("ff0x::fb (mDNS)", Opens::ByName),
        (_, 0xfd) if well_known => ("ff0x::fd (CoAP)", Opens::ByName),
        (0x2, _) if flags == 0 => ("ff02::/16 (link)", Opens::Never),
        (_, 0x101) if well_known => ("ff0x::101 (NTP)", Opens::ByName),
        (_, 0x181) if well_known => ("ff0x::181 (PTP)", Opens::ByName),
        _ => return None,
    };
    Some(DenyRule { words, opens })
}

/// UDP ports of control protocols and of services that amplify, whatever the group.
pub(super) fn denied_port(port: u16) -> Option<&'static str> {
    Some(match port {
        53 => "port 53 (DNS)",
        67..=69 => "port 67-69 (DHCP)",
        123 => "port 123 (NTP)",
        137..=139 => "port 137-139 (NetBIOS)",
        161 | 162 => "port 161-162 (SNMP)",
        319 | 320 => "port 319-320 (PTP)",
        427 => "port 427 (SLP)",
        520 | 521 => "port 520-521 (RIP)",
        546 | 547 => "port 546-547 (DHCP)",
        646 => "port 646 (LDP)",
        1900 => "port 1900 (SSDP)",
        1985 => "port 1985 (HSRP)",
        3222 => "port 3222 (GLBP)",
        3702 => "port 3702 (WSD)",
        5353 => "port 5353 (mDNS)",
        5355 => "port 5355 (LLMNR)",
        5683 => "port 5683 (CoAP)",
        6696 => "port 6696 (Babel)",
        9875 => "port 9875 (SAP)",
        _ => return None,
    })
}
