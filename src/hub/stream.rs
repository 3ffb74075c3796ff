//! A stream: the gateway's running copy of one membership. It outlives its membership when an interface goes away.

use std::cell::{Cell, Ref, RefCell};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use slab::Slab;
use tokio::task::AbortHandle;
use tracing::{Span, debug, info, warn};

use crate::hub::echo::Echoes;
use crate::hub::log::{Log, LogBounds};
use crate::hub::quota::Place;
use crate::lan::interface::{Interface, Interfaces};
use crate::lan::membership::{JoinError, KernelMemberships, Membership, Remedy};
use crate::model::group::Group;
use crate::model::selector::InterfaceSelector;
use crate::model::source::SourceFilter;
use crate::model::status::{LogStatus, Outages, ReceiveBuffer, RefusedDatagrams, StreamLosses, StreamStatus};
use crate::sys::batch::{BATCH, ReceiveBatch, Received};
use crate::sys::netlink::Changes;

/// What makes two subscriptions share a stream.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StreamKey {
    /// Where to join, never `all`.
    pub interface: InterfaceSelector,
    /// What.
    pub group: Group,
    /// From whom.
    pub filter: SourceFilter,
}

/// Someone who reads a stream. Called from the stream's own task; must not wait nor come back into the stream.
pub trait Subscriber {
    /// There are frames behind the cursor that this subscriber keeps under `slot`.
    fn flush(&self, log: &Log, slot: usize);
    /// Frames before sequence `keep` go away now: whoever stands before it must move.
    fn evicting(&self, log: &Log, slot: usize, keep: u64);
}

/// What a stream needs of its surroundings.
#[derive(Clone)]
pub struct StreamSettings {
    /// Bounds of the log.
    pub log: LogBounds,
    /// Receive buffer to ask the kernel for, in bytes.
    pub receive_buffer: usize,
    /// Time from one flush to the next at least; zero for none.
    pub hold: Duration,
    /// Start of the shard's clock.
    pub epoch: Instant,
    /// The senders of this shard.
    pub echoes: Rc<Echoes>,
    /// The shard's receive buffers.
    pub batch: Rc<RefCell<ReceiveBatch>>,
    /// The shard's number.
    pub shard: usize,
}

/// One running stream of a shard.
pub struct Stream {
    number: u32,
    key: StreamKey,
    settings: StreamSettings,
    span: Span,
    log: RefCell<Log>,
    subscribers: RefCell<Slab<(Rc<dyn Subscriber>, usize)>>,
    attachment: RefCell<Attachment>,
    books: Books,
    seen: RefCell<Seen>,
    /// Since when nobody subscribes.
    idle_since: Cell<Option<Instant>>,
    _place: Place,
}

/// Where the stream is joined.
struct Attachment {
    /// The interface as last seen.
    interface: Option<Interface>,
    joined: Option<(Rc<Membership>, AbortHandle)>,
    /// Since when no datagram can come, and why.
    outage: Option<(Instant, String)>,
    outages: u64,
    outage_time: Duration,
    last_outage: Duration,
    granted: usize,
}

#[derive(Default)]
struct Books {
    received: Cell<u64>,
    received_bytes: Cell<u64>,
    truncated: Cell<u64>,
    wrong_destination: Cell<u64>,
    kernel_drops: Cell<u64>,
    /// The present socket's own count when last looked at.
    socket_drops: Cell<u32>,
}

/// What came last, for people to look at.
#[derive(Default)]
struct Seen {
    sources: Vec<(IpAddr, u64)>,
    last: usize,
    ttl: Option<u8>,
    arrival: u64,
    /// On the clock of the log.
    at: Option<Duration>,
}

/// Batches taken in one turn at most, before the subscribers get theirs.
const ROUNDS: usize = 4;
/// Sources remembered for the status.
const SOURCES: usize = 16;
/// A stream that had a datagram within this time is `receiving`.
const RECEIVING: Duration = Duration::from_secs(2);

