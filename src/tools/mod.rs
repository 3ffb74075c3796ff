//! The command line's verbs.

pub mod capture;
pub mod check_config;
pub mod content;
pub mod control;
pub mod counters;
pub mod demo;
pub mod demo_picture;
pub mod demo_source;
pub mod doctor;

pub mod failure;
pub mod form;
pub mod gateway_outlet;
pub mod gateway_tap;
pub mod lan_tap;
pub mod link;
pub mod listen;
pub mod log;
pub mod loopback;
pub mod manual;

pub mod pace;
pub mod place;
pub mod record;
pub mod refusal;
pub mod reload;
pub mod replay;
pub mod send;
pub mod sequence;
pub mod serve;
pub mod service_manager;
pub mod stop;
pub mod timestamp;
pub mod token;
pub mod trust;
pub mod v1_tap;
