//! The binary records of `wscast.v1`: what a binary message on `/v1` is made of.
//!
//! Several records may stand back to back in one message; all integers are little-endian (docs/protocol.md, section 2;
//! bytes to check against: `tests/vectors/records.json`).

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use bytes::{BufMut, Bytes};
use thiserror::Error;

/// Bytes before the payload of what the gateway sends (kinds 1 and 2).
pub const DATAGRAM_HEADER: usize = 40;
/// Bytes before the payload of what a client sends (kind 3).
pub const SEND_HEADER: usize = 8;
/// The longest payload that a record's length can tell, in bytes; UDP carries less (65,527 over IPv6).
pub const LONGEST_PAYLOAD: usize = u16::MAX as usize;

const DATAGRAM: u8 = 1;
const REPLY: u8 = 2;
const SEND: u8 = 3;

const SOURCE_IS_IPV6: u8 = 1;
const TRUNCATED: u8 = 1 << 1;
const FROM_CLIENT: u8 = 1 << 2;

/// What a datagram from the gateway is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Kind 1: a datagram of a stream, by the stream's number.
    Stream(u32),
    /// Kind 2: a unicast answer to what a sender sent, by the sender's number.
    Reply(u32),
}

/// The header of a record from the gateway: everything but the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    /// Which stream or sender it belongs to.
    pub origin: Origin,
    /// Number within that stream or sender; wraps. A hole is a loss.
    pub sequence: u32,
    /// Who sent it; unspecified, with port 0, where the kernel did not say. Flow and scope are not carried.
    pub source: SocketAddr,
    /// TTL or hop limit on arrival; `None` where the kernel did not say.
    pub ttl: Option<u8>,
    /// Arrival at the kernel in nanoseconds since 1970 (UTC); 0 where the kernel did not say.
    pub arrival: u64,
    /// Cut off by the receive buffer.
    pub truncated: bool,
    /// Sent by a client of this gateway.
    pub from_client: bool,
}

/// A record from the gateway, read in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Everything but the payload.
    pub header: RecordHeader,
    /// One datagram's payload.
    pub payload: &'a [u8],
}

/// A record from a client, read in place: one datagram to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendRecord<'a> {
    /// The number of the sender that `open_send` opened.
    pub sender: u32,
    /// One datagram's payload.
    pub payload: &'a [u8],
}

/// Bytes that are no record. Offsets count from the beginning of the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RecordError {
    /// A message without a byte.
    #[error("the binary message is empty: it holds one record or more")]
    Empty,
    /// The first byte is no kind that this side may send.
    #[error("the record at byte {at} is of kind {kind}: the gateway sends 1 and 2, a client sends 3")]
    UnknownKind {
        /// Where the record begins.
        at: usize,
        /// What its first byte says.
        kind: u8,
    },
    /// The message ends inside the header.
    #[error("the record at byte {at} has {left} bytes, and its header alone takes {need}")]
    ShortHeader {
        /// Where the record begins.
        at: usize,
        /// Bytes from there to the end of the message.
        left: usize,
        /// Bytes of the header.
        need: usize,
    },
    /// The message ends inside the payload.
    #[error("the record at byte {at} says {length} bytes of payload, and {left} are left in the message")]
    ShortPayload {
        /// Where the record begins.
        at: usize,
        /// Bytes of payload as the header says.
        length: usize,
        /// Bytes from the header to the end of the message.
        left: usize,
    },
    /// Flags that a client may not set: none has a meaning yet.
    #[error("the record at byte {at} has flags {flags:#04x}: a client sends 0")]
    UnknownFlags {
        /// Where the record begins.
        at: usize,
        /// What its second byte says.
        flags: u8,
    },
    /// The source and bit 0 of the flags contradict each other.
    #[error("the record at byte {at} has source {address}, and its flags say the other IP version")]
    BadSource {
        /// Where the record begins.
        at: usize,
        /// The sixteen bytes of the source.
        address: Ipv6Addr,
    },
}

/// The records of one message from the gateway; ends after the first error.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    cut: Cut<'a>,
}

/// The records of one message from a client; ends after the first error.
#[derive(Clone, Debug)]
pub struct SendRecords<'a> {
    cut: Cut<'a>,
}

impl RecordError {
    /// A stable name, as `tests/vectors/records.json` has it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            RecordError::Empty => "empty",
            RecordError::UnknownKind { .. } => "unknown_kind",
            RecordError::ShortHeader { .. } => "short_header",
            RecordError::ShortPayload { .. } => "short_payload",
            RecordError::UnknownFlags { .. } => "unknown_flags",
            RecordError::BadSource { .. } => "bad_source",
        }
    }
}

