//! Those who read one stream: who is written to, and when.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use slab::Slab;

use crate::hub::containment::contain_now;
use crate::hub::log::Log;
use crate::hub::subscription::{Offer, Subscriber};
use crate::sys::socket;
use crate::sys::uring::{Send, SendRing};

/// The longest adaptive hold.
const ADAPTIVE: Duration = Duration::from_millis(5);
/// A flush shorter than this is followed by no hold: few clients shall not wait for nothing.
const SHORT: Duration = Duration::from_micros(100);
/// The runtime's timers tick once in this time and go off at the tick after their time has come: what is waited for is
/// less by as much, so that an adaptive hold is no longer than it says.
const TIMER_TICK: Duration = Duration::from_millis(1);
/// Sends handed to the ring at once.
const OFFERS: usize = 128;

/// The subscribers of a stream.
pub struct Audience {
    members: RefCell<Slab<Member>>,
    ring: Option<Rc<RefCell<SendRing>>>,
    /// The hold of members who ask for none; `None` for the adaptive one.
    hold: Cell<Option<Duration>>,
    /// The shortest hold that a member has, and whether any is adaptive.
    pace: Cell<(Option<Duration>, bool)>,
    /// When the first of those who were passed over is due, on the clock of the log.
    due: Cell<Option<Duration>>,
}

struct Member {
    subscriber: Rc<dyn Subscriber>,
    slot: usize,
    /// The hold that it asked for.
    latency: Option<Duration>,
    hold: Option<Duration>,
    due: Cell<Duration>,
}

impl Audience {
    /// Nobody yet.
    #[must_use]
    pub fn new(hold: Option<Duration>, ring: Option<Rc<RefCell<SendRing>>>) -> Self {
        Audience {
            members: RefCell::default(),
            ring,
            hold: Cell::new(hold),
            pace: Cell::new((None, false)),
            due: Cell::new(None),
        }
    }

    /// Adds a reader, which keeps its cursor under `slot` and lets datagrams be held for `latency`.
    pub fn add(&self, subscriber: Rc<dyn Subscriber>, slot: usize, latency: Option<Duration>) -> usize {
        let hold = latency.or(self.hold.get());
        let member = Member { subscriber, slot, latency, hold, due: Cell::new(Duration::ZERO) };
        let place = self.members.borrow_mut().insert(member);
        self.set_pace();
        place
    }

    /// Takes a reader away.
    pub fn remove(&self, place: usize) {
        self.members.borrow_mut().try_remove(place);
        self.set_pace();
    }

    /// Another hold for those who ask for none.
    pub fn set_hold(&self, hold: Option<Duration>) {
        self.hold.set(hold);
        for (_, member) in self.members.borrow_mut().iter_mut() {
            member.hold = member.latency.or(hold);
        }
        self.set_pace();
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.borrow().len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.borrow().is_empty()
    }

    /// Writes to everybody who is due at `now`.
    pub fn flush(&self, log: &Log, now: Duration) {
        let members = self.members.borrow();
        self.due.set(None);
        let due = |member: &Member| match member.hold {
            Some(hold) if !hold.is_zero() => {
                if member.due.get() > now {
                    let first = self.due.get().map_or(member.due.get(), |first| first.min(member.due.get()));
                    self.due.set(Some(first));
                    return false;
                }
                member.due.set(now + hold);
                true
            }
            _ => true,
        };
        self.write(log, members.iter().map(|(_, member)| member).filter(|member| due(member)));
    }

    /// Writes to everybody, due or not.
    pub fn flush_all(&self, log: &Log) {
        self.due.set(None);
        let members = self.members.borrow();
        self.write(log, members.iter().map(|(_, member)| member));
    }

    /// Tells everybody that frames before `keep` go away.
    pub fn evicting(&self, log: &Log, keep: u64) {
        for (_, member) in self.members.borrow().iter() {
            member.contain(|| member.subscriber.evicting(log, member.slot, keep));
        }
    }

