//! Made-up facts, and what the checks find in them: what no lab can break.

use std::time::Duration;

use super::all;
use crate::lan::interface::Interface;
use crate::sys::links::{Link, Received};
use crate::tools::doctor::facts::{Asked, Facts, InterfaceFacts, SelfTest, Wire};
use crate::tools::doctor::finding::{Name, Severity};

fn interface() -> InterfaceFacts {
    let link = Link { index: 2, name: "eth0".to_owned(), mtu: 1500, ..Link::default() };
    InterfaceFacts {
        interface: Interface {
            name: "eth0".to_owned(),
            index: 2,
            addresses: vec!["10.0.0.1".parse().expect("an address")],
            up: true,
            running: true,
            multicast: true,
            loopback: false,
        },
        asked: true,
        link_after: Some(link.clone()),
        link,
        master: None,
        rp_filter: 0,
        default_route: true,
        igmp_version: Some(3),
        forced: (0, 0),
        ipv6_disabled: false,
        ipv6: Vec::new(),
        wireless: false,
        mld_queries: (Some(0), Some(0)),
        wire: Some(Wire::default()),
        igmp_behind_firewall: Some(0),
        self_tests: (Some(SelfTest::Passed), None),
    }
}

fn found(seconds: u64, interface: InterfaceFacts) -> Vec<(Name, Severity)> {
    let asked = Asked { listen: Duration::from_secs(seconds), ..Asked::default() };
    let facts = Facts { asked, interfaces: vec![interface], ..Facts::default() };
    all(&facts).into_iter().map(|finding| (finding.name, finding.severity)).collect()
}

#[test]
fn a_missing_querier_is_certain_after_a_query_interval() {
    assert_eq!(found(1, interface()), []);
    assert_eq!(found(3, interface()), [(Name::NoIgmpQuerier, Severity::Note)]);
    assert_eq!(found(130, interface()), [(Name::NoIgmpQuerier, Severity::Warning)]);
    // Whom nobody may watch, nobody accuses.
    assert_eq!(found(130, InterfaceFacts { wire: None, ..interface() }), []);
}

#[test]
fn damaged_frames_count_at_once_and_unknown_protocols_do_not() {
    let after = |received| {
        let link = Link { received, ..interface().link };
        found(1, InterfaceFacts { link_after: Some(link), ..interface() })
    };
    assert_eq!(after(Received { frames: 1000, dropped: 9, ..Received::default() }), []);
    let missed = Received { frames: 1000, missed: 1, ..Received::default() };
    assert_eq!(after(missed), [(Name::InterfaceDrops, Severity::Warning)]);
}

#[test]
fn members_of_a_vrf_keep_what_they_receive() {
    let member =
        |kind: &str| InterfaceFacts { master: Some(("m".to_owned(), kind.to_owned())), ..interface() };
    assert_eq!(found(1, member("vrf")), []);
    assert_eq!(found(1, member("bond")), [(Name::BridgePort, Severity::Fault)]);
}
