//! One captured packet, taken apart: which datagram it carries, or why none that can be sent.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use etherparse::{EtherType, NetSlice, SlicedPacket, TransportSlice};
use pcap_parser::Linktype;

/// The datagram of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Carried<'a> {
    /// Who sent it.
    pub source: SocketAddr,
    /// Where it went.
    pub destination: SocketAddr,
    /// TTL or hop limit when it was captured.
    pub ttl: u8,
    /// Its payload.
    pub payload: &'a [u8],
}

/// Why a packet of a capture is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Skip {
    /// The capture has only its beginning (`snaplen`).
    CutOff,
    /// Of a kind of link that is not read here.
    Link,
    /// A fragment of an IP packet.
    Fragment,
    /// Neither IPv4 nor IPv6 with UDP in it.
    NotUdp,
    /// Its lengths contradict each other.
    Malformed,
    /// It went to one host, not to a group.
    NotMulticast,
    /// A group for the network's own use, and not named with `--only`.
    Denied,
    /// Not among those of `--only`.
    NotWanted,
}

/// What stands before an IP packet on links that `etherparse` does not know: bytes of header, and where in it the
/// EtherType stands.
const SLL: (usize, usize) = (16, 14);
const SLL2: (usize, usize) = (20, 0);
/// The loopback of BSD systems: four bytes with the protocol family, in the byte order of whoever captured.
const NULL: usize = 4;
/// Numbers that some systems write for [`Linktype::RAW`].
const RAW_ELSEWHERE: [i32; 2] = [12, 14];

impl<'a> Carried<'a> {
    /// The datagram in `bytes`, captured on a link of this kind: Ethernet with or without VLAN tags, Linux "cooked" captures,
    /// BSD loopback, bare IP.
    ///
    /// # Errors
    /// [`Skip`] where there is none, or not all of it.
    pub fn parse(link: Linktype, bytes: &'a [u8]) -> Result<Self, Skip> {
        let sliced = match link {
            Linktype::ETHERNET => SlicedPacket::from_ethernet(bytes),
            Linktype::LINUX_SLL => by_ether_type(bytes, SLL)?,
            Linktype::LINUX_SLL2 => by_ether_type(bytes, SLL2)?,
            Linktype::NULL | Linktype::LOOP => {
                SlicedPacket::from_ip(bytes.get(NULL..).ok_or(Skip::Malformed)?)
            }
            Linktype::RAW | Linktype::IPV4 | Linktype::IPV6 => SlicedPacket::from_ip(bytes),
            Linktype(number) if RAW_ELSEWHERE.contains(&number) => SlicedPacket::from_ip(bytes),
            _ => return Err(Skip::Link),
        };
        let sliced = sliced.map_err(|_| Skip::Malformed)?;
        if sliced.is_ip_payload_fragmented() {
            return Err(Skip::Fragment);
        }
        let Some(TransportSlice::Udp(udp)) = &sliced.transport else { return Err(Skip::NotUdp) };
        let (source, destination, ttl): (IpAddr, IpAddr, u8) = match &sliced.net {
            Some(NetSlice::Ipv4(ip)) => {
                let header = ip.header();
                (header.source_addr().into(), header.destination_addr().into(), header.ttl())
            }
            Some(NetSlice::Ipv6(ip)) => {
                let header = ip.header();
                (header.source_addr().into(), header.destination_addr().into(), header.hop_limit())
            }
            _ => return Err(Skip::NotUdp),
        };
        Ok(Carried {
            source: (source, udp.source_port()).into(),
            destination: (destination, udp.destination_port()).into(),
            ttl,
            payload: udp.payload(),
        })
    }
}

type Sliced<'a> = Result<SlicedPacket<'a>, etherparse::err::packet::SliceError>;

fn by_ether_type(bytes: &[u8], (header, at): (usize, usize)) -> Result<Sliced<'_>, Skip> {
    let (before, rest) = bytes.split_at_checked(header).ok_or(Skip::Malformed)?;
    let number = u16::from_be_bytes([before[at], before[at + 1]]);
    Ok(SlicedPacket::from_ether_type(EtherType(number), rest))
}

