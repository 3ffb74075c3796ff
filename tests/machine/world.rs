//! A hub with its streams, clients with small sockets, and a sender, all on the loopback interface.

use std::io::{ErrorKind, Read as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::os::unix::net::UnixStream;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::{Domain, SockRef, Socket as UdpSocket, Type};
use tokio::task::LocalSet;
use wscast::hub::cursor::Cursor;
use wscast::hub::hub::Hub;
use wscast::hub::key::StreamKey;
use wscast::hub::pressure::Pressure;
use wscast::hub::quota::Quota;
use wscast::hub::settings::{HubSettings, Tuning};
use wscast::hub::stream::Stream;
use wscast::hub::subscription::{Subscriber, Subscription};
use wscast::hub::twin::Nursery;
use wscast::lan::interface::Interfaces;
use wscast::lan::membership::KernelMemberships;
use wscast::model::config::IoUring;
use wscast::model::limits::Limits;
use wscast::model::request::{Overflow, Replay};
use wscast::model::selector::InterfaceSelector;
use wscast::model::source::SourceFilter;
use wscast::model::transport::Transport;
use wscast::sys::netlink::Changes;
use wscast::web::egress::Egress;
use wscast::web::reading::Reading;
use wscast::web::rest::RestPool;
use wscast::web::socket::{Carrier, Socket};
use wscast::web::write_path::WritePath;

use super::surroundings::{NETWORK, memberships, settle};
use super::{GROUPS, Step};

const PORT: u16 = 47_213;
/// Bytes that a client's socket takes before it is full, about.
const SOCKET: usize = 16 << 10;

/// What was seen on the way.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    pub(super) sent: u64,
    pub(super) written: u64,
    pub(super) lost: u64,
    pub(super) withheld: u64,
    pub(super) closed: u64,
    pub(super) outages: u64,
}

impl Seen {
    pub(super) fn add(&mut self, other: &Seen) {
        self.sent += other.sent;
        self.written += other.written;
        self.lost += other.lost;
        self.withheld += other.withheld;
        self.closed += other.closed;
        self.outages += other.outages;
    }
}

pub(super) struct World {
    hub: Rc<Hub>,
    quota: Arc<Quota>,
    pool: Rc<RestPool>,
    source: UdpSocket,
    clients: Vec<Client>,
    groups: [Group; GROUPS],
    seen: Seen,
}

/// What the test knows of a group.
#[derive(Default)]
struct Group {
    /// Its stream, while somebody reads it or it lingers.
    stream: Option<Rc<Stream>>,
    /// Whether it has been told that its interface is away.
    away: bool,
    /// Numbers that datagrams carry, over all streams of the group.
    next: u64,
    /// Datagrams sent while its present stream was joined.
    heard: u64,
}

struct Client {
    group: usize,
    egress: Rc<Egress>,
    subscriptions: Vec<Subscription>,
    /// The client's end.
    end: Option<UnixStream>,
    bytes: Vec<u8>,
    /// Data frames that it has read.
    frames: u64,
    last: Option<u64>,
    code: Option<u16>,
}

/// Limits that are reached soon.
fn limits(lag_datagrams: usize) -> Limits {
    Limits {
        lag_bytes: 256 << 10,
        lag_datagrams,
        lag_age: Duration::from_secs(600),
        replay_bytes: 64 << 10,
        join_rate: None,
        ..Limits::default()
    }
}

fn tuning(limits: Limits) -> Tuning {
    Tuning { receive_buffer: 4 << 20, hold: Some(Duration::ZERO), linger: Duration::ZERO, limits }
}

impl World {
    /// Lives one case through, on a runtime of its own.
    pub(super) fn live<F: Future<Output = Seen>>(case: impl FnOnce(World) -> F) -> Seen {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        LocalSet::new().block_on(&runtime, async { case(World::new()).await })
    }

    fn new() -> Self {
        let limits = limits(64);
        let quota = Quota::new(&limits, Arc::new(Pressure::default()), Instant::now());
        let settings = HubSettings {
            shard: 0,
            nurseries: Arc::from([Nursery::default()]),
            senders: Arc::default(),
            io_uring: IoUring::Off,
            tuning: tuning(limits),
        };
        let source = UdpSocket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
        source.set_multicast_if_v4(&Ipv4Addr::LOCALHOST).unwrap();
        source.set_multicast_loop_v4(true).unwrap();
        World {
            hub: Hub::new(settings, Arc::clone(&quota)),
            quota,
            pool: RestPool::of(NonZeroUsize::MIN),
            source,
            clients: Vec::new(),
            groups: std::array::from_fn(|_| Group::default()),
            seen: Seen::default(),
        }
    }

