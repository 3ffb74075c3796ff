use proptest::prelude::*;

use super::*;

const MS: Duration = Duration::from_millis(1);
const BOUNDS: Bounds = Bounds { span: 64, wait: Duration::from_millis(100), bytes: 1 << 20 };

/// What comes out, with what was refused.
struct Flow {
    sequencer: Sequencer<(u32, u16)>,
    out: Vec<(u32, u16)>,
    duplicates: u64,
    late: u64,
    offered: u64,
}

impl Flow {
    fn new() -> Self {
        Flow { sequencer: Sequencer::new(BOUNDS), out: Vec::new(), duplicates: 0, late: 0, offered: 0 }
    }

    fn offer(&mut self, ssrc: u32, sequence: u16, now: Duration) {
        self.offered += 1;
        match self.sequencer.offer(ssrc, sequence, now) {
            Verdict::Next => self.out.push((ssrc, sequence)),
            Verdict::Keep(place) => self.sequencer.keep(place, (ssrc, sequence), 100, now),
            Verdict::Duplicate => self.duplicates += 1,
            Verdict::Late => self.late += 1,
        }
        self.drain();
    }

    fn all(&mut self, sequences: impl IntoIterator<Item = u16>) -> &mut Self {
        for sequence in sequences {
            self.offer(1, sequence, Duration::ZERO);
        }
        self
    }

    fn expire(&mut self, now: Duration) {
        self.sequencer.expire(now);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(packet) = self.sequencer.ready() {
            self.out.push(packet);
        }
    }

    fn sequences(&self) -> Vec<u16> {
        self.out.iter().map(|(_, sequence)| *sequence).collect()
    }

    fn balances(&self) -> bool {
        let counts = self.sequencer.counts();
        let refused = self.duplicates + self.late + counts.other_sender;
        self.offered == self.out.len() as u64 + refused + self.sequencer.held() as u64
    }
}

#[test]
fn puts_back_in_order_and_drops_what_comes_twice() {
    let mut flow = Flow::new();
    flow.all([10, 12, 12, 11, 11, 13, 16, 15, 14, 10, 17]);
    assert_eq!(flow.sequences(), (10..=17).collect::<Vec<_>>());
    assert_eq!((flow.duplicates, flow.late, flow.sequencer.counts().missing), (3, 0, 0));
    assert_eq!(flow.sequencer.counts().reordered, 3);
    assert!(flow.balances() && flow.sequencer.deadline().is_none());
}

#[test]
fn goes_on_where_numbers_wrap() {
    let mut flow = Flow::new();
    flow.all([65533, 65535, 65534, 1, 0, 2]);
    assert_eq!(flow.sequences(), [65533, 65534, 65535, 0, 1, 2]);
}

#[test]
fn waits_so_long_and_no_longer() {
    let mut flow = Flow::new();
    flow.all([1]);
    flow.offer(1, 4, 10 * MS);
    flow.offer(1, 3, 50 * MS);
    assert_eq!(flow.sequencer.deadline(), Some(110 * MS));
    flow.expire(109 * MS);
    assert_eq!(flow.sequences(), [1]);
    flow.expire(110 * MS);
    flow.offer(1, 2, 111 * MS);
    flow.offer(1, 3, 111 * MS);
    assert_eq!((flow.sequences(), flow.late, flow.duplicates), (vec![1, 3, 4], 1, 1));
    assert_eq!(flow.sequencer.counts().missing, 1);
    assert!(flow.balances());
}

#[test]
fn waits_for_so_many_and_no_more() {
    let mut flow = Flow::new();
    flow.all([1]).all(3..=64);
    assert_eq!(flow.out.len(), 1);
    flow.all([65]);
    assert_eq!(flow.out.len(), 1);
    flow.all([66]);
    assert_eq!((flow.out.len(), flow.sequencer.counts().missing), (65, 1));
    // A loss of more than the window holds.
    flow.all([1066]);
    flow.expire(100 * MS);
    assert_eq!((flow.out.len(), flow.sequencer.counts().missing), (66, 1000));
    assert!(flow.balances());
}

#[test]
fn holds_so_many_bytes_and_no_more() {
    let mut flow = Flow::new();
    flow.sequencer.set_bounds(Bounds { bytes: 450, ..BOUNDS });
    flow.all([1, 3, 4, 5, 6]);
    assert_eq!(flow.sequences(), [1]);
    flow.all([7]);
    assert_eq!((flow.sequences(), flow.sequencer.held()), (vec![1, 3, 4, 5, 6, 7], 0));
}

