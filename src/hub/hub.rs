//! The registry of a shard's streams: the only place that joins, counts references and reconciles.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::io;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::sync::Notify;
use tracing::warn;

use crate::hub::budget::{Lease, SharedBudget};
use crate::hub::cursor::{LagBounds, ReplayBounds};
use crate::hub::depacketizer::Patience;
use crate::hub::echo::Echoes;
use crate::hub::flushes::Flushes;
use crate::hub::gathering::Gathering;
use crate::hub::key::StreamKey;
use crate::hub::quota::Quota;
use crate::hub::run::Run;
use crate::hub::sender::{SendRates, Sender, SenderKey, SessionRate};
use crate::hub::settings::{HubSettings, StreamSettings, Tuning};
use crate::hub::stream::Stream;
use crate::hub::subscribe_error::SubscribeError;
use crate::hub::twin::Twin;
use crate::lan::interface::Interfaces;
use crate::lan::membership::{JoinError, KernelMemberships};
use crate::lan::transmit::TransmitError;
use crate::model::bucket::TokenBucket;
use crate::model::group::Group;
use crate::model::selector::InterfaceSelector;
use crate::model::setting::IoUring;
use crate::model::status::{RECENTLY_CLOSED, StreamStatus, Totals};
use crate::sys::batch::ReceiveBatch;
use crate::sys::netlink::{Changes, InterfaceEvents};
use crate::sys::uring::SendRing;

/// One shard's streams and senders.
pub struct Hub {
    settings: HubSettings,
    tuning: RefCell<Rc<Tuning>>,
    quota: Arc<Quota>,
    streams: RefCell<HashMap<StreamKey, Rc<Stream>>>,
    ended: RefCell<VecDeque<StreamStatus>>,
    senders: RefCell<Vec<Weak<Sender>>>,
    group_leases: RefCell<HashMap<Group, Weak<Lease>>>,
    gateway_lease: Rc<Lease>,
    bandwidth_lease: Rc<Lease>,
    interfaces: RefCell<Interfaces>,
    echoes: Rc<Echoes>,
    batch: Rc<RefCell<ReceiveBatch>>,
    ring: Option<Rc<RefCell<SendRing>>>,
    gathering: Rc<Gathering>,
    flushes: Rc<Flushes>,
    totals: RefCell<Totals>,
    epoch: Instant,
    last_retry: Cell<Option<Instant>>,
    retry: Notify,
}

/// Why there is no sender.
#[derive(Debug, Error)]
pub enum SenderError {
    /// The interface isn't there.
    #[error("no interface {0}; there are: {1}")]
    NoInterface(InterfaceSelector, String),
    /// The socket could not be made.
    #[error(transparent)]
    Transmit(#[from] TransmitError),
}

/// How long after a change the hub looks: what comes together is looked at together.
const DEBOUNCE: Duration = Duration::from_millis(50);
/// A look without any event, should one have been missed.
const SAFETY_NET: Duration = Duration::from_secs(5);
/// Between tries to join where a join has failed.
const RETRY: Duration = Duration::from_millis(500);

impl Hub {
    /// A hub without streams.
    #[must_use]
    pub fn new(settings: HubSettings, quota: Arc<Quota>) -> Rc<Self> {
        let lease = |shared: &Arc<SharedBudget>| Rc::new(Lease::new(Arc::clone(shared)));
        let tuning = Rc::new(settings.tuning.clone());
        let (ring, flushes) = (ring(settings.io_uring), Rc::<Flushes>::default());
        let echoes = Rc::new(Echoes::of(Arc::clone(&settings.senders)));
        let hub = Rc::new(Hub {
            gateway_lease: lease(&quota.send_rate),
            bandwidth_lease: lease(&quota.send_bandwidth),
            quota,
            gathering: Rc::new(Gathering::new(ring.clone(), Rc::clone(&flushes), tuning.hold.is_none())),
            flushes,
            totals: RefCell::default(),
            ring,
            tuning: RefCell::new(tuning),
            settings,
            streams: RefCell::default(),
            ended: RefCell::default(),
            senders: RefCell::default(),
            group_leases: RefCell::default(),
            interfaces: RefCell::default(),
            echoes,
            batch: Rc::default(),
            epoch: Instant::now(),
            last_retry: Cell::new(None),
            retry: Notify::new(),
        });
        hub.look();
        hub
    }

