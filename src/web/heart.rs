//! Whether a loop gets round: it is asked, and answers in its turn.

use tokio::sync::{mpsc, oneshot};

/// The side of a loop that asks whether it gets round.
#[derive(Clone, Debug)]
pub struct Pulse {
    ask: mpsc::Sender<oneshot::Sender<()>>,
}

/// The side that answers, one of the things that its loop waits for.
#[derive(Debug)]
pub struct Heart {
    asked: mpsc::Receiver<oneshot::Sender<()>>,
}

impl Pulse {
    /// Both sides.
    #[must_use]
    pub fn new() -> (Self, Heart) {
        let (ask, asked) = mpsc::channel(1);
        (Pulse { ask }, Heart { asked })
    }

    /// Asks, and waits for the answer; `None` where the loop has ended.
    pub async fn beats(&self) -> Option<()> {
        let (answer, beaten) = oneshot::channel();
        self.ask.send(answer).await.ok()?;
        beaten.await.ok()
    }
}

impl Heart {
    /// Waits to be asked, and answers. Cancelled without loss.
    pub async fn beat(&mut self) {
        match self.asked.recv().await {
            // Who asked may have lost patience.
            Some(answer) => drop(answer.send(())),
            None => std::future::pending().await,
        }
    }
}
