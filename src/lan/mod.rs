//! The physical network: interfaces, memberships, receiving and sending multicast datagrams.

pub mod interface;
pub mod membership;
pub mod transmit;