    /// The interfaces as they are now.
    #[must_use]
    pub fn interfaces(&self) -> Interfaces {
        self.look();
        self.interfaces.borrow().clone()
    }

    /// The clients with several streams.
    #[must_use]
    pub fn gathering(&self) -> &Rc<Gathering> {
        &self.gathering
    }

    /// Writes to clients with several streams for as long as it is polled.
    pub async fn write_gathered(self: Rc<Self>) {
        Rc::clone(&self.gathering).run().await;
    }

    /// Takes over what another configuration says; running streams go on.
    pub fn apply(&self, tuning: Tuning) {
        self.gathering.set_adaptive(tuning.hold.is_none());
        for stream in self.streams.borrow().values() {
            stream.apply(&tuning);
        }
        self.tuning.replace(Rc::new(tuning));
    }

    /// How far a client that comes now may lag.
    #[must_use]
    pub fn lag_bounds(&self) -> LagBounds {
        self.tuning.borrow().lag_bounds()
    }

    /// How much a late joiner may ask for.
    #[must_use]
    pub fn replay_bounds(&self) -> ReplayBounds {
        let limits = &self.tuning.borrow().limits;
        ReplayBounds { bytes: limits.replay_bytes as u64, age: limits.replay_age }
    }

    /// Finds the stream, or starts it, on all shards. Its subscribers are added by
    /// [`crate::hub::subscription::Subscription::new`].
    ///
    /// # Errors
    /// [`SubscribeError`] when a new stream would be more than may be joined, or can't be joined.
    pub fn stream(&self, key: &StreamKey) -> Result<Rc<Stream>, SubscribeError> {
        self.take_up_twins();
        self.quota.room_to_subscribe()?;
        if let Some(stream) = self.running(key) {
            return Ok(stream);
        }
        let place = self.quota.place(key, Instant::now())?;
        self.look();
        let run = Arc::new(Run::new(self.quota.number(), Instant::now()));
        let stream = self.start(Twin { key: key.clone(), run, place, membership: None })?;
        for (shard, nursery) in self.settings.nurseries.iter().enumerate() {
            if shard != self.settings.shard {
                nursery.leave(stream.twin());
            }
        }
        Ok(stream)
    }

    /// Takes up the streams that other shards start, for as long as it is polled.
    pub async fn follow_twins(self: Rc<Self>) {
        let Some(nursery) = self.settings.nurseries.get(self.settings.shard) else { return };
        loop {
            nursery.arrived().await;
            self.take_up_twins();
        }
    }

    /// Opens a sender. That its group may be sent to has been decided by the caller.
    ///
    /// # Errors
    /// [`SenderError`].
    pub fn sender(&self, key: SenderKey) -> Result<Rc<Sender>, SenderError> {
        self.sender_within(key, self.session_rate(Instant::now()))
    }

    /// The rate of a new session, where there is one.
    #[must_use]
    pub fn session_rate(&self, now: Instant) -> Option<SessionRate> {
        let rate = u64::from(self.tuning.borrow().limits.send_rate_per_session?);
        Some(Rc::new(RefCell::new(TokenBucket::new(rate, rate * 2, now))))
    }