impl Stream {
    /// Starts the stream and joins, or waits for the interface.
    ///
    /// # Errors
    /// [`JoinError`] where no change of the interface would help.
    pub fn start(
        number: u32,
        key: StreamKey,
        settings: StreamSettings,
        place: Place,
        interfaces: &Interfaces,
    ) -> Result<Rc<Self>, JoinError> {
        let span = tracing::info_span!("stream", number, group = %key.group, interface = %key.interface);
        let stream = Rc::new(Stream {
            number,
            log: RefCell::new(Log::new(settings.log)),
            subscribers: RefCell::new(Slab::new()),
            attachment: RefCell::new(Attachment {
                interface: None,
                joined: None,
                outage: None,
                outages: 0,
                outage_time: Duration::ZERO,
                last_outage: Duration::ZERO,
                granted: 0,
            }),
            books: Books::default(),
            seen: RefCell::default(),
            // From the start: whoever asked for it may be refused for another reason and never subscribe.
            idle_since: Cell::new(Some(Instant::now())),
            key,
            settings,
            span,
            _place: place,
        });
        match interfaces.find(&stream.key.interface) {
            Some(interface) => match stream.join(interface) {
                Err(error) if error.remedy != Remedy::Interface => return Err(error),
                Err(error) => stream.outage(error.to_string()),
                Ok(()) => {}
            },
            None => stream.outage_without(interfaces),
        }
        Ok(stream)
    }

    /// Its number.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.number
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

    /// Time on the clock that its log uses.
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

    /// Adds a reader, which keeps its cursor under `slot`; the answer is for [`Stream::unsubscribe`].
    pub fn subscribe(&self, subscriber: Rc<dyn Subscriber>, slot: usize) -> usize {
        self.idle_since.set(None);
        self.subscribers.borrow_mut().insert((subscriber, slot))
    }

    /// Takes a reader away.
    pub fn unsubscribe(&self, place: usize) {
        let mut subscribers = self.subscribers.borrow_mut();
        subscribers.try_remove(place);
        if subscribers.is_empty() {
            self.idle_since.set(Some(Instant::now()));
        }
    }

    /// Whether nobody has subscribed for `linger`.
    #[must_use]
    pub fn is_over(&self, linger: Duration) -> bool {
        self.idle_since.get().is_some_and(|since| since.elapsed() >= linger)
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
        let (index, was_able) = {
            let attachment = self.attachment.borrow();
            let Some((membership, _)) = &attachment.joined else { return false };
            (membership.index(), attachment.interface.as_ref().is_some_and(Interface::is_able))
        };
        let Some(interface) = interfaces.find(&self.key.interface) else {
            self.detach();
            return true;
        };
        // A switch forgets the port while the carrier is away, and IPv4 sends no report by itself when it is back.
        let carrier_back = interface.is_able() && (!was_able || changes.overflow);
        let lost = if index != interface.index
            || changes.deleted.contains(&index)
            || !kernel.hold(self.key.group, index)
        {
            "the membership was lost with its interface"
        } else if interface.is_able() && was_able && changes.interrupted.contains(&index) {
            "the carrier was lost for a moment"
        } else if carrier_back {
            self.detach();
            return true;
        } else {
            return false;
        };
        self.detach();
        self.outage(lost.to_owned());
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
        let attachment = self.attachment.borrow();
        if let Some((membership, _)) = &attachment.joined {
            self.count_drops(membership.drops());
        }
    }

