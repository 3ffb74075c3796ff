//! The copied rest of a frame that a slow client has begun, so that its cursor may move on.

use std::cell::Cell;
use std::num::NonZeroUsize;
use std::rc::Rc;

/// A rest up to this size belongs to the client's own memory; larger ones share [`RestPool`].
const FREE: usize = 4 << 10;
/// Bytes of larger rests that the gateway may hold at once; each shard has its share.
pub const POOL: usize = 8 << 20;

/// Room for the rests of large frames, shared by the clients of a shard.
#[derive(Debug)]
pub struct RestPool {
    used: Cell<usize>,
    most: usize,
}

impl RestPool {
    /// The share of one of `shards`.
    #[must_use]
    pub fn of(shards: NonZeroUsize) -> Rc<Self> {
        Rc::new(RestPool { used: Cell::new(0), most: POOL / shards })
    }
}

/// One client's rest; empty most of the time.
#[derive(Debug)]
pub struct Rest {
    bytes: Vec<u8>,
    written: usize,
    /// The reading whose frame it is.
    of: Option<usize>,
    pooled: usize,
    pool: Rc<RestPool>,
}

impl Rest {
    /// Nothing yet.
    #[must_use]
    pub fn new(pool: Rc<RestPool>) -> Self {
        Rest { bytes: Vec::new(), written: 0, of: None, pooled: 0, pool }
    }

    /// Whether everything has been written, or there was nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Where a rest is copied to.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// A rest of the reading `slot` has been copied; false when the pool has no room for it, and it is gone.
    #[must_use]
    pub fn hold(&mut self, slot: usize) -> bool {
        self.of = Some(slot);
        if self.bytes.len() > FREE && self.pooled == 0 {
            self.pooled = self.bytes.len();
            self.pool.used.set(self.pool.used.get() + self.pooled);
            if self.pool.used.get() > self.pool.most {
                self.release();
                return false;
            }
        }
        true
    }

    /// What is still to be written.
    #[must_use]
    pub fn unwritten(&self) -> &[u8] {
        &self.bytes[self.written..]
    }

    /// Moves over `bytes` that were written.
    pub fn advance(&mut self, bytes: usize) {
        self.written += bytes;
    }

    /// Everything has been written: the reading that it was of, if there was any.
    pub fn finish(&mut self) -> Option<usize> {
        let of = self.of.take()?;
        self.release();
        Some(of)
    }

    fn release(&mut self) {
        self.pool.used.set(self.pool.used.get() - self.pooled);
        self.pooled = 0;
        self.bytes = Vec::new();
        self.written = 0;
    }
}

impl Drop for Rest {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_rests_share_a_pool_and_give_back() {
        let pool = RestPool::of(NonZeroUsize::MIN);
        let rest = |bytes: usize| {
            let mut rest = Rest::new(Rc::clone(&pool));
            rest.buffer().resize(bytes, 0);
            let held = rest.hold(3);
            (rest, held)
        };
        let (small, held) = rest(FREE);
        assert!(held && pool.used.get() == 0);
        let (mut large, held) = rest(POOL - 10);
        assert!(held);
        let (refused, held) = rest(FREE + 11);
        assert!(!held && refused.is_empty());
        large.advance(POOL - 10);
        assert_eq!((large.unwritten().len(), large.finish(), large.finish()), (0, Some(3), None));
        drop(small);
        assert_eq!(pool.used.get(), 0);
    }
}
