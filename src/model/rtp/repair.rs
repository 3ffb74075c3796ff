//! Brings back lost RTP packets from what forward error correction says of them (SMPTE 2022-1, one dimension or two).
//!
//! It keeps the packets that came last, and the FEC packets that protect some which did not. An FEC packet with one packet
//! missing gives that one back, which may make another FEC packet do the same.

use std::collections::VecDeque;

use crate::model::rtp::HEADER;
use crate::model::rtp::fec::{Direction, FecPacket, REACH, Sum};

/// Packets kept: twice what an FEC packet may reach over, since those of a matrix are sent while the next one is.
const PACKETS: usize = 2 * REACH as usize;
/// Bytes of them.
const BYTES: usize = 3 << 19;
/// FEC packets kept: those of two matrices of the largest that SMPTE 2022-1 has, 20 rows and 20 columns.
const WAITING: usize = 80;
/// Bytes of an FEC packet: what an Ethernet frame carries, jumbo ones too.
const LONGEST: usize = 9000;

/// The most memory that one takes, in bytes.
pub const MEMORY: u64 = (2 * BYTES + PACKETS * 48 + WAITING * (LONGEST + 64)) as u64;

/// The packets of one stream, and its FEC.
#[derive(Debug)]
pub struct Repair {
    /// By sequence number modulo [`PACKETS`].
    packets: Vec<Option<Packet>>,
    /// In the order they came.
    order: VecDeque<u16>,
    bytes: usize,
    waiting: VecDeque<Waiting>,
    ssrc: u32,
    /// The longest reach of a column, or of a row where there are no columns, seen so far.
    reach: (u16, u16),
    unneeded: u64,
}

#[derive(Debug)]
struct Packet {
    sequence: u16,
    bytes: Vec<u8>,
}

#[derive(Debug)]
struct Waiting {
    base: u16,
    offset: u16,
    count: u16,
    first: u8,
    kind: u8,
    timestamp: u32,
    length: u16,
    body: Vec<u8>,
}

impl Default for Repair {
    fn default() -> Self {
        Repair {
            packets: (0..PACKETS).map(|_| None).collect(),
            order: VecDeque::new(),
            bytes: 0,
            waiting: VecDeque::new(),
            ssrc: 0,
            reach: (0, 0),
            unneeded: 0,
        }
    }
}

impl Repair {
    /// Keeps a media packet, whole.
    pub fn media(&mut self, sequence: u16, ssrc: u32, packet: &[u8]) {
        if packet.len() < HEADER {
            return;
        }
        if self.ssrc != ssrc {
            let unneeded = self.unneeded + self.waiting.len() as u64;
            *self = Repair { ssrc, unneeded, reach: self.reach, ..Repair::default() };
        }
        let mut room = Vec::new();
        while self.order.len() >= PACKETS || self.bytes + packet.len() > BYTES {
            let Some(oldest) = self.order.pop_front() else { break };
            if let Some(gone) = self.forget(oldest) {
                room = gone;
            }
        }
        if let Some(gone) = self.packets[place(sequence)].take() {
            self.bytes -= gone.bytes.len();
            self.order.retain(|kept| *kept != gone.sequence);
            room = gone.bytes;
        }
        // Room that is far too large would be memory that nobody counts.
        if room.capacity() > 2 * packet.len() {
            room = Vec::new();
        }
        room.clear();
        room.extend_from_slice(packet);
        self.bytes += room.len();
        self.packets[place(sequence)] = Some(Packet { sequence, bytes: room });
        self.order.push_back(sequence);
    }

    /// Keeps an FEC packet, if a packet that it protects is missing.
    pub fn fec(&mut self, packet: &FecPacket<'_>) {
        let reach = packet.reach();
        match packet.direction {
            Direction::Column => self.reach.0 = self.reach.0.max(reach),
            Direction::Row => self.reach.1 = self.reach.1.max(reach),
        }
        let known = |waiting: &Waiting| {
            (waiting.base, waiting.offset, waiting.count) == (packet.base, packet.offset, packet.count)
        };
        if self.waiting.iter().any(known) || packet.sum.body.len() > LONGEST {
            self.unneeded += 1;
            return;
        }
        if self.waiting.len() == WAITING {
            self.waiting.pop_front();
            self.unneeded += 1;
        }
        let Sum { first, kind, timestamp, length, body } = packet.sum;
        self.waiting.push_back(Waiting {
            base: packet.base,
            offset: packet.offset,
            count: packet.count,
            first,
            kind,
            timestamp,
            length,
            body: body.to_vec(),
        });
    }

