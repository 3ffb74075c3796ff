//! One TCP connection: who is at its other end, how it is bounded, and how it is cut off.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::StatusCode;
use socket2::SockRef;
use tokio::sync::Notify;

use crate::model::bucket::TokenBucket;
use crate::model::limits::Limits;
use crate::sys::random;
use crate::web::admission::Admitted;
use crate::web::refusal::Refusal;

/// What `TCP_USER_TIMEOUT` adds to the stall: it also ends live peers with a closed window, which are ours to judge.
const AFTER_STALL: Duration = Duration::from_secs(10);

/// One TCP connection.
pub struct Connection {
    /// The client.
    pub peer: SocketAddr,
    /// Our own address on it.
    pub local: SocketAddr,
    /// Notified to cut it off.
    pub cut: Arc<Notify>,
    since: Instant,
    admitted: RefCell<Admitted>,
    answered: Cell<bool>,
    /// The rate of requests, where there is one.
    requests: Option<RefCell<TokenBucket>>,
}

impl Connection {
    /// From `peer` to `local`, admitted.
    #[must_use]
    pub fn new(peer: SocketAddr, local: SocketAddr, admitted: Admitted, limits: &Limits) -> Self {
        let since = admitted.since();
        Connection {
            peer,
            local,
            cut: admitted.cut(),
            since,
            admitted: RefCell::new(admitted),
            answered: Cell::new(false),
            requests: limits.requests.map(|rate| {
                RefCell::new(TokenBucket::new(u64::from(rate), 2 * u64::from(rate), Instant::now()))
            }),
        }
    }

    /// A request's head has been read whole.
    ///
    /// # Errors
    /// 429 for more requests a second than one connection may make.
    pub fn request_arrived(&self, now: Instant) -> Result<(), Refusal> {
        self.admitted.borrow_mut().handshake_done();
        if self.requests.as_ref().is_none_or(|requests| requests.borrow_mut().take(1, now)) {
            return Ok(());
        }
        let reason = "too_many: requests a second on this connection (--limit requests)";
        Err(Refusal::new(StatusCode::TOO_MANY_REQUESTS, reason))
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
