//! One connection of a link, the same on both sides once it stands: records and texts both ways, and a ping every 2 s.

use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};
use tracing::{info, warn};

use crate::link::link::Link;
use crate::model::link::message::{LinkMessage, Stopped};

/// Between two pings.
const PING: Duration = Duration::from_secs(2);
/// Silence after which the other side is taken for dead: it pings as often.
const DEAD: Duration = Duration::from_secs(5);
/// Each part of the greeting may take this long.
const GREETING: Duration = Duration::from_secs(5);
/// A goodbye may take this long.
const CLOSING: Duration = Duration::from_millis(500);
/// Messages handed over before they are written out.
const TURN: usize = 16;
/// What waited during a break is written at so many bytes a second, which the buffers of the hosts bear; and so many at once.
const CATCHING_UP: u64 = 8 << 20;
const AT_ONCE: u64 = 64 << 10;

/// Why a connection ended, and whether this side did it.
pub(super) enum End {
    /// It broke, or the other side ended it.
    Lost(String),
    /// There is a newer connection, or the link is over.
    Replaced,
}

/// Waits for one text of the greeting.
pub(super) async fn heard<S: AsyncRead + AsyncWrite + Unpin>(
    socket: &mut WebSocketStream<S>,
) -> Result<LinkMessage, String> {
    let next = async {
        loop {
            match socket.next().await {
                Some(Ok(Message::Text(text))) => return LinkMessage::decode(&text),
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Ok(Message::Binary(_))) => return Err("a record before the link stands".to_owned()),
                Some(Ok(Message::Close(frame))) => return Err(closed(frame.as_ref())),
                Some(Err(error)) => return Err(error.to_string()),
                None => return Err(closed(None)),
            }
        }
    };
    timeout(GREETING, next).await.unwrap_or_else(|_| Err("no answer to the greeting".to_owned()))
}

/// Says one text of the greeting.
pub(super) async fn said<S: AsyncRead + AsyncWrite + Unpin>(
    socket: &mut WebSocketStream<S>,
    text: String,
) -> Result<(), String> {
    let sending = timeout(GREETING, socket.send(Message::text(text)));
    sending.await.map_err(|_| "the greeting is not taken".to_owned())?.map_err(|error| error.to_string())
}

/// Ends a connection in order, with a code and its reason.
pub(super) async fn goodbye<S: AsyncRead + AsyncWrite + Unpin>(
    socket: &mut WebSocketStream<S>,
    code: u16,
    reason: &str,
) {
    let frame = CloseFrame {
        code: CloseCode::from(code),
        reason: crate::model::frame::cut(reason, 123).to_owned().into(),
    };
    let closing = async {
        socket.close(Some(frame)).await?;
        while let Some(Ok(_)) = socket.next().await {}
        Ok::<(), Error>(())
    };
    // However it goes, this is the end.
    let _ = timeout(CLOSING, closing).await;
}

/// Exchanges records until the connection ends.
pub(super) async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    socket: WebSocketStream<S>,
    link: &Rc<Link>,
) -> End {
    let (mut sink, mut stream) = socket.split();
    let pinged = std::cell::Cell::new(None);
    let end = tokio::select! {
        reason = read(&mut stream, link, &pinged) => End::Lost(reason),
        reason = write(&mut sink, link, &pinged) => End::Lost(reason),
        () = link.replaced.notified() => End::Replaced,
    };
    if matches!(end, End::Replaced)
        && let Ok(mut socket) = sink.reunite(stream)
    {
        goodbye(&mut socket, 1001, "draining: the link ends here").await;
    }
    end
}

type Pinged = std::cell::Cell<Option<Instant>>;

async fn read<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut SplitStream<WebSocketStream<S>>,
    link: &Link,
    pinged: &Pinged,
) -> String {
    loop {
        let Ok(next) = timeout(DEAD, stream.next()).await else {
            return format!("said nothing for {DEAD:?}");
        };
        match next {
            Some(Ok(Message::Binary(message))) => {
                if let Err(error) = link.hears(&message) {
                    return error.to_string();
                }
            }
            Some(Ok(Message::Text(text))) => match LinkMessage::decode(&text) {
                Ok(LinkMessage::Stopped(Stopped { channel, seconds })) => {
                    let group = link
                        .channels
                        .get(channel as usize)
                        .map(|one| std::net::SocketAddr::new(one.group, one.port));
                    let group = group.map_or_else(|| channel.to_string(), |group| group.to_string());
                    warn!(
                        link = link.name,
                        group, seconds, "the other side has stopped a group: a storm on its LAN"
                    );
                }
                // A later gateway may say more than this one understands.
                Ok(_) | Err(_) => info!(link = link.name, "the other side said something that is not for us"),
            },
            Some(Ok(Message::Pong(_))) => {
                if let Some(at) = pinged.take() {
                    link.round_trip(at.elapsed());
                }
            }
            Some(Ok(Message::Ping(_) | Message::Frame(_))) => {}
            Some(Ok(Message::Close(frame))) => return closed(frame.as_ref()),
            Some(Err(error)) => return error.to_string(),
            None => return closed(None),
        }
    }
}

async fn write<S: AsyncRead + AsyncWrite + Unpin>(
    sink: &mut SplitSink<WebSocketStream<S>, Message>,
    link: &Link,
    pinged: &Pinged,
) -> String {
    let mut pings = tokio::time::interval(PING);
    pings.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let wrote = write_records(sink, link).await;
        if let Err(error) = wrote {
            return error.to_string();
        }
        tokio::select! {
            () = link.wake.notified() => {}
            _ = pings.tick() => {
                pinged.set(Some(Instant::now()));
                if let Err(error) = sink.send(Message::Ping(Bytes::new())).await {
                    return error.to_string();
                }
            }
        }
    }
}

/// Writes all that waits.
async fn write_records<S: AsyncRead + AsyncWrite + Unpin>(
    sink: &mut SplitSink<WebSocketStream<S>, Message>,
    link: &Link,
) -> Result<(), Error> {
    while let Some(text) = link.text() {
        sink.feed(Message::text(text)).await?;
    }
    let (start, mut written, mut fed) = (Instant::now(), 0, 0);
    while link.is_catching_up() {
        let Some(message) = link.message() else { break };
        written += message.len() as u64;
        sink.send(Message::Binary(message)).await?;
        let due = Duration::from_millis(written.saturating_sub(AT_ONCE) * 1000 / CATCHING_UP);
        tokio::time::sleep(due.saturating_sub(start.elapsed())).await;
    }
    while let Some(message) = link.message() {
        sink.feed(Message::Binary(message)).await?;
        fed += 1;
        if fed % TURN == 0 {
            sink.flush().await?;
        }
    }
    sink.flush().await
}

fn closed(frame: Option<&CloseFrame>) -> String {
    match frame {
        Some(frame) => format!("closed with {} {}", u16::from(frame.code), frame.reason.escape_debug()),
        None => "ended without a close frame".to_owned(),
    }
}
