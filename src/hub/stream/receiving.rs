//! How a stream takes what comes and gives it to its subscribers.

use std::rc::{Rc, Weak};
use std::time::Duration;

use tracing::{debug, error};

use crate::hub::audience::Audience;
use crate::hub::containment::{Panicked, contain_now};
use crate::hub::stream::Stream;
use crate::lan::membership::Membership;
use crate::sys::batch::{BATCH, ReceiveBatch, Received};

/// Batches taken in one turn at most, before the subscribers get theirs.
const ROUNDS: usize = 16;

/// Bytes of frames in one turn with which a write is large enough: nothing is gained by waiting for more.
const PLENTY: u64 = 64 << 10;

/// What holds for the datagrams of one batch.
pub(super) struct Turn {
    pub(super) now: Duration,
    with_records: bool,
    /// Bytes and datagrams after which subscribers get theirs: those who keep up must not be overrun by a burst, be it of
    /// large datagrams or of many.
    quarter: (usize, usize),
    /// Bytes and datagrams since they last did.
    appended: (usize, usize),
}

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
        any |= self.pass_overdue(now);
        self.flush_due(any, now);
        more || self.log.borrow().head() - before >= PLENTY
    }

    /// Writes to the subscribers that are due; to all with nothing to wait for where there is `any` datagram.
    pub(super) fn flush_due(&self, any: bool, now: Duration) {
        let due = |audience: &Audience| any || audience.due().is_some_and(|due| due <= now);
        if due(&self.audience) {
            self.audience.flush(&self.log.borrow(), now);
        }
        if due(&self.record_audience) {
            self.record_audience.flush(self.records.borrow().log(), now);
        }
        self.measure();
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
        let dues = [self.audience.due(), self.record_audience.due(), self.overdue_at()];
        dues.into_iter().flatten().min()
    }

    /// How long the stream may be left alone after a turn that took so long.
    fn hold_after(&self, took: Duration) -> Duration {
        let of = |audience: &Audience| (!audience.is_empty()).then(|| audience.hold_after(took));
        let holds = [of(&self.audience), of(&self.record_audience)];
        holds.into_iter().flatten().min().unwrap_or(Duration::ZERO)
    }

    pub(super) fn publish(&self, membership: &Membership, batch: &ReceiveBatch, count: usize) {
        let mut turn = self.turn();
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
            match &self.depacketizer {
                None => self.put(&received, &mut turn),
                Some(rtp) => {
                    rtp.borrow_mut().take(&received, turn.now, &mut |received| self.put(received, &mut turn));
                }
            }
        }
        self.seal(turn.now);
    }

    /// What is to be known before datagrams are put into the logs.
    pub(super) fn turn(&self) -> Turn {
        self.settings.echoes.refresh();
        if self.run.has_asked_for_records() {
            self.begin_records();
        }
        Turn {
            now: self.now(),
            with_records: self.records.borrow().is_wanted(),
            quarter: (self.bounds.get().bytes / 4, self.bounds.get().datagrams / 4),
            appended: (0, 0),
        }
    }

    /// Puts one datagram into the logs.
    pub(super) fn put(&self, received: &Received<'_>, turn: &mut Turn) {
        let (length, now) = (received.payload.len(), turn.now);
        self.ledger.publish(length);
        let crowded = self.log.borrow().crowded(length);
        if let Some(keep) = crowded {
            self.evict(keep);
        }
        let sender = self.settings.echoes.sender_of(received.source);
        self.log.borrow_mut().append(received.payload, now, sender);
        if turn.with_records {
            if self.records.borrow().is_full_for(length, sender) {
                self.seal(now);
            }
            self.records.borrow_mut().put(received, sender);
        }
        self.seen.borrow_mut().note(received, now);
        turn.appended = (turn.appended.0 + length, turn.appended.1 + 1);
        if turn.appended.0 >= turn.quarter.0 || turn.appended.1 >= turn.quarter.1 {
            self.seal(now);
            self.flush_all();
            turn.appended = (0, 0);
        }
    }

    /// Ends the message of records that is being put together.
    pub(super) fn seal(&self, now: Duration) {
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