    /// As [`Hub::sender`], within the rate of a session that may have several.
    ///
    /// # Errors
    /// [`SenderError`].
    pub fn sender_within(
        &self,
        key: SenderKey,
        session: Option<SessionRate>,
    ) -> Result<Rc<Sender>, SenderError> {
        self.look();
        let now = Instant::now();
        let rates = SendRates {
            session,
            group: self.group_lease(key.group, now),
            gateway: Rc::clone(&self.gateway_lease),
            bandwidth: Rc::clone(&self.bandwidth_lease),
        };
        let interfaces = self.interfaces.borrow();
        let interface = interfaces
            .find(&key.interface)
            .ok_or_else(|| SenderError::NoInterface(key.interface.clone(), interfaces.names()))?;
        let sender = Rc::new(Sender::open(key, interface, Rc::clone(&self.echoes), rates)?);
        self.senders.borrow_mut().push(Rc::downgrade(&sender));
        Ok(sender)
    }

    /// Follows the interfaces for as long as it is polled.
    pub async fn follow_interfaces(self: Rc<Self>) {
        loop {
            let events = match InterfaceEvents::open() {
                Ok(events) => Some(events),
                Err(error) => {
                    warn!(%error, "opening a netlink socket: interfaces are looked at every 5 s only");
                    None
                }
            };
            loop {
                match self.next_changes(events.as_ref()).await {
                    Ok(changes) => self.reconcile(&changes).await,
                    Err(error) => {
                        warn!(%error, "reading interface changes: opening the netlink socket anew");
                        tokio::time::sleep(RETRY).await;
                        break;
                    }
                }
            }
        }
    }

    /// Each quarter of a second: ages logs, counts drops, tries failed joins again, leaves what nobody wants.
    pub fn tick(&self) {
        let over: Vec<StreamKey> = {
            let streams = self.streams.borrow();
            for stream in streams.values() {
                stream.tick();
            }
            let (linger, now) = (self.tuning.borrow().linger, Instant::now());
            let over = streams.iter().filter(|(_, stream)| stream.run().is_over(linger, now));
            over.map(|(key, _)| key.clone()).collect()
        };
        for key in over {
            self.end(&key);
        }
        let due = self.last_retry.get().is_none_or(|last| last.elapsed() >= RETRY);
        if due && self.streams.borrow().values().any(|stream| stream.is_detached()) {
            self.last_retry.set(Some(Instant::now()));
            // Not here: what was joined among changes that were not read yet would seem to have suffered them.
            self.retry.notify_one();
        }
    }

    /// Leaves all groups.
    pub fn end_all(&self) {
        let keys: Vec<StreamKey> = self.streams.borrow().keys().cloned().collect();
        for key in keys {
            self.end(&key);
        }
    }

    /// The books of its streams, running and ended.
    #[must_use]
    pub fn status(&self) -> (Vec<StreamStatus>, Vec<StreamStatus>) {
        let running = self.streams.borrow().values().map(|stream| stream.status()).collect();
        (running, self.ended.borrow().iter().cloned().collect())
    }

    /// What its streams that have ended add up to, and what its flushes were like.
    #[must_use]
    pub fn totals(&self) -> Totals {
        Totals { flushes: self.flushes.counts(), ..self.totals.borrow().clone() }
    }

    fn start(&self, twin: Twin) -> Result<Rc<Stream>, JoinError> {
        let tuning = Rc::clone(&self.tuning.borrow());
        let settings = StreamSettings {
            log: tuning.log_bounds(),
            patience: Patience::of(&tuning.limits),
            receive_buffer: tuning.receive_buffer,
            hold: tuning.hold,
            ring: self.ring.clone(),
            gathering: Rc::clone(&self.gathering),
            flushes: Rc::clone(&self.flushes),
            epoch: self.epoch,
            echoes: Rc::clone(&self.echoes),
            batch: Rc::clone(&self.batch),
            shard: self.settings.shard,
        };
        let key = twin.key.clone();
        let stream = Stream::start(twin, settings, &self.interfaces.borrow())?;
        self.streams.borrow_mut().insert(key, Rc::clone(&stream));
        Ok(stream)
    }

