//! Numbered datagrams: what is missing, double, out of order or late, told from the numbers alone.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;

use serde::Serialize;

/// What the numbers of one source, or of several together, have shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SequenceCounts {
    /// Datagrams that had a number.
    pub numbered: u64,
    /// Numbers that were passed over and have not come since.
    pub gaps: u64,
    /// Numbers that came again.
    pub duplicates: u64,
    /// Datagrams that came after a later number, and not as duplicates.
    pub reordered: u64,
    /// Datagrams more than [`WINDOW`] behind: too old to tell a duplicate from a reordered one.
    pub late: u64,
    /// Times that a sender began anew.
    pub restarts: u64,
}

/// The numbers of one source.
#[derive(Clone, Debug)]
pub struct Sequence {
    first: u64,
    next: u64,
    /// What came of the last [`WINDOW`] numbers, a bit each.
    seen: [u64; WORDS],
    /// The number that would prove that the sender began anew.
    suspected: Option<u64>,
    counts: SequenceCounts,
}

/// The numbers of all sources, each counted by itself.
#[derive(Clone, Debug, Default)]
pub struct Sequences {
    sources: HashMap<Option<SocketAddr>, Sequence>,
}

/// How far back, in numbers, a duplicate is told from a reordered datagram.
pub const WINDOW: u64 = WORDS as u64 * 64;
const WORDS: usize = 16;
/// A jump ahead by more than this is a sender that began anew, not a loss.
const LONGEST_GAP: u64 = 1_000_000;
/// Sources that are followed; those beyond are not looked at. It bounds what strangers can make us remember.
const SOURCES: usize = 1024;

/// The number at the start of a payload: decimal digits, then a space or the end. A line end ends it too.
#[must_use]
pub fn number(payload: &[u8]) -> Option<u64> {
    // Twenty digits hold every u64.
    let digits = payload.iter().take(21).take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 || !matches!(payload.get(digits), None | Some(b' ' | b'\n' | b'\r')) {
        return None;
    }
    std::str::from_utf8(&payload[..digits]).ok()?.parse().ok()
}

impl Sequences {
    /// Counts one payload from `source`; one without a number changes nothing.
    pub fn take(&mut self, source: Option<SocketAddr>, payload: &[u8]) {
        let Some(number) = number(payload) else { return };
        let room = self.sources.len() < SOURCES;
        match self.sources.get_mut(&source) {
            Some(sequence) => sequence.take(number),
            None if room => {
                self.sources.insert(source, Sequence::starting(number));
            }
            None => {}
        }
    }

    /// The counts of all sources together.
    #[must_use]
    pub fn counts(&self) -> SequenceCounts {
        self.sources.values().fold(SequenceCounts::default(), |sum, one| sum.plus(&one.counts))
    }
}

impl Sequence {
    /// A sequence whose first number was `number`; what came before is not known and counts as nothing.
    #[must_use]
    pub fn starting(number: u64) -> Self {
        let mut sequence = Sequence {
            first: number,
            next: number.wrapping_add(1),
            seen: [0; WORDS],
            suspected: None,
            counts: SequenceCounts { numbered: 1, ..SequenceCounts::default() },
        };
        sequence.mark(number);
        sequence
    }

    /// Takes the next number as it came.
    pub fn take(&mut self, number: u64) {
        self.counts.numbered += 1;
        let suspected = self.suspected.take();
        if number >= self.next && number - self.next <= LONGEST_GAP {
            self.advance(number);
        } else if suspected == Some(number) {
            self.restart(number);
        } else if number > self.next {
            self.suspect(number);
        } else if self.next - number > WINDOW {
            self.counts.late += 1;
            self.suspect(number);
        } else if self.is_marked(number) {
            self.counts.duplicates += 1;
        } else {
            self.mark(number);
            self.counts.reordered += 1;
            // What came before the first one was never counted as missing.
            if number > self.first {
                self.counts.gaps -= 1;
            }
        }
    }

    /// What was counted so far.
    #[must_use]
    pub fn counts(&self) -> SequenceCounts {
        self.counts
    }

    fn advance(&mut self, number: u64) {
        let skipped = number - self.next;
        self.counts.gaps += skipped;
        if skipped >= WINDOW {
            self.seen = [0; WORDS];
        } else {
            for missing in self.next..number {
                let (word, bit) = place(missing);
                self.seen[word] &= !bit;
            }
        }
        self.mark(number);
        self.next = number.wrapping_add(1);
    }

    /// One number far off may be a stray; two in a row are a sender that began anew (as RFC 3550, appendix A.1).
    fn suspect(&mut self, number: u64) {
        self.suspected = Some(number.wrapping_add(1));
    }

    fn restart(&mut self, number: u64) {
        // The one before was counted as late only if it was behind; the number after it is this one.
        let first = number.wrapping_sub(1);
        let late = u64::from(first < self.next && self.next - first > WINDOW);
        let counts = self.counts;
        *self = Sequence::starting(first);
        self.advance(number);
        self.counts = SequenceCounts { restarts: counts.restarts + 1, late: counts.late - late, ..counts };
    }

    fn mark(&mut self, number: u64) {
        let (word, bit) = place(number);
        self.seen[word] |= bit;
    }

    fn is_marked(&self, number: u64) -> bool {
        let (word, bit) = place(number);
        self.seen[word] & bit != 0
    }
}