    /// Its books.
    #[must_use]
    pub fn status(&self) -> StreamStatus {
        self.tick();
        let (log, seen, attachment) = (self.log.borrow(), self.seen.borrow(), self.attachment.borrow());
        let present = attachment.outage.as_ref().map(|(since, _)| since.elapsed());
        let sources = |wanted: bool| match &self.key.filter {
            SourceFilter::Include(sources) if wanted => sources.iter().map(ToString::to_string).collect(),
            SourceFilter::Exclude(sources) if !wanted => sources.iter().map(ToString::to_string).collect(),
            _ => Vec::new(),
        };
        let state = if attachment.outage.is_some() {
            "waiting-for-interface"
        } else if seen.at.is_some_and(|at| self.now().saturating_sub(at) < RECEIVING) {
            "receiving"
        } else {
            "silent"
        };
        StreamStatus {
            number: self.number,
            shard: self.settings.shard,
            group: self.key.group.to_string(),
            sources: sources(true),
            exclude: sources(false),
            asked_interface: self.key.interface.to_string(),
            interface: attachment
                .interface
                .as_ref()
                .map_or_else(|| self.key.interface.to_string(), |interface| interface.name.clone()),
            state,
            waiting: attachment.outage.as_ref().map(|(_, why)| why.clone()),
            received: self.books.received.get(),
            received_bytes: self.books.received_bytes.get(),
            published: log.head_sequence(),
            refused: RefusedDatagrams {
                truncated: self.books.truncated.get(),
                wrong_destination: self.books.wrong_destination.get(),
            },
            lost: StreamLosses {
                kernel: self.books.kernel_drops.get(),
                interface: (attachment.outages == 0).then_some(0),
            },
            outages: Outages {
                count: attachment.outages,
                seconds: (attachment.outage_time + present.unwrap_or_default()).as_secs_f64(),
                last_seconds: present.unwrap_or(attachment.last_outage).as_secs_f64(),
            },
            subscribers: self.subscribers.borrow().len(),
            seen_sources: seen
                .sources
                .iter()
                .map(|(address, count)| (address.to_string(), *count))
                .collect::<BTreeMap<_, _>>(),
            ttl: seen.ttl,
            last_received: (seen.arrival > 0).then(|| Duration::from_nanos(seen.arrival).as_secs_f64()),
            receive_buffer: ReceiveBuffer {
                asked: self.settings.receive_buffer,
                granted: attachment.granted,
            },
            log: LogStatus { bytes: log.bytes(), datagrams: log.datagrams() },
        }
    }

    /// Joins, or waits with the reason.
    fn try_join(self: &Rc<Self>, interface: &Interface) {
        if let Err(error) = self.join(interface) {
            self.outage(error.to_string());
        }
    }

    fn join(self: &Rc<Self>, interface: &Interface) -> Result<(), JoinError> {
        let _entered = self.span.enter();
        let joined =
            Membership::join(self.key.group, &self.key.filter, interface, self.settings.receive_buffer);
        let membership = Rc::new(joined?);
        let granted = membership.receive_buffer();
        // The kernel accounts twice what is asked for (socket(7)).
        if granted < self.settings.receive_buffer.saturating_mul(2)
            && self.attachment.borrow().granted != granted
        {
            warn!(
                asked = self.settings.receive_buffer,
                granted = granted / 2,
                "the kernel granted a smaller receive buffer, bursts may be lost: raise it with \
                 `sysctl -w net.core.rmem_max={}`",
                self.settings.receive_buffer
            );
        }
        info!(interface = interface.name, index = interface.index, "joined");
        let receiving = receive(Rc::downgrade(self), Rc::clone(&membership));
        let task = tokio::task::spawn_local(receiving).abort_handle();
        self.books.socket_drops.set(0);
        {
            let mut attachment = self.attachment.borrow_mut();
            attachment.joined = Some((membership, task));
            attachment.granted = granted;
        }
        self.attached_to(interface);
        Ok(())
    }

