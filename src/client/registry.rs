//! What a program has asked for, and what of it stands at the gateway. Decisions only: no I/O, time passed in.

mod standing;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::ClientError;
use super::dial::Welcome;
use super::queue::{Event, Loss, LossPlace, Queue};
use super::sender::SenderState;
use super::wanted::{WantedSender, WantedStream};
use crate::model::control::{
    Action, Command, ErrorCode, ErrorNotice, Joined, LossCause, Lost, Notice, Resume, SenderOpened,
    StateChanged,
};
use crate::model::record::{Origin, Record, RecordError, Records};

use standing::{Again, Opened, Running, Subscribed, datagram, takes_sequences};

pub(super) type Answer = oneshot::Sender<Result<(), ClientError>>;

/// What a program wants; `key` names its subscription or sender for ever.
#[derive(Debug)]
pub(super) enum Request {
    Join { key: u64, wanted: Box<WantedStream>, queue: Arc<Queue>, answer: Answer },
    Leave(u64),
    Open { key: u64, wanted: Box<WantedSender>, queue: Arc<Queue>, state: Arc<SenderState>, answer: Answer },
    Close(u64),
    Goodbye(oneshot::Sender<()>),
}

/// All subscriptions and senders of one program.
#[derive(Debug, Default)]
pub(super) struct Registry {
    subscriptions: BTreeMap<u64, Subscribed>,
    senders: BTreeMap<u64, Opened>,
    /// The streams of this connection, by the gateway's number.
    streams: BTreeMap<u32, Running>,
    /// The senders of this connection, by the gateway's number.
    numbers: BTreeMap<u32, u64>,
    /// The gateway that is connected; `None` while it is away.
    welcome: Option<Welcome>,
    /// What is to be said to the gateway.
    pub(super) say: VecDeque<Command>,
}

impl Registry {
    /// Takes note of what the program wants. [`Request::Goodbye`] is not its business.
    pub(super) fn take(&mut self, request: Request) {
        match request {
            Request::Join { key, wanted, queue, answer } => {
                let (wanted, answer) = (*wanted, Some(answer));
                let again = Again::default();
                let subscribed = Subscribed {
                    wanted,
                    queue,
                    answer,
                    streams: Vec::new(),
                    ended: None,
                    away_since: None,
                    again,
                };
                self.subscriptions.insert(key, subscribed);
                self.ask_join(key);
            }
            Request::Leave(key) => self.leave(key),
            Request::Open { key, wanted, queue, state, answer } => {
                let (wanted, answer, interface) = (*wanted, Some(answer), "".into());
                let again = Again::default();
                self.senders
                    .insert(key, Opened { wanted, queue, state, answer, number: None, interface, again });
                self.ask_open(key);
            }
            Request::Close(key) => {
                if let Some(sender) = self.senders.remove(&key).and_then(|opened| opened.number) {
                    self.numbers.remove(&sender);
                    self.command(None, Action::CloseSend { sender });
                }
            }
            Request::Goodbye(_) => {}
        }
    }

    /// A connection stands: everything is asked for again.
    pub(super) fn connected(&mut self, welcome: Welcome) {
        self.welcome = Some(welcome);
        for key in self.subscriptions.keys().copied().collect::<Vec<_>>() {
            self.ask_join(key);
        }
        for key in self.senders.keys().copied().collect::<Vec<_>>() {
            self.ask_open(key);
        }
    }

    /// The connection is lost.
    pub(super) fn disconnected(&mut self, now: Instant) {
        let gateway = self.welcome.take().map(|welcome| welcome.gateway);
        let streams = std::mem::take(&mut self.streams);
        self.say.clear();
        self.numbers.clear();
        for subscribed in self.subscriptions.values_mut() {
            subscribed.again.at = None;
            let numbers = std::mem::take(&mut subscribed.streams);
            if numbers.is_empty() {
                continue;
            }
            subscribed.away_since = Some(now);
            subscribed.queue.push(Event::Away);
            // Of several streams at once none can be resumed: one join answers for all.
            let alone = if let [number] = numbers[..] { streams.get_key_value(&number) } else { None };
            subscribed.ended = gateway.as_ref().zip(alone).map(|(gateway, (&stream, running))| {
                let after = running.expected.wrapping_sub(1);
                Resume { gateway: gateway.clone(), stream, after }
            });
        }
        for opened in self.senders.values_mut() {
            (opened.number, opened.again.at) = (None, None);
            opened.state.away();
        }
    }

    /// There will be no connection any more.
    pub(super) fn end(&mut self, reason: &ClientError) {
        for subscribed in std::mem::take(&mut self.subscriptions).into_values() {
            subscribed.end(reason.clone());
        }
        for opened in std::mem::take(&mut self.senders).into_values() {
            opened.end(reason.clone());
        }
    }

