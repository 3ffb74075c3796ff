//! What a shard tells of its sessions, and what all of them tell together.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use tokio::sync::oneshot;
use tracing::info;

use crate::lan::interface::Interface;
use crate::model::status::{ClosedSession, GatewayStatus, RECENTLY_CLOSED, SessionStatus, Status, Totals};
use crate::sys::process;
use crate::web::ending::{Ending, OUR_MISTAKE};
use crate::web::facts::ShardCommand;
use crate::web::server::Server;

impl Server {
    /// Closes a session's books: one line for operators, one entry in the status.
    pub fn closed(&self, session: SessionStatus, ending: &Ending) {
        if ending.code == OUR_MISTAKE {
            self.facts.panics.fetch_add(1, Ordering::Relaxed);
        }
        let sums = session.sums();
        let (written, withheld, lost) = (sums.written, sums.withheld, sums.lost);
        let streams: Vec<String> = session
            .subscriptions
            .iter()
            .map(|books| format!("{}%{}", books.group, books.interface))
            .collect();
        info!(
            session = session.number,
            peer = session.peer,
            kind = session.kind,
            streams = streams.join(" "),
            seconds = session.seconds,
            bytes = session.bytes,
            written,
            withheld,
            lost_bytes = lost.bytes,
            lost_datagrams = lost.datagrams,
            lost_age = lost.age,
            lost_closed = lost.closed,
            sent = sums.sent,
            code = ending.code,
            by = ending.by.word(),
            reason = ending.reason,
            "session closed"
        );
        let session = ClosedSession {
            session,
            code: ending.code,
            reason: ending.reason.clone(),
            closed_by: ending.by.word(),
            closed_at: self.facts.started.elapsed().as_secs_f64(),
        };
        self.totals.borrow_mut().session_closed(&session);
        let mut closed = self.closed.borrow_mut();
        closed.push_front(session);
        closed.truncate(RECENTLY_CLOSED);
    }

    /// Counts a refusal under its HTTP status or close code.
    pub fn count_refusal(&self, code: u16) {
        *self.refused.borrow_mut().entry(code.to_string()).or_default() += 1;
    }

    /// Asks every shard, and adds it up.
    pub async fn gateway_status(&self) -> Status {
        let mut whole = self.shard_statuses().await;
        whole.settle();
        whole
    }

    /// The same with the copies of a stream each by itself, in no order.
    pub async fn shard_statuses(&self) -> Status {
        let (setup, configuration) = (self.setup(), self.facts.configuration());
        let mut whole = Status {
            gateway: GatewayStatus {
                version: env!("CARGO_PKG_VERSION"),
                id: self.facts.id.clone(),
                uptime_seconds: self.facts.started.elapsed().as_secs_f64(),
                listen: self.facts.listen.iter().map(|listener| listener.at.to_string()).collect(),
                threads: setup.config.threads.get(),
                memory_bound_bytes: setup.memory_bound,
                memory_resident_bytes: self.facts.pressure.resident(),
                memory_short: self.facts.pressure.is_high(),
                admission: self.facts.admission.status(),
                panics: self.facts.panics.load(Ordering::Relaxed),
                io_uring: self.facts.io_uring.clone(),
                draining: self.facts.draining.is_cancelled(),
                named_streams: setup.config.named_streams(),
                policy: setup.config.policy.status(),
                player: setup.player.is_some(),
                configuration,
            },
            interfaces: self.hub.interfaces().iter().map(Interface::status).collect(),
            linked: self.facts.linked().await,
            ..Status::default()
        };
        for shard in self.facts.shards.get().into_iter().flatten() {
            let (ask, answer) = oneshot::channel();
            if shard.send(ShardCommand::Status(ask)).await.is_ok()
                && let Ok(status) = answer.await
            {
                whole.absorb(status);
            }
        }
        let turned_away = self.facts.turned_away.lock().unwrap_or_else(PoisonError::into_inner);
        for (status, count) in turned_away.iter() {
            *whole.refused.entry(status.to_string()).or_default() += count;
        }
        whole
    }

    pub(super) fn status(&self) -> Status {
        let (streams, ended_streams) = self.hub.status();
        Status {
            streams,
            ended_streams,
            sessions: self
                .conversations
                .borrow()
                .iter()
                .map(|(_, conversation)| conversation.status())
                .collect(),
            closed: self.closed.borrow().iter().cloned().collect(),
            refused: self.refused.borrow().clone(),
            totals: self.totals(),
            tasks: self.tasks.len() as u64,
            ..Status::default()
        }
    }

    fn totals(&self) -> Totals {
        let mut totals = self.totals.borrow().clone();
        totals.absorb(self.hub.totals());
        totals.cpu_seconds.insert(self.shard, process::thread_cpu().as_secs_f64());
        totals
    }
}
