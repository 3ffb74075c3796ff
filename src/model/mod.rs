//! Pure values: parsed once at the edge, printed, compared; no tokio, no I/O, time passed in.

pub mod bucket;
pub mod changes;
pub mod config;
mod config_file;
pub mod control;
pub mod frame;
pub mod group;
pub mod histogram;
pub mod limits;
pub mod link;
pub mod name;
mod percent;
pub mod policy;
pub mod quantity;
pub mod record;
pub mod request;
mod request_options;
pub mod rtp;
pub mod selector;
pub mod setting;
pub mod source;
pub mod spec;
pub mod status;
mod text;
pub mod transport;
pub mod ts;
