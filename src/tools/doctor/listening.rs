//! Joins the groups asked for and counts what comes: at the sockets, and on the wire where that may be watched.

use std::io;
use std::time::Duration;

use futures_util::future::{FutureExt, LocalBoxFuture, join_all, pending};

use crate::lan::interface::Interface;
use crate::lan::membership::{KernelMemberships, Membership};
use crate::lan::packet::{Content, Packet};
use crate::model::group::Group;
use crate::model::source::SourceFilter;
use crate::sys::batch::ReceiveBatch;
use crate::sys::tap::{IgmpTap, SNAP, Tap};
use crate::tools::doctor::facts::{Chosen, Facts, Heard, Join, Joined, Queries, Refused, Wire};

/// Different (group, port, source) that are counted on one interface.
const MOST_FLOWS: usize = 4096;
/// Different queriers that are remembered.
const MOST_QUERIERS: usize = 64;
/// After the end, this long for what is on its way through the kernel.
const LAST_LOOK: Duration = Duration::from_millis(20);

/// A joined group and what it heard.
pub struct Ear {
    /// Which group and which of its joins.
    place: (usize, usize),
    membership: Membership,
    heard: Heard,
}

/// An interface whose wire is watched.
pub struct Watch {
    index: u32,
    tap: Tap,
    wire: Wire,
    igmp: Option<IgmpTap>,
    behind: u64,
}

impl Watch {
    /// Starts, inside a tokio runtime.
    ///
    /// # Errors
    /// `EPERM` without `CAP_NET_RAW`, else as the kernel gives them.
    pub fn open(index: u32) -> io::Result<Watch> {
        // What is behind the firewall first: a query between the two must not seem to be blocked.
        let igmp = IgmpTap::open(index).ok();
        let tap = Tap::open(index)?;
        Ok(Watch { index, tap, wire: Wire::default(), igmp, behind: 0 })
    }
}

/// Joins every group on every interface that it is meant on and that can receive; what came of it stands in the facts.
pub fn join(facts: &mut Facts) -> Vec<Ear> {
    let mut ears = Vec::new();
    let buffer = facts.asked.receive_buffer;
    let places: Vec<(Interface, bool)> = facts
        .interfaces
        .iter()
        .map(|facts| (facts.interface.clone(), facts.asked && facts.can_receive()))
        .collect();
    for (number, group) in facts.groups.iter_mut().enumerate() {
        if group.chosen == Chosen::Nobody {
            continue;
        }
        let routed = crate::sys::links::route(group.target.group.address()).ok().flatten();
        for (interface, able) in &places {
            if !able || (group.chosen == Chosen::ByRoute && routed != Some(interface.index)) {
                continue;
            }
            let joined = Membership::join(group.target.group, &group.target.filter, interface, buffer);
            let outcome = match joined {
                Ok(membership) => {
                    let receive_buffer = membership.receive_buffer() / 2;
                    ears.push(Ear {
                        place: (number, group.joins.len()),
                        membership,
                        heard: Heard::default(),
                    });
                    Ok(Joined { receive_buffer, present: (true, true) })
                }
                Err(error) => Err(Refused { code: error.source.raw_os_error(), words: error.to_string() }),
            };
            let (index, name) = (interface.index, interface.name.clone());
            group.joins.push(Join { index, interface: name, outcome, heard: Heard::default() });
        }
    }
    ears
}

/// Listens for `time`.
pub async fn listen(ears: &mut [Ear], watches: &mut [Watch], time: Duration) {
    let mut all: Vec<LocalBoxFuture<'_, ()>> = Vec::new();
    for ear in ears {
        all.push(hear(&ear.membership, &mut ear.heard).boxed_local());
    }
    for Watch { tap, wire, igmp, behind, .. } in watches {
        all.push(watch(tap, wire).boxed_local());
        if let Some(igmp) = igmp {
            all.push(count_queries(igmp, behind).boxed_local());
        }
    }
    let _ = tokio::time::timeout(time + LAST_LOOK, join_all(all)).await;
}