    /// When somebody who was passed over is due.
    #[must_use]
    pub fn due(&self) -> Option<Duration> {
        self.due.get()
    }

    /// How long the stream may be left alone after a flush that took so long: as long again where the members leave it
    /// to us, so that the write path takes half a core at most and those who come together share.
    #[must_use]
    pub fn hold_after(&self, took: Duration) -> Duration {
        let (shortest, adaptive) = self.pace.get();
        let hold = match (adaptive, shortest) {
            (false, shortest) => shortest.unwrap_or(Duration::ZERO),
            (true, shortest) => took.min(ADAPTIVE).min(shortest.unwrap_or(ADAPTIVE)),
        };
        if !adaptive {
            return hold;
        }
        adaptive_wait(hold)
    }

    fn set_pace(&self) {
        let members = self.members.borrow();
        let shortest = members.iter().filter_map(|(_, member)| member.hold).min();
        self.pace.set((shortest, members.iter().any(|(_, member)| member.hold.is_none())));
    }

    fn write<'a>(&'a self, log: &Log, members: impl Iterator<Item = &'a Member>) {
        match &self.ring {
            Some(ring) if self.len() > 1 && ring.borrow().is_open() => {
                write_together(&mut ring.borrow_mut(), log, members);
            }
            _ => {
                for member in members {
                    member.contain(|| write_alone(log, member));
                }
            }
        }
    }
}

impl Member {
    /// What is done for this member; a panic in it is this member's end alone.
    fn contain<T>(&self, work: impl FnOnce() -> T) -> Option<T> {
        let done = contain_now(work);
        if done.is_err() {
            // One that fails at this too stays as it is: there is nothing left to do for it.
            let _ = contain_now(|| self.subscriber.fail());
        }
        done.ok()
    }
}

/// Writes to one member. What is one send needs nothing of the runtime.
fn write_alone(log: &Log, member: &Member) {
    match member.subscriber.offer(log, member.slot) {
        Some(offer) => {
            let (offered, result) = (offer.bytes.len(), socket::send(offer.socket, offer.bytes));
            member.subscriber.sent(log, member.slot, offered, result);
        }
        None => member.subscriber.flush(log, member.slot),
    }
}

/// What is to be waited for an adaptive hold.
#[must_use]
pub fn adaptive_wait(hold: Duration) -> Duration {
    let hold = hold.min(ADAPTIVE);
    if hold < SHORT { Duration::ZERO } else { hold.saturating_sub(TIMER_TICK).max(SHORT) }
}

