//! One TCP connection: whose it is, and its right to be there.

use std::cell::RefCell;
use std::net::SocketAddr;

use tokio::sync::Notify;

use crate::model::principal::Credential;
use crate::web::access::{Identity, unix_now};
use crate::web::admission::Admitted;
use crate::web::gate::Caller;
use crate::web::refusal::Refusal;
use crate::web::server::Server;
use crate::web::setup::Setup;
use crate::web::usage::Seat;

/// One TCP connection.
pub struct Connection {
    /// The client.
    pub peer: SocketAddr,
    /// Our own address on it.
    pub local: SocketAddr,
    /// Notified to cut it off.
    pub cut: Notify,
    admitted: RefCell<Admitted>,
    /// Who asked for what is conversed on it.
    caller: RefCell<Option<Caller>>,
    /// Who that is, by what was shown, where that is known.
    identity: RefCell<Option<Identity>>,
    /// Its place among the sessions of that principal.
    seat: RefCell<Option<Seat>>,
}

impl Connection {
    /// From `peer` to our address `local`; nobody has asked for anything on it yet.
    #[must_use]
    pub fn new(peer: SocketAddr, local: SocketAddr, admitted: Admitted) -> Self {
        Connection {
            peer,
            local,
            cut: Notify::new(),
            admitted: RefCell::new(admitted),
            caller: RefCell::default(),
            identity: RefCell::default(),
            seat: RefCell::default(),
        }
    }

    /// A request's head has been read whole.
    pub fn request_arrived(&self) {
        self.admitted.borrow_mut().handshake_done();
        self.seat.take();
        self.identity.take();
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
}
