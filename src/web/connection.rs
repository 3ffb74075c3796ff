//! One TCP connection: whose it is, and its right to be there.

use std::cell::RefCell;
use std::net::SocketAddr;

use tokio::sync::Notify;

use crate::web::admission::Admitted;
use crate::web::gate::{Caller, Gate};
use crate::web::refusal::Refusal;

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
}

impl Connection {
    /// From `peer` to our address `local`; nobody has asked for anything on it yet.
    #[must_use]
    pub fn new(peer: SocketAddr, local: SocketAddr, admitted: Admitted) -> Self {
        let (admitted, caller) = (RefCell::new(admitted), RefCell::default());
        Connection { peer, local, cut: Notify::new(), admitted, caller }
    }

    /// A request's head has been read whole.
    pub fn request_arrived(&self) {
        self.admitted.borrow_mut().handshake_done();
    }

    /// Its last request came from `caller`, who passed the gate.
    pub fn passed(&self, caller: Caller) {
        self.caller.replace(Some(caller));
    }

    /// Whether the gate lets its caller in still.
    ///
    /// # Errors
    /// 403.
    pub fn check_again(&self, gate: &Gate) -> Result<(), Refusal> {
        self.caller.borrow().as_ref().map_or(Ok(()), |caller| gate.check_again(caller, self.local))
    }
}
