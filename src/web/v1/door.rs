//! The upgrade on `/v1`.

use std::rc::Rc;

use hyper::body::Incoming;
use hyper::{Request, Response};
use tracing::Instrument;

use crate::web::body::Body;
use crate::web::connection::Connection;
use crate::web::handshake::{Handshake, upgraded};
use crate::web::refusal::Refusal;
use crate::web::server::Server;
use crate::web::v1::session::Session;

/// The subprotocol.
const PROTOCOL: &str = "wscast.v1";

/// Turns the connection into a session.
///
/// # Errors
/// 426 for a request that asks for no WebSocket, 400 for one that does not offer the subprotocol, 503 while draining.
pub fn open(
    server: &Rc<Server>,
    connection: &Rc<Connection>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Refusal> {
    let handshake = Handshake::read(&request)?.ok_or_else(Refusal::upgrade_required)?;
    if !handshake.offered.iter().any(|offered| offered == PROTOCOL) {
        let reason =
            "/v1 speaks the subprotocol wscast.v1: offer it, as new WebSocket(url, \"wscast.v1\") does";
        return Err(Refusal::malformed(reason));
    }
    if server.facts().draining.is_cancelled() {
        return Err(Refusal::overload("draining: the gateway is stopping"));
    }
    if server.facts().pressure.is_high() {
        return Err(Refusal::memory());
    }
    let session = Session::open(server, Rc::clone(connection));
    let span = session.span();
    let conversation = async move {
        if let Some((socket, early)) = upgraded(request).await {
            session.run(socket, early).await;
        }
    };
    server.spawn(conversation.instrument(span));
    Ok(handshake.response(Some(PROTOCOL)))
}
