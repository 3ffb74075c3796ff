//! The task of a [`Gateway`](super::Gateway): talks, and comes back when the connection is lost.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{FutureExt, SinkExt, StreamExt};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::sleep_until;
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tracing::debug;

use super::backoff::{Backoff, random};
use super::dial::{Address, Socket, Welcome, dial, pause};
use super::registry::{Registry, Request};
use super::{ClientError, Link, Options};
use crate::model::control::Notice;
use crate::model::record::{RecordError, SendRecord};

/// Messages taken at once, before what is to be written gets its turn.
const TURN: usize = 64;
/// Messages that wait to be written before further datagrams are taken from senders.
const WAITING: usize = 16;
/// Bytes of records that share a message; one longer record has a message of its own.
const BATCH: usize = 16 << 10;
/// Our close may take this long.
const CLOSING: Duration = Duration::from_secs(1);
/// Far enough for a timer that is not set.
const NEVER: Duration = Duration::from_secs(24 * 3600);

/// Everything that the task owns.
pub(super) struct Connection {
    address: Address,
    options: Options,
    registry: Registry,
    requests: mpsc::UnboundedReceiver<Request>,
    datagrams: mpsc::Receiver<(u64, Bytes)>,
    link: watch::Sender<Link>,
}

/// How a conversation ended.
enum End {
    /// The program said goodbye.
    Goodbye(oneshot::Sender<()>),
    /// The connection is lost; the gateway may have said when to come back.
    Lost(ClientError, Option<Duration>),
}

/// One conversation.
struct Talk {
    sink: SplitSink<Socket, Message>,
    stream: SplitStream<Socket>,
    outgoing: VecDeque<Message>,
    flushed: bool,
    hint: Option<Duration>,
}

impl Connection {
    pub(super) fn new(
        address: Address,
        options: Options,
        registry: Registry,
        requests: mpsc::UnboundedReceiver<Request>,
        datagrams: mpsc::Receiver<(u64, Bytes)>,
        link: watch::Sender<Link>,
    ) -> Connection {
        Connection { address, options, registry, requests, datagrams, link }
    }

    /// Talks until the program says goodbye or the gateway sends this client away for good.
    pub(super) async fn run(mut self, socket: Socket, welcome: Welcome) {
        let mut next = Some((socket, welcome));
        let mut backoff = Backoff::default();
        while let Some((socket, welcome)) = next {
            let up = Instant::now();
            self.link.send_replace(welcome.link());
            self.registry.connected(welcome);
            let (reason, hint) = match self.talk(socket).await {
                End::Goodbye(done) => {
                    self.over(&ClientError::Gone);
                    let _ = done.send(());
                    return;
                }
                End::Lost(reason, hint) => (reason, hint),
            };
            let now = Instant::now();
            self.registry.disconnected(now);
            backoff.lost(up, now);
            next = self.come_back(reason, hint, &mut backoff).await;
        }
    }

    /// Tries again until it works; `None` where it never will, or the program said goodbye.
    async fn come_back(
        &mut self,
        mut reason: ClientError,
        mut hint: Option<Duration>,
        backoff: &mut Backoff,
    ) -> Option<(Socket, Welcome)> {
        loop {
            if reason.is_final() {
                self.over(&reason);
                return None;
            }
            self.link.send_replace(Link::Away(reason));
            let pause = backoff.pause(hint.take(), Instant::now(), random());
            let (address, options) = (self.address.clone(), self.options.clone());
            let attempt = async {
                tokio::time::sleep(pause).await;
                dial(&address, &options).await
            };
            match self.meanwhile(attempt).await? {
                Ok(next) => return Some(next),
                Err(error) => {
                    if let ClientError::Refused { retry_after, .. } = &error {
                        hint = *retry_after;
                    }
                    reason = error;
                }
            }
        }
    }

    /// Hears the program while `attempt` is under way; `None` where it said goodbye.
    async fn meanwhile<T>(&mut self, attempt: impl Future<Output = T>) -> Option<T> {
        let mut attempt = std::pin::pin!(attempt);
        loop {
            tokio::select! {
                result = &mut attempt => return Some(result),
                request = self.requests.recv() => match request {
                    Some(Request::Goodbye(done)) => {
                        self.over(&ClientError::Gone);
                        let _ = done.send(());
                        return None;
                    }
                    Some(request) => self.registry.take(request),
                    None => return None,
                },
                Some((key, _)) = self.datagrams.recv() => {
                    // Was on its way when the connection broke: counted, and stale by then.
                    self.registry.sender_number(key);
                }
            }
        }
    }

