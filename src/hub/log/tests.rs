//! How a log keeps its promises.

use proptest::prelude::*;

use super::*;

fn bounds(bytes: usize, datagrams: usize) -> LogBounds {
    LogBounds { bytes, datagrams, age: Duration::from_secs(10) }
}

fn append(log: &mut Log, payload: &[u8], at: Duration) {
    if let Some(keep) = log.crowded(payload.len()) {
        log.forget_before(keep);
    }
    log.append(payload, at, None);
}

#[test]
fn frames_come_out_as_they_went_in_across_chunks() {
    let mut log = Log::new(bounds(8 << 20, 1000));
    let payloads: Vec<Vec<u8>> =
        [0, 1, 125, 126, 1316, 65507, 65507, 40_000].iter().map(|&n| vec![n as u8; n]).collect();
    let mut expected = Vec::new();
    for payload in &payloads {
        append(&mut log, payload, Duration::ZERO);
        frame::put(&mut expected, Opcode::Binary, payload);
    }
    let mut parts = [IoSlice::new(&[]); 16];
    let (count, bytes) = log.slices(0, log.head(), &mut parts);
    let joined: Vec<u8> = parts[..count].iter().flat_map(|part| part.to_vec()).collect();
    assert_eq!((bytes, &joined), (expected.len(), &expected));
    for (sequence, payload) in payloads.iter().enumerate() {
        let mut copied = Vec::new();
        log.copy_payload(sequence as u64, &mut copied);
        assert_eq!(&copied, payload);
    }
}

#[test]
fn a_full_log_goes_on_in_its_own_memory() {
    for size in [100, 1316, 65507] {
        let mut log = Log::new(bounds(1 << 20, 10_000));
        let payload = vec![7; size];
        let mut fill = |count| {
            (0..count).for_each(|_| append(&mut log, &payload, Duration::ZERO));
            let mut all: Vec<_> = log.chunks.iter().chain(&log.spare).map(|chunk| chunk.as_ptr()).collect();
            all.sort_unstable();
            all
        };
        let before = fill(30_000);
        assert_eq!(fill(1001), before, "{size}");
    }
}

#[test]
fn age_sends_the_oldest_away() {
    let mut log = Log::new(bounds(1 << 20, 1000));
    for second in 0..20 {
        append(&mut log, b"x", Duration::from_secs(second));
    }
    assert_eq!(log.aged(Duration::from_secs(20)), Some(10));
    log.forget_before(10);
    assert_eq!((log.first_sequence(), log.datagrams()), (10, 10));
    assert_eq!(log.aged(Duration::from_secs(20)), None);
    log.forget_before(20);
    assert_eq!((log.bytes(), log.head_sequence()), (0, 20));
}

#[test]
fn own_frames_are_found_by_sender() {
    let mut log = Log::new(bounds(1 << 20, 1000));
    for sender in [None, Some(SenderId(1)), None, Some(SenderId(2)), Some(SenderId(1))] {
        log.append(b"x", Duration::ZERO, sender);
    }
    assert_eq!(log.own_from(0, &[SenderId(1)]), Some(1));
    assert_eq!(log.own_from(2, &[SenderId(1)]), Some(4));
    assert_eq!(log.own_from(2, &[SenderId(1), SenderId(2)]), Some(3));
    assert_eq!(log.own_from(4, &[SenderId(2)]), None);
}

proptest! {
    #[test]
    fn bounds_hold_and_positions_agree(sizes in prop::collection::vec(0usize..5000, 1..400)) {
        let mut log = Log::new(bounds(256 << 10, 100));
        for size in sizes {
            append(&mut log, &vec![7; size], Duration::ZERO);
            prop_assert!(log.bytes() <= 256 << 10);
            prop_assert!(log.datagrams() <= 100);
            prop_assert!(log.chunks.len() + log.spare.len() <= (256 << 10) / CHUNK + 2);
            for sequence in log.first_sequence()..log.head_sequence() {
                let start = log.start_of(sequence);
                prop_assert_eq!(log.sequence_at(start), sequence);
                prop_assert_eq!(log.sequence_at(log.start_of(sequence + 1) - 1), sequence);
            }
        }
    }
}
