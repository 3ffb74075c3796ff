//! A capture file that is read block by block, in bounded memory: pcapng, and pcap in all its forms.

use std::fs::File;
use std::path::{Path, PathBuf};

use pcap_parser::traits::PcapReaderIterator;
use pcap_parser::{Block, Linktype, PcapBlockOwned, PcapError, create_reader};

use crate::tools::failure::Failure;

/// Bytes of the largest block that is read; a packet has at most 256 KiB in files of today.
const BLOCK: usize = 1 << 20;
/// Interfaces of one section that are remembered.
const INTERFACES: usize = 1024;
/// Nanoseconds in a second.
const SECOND: u128 = 1_000_000_000;

/// A capture that is being read.
pub struct CaptureReader {
    path: PathBuf,
    reader: Box<dyn PcapReaderIterator + Send>,
    links: Vec<Link>,
    /// What `next` has lent and is to be passed over.
    lent: usize,
}

/// One packet, borrowed from the reader.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// When it was captured, in nanoseconds since 1970; `None` for blocks without a time.
    pub time: Option<u64>,
    /// What it was captured on.
    pub link: Linktype,
    /// Whether only its beginning was captured.
    pub cut_off: bool,
    /// Its bytes from the link's header on.
    pub bytes: &'a [u8],
}

/// What an interface's packets are to be read with.
#[derive(Clone, Copy, Debug)]
struct Link {
    kind: Linktype,
    /// Ticks of its clock in a second.
    resolution: u64,
    /// Seconds to be added.
    offset: i64,
}

impl CaptureReader {
    /// Opens the file and reads its header.
    ///
    /// # Errors
    /// [`Failure::Running`] where it can't be read, or is no capture.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let file = File::open(path)
            .map_err(|error| Failure::doing(&format!("opening {}", path.display()), &error))?;
        let reader = create_reader(BLOCK, file).map_err(|error| explain(path, &error))?;
        Ok(CaptureReader { path: path.to_owned(), reader, links: Vec::new(), lent: 0 })
    }

    /// The next packet; `None` at the end, be it in the middle of a block: whoever captured may have been interrupted.
    ///
    /// # Errors
    /// [`Failure::Running`] where the file can't be read on.
    pub fn next_packet(&mut self) -> Result<Option<Packet<'_>>, Failure> {
        loop {
            self.reader.consume(std::mem::take(&mut self.lent));
            match self.reader.next() {
                Ok((length, block)) => {
                    self.lent = length;
                    if take(&mut self.links, &block).map_err(|what| self.broken(what))? {
                        break;
                    }
                }
                Err(PcapError::Incomplete(_)) => {
                    self.reader.refill().map_err(|error| explain(&self.path, &error))?;
                }
                Err(PcapError::Eof | PcapError::UnexpectedEof) => return Ok(None),
                Err(error) => return Err(explain(&self.path, &error)),
            }
        }
        // The same block once more, to be lent: a borrow that a loop may return can't be asked for again in it.
        match self.reader.next() {
            Ok((_, block)) => Ok(packet(&self.links, block)),
            Err(_) => Ok(None),
        }
    }

    fn broken(&self, what: &str) -> Failure {
        Failure::Running(format!("reading {}: {what}", self.path.display()))
    }
}

/// Takes note of what describes packets; true when the block is a packet of an interface that is known.
fn take(links: &mut Vec<Link>, block: &PcapBlockOwned<'_>) -> Result<bool, &'static str> {
    match block {
        PcapBlockOwned::LegacyHeader(header) => {
            let resolution = if header.is_nanosecond_precision() { 1_000_000_000 } else { 1_000_000 };
            *links = vec![Link { kind: header.network, resolution, offset: i64::from(header.thiszone) }];
            Ok(false)
        }
        PcapBlockOwned::Legacy(_) => Ok(!links.is_empty()),
        PcapBlockOwned::NG(Block::SectionHeader(_)) => {
            links.clear();
            Ok(false)
        }
        PcapBlockOwned::NG(Block::InterfaceDescription(interface)) => {
            if links.len() == INTERFACES {
                return Err("it has more than 1024 interfaces in one section");
            }
            let resolution =
                interface.ts_resolution().ok_or("an interface's clock has an impossible resolution")?;
            links.push(Link { kind: interface.linktype, resolution, offset: interface.ts_offset() });
            Ok(false)
        }
        PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => match links.get(packet.if_id as usize) {
            Some(_) => Ok(true),
            None => Err("a packet names an interface that the file has not described"),
        },
        PcapBlockOwned::NG(Block::SimplePacket(_)) => Ok(!links.is_empty()),
        PcapBlockOwned::NG(_) => Ok(false),
    }
}

fn packet<'a>(links: &[Link], block: PcapBlockOwned<'a>) -> Option<Packet<'a>> {
    match block {
        PcapBlockOwned::Legacy(packet) => {
            let link = links.first()?;
            let ticks = u128::from(packet.ts_usec) * SECOND / u128::from(link.resolution);
            let time = u128::from(packet.ts_sec) * SECOND + ticks;
            Some(Packet {
                time: u64::try_from(time).ok(),
                link: link.kind,
                cut_off: packet.caplen < packet.origlen,
                bytes: packet.data,
            })
        }
        PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
            let link = links.get(packet.if_id as usize)?;
            let ticks = u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low);
            let time = i128::try_from(u128::from(ticks) * SECOND / u128::from(link.resolution)).ok()?;
            let time = time + i128::from(link.offset) * i128::try_from(SECOND).ok()?;
            Some(Packet {
                time: u64::try_from(time).ok(),
                link: link.kind,
                cut_off: packet.caplen < packet.origlen,
                bytes: packet.data.get(..packet.caplen as usize)?,
            })
        }
        PcapBlockOwned::NG(Block::SimplePacket(packet)) => {
            let link = links.first()?;
            let length = (packet.origlen as usize).min(packet.data.len());
            Some(Packet {
                time: None,
                link: link.kind,
                cut_off: packet.origlen as usize > packet.data.len(),
                bytes: &packet.data[..length],
            })
        }
        _ => None,
    }
}

