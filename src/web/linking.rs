//! The door for other gateways, `/v1/link`.

use std::rc::Rc;

use hyper::body::Incoming;
use hyper::header::ORIGIN;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;

use crate::model::status::LinksStatus;
use crate::web::asking;
use crate::web::body::Body;
use crate::web::connection::Connection;
use crate::web::facts::Facts;
use crate::web::handshake::Handshake;
use crate::web::refusal::Refusal;
use crate::web::server::Server;

/// The subprotocol: that of every other client of `/v1`.
const PROTOCOL: &str = "wscast.v1";

/// Hands the connection to the links.
///
/// # Errors
/// 426 for a request that asks for no WebSocket, 400 for one that does not offer the subprotocol, 403 where links are not
/// accepted or a page asks, 503 while draining.
pub fn open(
    server: &Rc<Server>,
    connection: &Rc<Connection>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Refusal> {
    let handshake = Handshake::read(&request)?.ok_or_else(Refusal::upgrade_required)?;
    if !handshake.offered.iter().any(|offered| offered == PROTOCOL) {
        return Err(Refusal::malformed("/v1/link speaks the subprotocol wscast.v1: offer it"));
    }
    if request.headers().contains_key(ORIGIN) {
        return Err(Refusal::not_allowed("links are for gateways, not for pages"));
    }
    let door = server.facts().links.get().filter(|_| server.config().accept_links);
    let Some(door) = door.cloned() else {
        return Err(Refusal::not_allowed("this gateway accepts no links (--accept-links)"));
    };
    if server.facts().draining.is_cancelled() {
        return Err(Refusal::overload("draining: the gateway is stopping"));
    }
    let identity = asking::identity(server, connection, &request)?.ok_or_else(asking::wanted)?;
    if !identity.grant().link {
        return Err(Refusal::not_allowed(
            "this is for gateways; link = true of the principal would allow it",
        ));
    }
    connection.sit(server, identity)?;
    let connection = Rc::clone(connection);
    server.spawn(async move {
        if let Ok(upgraded) = hyper::upgrade::on(request).await {
            door.serve(Box::new(TokioIo::new(upgraded)), connection.peer()).await;
        }
        // The connection counts for as long as the link has it.
        drop(connection);
    });
    Ok(handshake.response(Some(PROTOCOL)))
}

impl Facts {
    /// What the links tell.
    pub(super) async fn linked(&self) -> LinksStatus {
        let Some(door) = self.links.get() else { return LinksStatus::default() };
        door.status().await.unwrap_or_default()
    }
}
