//! Who a client of `wscast.v1` is: what it says in its first message, or again before its token expires.

use std::time::Instant;

use crate::model::control::{Authenticated, ErrorCode, Notice};
use crate::model::token::Token;
use crate::web::asking;
use crate::web::v1::session::Session;

impl Session {
    /// The client shows a token.
    pub(super) fn authenticate(&self, id: Option<u64>, token: &Token) -> Result<(), (u16, String)> {
        let (access, peer) = (self.server.access(), self.connection.peer().ip());
        // Where nobody is known by anything, any token will do.
        if !access.knows_anybody() {
            return Ok(());
        }
        let first = self.wants_token.get().is_some();
        let identity = match self.server.facts().callers.by_token(&access, peer, token) {
            Ok(identity) => identity,
            Err(refusal) if first => {
                return Err((refusal.close_code().unwrap_or(4401), refusal.to_string()));
            }
            Err(refusal) => {
                self.refuse(id, ErrorCode::BadToken, refusal.words());
                return Ok(());
            }
        };
        let (principal, expires) = (identity.principal.name.clone(), identity.expires);
        if first {
            let seated = self.connection.sit(&self.server, identity);
            seated.map_err(|refusal| (refusal.close_code().unwrap_or(4529), refusal.to_string()))?;
            self.wants_token.set(None);
            self.sending.set_rate(asking::session_rate(&self.server, &self.connection));
            self.hello();
        } else if self.connection.identity().is_some_and(|before| before.principal.name == principal) {
            self.connection.renew(identity);
        } else {
            let message = "this session is another principal's: open a connection for this token";
            self.refuse(id, ErrorCode::BadToken, message);
            return Ok(());
        }
        let expires = expires.map(|expires| expires.0);
        self.egress.tell(&Notice::Authenticated(Authenticated { id, principal: principal.into(), expires }));
        Ok(())
    }

    /// Whether it may see what the gateway tells of itself and of all clients.
    pub(super) fn may_watch(&self) -> bool {
        self.connection.identity().is_some_and(|identity| identity.grant().status)
    }

    /// The close that answers a token that has expired, or has not come in time.
    pub(super) fn overdue(&self, now: Instant) -> Option<(u16, String)> {
        if self.wants_token.get().is_some_and(|until| now >= until) {
            return Some((4408, "auth_timeout: no token came within 5 s".to_owned()));
        }
        let expired = self.connection.is_expired(self.server.unix_time());
        expired.then(|| (4401, asking::EXPIRED.to_owned()))
    }
}