    /// The next packet that can be brought back, whole, with its sequence number; `wanted` says which are missed.
    pub fn next(&mut self, wanted: impl Fn(u16) -> bool) -> Option<(u16, Vec<u8>)> {
        let mut at = 0;
        while let Some(waiting) = self.waiting.get(at) {
            let mut missing = waiting.sequences().filter(|sequence| self.packet(*sequence).is_none());
            match (missing.next(), missing.next()) {
                (None, _) => {
                    self.waiting.remove(at);
                    self.unneeded += 1;
                }
                (Some(lost), None) if wanted(lost) => {
                    let rebuilt = self.rebuild(waiting, lost);
                    self.waiting.remove(at);
                    // One that makes no sense protects other packets than these.
                    if let Some(packet) = rebuilt {
                        self.media(lost, self.ssrc, &packet);
                        return Some((lost, packet));
                    }
                    self.unneeded += 1;
                }
                _ => at += 1,
            }
        }
        None
    }

    /// From the first packet of a matrix to the last, as far as is known: 0 before there was any FEC.
    #[must_use]
    pub fn reach(&self) -> u16 {
        if self.reach.0 > 0 { self.reach.0 } else { self.reach.1 }
    }

    /// FEC packets that repaired nothing and are gone.
    #[must_use]
    pub fn unneeded(&self) -> u64 {
        self.unneeded
    }

    /// FEC packets that wait for what they protect.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    fn packet(&self, sequence: u16) -> Option<&[u8]> {
        let kept = self.packets[place(sequence)].as_ref()?;
        (kept.sequence == sequence).then_some(&kept.bytes)
    }

    fn forget(&mut self, sequence: u16) -> Option<Vec<u8>> {
        let gone = self.packets.get_mut(place(sequence))?.take_if(|packet| packet.sequence == sequence)?;
        self.bytes -= gone.bytes.len();
        Some(gone.bytes)
    }

    /// The exclusive or of the FEC packet with all that it protects but `lost`.
    fn rebuild(&self, waiting: &Waiting, lost: u16) -> Option<Vec<u8>> {
        let (mut first, mut kind) = (waiting.first, waiting.kind);
        let (mut timestamp, mut length) = (waiting.timestamp, waiting.length);
        let mut packet = vec![0; HEADER];
        packet.extend_from_slice(&waiting.body);
        for sequence in waiting.sequences().filter(|sequence| *sequence != lost) {
            let other = self.packet(sequence)?;
            let (header, body) = other.split_first_chunk::<HEADER>()?;
            first ^= header[0] & 0x3f;
            kind ^= header[1];
            timestamp ^= u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
            length ^= u16::try_from(body.len()).ok()?;
            for (sum, byte) in packet[HEADER..].iter_mut().zip(body) {
                *sum ^= byte;
            }
        }
        if usize::from(length) > waiting.body.len() {
            return None;
        }
        packet.truncate(HEADER + usize::from(length));
        packet[0] = 0x80 | first;
        packet[1] = kind;
        packet[2..4].copy_from_slice(&lost.to_be_bytes());
        packet[4..8].copy_from_slice(&timestamp.to_be_bytes());
        packet[8..12].copy_from_slice(&self.ssrc.to_be_bytes());
        Some(packet)
    }
}

impl Waiting {
    fn sequences(&self) -> impl Iterator<Item = u16> + use<> {
        let (base, offset) = (self.base, self.offset);
        (0..self.count).map(move |step| base.wrapping_add(step.wrapping_mul(offset)))
    }
}

