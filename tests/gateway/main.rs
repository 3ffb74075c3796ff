//! The built gateway in a lab, talked to over real sockets.
#![allow(clippy::unwrap_used)] // a failed one fails its test

#[path = "../support/mod.rs"]
mod support;

mod abuse;
mod access;
mod balancing;
mod client;
mod front;
mod interfaces;
mod isolation;
mod kernel_drops;
mod keyframe;
mod library;
mod life;
mod limits;
mod links;
mod listeners;
mod metrics;
mod page;
mod peers;
mod players;
mod protocol;
mod reload;
mod replay;
mod rtp;
mod sending;
mod slow;
mod source_specific;
mod streams;
mod tls;
mod urls;
mod v1;
mod video;
