//! One conversation in `wscast.v1`: what the client asks for and what it is told.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use tokio_util::task::AbortOnDropHandle;
use tracing::{Span, info};

use crate::model::bucket::TokenBucket;
use crate::model::config::Config;
use crate::model::control::{
    Action, Command, ErrorCode, ErrorNotice, Heartbeat, Hello, HelloLimits, LONGEST_COMMAND, Notice, Pong,
};
use crate::model::status::{EndedParts, SessionStatus};
use crate::sys::random;
use crate::sys::transmit_batch::TransmitBatch;
use crate::web::asked::Revoked;
use crate::web::asking;
use crate::web::connection::Connection;
use crate::web::ending::{EndedBy, Ending};
use crate::web::line::{self, Heard, Line, Talker};
use crate::web::refusal::Refusal;
use crate::web::rights::Rights;
use crate::web::server::{Conversation, Server};
use crate::web::socket::Socket;
use crate::web::v1::egress::Egress;
use crate::web::v1::joining::Joined;
use crate::web::v1::sending::Sending;
use crate::web::write_path::WritePath;

/// Time between heartbeats.
const HEARTBEAT: Duration = Duration::from_secs(20);
/// How long a client may take to say who it is, where it has to.
const AUTH: Duration = Duration::from_secs(5);
/// Those who are sent away together come back over this time, and not before the least.
const RECONNECT: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(2));

/// A conversation from the handshake to the last byte.
pub struct Session {
    pub(super) server: Rc<Server>,
    number: u64,
    pub(super) connection: Rc<Connection>,
    /// Until when its token has to come, where one is wanted and none has.
    pub(super) wants_token: Cell<Option<Instant>>,
    opened: Instant,
    line: Line,
    pub(super) egress: Rc<Egress>,
    pub(super) joined: RefCell<Vec<Joined>>,
    pub(super) sending: Sending,
    /// The books of what it has left and closed.
    pub(super) ended: Cell<EndedParts>,
    watch: RefCell<Option<AbortOnDropHandle<()>>>,
    /// The rate of what the client may say, where there is one.
    messages: Option<RefCell<TokenBucket>>,
    next_heartbeat: Cell<Instant>,
}

impl Session {
    /// Before the handshake is answered.
    #[must_use]
    pub fn open(server: &Rc<Server>, connection: Rc<Connection>) -> Rc<Self> {
        let (now, hub) = (Instant::now(), server.hub());
        let rate = server.config().limits.control_messages;
        Rc::new(Session {
            number: server.next_session(),
            wants_token: Cell::new(connection.identity().is_none().then_some(now + AUTH)),
            opened: now,
            line: Line::new(&server.config().limits, now),
            egress: Egress::new(hub.lag_bounds(), server.rest_pool(), Rc::clone(hub.gathering())),
            joined: RefCell::default(),
            sending: Sending::new(asking::session_rate(server, &connection)),
            connection,
            ended: Cell::default(),
            watch: RefCell::new(None),
            messages: rate
                .map(|rate| RefCell::new(TokenBucket::new(u64::from(rate), u64::from(rate) * 2, now))),
            next_heartbeat: Cell::new(now + HEARTBEAT),
            server: Rc::clone(server),
        })
    }

    /// The span that its log lines carry.
    #[must_use]
    pub fn span(&self) -> Span {
        tracing::info_span!("session", number = self.number, peer = %self.connection.peer())
    }

    /// The conversation. `early` is what the client sent right behind its handshake.
    pub async fn run(self: Rc<Self>, stream: Socket, early: Bytes) {
        let socket = Rc::new(stream);
        info!("wscast.v1 session opened");
        // What was read with the request wakes nobody.
        let unread = !early.is_empty() || socket.may_hold_input();
        self.line.attach(&self.server, &socket, early);
        let registered = self.server.register(Rc::clone(&self) as _);
        if self.wants_token.get().is_none() {
            self.hello();
        }
        self.egress.attach(Rc::clone(&socket));
        line::converse(&self, &socket, unread).await;
        // Apart, so that no conversation carries the room for its end from its beginning.
        Box::pin(self.finish(&socket)).await;
        drop(registered);
    }

