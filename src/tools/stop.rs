//! When a command is asked to stop.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::tools::failure::Failure;

/// SIGINT or SIGTERM, or the end of a time.
#[derive(Debug)]
pub struct Stop {
    interrupt: Signal,
    terminate: Signal,
    after: Option<Duration>,
}

impl Stop {
    /// From now on the signals stop this, and no longer end the process by themselves. Inside a tokio runtime.
    ///
    /// # Errors
    /// [`Failure::Running`] where signals can't be had.
    pub fn at_signal() -> Result<Self, Failure> {
        let handler = |kind| signal(kind).map_err(|error| Failure::doing("waiting for signals", &error));
        let (interrupt, terminate) = (handler(SignalKind::interrupt())?, handler(SignalKind::terminate())?);
        Ok(Stop { interrupt, terminate, after: None })
    }

    /// Also when `after` has passed, if it is given; counted from when it is waited for.
    #[must_use]
    pub fn or_after(self, after: Option<Duration>) -> Self {
        Stop { after, ..self }
    }

    /// Waits for it.
    pub async fn wait(mut self) {
        let time = async {
            match self.after {
                Some(after) => tokio::time::sleep(after).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            () = time => {}
        }
    }
}
