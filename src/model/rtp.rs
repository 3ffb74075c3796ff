//! RTP (RFC 3550): one packet's parts, and what puts a stream of them back in order.

pub mod fec;
pub mod repair;
pub mod sequencer;

use thiserror::Error;

/// Bytes of the fixed header (RFC 3550 section 5.1).
pub const HEADER: usize = 12;
/// The second byte of RTCP packets that share a port with RTP (RFC 5761 section 4).
const RTCP: std::ops::RangeInclusive<u8> = 192..=223;

/// One RTP packet, its payload freed of header, CSRC list, extension and padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Counts the sender's packets; wraps.
    pub sequence: u16,
    /// Names the sender.
    pub ssrc: u32,
    /// What is sent; may be empty, as senders do to keep a path open.
    pub payload: &'a [u8],
}

/// What is no RTP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Malformed {
    /// Shorter than its header, CSRC list, extension or padding say.
    #[error("shorter than its header says")]
    Short,
    /// Not RTP version 2.
    #[error("not RTP version 2")]
    Version,
    /// RTCP on RTP's port.
    #[error("RTCP, which carries no media")]
    Control,
}

impl<'a> Packet<'a> {
    /// Takes a datagram apart.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn parse(datagram: &'a [u8]) -> Result<Self, Malformed> {
        let (header, mut rest) = datagram.split_first_chunk::<HEADER>().ok_or(Malformed::Short)?;
        if header[0] >> 6 != 2 {
            return Err(Malformed::Version);
        }
        if RTCP.contains(&header[1]) {
            return Err(Malformed::Control);
        }
        let sources = usize::from(header[0] & 0x0f) * 4;
        rest = rest.get(sources..).ok_or(Malformed::Short)?;
        if header[0] & 0x10 != 0 {
            let (extension, behind) = rest.split_first_chunk::<4>().ok_or(Malformed::Short)?;
            let words = usize::from(u16::from_be_bytes([extension[2], extension[3]]));
            rest = behind.get(words * 4..).ok_or(Malformed::Short)?;
        }
        if header[0] & 0x20 != 0 {
            // The last byte counts the padding, itself included.
            let padding = usize::from(*rest.last().ok_or(Malformed::Short)?);
            if padding == 0 {
                return Err(Malformed::Short);
            }
            rest = &rest[..rest.len().checked_sub(padding).ok_or(Malformed::Short)?];
        }
        Ok(Packet {
            sequence: u16::from_be_bytes([header[2], header[3]]),
            ssrc: u32::from_be_bytes([header[8], header[9], header[10], header[11]]),
            payload: rest,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PLAIN: [u8; 12] = [0x80, 33, 0x12, 0x34, 0, 0, 0, 9, 0xca, 0xfe, 0xba, 0xbe];

    fn with(first: u8, rest: &[u8]) -> Vec<u8> {
        let mut packet = PLAIN.to_vec();
        packet[0] |= first;
        packet.extend_from_slice(rest);
        packet
    }

    #[test]
    fn takes_off_everything_around_the_payload() {
        for (first, rest) in [
            (0x00, &b"media"[..]),
            (0x02, b"csrccsrcmedia"),
            (0x10, b"\xbe\xde\x00\x01extnmedia"),
            (0x20, b"media\x00\x00\x03"),
            (0x31, b"csrc\xbe\xde\x00\x02eightbytmedia\x01"),
        ] {
            let packet = with(first, rest);
            let expected = Packet { sequence: 0x1234, ssrc: 0xcafe_babe, payload: b"media" };
            assert_eq!(Packet::parse(&packet), Ok(expected), "{first:#x}");
        }
        assert_eq!(Packet::parse(&PLAIN).map(|packet| packet.payload.len()), Ok(0));
        assert_eq!(Packet::parse(&with(0x20, &[2, 2])).map(|packet| packet.payload.len()), Ok(0));
    }

    #[test]
    fn what_is_none_is_named() {
        for (packet, why) in [
            (vec![], Malformed::Short),
            (PLAIN[..11].to_vec(), Malformed::Short),
            (vec![0x47; 188], Malformed::Version),
            (with(0x0f, b"short"), Malformed::Short),
            (with(0x10, b"\xbe\xde"), Malformed::Short),
            (with(0x10, b"\xbe\xde\x00\x02four"), Malformed::Short),
            (with(0x20, b""), Malformed::Short),
            (with(0x20, b"xx\x00"), Malformed::Short),
            (with(0x20, b"xx\x04"), Malformed::Short),
        ] {
            assert_eq!(Packet::parse(&packet), Err(why), "{packet:?}");
        }
        let mut control = PLAIN;
        control[1] = 200;
        assert_eq!(Packet::parse(&control), Err(Malformed::Control));
    }

    proptest! {
        #[test]
        fn never_panics_and_never_finds_more_than_there_is(
            first in any::<u8>(), rest in prop::collection::vec(any::<u8>(), 0..80),
        ) {
            let datagram = [&[first | 0x80][..], &rest].concat();
            if let Ok(packet) = Packet::parse(&datagram) {
                prop_assert!(packet.payload.len() + HEADER <= datagram.len());
            }
        }
    }
}