    /// Takes what the gateway says, but for `hello` and `draining`.
    pub(super) fn notice(&mut self, notice: Notice<'_>, now: Instant) {
        match notice {
            Notice::Joined(joined) => self.joined(&joined, now),
            Notice::Left(left) => {
                // Ours has been forgotten when it was asked for; this one the gateway ended.
                let keys = self.streams.remove(&left.stream).map_or_else(Vec::new, |running| running.keys);
                for key in keys {
                    self.stream_gone(key, left.stream);
                }
            }
            Notice::Sender(opened) => self.opened(&opened),
            Notice::SenderClosed(closed) => {
                let key = self.numbers.remove(&closed.sender);
                if let Some(opened) = key.and_then(|key| self.senders.remove(&key)) {
                    opened.end(ClientError::Ended);
                }
            }
            Notice::State(changed) => self.changed(&changed),
            Notice::Lost(lost) => self.lost(&lost),
            Notice::Error(error) => self.refused(error, now),
            Notice::Hello(_)
            | Notice::Authenticated(_)
            | Notice::Heartbeat(_)
            | Notice::Draining { .. }
            | Notice::Status(_)
            | Notice::Pong(_) => {}
        }
    }

    /// Takes a binary message. What stands before a mistake counts.
    pub(super) fn records(&mut self, message: &Bytes) -> Result<(), RecordError> {
        for record in Records::new(message) {
            let record = record?;
            match record.header.origin {
                Origin::Stream(number) => self.record(number, &record, message),
                Origin::Reply(number) => {
                    let key = self.numbers.get(&number);
                    if let Some(opened) = key.and_then(|key| self.senders.get(key)) {
                        let interface = Arc::clone(&opened.interface);
                        opened.queue.push(datagram(number, &record, message, interface));
                    }
                }
            }
        }
        Ok(())
    }

    /// The gateway's number of a sender that is open now. A datagram that finds none is counted as not sent.
    pub(super) fn sender_number(&self, key: u64) -> Option<u32> {
        let opened = self.senders.get(&key)?;
        if opened.number.is_none() {
            opened.state.refuse(1, None);
        }
        opened.number
    }

    /// When something is to be asked for again.
    pub(super) fn due(&self) -> Option<Instant> {
        self.agains().filter_map(|again| again.at).min()
    }

    /// Asks again for what is due at `now`.
    pub(super) fn ask_again(&mut self, now: Instant) {
        let due = |again: &Again| again.at.is_some_and(|at| at <= now);
        let joins: Vec<u64> =
            self.subscriptions.iter().filter(|(_, one)| due(&one.again)).map(|(key, _)| *key).collect();
        let opens: Vec<u64> =
            self.senders.iter().filter(|(_, one)| due(&one.again)).map(|(key, _)| *key).collect();
        joins.into_iter().for_each(|key| self.ask_join(key));
        opens.into_iter().for_each(|key| self.ask_open(key));
    }

    fn agains(&self) -> impl Iterator<Item = &Again> {
        let joins = self.subscriptions.values().map(|subscribed| &subscribed.again);
        joins.chain(self.senders.values().map(|opened| &opened.again))
    }

    fn command(&mut self, id: Option<u64>, action: Action) {
        if self.welcome.is_some() {
            self.say.push_back(Command { id, action });
        }
    }

    fn ask_join(&mut self, key: u64) {
        let (Some(welcome), Some(subscribed)) = (&self.welcome, self.subscriptions.get_mut(&key)) else {
            return;
        };
        subscribed.again.at = None;
        let action = match &subscribed.ended {
            Some(ended) => {
                let same = Some(ended.clone()).filter(|ended| ended.gateway == welcome.gateway);
                subscribed.wanted.again(same)
            }
            None => subscribed.wanted.action(),
        };
        self.command(Some(key), action);
    }

    fn ask_open(&mut self, key: u64) {
        let Some(opened) = self.senders.get_mut(&key) else { return };
        opened.again.at = None;
        let action = opened.wanted.action();
        self.command(Some(key), action);
    }

    fn leave(&mut self, key: u64) {
        let Some(subscribed) = self.subscriptions.remove(&key) else { return };
        for stream in subscribed.streams {
            let Some(running) = self.streams.get_mut(&stream) else { continue };
            running.keys.retain(|other| *other != key);
            if running.keys.is_empty() {
                self.streams.remove(&stream);
                self.command(None, Action::Leave { stream });
            }
        }
    }

    fn joined(&mut self, joined: &Joined<'_>, now: Instant) {
        let stream = joined.stream;
        let gateway = self.welcome.as_ref().map(|welcome| &welcome.gateway);
        let subscribed = joined.id.and_then(|key| Some((key, self.subscriptions.get_mut(&key)?)));
        let Some((key, subscribed)) = subscribed else {
            // Nobody waits for it any more.
            self.command(None, Action::Leave { stream });
            return;
        };
        let ended = subscribed.ended.take();
        let resumed = ended.filter(|ended| Some(&ended.gateway) == gateway && ended.stream == stream);
        let gap = subscribed.back(resumed.is_some(), now);
        let expected = resumed.as_ref().map_or(joined.next_sequence, |ended| ended.after.wrapping_add(1));
        let running = Running {
            keys: vec![key],
            interface: joined.interface.as_ref().into(),
            state: joined.state,
            expected,
            settled: resumed.is_some(),
            told: 0,
            gap_told: gap,
        };
        subscribed.stands(stream, &running);
        self.streams.insert(stream, running);
    }

