//! wscast.
pub mod model;
