//! The people's side: the one port, who may come in, one conversation, the write path, and the page.

pub mod access;
pub mod admission;
pub mod asking;
pub mod asset;
pub mod attempts;
pub mod body;
pub mod control;
pub mod egress;
pub mod ending;
pub mod gate;
pub mod handshake;
pub mod http;
pub mod library;
pub mod line;
pub mod opening;
pub mod page;
pub mod reader;
pub mod reading;
pub mod refusal;
pub mod rest;
pub mod server;
pub mod session;
pub mod tickets;
pub mod usage;
pub mod v1;
pub mod websocket;
