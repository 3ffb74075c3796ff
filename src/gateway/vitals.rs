//! Whether everything that must get round does: each loop is asked, and answers in its turn.

use std::time::Duration;

use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

use crate::web::facts::ShardCommand;
use crate::web::heart::Pulse;

/// Asks all shards and listeners of a gateway.
#[derive(Clone, Debug)]
pub struct Vitals {
    pub(super) shards: Vec<mpsc::Sender<ShardCommand>>,
    pub(super) listeners: Vec<Pulse>,
}

/// What does not get round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Stuck {
    /// A shard, by its number.
    #[error("shard {0}")]
    Shard(usize),
    /// A listener, in the order of the configuration.
    #[error("listener {0}")]
    Listener(usize),
}

impl Vitals {
    /// Asks everything, and waits for its answers up to `patience` in all.
    ///
    /// # Errors
    /// The first that has not answered.
    pub async fn check(&self, patience: Duration) -> Result<(), Stuck> {
        let until = tokio::time::Instant::now() + patience;
        for (number, shard) in self.shards.iter().enumerate() {
            let beats = async {
                let (answer, beaten) = oneshot::channel();
                shard.send(ShardCommand::Pulse(answer)).await.ok()?;
                beaten.await.ok()
            };
            in_time(until, beats).await.ok_or(Stuck::Shard(number))?;
        }
        for (number, listener) in self.listeners.iter().enumerate() {
            in_time(until, listener.beats()).await.ok_or(Stuck::Listener(number))?;
        }
        Ok(())
    }
}

async fn in_time(until: tokio::time::Instant, beats: impl Future<Output = Option<()>>) -> Option<()> {
    tokio::time::timeout_at(until, beats).await.ok().flatten()
}
