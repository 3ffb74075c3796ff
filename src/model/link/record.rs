//! The binary records that two linked gateways exchange: kind 4 carries a datagram, kind 5 a unicast answer to one.
//!
//! The first 40 bytes are those of a datagram record (kind 1), with the link's channel and sequence for the stream's. All
//! integers are little-endian (docs/protocol.md, section 8; bytes to check against: `tests/vectors/links.json`).

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use bytes::{BufMut, Bytes, BytesMut};
use thiserror::Error;

/// Bytes before the payload of a datagram between gateways (kind 4).
pub const LINK_HEADER: usize = 64;
/// Bytes before the payload of a unicast answer between gateways (kind 5).
pub const ANSWER_HEADER: usize = 72;

const DATAGRAM: u8 = 4;
const ANSWER: u8 = 5;
const SOURCE_IS_IPV6: u8 = 1;

/// What names a datagram for all linked gateways: no two have the same, whatever their payloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The run of the gateway that heard it on its LAN.
    pub gateway: u64,
    /// That gateway's number of the mirrored group; another one whenever it begins anew.
    pub run: u32,
    /// Number within that, from 1.
    pub sequence: u64,
}

/// What a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// A datagram that somebody sent to the group.
    Datagram(Identity),
    /// A unicast answer, to whom it goes.
    Answer {
        /// The gateway on whose LAN the asker is.
        gateway: u64,
        /// The asker.
        asker: SocketAddr,
    },
}

/// A record between gateways: everything but the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkHeader {
    /// What it is about.
    pub content: Content,
    /// Number of the mirrored group, from 0: its place in the `link` message.
    pub channel: u32,
    /// Number of the record on this link in this direction; wraps. A hole is a loss.
    pub sequence: u32,
    /// Who sent it, on the LAN that it came from.
    pub source: SocketAddr,
    /// TTL or hop limit on arrival there; `None` where the kernel did not say.
    pub ttl: Option<u8>,
    /// Links that it has passed, this one included, at least 1.
    pub hops: u8,
    /// Arrival at the first gateway in nanoseconds since 1970 (UTC).
    pub arrival: u64,
}

/// Bytes that are no record of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum LinkRecordError {
    /// A message without a byte.
    #[error("the binary message is empty: it holds one record or more")]
    Empty,
    /// Neither kind.
    #[error("the record at byte {at} is of kind {kind}: gateways send each other 4 and 5")]
    UnknownKind {
        /// Where the record begins.
        at: usize,
        /// What its first byte says.
        kind: u8,
    },
    /// The message ends inside header or payload.
    #[error("the record at byte {at} ends {missing} bytes behind the message")]
    Short {
        /// Where the record begins.
        at: usize,
        /// Bytes that are not there.
        missing: usize,
    },
    /// Flags without a meaning, hops of 0, or an address of the other IP version than the flags say.
    #[error("the record at byte {at} has a field that can't be: {field}")]
    BadField {
        /// Where the record begins.
        at: usize,
        /// Which.
        field: &'static str,
    },
}

/// The records of one message; ends after the first error.
#[derive(Clone, Debug)]
pub struct LinkRecords<'a> {
    message: &'a [u8],
    at: usize,
    over: bool,
}

impl LinkRecordError {
    /// A stable name, as `tests/vectors/links.json` has it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            LinkRecordError::Empty => "empty",
            LinkRecordError::UnknownKind { .. } => "unknown_kind",
            LinkRecordError::Short { .. } => "short",
            LinkRecordError::BadField { .. } => "bad_field",
        }
    }
}

impl LinkHeader {
    /// The record with `payload`, as bytes of its own.
    ///
    /// # Panics
    /// Where `payload` is longer than 65,535 bytes, which no UDP datagram is.
    #[must_use]
    pub fn encode(&self, payload: &[u8]) -> Bytes {
        let mut out = BytesMut::with_capacity(ANSWER_HEADER + payload.len());
        self.put(payload, &mut out);
        out.freeze()
    }

    /// Appends the record with `payload`.
    ///
    /// # Panics
    /// As [`LinkHeader::encode`].
    pub fn put(&self, payload: &[u8], out: &mut impl BufMut) {
        let length = u16::try_from(payload.len()).expect("a UDP payload is shorter than 64 KiB");
        let (kind, address) = match self.content {
            Content::Datagram(_) => (DATAGRAM, mapped(self.source.ip())),
            Content::Answer { .. } => (ANSWER, mapped(self.source.ip())),
        };
        out.put_u8(kind);
        out.put_u8(if self.source.is_ipv4() { 0 } else { SOURCE_IS_IPV6 });
        out.put_u16_le(length);
        out.put_u32_le(self.channel);
        out.put_u32_le(self.sequence);
        out.put_u16_le(self.source.port());
        out.put_u8(self.ttl.unwrap_or(0));
        out.put_u8(self.hops);
        out.put_u64_le(self.arrival);
        out.put_slice(&address.octets());
        match self.content {
            Content::Datagram(identity) => {
                out.put_u64_le(identity.gateway);
                out.put_u64_le(identity.sequence);
                out.put_u32_le(identity.run);
                out.put_u32_le(0);
            }
            Content::Answer { gateway, asker } => {
                out.put_u64_le(gateway);
                out.put_slice(&mapped(asker.ip()).octets());
                out.put_u16_le(asker.port());
                out.put_slice(&[0; 6]);
            }
        }
        out.put_slice(payload);
    }