    /// The stream, unless a shard has found it over: then it ends here too, and a new run may begin.
    fn running(&self, key: &StreamKey) -> Option<Rc<Stream>> {
        let stream = self.streams.borrow().get(key).map(Rc::clone)?;
        if !stream.run().has_ended() {
            return Some(stream);
        }
        self.end(key);
        None
    }

    /// Starts the copies that wait for this shard. Two shards that start a stream at the same moment keep a run each.
    fn take_up_twins(&self) {
        let Some(nursery) = self.settings.nurseries.get(self.settings.shard) else { return };
        while let Some(twin) = nursery.take() {
            if self.running(&twin.key).is_some() {
                continue;
            }
            self.look();
            if let Err(error) = self.start(twin) {
                warn!(%error, shard = self.settings.shard, "a stream runs on another shard only");
            }
        }
    }

    fn end(&self, key: &StreamKey) {
        let Some(stream) = self.streams.borrow_mut().remove(key) else { return };
        let mut ended = self.ended.borrow_mut();
        let books = stream.status();
        self.totals.borrow_mut().stream_ended(&books);
        ended.push_front(books);
        ended.truncate(RECENTLY_CLOSED);
    }

    /// Waits for changes, a retry or the safety net, and gathers the changes that come with it.
    async fn next_changes(&self, events: Option<&InterfaceEvents>) -> io::Result<Changes> {
        let more = || async {
            match events {
                Some(events) => events.changed().await,
                None => std::future::pending().await,
            }
        };
        let mut changes = tokio::select! {
            changes = more() => changes?,
            () = self.retry.notified() => Changes::default(),
            () = tokio::time::sleep(SAFETY_NET) => Changes::default(),
        };
        let until = tokio::time::Instant::now() + DEBOUNCE;
        while let Ok(later) = tokio::time::timeout_at(until, more()).await {
            changes.extend(later?);
        }
        Ok(changes)
    }

    async fn reconcile(&self, changes: &Changes) {
        self.look();
        if self.leave_stale(changes) && self.settings.nurseries.len() > 1 {
            // The other shards see the same changes; their members count as much as ours.
            tokio::time::sleep(DEBOUNCE).await;
            self.look();
        }
        let interfaces = self.interfaces.borrow();
        for stream in self.streams.borrow().values() {
            stream.rejoin(&interfaces);
        }
        self.senders.borrow_mut().retain(|sender| {
            sender.upgrade().is_some_and(|sender| {
                sender.reconcile(&interfaces);
                true
            })
        });
    }

    /// Leaves what must be joined anew; whether there was any.
    fn leave_stale(&self, changes: &Changes) -> bool {
        let (interfaces, kernel) = (self.interfaces.borrow(), KernelMemberships::now());
        let mut any = false;
        for stream in self.streams.borrow().values() {
            any |= stream.leave_if_stale(&interfaces, &kernel, changes);
        }
        any
    }

    fn look(&self) {
        match Interfaces::now() {
            Ok(interfaces) => {
                let addresses = interfaces.iter().flat_map(|interface| interface.addresses.iter().copied());
                self.echoes.own_addresses(addresses);
                self.interfaces.replace(interfaces);
            }
            Err(error) => warn!(%error, "listing the interfaces"),
        }
    }

    fn group_lease(&self, group: Group, now: Instant) -> Rc<Lease> {
        let shared = self.quota.group_budget(group, now);
        let mut leases = self.group_leases.borrow_mut();
        leases.retain(|_, lease| lease.strong_count() > 0);
        if let Some(lease) = leases.get(&group).and_then(Weak::upgrade) {
            return lease;
        }
        let lease = Rc::new(Lease::new(shared));
        leases.insert(group, Rc::downgrade(&lease));
        lease
    }
}

/// The shard's own ring, where it is wanted and can be had. The gateway has said at its start if not.
fn ring(wanted: IoUring) -> Option<Rc<RefCell<SendRing>>> {
    match wanted {
        IoUring::Off => None,
        IoUring::Auto | IoUring::On => SendRing::open().ok().map(|ring| Rc::new(RefCell::new(ring))),
    }
}
