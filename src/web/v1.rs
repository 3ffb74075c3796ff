//! Many streams and senders on one connection: the gateway's side of `wscast.v1` (docs/protocol.md, section 2).

mod authentication;
pub mod door;
pub mod egress;
pub mod joining;
pub mod reading;
pub mod sending;
pub mod session;
pub mod watching;
