//! Which groups may be received, and which sent to.

use std::fmt;

use thiserror::Error;

use super::deny::{DenyRule, Opens, denied};
use super::group::Group;
use super::rule::Rule;
use super::selector::InterfaceSelector;
use super::source::SourceFilter;
pub use super::spec::{Spec, SpecError};
use super::status::PolicyStatus;

/// What somebody may receive and send.
///
/// One [deny list](super::deny) stands before everything: control protocols of the network itself, whose groups and ports
/// must not become reachable from a web page because somebody listed a wide prefix. Some of its entries yield to a
/// [`Spec`] that names exactly that address and port, in the list for that direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    receive: ReceiveRule,
    send: Vec<Rule>,
    /// Groups that the configuration names: naming one is permission to receive it.
    named: Vec<Rule>,
    lists: Lists,
}

/// What may be received, deny list apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReceiveRule {
    /// Every group: for listeners that only this machine reaches.
    AnyButDenied,
    /// Groups that match one of these, and no others.
    Listed(Vec<Rule>),
}

/// Where the lists stand, for the words of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lists {
    /// `--allow-receive` and `--allow-send`, or the keys of these names.
    Flags,
    /// `receive` and `send` of a principal.
    Principal,
}

/// Which way datagrams go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the LAN to a client.
    Receive,
    /// From a client to the LAN.
    Send,
}

/// A group that may be received or sent to, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permit<'a> {
    /// The interfaces that the rules name; `None` for every one.
    interfaces: Option<Vec<&'a InterfaceSelector>>,
}

/// What would allow something, as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fix {
    /// The group asked for.
    group: Group,
    /// Which list.
    direction: Direction,
    /// Where that list stands.
    lists: Lists,
}

/// Why a group may not be received or sent to. The text has at most 110 bytes, so that it fits into a close
/// frame's reason (123 bytes, RFC 6455 section 5.5) behind a stable word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Denied {
    /// Nobody may send anything.
    #[error("sending is off; {0} would allow it")]
    SendingOff(Fix),
    /// A list is given and the group is not on it.
    #[error("not in the {direction} list; {0} would allow it", direction = .0.direction)]
    NotListed(Fix),
    /// The group or its port is on the deny list, and could be opened.
    #[error("denied: {rule}; {fix} would allow it")]
    OnDenyList {
        /// What stands on the deny list.
        rule: &'static str,
        /// What opens it.
        fix: Fix,
    },
    /// The group is one that nothing opens.
    #[error("denied: {rule}; nothing opens it")]
    Never {
        /// What stands on the deny list.
        rule: &'static str,
    },
    /// The group is listed for certain sources only.
    #[error("allowed from certain sources only: name them, as SOURCE@{0}")]
    Sources(Group),
}

impl Policy {
    /// The policy of the flags. An empty `send` means that nobody sends.
    pub fn new(receive: ReceiveRule, send: Vec<Spec>) -> Policy {
        let send = send.into_iter().map(Rule::from).collect();
        Policy { receive, send, named: Vec::new(), lists: Lists::Flags }
    }

    /// The policy of a principal.
    pub fn granted(receive: Vec<Rule>, send: Vec<Rule>) -> Policy {
        Policy { receive: ReceiveRule::Listed(receive), send, named: Vec::new(), lists: Lists::Principal }
    }

    /// Allows receiving exactly `group`, deny list or not: for a stream that the configuration names.
    pub fn name_group(&mut self, group: Group) {
        self.named.push(Rule::from(Spec::exactly(group)));
    }

    /// Whether `group` may be received, from somebody and somewhere.
    pub fn may_receive(&self, group: &Group) -> Result<(), Denied> {
        self.allowed(group, Direction::Receive).map(|_| ())
    }