    pub(super) async fn take(&mut self, step: Step) {
        match step {
            Step::Join { group, overflow, replay } => self.join(group, overflow, replay),
            Step::Leave { client } => {
                if !self.clients.is_empty() {
                    let mut client = self.clients.swap_remove(client.index(self.clients.len()));
                    client.leave(&mut self.seen);
                }
            }
            Step::Reset { client } => {
                if let Some(client) = self.client(client) {
                    client.end = None;
                    client.egress.resume();
                }
            }
            Step::Send { group, count, size } => self.send(group, count, size).await,
            Step::Read { client, bytes } => {
                if let Some(client) = self.client(client) {
                    client.read(bytes);
                    client.egress.resume();
                }
            }
            Step::ReadAll { client } => {
                if let Some(client) = self.client(client) {
                    client.catch_up().await;
                }
            }
            Step::Away { group } => self.away(group),
            Step::Back { group } => self.back(group),
            Step::Reload { datagrams } => {
                let limits = limits(datagrams);
                self.quota.apply(&limits, Instant::now());
                self.hub.apply(tuning(limits));
            }
            Step::Tick => self.tick(),
        }
    }

    /// Everything that has to hold at any time.
    pub(super) async fn check(&mut self) {
        for client in &mut self.clients {
            client.check();
        }
        for group in &self.groups {
            let Some(stream) = &group.stream else { continue };
            let status = stream.status();
            let refused = status.refused.truncated + status.refused.wrong_destination;
            assert_eq!(status.received, status.published + refused, "{status:?}");
            assert_eq!(status.received + status.lost.kernel, group.heard, "{status:?}");
            assert_eq!(stream.is_detached(), group.away);
        }
        // Two spellings of the same: what the hub runs, and what the kernel has joined for it.
        let running = self.hub.status().0.len();
        assert_eq!(running, self.groups.iter().filter(|group| group.stream.is_some()).count());
        let joined = |group: &Group| group.stream.is_some() && !group.away;
        let expected: Vec<usize> = (0..GROUPS).filter(|&group| joined(&self.groups[group])).collect();
        // A task that was aborted gives up its share of the socket when it is polled for the last time.
        settle(|| (memberships() == expected).then_some(())).await;
    }

    /// Everybody leaves, and nothing is left of anything.
    pub(super) async fn end(mut self) -> Seen {
        for mut client in std::mem::take(&mut self.clients) {
            client.catch_up().await;
            client.check();
            client.leave(&mut self.seen);
        }
        self.tick();
        self.check().await;
        assert_eq!(memberships(), [0_usize; 0], "nobody is there any more");
        let hub: Weak<Hub> = Rc::downgrade(&self.hub);
        let pool = Rc::downgrade(&self.pool);
        let seen = self.seen;
        drop(self);
        // Tasks that were aborted give up what they hold when they are polled for the last time.
        settle(|| (hub.strong_count() == 0 && pool.strong_count() == 0).then_some(())).await;
        seen
    }

    fn client(&mut self, index: proptest::sample::Index) -> Option<&mut Client> {
        if self.clients.is_empty() {
            return None;
        }
        let place = index.index(self.clients.len());
        self.clients.get_mut(place)
    }

    fn join(&mut self, number: usize, overflow: u8, replay: u64) {
        let key = StreamKey {
            interface: InterfaceSelector::Name("lo".to_owned()),
            group: address(number).parse_group(),
            filter: SourceFilter::Any,
            transport: Transport::Udp,
        };
        let stream = self.hub.stream(&key).unwrap();
        let group = &mut self.groups[number];
        if group.stream.as_ref().is_none_or(|known| !Rc::ptr_eq(known, &stream)) {
            group.stream = Some(Rc::clone(&stream));
            (group.away, group.heard) = (false, 0);
        }
        let overflow = [Overflow::Skip, Overflow::Latest, Overflow::Close][usize::from(overflow)];
        let replay = Replay::Datagrams(replay as u32);
        let cursor = Cursor::new(&stream.log(), replay, self.hub.replay_bounds(), stream.now());
        let reading = Reading { stream: Rc::clone(&stream), cursor };
        let egress = Egress::new(vec![reading], overflow, self.hub.lag_bounds(), Rc::clone(&self.pool));
        let subscriber: Rc<dyn Subscriber> = Rc::clone(&egress) as _;
        let subscriptions = Subscription::all(vec![stream], &subscriber, None);
        let (ours, theirs) = UnixStream::pair().unwrap();
        SockRef::from(&ours).set_send_buffer_size(SOCKET).unwrap();
        ours.set_nonblocking(true).unwrap();
        theirs.set_nonblocking(true).unwrap();
        let ours = tokio::net::UnixStream::from_std(ours).unwrap();
        egress.attach(Rc::new(Socket::plain(Carrier::Unix(ours))));
        self.clients.push(Client {
            group: number,
            egress,
            subscriptions,
            end: Some(theirs),
            bytes: Vec::new(),
            frames: 0,
            last: None,
            code: None,
        });
    }

    async fn send(&mut self, number: usize, count: u64, size: usize) {
        let to = address(number);
        for _ in 0..count {
            let mut payload = self.groups[number].next.to_be_bytes().to_vec();
            payload.resize(size.max(8), number as u8);
            self.groups[number].next += 1;
            self.seen.sent += 1;
            assert_eq!(self.source.send_to(&payload, &to.into()).unwrap(), payload.len());
        }
        let group = &mut self.groups[number];
        let Some(stream) = group.stream.as_ref().filter(|_| !group.away) else { return };
        group.heard += count;
        let heard = group.heard;
        settle(|| {
            let status = stream.status();
            (status.received + status.lost.kernel >= heard).then_some(())
        })
        .await;
    }

