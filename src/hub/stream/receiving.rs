//! How a stream takes what comes and gives it to its subscribers.

use std::rc::{Rc, Weak};
use std::time::Duration;

use tracing::{debug, error};

use crate::hub::audience::Audience;
use crate::hub::containment::{Panicked, contain_now};
use crate::hub::stream::Stream;
use crate::lan::membership::Membership;
use crate::sys::batch::{BATCH, ReceiveBatch};

/// Batches taken in one turn at most, before the subscribers get theirs.
const ROUNDS: usize = 16;

/// Bytes of frames in one turn with which a write is large enough: nothing is gained by waiting for more.
const PLENTY: u64 = 64 << 10;

impl Stream {
    /// One turn: takes what the socket holds, then gives each subscriber its own; true when the next may begin at once.
    fn drain(&self, membership: &Membership) -> bool {
        let before = self.log.borrow().head();
        let mut batch = self.settings.batch.borrow_mut();
        let (mut more, mut any) = (true, false);
        for _ in 0..ROUNDS {
            match membership.receive(&mut batch) {
                Ok(count) => {
                    any = true;
                    self.publish(membership, &batch, count);
                    if count < BATCH {
                        membership.emptied();
                        more = false;
                        break;
                    }
                }
                Err(error) => {
                    // A readable socket may hold nothing after all (a bad checksum, found in the call).
                    if error.kind() != std::io::ErrorKind::WouldBlock {
                        debug!(%error, "receiving");
                    }
                    more = false;
                    break;
                }
            }
        }
        let now = self.now();
        let due = |audience: &Audience| any || audience.due().is_some_and(|due| due <= now);
        if due(&self.audience) {
            self.audience.flush(&self.log.borrow(), now);
        }
        if due(&self.record_audience) {
            self.record_audience.flush(self.records.borrow().log(), now);
        }
        self.measure();
        more || self.log.borrow().head() - before >= PLENTY
    }

    /// The subscribers have been written to.
    fn measure(&self) {
        let subscribers = self.audience.len() + self.record_audience.len();
        let gathered = self.audience.is_empty() && !self.settings.gathering.is_empty();
        self.settings.flushes.flushed(&self.unflushed, subscribers, gathered);
    }

    /// Writes to all subscribers at once, due or not.
    pub(super) fn flush_all(&self) {
        self.audience.flush_all(&self.log.borrow());
        self.record_audience.flush_all(self.records.borrow().log());
        self.settings.gathering.write_now();
        self.measure();
    }

    /// When the first subscriber who was passed over is due.
    fn due(&self) -> Option<Duration> {
        let dues = [self.audience.due(), self.record_audience.due()];
        dues.into_iter().flatten().min()
    }

    /// How long the stream may be left alone after a turn that took so long.
    fn hold_after(&self, took: Duration) -> Duration {
        let of = |audience: &Audience| (!audience.is_empty()).then(|| audience.hold_after(took));
        let holds = [of(&self.audience), of(&self.record_audience)];
        holds.into_iter().flatten().min().unwrap_or(Duration::ZERO)
    }

    pub(super) fn publish(&self, membership: &Membership, batch: &ReceiveBatch, count: usize) {
        let now = self.now();
        // Subscribers who keep up must not be overrun by a burst, be it of large datagrams or of many.
        let quarter = (self.bounds.get().bytes / 4, self.bounds.get().datagrams / 4);
        let mut appended = (0, 0);
        self.settings.echoes.refresh();
        if self.run.has_asked_for_records() {
            self.begin_records();
        }
        let with_records = self.records.borrow().is_wanted();
        for i in 0..count {
            let received = batch.received(i);
            if i == 0 {
                self.unflushed.add(count, received.arrival);
            }
            self.ledger.receive();
            if let Some(drops) = received.drops {
                self.ledger.kernel_dropped(drops);
            }
            if received.truncated {
                self.ledger.refuse_truncated();
                continue;
            }
            if !membership.accepts(received.destination) {
                self.ledger.refuse_wrong_destination();
                continue;
            }
            let length = received.payload.len();
            self.ledger.publish(length);
            let crowded = self.log.borrow().crowded(length);
            if let Some(keep) = crowded {
                self.evict(keep);
            }
            let sender = self.settings.echoes.sender_of(received.source);
            self.log.borrow_mut().append(received.payload, now, sender);
            if with_records {
                if self.records.borrow().is_full_for(length, sender) {
                    self.seal(now);
                }
                self.records.borrow_mut().put(&received, sender);
            }
            self.seen.borrow_mut().note(&received, now);
            appended = (appended.0 + length, appended.1 + 1);
            if appended.0 >= quarter.0 || appended.1 >= quarter.1 {
                self.seal(now);
                self.flush_all();
                appended = (0, 0);
            }
        }
        self.seal(now);
    }

    /// Ends the message of records that is being put together.
    fn seal(&self, now: Duration) {
        let crowded = self.records.borrow().crowded();
        if let Some(keep) = crowded {
            self.evict_records(keep);
        }
        self.records.borrow_mut().seal(now);
    }

    pub(super) fn evict(&self, keep: u64) {
        self.audience.evicting(&self.log.borrow(), keep);
        self.log.borrow_mut().forget_before(keep);
    }

    pub(super) fn evict_records(&self, keep: u64) {
        self.record_audience.evicting(self.records.borrow().log(), keep);
        self.records.borrow_mut().forget_before(keep);
    }
}

/// The stream's task: ends with the stream or its membership.
pub(super) async fn receive(stream: Weak<Stream>, membership: Rc<Membership>) {
    loop {
        let due = stream.upgrade().and_then(|stream| Some(stream.settings.epoch + stream.due()?));
        let ready = match due {
            None => membership.readable().await,
            Some(due) => tokio::select! {
                ready = membership.readable() => ready,
                () = tokio::time::sleep_until(due.into()) => Ok(()),
            },
        };
        let (Ok(()), Some(stream)) = (ready, stream.upgrade()) else { return };
        let before = stream.now();
        let drained = contain_now(|| stream.drain(&membership));
        let more = drained.unwrap_or_else(|Panicked(words)| {
            error!(panic = words, "a mistake of this program cost a stream some datagrams: please report it");
            false
        });
        let hold = stream.hold_after(stream.now().saturating_sub(before));
        let gathering = Rc::clone(&stream.settings.gathering);
        drop(stream);
        // Clients of several streams are written to by a task of their own; this one's pace is theirs too.
        gathering.over().await;
        if more || hold.is_zero() {
            // Under a steady load there is always more; the sessions must get their turn.
            tokio::task::yield_now().await;
        } else {
            // What comes meanwhile waits in the socket, and leaves in one write.
            tokio::time::sleep(hold).await;
        }
    }
}
