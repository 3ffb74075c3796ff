//! Whether memory is short: looked at now and then by the gateway, asked wherever something new would begin.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Above the mark by the last look, until a look finds it well below.
#[derive(Debug, Default)]
pub struct Pressure {
    high: AtomicBool,
    resident: AtomicU64,
}

/// One part of the mark in so many has to be free again before anything new begins: at the mark itself the gateway
/// would open and close its doors with each look.
const SLACK: u64 = 20;

impl Pressure {
    /// Whether nothing new should begin.
    #[must_use]
    pub fn is_high(&self) -> bool {
        self.high.load(Ordering::Relaxed)
    }

    /// Resident memory of the process at the last look, in bytes.
    #[must_use]
    pub fn resident(&self) -> u64 {
        self.resident.load(Ordering::Relaxed)
    }

    /// Takes note of a look: what is resident, and each of what is used beside its mark. Whether the answer has changed.
    pub fn note(&self, resident: u64, used_and_marks: &[(u64, u64)]) -> bool {
        self.resident.store(resident, Ordering::Relaxed);
        let before = self.is_high();
        let high = used_and_marks.iter().any(|&(used, mark)| {
            let mark = if before { mark - mark / SLACK } else { mark };
            used >= mark
        });
        self.high.store(high, Ordering::Relaxed);
        high != before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_high_from_the_mark_until_well_below() {
        let pressure = Pressure::default();
        let look = |used| (pressure.note(used, &[(used, 1000), (0, 5)]), pressure.is_high());
        assert_eq!(look(999), (false, false));
        assert_eq!(look(1000), (true, true));
        assert_eq!(look(951), (false, true));
        assert_eq!(look(949), (true, false));
        assert!(pressure.note(0, &[(0, 1000), (5, 5)]) && pressure.is_high());
        assert!(pressure.note(7, &[]) && !pressure.is_high() && pressure.resident() == 7);
    }
}
