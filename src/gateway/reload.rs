//! Another configuration for a running gateway: all of it or nothing.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::oneshot;
use tracing::{info, warn};

use crate::gateway::setup::{self, SetupError};
use crate::gateway::{Gateway, linking};
use crate::model::changes::Changes;
use crate::model::config::Config;
use crate::model::status::LastReload;
use crate::web::facts::ShardCommand;
use crate::web::tls::TlsError;

/// What a reload did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// The number of the configuration in force.
    pub generation: u64,
    /// What differs from the one before.
    pub changes: Changes,
    /// Conversations that were closed because it does not allow them.
    pub closed: usize,
}

/// Why a configuration was not taken over.
#[derive(Debug, Error)]
pub enum ReloadError {
    /// What it names could not be had; nothing has changed.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// A certificate or key could not be had; nothing has changed.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A shard did not take it over in time; it will when it gets round.
    #[error(
        "shard {shard} has not taken the configuration over within {} s; it will when it gets round",
        TAKING_OVER.as_secs()
    )]
    Stuck {
        /// Which.
        shard: usize,
    },
}

/// How long a shard may take to take a configuration over.
const TAKING_OVER: Duration = Duration::from_secs(5);

impl Gateway {
    /// Takes over another configuration. What has not changed goes on without losing a datagram; what is not allowed any
    /// more is closed. What only a restart changes stays as it is, and the answer names it.
    ///
    /// # Errors
    /// [`ReloadError`].
    pub async fn reload(&self, config: Config) -> Result<Reloaded, ReloadError> {
        let mut running = self.running.lock().await;
        let changes = Changes::between(&running, &config);
        let setup = setup::prepare(config.without_restart(&running)).inspect_err(|error| {
            self.note_refused_reload(&error.to_string());
        })?;
        // The last that can fail. The files may be others although their names are not.
        if let (Some(tls), Some(settings)) = (&self.tls, &setup.config.tls) {
            tls.reload(settings).inspect_err(|error| self.note_refused_reload(&error.to_string()))?;
        }
        let setup = Arc::new(setup);
        let now = Instant::now();
        if !changes.is_empty() {
            setup::describe(&setup);
        }
        self.facts.admission.adopt(&setup.config.limits, now);
        self.quota.apply(&setup.config.limits, now);
        self.marks.set(&setup);
        linking::adopt(&self.facts, &setup.config).await;
        *running = setup.config.clone();
        let mut answers = Vec::new();
        for (shard, one) in self.shards.iter().enumerate() {
            let (answer, applied) = oneshot::channel();
            let sent = one.commands.send(ShardCommand::Apply(Arc::clone(&setup), answer));
            let sent = tokio::time::timeout(TAKING_OVER, sent).await;
            answers.push((shard, sent.is_ok_and(|sent| sent.is_ok()).then_some(applied)));
        }
        let (mut closed, mut stuck) = (0, None);
        for (shard, applied) in answers {
            let ended = match applied {
                Some(applied) => tokio::time::timeout(TAKING_OVER, applied).await.ok().and_then(Result::ok),
                None => None,
            };
            match ended {
                Some(ended) => closed += ended,
                None => stuck = Some(shard),
            }
        }
        if let Some(shard) = stuck {
            let error = ReloadError::Stuck { shard };
            warn!("{error}");
            return Err(error);
        }
        let result = changes.to_string();
        info!(closed, "configuration taken over: {result}");
        if !changes.after_restart.is_empty() {
            warn!("not in force before a restart: {}", changes.after_restart.join(", "));
        }
        let mut configuration = self.facts.configuration.lock().unwrap_or_else(PoisonError::into_inner);
        configuration.generation += 1;
        configuration.since = unix_time();
        configuration.last_reload = Some(LastReload { at: unix_time(), taken_over: true, result });
        Ok(Reloaded { generation: configuration.generation, changes, closed })
    }

    /// Takes note that a reload was asked for and came to nothing, for the log and the status.
    pub fn note_refused_reload(&self, reason: &str) {
        warn!("reload refused, nothing has changed: {reason}");
        let mut configuration = self.facts.configuration.lock().unwrap_or_else(PoisonError::into_inner);
        configuration.reloads_refused += 1;
        let result = reason.to_owned();
        configuration.last_reload = Some(LastReload { at: unix_time(), taken_over: false, result });
    }
}

/// Seconds since 1970.
pub(super) fn unix_time() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