    /// Whether `group` may be received with that filter, and where.
    pub fn receive(&self, group: &Group, filter: &SourceFilter) -> Result<Permit<'_>, Denied> {
        let Some(rules) = self.allowed(group, Direction::Receive)? else { return Ok(Permit::anywhere()) };
        let admitting: Vec<&Rule> = rules.into_iter().filter(|rule| rule.admits(filter)).collect();
        if admitting.is_empty() { Err(Denied::Sources(*group)) } else { Ok(Permit::of(&admitting)) }
    }

    /// Whether `group` may be sent to, somewhere.
    pub fn may_send(&self, group: &Group) -> Result<(), Denied> {
        self.allowed(group, Direction::Send).map(|_| ())
    }

    /// Whether `group` may be sent to, and where.
    pub fn send(&self, group: &Group) -> Result<Permit<'_>, Denied> {
        let rules = self.allowed(group, Direction::Send)?;
        Ok(rules.map_or_else(Permit::anywhere, |rules| Permit::of(&rules)))
    }

    /// The rules that allow it; `None` where every group but those denied is allowed.
    fn allowed(&self, group: &Group, direction: Direction) -> Result<Option<Vec<&Rule>>, Denied> {
        let fix = Fix { group: *group, direction, lists: self.lists };
        let (listed, named, anything) = match (direction, &self.receive) {
            (Direction::Send, _) if self.send.is_empty() => return Err(Denied::SendingOff(fix)),
            (Direction::Send, _) => (&self.send[..], &[][..], false),
            (Direction::Receive, ReceiveRule::AnyButDenied) => (&[][..], &self.named[..], true),
            (Direction::Receive, ReceiveRule::Listed(rules)) => (&rules[..], &self.named[..], false),
        };
        let mut rules = named.iter().chain(listed);
        match denied(group, direction) {
            Some(DenyRule { words: rule, opens: Opens::Never }) => Err(Denied::Never { rule }),
            Some(DenyRule { words: rule, opens: Opens::ByName }) => {
                let exact: Vec<&Rule> = rules.filter(|rule| rule.groups.names_exactly(group)).collect();
                if exact.is_empty() { Err(Denied::OnDenyList { rule, fix }) } else { Ok(Some(exact)) }
            }
            None if anything => Ok(None),
            None => {
                let matching: Vec<&Rule> = rules.by_ref().filter(|rule| rule.matches(group)).collect();
                if matching.is_empty() { Err(Denied::NotListed(fix)) } else { Ok(Some(matching)) }
            }
        }
    }

    /// For the status: what stands on the lists, groups that the configuration names included.
    pub fn status(&self) -> PolicyStatus {
        let texts =
            |rules: &mut dyn Iterator<Item = &Rule>| rules.map(|rule| rule.groups.to_string()).collect();
        PolicyStatus {
            receive: match &self.receive {
                ReceiveRule::AnyButDenied => None,
                ReceiveRule::Listed(rules) => Some(texts(&mut rules.iter().chain(&self.named))),
            },
            send: texts(&mut self.send.iter()),
        }
    }

    /// Whether what may be received, and what may be sent to, differs from `other`.
    pub fn differs(&self, other: &Policy) -> (bool, bool) {
        ((&self.receive, &self.named) != (&other.receive, &other.named), self.send != other.send)
    }

    /// What may be received, and sent to; groups that the configuration names apart.
    #[must_use]
    pub fn rules(&self) -> (&ReceiveRule, &[Rule]) {
        (&self.receive, &self.send)
    }

    /// True where there is any group that clients may send to.
    pub fn sends_at_all(&self) -> bool {
        !self.send.is_empty()
    }
}

impl ReceiveRule {
    /// Groups that match one of `specs`, everywhere and from everybody.
    pub fn listed(specs: Vec<Spec>) -> ReceiveRule {
        ReceiveRule::Listed(specs.into_iter().map(Rule::from).collect())
    }
}

