//! How often a quantity fell between which bounds: what is counted in one thread, and sums of it for all.

use std::cell::Cell;

/// A histogram that one thread counts in: plain cells, no lock.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [u64],
    /// One for each bound, and one for what is above all of them.
    counts: Box<[Cell<u64>]>,
    sum: Cell<u64>,
}

/// What a [`Histogram`] has counted; those with the same bounds add up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Upper bounds, included, in growing order.
    pub bounds: &'static [u64],
    /// How many values fell above the bound before and not above this one; one more than there are bounds.
    pub counts: Vec<u64>,
    /// Sum of all values.
    pub sum: u64,
}

impl Histogram {
    /// Nothing counted yet. The `bounds` grow.
    #[must_use]
    pub fn new(bounds: &'static [u64]) -> Self {
        Histogram { bounds, counts: vec![Cell::new(0); bounds.len() + 1].into(), sum: Cell::new(0) }
    }

    /// Counts one value.
    pub fn record(&self, value: u64) {
        let place = self.bounds.partition_point(|bound| *bound < value);
        let count = &self.counts[place];
        count.set(count.get() + 1);
        self.sum.set(self.sum.get().saturating_add(value));
    }

    /// What it has counted.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            bounds: self.bounds,
            counts: self.counts.iter().map(Cell::get).collect(),
            sum: self.sum.get(),
        }
    }
}

impl Counts {
    /// Adds what another thread has counted with the same bounds.
    pub fn absorb(&mut self, other: &Counts) {
        if self.counts.is_empty() {
            self.clone_from(other);
            return;
        }
        debug_assert!(other.counts.is_empty() || self.bounds == other.bounds, "the same histogram");
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.sum = self.sum.saturating_add(other.sum);
    }

    /// How many values there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_fall_under_the_first_bound_that_holds_them_and_threads_add_up() {
        const BOUNDS: &[u64] = &[1, 10, 100];
        let (one, other) = (Histogram::new(BOUNDS), Histogram::new(BOUNDS));
        for value in [0, 1, 2, 10, 11, 100, 101, 5000] {
            one.record(value);
        }
        other.record(3);
        let mut sum = Counts::default();
        sum.absorb(&one.counts());
        sum.absorb(&other.counts());
        sum.absorb(&Counts::default());
        assert_eq!((sum.counts.as_slice(), sum.sum, sum.count()), (&[2, 3, 2, 2][..], 5228, 9));
    }
}
