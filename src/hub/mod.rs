//! What is shared: streams, their logs of frames, cursors into them, senders, and the books that must balance.

pub mod announcing;
pub mod audience;
pub mod budget;
pub mod containment;
pub mod cursor;
pub mod depacketizer;
pub mod echo;
pub mod flushes;
pub mod gathering;
#[allow(clippy::module_inception)] // the registry is the hub itself; a second noun would be a synonym
pub mod hub;
pub mod key;
pub mod ledger;
pub mod log;
pub mod outage;
pub mod pressure;
pub mod quota;
pub mod records;
pub mod run;
pub mod seen;
pub mod sender;
pub mod settings;
pub mod stream;
pub mod subscribe_error;
pub mod subscription;
pub mod twin;