    /// Takes note of the interface's state while joined on it.
    fn attached_to(&self, interface: &Interface) {
        if interface.is_able() {
            let mut attachment = self.attachment.borrow_mut();
            if let Some((since, _)) = attachment.outage.take() {
                let lasted = since.elapsed();
                attachment.last_outage = lasted;
                attachment.outage_time += lasted;
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
        let mut attachment = self.attachment.borrow_mut();
        match &mut attachment.outage {
            Some((_, reason)) => *reason = why,
            outage @ None => {
                let _entered = self.span.enter();
                warn!(reason = why, "waiting for the interface");
                *outage = Some((Instant::now(), why));
                attachment.outages += 1;
            }
        }
    }

    /// Gives up the membership: what its socket still holds is taken, what it dropped is counted.
    fn detach(self: &Rc<Self>) {
        let Some((membership, task)) = self.attachment.borrow_mut().joined.take() else { return };
        task.abort();
        // At once: the task gives up its share of the socket only when it is polled for the last time.
        membership.leave();
        let batch = Rc::clone(&self.settings.batch);
        let mut batch = batch.borrow_mut();
        while let Ok(count) = membership.receive_rest(&mut batch) {
            self.publish(&membership, &batch, count);
        }
        self.flush();
        self.count_drops(membership.drops());
    }

    /// One turn: takes what the socket holds, then gives each subscriber its own.
    fn drain(&self, membership: &Membership) {
        let mut batch = self.settings.batch.borrow_mut();
        for _ in 0..ROUNDS {
            match membership.receive(&mut batch) {
                Ok(count) => {
                    self.publish(membership, &batch, count);
                    if count < BATCH {
                        break;
                    }
                }
                Err(error) => {
                    // A readable socket may hold nothing after all (a bad checksum, found in the call).
                    if error.kind() != std::io::ErrorKind::WouldBlock {
                        debug!(%error, "receiving");
                    }
                    break;
                }
            }
        }
        self.flush();
    }

    fn publish(&self, membership: &Membership, batch: &ReceiveBatch, count: usize) {
        let now = self.now();
        let quarter = self.settings.log.bytes / 4;
        let mut appended = 0;
        for i in 0..count {
            let received = batch.received(i);
            self.books.received.set(self.books.received.get() + 1);
            if let Some(drops) = received.drops {
                self.count_drops(drops);
            }
            if received.truncated {
                self.books.truncated.set(self.books.truncated.get() + 1);
                continue;
            }
            if !membership.accepts(received.destination) {
                self.books.wrong_destination.set(self.books.wrong_destination.get() + 1);
                continue;
            }
            let length = received.payload.len();
            self.books.received_bytes.set(self.books.received_bytes.get() + length as u64);
            let crowded = self.log.borrow().crowded(length);
            if let Some(keep) = crowded {
                self.evict(keep);
            }
            let sender = self.settings.echoes.sender_of(received.source);
            self.log.borrow_mut().append(received.payload, now, sender);
            self.see(&received, now);
            appended += length;
            if appended >= quarter {
                // Subscribers who keep up must not be overrun by a burst of large datagrams.
                self.flush();
                appended = 0;
            }
        }
    }

    fn flush(&self) {
        let log = self.log.borrow();
        for (_, (subscriber, slot)) in self.subscribers.borrow().iter() {
            subscriber.flush(&log, *slot);
        }
    }

    fn evict(&self, keep: u64) {
        {
            let log = self.log.borrow();
            for (_, (subscriber, slot)) in self.subscribers.borrow().iter() {
                subscriber.evicting(&log, *slot, keep);
            }
        }
        self.log.borrow_mut().forget_before(keep);
    }

    fn count_drops(&self, drops: u32) {
        let new = drops.wrapping_sub(self.books.socket_drops.get());
        // A datagram queued before the last look carries an older count.
        if new.cast_signed() > 0 {
            self.books.kernel_drops.set(self.books.kernel_drops.get() + u64::from(new));
            self.books.socket_drops.set(drops);
        }
    }

    fn see(&self, received: &Received<'_>, now: Duration) {
        let mut seen = self.seen.borrow_mut();
        seen.ttl = received.ttl;
        seen.arrival = received.arrival;
        seen.at = Some(now);
        let (address, last) = (received.source.ip(), seen.last);
        if let Some((known, count)) = seen.sources.get_mut(last)
            && *known == address
        {
            *count += 1;
        } else if let Some(at) = seen.sources.iter().position(|(known, _)| *known == address) {
            seen.sources[at].1 += 1;
            seen.last = at;
        } else {
            if seen.sources.len() == SOURCES {
                seen.sources.remove(0);
            }
            seen.sources.push((address, 1));
            seen.last = seen.sources.len() - 1;
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let attachment = self.attachment.get_mut();
        if let Some((_, task)) = attachment.joined.take() {
            task.abort();
        }
        if attachment.interface.is_none() {
            // It was never joined.
            return;
        }
        let _entered = self.span.enter();
        info!(received = self.books.received.get(), lost_kernel = self.books.kernel_drops.get(), "left");
    }
}

/// The stream's task: ends with the stream or its membership.
async fn receive(stream: Weak<Stream>, membership: Rc<Membership>) {
    while membership.readable().await.is_ok() {
        let Some(stream) = stream.upgrade() else { return };
        stream.drain(&membership);
        let hold = stream.settings.hold;
        drop(stream);
        if hold.is_zero() {
            // Under a steady load there is always more; the sessions must get their turn.
            tokio::task::yield_now().await;
        } else {
            // What comes meanwhile waits in the socket, and leaves in one write.
            tokio::time::sleep(hold).await;
        }
    }
}