#[test]
fn a_new_sender_takes_over_with_its_first_packet() {
    let mut flow = Flow::new();
    flow.all([1, 2]);
    flow.offer(7, 9001, 40 * MS);
    flow.offer(7, 9000, 41 * MS);
    flow.offer(7, 9002, 42 * MS);
    assert_eq!((flow.sequences(), flow.sequencer.deadline()), (vec![1, 2], Some(100 * MS)));
    flow.expire(100 * MS);
    flow.offer(7, 9003, 101 * MS);
    assert_eq!(flow.sequences(), [1, 2, 9000, 9001, 9002, 9003]);
    assert_eq!((flow.sequencer.counts().restarts, flow.sequencer.ssrc()), (1, Some(7)));
    assert!(flow.balances());
}

#[test]
fn of_two_at_once_one_is_followed() {
    let mut flow = Flow::new();
    for turn in 0..50 {
        let now = u32::from(turn) * 40 * MS;
        flow.offer(1, turn, now);
        flow.expire(now);
        flow.offer(2, 500 + 2 * turn, now);
        flow.offer(2, 501 + 2 * turn, now);
        flow.expire(now + 39 * MS);
    }
    assert_eq!(flow.sequences(), (0..50).collect::<Vec<_>>());
    assert_eq!((flow.sequencer.counts().restarts, flow.sequencer.counts().other_sender), (0, 98));
    assert!(flow.balances());
}

#[test]
fn a_sequence_that_begins_anew_needs_two_that_agree() {
    let mut flow = Flow::new();
    flow.all([1, 2, 30000, 3, 40000, 40001, 40002]);
    assert_eq!(flow.sequences(), [1, 2, 3, 40000, 40001, 40002]);
    assert_eq!((flow.sequencer.counts().restarts, flow.sequencer.counts().other_sender), (1, 1));
    // A little back, after a silence: not late, but anew.
    flow.offer(1, 39900, 900 * MS);
    flow.offer(1, 39901, 901 * MS);
    assert_eq!(flow.sequences()[6..], [39900, 39901]);
    assert!(flow.balances());
}

proptest! {
    #[test]
    fn order_and_books_hold_whatever_comes(
        steps in prop::collection::vec((0u32..3, any::<u16>(), -80i16..80, 0u64..60, any::<bool>()), 1..300),
        span in 1u16..100,
    ) {
        let mut flow = Flow::new();
        flow.sequencer.set_bounds(Bounds { span, bytes: 3000, ..BOUNDS });
        let (mut now, mut at) = (Duration::ZERO, 0u16);
        for (ssrc, jump, near, pause, far) in steps {
            now += Duration::from_millis(pause);
            at = if far && pause > 50 { jump } else { at.wrapping_add_signed(near / 8) };
            let before = flow.sequencer.counts().restarts;
            let out = flow.out.len();
            flow.offer(ssrc, at, now);
            if pause % 7 == 0 {
                flow.expire(now);
            }
            prop_assert!(flow.balances());
            prop_assert!(flow.sequencer.held() <= 30 + 1);
            if flow.sequencer.counts().restarts == before {
                let rest = &flow.out[out.saturating_sub(1)..];
                for pair in rest.windows(2) {
                    prop_assert!(pair[1].1.wrapping_sub(pair[0].1) as i16 > 0 || pair[0].0 != pair[1].0);
                }
            }
        }
        flow.sequencer.flush();
        flow.drain();
        prop_assert!(flow.sequencer.held() == 0 && flow.balances());
    }

    #[test]
    fn every_order_within_the_window_comes_out_whole(
        swaps in prop::collection::vec((0usize..500, 1usize..20), 0..200), first in any::<u16>(),
    ) {
        // Moves of less than the window: the first stays first, which is where the run begins.
        let mut sequences: Vec<u16> = (0..500).map(|step| first.wrapping_add(step)).collect();
        for (at, by) in swaps {
            if at > 0 && at + by < sequences.len() && sequences[at] == first.wrapping_add(at as u16)
                && sequences[at + by] == first.wrapping_add((at + by) as u16)
            {
                sequences.swap(at, at + by);
            }
        }
        let mut flow = Flow::new();
        flow.all(sequences);
        let expected: Vec<u16> = (0..500).map(|step| first.wrapping_add(step)).collect();
        prop_assert_eq!(flow.sequences(), expected);
        prop_assert_eq!(flow.sequencer.counts().missing, 0);
    }
}