    async fn talk(&mut self, socket: Socket) -> End {
        let (sink, stream) = socket.split();
        let mut talk = Talk { sink, stream, outgoing: VecDeque::new(), flushed: true, hint: None };
        let mut silence = std::pin::pin!(tokio::time::sleep(self.options.silence));
        loop {
            talk.outgoing.extend(self.registry.say.drain(..).map(|command| Message::text(command.encode())));
            let now = Instant::now();
            let due = self.registry.due();
            let front = talk.outgoing.front().cloned();
            let room = talk.outgoing.len() < WAITING;
            tokio::select! {
                message = talk.stream.next() => {
                    silence.as_mut().reset(tokio::time::Instant::now() + self.options.silence);
                    if let Err(reason) = self.hear(message, &mut talk) {
                        return End::Lost(reason, talk.hint);
                    }
                }
                written = write(&mut talk.sink, front), if !talk.outgoing.is_empty() || !talk.flushed => match written {
                    // A message that was not taken when this was dropped is still the first.
                    Ok(()) => talk.flushed = talk.outgoing.pop_front().is_none(),
                    Err(error) => return End::Lost(self.address.unreachable(&error), talk.hint),
                },
                request = self.requests.recv() => match request {
                    Some(Request::Goodbye(done)) => {
                        self.goodbye(talk).await;
                        return End::Goodbye(done);
                    }
                    Some(request) => self.registry.take(request),
                    // The handle is gone without a word.
                    None => return End::Lost(ClientError::Gone, None),
                },
                Some(datagram) = self.datagrams.recv(), if room => {
                    talk.outgoing.extend(self.batch(datagram));
                }
                () = &mut silence => {
                    let (url, silence) = (self.address.url(), self.options.silence);
                    return End::Lost(ClientError::Silent { url, silence }, talk.hint);
                }
                () = sleep_until(due.unwrap_or(now + NEVER).into()), if due.is_some() => {
                    self.registry.ask_again(Instant::now());
                }
            }
        }
    }

    /// Takes a message and those behind it that are there already.
    fn hear(
        &mut self,
        first: Option<Result<Message, tungstenite::Error>>,
        talk: &mut Talk,
    ) -> Result<(), ClientError> {
        self.take(first, talk)?;
        for _ in 1..TURN {
            let Some(message) = talk.stream.next().now_or_never() else { break };
            self.take(message, talk)?;
        }
        Ok(())
    }

    fn take(
        &mut self,
        message: Option<Result<Message, tungstenite::Error>>,
        talk: &mut Talk,
    ) -> Result<(), ClientError> {
        match message {
            Some(Ok(Message::Binary(bytes))) => {
                let strange = |error: RecordError| ClientError::NotSpoken {
                    url: self.address.url(),
                    reason: error.to_string(),
                };
                self.registry.records(&bytes).map_err(strange)
            }
            Some(Ok(Message::Text(text))) => {
                match Notice::decode(&text) {
                    Ok(Notice::Draining { reconnect_after_ms }) => {
                        talk.hint = Some(pause(reconnect_after_ms));
                    }
                    Ok(notice) => self.registry.notice(notice, Instant::now()),
                    // A later gateway may say more than this client understands.
                    Err(error) => debug!("{}: {error}", self.address.url()),
                }
                Ok(())
            }
            // Pings are answered by the library.
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => Ok(()),
            Some(Ok(Message::Close(frame))) => Err(self.address.closed(frame.as_ref())),
            Some(Err(error)) => Err(self.address.unreachable(&error)),
            None => Err(self.address.closed(None)),
        }
    }

    /// Records of what waits to be sent, in as few messages as may be.
    fn batch(&mut self, first: (u64, Bytes)) -> Vec<Message> {
        let mut messages = Vec::new();
        let mut buffer = BytesMut::new();
        let mut next = Some(first);
        let mut left = TURN;
        while let Some((key, payload)) = next {
            if let Some(sender) = self.registry.sender_number(key) {
                if !buffer.is_empty() && buffer.len() + payload.len() > BATCH {
                    messages.push(Message::binary(buffer.split().freeze()));
                }
                SendRecord { sender, payload: &payload }.put(&mut buffer);
            }
            left -= 1;
            next = if left > 0 { self.datagrams.try_recv().ok() } else { None };
        }
        if !buffer.is_empty() {
            messages.push(Message::binary(buffer.freeze()));
        }
        messages
    }

    /// Says what is still to be said, and goodbye.
    async fn goodbye(&mut self, mut talk: Talk) {
        while let Ok(datagram) = self.datagrams.try_recv() {
            talk.outgoing.extend(self.batch(datagram));
        }
        talk.outgoing
            .push_back(Message::Close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() })));
        let goodbye = async {
            for message in talk.outgoing {
                talk.sink.feed(message).await?;
            }
            talk.sink.flush().await?;
            while let Some(Ok(message)) = talk.stream.next().await {
                // What was refused at the end is told at the end.
                if let Message::Text(text) = message
                    && let Ok(notice) = Notice::decode(&text)
                {
                    self.registry.notice(notice, Instant::now());
                }
            }
            Ok::<(), tungstenite::Error>(())
        };
        // However it goes, this is the end.
        let _ = tokio::time::timeout(CLOSING, goodbye).await;
    }

    fn over(&mut self, reason: &ClientError) {
        self.registry.end(reason);
        self.link.send_replace(Link::Over(reason.clone()));
    }
}

/// Hands one message over, or writes out what has been handed over.
async fn write(
    sink: &mut SplitSink<Socket, Message>,
    message: Option<Message>,
) -> Result<(), tungstenite::Error> {
    match message {
        Some(message) => sink.feed(message).await,
        None => sink.flush().await,
    }
}
