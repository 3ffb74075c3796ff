//! What systemd is told, where it has started this program (`sd_notify(3)`); nothing anywhere else.

use std::time::Duration;

use sd_notify::NotifyState;
use tracing::warn;

use crate::gateway::vitals::Vitals;

/// The gateway runs and can be connected to.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// A reload begins; [`ready`] says that it is over, whatever came of it.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now, NotifyState::Status("reloading")]),
        Err(error) => warn!(%error, "reading the monotonic clock"),
    }
}

/// The gateway is stopping.
pub fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("draining: no new connections, sessions are closed")]);
}

/// Says that the gateway is alive for as long as every shard and every listener gets round, where systemd wants to know.
pub async fn keep_watch(vitals: Vitals) {
    let Some(limit) = sd_notify::watchdog_enabled() else { return };
    // Asked three times in the time that systemd allows, so that one late answer does no harm.
    let every = limit / 3;
    let mut ticks = tokio::time::interval(every.max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match vitals.check(every).await {
            Ok(()) => tell(&[NotifyState::Watchdog]),
            Err(stuck) => warn!("{stuck} does not answer: systemd is not told that all is well"),
        }
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        warn!(%error, "telling systemd");
    }
}
