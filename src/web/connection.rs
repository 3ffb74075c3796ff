//! One TCP connection: whose it is, and its right to be there.

use std::cell::RefCell;
use std::net::SocketAddr;

use tokio::sync::Notify;

use crate::model::principal::Credential;
use crate::web::access::{Access, Identity};
use crate::web::admission::Admitted;
use crate::web::refusal::Refusal;
use crate::web::server::Server;
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
    /// Who asks for what is conversed on it, where that is known.
    identity: RefCell<Option<Identity>>,
    /// Its place among the sessions of that principal.
    seat: RefCell<Option<Seat>>,
}

impl Connection {
    /// From `peer` to our address `local`; nobody has asked for anything on it yet.
    #[must_use]
    pub fn new(peer: SocketAddr, local: SocketAddr, admitted: Admitted) -> Self {
        let (identity, seat) = (RefCell::default(), RefCell::default());
        Connection { peer, local, cut: Notify::new(), admitted: RefCell::new(admitted), identity, seat }
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
        let listed = identity.credential != Credential::Nothing;
        if listed {
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

    /// Why the conversation on it may not go on, because of its time.
    #[must_use]
    pub fn is_expired(&self, now: u64) -> bool {
        self.identity.borrow().as_ref().is_some_and(|identity| identity.is_expired(now))
    }

    /// Asks again who its caller is, after the configuration has changed.
    ///
    /// # Errors
    /// 401 where nobody is known any more by what was shown.
    pub fn ask_again(&self, access: &Access, now: u64) -> Result<(), Refusal> {
        let Some(before) = self.identity() else { return Ok(()) };
        let again = access.again(&before, now);
        let again = again.ok_or_else(|| Refusal::unauthorized("this token is no longer good"))?;
        self.identity.replace(Some(again));
        Ok(())
    }
}
