//! The tables of a transport stream: which programs there are, and what each is made of.

use crate::model::ts::{Codec, PACKET};

/// Bytes of a section, with what may stand before it in its first packet.
const LONGEST: usize = 1024 + 184;

/// A section that repeats, as PAT and PMT do, with the packets it came in.
#[derive(Debug, Default)]
pub(super) struct Section {
    whole: Vec<u8>,
    packets: Vec<u8>,
    bytes: Vec<u8>,
}

impl Section {
    /// Takes a packet of its PID; the section, when it is whole.
    pub(super) fn packet(&mut self, packet: &[u8; PACKET], payload: &[u8], begins: bool) -> Option<Vec<u8>> {
        if begins {
            self.interrupt();
            // The pointer says how much of the section before still stands in front.
            let from = 1 + usize::from(*payload.first()?);
            self.packets.extend_from_slice(packet);
            self.bytes.extend_from_slice(payload.get(from..)?);
        } else if self.packets.is_empty() {
            return None;
        } else {
            self.packets.extend_from_slice(packet);
            self.bytes.extend_from_slice(payload);
        }
        let header = self.bytes.first_chunk::<3>();
        let length = header.map_or(usize::MAX, |header| {
            3 + usize::from(u16::from_be_bytes([header[1], header[2]]) & 0x0fff)
        });
        if self.bytes.len() >= length {
            self.whole = std::mem::take(&mut self.packets);
            let mut section = std::mem::take(&mut self.bytes);
            section.truncate(length);
            return Some(section);
        }
        if self.bytes.len() > LONGEST {
            self.interrupt();
        }
        None
    }

    /// What has begun will not be whole.
    pub(super) fn interrupt(&mut self) {
        self.packets.clear();
        self.bytes.clear();
    }

    /// The packets of the last that was whole.
    pub(super) fn whole(&self) -> &[u8] {
        &self.whole
    }
}

/// A program of the stream.
#[derive(Debug)]
pub(super) struct Program {
    /// Where its map is.
    pub(super) pid: u16,
    /// What it is made of.
    pub(super) map: Section,
    streams: Vec<(u16, Codec)>,
}

impl Program {
    pub(super) fn new(pid: u16) -> Self {
        Program { pid, map: Section::default(), streams: Vec::new() }
    }

    /// Its picture, or its first sound where it has none.
    pub(super) fn lead(&self) -> Option<(u16, Codec)> {
        let picture = self.streams.iter().find(|(_, codec)| *codec != Codec::Other);
        picture.or(self.streams.first()).copied()
    }

    /// Reads a map (PMT).
    pub(super) fn read(&mut self, section: &[u8]) {
        if section.first() != Some(&2) || section.len() < 16 {
            return;
        }
        let described = usize::from(u16::from_be_bytes([section[10], section[11]]) & 0x0fff);
        // The last four bytes are the checksum.
        let mut rest = section.get(12 + described..section.len() - 4).unwrap_or(&[]);
        self.streams.clear();
        while let Some((head, behind)) = rest.split_first_chunk::<5>() {
            let pid = u16::from_be_bytes([head[1], head[2]]) & 0x1fff;
            self.streams.extend(Codec::of(head[0]).map(|codec| (pid, codec)));
            rest = behind.get(usize::from(u16::from_be_bytes([head[3], head[4]]) & 0x0fff)..).unwrap_or(&[]);
        }
    }
}

/// The PIDs of the maps in a PAT.
pub(super) fn programs(section: &[u8]) -> Vec<u16> {
    if section.first() != Some(&0) || section.len() < 12 {
        return Vec::new();
    }
    let entries = section[8..section.len() - 4].as_chunks::<4>().0.iter();
    // Number 0 is no program but the network's own table.
    let programs = entries.filter(|entry| entry[..2] != [0, 0]);
    programs.map(|entry| u16::from_be_bytes([entry[2], entry[3]]) & 0x1fff).collect()
}
