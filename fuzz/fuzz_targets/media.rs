//! What senders of video put into datagrams: RTP, its FEC, MPEG-TS. No bytes are more than they are, and none make a mistake grow.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wscast::model::rtp::Packet;
use wscast::model::rtp::fec::FecPacket;
use wscast::model::rtp::repair::Repair;
use wscast::model::ts::{PACKET, Scanner, is_stream};

// The first byte says how long each datagram is.
fuzz_target!(|bytes: &[u8]| {
    let Some((length, rest)) = bytes.split_first() else { return };
    let (mut scanner, mut repair) = (Scanner::default(), Repair::default());
    for (sequence, datagram) in rest.chunks(usize::from(*length) * 8 + 12).enumerate() {
        if let Ok(packet) = Packet::parse(datagram) {
            assert!(packet.payload.len() <= datagram.len());
            scanner.scan(packet.payload, sequence as u64);
            repair.media(packet.sequence, packet.ssrc, datagram);
        }
        if let Ok(packet) = FecPacket::parse(datagram) {
            repair.fec(&packet);
        }
        // Each packet that comes back is one that was missed.
        while let Some((sequence, whole)) = repair.next(|_| true) {
            assert!(Packet::parse(&whole).is_err() || whole[2..4] == sequence.to_be_bytes());
        }
    }
    // The same bytes as a transport stream: whatever they are, a packet begins with its sign.
    let mut stream = rest.to_vec();
    stream.truncate(rest.len() - rest.len() % PACKET);
    stream.iter_mut().step_by(PACKET).for_each(|first| *first = 0x47);
    assert_eq!(is_stream(&stream), !stream.is_empty());
    for (sequence, datagram) in stream.chunks(7 * PACKET).enumerate() {
        scanner.scan(datagram, (1 << 32) + sequence as u64);
    }
    if let Some(start) = scanner.latest() {
        assert!(start.tables.len() % PACKET == 0);
    }
});
