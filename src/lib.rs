//! wscast: a gateway between IP multicast and WebSocket.
//!
//! It joins UDP multicast groups on the network interfaces of a Linux host, hands every datagram to browsers and
//! programs as WebSocket frames, and turns their frames back into multicast sends:
//!
//! ```text
//!  lan ──────────▶ hub ──────────▶ web
//!  memberships     streams, logs   sessions, HTTP
//!  transmitters ◀─ senders ◀────── client frames
//! ```
//!
//! Imports go one way, down the floors: `gateway`, `cli`, `tools`, then `web`, `hub`, `lan`, and `model` and `sys` at the
//! bottom (`tests/floors.rs`). [`client`] is a program's side of the WebSocket.

pub mod cli;
pub mod client;
pub mod gateway;
pub mod hub;
pub mod lan;
pub mod link;
pub mod model;
pub mod sys;
pub mod tools;
pub mod web;
