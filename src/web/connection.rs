//! One TCP connection: who is at its other end, how it is bounded, and how it is cut off.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::StatusCode;
use hyper::header::HeaderMap;
use socket2::SockRef;
use tokio::sync::Notify;

use crate::model::bucket::TokenBucket;
use crate::model::forwarded;
use crate::model::limits::Limits;
use crate::model::prefix::AddressPrefix;
use crate::model::principal::Credential;
use crate::sys::random;
use crate::web::access::{Identity, unix_now};
use crate::web::admission::Admitted;
use crate::web::arrival::{Arrival, Ends};
use crate::web::gate::Caller;
use crate::web::refusal::Refusal;
use crate::web::server::Server;
use crate::web::setup::Setup;
use crate::web::tls::ClientCertificate;
use crate::web::usage::Seat;

/// What `TCP_USER_TIMEOUT` adds to the stall: it also ends live peers with a closed window, which are ours to judge.
const AFTER_STALL: Duration = Duration::from_secs(10);

/// One TCP connection.
pub struct Connection {
    /// Our own address on it, as the client sees it.
    pub local: SocketAddr,
    /// Notified to cut it off.
    pub cut: Arc<Notify>,
    certificate: Option<ClientCertificate>,
    peer: Cell<SocketAddr>,
    secure: Cell<bool>,
    /// As it arrived, before any request told more.
    arrived: (SocketAddr, bool),
    /// Whether requests may say for whom they are.
    trusted: bool,
    since: Instant,
    admitted: RefCell<Admitted>,
    answered: Cell<bool>,
    /// Who asked for what is conversed on it.
    caller: RefCell<Option<Caller>>,
    /// The rate of requests, where there is one.
    requests: Option<RefCell<TokenBucket>>,
    /// Who that is, by what was shown, where that is known.
    identity: RefCell<Option<Identity>>,
    /// Its place among the sessions of that principal.
    seat: RefCell<Option<Seat>>,
}

impl Connection {
    /// As it arrived, admitted.
    #[must_use]
    pub fn new(arrival: &Arrival, ends: Ends, admitted: Admitted, limits: &Limits) -> Self {
        let since = admitted.since();
        Connection {
            local: ends.local,
            cut: admitted.cut(),
            certificate: arrival.certificate.clone(),
            peer: Cell::new(ends.peer),
            secure: Cell::new(arrival.secure),
            arrived: (ends.peer, arrival.secure),
            trusted: arrival.trusted,
            since,
            admitted: RefCell::new(admitted),
            answered: Cell::new(false),
            caller: RefCell::default(),
            requests: limits.requests.map(|rate| {
                RefCell::new(TokenBucket::new(u64::from(rate), 2 * u64::from(rate), Instant::now()))
            }),
            identity: RefCell::default(),
            seat: RefCell::default(),
        }
    }

