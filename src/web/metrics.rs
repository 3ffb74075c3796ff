//! `/metrics`: what the gateway has counted, in the text format of Prometheus.
//!
//! Nothing is registered and nothing counts twice: a scrape asks the shards what the status asks them, and writes it
//! down. Labels have few values: streams are bounded by the limit of that name and by [`LISTED`], sessions stand only in
//! sums, and close codes that clients make up are one. docs/metrics.md lists the names.

mod exposition;
mod families;
mod links;
mod streams;

use bytes::Bytes;
use hyper::Response;
use hyper::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};

use crate::sys::process::Process;
use crate::web::body::Body;
use crate::web::metrics::exposition::Exposition;
use crate::web::server::Server;

/// Streams, interfaces and named streams that have series of their own; of more, which only lifted limits allow, the sums
/// alone are there.
pub const LISTED: usize = 1024;

/// The whole page.
pub async fn page(server: &Server) -> Response<Body> {
    let status = server.shard_statuses().await;
    let mut page = Exposition::default();
    families::process(&mut page, &Process::now());
    families::gateway(&mut page, &status, server);
    families::flushes(&mut page, &status.totals.flushes);
    families::sessions(&mut page, &status);
    families::interfaces(&mut page, &status);
    streams::sums(&mut page, &status);
    streams::each(&mut page, &status);
    links::links(&mut page, &status);
    whole(page.text())
}

fn whole(text: String) -> Response<Body> {
    let length = text.len();
    let mut response = Response::new(Body::full(Bytes::from(text)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(exposition::KIND));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
