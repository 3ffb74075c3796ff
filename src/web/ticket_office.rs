//! `POST /api/v1/tickets`: a ticket for whoever shows a token, for where only a URL can be given.

use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use hyper::body::{Body as _, Incoming};
use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_MAX_AGE, ALLOW, CACHE_CONTROL,
    CONTENT_LENGTH, CONTENT_TYPE, HeaderValue,
};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::json;

use crate::web::asking;
use crate::web::body::Body;
use crate::web::connection::Connection;
use crate::web::gate;
use crate::web::refusal::Refusal;
use crate::web::server::Server;
use crate::web::tickets::LIFETIME;

/// The methods that it takes.
const METHODS: &str = "POST, OPTIONS";

/// Answers a request for a ticket, or the question of a browser whether its page may ask for one.
///
/// # Errors
/// 401 without a token where one is wanted, 405 for other methods, 400 for a body, 503 where there are too many tickets.
pub fn answer(
    server: &Rc<Server>,
    connection: &Connection,
    request: &Request<Incoming>,
) -> Result<Response<Body>, Refusal> {
    if gate::is_cross_site(request.headers()) {
        return Err(Refusal::not_allowed("another site's page asks without saying which"));
    }
    match *request.method() {
        Method::OPTIONS => return Ok(preflight()),
        Method::POST if request.body().is_end_stream() => {}
        Method::POST => return Err(Refusal::malformed("a request for a ticket has no body")),
        _ => return Err(Refusal::method(METHODS)),
    }
    let identity = asking::identity(server, connection, request)?.ok_or_else(asking::wanted)?;
    let ticket = server.facts().callers.tickets.issue(identity, Instant::now());
    let ticket = ticket.ok_or_else(|| Refusal::overload("as many unused tickets as there may be"))?;
    let text = json!({ "ticket": ticket.0, "expires_in": LIFETIME.as_secs() }).to_string();
    let mut response = Response::new(Body::full(Bytes::new()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(text.len()));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    *response.body_mut() = Body::full(Bytes::from(text));
    Ok(response)
}

fn preflight() -> Response<Body> {
    let mut response = Response::new(Body::full(Bytes::new()));
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(ALLOW, HeaderValue::from_static(METHODS));
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(METHODS));
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("authorization, content-type"));
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
