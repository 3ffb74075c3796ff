//! The physical network: interfaces, memberships, receiving and sending multicast datagrams.

pub mod interface;
pub mod kernel;
pub mod membership;
pub mod packet;
pub mod transmit;
