//! Metrics of the links to other gateways and of the groups that they mirror.

use std::collections::BTreeMap;

use crate::model::status::{LinkStatus, MirrorStatus, Status};
use crate::web::metrics::LISTED;
use crate::web::metrics::exposition::{Exposition, Family};

/// What a link can be in.
const LINK_STATES: [&str; 3] = ["up", "away", "refused"];
/// What a mirror can be in.
const MIRROR_STATES: [&str; 5] = ["speaking", "standby", "listening", "stopped", "waiting-for-interface"];

/// One series for each link, and for each mirrored group; nothing where there is none.
pub(super) fn links(page: &mut Exposition, status: &Status) {
    // Two gateways may call their links the same: a name and who opened it are one series.
    let mut links: BTreeMap<(&str, &str), Vec<&LinkStatus>> = BTreeMap::new();
    for link in status.linked.links.iter().take(LISTED) {
        links.entry((&link.name, link.opened)).or_default().push(link);
    }
    each_link(page, &links);
    each_mirror(page, &status.linked.mirrors[..status.linked.mirrors.len().min(LISTED)]);
}

fn each_link(page: &mut Exposition, links: &BTreeMap<(&str, &str), Vec<&LinkStatus>>) {
    let mut states = Family::gauge();
    for ((name, opened), of) in links {
        for state in LINK_STATES {
            let count = of.iter().filter(|link| link.state == state).count();
            states.put(&[("link", name), ("opened", opened), ("state", state)], count as f64);
        }
    }
    page.add("wscast_link_state", "1 for the state that a link is in, 0 for the others.", states);
    let mut sums = |name: &str, help: &str, mut family: Family, value: &dyn Fn(&LinkStatus) -> f64| {
        for ((name, opened), of) in links {
            let sum = of.iter().map(|link| value(link)).sum();
            family.put(&[("link", name), ("opened", opened)], sum);
        }
        page.add(name, help, family);
    };
    type Count = fn(&LinkStatus) -> u64;
    let counters: [(&str, &str, Count); 10] = [
        ("wscast_link_connections_total", "Connections of a link that have stood.", |link| link.connections),
        ("wscast_link_sent_datagrams_total", "Datagrams and answers that a link was given.", |link| {
            link.sent
        }),
        ("wscast_link_sent_bytes_total", "Payload bytes of them.", |link| link.sent_bytes),
        ("wscast_link_received_datagrams_total", "Datagrams and answers that came.", |link| link.received),
        ("wscast_link_received_bytes_total", "Payload bytes of them.", |link| link.received_bytes),
        (
            "wscast_link_lost_datagrams_total",
            "Datagrams of the other side that never came: the exact number.",
            |link| link.lost,
        ),
        (
            "wscast_link_unknown_gaps_total",
            "Gaps of which nobody knows the size: the other side began anew.",
            |link| link.unknown_gaps,
        ),
        (
            "wscast_link_overrun_datagrams_total",
            "Datagrams that gave way before they were written: the link was away or slow for too long.",
            |link| link.overrun,
        ),
        (
            "wscast_link_repeated_datagrams_total",
            "Datagrams that came a second time, after a break, and were passed over.",
            |link| link.repeated,
        ),
        ("wscast_link_over_rate_datagrams_total", "Datagrams over the cap on their way out.", |link| {
            link.groups.iter().map(|group| group.over_rate).sum()
        }),
    ];
    for (name, help, count) in counters {
        sums(name, help, Family::counter(), &|link| count(link) as f64);
    }
    sums("wscast_link_waiting_datagrams", "Datagrams that wait to be written.", Family::gauge(), &|link| {
        link.waiting as f64
    });
    sums(
        "wscast_link_last_break_seconds",
        "How long the last break was; 0 before the first.",
        Family::gauge(),
        &|link| link.last_break_seconds,
    );
    let mut round_trips = Family::gauge();
    for ((name, opened), of) in links {
        if let Some(longest) = of.iter().filter_map(|link| link.round_trip_ms).reduce(f64::max) {
            round_trips.put(&[("link", name), ("opened", opened)], longest / 1e3);
        }
    }
    page.add(
        "wscast_link_round_trip_seconds",
        "Time from the last ping to its answer; absent before the first.",
        round_trips,
    );
}

