//! One interface as the links see it: its LAN, the other gateways there, and the memberships of what is mirrored on it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::{Rc, Weak};
use std::time::Instant;

use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, warn};

use crate::lan::interface::{Interface, Interfaces};
use crate::lan::membership::Membership;
use crate::lan::transmit::{TransmitOptions, Transmitter};
use crate::link::election::{HELLO_GROUPS, Hello, Neighbours, Standing, put_group, take_group};
use crate::link::exchange::Exchange;
use crate::link::mirror::{self, Mirror};
use crate::link::routes::Way;
use crate::model::group::Group;
use crate::model::link::record::{LinkHeader, LinkRecords};
use crate::model::selector::InterfaceSelector;
use crate::model::source::SourceFilter;
use crate::sys::batch::{BATCH, ReceiveBatch};

/// Where gateways on one LAN greet each other; it never leaves the LAN (TTL 1).
const HELLO_V4: (Ipv4Addr, u16) = (Ipv4Addr::new(239, 255, 87, 76), 8776);
/// The same on interfaces without IPv4: link-local scope, transient.
const HELLO_V6: (Ipv6Addr, u16) = (Ipv6Addr::new(0xff12, 0, 0, 0, 0, 0, 0x5753, 0x4c4b), 8776);
/// Bytes of receive buffer for hellos, and for records from neighbours.
const HELLO_BUFFER: usize = 256 << 10;
const NEIGHBOUR_BUFFER: usize = 4 << 20;
/// Before a record for a neighbour: a word, and the group.
const WORD: &[u8; 4] = b"wslr";
const PREFIX: usize = 4 + 18;
/// Batches taken in one turn at most.
const ROUNDS: usize = 16;
/// Records of neighbours taken in one turn at most.
const RECORDS: usize = 64;

/// One interface.
pub(super) struct Segment {
    this: Weak<Segment>,
    exchange: Weak<Exchange>,
    pub(super) selector: InterfaceSelector,
    gateway: u64,
    receive_buffer: usize,
    interface: RefCell<Option<Interface>>,
    greeting: RefCell<Option<Greeting>>,
    neighbours: RefCell<Neighbours>,
    mirrors: RefCell<HashMap<Group, Joined>>,
    scratch: RefCell<Vec<u8>>,
}

/// What the hellos need.
struct Greeting {
    transmitter: Rc<Transmitter>,
    _tasks: [AbortOnDropHandle<()>; 2],
}

/// A mirror and its membership, where there is one.
struct Joined {
    mirror: Weak<Mirror>,
    membership: Option<(Rc<Membership>, AbortOnDropHandle<()>)>,
    /// Drops of memberships that are over.
    dropped: Cell<u64>,
    complained: Cell<bool>,
}

impl Segment {
    pub(super) fn new(exchange: &Rc<Exchange>, selector: InterfaceSelector) -> Rc<Segment> {
        let segment = Rc::new_cyclic(|this| Segment {
            this: Weak::clone(this),
            exchange: Rc::downgrade(exchange),
            selector,
            gateway: exchange.gateway,
            receive_buffer: exchange.receive_buffer(),
            interface: RefCell::new(None),
            greeting: RefCell::new(None),
            neighbours: RefCell::default(),
            mirrors: RefCell::default(),
            scratch: RefCell::default(),
        });
        segment.look(&exchange.interfaces(), Instant::now());
        segment
    }

    /// From now on `mirror` hears its group here.
    pub(super) fn add(&self, mirror: &Rc<Mirror>) {
        let mut joined = Joined {
            mirror: Rc::downgrade(mirror),
            membership: None,
            dropped: Cell::new(0),
            complained: Cell::new(false),
        };
        if let Some(interface) = &*self.interface.borrow() {
            self.join(&mut joined, mirror.group, interface);
        }
        self.mirrors.borrow_mut().insert(mirror.group, joined);
        self.say_hello(Instant::now());
    }

