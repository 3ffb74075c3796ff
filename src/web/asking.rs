//! Who asks: what a request shows, and whose that is.

use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL};
use hyper::{Request, StatusCode};
use tracing::{debug, info};

use crate::hub::sender::SessionRate;
use crate::model::bucket::TokenBucket;
use crate::model::token::Token;
use crate::web::access::{Access, Identity, unix_now};
use crate::web::attempts::{ATTEMPTS, Attempts};
use crate::web::connection::Connection;
use crate::web::refusal::Refusal;
use crate::web::server::Server;
use crate::web::tickets::Tickets;
use crate::web::usage::Usage;

/// The subprotocol that carries a token, in front of its base64url.
const BEARER: &str = "wscast.bearer.";

/// What all shards know of those who came: wrong tokens, tickets, sessions. It outlives a change of the configuration.
#[derive(Debug, Default)]
pub struct Callers {
    /// Wrong tokens, by address.
    pub attempts: Attempts,
    /// Tickets that have not been used.
    pub tickets: Tickets,
    /// Sessions, by principal.
    pub usage: Arc<Usage>,
}

/// What a request shows.
#[derive(Debug)]
enum Shown {
    Nothing,
    Token(Token),
    Ticket(Token),
}

/// What a caller without a token is told where one is wanted.
#[must_use]
pub fn wanted() -> Refusal {
    Refusal::unauthorized(
        "this gateway wants a token: send Authorization: Bearer TOKEN, or see docs/access.md",
    )
}

/// The reason of a conversation that ends because the time of its token is over.
pub const EXPIRED: &str = "unauthorized: the token has expired";

/// Who asks with `request`; `None` where nothing is shown and something is wanted.
///
/// # Errors
/// As [`Callers::identify`].
pub fn identity<B>(
    server: &Server,
    connection: &Connection,
    request: &Request<B>,
) -> Result<Option<Identity>, Refusal> {
    server.facts().callers.identify(&server.access(), connection, request)
}

/// Lets through who may read what the gateway tells of itself and of all clients.
///
/// # Errors
/// 401 and 429 as [`Callers::identify`], 403 for whoever may not.
pub fn operator<B>(server: &Server, connection: &Connection, request: &Request<B>) -> Result<(), Refusal> {
    let identity = identity(server, connection, request)?.ok_or_else(wanted)?;
    match identity.grant().status {
        true => Ok(()),
        false => Err(Refusal::not_allowed(NO_STATUS)),
    }
}

/// The rate of what a session on `connection` sends, where there is one: its principal's, or else everybody's.
#[must_use]
pub fn session_rate(server: &Server, connection: &Connection) -> Option<SessionRate> {
    let now = Instant::now();
    let own = connection.identity().and_then(|identity| identity.grant().send_rate).map(u64::from);
    match own {
        Some(rate) => Some(Rc::new(RefCell::new(TokenBucket::new(rate, rate * 2, now)))),
        None => server.hub().session_rate(now),
    }
}

/// Why somebody may not see the status.
pub const NO_STATUS: &str = "this is for operators; status = true of the principal would allow it";

impl Callers {
    /// Who asks; `None` where nothing is shown and something is wanted.
    ///
    /// # Errors
    /// 400 for what can't be read, 401 for what is not good, 429 where too much was not.
    pub fn identify<B>(
        &self,
        access: &Access,
        connection: &Connection,
        request: &Request<B>,
    ) -> Result<Option<Identity>, Refusal> {
        let peer = connection.peer().ip();
        if !access.knows_anybody() {
            return Ok(access.anonymous());
        }
        match shown(request)? {
            Shown::Nothing => {
                let certificate = connection.certificate();
                let known = certificate.and_then(|one| access.by_certificate(|name| one.is_for(name)));
                Ok(known.or_else(|| access.anonymous()))
            }
            Shown::Token(token) => self.by_token(access, peer, &token).map(Some),
            Shown::Ticket(ticket) => {
                let redeem = || {
                    let before =
                        self.tickets.redeem(&ticket.0, Instant::now()).ok_or("no such ticket, or used")?;
                    let now = unix_now();
                    let again = access.again(&before, now).filter(|again| !again.is_expired(now));
                    again.ok_or("its token is no longer good")
                };
                self.judged(peer, redeem).map(Some)
            }
        }
    }