fn each_mirror(page: &mut Exposition, mirrors: &[MirrorStatus]) {
    let mut states = Family::gauge();
    let (mut ignored, mut discarded, mut answers) = (Family::counter(), Family::counter(), Family::counter());
    for mirror in mirrors {
        let (group, interface) = (("group", mirror.group.as_str()), ("interface", mirror.interface.as_str()));
        for state in MIRROR_STATES {
            let is = f64::from(u8::from(mirror.state == state));
            states.put(&[group, interface, ("state", state)], is);
        }
        let not_injected = mirror.ignored;
        for (cause, count) in [
            ("own", not_injected.own),
            ("standby", not_injected.standby),
            ("stopped", not_injected.stopped),
            ("unfit", not_injected.unfit),
        ] {
            ignored.count(&[group, interface, ("cause", cause)], count);
        }
        let not_emitted = mirror.discarded;
        for (cause, count) in [
            ("duplicate", not_emitted.duplicate),
            ("hops", not_emitted.hops),
            ("stopped", not_emitted.stopped),
            ("one_way", not_emitted.one_way),
            ("rate", not_emitted.rate),
            ("kernel", not_emitted.kernel),
            ("nobody", not_emitted.nobody),
        ] {
            discarded.count(&[group, interface, ("cause", cause)], count);
        }
        let of = mirror.answers;
        for (what, count) in
            [("sent", of.sent), ("delivered", of.delivered), ("forwarded", of.forwarded), ("lost", of.lost)]
        {
            answers.count(&[group, interface, ("outcome", what)], count);
        }
    }
    page.add("wscast_mirror_state", "1 for the state that a mirrored group is in, 0 for the others.", states);
    type Count = fn(&MirrorStatus) -> u64;
    let counters: [(&str, &str, Count); 7] = [
        ("wscast_mirror_heard_datagrams_total", "Datagrams read from the LAN.", |mirror| mirror.heard),
        ("wscast_mirror_injected_datagrams_total", "Datagrams of them given to the links.", |mirror| {
            mirror.injected
        }),
        (
            "wscast_mirror_kernel_dropped_datagrams_total",
            "Datagrams that the kernel dropped before they were read.",
            |mirror| mirror.lost_kernel,
        ),
        ("wscast_mirror_arrived_datagrams_total", "Datagrams from links and neighbours.", |mirror| {
            mirror.arrived
        }),
        ("wscast_mirror_emitted_datagrams_total", "Datagrams of them sent to the LAN.", |mirror| {
            mirror.emitted
        }),
        (
            "wscast_mirror_handed_datagrams_total",
            "Datagrams of them handed to the gateway that speaks for the group on this LAN.",
            |mirror| mirror.handed,
        ),
        ("wscast_mirror_storms_total", "Times that a storm stopped the group.", |mirror| mirror.storms),
    ];
    for (name, help, count) in counters {
        let mut family = Family::counter();
        for mirror in mirrors {
            family.count(&[("group", &mirror.group), ("interface", &mirror.interface)], count(mirror));
        }
        page.add(name, help, family);
    }
    page.add(
        "wscast_mirror_ignored_datagrams_total",
        "Datagrams of the LAN that were not given to the links, by cause.",
        ignored,
    );
    page.add(
        "wscast_mirror_discarded_datagrams_total",
        "Datagrams of links and neighbours that went no further, by cause.",
        discarded,
    );
    page.add(
        "wscast_mirror_answers_total",
        "Unicast answers to what was sent for somebody behind a link, by what became of them.",
        answers,
    );
}
