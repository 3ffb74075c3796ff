//! What a client of `wscast.v1` joins, leaves and asks for.

use std::rc::Rc;
use std::time::Duration;

use hyper::StatusCode;

use crate::hub::cursor::Cursor;
use crate::hub::key::StreamKey;
use crate::hub::stream::Stream;
use crate::hub::subscribe_error::SubscribeError;
use crate::hub::subscription::{Encoding, Subscription};
use crate::lan::membership::Remedy;
use crate::model::control::{self, ErrorCode, ErrorNotice, Join, JoinNamed, Left, LossCause, Notice, Resume};
use crate::model::request::{Overflow, Replay, StreamOptions, StreamRequest, Target};
use crate::model::transport::Transport;
use crate::web::opening::Opening;
use crate::web::refusal::Refusal;
use crate::web::rights::Rights;
use crate::web::v1::reading::{Reading, put};
use crate::web::v1::session::Session;

/// A stream that the client has joined.
pub struct Joined {
    number: u32,
    key: StreamKey,
    /// Where the egress keeps it.
    slot: usize,
    /// Its name in the configuration, where it was asked for by that.
    name: Option<String>,
    _subscription: Subscription,
}

/// How the client wants to hear.
struct Wishes {
    overflow: Overflow,
    echo: bool,
    replay: Replay,
    resume: Option<Resume>,
    latency: Option<Duration>,
    /// The stream's name in the configuration, where it was asked for by that.
    name: Option<String>,
}

impl Session {
    pub(super) fn join(&self, id: Option<u64>, join: Join) {
        let Join { group, filter, interface, echo, overflow, replay, latency, resume } = join;
        let options =
            StreamOptions { interface, overflow, echo, replay, latency, ..StreamOptions::default() };
        let transport = Transport::Udp;
        self.join_all(
            id,
            StreamRequest { target: Target::Group { group, filter }, transport, options },
            resume,
        );
    }

    pub(super) fn join_named(&self, id: Option<u64>, join: JoinNamed) {
        let JoinNamed { name, exclude, interface, echo, overflow, replay, latency, resume } = join;
        let options =
            StreamOptions { interface, overflow, echo, replay, latency, exclude, ..StreamOptions::default() };
        let seen = self.connection.identity().is_some_and(|identity| identity.grant().streams.contain(&name));
        if !seen || !self.server.config().streams.contains_key(&name) {
            // The same words for one that there is not and one that this client may not see.
            return self.refuse(id, ErrorCode::NoSuchStream, "there is no stream of that name");
        }
        // Of a named stream the configuration says the transport.
        let transport = Transport::Udp;
        self.join_all(id, StreamRequest { target: Target::Named(name), transport, options }, resume);
    }

    fn join_all(&self, id: Option<u64>, request: StreamRequest, resume: Option<Resume>) {
        let (config, hub) = (self.server.config(), self.server.hub());
        let Some(identity) = self.connection.identity() else { return };
        let StreamOptions { overflow, echo, replay, latency, .. } = request.options.clone();
        let name = match &request.target {
            Target::Named(name) => Some(name.clone()),
            Target::Group { .. } => None,
        };
        let opening = match Opening::check(request, &config, identity.grant(), &hub.interfaces()) {
            Ok(opening) => opening,
            Err(refusal) => return self.refuse(id, code_of(&refusal), refusal.words()),
        };
        let wishes = Wishes { overflow, echo, replay, resume, latency, name };
        for key in opening.keys {
            self.join_one(id, key, &wishes);
        }
    }

    fn join_one(&self, id: Option<u64>, key: StreamKey, wishes: &Wishes) {
        let known = self.joined.borrow().iter().find(|joined| joined.key == key).map(|joined| joined.number);
        if let Some(number) = known {
            let message = format!("{} is joined already: leave stream {number} first", key.group);
            let error = ErrorNotice::new(ErrorCode::AlreadyJoined, message);
            return self.tell_error(ErrorNotice { id, stream: Some(number), ..error });
        }
        let most = self.most_streams();
        if most.is_some_and(|most| self.joined.borrow().len() >= most as usize) {
            let message =
                "this session has as many streams as it may (--limit streams-per-session): leave one first";
            return self.refuse(id, ErrorCode::TooManyStreams, message);
        }
        let stream = match self.server.hub().stream(&key) {
            Ok(stream) => stream,
            Err(error) => {
                let (code, retry) = match &error {
                    SubscribeError::Streams(_)
                    | SubscribeError::Subscriptions(_)
                    | SubscribeError::Memory => (ErrorCode::Overloaded, true),
                    SubscribeError::JoinRate => (ErrorCode::JoinRate, true),
                    SubscribeError::Join(failed) => {
                        (ErrorCode::JoinFailed, matches!(failed.remedy, Remedy::Interface | Remedy::Others))
                    }
                };
                let error = ErrorNotice::new(code, error.to_string());
                return self.tell_error(ErrorNotice { id, retry, ..error });
            }
        };
        stream.begin_records();
        let (cursor, lost) = self.start(&stream, wishes);
        let number = stream.number();
        let reading = Reading::new(Rc::clone(&stream), cursor, wishes.overflow, wishes.echo);
        let slot = self.egress.add(reading, |reading, control| {
            put(
                control,
                &Notice::Joined(control::Joined {
                    id,
                    stream: number,
                    interface: reading.stream.interface().into(),
                    state: reading.told_state(),
                    next_sequence: reading.cursor.sequence() as u32,
                }),
            );
            if let Some((datagrams, cause)) = lost {
                reading.tell(datagrams, cause, control);
            }
        });
        let (subscriber, name) = (Rc::clone(&self.egress) as _, wishes.name.clone());
        let subscription = Subscription::new(stream, Encoding::Records, subscriber, slot, wishes.latency);
        self.joined.borrow_mut().push(Joined { number, key, slot, name, _subscription: subscription });
    }

