//! A packet of the Session Announcement Protocol (RFC 2974).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Bytes of a packet that are looked at; RFC 2974 section 6 wants 1 KiB at most.
const LONGEST: usize = 8 << 10;

/// The port of all announcements.
pub const PORT: u16 = 9875;

/// Where sessions of each scope are announced (RFC 2974 section 3): the highest address of the scope, but for the global one.
pub const GROUPS: [IpAddr; 7] = [
    IpAddr::V4(Ipv4Addr::new(224, 2, 127, 254)),
    IpAddr::V4(Ipv4Addr::new(239, 195, 255, 255)),
    IpAddr::V4(Ipv4Addr::new(239, 255, 255, 255)),
    IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 2, 0x7ffe)),
    IpAddr::V6(Ipv6Addr::new(0xff05, 0, 0, 0, 0, 0, 2, 0x7ffe)),
    IpAddr::V6(Ipv6Addr::new(0xff08, 0, 0, 0, 0, 0, 2, 0x7ffe)),
    IpAddr::V6(Ipv6Addr::new(0xff0e, 0, 0, 0, 0, 0, 2, 0x7ffe)),
];

/// One packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Who announces.
    pub announcer: IpAddr,
    /// Whether the session ends with this.
    pub deletes: bool,
    /// What is announced.
    pub payload: &'a [u8],
}

/// Why a packet says nothing here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// It is none, or of another kind of payload.
    Malformed,
    /// It is encrypted or compressed.
    Unreadable,
}

impl<'a> Packet<'a> {
    /// Takes a datagram apart.
    ///
    /// # Errors
    /// [`Unusable`].
    pub fn parse(datagram: &'a [u8]) -> Result<Self, Unusable> {
        let (header, rest) = datagram.split_first_chunk::<4>().ok_or(Unusable::Malformed)?;
        if header[0] >> 5 != 1 || datagram.len() > LONGEST {
            return Err(Unusable::Malformed);
        }
        if header[0] & 0x03 != 0 {
            return Err(Unusable::Unreadable);
        }
        let (announcer, rest): (IpAddr, _) = if header[0] & 0x10 == 0 {
            let (address, rest) = rest.split_first_chunk::<4>().ok_or(Unusable::Malformed)?;
            ((*address).into(), rest)
        } else {
            let (address, rest) = rest.split_first_chunk::<16>().ok_or(Unusable::Malformed)?;
            ((*address).into(), rest)
        };
        let signed = usize::from(header[1]) * 4;
        let payload = rest.get(signed..).ok_or(Unusable::Malformed)?;
        let payload = match payload.iter().position(|byte| *byte == 0) {
            _ if payload.starts_with(b"v=0") || payload.starts_with(b"o=") => payload,
            Some(end) if payload[..end].eq_ignore_ascii_case(b"application/sdp") => &payload[end + 1..],
            _ => return Err(Unusable::Malformed),
        };
        Ok(Packet { announcer, deletes: header[0] & 0x04 != 0, payload })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn takes_both_families_with_and_without_a_type() {
        let four = b"\x20\x00\x12\x34\x0a\x00\x00\x05v=0\r\n";
        let packet = Packet::parse(four).expect("SAP");
        assert_eq!((packet.announcer.to_string(), packet.payload), ("10.0.0.5".to_owned(), &b"v=0\r\n"[..]));
        let mut six = vec![0x34, 1, 0, 1];
        six.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5]);
        six.extend(b"authapplication/sdp\0o=x");
        let packet = Packet::parse(&six).expect("SAP");
        assert_eq!(
            (packet.announcer.to_string(), packet.deletes, packet.payload),
            ("2001:db8::5".to_owned(), true, &b"o=x"[..])
        );
        for (packet, why) in [
            (&b"\x20"[..], Unusable::Malformed),
            (b"\x40\x00\x12\x34\x0a\x00\x00\x05v=0", Unusable::Malformed),
            (b"\x21\x00\x12\x34\x0a\x00\x00\x05v=0", Unusable::Unreadable),
            (b"\x20\xff\x12\x34\x0a\x00\x00\x05v=0", Unusable::Malformed),
            (b"\x20\x00\x12\x34\x0a\x00\x00\x05text/plain\0v=0", Unusable::Malformed),
        ] {
            assert_eq!(Packet::parse(packet), Err(why), "{packet:?}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(first in any::<u8>(), rest in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = Packet::parse(&[&[first & 0x1f | 0x20][..], &rest].concat());
        }
    }
}
