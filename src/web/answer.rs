//! Answers that are whole: texts and JSON, and the methods that ask for them.

use bytes::Bytes;
use hyper::body::{Body as _, Incoming};
use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_MAX_AGE, ALLOW, CACHE_CONTROL,
    CONTENT_LENGTH, CONTENT_TYPE, HeaderValue,
};
use hyper::{Method, Request, Response, StatusCode};
use serde::Serialize;

use crate::web::body::Body;
use crate::web::gate;
use crate::web::refusal::Refusal;
use crate::web::server::Server;

/// For what is only read, by our own page or by programs.
///
/// # Errors
/// 405 for other methods, 400 for a body.
pub fn only_reading(request: &Request<Incoming>) -> Result<(), Refusal> {
    match *request.method() {
        Method::GET | Method::HEAD => no_body(request),
        _ => Err(Refusal::method("GET, HEAD")),
    }
}

/// Nothing here reads one, so who sends one means something else.
fn no_body(request: &Request<Incoming>) -> Result<(), Refusal> {
    if request.body().is_end_stream() {
        Ok(())
    } else {
        Err(Refusal::malformed(format!("{} takes no body", request.method())))
    }
}

/// For what other origins' pages may fetch: the answer to a preflight, or nothing when it is an ordinary read.
///
/// # Errors
/// 403 for a page that does not say whose it is, 405 for other methods, 400 for a body.
pub fn readable_by_pages(request: &Request<Incoming>) -> Result<Option<Response<Body>>, Refusal> {
    if gate::is_cross_site(request.headers()) {
        return Err(Refusal::not_allowed("another site's page asks without saying which"));
    }
    match *request.method() {
        Method::GET | Method::HEAD => no_body(request).map(|()| None),
        Method::OPTIONS => {
            let mut response = Response::new(Body::full(Bytes::new()));
            *response.status_mut() = StatusCode::NO_CONTENT;
            let headers = response.headers_mut();
            headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD, OPTIONS"));
            headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, HEAD, OPTIONS"));
            headers.insert(
                ACCESS_CONTROL_ALLOW_HEADERS,
                HeaderValue::from_static("authorization, content-type"),
            );
            headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            Ok(Some(response))
        }
        _ => Err(Refusal::method("GET, HEAD, OPTIONS")),
    }
}

/// A text that never changes.
#[must_use]
pub fn text(text: &'static str) -> Response<Body> {
    whole("text/plain; charset=utf-8", Bytes::from_static(text.as_bytes()))
}

/// A value as JSON.
///
/// # Errors
/// 503 where too many such answers wait.
pub fn json<T: Serialize>(server: &Server, value: &T) -> Result<Response<Body>, Refusal> {
    let text = serde_json::to_vec_pretty(value).unwrap_or_else(|error| error.to_string().into_bytes());
    made(server, "application/json", text)
}

/// A text that was made for this request.
///
/// # Errors
/// 503 where too many such answers wait.
pub fn made(server: &Server, kind: &'static str, text: Vec<u8>) -> Result<Response<Body>, Refusal> {
    // A client who does not read it holds room that others need too.
    let body = server.facts().answers.body(text);
    let body = body.ok_or_else(|| Refusal::overload("too many answers wait to be read by others"))?;
    Ok(whole(kind, body))
}

fn whole(kind: &'static str, bytes: Bytes) -> Response<Body> {
    let length = bytes.len();
    let mut response = Response::new(Body::full(bytes));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
