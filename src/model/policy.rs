//! Which groups may be received, and which sent to.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use thiserror::Error;

use super::group::Group;
pub use super::spec::{Spec, SpecError};
use super::status::PolicyStatus;

/// What clients may receive and send.
///
/// One deny list stands before everything: control protocols of the network itself, whose groups and ports
/// must not become reachable from a web page because somebody listed a wide prefix. It yields only to a
/// [`Spec`] that names exactly that address and port, in the list for that direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    receive: ReceiveRule,
    send: Vec<Spec>,
    /// Groups that the configuration names: naming one is permission to receive it.
    named: Vec<Spec>,
}

/// What may be received, deny list apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReceiveRule {
    /// Every group: for listeners that only this machine reaches.
    AnyButDenied,
    /// Groups that match one of these, and no others.
    Listed(Vec<Spec>),
}

/// Which way datagrams go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the LAN to a client.
    Receive,
    /// From a client to the LAN.
    Send,
}

/// Why a group may not be received or sent to. The text has at most 110 bytes, so that it fits into a close
/// frame's reason (123 bytes, RFC 6455 section 5.5) behind a stable word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Denied {
    /// Nobody may send anything.
    #[error("sending is off; --allow-send {0} would allow it")]
    SendingOff(Group),
    /// A list is given and the group is not on it.
    #[error("not in the {direction} list; --allow-{direction} {group} would allow it")]
    NotListed {
        /// The group asked for.
        group: Group,
        /// Which list.
        direction: Direction,
    },
    /// The group or its port is on the deny list.
    #[error("denied: {rule}; --allow-{direction} {group} would allow it")]
    OnDenyList {
        /// The group asked for.
        group: Group,
        /// Which way.
        direction: Direction,
        /// What stands on the deny list, at most 22 bytes for IPv6 and 40 for IPv4.
        rule: &'static str,
    },
}

impl Policy {
    /// A policy. An empty `send` means that nobody sends.
    pub fn new(receive: ReceiveRule, send: Vec<Spec>) -> Policy {
        Policy { receive, send, named: Vec::new() }
    }

    /// Allows receiving exactly `group`, deny list or not: for a stream that the configuration names.
    pub fn name_group(&mut self, group: Group) {
        self.named.push(Spec::exactly(group));
    }

    /// Whether clients may receive `group`.
    pub fn may_receive(&self, group: &Group) -> Result<(), Denied> {
        let direction = Direction::Receive;
        let listed = match &self.receive {
            ReceiveRule::AnyButDenied => &[][..],
            ReceiveRule::Listed(specs) => specs,
        };
        if self.named.iter().chain(listed).any(|spec| spec.names_exactly(group)) {
            return Ok(());
        }
        if let Some(rule) = denied_address(group.address()).or_else(|| denied_port(group.port())) {
            return Err(Denied::OnDenyList { group: *group, direction, rule });
        }
        let anything = self.receive == ReceiveRule::AnyButDenied;
        if anything || listed.iter().any(|spec| spec.matches(group)) {
            Ok(())
        } else {
            Err(Denied::NotListed { group: *group, direction })
        }
    }

    /// Whether clients may send to `group`.
    pub fn may_send(&self, group: &Group) -> Result<(), Denied> {
        let direction = Direction::Send;
        if self.send.is_empty() {
            return Err(Denied::SendingOff(*group));
        }
        if self.send.iter().any(|spec| spec.names_exactly(group)) {
            return Ok(());
        }
        let system_port = (group.port() < 1024).then_some("ports below 1024");
        let rule = denied_address(group.address()).or_else(|| denied_port(group.port())).or(system_port);
        if let Some(rule) = rule {
            return Err(Denied::OnDenyList { group: *group, direction, rule });
        }
        if self.send.iter().any(|spec| spec.matches(group)) {
            Ok(())
        } else {
            Err(Denied::NotListed { group: *group, direction })
        }
    }