impl RecordHeader {
    /// The header's bytes, for a payload of `length` bytes that follows.
    #[must_use]
    pub fn encode(&self, length: u16) -> [u8; DATAGRAM_HEADER] {
        let (kind, number) = match self.origin {
            Origin::Stream(number) => (DATAGRAM, number),
            Origin::Reply(number) => (REPLY, number),
        };
        let (version, address) = match self.source.ip() {
            IpAddr::V4(four) => (0, four.to_ipv6_mapped()),
            IpAddr::V6(six) => (SOURCE_IS_IPV6, six),
        };
        let truncated = if self.truncated { TRUNCATED } else { 0 };
        let from_client = if self.from_client { FROM_CLIENT } else { 0 };
        let mut bytes = [0; DATAGRAM_HEADER];
        bytes[0] = kind;
        bytes[1] = version | truncated | from_client;
        bytes[2..4].copy_from_slice(&length.to_le_bytes());
        bytes[4..8].copy_from_slice(&number.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[12..14].copy_from_slice(&self.source.port().to_le_bytes());
        bytes[14] = self.ttl.unwrap_or(0);
        bytes[16..24].copy_from_slice(&self.arrival.to_le_bytes());
        bytes[24..40].copy_from_slice(&address.octets());
        bytes
    }

    /// Appends the record with `payload`.
    ///
    /// # Panics
    /// Where `payload` is longer than [`LONGEST_PAYLOAD`], which no UDP datagram is.
    pub fn put(&self, payload: &[u8], out: &mut impl BufMut) {
        let length = u16::try_from(payload.len()).expect("a UDP payload is shorter than 64 KiB");
        out.put_slice(&self.encode(length));
        out.put_slice(payload);
    }

    fn decode(head: &[u8; DATAGRAM_HEADER], at: usize) -> Result<RecordHeader, RecordError> {
        let [kind, flags, ..] = *head;
        let number = u32::from_le_bytes(part(head, 4));
        let origin = if kind == REPLY { Origin::Reply(number) } else { Origin::Stream(number) };
        let address = Ipv6Addr::from(part::<16>(head, 24));
        let source: IpAddr = match (flags & SOURCE_IS_IPV6 != 0, address.to_ipv4_mapped()) {
            (false, Some(four)) => four.into(),
            (true, None) => address.into(),
            _ => return Err(RecordError::BadSource { at, address }),
        };
        Ok(RecordHeader {
            origin,
            sequence: u32::from_le_bytes(part(head, 8)),
            source: SocketAddr::new(source, u16::from_le_bytes(part(head, 12))),
            ttl: Some(head[14]).filter(|&ttl| ttl != 0),
            arrival: u64::from_le_bytes(part(head, 16)),
            truncated: flags & TRUNCATED != 0,
            from_client: flags & FROM_CLIENT != 0,
        })
    }
}

impl<'a> Record<'a> {
    /// The payload as a part of `message`, which the record was read from; nothing is copied.
    #[must_use]
    pub fn payload_of(&self, message: &Bytes) -> Bytes {
        message.slice_ref(self.payload)
    }
}

impl SendRecord<'_> {
    /// The header's bytes, for a payload of `length` bytes that follows.
    #[must_use]
    pub fn header(sender: u32, length: u16) -> [u8; SEND_HEADER] {
        let mut bytes = [0; SEND_HEADER];
        bytes[0] = SEND;
        bytes[2..4].copy_from_slice(&length.to_le_bytes());
        bytes[4..8].copy_from_slice(&sender.to_le_bytes());
        bytes
    }

    /// Appends the record.
    ///
    /// # Panics
    /// Where the payload is longer than [`LONGEST_PAYLOAD`], which no UDP datagram is.
    pub fn put(&self, out: &mut impl BufMut) {
        let length = u16::try_from(self.payload.len()).expect("a UDP payload is shorter than 64 KiB");
        out.put_slice(&Self::header(self.sender, length));
        out.put_slice(self.payload);
    }
}

impl<'a> Records<'a> {
    /// Reads a binary message from the gateway. Flag bits and the reserved byte that have no meaning yet are
    /// not looked at, so that a later gateway may give them one.
    #[must_use]
    pub fn new(message: &'a [u8]) -> Records<'a> {
        Records { cut: Cut::new(message) }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        let at = self.cut.at;
        let cut = self.cut.next::<DATAGRAM_HEADER>(|kind| kind == DATAGRAM || kind == REPLY)?;
        let record = cut.and_then(|(head, payload)| {
            RecordHeader::decode(head, at).map(|header| Record { header, payload })
        });
        Some(self.cut.ended_by(record))
    }
}

impl<'a> SendRecords<'a> {
    /// Reads a binary message from a client.
    #[must_use]
    pub fn new(message: &'a [u8]) -> SendRecords<'a> {
        SendRecords { cut: Cut::new(message) }
    }
}

impl<'a> Iterator for SendRecords<'a> {
    type Item = Result<SendRecord<'a>, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        let at = self.cut.at;
        let cut = self.cut.next::<SEND_HEADER>(|kind| kind == SEND)?;
        let record = cut.and_then(|(head, payload)| match head[1] {
            0 => Ok(SendRecord { sender: u32::from_le_bytes(part(head, 4)), payload }),
            flags => Err(RecordError::UnknownFlags { at, flags }),
        });
        Some(self.cut.ended_by(record))
    }
}

/// A header of `H` bytes, and the payload behind it.
type Piece<'a, const H: usize> = (&'a [u8; H], &'a [u8]);

/// A message, and where its next record begins.
#[derive(Clone, Debug)]
struct Cut<'a> {
    message: &'a [u8],
    at: usize,
    over: bool,
}

