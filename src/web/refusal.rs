//! A refusal: an HTTP status with one line of reason, or a close code with the same words.

use bytes::Bytes;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, RETRY_AFTER,
    SEC_WEBSOCKET_VERSION, UPGRADE, WWW_AUTHENTICATE,
};
use hyper::{Response, StatusCode};
use thiserror::Error;

use crate::sys::random;
use crate::web::body::Body;

/// Why a request is not served.
#[derive(Clone, Debug, Error)]
#[error("{reason}")]
pub struct Refusal {
    status: StatusCode,
    /// One line, a stable word first.
    reason: String,
    allow: Option<&'static str>,
    /// The close code, where the status alone does not say it.
    close: Option<u16>,
}

impl Refusal {
    /// With a status and a reason.
    #[must_use]
    pub fn new(status: StatusCode, reason: impl Into<String>) -> Self {
        Refusal { status, reason: reason.into(), allow: None, close: None }
    }

    /// 400: the request is no request.
    #[must_use]
    pub fn malformed(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, format!("malformed: {}", reason.into()))
    }

    /// 401 or 4401.
    #[must_use]
    pub fn unauthorized(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, format!("unauthorized: {}", reason.into()))
    }

    /// 403 or 4403.
    #[must_use]
    pub fn not_allowed(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, format!("not_allowed: {}", reason.into()))
    }

    /// 404 or 4404.
    #[must_use]
    pub fn not_found(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("not_found: {}", reason.into()))
    }

    /// 503, with a time to come back.
    #[must_use]
    pub fn overload(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, format!("overload: {}", reason.into()))
    }

    /// 503, or 1013 for a page: memory is above its mark.
    #[must_use]
    pub fn memory() -> Self {
        Refusal {
            close: Some(1013),
            ..Self::overload("memory is short, and nothing new is begun (--limit memory)")
        }
    }

    /// 405 with the methods that are taken.
    #[must_use]
    pub fn method(allow: &'static str) -> Self {
        let reason = format!("method: this path takes {allow}");
        Refusal { allow: Some(allow), ..Self::new(StatusCode::METHOD_NOT_ALLOWED, reason) }
    }

    /// 426 for a WebSocket version that is not 13 (RFC 6455 section 4.4).
    #[must_use]
    pub fn upgrade_required() -> Self {
        let reason = "upgrade_required: WebSocket version 13 is spoken here";
        Self::new(StatusCode::UPGRADE_REQUIRED, reason)
    }

    /// The reason without its stable word.
    #[must_use]
    pub fn words(&self) -> &str {
        self.reason.split_once(": ").map_or(&self.reason, |(_, words)| words)
    }

    /// The status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The close code where a page's script must learn the reason: after the upgrade, since it can't read a failed one.
    #[must_use]
    pub fn close_code(&self) -> Option<u16> {
        match self.status {
            _ if self.close.is_some() => self.close,
            StatusCode::UNAUTHORIZED => Some(4401),
            StatusCode::FORBIDDEN => Some(4403),
            StatusCode::NOT_FOUND => Some(4404),
            StatusCode::TOO_MANY_REQUESTS => Some(4529),
            _ => None,
        }
    }

    /// As an HTTP answer, after which the connection ends.
    #[must_use]
    pub fn response(&self) -> Response<Body> {
        let text = format!("{}\n", self.reason);
        let mut response = Response::new(Body::full(Bytes::new()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        headers.insert(CONTENT_LENGTH, HeaderValue::from(text.len()));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        if let Some(allow) = self.allow {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        match self.status {
            StatusCode::UPGRADE_REQUIRED => {
                headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
                headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
            }
            StatusCode::UNAUTHORIZED => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(RETRY_AFTER, HeaderValue::from(retry_after(self.status)));
            }
            _ => {}
        }
        *response.body_mut() = Body::full(Bytes::from(text));
        response
    }

    /// The same answer as bytes, for connections that are refused before a request is read.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let text = format!("{}\n", self.reason);
        format!(
            "HTTP/1.1 {status}\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {length}\r\n\
             cache-control: no-store\r\nconnection: close\r\nretry-after: {after}\r\n\r\n{text}",
            status = self.status,
            length = text.len(),
            after = retry_after(self.status),
        )
        .into_bytes()
    }
}

/// Seconds until another try makes sense, spread so that those refused together do not come back together.
fn retry_after(status: StatusCode) -> u64 {
    let spread = if status == StatusCode::TOO_MANY_REQUESTS { 11 } else { 26 };
    5 + random::number() % spread
}
