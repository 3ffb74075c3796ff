//! What each request gets: a page, a status, a stream as a body or a WebSocket, or a refusal.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, CACHE_CONTROL, CONTENT_TYPE, HeaderName,
    HeaderValue, VARY,
};
use hyper::{Method, Request, Response, StatusCode};
use serde::Serialize;
use tracing::{Instrument, debug, info};

use crate::hub::subscription::{Subscriber, Subscription};
use crate::model::limits::Limits;
use crate::model::request::{self, Route, StreamRequest};
use crate::model::status::{GrantStatus, InterfaceStatus, SessionStatus};
use crate::web::answer::{json, made, only_reading, readable_by_pages, text};
use crate::web::asked::Asked;
use crate::web::asking;
use crate::web::body::Body;
use crate::web::connection::{self, Connection};
use crate::web::ending::{EndedBy, Ending, OUR_MISTAKE};
use crate::web::gate::Caller;
use crate::web::goodbye;
use crate::web::handshake::{Handshake, upgraded};
use crate::web::library;
use crate::web::line;
use crate::web::linking;
use crate::web::metrics;
use crate::web::opening::{Joined, Opening};
use crate::web::page;
use crate::web::playlist;
use crate::web::reader::{Reader, StreamBody};
use crate::web::reading::Reading;
use crate::web::refusal::Refusal;
use crate::web::server::{Conversation, Server};
use crate::web::session::Session;
use crate::web::ticket_office;
use crate::web::udpxy;
use crate::web::v1::door;

/// The subprotocol that raw streams answer to those who offer it beside a token.
const RAW: &str = "wscast.raw";

static INTERFACE: HeaderName = HeaderName::from_static("wscast-interface");

/// Answers one request. A refusal is an answer too, so this never fails.
///
/// # Errors
/// None.
pub async fn handle(
    server: Rc<Server>,
    connection: Rc<Connection>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let arrived =
        connection.request_arrived(request.headers(), &server.config().trusted_proxies, Instant::now());
    let (peer, method, path) = (connection.peer(), request.method().clone(), request.uri().path().to_owned());
    let mut caller = None;
    let answer = match arrived {
        Ok(()) => answer(&server, &connection, request, &mut caller).await,
        Err(refusal) => Err(refusal),
    };
    let mut response = answer.unwrap_or_else(|refusal| {
        server.count_refusal(refusal.status().as_u16());
        debug!(%peer, %method, path = path.escape_debug().to_string(), status = %refusal.status(), %refusal, "refused");
        refusal.response()
    });
    if let Some(Caller { origin: Some(origin), .. }) = caller {
        let headers = response.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("wscast-interface"));
        headers.insert(VARY, HeaderValue::from_static("Origin"));
    }
    connection.request_answered();
    if method == Method::HEAD {
        *response.body_mut() = Body::full(Bytes::new());
    }
    Ok(response)
}

/// The answer, or why there is none. Whoever passed the gate is left in `passed`.
async fn answer(
    server: &Rc<Server>,
    connection: &Rc<Connection>,
    request: Request<Incoming>,
    passed: &mut Option<Caller>,
) -> Result<Response<Body>, Refusal> {
    check_size(&request, &server.config().limits)?;
    if let Some(file) = library::file(request.uri().path()) {
        server.setup().gate.check_host(&request, connection.local)?;
        only_reading(&request)?;
        return Ok(file);
    }
    let caller = server.setup().gate.check(&request, connection.local, connection.scheme())?;
    *passed = Some(caller.clone());
    connection.passed(caller.clone());
    let path = request.uri().path();
    let setup = server.setup();
    if let Some(asset) = page::asset(path).or(setup.player.as_ref().filter(|_| path == page::PLAYER)) {
        only_reading(&request)?;
        return Ok(asset.response(request.headers(), page::POLICY));
    }
    match path {
        "/healthz" => {
            only_reading(&request)?;
            Ok(text("ok\n"))
        }
        "/readyz" => {
            only_reading(&request)?;
            if server.facts().draining.is_cancelled() {
                return Err(Refusal::overload("draining: the gateway is stopping"));
            }
            if server.facts().pressure.is_high() {
                return Err(Refusal::memory());
            }
            Ok(text("ready\n"))
        }
        "/api/v1/status" => {
            if let Some(options) = readable_by_pages(&request)? {
                return Ok(options);
            }
            asking::operator(server, connection, &request)?;
            json(server, &server.gateway_status().await)
        }
        "/status" | "/status/" => {
            if let Some(options) = readable_by_pages(&request)? {
                return Ok(options);
            }
            asking::operator(server, connection, &request)?;
            let page = udpxy::page(&server.gateway_status().await);
            made(server, "text/html; charset=utf-8", page.into_bytes())
        }
        "/playlist.m3u" => {
            if let Some(options) = readable_by_pages(&request)? {
                return Ok(options);
            }
            let identity = asking::identity(server, connection, &request)?.ok_or_else(asking::wanted)?;
            let base = format!("{}://{}", caller.scheme, caller.host);
            playlist::page(server, identity.grant(), request.uri().query(), &base)
        }
        "/api/v1/announcements" => {
            if let Some(options) = readable_by_pages(&request)? {
                return Ok(options);
            }
            let identity = asking::identity(server, connection, &request)?.ok_or_else(asking::wanted)?;
            json(server, &playlist::announcements(server, identity.grant()))
        }
        "/metrics" => {
            only_reading(&request)?;
            asking::operator(server, connection, &request)?;
            Ok(metrics::page(server).await)
        }
        "/api/v1/interfaces" => {
            if let Some(options) = readable_by_pages(&request)? {
                return Ok(options);
            }
            asking::operator(server, connection, &request)?;
            #[derive(Serialize)]
            struct All {
                interfaces: Vec<InterfaceStatus>,
            }
            let interfaces = server
                .hub()
                .interfaces()
                .iter()
                .map(super::super::lan::interface::Interface::status)
                .collect();
            json(server, &All { interfaces })
        }
        "/api/v1/grant" => {
            if let Some(options) = readable_by_pages(&request)? {
                return Ok(options);
            }
            let identity = asking::identity(server, connection, &request)?.ok_or_else(asking::wanted)?;
            let (config, grant, name) = (server.config(), identity.grant(), &identity.principal.name);
            json(server, &GrantStatus::new(name, identity.expires, grant, &config))
        }
        "/api/v1/tickets" => ticket_office::answer(server, connection, &request),
        "/v1" => door::open(server, connection, request, &caller),
        "/v1/link" => linking::open(server, connection, request),
        _ => stream(server, connection, request, &caller).await,
    }
}