/// Puts what was heard into the facts, and leaves the groups.
pub fn settle(
    facts: &mut Facts,
    ears: Vec<Ear>,
    watches: Vec<Watch>,
    held: &KernelMemberships,
    kept: &KernelMemberships,
) {
    for Ear { place: (group, join), membership, mut heard } in ears {
        heard.drops = u64::from(membership.drops());
        let group = &mut facts.groups[group];
        let join = &mut group.joins[join];
        if let Ok(joined) = &mut join.outcome {
            let there = |table: &KernelMemberships| table.hold(group.target.group, join.index);
            joined.present = (there(held), there(kept));
        }
        join.heard = heard;
    }
    for Watch { index, wire, igmp, behind, .. } in watches {
        if let Some(interface) = facts.interfaces.iter_mut().find(|facts| facts.interface.index == index) {
            interface.wire = Some(wire);
            interface.igmp_behind_firewall = igmp.map(|_| behind);
        }
    }
}

/// Joins `group` from any source on each of `interfaces`; what each hears within `time`.
pub async fn from_anybody(group: Group, interfaces: &[Interface], time: Duration) -> Vec<(Interface, Heard)> {
    const RECEIVE_BUFFER: usize = 256 << 10;
    let joined = interfaces.iter().filter_map(|interface| {
        let membership = Membership::join(group, &SourceFilter::Any, interface, RECEIVE_BUFFER).ok()?;
        Some((interface.clone(), membership, Heard::default()))
    });
    let mut joined: Vec<_> = joined.collect();
    let all = joined.iter_mut().map(|(_, membership, heard)| hear(membership, heard));
    let _ = tokio::time::timeout(time, join_all(all)).await;
    joined.into_iter().map(|(interface, _, heard)| (interface, heard)).collect()
}

/// Counts for ever what comes to a membership.
async fn hear(membership: &Membership, heard: &mut Heard) {
    let mut batch = ReceiveBatch::new();
    while membership.readable().await.is_ok() {
        let count = match membership.receive(&mut batch) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            // The interface has gone: nothing comes any more, which is told by the look at the end.
            Err(_) => break,
        };
        for received in (0..count).map(|i| batch.received(i)) {
            if !membership.accepts(received.destination) {
                continue;
            }
            heard.datagrams += 1;
            heard.bytes += received.payload.len() as u64;
            heard.ttls.extend(received.ttl);
            let source = received.source.ip();
            if heard.sources.len() < Heard::MOST_SOURCES || heard.sources.contains_key(&source) {
                *heard.sources.entry(source).or_default() += 1;
            }
        }
    }
    pending::<()>().await;
}

/// Counts for ever what comes in by an interface.
async fn watch(tap: &Tap, wire: &mut Wire) {
    let mut buffer = [0; SNAP];
    while let Ok(length) = tap.next(&mut buffer).await {
        let Some(packet) = Packet::read(&buffer[..length]) else { continue };
        match packet.content {
            Content::Datagram { port } => {
                let flow = (packet.destination, port, packet.source);
                if wire.datagrams.len() < MOST_FLOWS || wire.datagrams.contains_key(&flow) {
                    *wire.datagrams.entry(flow).or_default() += 1;
                }
            }
            Content::Query { version } => {
                let general = is_to_all_hosts(&packet);
                let queries = if general { &mut wire.general_queries } else { &mut wire.specific_queries };
                count(queries, &packet, version);
            }
            Content::Other => {}
        }
    }
    pending::<()>().await;
}

/// Counts for ever the general queries that the host's IGMP gets.
async fn count_queries(tap: &IgmpTap, count: &mut u64) {
    let mut buffer = [0; SNAP];
    while let Ok(length) = tap.next(&mut buffer).await {
        if let Some(packet) = Packet::read(&buffer[..length])
            && matches!(packet.content, Content::Query { .. })
            && is_to_all_hosts(&packet)
        {
            *count += 1;
        }
    }
    pending::<()>().await;
}

fn count(queries: &mut Queries, packet: &Packet, version: u8) {
    if packet.source.is_ipv4() {
        queries.igmp += 1;
    } else {
        queries.mld += 1;
    }
    if queries.queriers.len() < MOST_QUERIERS || queries.queriers.contains_key(&packet.source) {
        queries.queriers.insert(packet.source, version);
    }
}

/// 224.0.0.1 or ff02::1: every host hears it, whatever it has joined.
fn is_to_all_hosts(packet: &Packet) -> bool {
    match packet.destination {
        std::net::IpAddr::V4(four) => four.octets() == [224, 0, 0, 1],
        std::net::IpAddr::V6(six) => six.segments() == [0xff02, 0, 0, 0, 0, 0, 0, 1],
    }
}
