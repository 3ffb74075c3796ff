//! One WebSocket conversation on a raw stream: what arrives is written from the logs, what the client sends goes to the
//! group.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::task::AbortHandle;
use tracing::{Span, debug, info};

use crate::hub::sender::{OverRate, Sender, SenderKey};
use crate::hub::subscription::{Subscriber, Subscription};
use crate::model::status::{EndedParts, SessionStatus};
use crate::sys::transmit_batch::TransmitBatch;
use crate::web::asked::Revoked;
use crate::web::asking;
use crate::web::connection::Connection;
use crate::web::egress::Egress;
use crate::web::ending::{EndedBy, Ending};
use crate::web::line::{self, Heard, Line, Talker};
use crate::web::opening::{Joined, Opening};
use crate::web::reading::Reading;
use crate::web::server::{Conversation, Server};
use crate::web::socket::Socket;
use crate::web::write_path::WritePath;

/// A client over its send rate for so long is closed.
const FLOOD: Duration = Duration::from_secs(10);

/// A conversation from the handshake to the last byte.
pub struct Session {
    server: Rc<Server>,
    number: u64,
    connection: Rc<Connection>,
    opened: Instant,
    opening: Opening,
    /// How to send, or why it may not; a reload may change that.
    sending: RefCell<Result<SenderKey, String>>,
    egress: Rc<Egress>,
    subscriptions: RefCell<Vec<Subscription>>,
    line: Line,
    sender: RefCell<Option<Rc<Sender>>>,
    replies: RefCell<Option<AbortHandle>>,
    /// The books of the sender that a reload took away.
    ended: Cell<EndedParts>,
    /// Since when, and when last, a send was over the rate.
    over_rate: Cell<Option<(Instant, Instant)>>,
}

impl Session {
    /// Claims the streams before the handshake is answered, so that nothing published from then on is missed.
    #[must_use]
    pub fn open(
        server: &Rc<Server>,
        connection: Rc<Connection>,
        opening: Opening,
        joined: Joined,
    ) -> Rc<Self> {
        let now = Instant::now();
        let Joined { readings, tables, .. } = joined;
        let streams: Vec<_> = readings.iter().map(|reading| Rc::clone(&reading.stream)).collect();
        let egress =
            Egress::new(readings, opening.options.overflow, server.hub().lag_bounds(), server.rest_pool());
        if !tables.is_empty() {
            // There is room for them: nothing has been written yet.
            egress.message(&tables);
        }
        let subscriber: Rc<dyn Subscriber> = Rc::clone(&egress) as _;
        let subscriptions = Subscription::all(streams, &subscriber, opening.options.latency);
        Rc::new(Session {
            number: server.next_session(),
            server: Rc::clone(server),
            connection,
            opened: now,
            sending: RefCell::new(opening.sending.clone()),
            opening,
            egress,
            subscriptions: RefCell::new(subscriptions),
            line: Line::new(&server.config().limits, now),
            sender: RefCell::new(None),
            replies: RefCell::new(None),
            ended: Cell::default(),
            over_rate: Cell::new(None),
        })
    }

    /// The span that its log lines carry.
    #[must_use]
    pub fn span(&self) -> Span {
        tracing::info_span!("session", number = self.number, peer = %self.connection.peer())
    }

    /// The client went away between its request and our answer.
    pub fn never_began(&self) {
        self.egress.abandon();
        self.subscriptions.take();
    }

    /// The conversation. `early` is what the client sent right behind its handshake.
    pub async fn run(self: Rc<Self>, stream: Socket, early: Bytes) {
        let socket = Rc::new(stream);
        info!(group = %self.opening.group, interface = self.opening.interface, "session opened");
        // What was read with the request wakes nobody.
        let unread = !early.is_empty() || socket.may_hold_input();
        self.line.attach(&self.server, &socket, early);
        let registered = self.server.register(Rc::clone(&self) as _);
        self.egress.attach(Rc::clone(&socket));
        line::converse(&self, &socket, unread).await;
        // Apart, so that no conversation carries the room for its end from its beginning.
        Box::pin(self.finish(&socket)).await;
        drop(registered);
    }