fn place(sequence: u16) -> usize {
    usize::from(sequence) % PACKETS
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SSRC: u32 = 0xcafe_f00d;

    fn media(sequence: u16) -> Vec<u8> {
        let length = 100 + usize::from(sequence % 5) * 20;
        let mut packet = vec![0x80, if sequence.is_multiple_of(7) { 0xa1 } else { 33 }];
        packet.extend(sequence.to_be_bytes());
        packet.extend((u32::from(sequence) * 3600).to_be_bytes());
        packet.extend(SSRC.to_be_bytes());
        packet.extend((0..length).map(|byte| (byte as u8).wrapping_mul(sequence as u8)));
        packet
    }

    /// An FEC packet as SMPTE 2022-1 section 8 makes it.
    fn protect(base: u16, offset: u8, count: u8, row: bool) -> Vec<u8> {
        let (mut first, mut kind, mut timestamp, mut length, mut body) = (0, 0, 0, 0, Vec::new());
        for step in 0..count {
            let packet = media(base.wrapping_add(u16::from(step) * u16::from(offset)));
            first ^= packet[0] & 0x3f;
            kind ^= packet[1];
            timestamp ^= u32::from_be_bytes(packet[4..8].try_into().expect("four"));
            length ^= packet.len() as u16 - 12;
            body.resize(body.len().max(packet.len() - 12), 0);
            for (sum, byte) in body.iter_mut().zip(&packet[12..]) {
                *sum ^= byte;
            }
        }
        let mut fec = vec![0x80 | first, kind & 0x80 | 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
        fec.extend(base.to_be_bytes());
        fec.extend(length.to_be_bytes());
        fec.extend([kind & 0x7f | 0x80, 0, 0, 0]);
        fec.extend(timestamp.to_be_bytes());
        fec.extend([if row { 0x40 } else { 0 }, offset, count, 0]);
        fec.extend(body);
        fec
    }

    /// Plays a matrix of 5 x 4 without the packets `lost`: what comes back.
    fn play(base: u16, lost: &[u16], columns: bool, rows: bool) -> Vec<u16> {
        let mut repair = Repair::default();
        for step in (0..20).filter(|step| !lost.contains(step)) {
            let sequence = base.wrapping_add(step);
            repair.media(sequence, SSRC, &media(sequence));
        }
        let columns =
            (0..5).filter(|_| columns).map(|column| protect(base.wrapping_add(column), 5, 4, false));
        let rows = (0..4).filter(|_| rows).map(|row| protect(base.wrapping_add(row * 5), 1, 5, true));
        let mut back = Vec::new();
        for fec in columns.chain(rows) {
            repair.fec(&FecPacket::parse(&fec).expect("FEC"));
            while let Some((sequence, packet)) = repair.next(|_| true) {
                assert_eq!(packet, media(sequence), "{sequence}");
                back.push(sequence.wrapping_sub(base));
            }
        }
        back.sort_unstable();
        back
    }

    #[test]
    fn a_column_repairs_a_burst() {
        for base in [100, 65530] {
            assert!(play(base, &[], true, false).is_empty());
            assert_eq!(play(base, &[7], true, false), [7]);
            assert_eq!(play(base, &[5, 6, 7, 8, 9], true, false), [5, 6, 7, 8, 9]);
            assert_eq!(play(base, &[0, 5, 7], true, false), [7]);
        }
    }

    #[test]
    fn rows_and_columns_help_each_other() {
        assert_eq!(play(9, &[0, 5], true, true), [0, 5]);
        assert_eq!(play(9, &[0, 1, 5, 12], true, true), [0, 1, 5, 12]);
        // A square is more than two dimensions repair.
        assert_eq!(play(9, &[0, 1, 5, 6, 12], true, true), [12]);
    }

    #[test]
    fn only_what_is_missed_is_made_anew_and_what_is_not_needed_is_forgotten() {
        let mut repair = Repair::default();
        for sequence in 0..20 {
            repair.media(sequence, SSRC, &media(sequence));
        }
        repair.fec(&FecPacket::parse(&protect(0, 5, 4, false)).expect("FEC"));
        repair.fec(&FecPacket::parse(&protect(6, 5, 4, false)).expect("FEC"));
        assert_eq!(repair.next(|_| false), None);
        assert_eq!((repair.unneeded(), repair.waiting(), repair.reach()), (1, 1, 20));
        repair.media(0, SSRC + 1, &media(0));
        assert_eq!((repair.unneeded(), repair.waiting()), (2, 0));
    }

    proptest! {
        #[test]
        fn never_panics_and_stays_within_its_bounds(
            steps in prop::collection::vec((any::<u16>(), 0usize..2000, any::<u8>(), any::<u8>(), 0u8..4), 1..300),
        ) {
            let mut repair = Repair::default();
            for (sequence, length, offset, count, what) in steps {
                if what > 0 {
                    repair.media(sequence % 50, SSRC, &vec![0x80; length]);
                } else {
                    let mut fec = protect(sequence % 50, 1, 2, false);
                    fec.truncate(28 + length % 100);
                    (fec[25], fec[26]) = (offset, count);
                    if let Ok(fec) = FecPacket::parse(&fec) {
                        repair.fec(&fec);
                    }
                }
                while repair.next(|sequence| sequence % 3 > 0).is_some() {}
                prop_assert!(repair.bytes <= BYTES && repair.waiting() <= WAITING);
                prop_assert_eq!(repair.order.len(), repair.packets.iter().flatten().count());
                prop_assert_eq!(repair.bytes, repair.packets.iter().flatten().map(|one| one.bytes.len()).sum::<usize>());
            }
        }
    }
}
