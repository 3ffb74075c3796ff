//! One attempt to connect: address, handshake, `hello`.

use std::time::Duration;

use futures_util::StreamExt;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::handshake::client::{Request, Response};
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::{ClientError, Link, Options, Trust};
use crate::model::control::{Notice, Token};

/// Connecting, the answer and `hello` take this long at most.
const CONNECTING: Duration = Duration::from_secs(10);
/// Bytes of buffer for what arrives.
const READ_BUFFER: usize = 64 << 10;
/// Bytes of a message from the gateway: many records, each of a datagram that has 65,527 bytes at most.
const LONGEST_MESSAGE: usize = 1 << 20;
/// The longest pause that a gateway can ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

pub(crate) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Where the gateway is.
#[derive(Clone, Debug)]
pub(super) struct Address {
    url: String,
}

/// What `hello` says.
#[derive(Clone, Debug)]
pub(super) struct Welcome {
    pub(super) gateway: String,
    pub(super) version: String,
    /// Bytes of a datagram that this client may send.
    pub(super) most: usize,
}

impl Address {
    /// Takes `ws://HOST:PORT` or `wss://HOST:PORT`, with or without `/v1`.
    pub(super) fn parse(url: &str) -> Result<Address, ClientError> {
        let wrong = |fix: String| Err(ClientError::Url { url: url.to_owned(), fix });
        let (scheme, rest) = match url.split_once("://") {
            Some((scheme @ ("ws" | "wss"), rest)) if !rest.is_empty() => (scheme, rest),
            Some(("http", rest)) => return wrong(format!("write ws://{rest}")),
            Some(("https", rest)) => return wrong(format!("write wss://{rest}")),
            _ => return wrong("write ws://HOST:PORT".to_owned()),
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        if authority.contains(['?', '#', '@']) || !matches!(path, "" | "v1") {
            return wrong(format!(
                "write {scheme}://{} alone",
                authority.split(['?', '#']).next().unwrap_or("HOST")
            ));
        }
        let url = format!("{scheme}://{authority}/v1");
        if url.as_str().into_client_request().is_err() {
            return wrong(format!("write {scheme}://HOST:PORT"));
        }
        Ok(Address { url })
    }

    /// Whether it wants TLS.
    pub(super) fn is_secure(&self) -> bool {
        self.url.starts_with("wss:")
    }

    /// The URL that is asked for.
    pub(super) fn url(&self) -> String {
        self.url.clone()
    }

    pub(super) fn unreachable(&self, reason: &impl ToString) -> ClientError {
        ClientError::Unreachable { url: self.url(), reason: reason.to_string() }
    }

    /// What a close frame, or an end without one, means.
    pub(super) fn closed(&self, frame: Option<&CloseFrame>) -> ClientError {
        let (code, reason) = frame.map_or_else(
            || (1006, "ended without a close frame".to_owned()),
            |frame| (frame.code.into(), frame.reason.escape_debug().to_string()),
        );
        ClientError::Closed { url: self.url(), code, reason }
    }

    fn request(&self, options: &Options) -> Result<Request, ClientError> {
        let wrong = |fix: &str| ClientError::Url { url: self.url(), fix: fix.to_owned() };
        let mut request =
            self.url.as_str().into_client_request().map_err(|_| wrong("write ws://HOST:PORT"))?;
        request.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static("wscast.v1"));
        if let Some(token) = &options.token {
            authorize(&mut request, token)
                .ok_or_else(|| wrong("a token has no line ends and control characters"))?;
        }
        Ok(request)
    }

    fn refused(&self, error: tungstenite::Error) -> ClientError {
        match error {
            tungstenite::Error::Http(response) => self.refused_with(&response),
            tungstenite::Error::Protocol(ProtocolError::SecWebSocketSubProtocolError(error)) => {
                ClientError::NotSpoken { url: self.url(), reason: error.to_string() }
            }
            tungstenite::Error::Io(error) => {
                self.unreachable(&format_args!("{error}: is a gateway running there?"))
            }
            other => self.unreachable(&other),
        }
    }