    /// Where the client begins, and what it has missed if it was there before.
    fn start(&self, stream: &Stream, wishes: &Wishes) -> (Cursor, Option<(Option<u64>, LossCause)>) {
        let (log, bounds, now) = (stream.records(), self.server.hub().replay_bounds(), stream.now());
        let Some(resume) = &wishes.resume else {
            return (Cursor::new(&log, wishes.replay, bounds, now), None);
        };
        let head = log.head_sequence();
        let behind = (head as u32).wrapping_sub(resume.after.wrapping_add(1));
        // What seems to be more than half of all numbers behind is before the head, where nobody has been.
        let wanted = head.checked_sub(u64::from(behind)).filter(|_| behind <= u32::MAX / 2);
        match wanted {
            Some(wanted) if resume.gateway == self.run_name() && resume.stream == stream.number() => {
                let cursor = Cursor::since(&log, wanted, bounds, now);
                let lost = cursor.sequence() - wanted;
                (cursor, (lost > 0).then_some((Some(lost), LossCause::Client)))
            }
            _ => (Cursor::new(&log, wishes.replay, bounds, now), Some((None, LossCause::Unknown))),
        }
    }

    /// Leaves the streams that may not be received any more, and says so; why the last of them.
    pub(super) fn revoke_streams(&self, rights: &Rights<'_>) -> Option<Refusal> {
        let denied = |joined: &Joined| {
            let refusal = rights.receive(&joined.key, joined.name.as_deref()).err()?;
            Some((joined.number, refusal))
        };
        let revoked: Vec<_> = self.joined.borrow().iter().filter_map(denied).collect();
        for (stream, refusal) in &revoked {
            let error = ErrorNotice::new(ErrorCode::NotAllowed, refusal.words());
            self.tell_error(ErrorNotice { stream: Some(*stream), ..error });
            self.leave(None, *stream);
        }
        revoked.into_iter().next_back().map(|(_, refusal)| refusal)
    }

    pub(super) fn leave(&self, id: Option<u64>, stream: u32) {
        let Some(joined) = self.take_joined(stream) else { return self.no_stream(id, stream) };
        if let Some(books) = self.egress.remove(joined.slot) {
            let mut ended = self.ended.get();
            ended.add_subscription(&books);
            self.ended.set(ended);
        }
        self.egress.tell(&Notice::Left(Left { id, stream }));
    }

    pub(super) fn grant(&self, id: Option<u64>, stream: u32, datagrams: u32) {
        let slot =
            self.joined.borrow().iter().find(|joined| joined.number == stream).map(|joined| joined.slot);
        match slot {
            Some(slot) => self.egress.grant(slot, datagrams),
            None => self.no_stream(id, stream),
        }
    }

    fn take_joined(&self, stream: u32) -> Option<Joined> {
        let mut joined = self.joined.borrow_mut();
        let place = joined.iter().position(|joined| joined.number == stream)?;
        Some(joined.swap_remove(place))
    }

    fn no_stream(&self, id: Option<u64>, stream: u32) {
        let message = format!("this session has no stream {stream}: its number stands in joined");
        let error = ErrorNotice::new(ErrorCode::UnknownStream, message);
        self.tell_error(ErrorNotice { id, stream: Some(stream), ..error });
    }
}

/// What a refusal of HTTP is called here.
pub(super) fn code_of(refusal: &Refusal) -> ErrorCode {
    match refusal.status() {
        StatusCode::BAD_REQUEST => ErrorCode::BadField,
        StatusCode::FORBIDDEN => ErrorCode::NotAllowed,
        StatusCode::NOT_FOUND => ErrorCode::NoInterface,
        _ => ErrorCode::Overloaded,
    }
}
