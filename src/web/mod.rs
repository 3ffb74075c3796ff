//! The people's side: the one port, who may come in, one conversation, the write path, and the page.

pub mod admission;
pub mod asset;
pub mod body;
pub mod control;
pub mod egress;
pub mod ending;
pub mod gate;
pub mod handshake;
pub mod http;
pub mod library;
pub mod line;
pub mod metrics;
pub mod opening;
pub mod output;
pub mod page;
pub mod reader;
pub mod reading;
pub mod refusal;
pub mod rest;
pub mod server;
pub mod session;
pub mod socket;
pub mod v1;
pub mod websocket;
pub mod write_path;
