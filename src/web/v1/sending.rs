//! What a client of `wscast.v1` sends, and the answers that come back to it.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use tokio_util::task::AbortOnDropHandle;
use tracing::debug;

use crate::hub::hub::SenderError;
use crate::hub::sender::{OverRate, Sender, SenderKey, SessionRate};
use crate::model::control::{
    ErrorCode, ErrorNotice, Notice, OpenSend, OpenSendNamed, SenderClosed, SenderOpened,
};
use crate::model::record::{DATAGRAM_HEADER, Origin, RecordHeader, SendRecords};
use crate::model::request::{StreamOptions, StreamRequest, Target};
use crate::model::status::SenderStatus;
use crate::model::transport::Transport;
use crate::sys::transmit_batch::TransmitBatch;
use crate::web::line;
use crate::web::opening::Opening;
use crate::web::refusal::Refusal;
use crate::web::rights::Rights;
use crate::web::v1::egress::Egress;
use crate::web::v1::joining::code_of;
use crate::web::v1::session::Session;

/// A client over its send rate for so long is closed.
const FLOOD: Duration = Duration::from_secs(10);
/// Between two errors about records.
const TELL: Duration = Duration::from_secs(1);
/// Kinds of refused records, by code and sender, that wait to be told of; further ones are told with the last.
const REFUSALS: usize = 8;

/// The senders of a session.
pub struct Sending {
    senders: RefCell<Vec<Open>>,
    numbers: Cell<u32>,
    /// Whose datagrams the turn's batch holds.
    batched: RefCell<Option<(u32, Rc<Sender>)>>,
    rate: RefCell<Option<SessionRate>>,
    /// Since when, and when last, a send was over the rate.
    over_rate: Cell<Option<(Instant, Instant)>>,
    refused: RefCell<Vec<Refused>>,
    told: Cell<Option<Instant>>,
}

/// An open sender.
struct Open {
    number: u32,
    sender: Rc<Sender>,
    /// The stream's name in the configuration, where it was asked for by that.
    name: Option<String>,
    _replies: Option<AbortOnDropHandle<()>>,
}

/// Records that were not sent, for one reason.
struct Refused {
    code: ErrorCode,
    sender: Option<u32>,
    datagrams: u64,
    message: String,
}

impl Sending {
    /// Nothing yet, within a rate that all senders share.
    #[must_use]
    pub fn new(rate: Option<SessionRate>) -> Self {
        Sending {
            senders: RefCell::default(),
            numbers: Cell::new(0),
            batched: RefCell::new(None),
            rate: RefCell::new(rate),
            over_rate: Cell::new(None),
            refused: RefCell::default(),
            told: Cell::new(None),
        }
    }

    /// From now on this rate holds: nothing has been sent yet.
    pub fn set_rate(&self, rate: Option<SessionRate>) {
        self.rate.replace(rate);
    }

    /// The books of the open senders.
    #[must_use]
    pub fn status(&self) -> Vec<SenderStatus> {
        self.senders.borrow().iter().map(|open| open.sender.status()).collect()
    }

    /// Whether there is no sender.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.senders.borrow().is_empty()
    }

    /// Lets go of all senders.
    pub fn close_all(&self) {
        self.batched.take();
        self.senders.take();
    }

    fn find(&self, number: u32) -> Option<Rc<Sender>> {
        self.senders.borrow().iter().find(|open| open.number == number).map(|open| Rc::clone(&open.sender))
    }

    /// Takes note of records that were not sent.
    fn refuse(&self, code: ErrorCode, sender: Option<u32>, datagrams: u64, message: impl FnOnce() -> String) {
        let mut refused = self.refused.borrow_mut();
        let full = refused.len() >= REFUSALS;
        let known = refused.iter_mut().find(|one| one.code == code && (full || one.sender == sender));
        match known {
            Some(one) => one.datagrams += datagrams,
            None if full => {}
            None => refused.push(Refused { code, sender, datagrams, message: message() }),
        }
    }
}

impl Session {
    pub(super) fn open_send(&self, id: Option<u64>, open: &OpenSend) {
        let (config, hub) = (self.server.config(), self.server.hub());
        let Some(identity) = self.connection.identity() else { return };
        match Opening::sender_key(open, &config, identity.grant(), &hub.interfaces()) {
            Ok(key) => self.open_sender(id, key, None, open.replies),
            Err(refusal) => self.refuse(id, code_of(&refusal), refusal.words()),
        }
    }

