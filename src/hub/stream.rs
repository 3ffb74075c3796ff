//! A stream: the gateway's running copy of one membership. It outlives its membership when an interface goes away.

mod keyframes;
mod receiving;
mod repairing;
mod standing;

use std::cell::{Cell, Ref, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::AbortHandle;
use tracing::{Span, info, warn};

use crate::hub::audience::Audience;
use crate::hub::depacketizer::{Depacketizer, Patience};
use crate::hub::flushes::Unflushed;
use crate::hub::key::StreamKey;
use crate::hub::ledger::Ledger;
use crate::hub::log::{Log, LogBounds};
use crate::hub::outage::OutageBook;
use crate::hub::quota::Place;
use crate::hub::records::Records;
use crate::hub::run::Run;
use crate::hub::seen::Seen;
use crate::hub::settings::{StreamSettings, Tuning};
use crate::hub::stream::keyframes::Keyframes;
use crate::hub::subscription::{Encoding, Subscriber};
use crate::hub::twin::Twin;
use crate::lan::interface::{Interface, Interfaces};
use crate::lan::membership::{JoinError, KernelMemberships, Membership, OpenMembership, Remedy};
use crate::sys::netlink::Changes;

/// One running stream of a shard.
pub struct Stream {
    run: Arc<Run>,
    key: StreamKey,
    settings: StreamSettings,
    bounds: Cell<LogBounds>,
    receive_buffer: Cell<usize>,
    span: Span,
    log: RefCell<Log>,
    audience: Audience,
    records: RefCell<Records>,
    record_audience: Audience,
    attachment: RefCell<Attachment>,
    /// Where a player can begin, once somebody has asked.
    keyframes: RefCell<Option<Box<Keyframes>>>,
    /// Where it is RTP.
    depacketizer: Option<RefCell<Depacketizer>>,
    ledger: Ledger,
    unflushed: Unflushed,
    seen: RefCell<Seen>,
    outages_over: Cell<u64>,
    place: Place,
}

/// Where the stream is joined.
struct Attachment {
    /// The interface as last seen.
    interface: Option<Interface>,
    joined: Option<(Rc<Membership>, AbortHandle)>,
    /// The memberships that bring FEC, while it is joined.
    fec: Vec<(Rc<Membership>, AbortHandle)>,
    outages: OutageBook,
    granted: usize,
}

impl Stream {
    /// Starts the stream with its membership, or joins, or waits for the interface.
    ///
    /// # Errors
    /// [`JoinError`] where no change of the interface would help.
    pub fn start(
        twin: Twin,
        settings: StreamSettings,
        interfaces: &Interfaces,
    ) -> Result<Rc<Self>, JoinError> {
        let Twin { key, run, place, membership } = twin;
        let number = run.number();
        let stream = Rc::new(Stream {
            span: tracing::info_span!("stream", number, group = %key.group, interface = %key.interface),
            log: RefCell::new(Log::new(settings.log)),
            audience: Audience::new(settings.hold, settings.ring.clone()),
            records: RefCell::new(Records::new(number, settings.log)),
            record_audience: Audience::new(settings.hold, settings.ring.clone()),
            attachment: RefCell::new(Attachment {
                interface: None,
                joined: None,
                fec: Vec::new(),
                outages: OutageBook::default(),
                granted: 0,
            }),
            keyframes: RefCell::default(),
            depacketizer: Depacketizer::new(key.transport, settings.patience).map(RefCell::new),
            ledger: Ledger::default(),
            unflushed: Unflushed::default(),
            seen: RefCell::default(),
            outages_over: Cell::new(0),
            run,
            key,
            bounds: Cell::new(settings.log),
            receive_buffer: Cell::new(settings.receive_buffer),
            settings,
            place,
        });
        match interfaces.find(&stream.key.interface) {
            Some(interface) => {
                let joined = match membership.filter(|open| open.index() == interface.index) {
                    Some(open) => stream.take_up(open, interface),
                    None => stream.join(interface),
                };
                match joined {
                    Err(error) if error.remedy != Remedy::Interface => return Err(error),
                    Err(error) => stream.outage(error.to_string()),
                    Ok(()) => {}
                }
            }
            None => stream.outage_without(interfaces),
        }
        Ok(stream)
    }

    /// A copy of it for another shard, joined as it is.
    #[must_use]
    pub fn twin(&self) -> Twin {
        let attachment = self.attachment.borrow();
        let interface = attachment.interface.as_ref().filter(|_| attachment.joined.is_some());
        // Where it can't be had, the other shard tries and says why.
        let membership = interface.and_then(|interface| self.open(interface).ok());
        Twin { key: self.key.clone(), run: Arc::clone(&self.run), place: self.place.another(), membership }
    }

    /// Takes over what another configuration says. What a smaller log has no room for goes with the next datagram; another
    /// receive buffer is asked for when it is joined again.
    pub fn apply(&self, tuning: &Tuning) {
        let bounds = tuning.log_bounds();
        self.bounds.set(bounds);
        self.log.borrow_mut().set_bounds(bounds);
        self.records.borrow_mut().set_bounds(bounds);
        self.audience.set_hold(tuning.hold);
        self.record_audience.set_hold(tuning.hold);
        self.receive_buffer.set(tuning.receive_buffer);
        if let Some(rtp) = &self.depacketizer {
            rtp.borrow_mut().be(Patience::of(&tuning.limits));
        }
    }

    /// Its number.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.run.number()
    }

    /// What it was joined for.
    #[must_use]
    pub fn key(&self) -> &StreamKey {
        &self.key
    }

    /// Its log.
    #[must_use]
    pub fn log(&self) -> Ref<'_, Log> {
        self.log.borrow()
    }

    /// The log of its records, which is filled from the first subscriber to them on.
    #[must_use]
    pub fn records(&self) -> Ref<'_, Log> {
        Ref::map(self.records.borrow(), Records::log)
    }

    /// From now on its log of records is filled, for a subscriber who is about to come.
    pub fn begin_records(&self) {
        self.records.borrow_mut().begin(self.log.borrow().head_sequence());
    }

    /// Time on the clock that its logs use.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.settings.epoch.elapsed()
    }

    /// Name of the interface it is joined on, or was last, or waits for.
    #[must_use]
    pub fn interface(&self) -> String {
        let attachment = self.attachment.borrow();
        attachment
            .interface
            .as_ref()
            .map_or_else(|| self.key.interface.to_string(), |interface| interface.name.clone())
    }

    /// Adds a reader of one encoding, which keeps its cursor under `slot`; the answer is for [`Stream::unsubscribe`].
    pub fn subscribe(
        &self,
        encoding: Encoding,
        subscriber: Rc<dyn Subscriber>,
        slot: usize,
        latency: Option<Duration>,
    ) -> usize {
        self.run.enter(encoding);
        self.place.subscribed();
        self.audience_of(encoding).add(subscriber, slot, latency)
    }

    /// Takes a reader away.
    pub fn unsubscribe(&self, encoding: Encoding, place: usize) {
        self.audience_of(encoding).remove(place);
        self.place.unsubscribed();
        self.run.leave(encoding, Instant::now());
    }

    fn audience_of(&self, encoding: Encoding) -> &Audience {
        match encoding {
            Encoding::Raw => &self.audience,
            Encoding::Records => &self.record_audience,
        }
    }

    /// What it has in common with its copies on other shards.
    #[must_use]
    pub fn run(&self) -> &Run {
        &self.run
    }

    /// Whether it wants to be on an interface and is not.
    #[must_use]
    pub fn is_detached(&self) -> bool {
        self.attachment.borrow().joined.is_none()
    }

    /// Compares what is wanted with what is there, and leaves where that is not the same; whether it has left.
    ///
    /// All streams leave before the first joins again ([`Stream::rejoin`]). The kernel counts a host's members of a group
    /// on an interface: it reports the first join and the last leave only, and a socket that leaves a deleted interface
    /// is counted off the new one which has its index.
    pub fn leave_if_stale(
        self: &Rc<Self>,
        interfaces: &Interfaces,
        kernel: &KernelMemberships,
        changes: &Changes,
    ) -> bool {
        let Some(index) = self.attachment.borrow().joined.as_ref().map(|(joined, _)| joined.index()) else {
            return false;
        };
        let was_able = self.attachment.borrow().interface.as_ref().is_some_and(Interface::is_able);
        let Some(interface) = interfaces.find(&self.key.interface) else {
            self.detach();
            return true;
        };
        // A switch forgets the port while the carrier is away, and IPv4 sends no report by itself when it is back.
        let carrier_back = interface.is_able() && (!was_able || changes.overflow);
        let interrupted = interface.is_able() && was_able && changes.interrupted.contains(&index);
        let same = index == interface.index
            && !changes.deleted.contains(&index)
            && kernel.hold(self.key.group, index);
        if same && !carrier_back && !interrupted {
            return false;
        }
        self.detach();
        if !same {
            self.outage("the membership was lost with its interface".to_owned());
        } else if interrupted {
            self.outage("the carrier was lost for a moment".to_owned());
        }
        true
    }

    /// Joins where it is not joined and can be; takes note of the interface's state where it is.
    pub fn rejoin(self: &Rc<Self>, interfaces: &Interfaces) {
        match interfaces.find(&self.key.interface) {
            None => self.outage_without(interfaces),
            Some(interface) if self.is_detached() => self.try_join(interface),
            Some(interface) => self.attached_to(interface),
        }
    }

    /// Each tick: forgets what is too old and counts what the kernel dropped.
    pub fn tick(&self) {
        let aged = self.log.borrow().aged(self.now());
        if let Some(keep) = aged {
            self.evict(keep);
        }
        let aged = self.records.borrow().aged(self.now());
        if let Some(keep) = aged {
            self.evict_records(keep);
        }
        // On all shards, and for a while longer: whoever comes back after a short break goes on where it was.
        if self.run.wants_records(self.bounds.get().age, Instant::now()) {
            self.begin_records();
        } else if self.records.borrow().is_wanted() {
            self.records.borrow_mut().end();
        }
        if let Some((membership, _)) = &self.attachment.borrow().joined {
            self.ledger.kernel_dropped(membership.drops());
        }
    }

    /// Joins, or waits with the reason.
    fn try_join(self: &Rc<Self>, interface: &Interface) {
        if let Err(error) = self.join(interface) {
            self.outage(error.to_string());
        }
    }

    fn open(&self, interface: &Interface) -> Result<OpenMembership, JoinError> {
        OpenMembership::join(self.key.group, &self.key.filter, interface, self.receive_buffer.get())
    }

    fn join(self: &Rc<Self>, interface: &Interface) -> Result<(), JoinError> {
        self.take_up(self.open(interface)?, interface)
    }

    fn take_up(self: &Rc<Self>, open: OpenMembership, interface: &Interface) -> Result<(), JoinError> {
        let _entered = self.span.enter();
        let membership = Rc::new(open.take_up(interface)?);
        let granted = membership.receive_buffer();
        if self.attachment.borrow().granted != granted {
            membership.warn_of_small_buffer(self.receive_buffer.get());
        }
        info!(interface = interface.name, index = interface.index, "joined");
        let receiving = receiving::receive(Rc::downgrade(self), Rc::clone(&membership));
        let task = tokio::task::spawn_local(receiving).abort_handle();
        self.ledger.new_socket();
        let fec = self.join_fec(interface);
        {
            let mut attachment = self.attachment.borrow_mut();
            attachment.joined = Some((membership, task));
            attachment.fec = fec;
            attachment.granted = granted;
        }
        self.attached_to(interface);
        Ok(())
    }

    /// Takes note of the interface's state while joined on it.
    fn attached_to(&self, interface: &Interface) {
        if interface.is_able() {
            let mut attachment = self.attachment.borrow_mut();
            if let Some(lasted) = attachment.outages.end(Instant::now()) {
                self.outages_over.set(self.outages_over.get() + 1);
                let _entered = self.span.enter();
                info!(interface = interface.name, seconds = lasted.as_secs_f64(), "interface is back");
            }
        } else {
            let what = if interface.up { "has no carrier" } else { "is down" };
            self.outage(format!("interface {} {what}", interface.name));
        }
        self.attachment.borrow_mut().interface = Some(interface.clone());
    }

    fn outage_without(&self, interfaces: &Interfaces) {
        self.outage(format!("no interface {}; there are: {}", self.key.interface, interfaces.names()));
    }

    fn outage(&self, why: String) {
        let _entered = self.span.enter();
        let reason = why.clone();
        if self.attachment.borrow_mut().outages.begin(why, Instant::now()) {
            warn!(reason, "waiting for the interface");
        }
    }

    /// Gives up the membership: what its socket still holds is taken, what it dropped is counted.
    fn detach(self: &Rc<Self>) {
        let Some((membership, task)) = self.attachment.borrow_mut().joined.take() else { return };
        task.abort();
        self.leave_fec();
        // At once: the task gives up its share of the socket only when it is polled for the last time.
        membership.leave();
        let batch = Rc::clone(&self.settings.batch);
        let mut batch = batch.borrow_mut();
        while let Ok(count) = membership.receive_rest(&mut batch) {
            self.publish(&membership, &batch, count);
        }
        drop(batch);
        self.pass_held(Depacketizer::flush);
        self.flush_all();
        self.ledger.kernel_dropped(membership.drops());
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let attachment = self.attachment.get_mut();
        for (_, task) in attachment.joined.take().into_iter().chain(attachment.fec.drain(..)) {
            task.abort();
        }
        if attachment.interface.is_none() {
            // It was never joined.
            return;
        }
        let _entered = self.span.enter();
        info!(received = self.ledger.received(), lost_kernel = self.ledger.kernel_drops(), "left");
    }
}