    /// The client: that of the last request, where a trusted proxy says which.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.peer.get()
    }

    /// Who the client says that it is, by TLS. What a trusted proxy shows is the proxy's own, and says nothing of those
    /// for whom it asks.
    #[must_use]
    pub fn certificate(&self) -> Option<&ClientCertificate> {
        self.certificate.as_ref().filter(|_| self.peer.get() == self.arrived.0)
    }

    /// `https` where the client speaks TLS, with us or with a trusted proxy that says so; else `http`.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        if self.secure.get() { "https" } else { "http" }
    }

    /// A request's head has been read whole.
    ///
    /// # Errors
    /// 429 for more requests a second than one connection may make, and for the limits of the client that a proxy names;
    /// 400 for a proxy that names two.
    pub fn request_arrived(
        &self,
        headers: &HeaderMap,
        trusted: &[AddressPrefix],
        now: Instant,
    ) -> Result<(), Refusal> {
        self.admitted.borrow_mut().handshake_done();
        self.seat.take();
        self.identity.take();
        if self.trusted {
            self.told_by_proxy(headers, trusted, now)?;
        }
        if self.requests.as_ref().is_none_or(|requests| requests.borrow_mut().take(1, now)) {
            return Ok(());
        }
        let reason = "too_many: requests a second on this connection (--limit requests)";
        Err(Refusal::new(StatusCode::TOO_MANY_REQUESTS, reason))
    }

    /// What is conversed on it is `identity`'s, until another request comes.
    ///
    /// # Errors
    /// 429 where that principal has as many sessions as it may.
    pub fn sit(&self, server: &Server, identity: Identity) -> Result<(), Refusal> {
        if identity.credential != Credential::Nothing {
            self.seat.replace(Some(server.facts().callers.usage.enter(&identity.principal)?));
        }
        self.identity.replace(Some(identity));
        Ok(())
    }

    /// The same principal shows another token: what it may and until when is asked of that.
    pub fn renew(&self, identity: Identity) {
        self.identity.replace(Some(identity));
    }

    /// Who asks, where that is known.
    #[must_use]
    pub fn identity(&self) -> Option<Identity> {
        self.identity.borrow().clone()
    }

    /// The name of whoever asks, for operators; `None` where nothing was shown.
    #[must_use]
    pub fn principal(&self) -> Option<String> {
        let identity = self.identity.borrow();
        let known = identity.as_ref().filter(|identity| identity.credential != Credential::Nothing);
        known.map(|identity| identity.principal.name.clone())
    }

    /// Whether the time of what was shown is over, at `now` in seconds since 1970.
    #[must_use]
    pub fn is_expired(&self, now: u64) -> bool {
        self.identity.borrow().as_ref().is_some_and(|identity| identity.is_expired(now))
    }

    /// Takes over what a trusted proxy says of a request.
    fn told_by_proxy(
        &self,
        headers: &HeaderMap,
        trusted: &[AddressPrefix],
        now: Instant,
    ) -> Result<(), Refusal> {
        let values = |name: &'static str| {
            let mut values: Vec<_> = headers.get_all(name).iter().map(|value| value.to_str().ok()).collect();
            // What is no text is no address: whatever stands before it can't be trusted.
            if let Some(at) = values.iter().rposition(Option::is_none) {
                values.drain(..=at);
            }
            values.into_iter().flatten()
        };
        let told = forwarded::read(
            values("x-forwarded-for"),
            values("x-forwarded-proto"),
            values("forwarded"),
            trusted,
        );
        let told = told.map_err(|error| Refusal::malformed(error.to_string()))?;
        let (peer, secure) = self.arrived;
        self.secure.set(told.secure.unwrap_or(secure));
        self.peer.set(peer);
        if let Some(client) = told.client {
            self.admitted.borrow_mut().serve_for(client, now)?;
            // Its port is the proxy's affair.
            self.peer.set(SocketAddr::new(client, 0));
        }
        Ok(())
    }

    /// Its last request came from `caller`, who passed the gate.
    pub fn passed(&self, caller: Caller) {
        self.caller.replace(Some(caller));
    }

    /// Whether the gate lets its caller in still, and whether what was shown is somebody's; who that is now, it remembers.
    ///
    /// # Errors
    /// 403, and 401 where what was shown is nobody's any more.
    pub fn check_again(&self, setup: &Setup) -> Result<(), Refusal> {
        let gate = &setup.gate;
        self.caller.borrow().as_ref().map_or(Ok(()), |caller| gate.check_again(caller, self.local))?;
        let Some(before) = self.identity() else { return Ok(()) };
        let again = setup.access.again(&before, unix_now());
        let again = again.ok_or_else(|| Refusal::unauthorized("what was shown is no longer good"))?;
        self.identity.replace(Some(again));
        Ok(())
    }

    /// A request has been answered.
    pub fn request_answered(&self) {
        self.answered.set(true);
    }

    /// Waits until the first request should have been answered, and for ever when it has been.
    pub async fn handshake_overdue(&self, most: Duration) {
        tokio::time::sleep_until((self.since + most).into()).await;
        if self.answered.get() {
            std::future::pending::<()>().await;
        }
    }
}

/// When a connection that begins now ends, by the limit `lifetime`: a tenth earlier or later, so that those who came
/// together do not go together.
#[must_use]
pub fn expiry(limits: &Limits, now: Instant) -> Option<Instant> {
    let lifetime = limits.lifetime?;
    let spread = Duration::from_nanos(random::number() % (lifetime.as_nanos() / 5).max(1) as u64);
    Some(now + lifetime - lifetime / 10 + spread)
}

/// Bounds what the kernel keeps for a client, so that no policy of ours is hidden by it.
///
/// # Errors
/// As the kernel gives them, mostly that the connection is gone.
pub fn prepare(stream: &std::net::TcpStream, limits: &Limits) -> io::Result<()> {
    stream.set_nonblocking(true)?;
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_send_buffer_size(limits.socket_buffer)?;
    socket.set_tcp_notsent_lowat(u32::try_from(limits.socket_unsent).unwrap_or(u32::MAX))?;
    socket.set_tcp_user_timeout(limits.stall.map(|stall| stall + AFTER_STALL))
}
