//! The opening handshake (RFC 6455 section 4.2) over hyper's parsed request.

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{
    CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING, UPGRADE,
};
use hyper::upgrade::Upgraded;
use hyper::{Method, Request, Response, StatusCode, Version};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::web::body::Body;
use crate::web::refusal::Refusal;
use crate::web::socket::Socket;

/// A request that asks for a WebSocket, checked.
#[derive(Debug)]
pub struct Handshake {
    accept: String,
    /// The subprotocols that the client offers, in its order.
    pub offered: Vec<String>,
}

impl Handshake {
    /// Reads the request's headers; `None` when it asks for no WebSocket.
    ///
    /// # Errors
    /// 400 for a missing, double or wrong key, a body, or HTTP/1.0; 405 for another method; 426 for another version,
    /// or a key without an upgrade.
    pub fn read<B>(request: &Request<B>) -> Result<Option<Self>, Refusal> {
        let headers = request.headers();
        if !has_token(headers, &UPGRADE, "websocket") || !has_token(headers, &CONNECTION, "upgrade") {
            // A proxy has taken the upgrade out; an endless body would not be what was asked for.
            let meant = headers.contains_key(SEC_WEBSOCKET_KEY);
            return if meant { Err(Refusal::upgrade_required()) } else { Ok(None) };
        }
        if request.method() != Method::GET {
            return Err(Refusal::method("GET"));
        }
        // HTTP/1.0 knows no upgrade (RFC 9110 section 7.8): nothing would hand the connection over.
        if request.version() != Version::HTTP_11 {
            return Err(Refusal::malformed("a WebSocket handshake needs HTTP/1.1"));
        }
        if headers.contains_key(TRANSFER_ENCODING)
            || headers.get(CONTENT_LENGTH).is_some_and(|length| length.as_bytes() != b"0")
        {
            return Err(Refusal::malformed("a handshake has no body"));
        }
        let mut versions = headers.get_all(SEC_WEBSOCKET_VERSION).iter();
        match (versions.next(), versions.next()) {
            (Some(version), None) if version.as_bytes().trim_ascii() == b"13" => {}
            _ => return Err(Refusal::upgrade_required()),
        }
        let mut keys = headers.get_all(SEC_WEBSOCKET_KEY).iter();
        let key = match (keys.next(), keys.next()) {
            (Some(key), None) if is_key(key.as_bytes().trim_ascii()) => key.as_bytes().trim_ascii(),
            (Some(_), None) => {
                return Err(Refusal::malformed("Sec-WebSocket-Key is not 16 bytes in base64"));
            }
            (None, _) => return Err(Refusal::malformed("Sec-WebSocket-Key is missing")),
            (Some(_), Some(_)) => return Err(Refusal::malformed("Sec-WebSocket-Key stands twice")),
        };
        let offered = headers
            .get_all(SEC_WEBSOCKET_PROTOCOL)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .map(|name| name.trim().to_owned())
            .collect();
        Ok(Some(Handshake { accept: derive_accept_key(key), offered }))
    }

    /// The answer that turns the connection into a WebSocket; `protocol` is the one chosen of those offered.
    #[must_use]
    pub fn response(&self, protocol: Option<&'static str>) -> Response<Body> {
        let mut response = Response::new(Body::full(Bytes::new()));
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        if let Ok(accept) = HeaderValue::from_str(&self.accept) {
            headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
        }
        if let Some(protocol) = protocol {
            headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
        }
        response
    }
}

/// Waits until hyper has sent the answer and lets go of the connection; the bytes are those read behind the request.
pub async fn upgraded(request: Request<Incoming>) -> Option<(Socket, Bytes)> {
    let upgraded: Upgraded = hyper::upgrade::on(request).await.ok()?;
    let parts = upgraded.downcast::<TokioIo<Socket>>().ok()?;
    // Copied, mostly nothing: hyper's buffer would live as long as the smallest part of it.
    Some((parts.io.into_inner(), Bytes::copy_from_slice(&parts.read_buf)))
}

/// Whether a comma-separated header, however many lines it has, holds `token` in any case.
fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|word| word.trim().eq_ignore_ascii_case(token))
}

/// Whether a key is the base64 form of 16 bytes: 22 digits and two pads, the last digit without spare bits.
fn is_key(key: &[u8]) -> bool {
    key.len() == 24
        && key[..22].iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'))
        && matches!(key[21], b'A' | b'Q' | b'g' | b'w')
        && key[22..] == *b"=="
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rfc_example_is_answered_as_the_rfc_says() {
        let handshake = Handshake::read(&request(&[])).unwrap().unwrap();
        let response = handshake.response(None);
        assert_eq!(response.headers()[SEC_WEBSOCKET_ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn keys_are_16_bytes() {
        assert!(is_key(b"dGhlIHNhbXBsZSBub25jZQ=="));
        for bad in
            [&b"dGhlIHNhbXBsZSBub25jZR=="[..], b"dGhlIHNhbXBsZSBub25jZQ=", b"", b"dGhlIHNhbXBsZSBub25jZQAA"]
        {
            assert!(!is_key(bad));
        }
    }

    #[test]
    fn double_headers_are_told_apart() {
        let status = |extra: &[(&str, &str)]| Handshake::read(&request(extra)).unwrap_err().status();
        assert_eq!(status(&[("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")]), StatusCode::BAD_REQUEST);
        assert_eq!(status(&[("sec-websocket-version", "8")]), StatusCode::UPGRADE_REQUIRED);
        assert_eq!(status(&[("content-length", "3")]), StatusCode::BAD_REQUEST);
        assert!(Handshake::read(&request(&[("connection", "keep-alive")])).unwrap().is_some());
        let stripped =
            Request::get("/").header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==").body(()).unwrap();
        assert_eq!(Handshake::read(&stripped).unwrap_err().status(), StatusCode::UPGRADE_REQUIRED);
    }

    fn request(extra: &[(&str, &str)]) -> Request<()> {
        let mut request = Request::get("/udp/239.1.2.3:5000")
            .header("host", "localhost")
            .header("connection", "keep-alive, Upgrade")
            .header("upgrade", "WebSocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        for (name, value) in extra {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap()
    }
}
