//! One shard's front: its connections, its conversations, and what it tells of them.

mod telling;

use std::cell::{Cell, RefCell, RefMut};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use slab::Slab;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::task::TaskTracker;
use tracing::{debug, error};

use crate::hub::containment::{Panicked, contain, contain_now};
use crate::hub::hub::Hub;
use crate::hub::settings::Tuning;
use crate::model::status::{ClosedSession, SessionStatus, Totals};
use crate::sys::transmit_batch::TransmitBatch;
use crate::web::access::{Access, unix_now};
use crate::web::admission::Admitted;
use crate::web::arrival::{Arrival, Detached};
use crate::web::connection::Connection;
use crate::web::facts::{Facts, ShardCommand};
use crate::web::http;
use crate::web::rest::RestPool;
use crate::web::setup::{ConfigNow, Setup};
use crate::web::socket::Socket;
use crate::web::v1::watching::Watching;

/// Bytes that hyper reads of a request's head besides its URL and its fields: the method, and what it takes to answer in
/// words what is a little too long.
const HEAD_ROOM: usize = 4 << 10;
/// Bytes below which hyper takes no bound.
const LEAST_HEAD: usize = 8 << 10;
/// Clients that catch up between two looks at everything else: each may write as much as the kernel takes.
const TURNS: usize = 16;
/// Time between looks at all conversations and streams.
pub const TICK: Duration = Duration::from_millis(250);

/// One conversation, of whatever kind.
pub trait Conversation {
    /// Each quarter of a second: deadlines.
    fn tick(&self, now: Instant);
    /// The gateway is stopping: to come to an end.
    fn drain(&self);
    /// The configuration is another one: to come to an end where it does not allow this any more; whether it does.
    fn check_again(&self) -> bool;
    /// Its books.
    fn status(&self) -> SessionStatus;
}

/// One shard's front.
pub struct Server {
    shard: usize,
    hub: Rc<Hub>,
    setup: RefCell<Rc<Setup>>,
    facts: Arc<Facts>,
    conversations: RefCell<Slab<Rc<dyn Conversation>>>,
    closed: RefCell<VecDeque<ClosedSession>>,
    totals: RefCell<Totals>,
    refused: RefCell<BTreeMap<String, u64>>,
    rest_pool: Rc<RestPool>,
    scratch: Rc<RefCell<Vec<u8>>>,
    turns: Semaphore,
    outgoing: RefCell<TransmitBatch>,
    watching: Watching,
    tasks: TaskTracker,
    stopping: Cell<bool>,
    /// Seconds since 1970, as of the last tick.
    unix_time: Cell<u64>,
}

/// A conversation's entry in its server; removed when dropped.
pub struct Registered {
    server: Rc<Server>,
    place: usize,
}

impl Server {
    /// A front for `hub`.
    #[must_use]
    pub fn new(shard: usize, hub: Rc<Hub>, setup: Setup, facts: Arc<Facts>) -> Rc<Self> {
        let rest_pool = RestPool::of(setup.config.threads);
        Rc::new(Server {
            shard,
            hub,
            setup: RefCell::new(Rc::new(setup)),
            facts,
            conversations: RefCell::default(),
            closed: RefCell::default(),
            totals: RefCell::default(),
            refused: RefCell::default(),
            rest_pool,
            turns: Semaphore::new(TURNS),
            scratch: Rc::new(RefCell::new(vec![0; 65536])),
            outgoing: RefCell::default(),
            watching: Watching::default(),
            tasks: TaskTracker::new(),
            stopping: Cell::new(false),
            unix_time: Cell::new(unix_now()),
        })
    }