    /// One message of the client: one datagram to its group, if it may; otherwise the close that answers it.
    fn take_message(
        self: &Rc<Self>,
        outgoing: &mut TransmitBatch,
        payload: &[u8],
        now: Instant,
    ) -> Result<(), (u16, String)> {
        let most = self.server.config().limits.send_size;
        let sender = self.sender().map_err(|reason| (4403, format!("not_allowed: {reason}")))?;
        let bytes = payload.len();
        if bytes > most {
            sender.refuse_size();
            let reason = format!("datagram_too_large: {bytes} bytes, at most {most} (--limit send-size)");
            return Err((4413, reason));
        }
        // Others may have used up a shared rate.
        if sender.put(outgoing, payload, now) == Err(OverRate::Own) {
            let since = match self.over_rate.get() {
                Some((since, last)) if now.saturating_duration_since(last) < Duration::from_secs(1) => since,
                _ => now,
            };
            self.over_rate.set(Some((since, now)));
            if now.saturating_duration_since(since) >= FLOOD {
                let reason = "rate: sending faster than allowed for 10 s (--limit send-rate-per-session)";
                return Err((4529, reason.to_owned()));
            }
        }
        Ok(())
    }

    /// The session's sender, opened by its first message.
    fn sender(self: &Rc<Self>) -> Result<Rc<Sender>, String> {
        if let Some(sender) = self.sender.borrow().as_ref() {
            return Ok(Rc::clone(sender));
        }
        let key = self.sending.borrow().clone()?;
        let rate = asking::session_rate(&self.server, &self.connection);
        let sender = self.server.hub().sender_within(key, rate).map_err(|error| error.to_string())?;
        if !self.opening.options.echo {
            self.egress.withhold(sender.id());
        }
        if self.opening.options.replies {
            let (session, sender) = (Rc::downgrade(self), Rc::clone(&sender));
            let (scratch, egress) = (self.server.scratch(), Rc::clone(&self.egress));
            let task = tokio::task::spawn_local(async move {
                while session.strong_count() > 0 {
                    let taken = sender.reply(&scratch, |reply, _| egress.message(reply)).await;
                    if let Err(error) = taken {
                        debug!(%error, "reading replies");
                        tokio::time::sleep(line::CLOSING).await;
                    }
                }
            });
            self.replies.replace(Some(task.abort_handle()));
        }
        self.sender.replace(Some(Rc::clone(&sender)));
        Ok(sender)
    }

    fn close(&self, code: u16, reason: String) {
        self.egress.end(Ending { code, reason, by: EndedBy::Gateway }, &[], false);
    }

    /// Writes what must still be written, waits for the client's side, and closes the books.
    async fn finish(&self, socket: &Socket) {
        let ending = line::finish(&*self.egress, socket).await;
        if let Some(replies) = self.replies.take() {
            replies.abort();
        }
        self.server.closed(self.status(), &ending);
        // The streams keep hold of the egress as long as it is subscribed.
        self.subscriptions.take();
        self.sender.take();
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
        match message {
            Heard::Text(text) => self.take_message(outgoing, text.as_bytes(), now),
            Heard::Binary(payload) => self.take_message(outgoing, payload, now),
        }
    }

    fn send(&self, outgoing: &mut TransmitBatch) {
        if let Some(sender) = self.sender.borrow().as_ref() {
            sender.send(outgoing);
        }
    }
}

impl Conversation for Session {
    fn tick(&self, now: Instant) {
        if self.egress.is_ending() {
            return;
        }
        if self.connection.is_expired(self.server.unix_time()) {
            return self.close(4401, asking::EXPIRED.to_owned());
        }
        self.egress.check_lag();
        self.line.tick(&self.server, &*self.egress, now);
    }

    fn drain(&self) {
        self.close(1001, "draining: the gateway is stopping".to_owned());
    }

    fn check_again(&self) -> bool {
        if self.egress.ending().is_some() {
            return false;
        }
        if let Some(Revoked { code, reason }) = self.opening.asked.revoked(&self.server, &self.connection) {
            self.close(code, reason);
            return true;
        }
        let sending = self.opening.asked.sending(&self.server, &self.connection);
        if sending.is_err() {
            // Who sends again is told and closed.
            if let Some(replies) = self.replies.take() {
                replies.abort();
            }
            if let Some(sender) = self.sender.take() {
                let mut ended = self.ended.get();
                ended.add_sender(&sender.status());
                self.ended.set(ended);
            }
        }
        *self.sending.borrow_mut() = sending;
        false
    }

    fn status(&self) -> SessionStatus {
        let ended = self.ended.get();
        let (subscriptions, bytes) =
            self.egress.look(|readings| readings.iter().map(Reading::status).collect());
        SessionStatus {
            number: self.number,
            shard: self.server.shard(),
            peer: self.connection.peer().to_string(),
            kind: "websocket",
            principal: self.connection.principal(),
            seconds: self.opened.elapsed().as_secs_f64(),
            blocked: self.egress.is_blocked(),
            bytes,
            subscriptions,
            sender: self.sender.borrow().as_ref().map(|sender| sender.status()),
            senders: Vec::new(),
            ended: (ended != EndedParts::default()).then_some(ended),
        }
    }
}
