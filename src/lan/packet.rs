//! The packets that a diagnosis tells apart, read from the network header on: datagrams, and the questions of queriers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// One IP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Who sent it.
    pub source: IpAddr,
    /// To whom.
    pub destination: IpAddr,
    /// TTL or hop limit.
    pub ttl: u8,
    /// What it carries.
    pub content: Content,
}

/// What a packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// A UDP datagram, or its first fragment, to this port.
    Datagram {
        /// The destination port.
        port: u16,
    },
    /// A membership query of IGMP (RFC 3376 section 4.1, RFC 2236) or MLD (RFC 3810 section 5.1, RFC 2710), in this version.
    Query {
        /// 1 to 3 for IGMP, 1 or 2 for MLD.
        version: u8,
    },
    /// Anything else.
    Other,
}

const UDP: u8 = 17;
const IGMP: u8 = 2;
const ICMP6: u8 = 58;
const HOP_BY_HOP: u8 = 0;
const IGMP_QUERY: u8 = 0x11;
const MLD_QUERY: u8 = 130;

impl Packet {
    /// Reads the beginning of a packet; `None` for what is neither IPv4 nor IPv6.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Packet> {
        match bytes.first()? >> 4 {
            4 => v4(bytes),
            6 => v6(bytes),
            _ => None,
        }
    }
}

fn v4(bytes: &[u8]) -> Option<Packet> {
    let header = usize::from(bytes[0] & 0xf) * 4;
    if header < 20 {
        return None;
    }
    let address =
        |at: usize| Some(IpAddr::from(Ipv4Addr::from(<[u8; 4]>::try_from(bytes.get(at..at + 4)?).ok()?)));
    let (source, destination) = (address(12)?, address(16)?);
    let ttl = *bytes.get(8)?;
    let length = usize::from(short(bytes, 2)?).saturating_sub(header);
    let first = short(bytes, 6)? & 0x1fff == 0;
    let body = bytes.get(header..).unwrap_or_default();
    let content = match *bytes.get(9)? {
        UDP if first => datagram(body),
        IGMP if body.first() == Some(&IGMP_QUERY) => Content::Query {
            // RFC 3376 section 7.1: the length tells version 3, a maximum response time of 0 version 1.
            version: match (length, body.get(1)) {
                (12.., _) => 3,
                (_, Some(0)) => 1,
                _ => 2,
            },
        },
        _ => Content::Other,
    };
    Some(Packet { source, destination, ttl, content })
}

fn v6(bytes: &[u8]) -> Option<Packet> {
    const HEADER: usize = 40;
    let address =
        |at: usize| Some(IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(bytes.get(at..at + 16)?).ok()?)));
    let (source, destination) = (address(8)?, address(24)?);
    let ttl = *bytes.get(7)?;
    let length = usize::from(short(bytes, 4)?);
    let body = bytes.get(HEADER..).unwrap_or_default();
    // Queries carry a router alert in a header of options before them (RFC 3810 section 5).
    let (next, body, length) = match (bytes.get(6)?, body) {
        (&HOP_BY_HOP, [next, units, ..]) => {
            let size = (usize::from(*units) + 1) * 8;
            (*next, body.get(size..).unwrap_or_default(), length.saturating_sub(size))
        }
        (next, body) => (*next, body, length),
    };
    let content = match (next, body.first()) {
        (UDP, _) => datagram(body),
        // RFC 3810 section 8.1: the length tells.
        (ICMP6, Some(&MLD_QUERY)) => Content::Query { version: if length >= 28 { 2 } else { 1 } },
        _ => Content::Other,
    };
    Some(Packet { source, destination, ttl, content })
}

fn datagram(body: &[u8]) -> Content {
    short(body, 2).map_or(Content::Other, |port| Content::Datagram { port })
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// IPv4 with `options` behind its header.
    fn four(protocol: u8, options: &[u8], body: &[u8]) -> Vec<u8> {
        let header = 20 + options.len();
        let mut bytes =
            vec![0x40 | (header / 4) as u8, 0, 0, (header + body.len()) as u8, 0, 0, 0, 0, 7, protocol];
        bytes.extend([0, 0, 10, 1, 0, 2, 239, 1, 2, 3]);
        bytes.extend(options);
        bytes.extend(body);
        bytes
    }

    #[test]
    fn datagrams_and_queries_are_told_apart() {
        let packet = Packet::read(&four(UDP, &[], &[1, 0, 0x13, 0x88, 0, 8, 0, 0])).expect("a packet");
        assert_eq!(packet.source.to_string(), "10.1.0.2");
        assert_eq!((packet.destination.to_string().as_str(), packet.ttl), ("239.1.2.3", 7));
        assert_eq!(packet.content, Content::Datagram { port: 5000 });
        let alert = [0x94, 4, 0, 0];
        for (body, version) in
            [(&[0x11, 0, 0, 0, 0, 0, 0, 0][..], 1), (&[0x11, 100, 0, 0, 0, 0, 0, 0], 2), (&[0x11; 12], 3)]
        {
            let packet = Packet::read(&four(IGMP, &alert, body)).expect("a packet");
            assert_eq!(packet.content, Content::Query { version });
        }
        let mut later = four(UDP, &[], &[0; 8]);
        later[7] = 1;
        assert_eq!(Packet::read(&later).expect("a packet").content, Content::Other);
    }

    #[test]
    fn mld_queries_stand_behind_a_router_alert() {
        for (size, version) in [(24, 1), (28, 2)] {
            let mut bytes = vec![0x60, 0, 0, 0, 0, 8 + size, HOP_BY_HOP, 1];
            bytes.extend([0; 32]);
            bytes.extend([ICMP6, 0, 5, 2, 0, 0, 1, 0]);
            bytes.extend(std::iter::once(MLD_QUERY).chain(vec![0; usize::from(size) - 1]));
            assert_eq!(Packet::read(&bytes).expect("a packet").content, Content::Query { version });
        }
    }

    proptest! {
        #[test]
        fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..80), kind in prop::sample::select(vec![0x45, 0x60])) {
            let _ = Packet::read(&[&[kind], &bytes[..]].concat());
        }
    }
}