impl fmt::Display for Skip {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Skip::CutOff => "cut off when they were captured",
            Skip::Link => "of a kind of link that is not read",
            Skip::Fragment => "fragments",
            Skip::NotUdp => "not UDP",
            Skip::Malformed => "malformed",
            Skip::NotMulticast => "not multicast (--to GROUP:PORT sends them to one)",
            Skip::Denied => "of groups for the network's own use (--only with address and port sends them)",
            Skip::NotWanted => "not among those of --only",
        })
    }
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;
    use proptest::prelude::*;

    use super::*;

    const LINKS: [Linktype; 8] = [
        Linktype::ETHERNET,
        Linktype::LINUX_SLL,
        Linktype::LINUX_SLL2,
        Linktype::NULL,
        Linktype::LOOP,
        Linktype::RAW,
        Linktype::IPV4,
        Linktype(12),
    ];

    /// A UDP packet over IPv4, without anything before it.
    fn packet() -> Vec<u8> {
        let mut bytes = Vec::new();
        let builder = PacketBuilder::ipv4([10, 1, 0, 2], [239, 1, 2, 3], 7).udp(4000, 5000);
        builder.write(&mut bytes, b"payload").unwrap();
        bytes
    }

    fn on(link: Linktype, packet: &[u8]) -> Vec<u8> {
        let before: &[u8] = match link {
            Linktype::ETHERNET => &[1, 0, 94, 1, 2, 3, 2, 0, 0, 0, 0, 1, 8, 0],
            Linktype::LINUX_SLL => &[0, 2, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0, 8, 0],
            Linktype::LINUX_SLL2 => &[8, 0, 0, 0, 0, 0, 0, 2, 0, 1, 2, 6, 2, 0, 0, 0, 0, 1, 0, 0],
            Linktype::NULL | Linktype::LOOP => &[0, 0, 0, 2],
            _ => &[],
        };
        [before, packet].concat()
    }

    #[test]
    fn a_datagram_is_found_on_every_link() {
        let packet = packet();
        for link in LINKS {
            // Short frames are padded on Ethernet.
            let bytes = [on(link, &packet), vec![0; 9]].concat();
            let carried = Carried::parse(link, &bytes).unwrap_or_else(|skip| panic!("{link:?}: {skip}"));
            assert_eq!(carried.source, "10.1.0.2:4000".parse().unwrap());
            assert_eq!(carried.destination, "239.1.2.3:5000".parse().unwrap());
            assert_eq!((carried.ttl, carried.payload), (7, &b"payload"[..]), "{link:?}");
        }
        let tagged = [&on(Linktype::ETHERNET, &[])[..12], &[0x81, 0, 0, 5, 8, 0], &packet].concat();
        assert_eq!(Carried::parse(Linktype::ETHERNET, &tagged).unwrap().payload, b"payload");
    }

    #[test]
    fn what_is_no_whole_datagram_says_why() {
        let packet = packet();
        assert_eq!(Carried::parse(Linktype(9999), &packet), Err(Skip::Link));
        assert_eq!(Carried::parse(Linktype::RAW, &packet[..packet.len() - 1]), Err(Skip::Malformed));
        let mut fragment = packet.clone();
        fragment[6] = 0x20; // more fragments
        assert_eq!(Carried::parse(Linktype::RAW, &fragment), Err(Skip::Fragment));
        let mut tcp = packet;
        tcp[9] = 1; // ICMP
        assert_eq!(Carried::parse(Linktype::RAW, &tcp), Err(Skip::NotUdp));
    }

    proptest! {
        #[test]
        fn no_bytes_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200), link in 0..LINKS.len()) {
            let _ = Carried::parse(LINKS[link], &bytes);
        }

        #[test]
        fn no_change_of_a_byte_harms(at in 0..35usize, byte: u8, link in 0..LINKS.len()) {
            let mut bytes = on(LINKS[link], &packet());
            bytes[at] = byte;
            let _ = Carried::parse(LINKS[link], &bytes);
        }
    }
}
