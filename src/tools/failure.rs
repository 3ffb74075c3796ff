//! How a command fails: what to say, and the exit code that scripts rely on.

use std::io;
use std::process::ExitCode;

use thiserror::Error;

use crate::gateway::StartError;

/// A failed command.
#[derive(Debug, Error)]
pub enum Failure {
    /// Usage or configuration: exit code 2.
    #[error("{0}")]
    Usage(String),
    /// Nothing to listen on: exit code 3.
    #[error("{0}")]
    Bind(String),
    /// While running: exit code 1.
    #[error("{0}")]
    Running(String),
}

impl Failure {
    /// The exit code.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Failure::Running(_) => 1,
            Failure::Usage(_) => 2,
            Failure::Bind(_) => 3,
        })
    }

    /// What was being done when the system refused.
    #[must_use]
    pub fn doing(what: &str, error: &io::Error) -> Self {
        Failure::Running(format!("{what}: {error}"))
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Bind(_) => Failure::Bind(error.to_string()),
            StartError::Setup(_) | StartError::Tls(_) => Failure::Usage(error.to_string()),
            StartError::IoUring(_) | StartError::Shard(_) => Failure::Running(error.to_string()),
        }
    }
}
