//! A raw client's write path, as its line sees it.

use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::web::egress::Egress;
use crate::web::ending::Ending;
use crate::web::line::WritePath;

impl WritePath for Egress {
    fn wake(&self) -> &Notify {
        &self.wake
    }

    fn attach(&self, socket: Rc<TcpStream>) {
        Egress::attach(self, socket);
    }

    fn resume(&self) {
        Egress::resume(self);
    }

    fn control(&self, frames: &[u8]) {
        Egress::control(self, frames);
    }

    fn end(&self, ending: Ending, frames: &[u8], answered: bool) {
        Egress::end(self, ending, frames, answered);
    }

    fn ending(&self) -> Option<Ending> {
        Egress::ending(self)
    }

    fn is_finished(&self) -> bool {
        Egress::is_finished(self)
    }

    fn is_dead(&self) -> bool {
        Egress::is_dead(self)
    }

    fn is_blocked(&self) -> bool {
        Egress::is_blocked(self)
    }

    fn is_choked(&self) -> bool {
        Egress::is_choked(self)
    }

    fn stalled_for(&self, now: Instant) -> Duration {
        Egress::stalled_for(self, now)
    }

    fn abandon(&self) {
        Egress::abandon(self);
    }
}