fn explain<I: std::fmt::Debug>(path: &Path, error: &PcapError<I>) -> Failure {
    let what = match error {
        PcapError::Eof | PcapError::Incomplete(_) | PcapError::HeaderNotRecognized => {
            "it is no capture: pcapng or pcap is wanted, as Wireshark, tcpdump and wscast record write them"
                .to_owned()
        }
        PcapError::BufferTooSmall => format!("it has a block of more than {BLOCK} bytes"),
        PcapError::ReadError => "the system can't read it".to_owned(),
        _ => "a block of it is malformed".to_owned(),
    };
    Failure::Running(format!("reading {}: {what}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;
    use crate::tools::capture::writer::{CaptureWriter, Recorded};

    fn capture() -> Vec<u8> {
        let mut writer = CaptureWriter::new(Vec::new(), "test").unwrap();
        let interface = writer.interface("lan0").unwrap();
        for time in [1_700_000_000_123_456_789, 1_700_000_001_000_000_001] {
            let recorded = Recorded {
                interface,
                time,
                source: "10.1.0.2:4000".parse().unwrap(),
                destination: "239.1.2.3:5000".parse().unwrap(),
                ttl: 7,
                payload: b"payload",
            };
            writer.put(&recorded).unwrap();
        }
        writer.finish(&[(interface, 2, 0)]).unwrap()
    }

    /// Times and bytes.
    type Packets = Vec<(Option<u64>, Vec<u8>)>;

    fn read(bytes: &[u8]) -> Result<Packets, Failure> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        let mut reader = CaptureReader::open(file.path())?;
        let mut packets = Vec::new();
        while let Some(packet) = reader.next_packet()? {
            packets.push((packet.time, packet.bytes.to_vec()));
        }
        Ok(packets)
    }

    #[test]
    fn what_is_written_is_read_to_the_nanosecond() {
        let packets = read(&capture()).unwrap();
        let times: Vec<_> = packets.iter().map(|(time, _)| time.unwrap()).collect();
        assert_eq!(times, [1_700_000_000_123_456_789, 1_700_000_001_000_000_001]);
        assert!(packets[0].1.ends_with(b"payload"));
    }

    #[test]
    fn classic_captures_of_both_byte_orders_and_resolutions_are_read() {
        for (magic, ticks, nanoseconds) in [(0xa1b2_c3d4_u32, 5, 5000), (0xa1b2_3c4d, 5, 5)] {
            let words = [magic, 0x0004_0002, 0, 0, 65535, 101, 17, ticks, 3, 3];
            let little: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).chain([1, 2, 3]).collect();
            let words = [magic, 0x0002_0004, 0, 0, 65535, 101, 17, ticks, 3, 3];
            let big: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).chain([1, 2, 3]).collect();
            for bytes in [little, big] {
                assert_eq!(read(&bytes).unwrap(), [(Some(17_000_000_000 + nanoseconds), vec![1, 2, 3])]);
            }
        }
    }

    #[test]
    fn an_interrupted_capture_ends_and_nonsense_is_refused_in_words() {
        let whole = capture();
        assert_eq!(read(&whole[..whole.len() - 90]).unwrap().len(), 1);
        for nonsense in [&b""[..], b"GIF89a", &[0; 100]] {
            let failure = read(nonsense).unwrap_err().to_string();
            assert!(failure.contains("it is no capture"), "{failure}");
        }
        let mut huge = whole;
        // The length of the second block.
        let at = u32::from_le_bytes(*huge[4..].first_chunk().unwrap()) as usize + 4;
        huge[at..at + 4].copy_from_slice(&0x7fff_ff00_u32.to_le_bytes());
        let failure = read(&huge).unwrap_err().to_string();
        assert!(failure.contains("a block of more than 1048576 bytes"), "{failure}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn no_change_of_a_byte_harms(at in 0..300usize, byte: u8) {
            let mut bytes = capture();
            let at = at % bytes.len();
            bytes[at] = byte;
            let _ = read(&bytes);
        }
    }
}