    /// For the status: what stands on the lists, groups that the configuration names included.
    pub fn status(&self) -> PolicyStatus {
        let listed = match &self.receive {
            ReceiveRule::AnyButDenied => None,
            ReceiveRule::Listed(specs) => Some(specs.iter().chain(&self.named)),
        };
        PolicyStatus {
            receive: listed.map(|specs| specs.map(Spec::to_string).collect()),
            send: self.send.iter().map(Spec::to_string).collect(),
        }
    }

    /// Whether what may be received, and what may be sent to, differs from `other`.
    pub fn differs(&self, other: &Policy) -> (bool, bool) {
        ((&self.receive, &self.named) != (&other.receive, &other.named), self.send != other.send)
    }

    /// True where there is any group that clients may send to.
    pub fn sends_at_all(&self) -> bool {
        !self.send.is_empty()
    }
}

/// What an address stands on the deny list for.
fn denied_address(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(four) => denied_v4(four),
        IpAddr::V6(six) => denied_v6(six),
    }
}

/// RFC 5771 and the IANA registry: network control, and services that answer whoever asks.
fn denied_v4(address: Ipv4Addr) -> Option<&'static str> {
    Some(match address.octets() {
        [224, 0, 0, _] => "224.0.0.0/24 (network control)",
        [224, 0, 1, 1] => "224.0.1.1 (NTP)",
        [224, 0, 1, 129..=132] => "224.0.1.129-132 (PTP)",
        [224, 0, 1, 22 | 35] => "224.0.1.22 and .35 (SLP)",
        [224, 0, 1, 39 | 40] => "224.0.1.39 and .40 (auto-RP)",
        [224, 0, 1, 187] => "224.0.1.187 (CoAP)",
        [224, 2, 127, 254] => "224.2.127.254 (SAP)",
        [239, 255, 255, 250] => "239.255.255.250 (SSDP)",
        [239, 255, 255, 253] => "239.255.255.253 (SLP)",
        [239, 255, 255, 255] => "239.255.255.255 (SAP)",
        _ => return None,
    })
}

/// RFC 4291 section 2.7, RFC 7346 and the IANA registry. The well-known groups are those without the T flag
/// (`ff0x`).
fn denied_v6(address: Ipv6Addr) -> Option<&'static str> {
    let segments = address.segments();
    if segments[0] & 0x0080 != 0 {
        return Some("reserved IPv6 flags");
    }
    let well_known = segments[0] & 0x00f0 == 0 && segments[1..7] == [0; 6];
    Some(match (segments[0], segments[7]) {
        (0xff01, _) => "ff01::/16 (interface)",
        (0xff02, _) => "ff02::/16 (link)",
        (_, 0xc) if well_known => "ff0x::c (SSDP)",
        (_, 0xfb) if well_known => "ff0x::fb (mDNS)",
        (_, 0x101) if well_known => "ff0x::101 (NTP)",
        (_, 0x181) if well_known => "ff0x::181 (PTP)",
        _ => return None,
    })
}

/// UDP ports of control protocols and of services that amplify, whatever the group.
fn denied_port(port: u16) -> Option<&'static str> {
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

impl fmt::Display for Direction {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Direction::Receive => "receive",
            Direction::Send => "send",
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn group(text: &str) -> Group {
        text.parse().expect("a group")
    }

    fn specs(texts: &[&str]) -> Vec<Spec> {
        texts.iter().map(|text| text.parse().expect("a spec")).collect()
    }

    const CONTROL: [&str; 20] = [
        "224.0.0.251:6000",
        "224.0.1.1:6000",
        "224.0.1.130:6000",
        "224.0.1.22:6000",
        "224.0.1.40:6000",
        "224.0.1.187:6000",
        "224.2.127.254:6000",
        "239.255.255.250:6000",
        "239.255.255.253:6000",
        "239.255.255.255:6000",
        "[ff01::42]:6000",
        "[ff02::42]:6000",
        "[ff05::c]:6000",
        "[ff08::fb]:6000",
        "[ff0e::101]:6000",
        "[ff05::181]:6000",
        "[ff85::1]:6000",
        "239.1.2.3:5353",
        "239.1.2.3:68",
        "[ff15::42]:1900",
    ];