impl SequenceCounts {
    fn plus(self, other: &SequenceCounts) -> SequenceCounts {
        SequenceCounts {
            numbered: self.numbered + other.numbered,
            gaps: self.gaps + other.gaps,
            duplicates: self.duplicates + other.duplicates,
            reordered: self.reordered + other.reordered,
            late: self.late + other.late,
            restarts: self.restarts + other.restarts,
        }
    }
}

impl fmt::Display for SequenceCounts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SequenceCounts { gaps, duplicates, reordered, late, restarts, .. } = self;
        write!(formatter, "gaps {gaps}, duplicates {duplicates}, reordered {reordered}, late {late}")?;
        if *restarts > 0 {
            write!(formatter, ", restarts {restarts}")?;
        }
        Ok(())
    }
}

/// Where the bit of a number is.
fn place(number: u64) -> (usize, u64) {
    let bit = (number % WINDOW) as usize;
    (bit / 64, 1 << (bit % 64))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn counts(numbers: impl IntoIterator<Item = u64>) -> SequenceCounts {
        let mut numbers = numbers.into_iter();
        let mut sequence = Sequence::starting(numbers.next().expect("one at least"));
        numbers.for_each(|number| sequence.take(number));
        sequence.counts()
    }

    #[test]
    fn numbers_are_digits_at_the_start() {
        for (payload, expected) in [
            (&b"17"[..], Some(17)),
            (b"17 filler", Some(17)),
            (b"17\n", Some(17)),
            (b"0 ", Some(0)),
            (b"18446744073709551615 x", Some(u64::MAX)),
            (b"18446744073709551616 x", None),
            (b"000000000000000000000000017 x", None),
            (b"17x", None),
            (b"17.5", None),
            (b" 17", None),
            (b"-17", None),
            (b"", None),
            (b"\xff17", None),
        ] {
            assert_eq!(number(payload), expected, "{}", payload.escape_ascii());
        }
    }

    #[test]
    fn order_is_silence() {
        assert_eq!(counts(7..1007), SequenceCounts { numbered: 1000, ..Default::default() });
    }

    #[test]
    fn each_trouble_has_its_count() {
        let zero = SequenceCounts::default();
        for (numbers, expected) in [
            (vec![1, 2, 5, 6], SequenceCounts { numbered: 4, gaps: 2, ..zero }),
            (vec![1, 2, 2, 3, 3, 3], SequenceCounts { numbered: 6, duplicates: 3, ..zero }),
            (vec![1, 3, 2, 4], SequenceCounts { numbered: 4, reordered: 1, ..zero }),
            (vec![1, 4, 2], SequenceCounts { numbered: 3, gaps: 1, reordered: 1, ..zero }),
            (vec![1, 3, 2, 2], SequenceCounts { numbered: 4, reordered: 1, duplicates: 1, ..zero }),
            // Before the first one heard: out of order, and nothing was missing.
            (vec![5, 4, 4, 6], SequenceCounts { numbered: 4, reordered: 1, duplicates: 1, ..zero }),
            (vec![5000, 5001, 17, 5002], SequenceCounts { numbered: 4, late: 1, ..zero }),
            (vec![0, 2 * WINDOW, 1], SequenceCounts { numbered: 3, gaps: 2 * WINDOW - 1, late: 1, ..zero }),
        ] {
            assert_eq!(counts(numbers.clone()), expected, "{numbers:?}");
        }
    }

    #[test]
    fn a_sender_that_begins_anew_is_no_loss() {
        let zero = SequenceCounts::default();
        let back = (5000..5010).chain(0..10).chain(12..15);
        assert_eq!(counts(back), SequenceCounts { numbered: 23, gaps: 2, restarts: 1, ..zero });
        let ahead = (0..10).chain(1 << 40..(1 << 40) + 10);
        assert_eq!(counts(ahead), SequenceCounts { numbered: 20, restarts: 1, ..zero });
        let stray = (0..10).chain([1 << 40]).chain(10..20);
        assert_eq!(counts(stray), SequenceCounts { numbered: 21, ..zero });
    }

    #[test]
    fn sources_are_counted_apart() {
        let mut sequences = Sequences::default();
        let source = |port| Some(SocketAddr::from(([10, 0, 0, 1], port)));
        for number in 0..10 {
            sequences.take(source(1), format!("{number} a").as_bytes());
            sequences.take(source(2), format!("{}", 2 * number).as_bytes());
            sequences.take(None, b"no number");
        }
        assert_eq!(sequences.counts(), SequenceCounts { numbered: 20, gaps: 9, ..Default::default() });
    }

    proptest! {
        #[test]
        fn never_overflows(numbers in prop::collection::vec(any::<u64>(), 1..50)) {
            counts(numbers);
        }

        #[test]
        fn the_books_balance(start in 0_u64..100, steps in prop::collection::vec(0_u64..200, 1..300)) {
            let numbers: Vec<u64> = steps.iter().map(|step| start + step).collect();
            let counts = counts(numbers.iter().copied());
            let distinct: HashSet<u64> = numbers.iter().copied().collect();
            let from_first = distinct.iter().filter(|number| **number >= numbers[0]).count() as u64;
            let span = numbers.iter().max().expect("some") - numbers[0] + 1;
            prop_assert_eq!(counts.duplicates, (numbers.len() - distinct.len()) as u64);
            prop_assert_eq!(counts.gaps, span - from_first);
            prop_assert_eq!(counts.late + counts.restarts, 0);
        }
    }
}