    /// The same stream for a second subscription.
    fn share(&mut self, key: u64, stream: u32, now: Instant) -> bool {
        let (Some(running), Some(subscribed)) =
            (self.streams.get_mut(&stream), self.subscriptions.get_mut(&key))
        else {
            return false;
        };
        subscribed.ended = None;
        subscribed.back(false, now);
        subscribed.stands(stream, running);
        running.keys.push(key);
        true
    }

    fn stream_gone(&mut self, key: u64, stream: u32) {
        let Some(subscribed) = self.subscriptions.get_mut(&key) else { return };
        subscribed.streams.retain(|other| *other != stream);
        if subscribed.streams.is_empty()
            && let Some(subscribed) = self.subscriptions.remove(&key)
        {
            subscribed.end(ClientError::Ended);
        }
    }

    fn opened(&mut self, notice: &SenderOpened<'_>) {
        let most = self.welcome.as_ref().map_or(0, |welcome| welcome.most);
        let opened = notice.id.and_then(|key| Some((key, self.senders.get_mut(&key)?)));
        let Some((key, opened)) = opened else {
            self.command(None, Action::CloseSend { sender: notice.sender });
            return;
        };
        opened.interface = notice.interface.as_ref().into();
        opened.number = Some(notice.sender);
        opened.again = Again::default();
        opened.state.open(Arc::clone(&opened.interface), notice.source, most);
        if let Some(answer) = opened.answer.take() {
            let _ = answer.send(Ok(()));
        }
        self.numbers.insert(notice.sender, key);
    }

    fn changed(&mut self, changed: &StateChanged<'_>) {
        let Some(running) = self.streams.get_mut(&changed.stream) else { return };
        running.state = changed.state;
        if *running.interface != *changed.interface {
            running.interface = changed.interface.as_ref().into();
        }
        let event = running.state_event();
        running.tell(&self.subscriptions, &event);
    }

    fn lost(&mut self, lost: &Lost) {
        let Some(running) = self.streams.get_mut(&lost.stream) else { return };
        if takes_sequences(lost.cause) {
            running.told = running.told.saturating_add(lost.datagrams.unwrap_or(0));
        }
        let known_gap = lost.cause == LossCause::Unknown && lost.datagrams.is_none();
        if lost.cause == LossCause::Echo || (known_gap && std::mem::take(&mut running.gap_told)) {
            return;
        }
        let time = lost.seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let loss = Loss { place: LossPlace::Gateway(lost.cause), datagrams: lost.datagrams, time };
        running.tell(&self.subscriptions, &Event::Lost(loss));
    }

    fn record(&mut self, number: u32, record: &Record<'_>, message: &Bytes) {
        let Some(running) = self.streams.get_mut(&number) else { return };
        let sequence = record.header.sequence;
        let ahead = sequence.wrapping_sub(running.expected).cast_signed();
        if ahead < 0 && running.settled {
            // What a resumed subscription has heard already.
            return;
        }
        let missing = u64::try_from(ahead).unwrap_or(0).saturating_sub(running.told);
        running.expected = sequence.wrapping_add(1);
        (running.settled, running.told, running.gap_told) = (true, 0, false);
        if missing > 0 {
            let loss = Loss { place: LossPlace::Unexplained, datagrams: Some(missing), time: None };
            running.tell(&self.subscriptions, &Event::Lost(loss));
        }
        let event = datagram(number, record, message, Arc::clone(&running.interface));
        running.tell(&self.subscriptions, &event);
    }

    fn refused(&mut self, error: ErrorNotice<'_>, now: Instant) {
        if let (Some(key), ErrorCode::AlreadyJoined, Some(stream)) = (error.id, error.code, error.stream)
            && self.share(key, stream, now)
        {
            return;
        }
        if let Some(opened) = error.sender.filter(|_| error.id.is_none()).and_then(|number| {
            let key = self.numbers.get(&number)?;
            self.senders.get(key)
        }) {
            opened.state.refuse(error.datagrams.unwrap_or(1), Some(error.message.into_owned()));
            return;
        }
        let Some(key) = error.id else { return };
        let (code, retry) = (error.code, error.retry);
        let denied = ClientError::Denied { code, message: error.message.into_owned(), retry };
        if let Some(subscribed) = self.subscriptions.get_mut(&key) {
            // Too fast is no refusal, and what stood once comes back when it can.
            if code == ErrorCode::JoinRate || (retry && subscribed.answer.is_none()) {
                subscribed.again.later(now);
            } else if let Some(subscribed) = self.subscriptions.remove(&key) {
                subscribed.end(denied);
            }
        } else if let Some(opened) = self.senders.get_mut(&key) {
            if code == ErrorCode::JoinRate || (retry && opened.answer.is_none()) {
                opened.again.later(now);
            } else if let Some(opened) = self.senders.remove(&key) {
                opened.end(denied);
            }
        }
    }
}

impl Drop for Registry {
    /// The task is gone, in order or not: nobody waits for ever.
    fn drop(&mut self) {
        self.end(&ClientError::Gone);
    }
}

#[cfg(test)]
mod tests;