    /// The group is mirrored here no more; true where no group is.
    pub(super) fn remove(&self, group: Group) -> bool {
        let mut mirrors = self.mirrors.borrow_mut();
        mirrors.remove(&group);
        let none = mirrors.is_empty();
        drop(mirrors);
        self.say_hello(Instant::now());
        none
    }

    /// Its name, as it is now or as it was asked for.
    pub(super) fn name(&self) -> String {
        self.interface
            .borrow()
            .as_ref()
            .map_or_else(|| self.selector.to_string(), |interface| interface.name.clone())
    }

    /// Whether the interface is there.
    pub(super) fn is_there(&self) -> bool {
        self.interface.borrow().is_some()
    }

    /// Does something with the interface, where it is there.
    pub(super) fn with_interface<T>(&self, act: impl FnOnce(&Interface) -> T) -> Option<T> {
        self.interface.borrow().as_ref().map(act)
    }

    /// Our address there.
    pub(super) fn address(&self, ipv4: bool) -> Option<IpAddr> {
        let interface = self.interface.borrow();
        interface.as_ref()?.addresses.iter().copied().find(|address| address.is_ipv4() == ipv4)
    }

    /// What the kernel dropped of a group.
    pub(super) fn kernel_drops(&self, group: Group) -> u64 {
        let mirrors = self.mirrors.borrow();
        let Some(joined) = mirrors.get(&group) else { return 0 };
        let now = joined.membership.as_ref().map_or(0, |(membership, _)| u64::from(membership.drops()));
        joined.dropped.get() + now
    }

    /// Compares the interface with what it was, and joins anew where it is another one.
    pub(super) fn look(&self, interfaces: &Interfaces, now: Instant) {
        let found = interfaces.find(&self.selector).filter(|interface| interface.is_able()).cloned();
        let same = {
            let before = self.interface.borrow();
            before.as_ref().map(|one| one.index) == found.as_ref().map(|one| one.index)
        };
        *self.interface.borrow_mut() = found;
        if same && (self.greeting.borrow().is_some() || !self.is_there()) {
            self.join_missing();
            return;
        }
        self.greeting.take();
        *self.neighbours.borrow_mut() = Neighbours::default();
        for (group, joined) in self.mirrors.borrow_mut().iter_mut() {
            if let Some((membership, _)) = joined.membership.take() {
                joined.dropped.set(joined.dropped.get() + u64::from(membership.drops()));
            }
            if let Some(mirror) = joined.mirror.upgrade() {
                mirror.begin_again(now);
                warn!(%group, interface = %self.selector, there = self.is_there(), "the interface of a mirrored group is another one, or gone");
            }
        }
        self.join_missing();
        self.greet();
        self.say_hello(now);
    }

    /// Says who is there and what is mirrored.
    pub(super) fn say_hello(&self, _now: Instant) {
        self.put_hello(false);
    }

    /// Says goodbye.
    pub(super) fn say_goodbye(&self) {
        self.put_hello(true);
    }

    /// Forgets neighbours that are gone.
    pub(super) fn tick(&self, now: Instant) {
        self.neighbours.borrow_mut().forget(now);
    }

    /// What we are for a group.
    pub(super) fn decide(&self, group: Group, standing: Standing, now: Instant) -> Standing {
        self.neighbours.borrow().decide(self.gateway, group, standing, now)
    }

    /// How many others mirror a group here.
    pub(super) fn neighbours_of(&self, group: Group) -> usize {
        self.neighbours.borrow().of(group).count()
    }

    /// Hands a record to a neighbour; false where there is none, or the kernel refuses.
    pub(super) fn pass(&self, gateway: u64, group: Group, header: &LinkHeader, payload: &[u8]) -> bool {
        let neighbours = self.neighbours.borrow();
        let Some(neighbour) = neighbours.find(gateway) else { return false };
        self.write(neighbour.address, group, header, payload)
    }

    /// Hands a record to every neighbour that mirrors the group, but one.
    pub(super) fn pass_to_all(&self, group: Group, header: &LinkHeader, payload: &[u8], except: Option<u64>) {
        for (id, neighbour, _) in self.neighbours.borrow().of(group) {
            if Some(id) != except {
                self.write(neighbour.address, group, header, payload);
            }
        }
    }