/// A stream's URL, as a WebSocket or as a body; anything else is not there.
async fn stream(
    server: &Rc<Server>,
    connection: &Rc<Connection>,
    request: Request<Incoming>,
    caller: &Caller,
) -> Result<Response<Body>, Refusal> {
    let handshake = Handshake::read(&request)?;
    let opening = async {
        let wanted = wanted(&request)?;
        if let Some(options) = readable_by_pages(&request)? {
            return Ok(Err(options));
        }
        if server.facts().draining.is_cancelled() {
            return Err(Refusal::overload("draining: the gateway is stopping"));
        }
        if server.facts().pressure.is_high() {
            return Err(Refusal::memory());
        }
        let identity = asking::identity(server, connection, &request)?.ok_or_else(asking::wanted)?;
        let opening = Opening::check(wanted, &server.config(), identity.grant(), &server.hub().interfaces())?;
        if request.method() == Method::HEAD {
            return Ok(Err(stream_headers(&opening, false)));
        }
        if handshake.is_none() && !opening.options.receive {
            return Err(Refusal::malformed("receive=0 without a WebSocket leaves nothing to do"));
        }
        connection.sit(server, identity)?;
        let joined = opening.join(server.hub(), handshake.is_none()).await?;
        // It may have waited for a picture, and meanwhile something else may hold.
        if server.facts().draining.is_cancelled() {
            return Err(Refusal::overload("draining: the gateway is stopping"));
        }
        opening.asked.revoked(server, connection).map_or(Ok(()), |revoked| Err(revoked.refusal()))?;
        Ok(Ok((opening, joined)))
    }
    .await;
    let Some(handshake) = handshake else {
        let (opening, joined) = match opening? {
            Ok(opened) => opened,
            Err(answered) => return Ok(answered),
        };
        let mut response = stream_headers(&opening, joined.carries_ts);
        let session = HttpSession::open(server, Rc::clone(connection), &opening, joined);
        *response.body_mut() = Body::Stream(session);
        return Ok(response);
    };
    let protocol = handshake.offered.iter().any(|offered| offered == RAW).then_some(RAW);
    let mut response = handshake.response(protocol);
    match opening {
        Ok(Err(answered)) => return Ok(answered),
        Ok(Ok((opening, joined))) => {
            put_interface(&mut response, &opening);
            let session = Session::open(server, Rc::clone(connection), opening, joined);
            let span = session.span();
            let conversation = async move {
                match upgraded(request).await {
                    Some((socket, early)) => session.run(socket, early).await,
                    None => session.never_began(),
                }
            };
            server.spawn(conversation.instrument(span));
        }
        // A page's script can't read a failed upgrade, so it is told after one.
        Err(refusal) if caller.origin.is_some() && refusal.close_code().is_some() => {
            goodbye::after_upgrade(server, connection, request, &refusal);
        }
        Err(refusal) => return Err(refusal),
    }
    Ok(response)
}

/// What a stream's URL asks for.
fn wanted(request: &Request<Incoming>) -> Result<StreamRequest, Refusal> {
    match request::parse(request.uri().path(), request.uri().query()) {
        Ok(Route::Stream(wanted)) => Ok(wanted),
        Ok(Route::NotAStream) => Err(Refusal::not_found("there is nothing at this path")),
        Err(error) => Err(Refusal::malformed(error.message)),
    }
}

