//! Which of the gateways on one LAN speaks for a group there: hears for the links, and sends what comes from them.
//!
//! Decisions only: no I/O, time passed in. Whoever speaks goes on; where nobody does, the gateway with the lowest run
//! number begins. A gateway listens before it ever speaks, so that it knows whoever does.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::model::group::Group;

/// Between two hellos.
pub(super) const HELLO: Duration = Duration::from_millis(500);
/// A neighbour that was silent for so long is gone.
pub(super) const GONE: Duration = Duration::from_secs(2);
/// How long a mirrored group only listens in the beginning.
pub(super) const LISTENING: Duration = Duration::from_millis(1200);
/// Neighbours on one LAN.
const NEIGHBOURS: usize = 16;
/// Groups of one hello: it stays within one datagram of 1,400 bytes.
pub(super) const HELLO_GROUPS: usize = 64;

const MAGIC: &[u8; 4] = b"wslk";
const VERSION: u8 = 1;
const LEAVING: u8 = 1;
const GROUP_BYTES: usize = 19;

/// What a gateway says to its neighbours on a LAN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hello {
    /// Its run.
    pub(super) gateway: u64,
    /// It will be gone after this.
    pub(super) leaving: bool,
    /// The groups that it mirrors on this LAN, at most [`HELLO_GROUPS`], and whether it speaks for them.
    pub(super) groups: Vec<(Group, bool)>,
}

/// Another gateway on the LAN.
#[derive(Debug)]
pub(super) struct Neighbour {
    /// Where it takes records.
    pub(super) address: SocketAddr,
    groups: HashMap<Group, bool>,
    heard: Instant,
}

/// Who is on one LAN.
#[derive(Debug, Default)]
pub(super) struct Neighbours {
    known: HashMap<u64, Neighbour>,
}

/// What a gateway is for one group on one LAN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It has just begun, and finds out who is there.
    Listening {
        /// Until then.
        until: Instant,
    },
    /// Somebody else speaks, or is about to.
    Standby {
        /// The gateway that speaks, where one does.
        speaker: Option<u64>,
    },
    /// It hears for the links and sends what comes from them.
    Speaking,
}

impl Hello {
    pub(super) fn encode(&self) -> Vec<u8> {
        let groups = &self.groups[..self.groups.len().min(HELLO_GROUPS)];
        let mut out = Vec::with_capacity(16 + groups.len() * GROUP_BYTES);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&[VERSION, if self.leaving { LEAVING } else { 0 }, groups.len() as u8, 0]);
        out.extend_from_slice(&self.gateway.to_le_bytes());
        for (group, speaks) in groups {
            put_group(*group, &mut out);
            out.push(u8::from(*speaks));
        }
        out
    }

    /// Reads one; `None` for anything else.
    pub(super) fn decode(bytes: &[u8]) -> Option<Hello> {
        let (head, rest) = bytes.split_first_chunk::<16>()?;
        let count = usize::from(head[6]);
        if head[..4] != *MAGIC
            || head[4] != VERSION
            || count > HELLO_GROUPS
            || rest.len() != count * GROUP_BYTES
        {
            return None;
        }
        let group = |entry: &[u8]| Some((take_group(entry)?, entry[18] == 1));
        Some(Hello {
            gateway: u64::from_le_bytes(*head.last_chunk::<8>()?),
            leaving: head[5] & LEAVING != 0,
            groups: rest.chunks_exact(GROUP_BYTES).map(group).collect::<Option<_>>()?,
        })
    }
}

/// Appends a group in 18 bytes: address, IPv4 as `::ffff:a.b.c.d`, and port.
pub(super) fn put_group(group: Group, out: &mut Vec<u8>) {
    let address = match group.address() {
        std::net::IpAddr::V4(four) => four.to_ipv6_mapped(),
        std::net::IpAddr::V6(six) => six,
    };
    out.extend_from_slice(&address.octets());
    out.extend_from_slice(&group.port().to_le_bytes());
}

/// Reads what [`put_group`] wrote.
pub(super) fn take_group(bytes: &[u8]) -> Option<Group> {
    let address = std::net::Ipv6Addr::from(*bytes.first_chunk::<16>()?);
    let port = u16::from_le_bytes(*bytes.get(16..18)?.first_chunk()?);
    let address = address.to_ipv4_mapped().map_or(address.into(), std::net::IpAddr::from);
    Group::new(address, port).ok()
}

impl Neighbours {
    /// Takes note of a hello; false where there are too many neighbours for another.
    pub(super) fn hears(&mut self, hello: &Hello, address: SocketAddr, now: Instant) -> bool {
        if hello.leaving {
            self.known.remove(&hello.gateway);
            return true;
        }
        if self.known.len() >= NEIGHBOURS && !self.known.contains_key(&hello.gateway) {
            return false;
        }
        let groups = hello.groups.iter().copied().collect();
        self.known.insert(hello.gateway, Neighbour { address, groups, heard: now });
        true
    }

