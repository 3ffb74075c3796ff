//! A capture that is being written: pcapng with nanoseconds, names of interfaces, and what the kernel dropped.

use std::borrow::Cow;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};

use etherparse::PacketBuilder;
use pcap_parser::{
    EnhancedPacketBlock, InterfaceDescriptionBlock, InterfaceStatisticsBlock, Linktype, OptionCode,
    PcapNGOption, SectionHeaderBlock, ToVec,
};

/// Nanoseconds, as `if_tsresol` says it: ten to the power of minus nine.
const NANOSECONDS: u8 = 9;
/// Bytes of a packet: more than the headers and the largest payload.
const SNAPLEN: u32 = 65_575;

/// A pcapng file, on its way.
pub struct CaptureWriter<W> {
    to: W,
    interfaces: u32,
    packet: Vec<u8>,
}

/// One datagram as it was received. The kernel has taken its headers off; they are made again from what it says.
#[derive(Clone, Copy, Debug)]
pub struct Recorded<'a> {
    /// The interface, as [`CaptureWriter::interface`] numbered it.
    pub interface: u32,
    /// Arrival at the kernel, in nanoseconds since 1970.
    pub time: u64,
    /// Who sent it.
    pub source: SocketAddr,
    /// The group.
    pub destination: SocketAddr,
    /// TTL or hop limit on arrival.
    pub ttl: u8,
    /// The payload.
    pub payload: &'a [u8],
}

impl<W: Write> CaptureWriter<W> {
    /// Begins a file, with a `comment` that Wireshark shows.
    ///
    /// # Errors
    /// As the system gives them.
    pub fn new(to: W, comment: &str) -> io::Result<Self> {
        let mut writer = CaptureWriter { to, interfaces: 0, packet: Vec::new() };
        let program = concat!("wscast ", env!("CARGO_PKG_VERSION"));
        let mut header = SectionHeaderBlock {
            block_type: 0,
            block_len1: 0,
            bom: 0,
            major_version: 1,
            minor_version: 0,
            // Not known: it goes on to the end of the file.
            section_len: -1,
            options: vec![
                option(OptionCode::Comment, comment.as_bytes()),
                option(OptionCode::ShbOs, b"Linux"),
                option(OptionCode::ShbUserAppl, program.as_bytes()),
            ],
            block_len2: 0,
        };
        writer.put_block(&mut header)?;
        Ok(writer)
    }

    /// Describes an interface; its number.
    ///
    /// # Errors
    /// As the system gives them.
    pub fn interface(&mut self, name: &str) -> io::Result<u32> {
        let mut interface = InterfaceDescriptionBlock {
            block_type: 0,
            block_len1: 0,
            // Bare IP: the kernel does not say what the link's header was.
            linktype: Linktype::RAW,
            reserved: 0,
            snaplen: SNAPLEN,
            options: vec![
                option(OptionCode::IfName, name.as_bytes()),
                option(OptionCode::IfTsresol, &[NANOSECONDS]),
            ],
            block_len2: 0,
            if_tsresol: NANOSECONDS,
            if_tsoffset: 0,
        };
        self.put_block(&mut interface)?;
        self.interfaces += 1;
        Ok(self.interfaces - 1)
    }

    /// Writes one datagram.
    ///
    /// # Errors
    /// As the system gives them; `InvalidInput` for a payload that no IP packet holds.
    pub fn put(&mut self, recorded: &Recorded<'_>) -> io::Result<()> {
        let mut packet = std::mem::take(&mut self.packet);
        packet.clear();
        packet_of(recorded, &mut packet)?;
        let length = packet.len() as u32;
        let mut block = EnhancedPacketBlock {
            block_type: 0,
            block_len1: 0,
            if_id: recorded.interface,
            ts_high: (recorded.time >> 32) as u32,
            ts_low: recorded.time as u32,
            caplen: length,
            origlen: length,
            data: &packet,
            options: Vec::new(),
            block_len2: 0,
        };
        let written = self.put_block(&mut block);
        self.packet = packet;
        written
    }

    /// Hands what was written to the system.
    ///
    /// # Errors
    /// As the system gives them.
    pub fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }

    /// Ends the file with what each interface's sockets received, and dropped: (interface, received, dropped).
    ///
    /// # Errors
    /// As the system gives them.
    pub fn finish(mut self, statistics: &[(u32, u64, u64)]) -> io::Result<W> {
        let now = crate::tools::timestamp::now();
        for (interface, received, dropped) in statistics {
            let mut block = InterfaceStatisticsBlock {
                block_type: 0,
                block_len1: 0,
                if_id: *interface,
                ts_high: (now >> 32) as u32,
                ts_low: now as u32,
                options: vec![
                    option(OptionCode::IsbIfRecv, &(received + dropped).to_le_bytes()),
                    option(OptionCode::IsbOsDrop, &dropped.to_le_bytes()),
                    option(OptionCode::IsbUsrDeliv, &received.to_le_bytes()),
                ],
                block_len2: 0,
            };
            self.put_block(&mut block)?;
        }
        self.to.flush()?;
        Ok(self.to)
    }

    fn put_block(&mut self, block: &mut impl ToVec) -> io::Result<()> {
        let bytes = block.to_vec().map_err(|error| io::Error::other(error.to_string()))?;
        self.to.write_all(&bytes)
    }
}

fn option(code: OptionCode, value: &[u8]) -> PcapNGOption<'static> {
    let length = value.len().min(usize::from(u16::MAX));
    PcapNGOption { code, len: length as u16, value: Cow::Owned(value[..length].to_vec()) }
}

fn packet_of(recorded: &Recorded<'_>, packet: &mut Vec<u8>) -> io::Result<()> {
    let (source, destination) = (recorded.source, recorded.destination);
    let builder = match (source.ip(), destination.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => PacketBuilder::ipv4(from.octets(), to.octets(), recorded.ttl),
        (IpAddr::V6(from), IpAddr::V6(to)) => PacketBuilder::ipv6(from.octets(), to.octets(), recorded.ttl),
        _ => return Err(io::Error::new(io::ErrorKind::InvalidInput, "addresses of two IP versions")),
    };
    builder
        .udp(source.port(), destination.port())
        .write(packet, recorded.payload)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error.to_string()))
}
