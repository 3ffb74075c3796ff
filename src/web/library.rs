//! The JavaScript library's files, in the binary: any page may load them, wherever it came from.

use bytes::Bytes;
use hyper::Response;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue,
};

use crate::web::body::Body;

const SCRIPT: &str = "text/javascript; charset=utf-8";
const TYPES: &str = "application/typescript; charset=utf-8";

/// The file at `path`, if it is one of the library. What it can do is decided when it connects, by Host, Origin and policy.
#[must_use]
pub fn file(path: &str) -> Option<Response<Body>> {
    let (kind, types, text) = match path {
        "/wscast.js" => (SCRIPT, Some("/wscast.d.ts"), include_str!("page/wscast.js")),
        "/wscast.d.ts" => (TYPES, None, include_str!("page/wscast.d.ts")),
        "/wscast-udpsocket.js" => {
            (SCRIPT, Some("/wscast-udpsocket.d.ts"), include_str!("page/wscast-udpsocket.js"))
        }
        "/wscast-udpsocket.d.ts" => (TYPES, None, include_str!("page/wscast-udpsocket.d.ts")),
        _ => return None,
    };
    let mut response = Response::new(Body::full(Bytes::from_static(text.as_bytes())));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(text.len()));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(HeaderName::from_static("x-content-type-options"), HeaderValue::from_static("nosniff"));
    if let Some(types) = types {
        // Runtimes that check types find them by this (Deno).
        headers.insert(HeaderName::from_static("x-typescript-types"), HeaderValue::from_static(types));
    }
    Some(response)
}