    fn write(&self, to: SocketAddr, group: Group, header: &LinkHeader, payload: &[u8]) -> bool {
        let greeting = self.greeting.borrow();
        let Some(greeting) = &*greeting else { return false };
        let mut scratch = self.scratch.borrow_mut();
        scratch.clear();
        scratch.extend_from_slice(WORD);
        put_group(group, &mut scratch);
        header.put(payload, &mut *scratch);
        // Too large for one datagram with its header, or the queue is full.
        greeting.transmitter.send_to(&scratch, to).is_ok()
    }

    fn put_hello(&self, leaving: bool) {
        let greeting = self.greeting.borrow();
        let Some(greeting) = &*greeting else { return };
        let mirrors = self.mirrors.borrow();
        let speaks = |joined: &Joined| joined.mirror.upgrade().is_some_and(|mirror| mirror.speaks());
        let groups =
            mirrors.iter().map(|(group, joined)| (*group, speaks(joined))).take(HELLO_GROUPS).collect();
        let hello = Hello { gateway: self.gateway, leaving, groups };
        if let Err(error) = greeting.transmitter.send(&hello.encode()) {
            debug!(%error, interface = %self.selector, "greeting the other gateways of this LAN");
        }
    }

    /// Joins what could not be joined before.
    fn join_missing(&self) {
        let interface = self.interface.borrow();
        let Some(interface) = &*interface else { return };
        for (group, joined) in self.mirrors.borrow_mut().iter_mut() {
            if joined.membership.is_none() {
                self.join(joined, *group, interface);
            }
        }
    }

    fn join(&self, joined: &mut Joined, group: Group, interface: &Interface) {
        match Membership::join(group, &SourceFilter::Any, interface, self.receive_buffer) {
            Ok(membership) => {
                membership.warn_of_small_buffer(self.receive_buffer);
                let membership = Rc::new(membership);
                let receiving =
                    receive(Weak::clone(&self.exchange), Weak::clone(&joined.mirror), Rc::clone(&membership));
                let task = AbortOnDropHandle::new(tokio::task::spawn_local(receiving));
                joined.membership = Some((membership, task));
                joined.complained.set(false);
            }
            Err(error) if !joined.complained.replace(true) => {
                warn!(%error, "joining a mirrored group: tried again");
            }
            Err(_) => {}
        }
    }

    /// Joins the group of the hellos, and opens the socket that they leave from and records of neighbours come to.
    fn greet(&self) {
        let interface = self.interface.borrow();
        let Some(interface) = &*interface else { return };
        let has_v4 = interface.addresses.iter().any(IpAddr::is_ipv4);
        let (address, port): (IpAddr, u16) =
            if has_v4 { (HELLO_V4.0.into(), HELLO_V4.1) } else { (HELLO_V6.0.into(), HELLO_V6.1) };
        let group = Group::new(address, port).expect("the group of the hellos is multicast");
        let opened = Membership::join(group, &SourceFilter::Any, interface, HELLO_BUFFER)
            .map_err(|error| error.to_string())
            .and_then(|membership| {
                let options = TransmitOptions { ttl: 1, loopback: true };
                let transmitter =
                    Transmitter::open(group, interface, options).map_err(|error| error.to_string())?;
                Ok((membership, Rc::new(transmitter)))
            });
        let (membership, transmitter) = match opened {
            Ok(opened) => opened,
            Err(error) => return warn!(error, "greeting the other gateways of this LAN: tried again"),
        };
        transmitter.expect_replies(NEIGHBOUR_BUFFER);
        let hearing = tokio::task::spawn_local(hear_hellos(
            Weak::clone(&self.this),
            Weak::clone(&self.exchange),
            membership,
        ));
        let records =
            tokio::task::spawn_local(hear_neighbours(Weak::clone(&self.this), Rc::clone(&transmitter)));
        let tasks = [hearing, records].map(AbortOnDropHandle::new);
        *self.greeting.borrow_mut() = Some(Greeting { transmitter, _tasks: tasks });
    }