    #[test]
    fn the_deny_list_yields_only_to_the_exact_name() {
        for text in CONTROL {
            let group = group(text);
            let wide = specs(&["224.0.0.0/4", "ff00::/8"]);
            let any = Policy::new(ReceiveRule::AnyButDenied, wide.clone());
            let listed = Policy::new(ReceiveRule::Listed(wide), vec![]);
            for denied in [any.may_receive(&group), any.may_send(&group), listed.may_receive(&group)] {
                assert!(matches!(denied, Err(Denied::OnDenyList { .. })), "{text}: {denied:?}");
            }
            let exact = Policy::new(ReceiveRule::Listed(specs(&[text])), specs(&[text]));
            assert_eq!((exact.may_receive(&group), exact.may_send(&group)), (Ok(()), Ok(())), "{text}");
        }
    }

    #[test]
    fn a_named_stream_may_be_received_and_not_sent_to() {
        let group = group("224.0.0.251:5353");
        let mut policy = Policy::new(ReceiveRule::AnyButDenied, specs(&["224.0.0.0/4"]));
        policy.name_group(group);
        assert_eq!(policy.may_receive(&group), Ok(()));
        assert!(policy.may_send(&group).is_err());
    }

    #[test]
    fn system_ports_are_denied_for_sending_only() {
        let policy = Policy::new(ReceiveRule::AnyButDenied, specs(&["239.0.0.0/8"]));
        assert_eq!(policy.may_receive(&group("239.1.2.3:1000")), Ok(()));
        let error = policy.may_send(&group("239.1.2.3:1000")).expect_err("denied").to_string();
        assert_eq!(error, "denied: ports below 1024; --allow-send 239.1.2.3:1000 would allow it");
        assert_eq!(policy.may_send(&group("239.1.2.3:1024")), Ok(()));
    }

    #[test]
    fn lists_say_what_would_allow_it() {
        let policy = Policy::new(ReceiveRule::Listed(specs(&["239.1.0.0/16"])), vec![]);
        assert!(!policy.sends_at_all());
        assert_eq!(policy.may_receive(&group("239.1.2.3:5000")), Ok(()));
        let error = policy.may_receive(&group("239.2.2.3:5000")).expect_err("denied").to_string();
        assert_eq!(error, "not in the receive list; --allow-receive 239.2.2.3:5000 would allow it");
        let error = policy.may_send(&group("239.1.2.3:5000")).expect_err("denied").to_string();
        assert_eq!(error, "sending is off; --allow-send 239.1.2.3:5000 would allow it");
        let policy = Policy::new(ReceiveRule::AnyButDenied, specs(&["239.1.0.0/16"]));
        let error = policy.may_send(&group("239.2.2.3:5000")).expect_err("denied").to_string();
        assert_eq!(error, "not in the send list; --allow-send 239.2.2.3:5000 would allow it");
    }

    proptest! {
        #[test]
        fn reasons_fit_into_a_close_frame(four in any::<u32>(), six in any::<u128>(), port in 1_u16..) {
            let four = Ipv4Addr::from(four >> 4 | 0xe << 28).into();
            let six = Ipv6Addr::from(six >> 8 | 0xff << 120).into();
            let groups = [four, six].map(|address| Group::new(address, port).expect("multicast"));
            let policies = [
                Policy::new(ReceiveRule::AnyButDenied, vec![]),
                Policy::new(ReceiveRule::Listed(vec![]), specs(&["239.1.2.3:1"])),
            ];
            for policy in &policies {
                for group in &groups {
                    let answers = [policy.may_receive(group), policy.may_send(group)];
                    for denied in answers.into_iter().filter_map(Result::err) {
                        prop_assert!(denied.to_string().len() <= 110, "{}", denied);
                    }
                }
            }
        }
    }

    #[test]
    fn every_rule_fits_with_the_longest_group() {
        let longest = group("[ff7f:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535");
        for rule in
            (1..=u16::MAX).filter_map(denied_port).chain(["reserved IPv6 flags", "ff01::/16 (interface)"])
        {
            let denied = Denied::OnDenyList { group: longest, direction: Direction::Receive, rule };
            assert!(denied.to_string().len() <= 110, "{denied}");
        }
    }
}