    pub(super) fn open_send_named(&self, id: Option<u64>, open: OpenSendNamed) {
        let OpenSendNamed { name, interface, ttl, loopback, replies } = open;
        let (config, hub) = (self.server.config(), self.server.hub());
        let Some(identity) = self.connection.identity() else { return };
        let grant = identity.grant();
        let seen = grant.send_streams.contain(&name) || grant.streams.contain(&name);
        if !seen || !config.streams.contains_key(&name) {
            // The same words for one that there is not and one that this client may not see.
            return self.refuse(id, ErrorCode::NoSuchStream, "there is no stream of that name");
        }
        let options = StreamOptions { interface, ttl, loopback, receive: false, ..StreamOptions::default() };
        let target = Target::Named(name.clone());
        // Of a named stream the configuration says the transport.
        let request = StreamRequest { target, transport: Transport::Udp, options };
        match Opening::check(request, &config, grant, &hub.interfaces()).map(|opening| opening.sending) {
            Ok(Ok(key)) => self.open_sender(id, key, Some(name), replies),
            Ok(Err(words)) => self.refuse(id, ErrorCode::NotAllowed, &words),
            Err(refusal) => self.refuse(id, code_of(&refusal), refusal.words()),
        }
    }

    fn open_sender(&self, id: Option<u64>, key: SenderKey, name: Option<String>, replies: bool) {
        let most = self.most_streams();
        if most.is_some_and(|most| self.sending.senders.borrow().len() >= most as usize) {
            let message =
                "this session has as many senders as it may (--limit streams-per-session): close one first";
            return self.refuse(id, ErrorCode::TooManySenders, message);
        }
        let sender = match self.server.hub().sender_within(key, self.sending.rate.borrow().clone()) {
            Ok(sender) => sender,
            Err(error @ SenderError::NoInterface(..)) => {
                return self.refuse(id, ErrorCode::NoInterface, &error.to_string());
            }
            Err(error) => return self.refuse(id, ErrorCode::SendFailed, &error.to_string()),
        };
        let number = self.sending.numbers.get() + 1;
        self.sending.numbers.set(number);
        self.egress.withhold(sender.id());
        let interface = sender.interface().into();
        let source = sender.source();
        self.egress.tell(&Notice::Sender(SenderOpened { id, sender: number, interface, source }));
        let replies = replies.then(|| {
            let scratch = self.server.scratch();
            let passing = pass_replies(Rc::clone(&sender), number, scratch, Rc::clone(&self.egress));
            AbortOnDropHandle::new(tokio::task::spawn_local(passing))
        });
        self.sending.senders.borrow_mut().push(Open { number, sender, name, _replies: replies });
    }

    /// Closes the senders whose group may not be sent to any more, and says so; why the last of them.
    pub(super) fn revoke_senders(&self, rights: &Rights<'_>) -> Option<Refusal> {
        let denied =
            |open: &Open| Some((open.number, rights.send(open.sender.key(), open.name.as_deref()).err()?));
        let revoked: Vec<_> = self.sending.senders.borrow().iter().filter_map(denied).collect();
        for (sender, refusal) in &revoked {
            let error = ErrorNotice::new(ErrorCode::NotAllowed, refusal.words());
            self.tell_error(ErrorNotice { sender: Some(*sender), ..error });
            self.close_send(None, *sender);
        }
        revoked.into_iter().next_back().map(|(_, refusal)| refusal)
    }

    pub(super) fn close_send(&self, id: Option<u64>, sender: u32) {
        let mut senders = self.sending.senders.borrow_mut();
        let Some(place) = senders.iter().position(|open| open.number == sender) else {
            drop(senders);
            let message =
                format!("this session has no sender {sender}: its number stands in the answer to open_send");
            let error = ErrorNotice::new(ErrorCode::UnknownSender, message);
            return self.tell_error(ErrorNotice { id, sender: Some(sender), ..error });
        };
        let closed = senders.swap_remove(place).sender;
        drop(senders);
        self.egress.hear_again(closed.id());
        let mut ended = self.ended.get();
        ended.add_sender(&closed.status());
        self.ended.set(ended);
        self.egress.tell(&Notice::SenderClosed(SenderClosed { id, sender }));
    }