    pub(super) fn hello(&self) {
        let config = self.server.config();
        let limits = &config.limits;
        self.egress.tell(&Notice::Hello(Hello {
            gateway: self.run_name().into(),
            version: env!("CARGO_PKG_VERSION").into(),
            limits: HelloLimits {
                streams: self.most_streams(),
                datagram: u32::try_from(limits.send_size).unwrap_or(u32::MAX),
            },
            heartbeat: HEARTBEAT.as_secs() as u32,
        }));
    }

    /// The name under which sequences compare: each shard numbers the datagrams of its own copy of a stream.
    pub(super) fn run_name(&self) -> String {
        let id = &self.server.facts().id;
        if self.server.config().threads.get() == 1 {
            id.clone()
        } else {
            format!("{id}-{}", self.server.shard())
        }
    }

    /// How many streams, and how many senders, it may have.
    pub(super) fn most_streams(&self) -> Option<u32> {
        let own = self.connection.identity().and_then(|identity| identity.grant().streams_per_session);
        own.or(self.server.config().limits.streams_per_session)
    }

    /// Tells what can't be done.
    pub(super) fn refuse(&self, id: Option<u64>, code: ErrorCode, message: &str) {
        self.tell_error(ErrorNotice { id, ..ErrorNotice::new(code, message) });
    }

    pub(super) fn tell_error(&self, error: ErrorNotice<'_>) {
        self.egress.tell(&Notice::Error(error));
    }

    /// Ends what `config` does not allow, each with an error and the answer of its leave; why the last of them.
    fn revoke(&self, config: &Config) -> Option<Refusal> {
        let identity = self.connection.identity()?;
        let interfaces = self.server.hub().interfaces().clone();
        let rights = Rights { config, grant: identity.grant(), interfaces: &interfaces };
        let streams = self.revoke_streams(&rights);
        self.revoke_senders(&rights).or(streams)
    }

    fn has_nothing(&self) -> bool {
        self.joined.borrow().is_empty() && self.sending.is_empty()
    }

    /// What the client says costs one of its messages; the error is the close that answers a flood.
    pub(super) fn count_message(&self, now: Instant) -> Result<(), (u16, String)> {
        let room = self.messages.as_ref().is_none_or(|bucket| bucket.borrow_mut().take(1, now));
        let reason = || "flood: more messages a second than allowed (--limit control-messages)".to_owned();
        if room { Ok(()) } else { Err((1008, reason())) }
    }

    fn hear_text(self: &Rc<Self>, text: &str) -> Result<(), (u16, String)> {
        let command = match Command::decode(text) {
            Ok(command) => command,
            Err(error) => {
                self.tell_error(error.notice());
                if text.len() > LONGEST_COMMAND {
                    let reason = format!("too_long: {} bytes of text, at most {LONGEST_COMMAND}", text.len());
                    return Err((4400, reason));
                }
                return Ok(());
            }
        };
        let id = command.id;
        if self.wants_token.get().is_some() && !matches!(command.action, Action::Auth { .. }) {
            return Err((4401, asking::wanted().to_string()));
        }
        match command.action {
            Action::Join(join) => self.join(id, *join),
            Action::JoinNamed(join) => self.join_named(id, *join),
            Action::Leave { stream } => self.leave(id, stream),
            Action::Credit { stream, datagrams } => self.grant(id, stream, datagrams),
            Action::OpenSend(open) => self.open_send(id, &open),
            Action::OpenSendNamed(open) => self.open_send_named(id, open),
            Action::CloseSend { sender } => self.close_send(id, sender),
            Action::Auth { token } => return self.authenticate(id, &token),
            Action::Ping => self.egress.tell(&Notice::Pong(Pong { id })),
            Action::Watch { interval: Some(_) } if !self.may_watch() => {
                self.refuse(id, ErrorCode::NotAllowed, asking::NO_STATUS);
            }
            Action::Watch { interval } => {
                let watch = interval.map(|interval| {
                    let watching = super::watching::watch(
                        Rc::clone(&self.server),
                        Rc::clone(&self.egress),
                        id,
                        interval,
                    );
                    AbortOnDropHandle::new(tokio::task::spawn_local(watching))
                });
                self.watch.replace(watch);
            }
        }
        Ok(())
    }

