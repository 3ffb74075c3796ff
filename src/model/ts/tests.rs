use proptest::prelude::*;

use super::*;

const MAP: u16 = 0x1000;
const VIDEO: u16 = 0x100;

/// A packet; what is left of it is stuffed in its adaptation field.
fn packet(pid: u16, begins: bool, random_access: bool, payload: &[u8]) -> Vec<u8> {
    let room = PACKET - 4 - payload.len();
    let mut packet = vec![SYNC, (pid >> 8) as u8 | if begins { 0x40 } else { 0 }, pid as u8];
    packet.push(if room > 0 { 0x30 } else { 0x10 });
    if room > 0 {
        packet.push(room as u8 - 1);
    }
    if room > 1 {
        packet.push(if random_access { 0x40 } else { 0 });
        packet.resize(4 + room, 0xff);
    }
    packet.extend_from_slice(payload);
    assert_eq!(packet.len(), PACKET);
    packet
}

fn section(table: u8, body: &[u8]) -> Vec<u8> {
    let length = (5 + body.len() + 4) as u16 | 0xb000;
    let mut section = vec![0, table];
    section.extend(length.to_be_bytes());
    section.extend([0, 1, 0xc1, 0, 0]);
    section.extend(body);
    section.extend([0; 4]);
    section
}

fn tables(stream_type: u8) -> Vec<u8> {
    let association = section(0, &[0, 0, 0xe0, 0x10, 0, 1, 0xf0, 0x00]);
    let map = section(2, &[0xe1, 0, 0xf0, 0, 0x0f, 0xe1, 0x01, 0xf0, 0, stream_type, 0xe1, 0x00, 0xf0, 0]);
    [packet(0, true, false, &association), packet(MAP, true, false, &map)].concat()
}

fn pes(units: &[&[u8]]) -> Vec<u8> {
    let mut pes = vec![0, 0, 1, 0xe0, 0, 0, 0x80, 0x80, 5, 1, 2, 3, 4, 5];
    for unit in units {
        pes.extend([0, 0, 1]);
        pes.extend(*unit);
    }
    pes
}

fn starts(stream_type: u8, pictures: &[Vec<u8>]) -> Vec<u64> {
    let mut scanner = Scanner::default();
    scanner.scan(&tables(stream_type), 0);
    let mut found = Vec::new();
    for (sequence, picture) in pictures.iter().enumerate() {
        scanner.scan(&packet(VIDEO, true, false, picture), sequence as u64 + 1);
        let latest = scanner.latest().map(|start| start.sequence);
        found.extend(latest.filter(|latest| Some(latest) != found.last()));
    }
    assert!(scanner.latest().is_none_or(|start| start.tables == tables(stream_type)));
    found
}

#[test]
fn finds_pictures_that_need_no_other_in_each_codec() {
    let (plain, key) =
        (pes(&[&[0x09, 0xf0], &[0x41, 0x9a]]), pes(&[&[0x09, 0x10], &[0x67, 0x64], &[0x65, 0x88]]));
    assert_eq!(starts(0x1b, &[plain.clone(), key.clone(), plain.clone(), key]), [2, 4]);
    let (plain, key) = (pes(&[&[0x46, 1, 0x50], &[2, 1, 0xd0]]), pes(&[&[0x46, 1, 0x10], &[0x40, 1, 0xc]]));
    assert_eq!(starts(0x24, &[key.clone(), plain, pes(&[&[0x26, 1]])]), [1, 3]);
    let (plain, key) = (pes(&[&[0x00, 0, 0x57]]), pes(&[&[0xb3, 0x2d], &[0xb8, 0], &[0, 0]]));
    assert_eq!(starts(0x02, &[plain.clone(), key, plain]), [2]);
    // Of others only the sender can say.
    assert!(starts(0x42, &[pes(&[&[0xb3, 0]])]).is_empty());
}

#[test]
fn believes_the_sender_and_looks_behind_the_first_packet() {
    let mut scanner = Scanner::default();
    let key = packet(VIDEO, true, true, &pes(&[]));
    // Nothing is known of it before the tables.
    scanner.scan(&key, 1);
    assert_eq!(scanner.latest(), None);
    scanner.scan(&[tables(0x42), key.clone()].concat(), 2);
    assert_eq!(scanner.latest().map(|start| start.sequence), Some(2));
    // That of the sound says nothing.
    scanner.scan(&packet(0x101, true, true, &pes(&[])), 3);
    assert_eq!(scanner.latest().map(|start| start.sequence), Some(2));

    let mut scanner = Scanner::default();
    scanner.scan(&tables(0x1b), 1);
    scanner.scan(&packet(VIDEO, true, false, &pes(&[&[0x09, 0x10], &[6; 100]])), 2);
    scanner.scan(&packet(VIDEO, false, false, &[&[0; 30][..], &[1, 0x67]].concat()), 3);
    assert_eq!(scanner.latest().map(|start| start.sequence), Some(2));
    scanner.scan(&packet(VIDEO, true, false, &pes(&[&[6; 100]])), 4);
    scanner.interrupt();
    scanner.scan(&packet(VIDEO, false, false, &[0, 0, 1, 0x67]), 9);
    assert_eq!(scanner.latest().map(|start| start.sequence), Some(2));
}

#[test]
fn tables_may_take_several_packets() {
    let mut body = vec![0xe1, 0, 0xf0, 200];
    body.extend([0; 200]);
    body.extend([0x1b, 0xe1, 0x00, 0xf0, 0]);
    let map = section(2, &body);
    let association = packet(0, true, false, &section(0, &[0, 1, 0xf0, 0x00]));
    let parts = [packet(MAP, true, false, &map[..184]), packet(MAP, false, false, &map[184..])];
    let mut scanner = Scanner::default();
    scanner.scan(&[association.clone(), parts[0].clone()].concat(), 1);
    scanner.scan(&parts[1], 2);
    scanner.scan(&packet(VIDEO, true, true, &pes(&[])), 3);
    let start = scanner.latest().expect("a start");
    assert_eq!((start.sequence, &start.tables), (3, &[association, parts.concat()].concat()));
}

proptest! {
    #[test]
    fn never_panics(
        packets in prop::collection::vec((0u16..4, any::<[u8; 3]>(), prop::collection::vec(any::<u8>(), 183)), 0..30),
    ) {
        let mut scanner = Scanner::default();
        scanner.scan(&tables(0x1b), 0);
        for (sequence, (pid, flags, rest)) in packets.iter().enumerate() {
            let pid = [0, MAP, VIDEO, 0x101][usize::from(*pid)];
            let head = [SYNC, (pid >> 8) as u8 | flags[0] & 0xe0, pid as u8, flags[1], flags[2]];
            scanner.scan(&[&head[..], rest].concat(), sequence as u64);
            prop_assert!(scanner.latest().is_none_or(|start| start.tables.len() <= 2 * 8 * PACKET));
        }
    }
}
