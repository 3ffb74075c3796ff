//! By which way the datagrams of each gateway came last: answers to them go back there.

use std::collections::HashMap;

/// Gateways remembered; the one that was silent longest gives way.
const ROUTES: usize = 64;

/// Where a datagram came from, or an answer goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Over a link, by its session.
    Link(u64),
    /// From another gateway on the same LAN, by its run.
    Neighbour(u64),
}

/// The ways to other gateways, by their runs.
#[derive(Debug, Default)]
pub(super) struct Routes {
    known: HashMap<u64, (Way, u64)>,
    turns: u64,
}

impl Routes {
    /// A datagram of `gateway` came by `way`.
    pub(super) fn remember(&mut self, gateway: u64, way: Way) {
        self.turns += 1;
        if self.known.len() >= ROUTES && !self.known.contains_key(&gateway) {
            let oldest = self.known.iter().min_by_key(|(_, (_, turn))| *turn).map(|(gateway, _)| *gateway);
            if let Some(oldest) = oldest {
                self.known.remove(&oldest);
            }
        }
        self.known.insert(gateway, (way, self.turns));
    }

    /// The way to a gateway.
    pub(super) fn find(&self, gateway: u64) -> Option<Way> {
        self.known.get(&gateway).map(|(way, _)| *way)
    }
}