    fn refused_with(&self, response: &Response) -> ClientError {
        let body = String::from_utf8_lossy(response.body().as_deref().unwrap_or_default());
        let reason = body.lines().next().unwrap_or("").chars().take(200).collect::<String>();
        let seconds =
            response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
        ClientError::Refused {
            url: self.url(),
            status: response.status().as_u16(),
            reason: reason.escape_debug().to_string(),
            retry_after: seconds.map(|seconds| Duration::from_secs(seconds).min(LONGEST_PAUSE)),
        }
    }
}

impl Welcome {
    pub(super) fn link(&self) -> Link {
        Link::Up { gateway: self.gateway.as_str().into(), version: self.version.as_str().into() }
    }
}

/// Puts a token where it travels; `None` where it can't.
pub(crate) fn authorize(request: &mut Request, token: &Token) -> Option<()> {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.0)).ok()?;
    value.set_sensitive(true);
    request.headers_mut().insert("authorization", value);
    Some(())
}

/// Connects and waits for `hello`.
pub(super) async fn dial(address: &Address, options: &Options) -> Result<(Socket, Welcome), ClientError> {
    let greeting = async {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .max_message_size(Some(LONGEST_MESSAGE))
            .max_frame_size(Some(LONGEST_MESSAGE));
        let request = address.request(options)?;
        let connecting = Trust::connect(options.trust.as_ref(), request, config);
        let (mut socket, _) = connecting.await.map_err(|error| address.refused(error))?;
        let welcome = hello(address, &mut socket).await?;
        Ok((socket, welcome))
    };
    let late = || address.unreachable(&format_args!("no answer for {CONNECTING:?}: is it a gateway?"));
    tokio::time::timeout(CONNECTING, greeting).await.unwrap_or_else(|_| Err(late()))
}

/// Connects to the door that the gateway at `url` has for other gateways, and waits for `hello`.
pub(super) async fn dial_link(url: &str, options: &Options) -> Result<(Socket, Welcome), ClientError> {
    let mut address = Address::parse(url)?;
    address.url.push_str("/link");
    dial(&address, options).await
}

/// What a gateway's `draining` asks for, within reason.
pub(super) fn pause(milliseconds: u32) -> Duration {
    Duration::from_millis(milliseconds.into()).min(LONGEST_PAUSE)
}

async fn hello(address: &Address, socket: &mut Socket) -> Result<Welcome, ClientError> {
    let strange = |what: &str| ClientError::NotSpoken { url: address.url(), reason: what.to_owned() };
    loop {
        match socket.next().await {
            Some(Ok(Message::Text(text))) => {
                return match Notice::decode(&text) {
                    Ok(Notice::Hello(hello)) => Ok(Welcome {
                        gateway: hello.gateway.into_owned(),
                        version: hello.version.into_owned(),
                        most: hello.limits.datagram as usize,
                    }),
                    _ => Err(strange("the first message is no hello")),
                };
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
            Some(Ok(Message::Binary(_))) => return Err(strange("the first message is no hello")),
            Some(Ok(Message::Close(frame))) => return Err(address.closed(frame.as_ref())),
            Some(Err(error)) => return Err(address.unreachable(&error)),
            None => return Err(address.closed(None)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_checked_with_the_fix() {
        for url in ["ws://127.0.0.1:8080", "ws://127.0.0.1:8080/", "ws://127.0.0.1:8080/v1"] {
            assert_eq!(Address::parse(url).expect("valid").url, "ws://127.0.0.1:8080/v1");
        }
        assert!(Address::parse("ws://[::1]:8080").is_ok_and(|address| !address.is_secure()));
        assert!(Address::parse("wss://[::1]:8443").is_ok_and(|address| address.is_secure()));
        for (url, words) in [
            ("http://a", "write ws://a"),
            ("https://a", "write wss://a"),
            ("wss://a/b", "write wss://a alone"),
            ("ws://", "write ws://HOST:PORT"),
            ("ws://a b", "write ws://HOST:PORT"),
            ("127.0.0.1:8080", "write ws://HOST:PORT"),
            ("ws://a:80/udp/239.1.2.3:5000", "write ws://a:80 alone"),
            ("ws://a:80?token=x", "write ws://a:80 alone"),
        ] {
            let error = Address::parse(url).expect_err(url).to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
