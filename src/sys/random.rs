//! Random numbers for names and jitter; not for secrets.

use std::hash::{BuildHasher, RandomState};

/// A number that neither this process nor another has seen: the standard library keys each hasher from the system.
#[must_use]
pub fn number() -> u64 {
    RandomState::new().hash_one(std::process::id())
}
