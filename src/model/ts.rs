//! MPEG transport streams (ISO/IEC 13818-1): where a player can begin.

mod tables;

use tables::{Program, Section, programs};

/// Bytes of a packet.
pub const PACKET: usize = 188;
/// The first byte of each.
pub const SYNC: u8 = 0x47;
/// Packets in which the kind of a picture has to show, from the one on that begins it.
const LOOKED_AT: usize = 4;
/// Programs looked at in a stream with several.
const PROGRAMS: usize = 16;

/// Whether a datagram carries whole transport stream packets, and nothing else.
#[must_use]
pub fn is_stream(datagram: &[u8]) -> bool {
    !datagram.is_empty()
        && datagram.len().is_multiple_of(PACKET)
        && datagram.iter().step_by(PACKET).all(|first| *first == SYNC)
}

/// Looks through datagrams for the places where a picture begins that needs no other.
///
/// Those are where the sender says so (`random_access_indicator`), and where an H.264 or HEVC picture brings its parameter
/// sets or is an IDR or IRAP, or an MPEG-2 one its sequence header. Of several programs the first with a known picture
/// counts; one without pictures begins anywhere.
#[derive(Debug, Default)]
pub struct Scanner {
    association: Section,
    programs: Vec<Program>,
    /// A picture of which more has to be seen.
    begun: Option<Begun>,
    latest: Option<Start>,
}

/// A datagram with which a player can begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// Its sequence number.
    pub sequence: u64,
    /// The packets with the tables that a player needs first (PAT and PMT), whole, one after the other.
    pub tables: Vec<u8>,
}

#[derive(Debug)]
struct Begun {
    sequence: u64,
    bytes: Vec<u8>,
    packets: usize,
}

/// What an elementary stream is coded in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Codec {
    Mpeg2,
    H264,
    Hevc,
    /// Pictures that only the sender can say of where they begin.
    Picture,
    /// No pictures.
    Other,
}

impl Scanner {
    /// Looks through the datagram with this sequence number.
    pub fn scan(&mut self, datagram: &[u8], sequence: u64) {
        if !is_stream(datagram) {
            return;
        }
        for packet in datagram.as_chunks::<PACKET>().0 {
            self.packet(packet, sequence);
        }
    }

    /// Datagrams were passed over.
    pub fn interrupt(&mut self) {
        self.begun = None;
        self.association.interrupt();
        for program in &mut self.programs {
            program.map.interrupt();
        }
    }

    /// The last place found.
    #[must_use]
    pub fn latest(&self) -> Option<&Start> {
        self.latest.as_ref()
    }

    fn packet(&mut self, packet: &[u8; PACKET], sequence: u64) {
        let pid = u16::from_be_bytes([packet[1], packet[2]]) & 0x1fff;
        let begins = packet[1] & 0x40 != 0;
        if pid == 0 {
            if let Some(section) = self.association.packet(packet, payload(packet), begins) {
                let listed = programs(&section);
                // Those that were known keep what is known of them.
                self.programs.retain(|program| listed.contains(&program.pid));
                for pid in listed.into_iter().take(PROGRAMS) {
                    if self.programs.iter().all(|program| program.pid != pid) {
                        self.programs.push(Program::new(pid));
                    }
                }
            }
            return;
        }
        if let Some(program) = self.programs.iter_mut().find(|program| program.pid == pid) {
            if let Some(section) = program.map.packet(packet, payload(packet), begins) {
                program.read(&section);
            }
            return;
        }
        let Some((codec, scrambled)) = self.leads(pid).map(|codec| (codec, packet[3] & 0xc0 != 0)) else {
            return;
        };
        if begins {
            self.begun = None;
            let says = packet[3] & 0x20 != 0 && packet[4] > 0 && packet[5] & 0x40 != 0;
            if says || codec == Codec::Other {
                return self.found(sequence);
            }
            if !scrambled && codec != Codec::Picture {
                self.begun = Some(Begun { sequence, bytes: Vec::new(), packets: 0 });
            }
        }
        let Some(begun) = &mut self.begun else { return };
        begun.bytes.extend_from_slice(payload(packet));
        begun.packets += 1;
        match codec.begins_anew(&begun.bytes) {
            Some(true) => {
                let sequence = begun.sequence;
                self.begun = None;
                self.found(sequence);
            }
            None if begun.packets < LOOKED_AT => {}
            _ => self.begun = None,
        }
    }

    /// The codec of `pid`, where that is the stream which says where to begin.
    fn leads(&self, pid: u16) -> Option<Codec> {
        let lead = self.lead()?.lead()?;
        (lead.0 == pid).then_some(lead.1)
    }

    fn lead(&self) -> Option<&Program> {
        let known = || self.programs.iter().filter(|program| program.lead().is_some());
        let pictures = known().find(|program| program.lead().is_some_and(|(_, codec)| codec != Codec::Other));
        pictures.or_else(|| known().next())
    }

    fn found(&mut self, sequence: u64) {
        let Some(program) = self.lead() else { return };
        let tables = [self.association.whole(), program.map.whole()].concat();
        self.latest = Some(Start { sequence, tables });
    }
}

impl Codec {
    /// As ISO/IEC 13818-1 table 2-34 numbers them; `None` for what is neither picture nor sound.
    fn of(stream_type: u8) -> Option<Codec> {
        Some(match stream_type {
            0x01 | 0x02 => Codec::Mpeg2,
            0x1b => Codec::H264,
            0x24 => Codec::Hevc,
            // MPEG-4 part 2, AVS, VC-1, VVC.
            0x10 | 0x33 | 0x42 | 0xd2 | 0xd4 | 0xea => Codec::Picture,
            0x03 | 0x04 | 0x0f | 0x11 | 0x81 | 0x87 => Codec::Other,
            _ => return None,
        })
    }

    /// Whether the picture whose PES packet begins with `bytes` needs no other; `None` where more has to be seen.
    fn begins_anew(self, bytes: &[u8]) -> Option<bool> {
        let header = bytes.first_chunk::<9>()?;
        if header[..3] != [0, 0, 1] {
            return Some(false);
        }
        let coded = bytes.get(9 + usize::from(header[8])..)?;
        let units = coded.windows(4).filter(|four| four[..3] == [0, 0, 1]).map(|four| four[3]);
        units.into_iter().find_map(|unit| match self {
            Codec::H264 => match unit & 0x1f {
                5 | 7 => Some(true),
                1..=4 => Some(false),
                _ => None,
            },
            Codec::Hevc => match unit >> 1 & 0x3f {
                16..=23 | 32 | 33 => Some(true),
                0..=15 => Some(false),
                _ => None,
            },
            Codec::Mpeg2 => match unit {
                0xb3 => Some(true),
                0x00 => Some(false),
                _ => None,
            },
            Codec::Picture | Codec::Other => Some(false),
        })
    }
}

/// What stands behind header and adaptation field.
fn payload(packet: &[u8; PACKET]) -> &[u8] {
    match packet[3] & 0x30 {
        0x10 => &packet[4..],
        0x30 => packet.get(5 + usize::from(packet[4])..).unwrap_or(&[]),
        _ => &[],
    }
}

#[cfg(test)]
mod tests;