    fn decode(head: &[u8], at: usize) -> Result<LinkHeader, LinkRecordError> {
        let wrong = |field| LinkRecordError::BadField { at, field };
        let is_ipv6 = match head[1] {
            0 => false,
            SOURCE_IS_IPV6 => true,
            _ => return Err(wrong("flags")),
        };
        let address = |from: usize| {
            let six = Ipv6Addr::from(part::<16>(head, from));
            match (is_ipv6, six.to_ipv4_mapped()) {
                (false, Some(four)) => Some(IpAddr::from(four)),
                (true, None) => Some(six.into()),
                _ => None,
            }
        };
        let content = if head[0] == DATAGRAM {
            let sequence = u64::from_le_bytes(part(head, 48));
            if sequence == 0 {
                return Err(wrong("sequence"));
            }
            Content::Datagram(Identity {
                gateway: u64::from_le_bytes(part(head, 40)),
                sequence,
                run: u32::from_le_bytes(part(head, 56)),
            })
        } else {
            let asker = address(48).ok_or_else(|| wrong("asker"))?;
            let port = u16::from_le_bytes(part(head, 64));
            Content::Answer {
                gateway: u64::from_le_bytes(part(head, 40)),
                asker: SocketAddr::new(asker, port),
            }
        };
        if head[15] == 0 {
            return Err(wrong("hops"));
        }
        let source = address(24).ok_or_else(|| wrong("source"))?;
        Ok(LinkHeader {
            content,
            channel: u32::from_le_bytes(part(head, 4)),
            sequence: u32::from_le_bytes(part(head, 8)),
            source: SocketAddr::new(source, u16::from_le_bytes(part(head, 12))),
            ttl: Some(head[14]).filter(|ttl| *ttl != 0),
            hops: head[15],
            arrival: u64::from_le_bytes(part(head, 16)),
        })
    }
}

impl<'a> LinkRecords<'a> {
    /// Reads a binary message.
    #[must_use]
    pub fn new(message: &'a [u8]) -> LinkRecords<'a> {
        LinkRecords { message, at: 0, over: false }
    }

    fn read(&mut self) -> Option<Result<(LinkHeader, &'a [u8]), LinkRecordError>> {
        let at = self.at;
        let rest = &self.message[at..];
        if self.over || (rest.is_empty() && at > 0) {
            return None;
        }
        let Some(&kind) = rest.first() else { return Some(Err(LinkRecordError::Empty)) };
        let size = match kind {
            DATAGRAM => LINK_HEADER,
            ANSWER => ANSWER_HEADER,
            _ => return Some(Err(LinkRecordError::UnknownKind { at, kind })),
        };
        let Some((head, rest)) = rest.split_at_checked(size) else {
            return Some(Err(LinkRecordError::Short { at, missing: size - rest.len() }));
        };
        let length = usize::from(u16::from_le_bytes(part(head, 2)));
        let Some(payload) = rest.get(..length) else {
            return Some(Err(LinkRecordError::Short { at, missing: length - rest.len() }));
        };
        self.at = at + size + length;
        Some(LinkHeader::decode(head, at).map(|header| (header, payload)))
    }
}

impl<'a> Iterator for LinkRecords<'a> {
    type Item = Result<(LinkHeader, &'a [u8]), LinkRecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.read()?;
        self.over |= next.is_err();
        Some(next)
    }
}

fn mapped(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(four) => four.to_ipv6_mapped(),
        IpAddr::V6(six) => six,
    }
}

/// `N` bytes of a header from `at`, which callers keep inside it.
fn part<const N: usize>(head: &[u8], at: usize) -> [u8; N] {
    *head[at..].first_chunk().expect("fields stand inside their header")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header() -> impl Strategy<Value = LinkHeader> {
        let address = |six: bool, bits: u128| -> IpAddr {
            if six {
                Ipv6Addr::from_bits(bits | 0x2000 << 112).into()
            } else {
                std::net::Ipv4Addr::from_bits(bits as u32).into()
            }
        };
        let of = (any::<bool>(), any::<bool>(), any::<[u128; 2]>(), any::<[u16; 2]>(), any::<[u32; 3]>());
        let rest = (any::<u8>(), 1_u8.., any::<u64>(), any::<u64>(), 1_u64..);
        (of, rest).prop_map(
            move |((six, answer, bits, ports, numbers), (ttl, hops, arrival, gateway, sequence))| {
                let content = if answer {
                    Content::Answer { gateway, asker: SocketAddr::new(address(six, bits[0]), ports[0]) }
                } else {
                    Content::Datagram(Identity { gateway, run: numbers[2], sequence })
                };
                LinkHeader {
                    content,
                    channel: numbers[0],
                    sequence: numbers[1],
                    source: SocketAddr::new(address(six, bits[1]), ports[1]),
                    ttl: Some(ttl).filter(|ttl| *ttl != 0),
                    hops,
                    arrival,
                }
            },
        )
    }

    proptest! {
        #[test]
        fn records_round_trip(written in prop::collection::vec((header(), prop::collection::vec(any::<u8>(), 0..60)), 1..6)) {
            let mut message = Vec::new();
            for (header, payload) in &written {
                header.put(payload, &mut message);
            }
            let read: Result<Vec<_>, _> =
                LinkRecords::new(&message).map(|record| record.map(|(header, payload)| (header, payload.to_vec()))).collect();
            prop_assert_eq!(read, Ok(written));
        }

        #[test]
        fn garbage_never_panics(mut message in prop::collection::vec(0_u8..8, 0..160), lead in 3_u8..6) {
            if let Some(first) = message.first_mut() {
                *first = lead;
            }
            let read: Vec<_> = LinkRecords::new(&message).collect();
            prop_assert!(read.iter().rev().skip(1).all(Result::is_ok));
        }
    }
}