impl<'a> Cut<'a> {
    fn new(message: &'a [u8]) -> Cut<'a> {
        Cut { message, at: 0, over: false }
    }

    /// The next record's header of `H` bytes and its payload. In both headers the length stands at byte 2.
    fn next<const H: usize>(
        &mut self,
        is_known: impl Fn(u8) -> bool,
    ) -> Option<Result<Piece<'a, H>, RecordError>> {
        let at = self.at;
        let rest = &self.message[at..];
        if self.over || (rest.is_empty() && at > 0) {
            return None;
        }
        let Some(&kind) = rest.first() else { return Some(Err(RecordError::Empty)) };
        if !is_known(kind) {
            return Some(Err(RecordError::UnknownKind { at, kind }));
        }
        let Some((head, rest)) = rest.split_first_chunk::<H>() else {
            return Some(Err(RecordError::ShortHeader { at, left: rest.len(), need: H }));
        };
        let length = usize::from(u16::from_le_bytes(part(head, 2)));
        let Some(payload) = rest.get(..length) else {
            return Some(Err(RecordError::ShortPayload { at, length, left: rest.len() }));
        };
        self.at = at + H + length;
        Some(Ok((head, payload)))
    }

    /// Nothing follows an error: where the next record would begin is not known.
    fn ended_by<T>(&mut self, record: Result<T, RecordError>) -> Result<T, RecordError> {
        self.over |= record.is_err();
        record
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

    fn header() -> impl Strategy<Value = RecordHeader> {
        let origin = prop_oneof![any::<u32>().prop_map(Origin::Stream), any::<u32>().prop_map(Origin::Reply)];
        let address = prop_oneof![
            any::<u32>().prop_map(|bits| IpAddr::from(std::net::Ipv4Addr::from_bits(bits))),
            // An IPv4-mapped address of IPv6 is no source of a datagram: Linux shows those as IPv4.
            any::<u128>()
                .prop_map(Ipv6Addr::from_bits)
                .prop_filter("mapped", |six| six.to_ipv4_mapped().is_none())
                .prop_map(IpAddr::from),
        ];
        let source = (address, any::<u16>()).prop_map(SocketAddr::from);
        let flags = (any::<bool>(), any::<bool>());
        (origin, any::<u32>(), source, any::<u8>(), any::<u64>(), flags).prop_map(
            |(origin, sequence, source, ttl, arrival, (truncated, from_client))| RecordHeader {
                origin,
                sequence,
                source,
                ttl: Some(ttl).filter(|&ttl| ttl != 0),
                arrival,
                truncated,
                from_client,
            },
        )
    }

    fn payload() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![prop::collection::vec(any::<u8>(), 0..60), Just(vec![7; LONGEST_PAYLOAD])]
    }

    proptest! {
        #[test]
        fn records_round_trip(written in prop::collection::vec((header(), payload()), 1..6)) {
            let mut message = Vec::new();
            for (header, payload) in &written {
                header.put(payload, &mut message);
            }
            let message = Bytes::from(message);
            let read: Result<Vec<_>, _> = Records::new(&message)
                .map(|record| record.map(|record| (record.header, record.payload_of(&message).to_vec())))
                .collect();
            prop_assert_eq!(read, Ok(written));
        }

        #[test]
        fn sent_records_round_trip(written in prop::collection::vec((any::<u32>(), payload()), 1..6)) {
            let mut message = Vec::new();
            for (sender, payload) in &written {
                SendRecord { sender: *sender, payload }.put(&mut message);
            }
            let read: Result<Vec<_>, _> = SendRecords::new(&message)
                .map(|record| record.map(|record| (record.sender, record.payload.to_vec())))
                .collect();
            prop_assert_eq!(read, Ok(written));
        }

        /// What a client sent is taken only where writing it again gives the same bytes.
        #[test]
        fn no_garbage_is_taken(mut message in prop::collection::vec(0_u8..12, 0..80), lead in any::<bool>()) {
            if lead && !message.is_empty() {
                message[0] = SEND;
            }
            let read: Result<Vec<_>, _> = SendRecords::new(&message).collect();
            if let Ok(read) = read {
                let mut again = Vec::new();
                for record in read {
                    record.put(&mut again);
                }
                prop_assert_eq!(again, message);
            }
        }

        #[test]
        fn any_bytes_end_and_never_panic(
            mut message in prop::collection::vec(any::<u8>(), 0..300),
            kind in 0_u8..5,
            length in 0_u8..64,
        ) {
            for (at, value) in [(0, kind), (2, length), (3, 0)] {
                if let Some(byte) = message.get_mut(at) {
                    *byte = value;
                }
            }
            let total = message.len();
            let taken: usize = Records::new(&message).flatten().map(|record| DATAGRAM_HEADER + record.payload.len()).sum();
            prop_assert!(taken <= total);
            prop_assert!(Records::new(&message).filter(Result::is_err).count() <= 1);
            prop_assert!(SendRecords::new(&message).count() <= total / SEND_HEADER + 1);
        }
    }
}
