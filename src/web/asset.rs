//! One file of the page: its bytes, what they are, and a tag that says whether a browser has them already.

use std::hash::{DefaultHasher, Hash, Hasher};

use bytes::Bytes;
use hyper::header::{
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, HeaderValue, IF_NONE_MATCH,
};
use hyper::{Response, StatusCode};

use crate::web::body::Body;

/// A file that is served as it is.
#[derive(Clone, Debug)]
pub struct Asset {
    kind: &'static str,
    bytes: Bytes,
    /// Quoted, from the bytes (RFC 9110 section 8.8.3).
    tag: String,
}

impl Asset {
    /// A file of the binary; the ending of its path says what it is.
    #[must_use]
    pub fn embedded(path: &str, text: &'static str) -> Self {
        let kind = match path.rsplit_once('.') {
            Some((_, "js")) => JAVASCRIPT,
            Some((_, "css")) => "text/css; charset=utf-8",
            _ => "text/html; charset=utf-8",
        };
        Self::new(kind, Bytes::from_static(text.as_bytes()))
    }

    /// A script from elsewhere.
    #[must_use]
    pub fn script(bytes: Vec<u8>) -> Self {
        Self::new(JAVASCRIPT, Bytes::from(bytes))
    }

    fn new(kind: &'static str, bytes: Bytes) -> Self {
        let mut hasher = DefaultHasher::new();
        bytes.hash(&mut hasher);
        Asset { kind, tag: format!("\"{:016x}\"", hasher.finish()), bytes }
    }

    /// The answer to a request with these headers: the file, or 304 to whoever has it. Browsers ask each time, so that a
    /// page never mixes the files of two versions.
    #[must_use]
    pub fn response(&self, asked: &HeaderMap, policy: &'static str) -> Response<Body> {
        let known = asked.get_all(IF_NONE_MATCH).iter().any(|tags| {
            tags.to_str()
                .is_ok_and(|tags| tags.split(',').any(|tag| tag.trim().trim_start_matches("W/") == self.tag))
        });
        let body = if known { Bytes::new() } else { self.bytes.clone() };
        let mut response = Response::new(Body::full(body));
        let headers = response.headers_mut();
        if let Ok(tag) = HeaderValue::from_str(&self.tag) {
            headers.insert(ETAG, tag);
        }
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        if !known {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.kind));
            headers.insert(CONTENT_LENGTH, HeaderValue::from(self.bytes.len()));
        }
        for (name, value) in [
            ("content-security-policy", policy),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-opener-policy", "same-origin"),
        ] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        if known {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        }
        response
    }
}

const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
