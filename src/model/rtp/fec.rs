//! A packet of forward error correction for RTP: SMPTE 2022-1, which is Pro-MPEG Code of Practice 3 release 2 (header of RFC
//! 2733, stretched by a regular pattern).

use crate::model::rtp::{HEADER, Malformed};

/// Bytes of the FEC header behind RTP's.
const FEC_HEADER: usize = 16;
/// Packets from the first to the last that one FEC packet protects, at most: SMPTE 2022-1 has 100, SMPTE 2022-5 more.
pub const REACH: u16 = 512;

/// How the packets that are protected lie in their matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Every so many: repairs bursts.
    Column,
    /// One after the other.
    Row,
}

/// One FEC packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FecPacket<'a> {
    /// The first sequence number protected.
    pub base: u16,
    /// From one protected packet to the next; never 0.
    pub offset: u16,
    /// Packets protected; never 0.
    pub count: u16,
    /// Column or row.
    pub direction: Direction,
    /// What all packets have together, each field the exclusive or of theirs.
    pub sum: Sum<'a>,
}

/// The exclusive or of several packets, field by field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sum<'a> {
    /// Padding, extension and CSRC count: the low six bits of the first byte.
    pub first: u8,
    /// Marker and payload type.
    pub kind: u8,
    /// Timestamp.
    pub timestamp: u32,
    /// Bytes behind the fixed header.
    pub length: u16,
    /// What stands there, padded with zeros to the longest.
    pub body: &'a [u8],
}

impl<'a> FecPacket<'a> {
    /// Takes a datagram apart.
    ///
    /// # Errors
    /// [`Malformed`], also for a pattern without sense or longer than [`REACH`].
    pub fn parse(datagram: &'a [u8]) -> Result<Self, Malformed> {
        let (rtp, rest) = datagram.split_first_chunk::<HEADER>().ok_or(Malformed::Short)?;
        if rtp[0] >> 6 != 2 {
            return Err(Malformed::Version);
        }
        // The low bits of RTP's own header are sums too, and say nothing about this packet.
        let (fec, body) = rest.split_first_chunk::<FEC_HEADER>().ok_or(Malformed::Short)?;
        let (offset, count) = (u16::from(fec[13]), u16::from(fec[14]));
        if offset == 0 || count == 0 || offset.saturating_mul(count) > REACH {
            return Err(Malformed::Short);
        }
        Ok(FecPacket {
            base: u16::from_be_bytes([fec[0], fec[1]]),
            offset,
            count,
            direction: if fec[12] & 0x40 == 0 { Direction::Column } else { Direction::Row },
            sum: Sum {
                first: rtp[0] & 0x3f,
                kind: rtp[1] & 0x80 | fec[4] & 0x7f,
                timestamp: u32::from_be_bytes([fec[8], fec[9], fec[10], fec[11]]),
                length: u16::from_be_bytes([fec[2], fec[3]]),
                body,
            },
        })
    }

    /// Packets from the first that it protects to the last.
    #[must_use]
    pub fn reach(&self) -> u16 {
        self.offset * self.count
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn never_panics(first in any::<u8>(), rest in prop::collection::vec(any::<u8>(), 0..80)) {
            let datagram = [&[first | 0x80][..], &rest].concat();
            if let Ok(packet) = FecPacket::parse(&datagram) {
                prop_assert!(packet.reach() <= REACH && packet.reach() > 0);
            }
        }
    }
}
