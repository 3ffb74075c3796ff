//! The system calls that no crate offers, behind plain structs: the only folder with `unsafe`.
#![allow(unsafe_code)]

pub mod batch;
pub mod descriptors;
pub mod links;
pub mod memory;
pub mod netlink;
pub mod process;
pub mod random;
pub mod socket;
pub mod tap;
pub mod transmit_batch;
pub mod uring;
