//! MPEG transport streams (ISO/IEC 13818-1).

/// Bytes of a packet.
pub const PACKET: usize = 188;
/// The first byte of each.
pub const SYNC: u8 = 0x47;

/// Whether a datagram carries whole transport stream packets, and nothing else.
#[must_use]
pub fn is_stream(datagram: &[u8]) -> bool {
    !datagram.is_empty()
        && datagram.len().is_multiple_of(PACKET)
        && datagram.iter().step_by(PACKET).all(|first| *first == SYNC)
}
