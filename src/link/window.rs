//! The duplicate window of a mirrored group: each datagram has an identity, and passes once.
//!
//! Nothing is guessed from payloads: two datagrams that a host sends on purpose with the same bytes have different
//! identities, and one datagram that comes over two links has one.

use std::collections::HashMap;

use crate::model::link::record::Identity;

/// Sequences that are told apart behind the highest one, of each origin.
const SPAN: u64 = 32768;
const WORDS: usize = (SPAN / 64) as usize;
/// Origins remembered: each has 4 KiB.
const ORIGINS: usize = 64;

/// What has been seen of all origins of one mirrored group.
#[derive(Debug, Default)]
pub(super) struct Window {
    origins: HashMap<(u64, u32), Seen>,
    /// Counts the datagrams, to know which origin has been silent longest.
    clock: u64,
}

#[derive(Debug)]
struct Seen {
    highest: u64,
    /// A bit for each of the last [`SPAN`] sequences.
    bits: Box<[u64; WORDS]>,
    used: u64,
}

impl Window {
    /// Takes note of a datagram; false where it has been here, or is too old for anybody to know.
    pub(super) fn is_new(&mut self, identity: Identity) -> bool {
        self.clock += 1;
        let key = (identity.gateway, identity.run);
        if !self.origins.contains_key(&key) && self.origins.len() >= ORIGINS {
            let oldest = self.origins.iter().min_by_key(|(_, seen)| seen.used).map(|(key, _)| *key);
            if let Some(oldest) = oldest {
                self.origins.remove(&oldest);
            }
        }
        let fresh = || Seen { highest: 0, bits: Box::new([0; WORDS]), used: 0 };
        let seen = self.origins.entry(key).or_insert_with(fresh);
        seen.used = self.clock;
        seen.take(identity.sequence)
    }
}

impl Seen {
    fn take(&mut self, sequence: u64) -> bool {
        if sequence > self.highest {
            if sequence - self.highest >= SPAN {
                self.bits.fill(0);
            } else {
                // The bits of a span ago: none of these has come yet.
                for between in self.highest + 1..=sequence {
                    let (word, bit) = place(between);
                    self.bits[word] &= !bit;
                }
            }
            self.highest = sequence;
        } else if self.highest - sequence >= SPAN {
            return false;
        }
        let (word, bit) = place(sequence);
        let new = self.bits[word] & bit == 0;
        self.bits[word] |= bit;
        new
    }
}

fn place(sequence: u64) -> (usize, u64) {
    let within = sequence % SPAN;
    ((within / 64) as usize, 1 << (within % 64))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn identity(gateway: u64, sequence: u64) -> Identity {
        Identity { gateway, run: 1, sequence }
    }

    proptest! {
        #[test]
        fn each_passes_once_in_whatever_order(sequences in prop::collection::vec(1_u64..2 * SPAN, 1..400)) {
            let (mut window, mut seen, mut highest) = (Window::default(), HashSet::new(), 0);
            for sequence in sequences {
                highest = highest.max(sequence);
                let expected = seen.insert(sequence) && highest - sequence < SPAN;
                prop_assert_eq!(window.is_new(identity(7, sequence)), expected, "{}", sequence);
            }
        }
    }

    #[test]
    fn origins_do_not_know_each_other_and_are_bounded() {
        let mut window = Window::default();
        for gateway in 0..1000 {
            assert!(window.is_new(identity(gateway, 1)) && !window.is_new(identity(gateway, 1)));
        }
        assert_eq!(window.origins.len(), ORIGINS);
        assert!(!window.is_new(identity(999, 1)));
    }
}