impl<'a> Permit<'a> {
    /// On every interface.
    #[must_use]
    pub fn anywhere() -> Permit<'a> {
        Permit { interfaces: None }
    }

    fn of(rules: &[&'a Rule]) -> Permit<'a> {
        let everywhere = rules.iter().any(|rule| rule.interfaces.is_empty());
        let named = || rules.iter().flat_map(|rule| &rule.interfaces).collect();
        Permit { interfaces: (!everywhere).then(named) }
    }

    /// The interfaces where it holds; `None` for every one.
    #[must_use]
    pub fn interfaces(&self) -> Option<&[&'a InterfaceSelector]> {
        self.interfaces.as_deref()
    }

    /// Whether it holds on `wanted`, where `same` tells whether two ways to name an interface mean the same one now.
    pub fn holds_on(
        &self,
        wanted: &InterfaceSelector,
        same: impl Fn(&InterfaceSelector, &InterfaceSelector) -> bool,
    ) -> bool {
        let Some(interfaces) = &self.interfaces else { return true };
        interfaces
            .iter()
            .any(|allowed| **allowed == InterfaceSelector::All || *allowed == wanted || same(allowed, wanted))
    }
}

impl fmt::Display for Fix {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.lists {
            Lists::Flags => write!(formatter, "--allow-{} {}", self.direction, self.group),
            Lists::Principal => write!(formatter, "{} = [\"{}\"]", self.direction, self.group),
        }
    }
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
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;
    use crate::model::deny::denied_port;

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
        "[ff02::fb]:6000",
        "[ff02::c]:6000",
        "[ff05::c]:6000",
        "[ff08::fb]:6000",
        "[ff0e::101]:6000",
        "[ff05::181]:6000",
        "[ff05::fd]:6000",
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
            let listed = Policy::new(ReceiveRule::listed(wide), vec![]);
            for denied in [any.may_receive(&group), any.may_send(&group), listed.may_receive(&group)] {
                assert!(matches!(denied, Err(Denied::OnDenyList { .. })), "{text}: {denied:?}");
            }
            let exact = Policy::new(ReceiveRule::listed(specs(&[text])), specs(&[text]));
            assert_eq!((exact.may_receive(&group), exact.may_send(&group)), (Ok(()), Ok(())), "{text}");
        }
    }

    #[test]
    fn what_nothing_opens_stays_denied() {
        for text in [
            "224.0.0.1:6000",
            "224.0.0.252:5355",
            "232.0.0.7:6000",
            "233.252.0.9:6000",
            "[ff01::42]:6000",
            "[ff02::1]:6000",
            "[ff02::1:2]:6000",
            "[ff85::1]:6000",
            "[ff00::1]:6000",
            "[ff10::1]:6000",
            "[ff1f::1]:6000",
        ] {
            let group = group(text);
            let mut policy = Policy::new(ReceiveRule::listed(specs(&[text])), specs(&[text]));
            policy.name_group(group);
            for denied in [policy.may_receive(&group), policy.may_send(&group)] {
                assert!(matches!(denied, Err(Denied::Never { .. })), "{text}: {denied:?}");
            }
        }
        for text in ["[ff12::1]:6000", "[ff15::1]:6000", "[ff32::1]:6000", "232.0.1.1:6000"] {
            assert_eq!(
                Policy::new(ReceiveRule::AnyButDenied, vec![]).may_receive(&group(text)),
                Ok(()),
                "{text}"
            );
        }
    }

    #[test]
    fn rules_name_interfaces_and_sources() {
        let lan0 = InterfaceSelector::Name("lan0".to_owned());
        let near = Rule { interfaces: vec![lan0.clone()], ..Rule::from(specs(&["239.1.0.0/16"])[0]) };
        let from = Rule {
            sources: vec!["10.0.0.0/8".parse().expect("a prefix")],
            ..Rule::from(specs(&["232.0.0.0/8"])[0])
        };
        let policy = Policy::granted(vec![near.clone(), from], vec![near]);
        let (any, never) = (SourceFilter::Any, |_: &InterfaceSelector, _: &InterfaceSelector| false);
        let permit = policy.receive(&group("239.1.2.3:5000"), &any).expect("allowed");
        assert_eq!(permit.interfaces(), Some(&[&lan0][..]));
        assert!(permit.holds_on(&lan0, never) && !permit.holds_on(&InterfaceSelector::Index(3), never));
        assert!(permit.holds_on(&InterfaceSelector::Index(3), |_, _| true));
        let specific = group("232.1.2.3:5000");
        let error = policy.receive(&specific, &any).expect_err("no source").to_string();
        assert_eq!(error, "allowed from certain sources only: name them, as SOURCE@232.1.2.3:5000");
        let filter = SourceFilter::include(vec!["10.0.0.5".parse().expect("an address")]).expect("a filter");
        assert_eq!(policy.receive(&specific, &filter), Ok(Permit::anywhere()));
        let error = policy.send(&specific).expect_err("not listed").to_string();
        assert_eq!(error, "not in the send list; send = [\"232.1.2.3:5000\"] would allow it");
        assert!(policy.send(&group("239.1.2.3:5000")).expect("allowed").holds_on(&lan0, never));
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
        let policy = Policy::new(ReceiveRule::listed(specs(&["239.1.0.0/16"])), vec![]);
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
                Policy::granted(vec![], vec![Rule::from(specs(&["239.1.2.3:1"])[0])]),
                Policy::new(ReceiveRule::AnyButDenied, vec![]),
                Policy::new(ReceiveRule::listed(vec![]), specs(&["239.1.2.3:1"])),
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
        for rule in (1..=u16::MAX).filter_map(denied_port).chain(["ff0x::c (SSDP)", "ff0x::101 (NTP)"]) {
            for lists in [Lists::Flags, Lists::Principal] {
                let fix = Fix { group: longest, direction: Direction::Receive, lists };
                let denied = Denied::OnDenyList { rule, fix };
                assert!(denied.to_string().len() <= 110, "{denied}");
            }
        }
    }
}