/// Writes to all `members` with as few system calls as the ring allows.
fn write_together<'a>(ring: &mut SendRing, log: &Log, mut members: impl Iterator<Item = &'a Member>) {
    loop {
        let mut batch: [Option<(&Member, Offer<'_>)>; OFFERS] = [None; OFFERS];
        let mut count = 0;
        for member in members.by_ref() {
            match member.contain(|| member.subscriber.offer(log, member.slot)).flatten() {
                Some(offer) => {
                    batch[count] = Some((member, offer));
                    count += 1;
                    if count == OFFERS {
                        break;
                    }
                }
                None => {
                    member.contain(|| member.subscriber.flush(log, member.slot));
                }
            }
        }
        let Some((_, first)) = batch[0] else { return };
        let mut sends = [Send { socket: first.socket, bytes: first.bytes }; OFFERS];
        for (send, (_, offer)) in sends.iter_mut().zip(batch.iter().flatten()) {
            *send = Send { socket: offer.socket, bytes: offer.bytes };
        }
        let mut results = [0; OFFERS];
        ring.send(&sends[..count], &mut results[..count]);
        for ((member, offer), result) in batch.iter().flatten().zip(results) {
            member.contain(|| member.subscriber.sent(log, member.slot, offer.bytes.len(), result));
        }
        if count < OFFERS {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::log::LogBounds;

    const MS: Duration = Duration::from_millis(1);

    #[derive(Default)]
    struct Counter {
        flushes: Cell<u32>,
    }

    impl Subscriber for Counter {
        fn flush(&self, _: &Log, _: usize) {
            self.flushes.set(self.flushes.get() + 1);
        }
        fn evicting(&self, _: &Log, _: usize, _: u64) {}
        fn fail(&self) {}
    }

    /// Panics whenever it is called, and counts how often it was told.
    #[derive(Default)]
    struct Broken {
        told: Cell<u32>,
    }

    impl Subscriber for Broken {
        fn flush(&self, _: &Log, _: usize) {
            panic!("a mistake in the write path");
        }
        fn evicting(&self, _: &Log, _: usize, _: u64) {
            panic!("a mistake in moving on");
        }
        fn fail(&self) {
            self.told.set(self.told.get() + 1);
        }
    }

    #[test]
    fn a_panic_for_one_member_is_nothing_to_the_others() {
        let audience = Audience::new(Some(Duration::ZERO), None);
        let (before, broken, behind) =
            (Rc::new(Counter::default()), Rc::new(Broken::default()), Rc::new(Counter::default()));
        audience.add(Rc::clone(&before) as _, 0, None);
        audience.add(Rc::clone(&broken) as _, 0, None);
        audience.add(Rc::clone(&behind) as _, 0, None);
        audience.flush(&log(), MS);
        audience.evicting(&log(), 1);
        audience.flush_all(&log());
        assert_eq!((before.flushes.get(), broken.told.get(), behind.flushes.get()), (2, 3, 2));
    }

    fn log() -> Log {
        Log::new(LogBounds { bytes: 1 << 20, datagrams: 10, age: MS })
    }

    #[test]
    fn members_wait_for_their_own_latency_and_no_longer() {
        let audience = Audience::new(Some(Duration::ZERO), None);
        let (prompt, patient) = (Rc::new(Counter::default()), Rc::new(Counter::default()));
        audience.add(Rc::clone(&prompt) as _, 0, None);
        audience.add(Rc::clone(&patient) as _, 0, Some(20 * MS));
        for now in [100, 101, 110, 119] {
            audience.flush(&log(), now * MS);
        }
        assert_eq!((prompt.flushes.get(), patient.flushes.get()), (4, 1));
        assert_eq!(audience.due(), Some(120 * MS));
        audience.flush(&log(), 120 * MS);
        assert_eq!((patient.flushes.get(), audience.due()), (2, None));
        audience.flush(&log(), 121 * MS);
        audience.flush_all(&log());
        assert_eq!((patient.flushes.get(), audience.due()), (3, None));
    }

    #[test]
    fn the_hold_is_as_long_as_the_flush_unless_somebody_is_in_a_hurry() {
        let adaptive = Audience::new(None, None);
        adaptive.add(Rc::new(Counter::default()), 0, None);
        assert_eq!(adaptive.hold_after(SHORT / 2), Duration::ZERO);
        assert_eq!(adaptive.hold_after(2 * SHORT), SHORT);
        assert_eq!(adaptive.hold_after(2 * MS), 2 * MS - TIMER_TICK);
        assert_eq!(adaptive.hold_after(20 * MS), ADAPTIVE - TIMER_TICK);
        let patient = adaptive.add(Rc::new(Counter::default()), 0, Some(50 * MS));
        assert_eq!(adaptive.hold_after(2 * MS), 2 * MS - TIMER_TICK);
        adaptive.add(Rc::new(Counter::default()), 0, Some(Duration::ZERO));
        assert_eq!(adaptive.hold_after(2 * MS), Duration::ZERO);
        adaptive.remove(patient);
        let fixed = Audience::new(Some(20 * MS), None);
        fixed.add(Rc::new(Counter::default()), 0, None);
        assert_eq!(fixed.hold_after(MS), 20 * MS);
    }
}
