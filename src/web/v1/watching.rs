//! Clients who watch the gateway's status: it is written once for all of them.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::value::RawValue;

use crate::model::control::{Notice, SHORTEST_WATCH, StatusNotice};
use crate::web::server::Server;
use crate::web::v1::egress::Egress;

/// The status as it was written last, on one shard.
#[derive(Default)]
pub struct Watching {
    newest: RefCell<Option<(Instant, Rc<RawValue>)>>,
}

impl Watching {
    /// The status, no older than the shortest time that can be asked for; `None` where it can't be written.
    async fn status(&self, server: &Server) -> Option<Rc<RawValue>> {
        if let Some((at, text)) = &*self.newest.borrow()
            && at.elapsed() < SHORTEST_WATCH
        {
            return Some(Rc::clone(text));
        }
        let status = server.gateway_status().await;
        let text: Rc<RawValue> = serde_json::value::to_raw_value(&status).ok()?.into();
        self.newest.replace(Some((Instant::now(), Rc::clone(&text))));
        Some(text)
    }
}

/// Tells the status for as long as it is polled. A client that does not read gets the newest only.
pub async fn watch(server: Rc<Server>, egress: Rc<Egress>, id: Option<u64>, interval: Duration) {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Some(status) = server.watching().status(&server).await {
            let text = Notice::Status(StatusNotice { id, status: &status }).encode();
            egress.tell_newest(text.as_bytes());
        }
    }
}
