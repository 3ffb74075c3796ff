//! What the kernel drops is counted.