    /// One binary message: records, each one datagram to its sender's group.
    pub(super) fn hear_records(
        &self,
        message: &[u8],
        outgoing: &mut TransmitBatch,
        now: Instant,
    ) -> Result<(), (u16, String)> {
        let most = self.server.config().limits.send_size;
        for record in SendRecords::new(message) {
            let record = match record {
                Ok(record) => record,
                Err(error) => {
                    self.sending.refuse(ErrorCode::BadRecord, None, 1, || error.to_string());
                    self.count_message(now)?;
                    break;
                }
            };
            let number = record.sender;
            let Some(sender) = self.sending.find(number) else {
                let message =
                    || format!("this session has no sender {number}: open_send answers with a number");
                self.sending.refuse(ErrorCode::UnknownSender, Some(number), 1, message);
                self.count_message(now)?;
                continue;
            };
            let bytes = record.payload.len();
            if bytes > most {
                sender.refuse_size();
                let message = || format!("a datagram of {bytes} bytes, at most {most} (--limit send-size)");
                self.sending.refuse(ErrorCode::TooLarge, Some(number), 1, message);
                continue;
            }
            let other = self.sending.batched.borrow().as_ref().is_some_and(|(batched, _)| *batched != number);
            if other {
                self.send_batch(outgoing);
            }
            match sender.put(outgoing, record.payload, now) {
                Ok(()) => {
                    self.sending.batched.replace(Some((number, sender)));
                }
                Err(over) => {
                    let message = || "datagrams come faster than allowed (--limit send-rate)".to_owned();
                    self.sending.refuse(ErrorCode::Rate, Some(number), 1, message);
                    if over == OverRate::Own {
                        self.note_over_rate(now)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Hands what one sender has in the batch to the kernel.
    pub(super) fn send_batch(&self, outgoing: &mut TransmitBatch) {
        let Some((number, sender)) = self.sending.batched.take() else { return };
        let before = sender.refused().kernel;
        sender.send(outgoing);
        let refused = sender.refused().kernel - before;
        if refused > 0 {
            let message = || {
                "the kernel did not take it: its queue is full, there is no route, or a firewall".to_owned()
            };
            self.sending.refuse(ErrorCode::SendFailed, Some(number), refused, message);
        }
        self.tell_refusals(Instant::now());
    }

    /// Tells of records that were not sent, of one kind each second.
    pub(super) fn tell_refusals(&self, now: Instant) {
        if self.sending.told.get().is_some_and(|told| now.saturating_duration_since(told) < TELL) {
            return;
        }
        let mut refused = self.sending.refused.borrow_mut();
        if refused.is_empty() || self.egress.is_choked_or_blocked() {
            return;
        }
        let Refused { code, sender, datagrams, message } = refused.remove(0);
        drop(refused);
        self.sending.told.set(Some(now));
        let error = ErrorNotice::new(code, message);
        self.tell_error(ErrorNotice { sender, datagrams: Some(datagrams), ..error });
    }

    /// A client that is over its rate all the time is closed; others may have used up a shared rate.
    fn note_over_rate(&self, now: Instant) -> Result<(), (u16, String)> {
        let over_rate = &self.sending.over_rate;
        let since = match over_rate.get() {
            Some((since, last)) if now.saturating_duration_since(last) < Duration::from_secs(1) => since,
            _ => now,
        };
        over_rate.set(Some((since, now)));
        if now.saturating_duration_since(since) >= FLOOD {
            let reason = "rate: sending faster than allowed for 10 s (--limit send-rate-per-session)";
            return Err((4529, reason.to_owned()));
        }
        Ok(())
    }
}

/// Passes unicast answers on for as long as it is polled.
async fn pass_replies(sender: Rc<Sender>, number: u32, scratch: Rc<RefCell<Vec<u8>>>, egress: Rc<Egress>) {
    let mut sequence: u32 = 0;
    loop {
        let take = |payload: &[u8], source: SocketAddr| {
            let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            let header = RecordHeader {
                origin: Origin::Reply(number),
                sequence,
                source,
                ttl: None,
                arrival: u64::try_from(since.as_nanos()).unwrap_or(0),
                truncated: false,
                from_client: false,
            };
            sequence = sequence.wrapping_add(1);
            let mut record = Vec::with_capacity(DATAGRAM_HEADER + payload.len());
            header.put(payload, &mut record);
            egress.message(&record)
        };
        if let Err(error) = sender.reply(&scratch, take).await {
            debug!(%error, "reading replies");
            tokio::time::sleep(line::CLOSING).await;
        }
    }
}