    /// Writes what must still be written, waits for the client's side, and closes the books.
    async fn finish(&self, socket: &Socket) {
        self.watch.take();
        let ending = line::finish(&*self.egress, socket).await;
        self.server.closed(self.status(), &ending);
        // The streams keep hold of the egress as long as it is subscribed.
        self.joined.take();
        self.sending.close_all();
    }
}

impl Talker for Session {
    fn line(&self) -> &Line {
        &self.line
    }

    fn server(&self) -> &Rc<Server> {
        &self.server
    }

    fn writer(&self) -> &dyn WritePath {
        &*self.egress
    }

    fn hear(
        self: &Rc<Self>,
        message: Heard<'_>,
        outgoing: &mut TransmitBatch,
        now: Instant,
    ) -> Result<(), (u16, String)> {
        // What is answered in one turn leaves in one write.
        self.egress.hold();
        match message {
            Heard::Text(text) => {
                // What was sent before leaves before: a sender may be closed.
                self.send_batch(outgoing);
                self.count_message(now).and_then(|()| self.hear_text(text))
            }
            Heard::Binary(_) if self.wants_token.get().is_some() => Err((4401, asking::wanted().to_string())),
            Heard::Binary(records) => self.hear_records(records, outgoing, now),
        }
    }

    fn send(&self, outgoing: &mut TransmitBatch) {
        self.send_batch(outgoing);
        self.egress.release();
    }
}

impl Conversation for Session {
    fn tick(&self, now: Instant) {
        if self.egress.is_ending() {
            return;
        }
        if let Some((code, reason)) = self.overdue(now) {
            return self.egress.end(Ending { code, reason, by: EndedBy::Gateway }, &[], false);
        }
        self.egress.tick();
        self.tell_refusals(now);
        if now >= self.next_heartbeat.get() && self.wants_token.get().is_none() {
            self.next_heartbeat.set(now + HEARTBEAT);
            let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            if !self.egress.is_blocked() {
                self.egress.tell(&Notice::Heartbeat(Heartbeat { time: since.as_secs_f64() }));
            }
        }
        self.line.tick(&self.server, &*self.egress, now);
    }

    fn drain(&self) {
        let (least, most) = RECONNECT;
        let spread = random::number() % (most - least).as_millis() as u64;
        let reconnect_after_ms = least.as_millis() as u32 + spread as u32;
        self.egress.tell(&Notice::Draining { reconnect_after_ms });
        let reason = "draining: the gateway is stopping".to_owned();
        self.egress.end(Ending { code: 1001, reason, by: EndedBy::Gateway }, &[], false);
    }

    fn check_again(&self) -> bool {
        if self.egress.ending().is_some() {
            return false;
        }
        let setup = self.server.setup();
        let revoked = match self.connection.check_again(&setup) {
            Err(refusal) => Some(refusal),
            // Who is left with nothing that it had is closed, with the reason of the last.
            Ok(()) => self.revoke(&setup.config).filter(|_| self.has_nothing()),
        };
        let Some(refusal) = revoked else { return false };
        let Revoked { code, reason } = Revoked::by(&refusal);
        self.egress.end(Ending { code, reason, by: EndedBy::Gateway }, &[], false);
        true
    }

    fn status(&self) -> SessionStatus {
        let (subscriptions, bytes) = self.egress.look();
        let ended = self.ended.get();
        SessionStatus {
            number: self.number,
            shard: self.server.shard(),
            peer: self.connection.peer().to_string(),
            kind: "wscast.v1",
            principal: self.connection.principal(),
            seconds: self.opened.elapsed().as_secs_f64(),
            blocked: self.egress.is_blocked(),
            bytes,
            subscriptions,
            sender: None,
            senders: self.sending.status(),
            ended: (ended != EndedParts::default()).then_some(ended),
        }
    }
}
