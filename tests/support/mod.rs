//! What several integration tests share. Each test binary uses a part of it.
#![allow(dead_code, unreachable_pub, unused_imports, unused_macros)]

pub mod anybody;
pub mod client;
pub mod flow;
pub mod gateway;
pub mod lab;
pub mod raw;
pub mod sites;
pub mod tls;
pub mod v1;
