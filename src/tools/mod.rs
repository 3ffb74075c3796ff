//! The command line's verbs.

pub mod check_config;
pub mod failure;
pub mod serve;
