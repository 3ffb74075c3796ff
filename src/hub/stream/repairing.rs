//! How an RTP stream waits for what is missed, and takes what forward error correction brings.

use std::rc::{Rc, Weak};
use std::time::Duration;

use tokio::task::AbortHandle;
use tracing::{debug, warn};

use crate::hub::depacketizer::{Depacketizer, Pass};
use crate::hub::stream::Stream;
use crate::lan::interface::Interface;
use crate::lan::membership::Membership;
use crate::sys::batch::BATCH;

impl Stream {
    /// When packets have waited long enough.
    pub(super) fn overdue_at(&self) -> Option<Duration> {
        self.depacketizer.as_ref()?.borrow().deadline()
    }

    /// Passes on the packets that have waited long enough; whether there were any.
    pub(super) fn pass_overdue(&self, now: Duration) -> bool {
        let overdue = self.overdue_at().is_some_and(|at| at <= now);
        if overdue {
            self.pass_held(|rtp, pass| rtp.expire(now, pass));
        }
        overdue
    }

    /// Passes on what `of` says may be.
    pub(super) fn pass_held(&self, of: impl FnOnce(&mut Depacketizer, &mut Pass<'_>)) {
        let Some(rtp) = &self.depacketizer else { return };
        let mut turn = self.turn();
        of(&mut rtp.borrow_mut(), &mut |received| self.put(received, &mut turn));
        self.seal(turn.now);
    }

    /// Joins the groups of the FEC beside it, where it was asked for. Without them it goes on unrepaired.
    pub(super) fn join_fec(self: &Rc<Self>, interface: &Interface) -> Vec<(Rc<Membership>, AbortHandle)> {
        // That the ports exist was checked when the stream was asked for.
        let groups = self.key.transport.fec_groups(self.key.group).unwrap_or_default();
        let join = |group| {
            let joined = Membership::join(group, &self.key.filter, interface, self.receive_buffer.get());
            match joined {
                Ok(membership) => {
                    let membership = Rc::new(membership);
                    let receiving = receive_fec(Rc::downgrade(self), Rc::clone(&membership));
                    Some((membership, tokio::task::spawn_local(receiving).abort_handle()))
                }
                Err(error) => {
                    warn!(%error, "no forward error correction from there");
                    None
                }
            }
        };
        groups.into_iter().filter_map(join).collect()
    }

    /// Leaves them.
    pub(super) fn leave_fec(&self) {
        for (membership, task) in self.attachment.borrow_mut().fec.drain(..) {
            task.abort();
            membership.leave();
        }
    }

    fn drain_fec(&self, membership: &Membership) {
        let batch = Rc::clone(&self.settings.batch);
        let mut batch = batch.borrow_mut();
        match membership.receive(&mut batch) {
            Ok(count) => {
                if count < BATCH {
                    membership.emptied();
                }
                let now = self.now();
                let head = self.log.borrow().head_sequence();
                self.pass_held(|rtp, pass| {
                    for received in (0..count).map(|i| batch.received(i)) {
                        if membership.accepts(received.destination) {
                            rtp.take_fec(&received, now, pass);
                        } else {
                            rtp.refuse_fec();
                        }
                    }
                });
                self.flush_due(self.log.borrow().head_sequence() > head, now);
            }
            Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => debug!(%error, "receiving FEC"),
            Err(_) => {}
        }
    }
}

/// Takes the FEC of one membership; ends with it or the stream.
async fn receive_fec(stream: Weak<Stream>, membership: Rc<Membership>) {
    while membership.readable().await.is_ok() {
        let Some(stream) = stream.upgrade() else { return };
        stream.drain_fec(&membership);
        drop(stream);
        tokio::task::yield_now().await;
    }
}