    fn away(&mut self, number: usize) {
        let group = &mut self.groups[number];
        let Some(stream) = group.stream.as_ref().filter(|_| !group.away) else { return };
        let (none, kernel) = (Interfaces::default(), KernelMemberships::now());
        assert!(stream.leave_if_stale(&none, &kernel, &Changes::default()), "without an interface it leaves");
        stream.rejoin(&none);
        group.away = true;
        self.seen.outages += 1;
    }

    fn back(&mut self, number: usize) {
        let group = &mut self.groups[number];
        let Some(stream) = group.stream.as_ref().filter(|_| group.away) else { return };
        stream.rejoin(&Interfaces::now().unwrap());
        group.away = false;
    }

    /// The hub's own tick, which ends what nobody reads.
    fn tick(&mut self) {
        self.hub.tick();
        for (number, group) in self.groups.iter_mut().enumerate() {
            if !self.clients.iter().any(|client| client.group == number) {
                group.stream = None;
            }
        }
        for client in &self.clients {
            client.egress.check_lag();
        }
    }
}

impl Client {
    /// Takes at most `most` bytes, and what frames they make.
    fn read(&mut self, most: usize) -> usize {
        let Some(end) = &mut self.end else { return 0 };
        let mut buffer = vec![0; most];
        let read = match end.read(&mut buffer) {
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) => panic!("reading as a client: {error}"),
        };
        self.bytes.extend_from_slice(&buffer[..read]);
        let mut at = 0;
        while let Some((first, payload, length)) = frame(&self.bytes[at..]) {
            assert_eq!(self.code, None, "nothing follows a close frame");
            match first {
                0x82 => {
                    let number = u64::from_be_bytes(*payload.first_chunk().unwrap());
                    assert!(
                        payload[8..].iter().all(|&byte| usize::from(byte) == self.group),
                        "as it was sent"
                    );
                    assert!(
                        self.last.is_none_or(|last| last < number),
                        "in order: {:?}, {number}",
                        self.last
                    );
                    self.last = Some(number);
                    self.frames += 1;
                }
                0x88 => self.code = Some(u16::from_be_bytes(*payload.first_chunk().unwrap())),
                other => panic!("a frame that begins with {other:#x}"),
            }
            at += length;
        }
        self.bytes.drain(..at);
        read
    }

    /// Reads until it has exactly what the books say was written, and nothing more is to be written.
    async fn catch_up(&mut self) {
        if self.end.is_none() {
            return;
        }
        settle(|| {
            self.read(1 << 20);
            self.egress.resume();
            let books = self.egress.look(|readings| readings[0].status()).0;
            let all = if self.egress.ending().is_some() {
                self.egress.is_dead() || (self.egress.is_finished() && self.code.is_some())
            } else {
                books.pending == 0
            };
            (all && self.frames == books.written && self.bytes.is_empty()).then_some(())
        })
        .await;
    }

    fn check(&mut self) {
        let books = self.egress.look(|readings| readings[0].status()).0;
        let withheld = books.withheld.echo + books.withheld.latest;
        let lost = books.lost.bytes + books.lost.datagrams + books.lost.age + books.lost.closed;
        assert_eq!(books.published, books.written + withheld + lost + books.pending, "{books:?}");
        assert!(self.frames <= books.written, "{} frames came: {books:?}", self.frames);
    }

    fn leave(&mut self, seen: &mut Seen) {
        self.egress.abandon();
        let books = self.egress.look(|readings| readings[0].status()).0;
        let withheld = books.withheld.echo + books.withheld.latest;
        let lost = books.lost.bytes + books.lost.datagrams + books.lost.age + books.lost.closed;
        assert_eq!((books.published, books.pending), (books.written + withheld + lost, 0), "{books:?}");
        seen.written += books.written;
        seen.lost += lost;
        seen.withheld += withheld;
        seen.closed += u64::from(self.code == Some(4508));
        self.subscriptions.clear();
        assert!(Rc::strong_count(&self.egress) == 1, "nobody else holds the write path");
    }
}

/// The first whole frame of a server: its first byte, its payload, its length in all.
fn frame(bytes: &[u8]) -> Option<(u8, &[u8], usize)> {
    let (&first, &second) = (bytes.first()?, bytes.get(1)?);
    let (length, header) = match second {
        126 => (usize::from(u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?)), 4),
        127 => (usize::try_from(u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?)).unwrap(), 10),
        short => (usize::from(short), 2),
    };
    Some((first, bytes.get(header..header + length)?, header + length))
}

fn address(number: usize) -> SocketAddr {
    let [a, b, c] = NETWORK;
    SocketAddr::from(([a, b, c, number as u8], PORT))
}

/// As the gateway's own type.
trait ParseGroup {
    fn parse_group(&self) -> wscast::model::group::Group;
}

impl ParseGroup for SocketAddr {
    fn parse_group(&self) -> wscast::model::group::Group {
        self.to_string().parse().unwrap()
    }
}
