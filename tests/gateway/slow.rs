//! Slow, stalled and vanished clients beside healthy ones.
