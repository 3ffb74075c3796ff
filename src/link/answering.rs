//! Serves one connection that another gateway opened.

use std::net::SocketAddr;
use std::rc::Rc;

use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tracing::{debug, warn};

use crate::link::connection::{self, End};
use crate::link::exchange::Exchange;
use crate::link::link::{Place, Standing};
use crate::link::links::Io;
use crate::model::control::{Hello, HelloLimits, Notice};
use crate::model::link::MOST_GROUPS;
use crate::model::link::message::{Answer, LinkMessage, Refusal};

/// Bytes of a message from another gateway.
const LONGEST_MESSAGE: usize = 1 << 20;
/// Bytes of buffer for what arrives.
const READ_BUFFER: usize = 64 << 10;

/// Greets, answers the call, and exchanges records until the connection ends.
pub(super) async fn serve(exchange: Rc<Exchange>, io: Box<dyn Io>, peer: SocketAddr) {
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .max_message_size(Some(LONGEST_MESSAGE))
        .max_frame_size(Some(LONGEST_MESSAGE));
    let mut socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await;
    let hello = Notice::Hello(Hello {
        gateway: format!("{:016x}", exchange.gateway).into(),
        version: env!("CARGO_PKG_VERSION").into(),
        limits: HelloLimits { streams: u32::try_from(MOST_GROUPS).ok(), datagram: 65507 },
        heartbeat: 2,
    });
    let greeting = async {
        connection::said(&mut socket, hello.encode()).await?;
        connection::heard(&mut socket).await
    };
    let call = match greeting.await {
        Ok(LinkMessage::Link(call)) => call,
        Ok(_) => {
            return connection::goodbye(&mut socket, 4400, "bad_field: the first message is a link").await;
        }
        Err(error) => {
            debug!(%peer, error, "a link came to nothing");
            return connection::goodbye(&mut socket, 4400, &format!("bad_field: {error}")).await;
        }
    };
    let there = Place { after: call.after, first: call.first };
    let gateway = u64::from_str_radix(&call.gateway, 16).unwrap_or(0);
    let (link, resumed) = match exchange.answer(call, peer) {
        Ok(answered) => answered,
        Err((code, message, retry)) => {
            warn!(%peer, message, "a link is refused");
            let reason = format!("{code}: {message}");
            let refusal = LinkMessage::Error(Refusal { code: code.to_owned(), message, retry });
            // Whoever does not take the words gets the close.
            let _ = connection::said(&mut socket, refusal.encode()).await;
            return connection::goodbye(&mut socket, if retry { 4500 } else { 4403 }, &reason).await;
        }
    };
    if link.away_since().is_none() {
        // That gateway has found its old connection dead before we did.
        link.replaced.notify_waiters();
    }
    let Place { after, first } = link.place();
    let answer = Answer { resumed, after, first, groups: link.opened_channels() };
    if let Err(error) = connection::said(&mut socket, LinkMessage::Linked(answer).encode()).await {
        link.down(Standing::Away(error));
        return;
    }
    link.up(gateway, there, resumed);
    let connection = link.connection();
    match connection::converse(socket, &link).await {
        End::Lost(reason) if link.connection() == connection => link.down(Standing::Away(reason)),
        // A newer connection stands.
        End::Lost(_) | End::Replaced => {}
    }
}