    /// Does what it is asked, until it has been told to stop and all conversations have ended.
    pub async fn run(self: Rc<Self>, mut commands: mpsc::Receiver<ShardCommand>) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut stopped = None;
        loop {
            tokio::select! {
                _ = tick.tick() => self.tick(),
                () = self.tasks.wait(), if stopped.is_some() => break,
                command = commands.recv() => match command {
                    Some(ShardCommand::Serve(detached, arrival, admitted)) => {
                        self.accept(detached, *arrival, admitted);
                    }
                    Some(ShardCommand::Status(answer)) => {
                        // Whoever asked may have gone.
                        let _ = answer.send(self.status());
                    }
                    Some(ShardCommand::Apply(setup, answer)) => {
                        let _ = answer.send(self.apply(&setup));
                    }
                    Some(ShardCommand::Pulse(answer)) => {
                        let _ = answer.send(());
                    }
                    Some(ShardCommand::Stop(answer)) => {
                        self.stop();
                        stopped = Some(answer);
                    }
                    None => break,
                },
            }
        }
        self.hub.end_all();
        if let Some(answer) = stopped {
            let _ = answer.send(());
        }
    }

    /// Its hub.
    #[must_use]
    pub fn hub(&self) -> &Rc<Hub> {
        &self.hub
    }

    /// What it works by, now: a reload puts another in its place.
    #[must_use]
    pub fn setup(&self) -> Rc<Setup> {
        Rc::clone(&self.setup.borrow())
    }

    /// The configuration, now.
    #[must_use]
    pub fn config(&self) -> ConfigNow {
        ConfigNow::of(self.setup())
    }

    /// What the gateway as a whole knows.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Its number.
    #[must_use]
    pub fn shard(&self) -> usize {
        self.shard
    }

    /// Room for half-written large frames.
    #[must_use]
    pub fn rest_pool(&self) -> Rc<RestPool> {
        Rc::clone(&self.rest_pool)
    }

    /// A buffer for one datagram, for use between two waits.
    #[must_use]
    pub fn scratch(&self) -> Rc<RefCell<Vec<u8>>> {
        Rc::clone(&self.scratch)
    }

    /// One for each client that may catch up before everything else of the shard has its turn again.
    #[must_use]
    pub fn turns(&self) -> &Semaphore {
        &self.turns
    }

    /// What one session sends in one turn: empty before and after.
    pub fn outgoing(&self) -> RefMut<'_, TransmitBatch> {
        self.outgoing.borrow_mut()
    }

    /// The status for those who watch it.
    #[must_use]
    pub fn watching(&self) -> &Watching {
        &self.watching
    }

    /// Who may come in.
    #[must_use]
    pub fn access(&self) -> Arc<Access> {
        Arc::clone(&self.setup.borrow().access)
    }

    /// Seconds since 1970, as of the last tick.
    #[must_use]
    pub fn unix_time(&self) -> u64 {
        self.unix_time.get()
    }

    /// A number for a new session.
    #[must_use]
    pub fn next_session(&self) -> u64 {
        self.facts.sessions.fetch_add(1, Ordering::Relaxed)
    }

    /// Runs a conversation's task; stopping waits for it. A panic ends that task alone.
    pub fn spawn(self: &Rc<Self>, task: impl Future<Output = ()> + 'static) {
        let server = Rc::clone(self);
        self.tasks.spawn_local(async move {
            let _ = contain(task).await.inspect_err(|panicked| server.note_panic(panicked));
        });
    }

    /// Counts and tells a contained panic.
    fn note_panic(&self, Panicked(words): &Panicked) {
        self.facts.panics.fetch_add(1, Ordering::Relaxed);
        error!(panic = words, "a mistake of this program was contained: please report it");
    }

    /// Tells a panic of a session, which is counted when its books are closed, and clears what all sessions send with.
    pub fn note_failure(&self, Panicked(words): &Panicked) {
        self.outgoing.replace(TransmitBatch::default());
        error!(panic = words, "a mistake of this program ends this session: please report it");
    }

    /// Enters a conversation among those that tick, drain and tell.
    pub fn register(self: &Rc<Self>, conversation: Rc<dyn Conversation>) -> Registered {
        if self.stopping.get() {
            conversation.drain();
        }
        let place = self.conversations.borrow_mut().insert(conversation);
        Registered { server: Rc::clone(self), place }
    }

    /// Works by another configuration from now on; how many conversations that ended.
    fn apply(&self, setup: &Setup) -> usize {
        self.hub.apply(Tuning::of(&setup.config));
        self.setup.replace(Rc::new(setup.clone()));
        let conversations = self.conversations.borrow();
        conversations.iter().filter(|(_, conversation)| conversation.check_again()).count()
    }

    fn tick(&self) {
        self.hub.tick();
        self.unix_time.set(unix_now());
        let now = Instant::now();
        for (_, conversation) in self.conversations.borrow().iter() {
            let _ = contain_now(|| conversation.tick(now)).inspect_err(|panicked| self.note_panic(panicked));
        }
    }

    fn stop(&self) {
        self.stopping.set(true);
        self.tasks.close();
        for (_, conversation) in self.conversations.borrow().iter() {
            conversation.drain();
        }
    }

    fn accept(self: &Rc<Self>, detached: Detached, mut arrival: Arrival, admitted: Admitted) {
        let Some(ends) = arrival.ends else { return };
        let config = self.config();
        match detached.attach(&config.limits) {
            Ok(carrier) => {
                let stream = Socket::new(carrier, arrival.layer.take());
                let connection = Rc::new(Connection::new(&arrival, ends, admitted, &config.limits));
                self.spawn(Rc::clone(self).serve(stream, connection));
            }
            Err(error) => debug!(peer = %ends.peer, %error, "a connection was gone before it was served"),
        }
    }

    async fn serve(self: Rc<Self>, stream: Socket, connection: Rc<Connection>) {
        let service = {
            let (server, connection) = (Rc::clone(&self), Rc::clone(&connection));
            service_fn(move |request| http::handle(Rc::clone(&server), Rc::clone(&connection), request))
        };
        let config = self.config();
        let limits = &config.limits;
        let conversation = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header_time)
            .max_buf_size((limits.url_size + limits.header_size + HEAD_ROOM).max(LEAST_HEAD))
            .max_headers(limits.header_fields)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let mut conversation = std::pin::pin!(conversation);
        let mut overdue = std::pin::pin!(connection.handshake_overdue(limits.handshake_time));
        let mut draining = false;
        loop {
            tokio::select! {
                result = conversation.as_mut() => {
                    if let Err(error) = result {
                        debug!(peer = %connection.peer(), %error, "connection ended");
                    }
                    return;
                }
                () = connection.cut.notified() => return,
                () = overdue.as_mut() => return,
                () = self.facts.draining.cancelled(), if !draining => {
                    draining = true;
                    conversation.as_mut().graceful_shutdown();
                }
            }
        }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.server.conversations.borrow_mut().try_remove(self.place);
    }
}