    /// Whose token it is.
    ///
    /// # Errors
    /// 401 where it is nobody's, 429 where too many from this address were.
    pub fn by_token(&self, access: &Access, peer: IpAddr, token: &Token) -> Result<Identity, Refusal> {
        self.judged(peer, || access.by_token(&token.0, unix_now()))
    }

    /// Looks only where not too much was wrong before. Why it is not good, the log says and the caller does not learn.
    fn judged<E: std::fmt::Display>(
        &self,
        peer: IpAddr,
        judge: impl FnOnce() -> Result<Identity, E>,
    ) -> Result<Identity, Refusal> {
        let now = Instant::now();
        if !self.attempts.may_try(peer, now) {
            let reason = format!("too_many: {ATTEMPTS} wrong tokens a minute from this address");
            return Err(Refusal::new(StatusCode::TOO_MANY_REQUESTS, reason));
        }
        judge().map_err(|error| {
            self.attempts.failed(peer, now);
            info!(%peer, %error, "a token is not good");
            Refusal::unauthorized("this token is not good: it is unknown or has expired")
        })
    }
}

/// The first of the three ways that a request goes.
fn shown<B>(request: &Request<B>) -> Result<Shown, Refusal> {
    let mut headers = request.headers().get_all(AUTHORIZATION).iter();
    match (headers.next(), headers.next()) {
        (Some(_), Some(_)) => return Err(Refusal::malformed("the Authorization header stands twice")),
        (Some(value), None) => {
            let text = value.to_str().unwrap_or("");
            let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
            // Other schemes are other people's: a proxy in front may want them.
            if scheme.eq_ignore_ascii_case("bearer") {
                return Ok(Shown::Token(Token(token.trim().to_owned())));
            }
            debug!("an Authorization header that is not of the scheme Bearer is not looked at");
        }
        (None, _) => {}
    }
    let protocols = request.headers().get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    let offered = protocols.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    if let Some(encoded) = offered.filter_map(|offered| offered.trim().strip_prefix(BEARER)).next() {
        let bytes = URL_SAFE_NO_PAD.decode(encoded.trim_end_matches('='));
        let text = bytes.ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let text =
            text.ok_or_else(|| Refusal::malformed("the subprotocol wscast.bearer. is not base64url"))?;
        return Ok(Shown::Token(Token(text)));
    }
    let query = request.uri().query().unwrap_or("");
    let ticket = query.split('&').find_map(|pair| pair.strip_prefix("token="));
    Ok(ticket.map_or(Shown::Nothing, |ticket| Shown::Ticket(Token(ticket.to_owned()))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(uri: &str, headers: &[(&str, &str)]) -> String {
        let mut request = Request::get(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        match shown(&request.body(()).unwrap()) {
            Ok(Shown::Nothing) => "nothing".to_owned(),
            Ok(Shown::Token(token)) => format!("token {}", token.0),
            Ok(Shown::Ticket(ticket)) => format!("ticket {}", ticket.0),
            Err(refusal) => refusal.status().as_u16().to_string(),
        }
    }

    #[test]
    fn a_token_comes_in_three_ways() {
        let (auth, protocol) = ("authorization", "sec-websocket-protocol");
        assert_eq!(look("/v1", &[]), "nothing");
        assert_eq!(look("/v1", &[(auth, "Bearer abc")]), "token abc");
        assert_eq!(look("/v1", &[(auth, "bearer  abc ")]), "token abc");
        assert_eq!(look("/v1?token=t", &[(auth, "Basic abc")]), "ticket t");
        assert_eq!(look("/v1", &[(auth, "Bearer a"), (auth, "Bearer b")]), "400");
        assert_eq!(look("/v1", &[(protocol, "wscast.v1, wscast.bearer.YWJj")]), "token abc");
        assert_eq!(look("/v1", &[(protocol, "wscast.v1"), (protocol, "wscast.bearer.YQ==")]), "token a");
        assert_eq!(look("/v1", &[(protocol, "wscast.bearer.*")]), "400");
        assert_eq!(look("/udp/239.1.2.3:5?ttl=1&token=a-_b", &[]), "ticket a-_b");
    }
}
