//! Why a stream can't be had.

use thiserror::Error;

use crate::hub::quota::OverQuota;
use crate::lan::membership::JoinError;

/// Why there is no subscription.
#[derive(Debug, Error)]
pub enum SubscribeError {
    /// So many streams are joined already.
    #[error("the gateway has joined {0} streams, as many as it may (--limit streams)")]
    Streams(u32),
    /// Too many joins in the last second.
    #[error("too many joins a second (--limit join-rate)")]
    JoinRate,
    /// So many subscriptions there are already.
    #[error("the gateway has {0} subscriptions, as many as it may (--limit subscriptions)")]
    Subscriptions(u32),
    /// Nothing new is begun.
    #[error("memory is short, and nothing new is joined (--limit memory)")]
    Memory,
    /// The kernel refused, and no change of the interface would help.
    #[error(transparent)]
    Join(#[from] JoinError),
}

impl From<OverQuota> for SubscribeError {
    fn from(over: OverQuota) -> Self {
        match over {
            OverQuota::Streams(most) => SubscribeError::Streams(most),
            OverQuota::Rate => SubscribeError::JoinRate,
            OverQuota::Subscriptions(most) => SubscribeError::Subscriptions(most),
            OverQuota::Memory => SubscribeError::Memory,
        }
    }
}