    /// Forgets who was silent for too long.
    pub(super) fn forget(&mut self, now: Instant) {
        self.known.retain(|_, one| now.saturating_duration_since(one.heard) < GONE);
    }

    /// The others that mirror `group`, and whether they speak for it.
    pub(super) fn of(&self, group: Group) -> impl Iterator<Item = (u64, &Neighbour, bool)> {
        self.known
            .iter()
            .filter_map(move |(id, one)| one.groups.get(&group).map(|speaks| (*id, one, *speaks)))
    }

    /// One of them.
    pub(super) fn find(&self, gateway: u64) -> Option<&Neighbour> {
        self.known.get(&gateway)
    }

    /// Whether records come from where a neighbour says hello from.
    pub(super) fn is_at(&self, address: SocketAddr) -> Option<u64> {
        self.known.iter().find(|(_, one)| one.address == address).map(|(id, _)| *id)
    }

    /// What the gateway `me` is for `group` from `now` on.
    pub(super) fn decide(&self, me: u64, group: Group, standing: Standing, now: Instant) -> Standing {
        let speaker = self.of(group).filter(|(_, _, speaks)| *speaks).map(|(id, ..)| id).min();
        match (standing, speaker) {
            (Standing::Listening { until }, _) if now < until => standing,
            // Two that speak have not heard each other in time: one gives way.
            (Standing::Speaking, Some(speaker)) if speaker < me => {
                Standing::Standby { speaker: Some(speaker) }
            }
            (Standing::Speaking, _) => Standing::Speaking,
            (_, Some(speaker)) => Standing::Standby { speaker: Some(speaker) },
            (_, None) if self.of(group).any(|(id, ..)| id < me) => Standing::Standby { speaker: None },
            (_, None) => Standing::Speaking,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn group() -> Group {
        "239.1.2.3:5000".parse().expect("a group")
    }

    fn hello(gateway: u64, speaks: bool) -> Hello {
        Hello { gateway, leaving: false, groups: vec![(group(), speaks)] }
    }

    #[test]
    fn hellos_round_trip() {
        let hello = Hello {
            gateway: 0x0123_4567_89ab_cdef,
            leaving: true,
            groups: vec![(group(), true), ("[ff15::42]:5353".parse().expect("a group"), false)],
        };
        assert_eq!(Hello::decode(&hello.encode()), Some(hello));
    }

    proptest! {
        #[test]
        fn garbage_is_no_hello(mut bytes in prop::collection::vec(any::<u8>(), 0..80), magic in any::<bool>()) {
            if magic && bytes.len() > 4 {
                bytes[..4].copy_from_slice(MAGIC);
            }
            if let Some(hello) = Hello::decode(&bytes) {
                prop_assert_eq!(hello.groups.len(), usize::from(bytes[6]));
            }
        }
    }

    /// Several gateways that hear each other's hellos: at no time do two speak, and soon one does, whoever comes and goes.
    #[test]
    fn one_speaks_and_never_two() {
        let start = Instant::now();
        let at = |tenth: u32| start + Duration::from_millis(100) * tenth;
        let address: SocketAddr = ([10, 0, 0, 1], 7).into();
        // (gateway, comes, goes) in tenths of a second.
        let lives = [(5_u64, 0_u32, 60_u32), (3, 20, 200), (9, 20, 200), (1, 100, 150)];
        let mut standings: HashMap<u64, (Standing, Neighbours)> = HashMap::new();
        for tenth in 0..200 {
            let now = at(tenth);
            for (id, comes, goes) in lives {
                if tenth == comes {
                    let listening = Standing::Listening { until: now + LISTENING };
                    standings.insert(id, (listening, Neighbours::default()));
                }
                if tenth == goes {
                    standings.remove(&id);
                }
            }
            let said: Vec<Hello> = standings
                .iter()
                .map(|(id, (standing, _))| hello(*id, *standing == Standing::Speaking))
                .collect();
            for (id, (standing, neighbours)) in &mut standings {
                for one in said.iter().filter(|one| one.gateway != *id) {
                    assert!(neighbours.hears(one, address, now));
                }
                neighbours.forget(now);
                *standing = neighbours.decide(*id, group(), *standing, now);
            }
            let speaking = standings.values().filter(|(standing, _)| *standing == Standing::Speaking).count();
            assert!(speaking <= 1, "{speaking} speak after {tenth} tenths");
            let settling = tenth <= 13 || (60..=82).contains(&tenth);
            assert!(settling || speaking == 1, "nobody speaks after {tenth} tenths");
        }
        assert_eq!(standings[&3].0, Standing::Speaking, "3 took over from 5, and 1 came too late");
    }
}
