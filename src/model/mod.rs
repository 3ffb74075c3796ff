//! Pure values: parsed once at the edge, printed, compared; no tokio, no I/O, time passed in.

pub mod bucket;
pub mod changes;
pub mod config;
mod config_file;
pub mod control;
pub mod forwarded;
pub mod frame;
pub mod group;
pub mod histogram;
pub mod limits;
pub mod listener;
pub mod name;
mod percent;
pub mod policy;
pub mod prefix;
pub mod proxy_header;
pub mod quantity;
pub mod record;
pub mod request;
mod request_options;
pub mod selector;
pub mod setting;
pub mod source;
pub mod spec;
pub mod status;
mod text;
pub mod tls;
