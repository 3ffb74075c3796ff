//! A refusal that is told after the upgrade: a page's script can't read a failed one.

use std::rc::Rc;

use hyper::Request;
use hyper::body::Incoming;
use tracing::debug;

use crate::model::frame;
use crate::web::connection::Connection;
use crate::web::handshake::upgraded;
use crate::web::line;
use crate::web::refusal::Refusal;
use crate::web::server::Server;

/// Closes the WebSocket that `request` becomes, with the refusal's code and reason.
pub fn after_upgrade(
    server: &Rc<Server>,
    connection: &Rc<Connection>,
    request: Request<Incoming>,
    refusal: &Refusal,
) {
    let code = refusal.close_code().unwrap_or(4403);
    server.count_refusal(code);
    let reason = refusal.to_string();
    debug!(peer = %connection.peer(), code, %refusal, "refused after the upgrade");
    let connection = Rc::clone(connection);
    server.spawn(async move {
        if let Some((socket, _)) = upgraded(request).await {
            let mut close = Vec::new();
            frame::put_close(&mut close, code, &reason);
            line::say_goodbye(&socket, &close).await;
        }
        drop(connection);
    });
}
