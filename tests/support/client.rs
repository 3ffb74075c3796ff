//! A WebSocket client as tests want it: it waits with a deadline, and panics in words.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::{Request, Response};
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::{self, Error, Message};

use super::lab::PATIENCE;
use super::tls::Line;

/// One side of a WebSocket.
pub struct WebSocket {
    inner: tungstenite::WebSocket<Line>,
    /// The answer to the handshake.
    pub response: Response,
}

/// A handshake that was refused.
#[derive(Debug)]
pub struct Refused {
    /// Status code.
    pub status: u16,
    /// Body.
    pub reason: String,
}

impl WebSocket {
    /// Opens `path` over `stream`.
    pub fn open(stream: TcpStream, host: SocketAddr, path: &str) -> Self {
        Self::open_over(Line::Plain(stream), host, path)
    }

    /// The same with TLS, or without.
    pub fn open_over(line: Line, host: SocketAddr, path: &str) -> Self {
        Self::try_open_over(line, host, path, &[])
            .unwrap_or_else(|refused| panic!("opening {path}: refused with {refused:?}"))
    }

    /// Opens `path` with further headers, or says how it was refused.
    pub fn try_open(
        stream: TcpStream,
        host: SocketAddr,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, Refused> {
        Self::try_open_over(Line::Plain(stream), host, path, headers)
    }

    /// The same with TLS, or without.
    pub fn try_open_over(
        line: Line,
        host: SocketAddr,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, Refused> {
        let mut request: Request = format!("ws://{host}{path}")
            .into_client_request()
            .unwrap_or_else(|error| panic!("{path}: {error}"));
        for (name, value) in headers {
            let value = HeaderValue::from_str(value).expect("a header value");
            request.headers_mut().insert(*name, value);
        }
        match tungstenite::client(request, line) {
            Ok((inner, response)) => Ok(WebSocket { inner, response }),
            Err(tungstenite::HandshakeError::Failure(Error::Http(response))) => {
                let reason = response.body().as_deref().map(String::from_utf8_lossy).unwrap_or_default();
                Err(Refused { status: response.status().as_u16(), reason: reason.into_owned() })
            }
            Err(error) => panic!("opening {path}: {error}"),
        }
    }

    /// The interface that the gateway says it chose.
    pub fn interface(&self) -> &str {
        self.response.headers().get("wscast-interface").and_then(|value| value.to_str().ok()).unwrap_or("")
    }

    /// The next datagram.
    pub fn recv(&mut self) -> Vec<u8> {
        self.recv_within(PATIENCE).unwrap_or_else(|| panic!("no datagram came within {PATIENCE:?}"))
    }

    /// The next datagram, if one comes in time.
    pub fn recv_within(&mut self, patience: Duration) -> Option<Vec<u8>> {
        self.inner.get_ref().tcp().set_read_timeout(Some(patience)).expect("set a deadline");
        loop {
            match self.inner.read() {
                Ok(Message::Binary(bytes)) => return Some(bytes.to_vec()),
                Ok(Message::Ping(_) | Message::Pong(_)) => {}
                Ok(other) => panic!("a raw stream carries datagrams only, not {other:?}"),
                Err(Error::Io(error))
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    return None;
                }
                Err(error) => panic!("receiving a datagram: {error}"),
            }
        }
    }

    /// Datagrams until `last` has come, with it. What did not come before it, does not come: order holds.
    pub fn recv_until(&mut self, last: &[u8]) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        loop {
            all.push(self.recv());
            if all.last().is_some_and(|datagram| datagram == last) {
                return all;
            }
        }
    }

    /// Sends one binary message.
    pub fn send(&mut self, payload: &[u8]) {
        self.put(Message::binary(payload.to_vec()));
    }

    /// Sends one message of any kind.
    pub fn put(&mut self, message: Message) {
        self.inner.send(message).expect("send a message");
    }

    /// Waits for the gateway's close; its code and reason. Datagrams before it are passed over.
    pub fn closed(&mut self) -> (u16, String) {
        self.inner.get_ref().tcp().set_read_timeout(Some(Duration::from_secs(30))).expect("set a deadline");
        loop {
            match self.inner.read() {
                Ok(Message::Close(Some(frame))) => return (frame.code.into(), frame.reason.to_string()),
                Ok(Message::Close(None)) => return (1005, String::new()),
                Ok(_) => {}
                Err(error) => panic!("waiting for a close frame: {error}"),
            }
        }
    }

    /// Closes from this side and waits for the answer.
    pub fn close(mut self) {
        self.inner.close(None).expect("begin to close");
        self.inner.get_ref().tcp().set_read_timeout(Some(PATIENCE)).expect("set a deadline");
        loop {
            match self.inner.read() {
                Ok(_) => {}
                Err(Error::ConnectionClosed | Error::AlreadyClosed) => return,
                Err(error) => panic!("closing: {error}"),
            }
        }
    }

    /// The TCP connection.
    pub fn stream(&mut self) -> &TcpStream {
        self.inner.get_ref().tcp()
    }
}