    fn hears(&self, payload: &[u8], source: SocketAddr, now: Instant) {
        let Some(hello) = Hello::decode(payload).filter(|hello| hello.gateway != self.gateway) else {
            return;
        };
        let is_new = self.neighbours.borrow().find(hello.gateway).is_none();
        if !self.neighbours.borrow_mut().hears(&hello, source, now) {
            return;
        }
        let mirrors: Vec<_> =
            self.mirrors.borrow().values().filter_map(|joined| joined.mirror.upgrade()).collect();
        for mirror in mirrors {
            mirror.decide(now);
        }
        if is_new && !hello.leaving {
            // It need not wait to know of us.
            self.say_hello(now);
        }
    }

    fn hears_record(&self, bytes: &[u8], source: SocketAddr) {
        let Some(neighbour) = self.neighbours.borrow().is_at(source) else { return };
        let Some((prefix, record)) = bytes.split_first_chunk::<PREFIX>() else { return };
        let Some(group) = take_group(&prefix[4..]).filter(|_| prefix.starts_with(WORD)) else { return };
        let mirror = self.mirrors.borrow().get(&group).and_then(|joined| joined.mirror.upgrade());
        let (Some(mirror), Some(Ok((header, payload)))) = (mirror, LinkRecords::new(record).next()) else {
            return;
        };
        mirror::deliver(&mirror, Way::Neighbour(neighbour), header, payload);
    }
}

/// Hears a mirrored group for as long as the mirror is there.
async fn receive(exchange: Weak<Exchange>, mirror: Weak<Mirror>, membership: Rc<Membership>) {
    while membership.readable().await.is_ok() {
        let (Some(exchange), Some(mirror)) = (exchange.upgrade(), mirror.upgrade()) else { return };
        exchange.with_batch(|batch, interfaces| drain(&mirror, &membership, batch, interfaces));
        drop((exchange, mirror));
        // Under a steady load there is always more; the links must get their turn.
        tokio::task::yield_now().await;
    }
}

fn drain(mirror: &Mirror, membership: &Membership, batch: &mut ReceiveBatch, interfaces: &Interfaces) {
    for _ in 0..ROUNDS {
        let count = match membership.receive(batch) {
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
            Err(error) => return debug!(%error, "receiving a mirrored group"),
        };
        for i in 0..count {
            let received = batch.received(i);
            mirror.heard(&received, membership.accepts(received.destination), interfaces);
        }
        if count < BATCH {
            return membership.emptied();
        }
    }
}

/// Hears the other gateways of the LAN.
async fn hear_hellos(segment: Weak<Segment>, exchange: Weak<Exchange>, membership: Membership) {
    while membership.readable().await.is_ok() {
        let (Some(segment), Some(exchange)) = (segment.upgrade(), exchange.upgrade()) else { return };
        let hellos: Vec<(Vec<u8>, SocketAddr)> = exchange.with_batch(|batch, _| {
            let count = membership.receive(batch).unwrap_or(0);
            (0..count).map(|i| batch.received(i)).map(|one| (one.payload.to_vec(), one.source)).collect()
        });
        let now = Instant::now();
        for (payload, source) in hellos {
            segment.hears(&payload, source, now);
        }
    }
}

/// Takes the records that neighbours hand over.
async fn hear_neighbours(segment: Weak<Segment>, transmitter: Rc<Transmitter>) {
    let mut scratch = vec![0; 65536];
    while transmitter.readable().await.is_ok() {
        let Some(segment) = segment.upgrade() else { return };
        for _ in 0..RECORDS {
            match transmitter.take_reply(&mut scratch) {
                Ok(Some((length, source))) => segment.hears_record(&scratch[..length], source),
                Ok(None) => break,
                Err(error) => return debug!(%error, "hearing the other gateways of this LAN"),
            }
        }
        drop(segment);
        tokio::task::yield_now().await;
    }
}
