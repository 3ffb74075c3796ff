//! The upgrade on `/v1`.

use std::rc::Rc;

use hyper::body::Incoming;
use hyper::{Request, Response};
use tracing::Instrument;

use crate::web::asking;
use crate::web::body::Body;
use crate::web::connection::Connection;
use crate::web::gate::Caller;
use crate::web::goodbye;
use crate::web::handshake::{Handshake, upgraded};
use crate::web::refusal::Refusal;
use crate::web::server::Server;
use crate::web::v1::session::Session;

/// The subprotocol.
const PROTOCOL: &str = "wscast.v1";

/// Turns the connection into a session.
///
/// # Errors
/// 426 for a request that asks for no WebSocket, 400 for one that does not offer the subprotocol, 503 while draining,
/// 401 for a token that is not good; without one where one is wanted, the session waits for `auth`.
pub fn open(
    server: &Rc<Server>,
    connection: &Rc<Connection>,
    request: Request<Incoming>,
    caller: &Caller,
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
    let known = asking::identity(server, connection, &request)
        .and_then(|identity| identity.map_or(Ok(()), |identity| connection.sit(server, identity)));
    match known {
        Err(refusal) if caller.origin.is_some() && refusal.close_code().is_some() => {
            goodbye::after_upgrade(server, connection, request, &refusal);
            return Ok(handshake.response(Some(PROTOCOL)));
        }
        known => known?,
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