/// Bounds what hyper lets through, in words.
fn check_size(request: &Request<Incoming>, limits: &Limits) -> Result<(), Refusal> {
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    if target > limits.url_size {
        return Err(Refusal::new(
            StatusCode::URI_TOO_LONG,
            format!("too_long: a URL of {target} bytes, at most {} (--limit url-size)", limits.url_size),
        ));
    }
    let headers: usize =
        request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if headers > limits.header_size {
        let most = limits.header_size;
        let reason = format!("too_long: {headers} bytes of headers, at most {most} (--limit header-size)");
        return Err(Refusal::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, reason));
    }
    Ok(())
}

fn stream_headers(opening: &Opening, carries_ts: bool) -> Response<Body> {
    let mut response = Response::new(Body::full(Bytes::new()));
    put_interface(&mut response, opening);
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static(if carries_ts { "video/mp2t" } else { "application/octet-stream" }),
    );
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Reports the interface that was chosen.
fn put_interface(response: &mut Response<Body>, opening: &Opening) {
    if let Ok(value) = HeaderValue::from_str(&opening.interface) {
        response.headers_mut().insert(&INTERFACE, value);
    }
}

/// A conversation over plain HTTP: the body's side of the books.
struct HttpSession {
    server: Rc<Server>,
    number: u64,
    opened: Instant,
    peer: SocketAddr,
    connection: Rc<Connection>,
    asked: Asked,
    reader: Rc<Reader>,
    /// When it has lasted long enough.
    expires: Option<Instant>,
}

impl HttpSession {
    fn open(
        server: &Rc<Server>,
        connection: Rc<Connection>,
        opening: &Opening,
        joined: Joined,
    ) -> StreamBody {
        let Joined { readings, tables, .. } = joined;
        let streams: Vec<_> = readings.iter().map(|reading| Rc::clone(&reading.stream)).collect();
        let reader = Reader::new(readings, tables, opening.options.overflow, server.hub().lag_bounds());
        let subscriber: Rc<dyn Subscriber> = Rc::clone(&reader) as _;
        let subscriptions = Subscription::all(streams, &subscriber, opening.options.latency);
        let session = Rc::new(HttpSession {
            server: Rc::clone(server),
            number: server.next_session(),
            opened: Instant::now(),
            peer: connection.peer(),
            connection,
            asked: opening.asked.clone(),
            reader: Rc::clone(&reader),
            expires: connection::expiry(&server.config().limits, Instant::now()),
        });
        info!(session = session.number, peer = %session.peer, group = %opening.group, interface = opening.interface, "http session opened");
        let registered = server.register(Rc::clone(&session) as _);
        let ended = move || {
            session.reader.abandon();
            let (reason, by) = match session.reader.ended() {
                Some(reason) => (reason, EndedBy::Gateway),
                None => (String::new(), EndedBy::Client),
            };
            let code = match reason.split(':').next() {
                Some("slow_consumer") => 4508,
                Some("draining" | "reloaded" | "lifetime") => 1001,
                Some("unauthorized") => 4401,
                Some("not_allowed") => 4403,
                Some("not_found") => 4404,
                Some("internal") => OUR_MISTAKE,
                _ => 1000,
            };
            session.server.closed(session.status(), &Ending { code, reason, by });
            drop(registered);
        };
        StreamBody::new(reader, subscriptions, Box::new(ended))
    }
}

impl Conversation for HttpSession {
    fn tick(&self, now: Instant) {
        if self.expires.is_some_and(|expires| now >= expires) {
            self.reader.end(line::LIFETIME);
        }
        if let Some(stall) = self.server.config().limits.stall
            && self.reader.stalled_for(now) >= stall
        {
            self.reader.end("slow_consumer: nothing taken");
            // Its connection can't take the end of the body either.
            self.connection.cut.notify_one();
        }
        if self.connection.is_expired(self.server.unix_time()) {
            self.reader.end(asking::EXPIRED);
        }
    }

    fn drain(&self) {
        self.reader.end("draining: the gateway is stopping");
    }

    fn check_again(&self) -> bool {
        let revoked = self.asked.revoked(&self.server, &self.connection);
        if let Some(revoked) = &revoked {
            self.reader.end(&revoked.reason);
        }
        revoked.is_some()
    }

    fn status(&self) -> SessionStatus {
        let (subscriptions, bytes) =
            self.reader.look(|readings| readings.iter().map(Reading::status).collect());
        SessionStatus {
            number: self.number,
            shard: self.server.shard(),
            peer: self.peer.to_string(),
            kind: "http",
            principal: self.connection.principal(),
            seconds: self.opened.elapsed().as_secs_f64(),
            blocked: self.reader.stalled_for(Instant::now()).as_millis() > 0,
            bytes,
            subscriptions,
            sender: None,
            senders: Vec::new(),
            ended: None,
        }
    }
}
