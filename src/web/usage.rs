//! How many sessions each principal has, over all shards.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use hyper::StatusCode;

use crate::model::principal::Principal;
use crate::web::refusal::Refusal;

/// The sessions of all principals that are known by something; a line for each that has any.
#[derive(Debug, Default)]
pub struct Usage {
    sessions: Mutex<HashMap<String, u32>>,
}

/// The right to one session; given back when dropped.
#[derive(Debug)]
pub struct Seat {
    usage: Arc<Usage>,
    name: String,
}

impl Usage {
    /// Asks for one more session of `principal`.
    ///
    /// # Errors
    /// 429 where it has as many as it may.
    pub fn enter(self: &Arc<Self>, principal: &Principal) -> Result<Seat, Refusal> {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let count = sessions.entry(principal.name.clone()).or_default();
        if let Some(most) = principal.grant.sessions
            && *count >= most
        {
            let reason =
                format!("too_many: this principal has {most} sessions, as many as it may (sessions)");
            return Err(Refusal::new(StatusCode::TOO_MANY_REQUESTS, reason));
        }
        *count += 1;
        Ok(Seat { usage: Arc::clone(self), name: principal.name.clone() })
    }

    /// How many sessions each has that has any.
    #[must_use]
    pub fn counts(&self) -> Vec<(String, u32)> {
        let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.iter().map(|(name, count)| (name.clone(), *count)).collect()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut sessions = self.usage.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        match sessions.get_mut(&self.name) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                sessions.remove(&self.name);
            }
        }
    }
}
