//! What `wscast listen` hears at a gateway's URL, as a player does: payloads and nothing else.

use std::time::Duration;

use futures_util::{FutureExt, SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Response;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::client::{Trust, authorize};
use crate::model::token::Token;
use crate::tools::counters::say;
use crate::tools::failure::Failure;
use crate::tools::form::Arrival;
use crate::tools::listen::{Heard, Hearing};
use crate::tools::timestamp;
use crate::tools::trust::SHOW;

/// A WebSocket to a stream's URL.
pub struct GatewayTap {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    url: String,
    interface: Option<String>,
}

/// Connecting and the answer take this long at most.
const CONNECTING: Duration = Duration::from_secs(10);
/// Our close may take this long.
const CLOSING: Duration = Duration::from_secs(1);
/// Bytes of buffer for what arrives.
const READ_BUFFER: usize = 16 << 10;
/// A message is one datagram, which has 65,527 bytes at most.
const MESSAGE: usize = 64 << 10;
/// Messages taken at once, before they are written.
const TURN: usize = 64;

impl GatewayTap {
    /// Connects to `url`, and says so unless `quiet`.
    ///
    /// # Errors
    /// [`Failure::Usage`] for what is no `ws://` URL; [`Failure::Running`] where nobody answers, or with the status and
    /// the reason of the refusal.
    pub async fn open(
        url: &str,
        trust: Option<&Trust>,
        token: Option<&Token>,
        quiet: bool,
    ) -> Result<Self, Failure> {
        let mut request = url.into_client_request().map_err(|error| refused(url, &error))?;
        if let Some(token) = token {
            let words = || format!("connecting to {url}: a token has no line ends and control characters");
            authorize(&mut request, token).ok_or_else(|| Failure::Usage(words()))?;
        }
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .max_message_size(Some(MESSAGE))
            .max_frame_size(Some(MESSAGE));
        let connecting = Trust::connect(trust, request, config);
        let (socket, response) = match tokio::time::timeout(CONNECTING, connecting).await {
            Ok(answer) => answer.map_err(|error| refused(url, &error))?,
            Err(_) => {
                let words = format!("connecting to {url}: no answer for {CONNECTING:?}: is it a gateway?");
                return Err(Failure::Running(words));
            }
        };
        let interface = interface(&response);
        if !quiet {
            let place =
                interface.as_ref().map_or_else(String::new, |name| format!(", joined on {name} there"));
            say(format_args!("connected to {url}{place}"));
        }
        Ok(GatewayTap { socket, url: url.to_owned(), interface })
    }

    /// Waits for messages and takes what is there.
    ///
    /// # Errors
    /// [`Failure::Running`] where the connection ended in another way than with close code 1000.
    pub async fn hear(&mut self, heard: &mut Heard) -> Result<Hearing, Failure> {
        let mut next = self.socket.next().await;
        for _ in 0..TURN {
            match next {
                Some(Ok(Message::Close(frame))) => return self.closed(frame.as_ref()),
                Some(Ok(message @ (Message::Binary(_) | Message::Text(_)))) => heard.take(&Arrival {
                    time: timestamp::now(),
                    source: None,
                    interface: self.interface.as_deref(),
                    ttl: None,
                    sequence: None,
                    payload: &message.into_data(),
                }),
                // Pings are answered by the library.
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Err(error)) => {
                    return Err(Failure::Running(format!("receiving from {}: {error}", self.url)));
                }
                None => return self.closed(None),
            }
            next = match self.socket.next().now_or_never() {
                Some(next) => next,
                None => break,
            };
        }
        Ok(Hearing::GoesOn)
    }

    /// Says goodbye, and waits a second at most for the answer.
    pub async fn close(mut self) {
        let frame = CloseFrame { code: CloseCode::Normal, reason: "".into() };
        let goodbye = async {
            let _ = self.socket.send(Message::Close(Some(frame))).await;
            while let Some(Ok(_)) = self.socket.next().await {}
        };
        let _ = tokio::time::timeout(CLOSING, goodbye).await;
    }

    fn closed(&self, frame: Option<&CloseFrame>) -> Result<Hearing, Failure> {
        match frame {
            Some(frame) if frame.code == CloseCode::Normal => {
                say(format_args!("{} closed: {}", self.url, describe(frame)));
                Ok(Hearing::Over)
            }
            Some(frame) => {
                Err(Failure::Running(format!("{} closed the stream: {}", self.url, describe(frame))))
            }
            None => Err(Failure::Running(format!("{} ended without a close frame", self.url))),
        }
    }
}

/// Checks that `url` can be listened to.
///
/// # Errors
/// [`Failure::Usage`] with what to write instead.
pub fn check(url: &str) -> Result<(), Failure> {
    let usage = |words: String| Err(Failure::Usage(format!("listening to {url}: {words}")));
    match url.split_once("://") {
        Some(("ws" | "wss", rest)) if !rest.is_empty() => Ok(()),
        Some(("http", rest)) => usage(format!("write ws://{rest}")),
        Some(("https", rest)) => usage(format!("write wss://{rest}")),
        _ => usage("write ws://HOST:PORT/udp/GROUP:PORT or ws://HOST:PORT/streams/NAME".to_owned()),
    }
}

fn describe(frame: &CloseFrame) -> String {
    let (code, reason) = (u16::from(frame.code), frame.reason.escape_debug());
    if frame.reason.is_empty() { code.to_string() } else { format!("{code} {reason}") }
}

/// The gateway says in a header where it joined.
fn interface(response: &Response) -> Option<String> {
    Some(response.headers().get("wscast-interface")?.to_str().ok()?.to_owned())
}

fn refused(url: &str, error: &tungstenite::Error) -> Failure {
    match error {
        tungstenite::Error::Http(response) => {
            let body = response.body().as_deref().unwrap_or_default();
            let body = String::from_utf8_lossy(body);
            let reason = body.lines().next().unwrap_or("").escape_debug();
            let fix = if response.status() == 401 { format!(": {SHOW}") } else { String::new() };
            Failure::Running(format!(
                "connecting to {url}: refused with {}: {reason}{fix}",
                response.status()
            ))
        }
        tungstenite::Error::Url(error) => Failure::Usage(format!("listening to {url}: {error}")),
        other => Failure::Running(format!("connecting to {url}: {other}: is a gateway running there?")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_checked_with_the_fix() {
        assert!(check("ws://[::1]:8080/udp/239.1.2.3:5000").is_ok());
        for (url, words) in [
            ("http://a/udp/239.1.2.3:5", "write ws://a/udp/239.1.2.3:5"),
            ("https://a/streams/b", "write wss://a/streams/b"),
            ("ws://", "write ws://HOST:PORT"),
            ("ftp://a", "write ws://HOST:PORT"),
        ] {
            let error = check(url).expect_err(url).to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
