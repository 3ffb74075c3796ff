//! A checked right to send to one group on one interface, with its socket and its rates.

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::time::Instant;

use tracing::debug;

use crate::hub::budget::Lease;
use crate::hub::echo::{Echoes, SenderId};
use crate::lan::interface::{Interface, Interfaces};
use crate::lan::transmit::{TransmitError, TransmitOptions, Transmitter};
use crate::model::bucket::TokenBucket;
use crate::model::group::Group;
use crate::model::selector::InterfaceSelector;
use crate::model::status::{RefusedSends, SenderStatus};
use crate::sys::transmit_batch::TransmitBatch;

/// What a sender is made for.
#[derive(Clone, Debug)]
pub struct SenderKey {
    /// Where to.
    pub group: Group,
    /// On which interface.
    pub interface: InterfaceSelector,
    /// TTL and loop.
    pub options: TransmitOptions,
}

/// The rate of one session, in datagrams; its senders share it.
pub type SessionRate = Rc<RefCell<TokenBucket>>;

/// The rates that a send must find room in.
#[derive(Debug)]
pub struct SendRates {
    /// Of the session alone, in datagrams.
    pub session: Option<SessionRate>,
    /// Of all senders to the group, in datagrams.
    pub group: Rc<Lease>,
    /// Of the gateway, in datagrams.
    pub gateway: Rc<Lease>,
    /// Of the gateway, in bits on the wire without the link layer.
    pub bandwidth: Rc<Lease>,
}

/// Holding one is the proof that its group may be sent to.
///
/// The books balance: `accepted = sent + refused.*`.
#[derive(Debug)]
pub struct Sender {
    id: SenderId,
    key: SenderKey,
    echoes: Rc<Echoes>,
    rates: SendRates,
    transmitter: Transmitter,
    interface: RefCell<String>,
    accepted: Cell<u64>,
    sent: Cell<u64>,
    refused: Cell<RefusedSends>,
    replies: Cell<u64>,
    replies_lost: Cell<u64>,
}

/// Which rate a datagram was over; each is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverRate {
    /// That of this sender alone.
    Own,
    /// One that it shares with others.
    Shared,
}

impl Sender {
    /// Opens the socket on `interface`.
    ///
    /// # Errors
    /// [`TransmitError`].
    pub fn open(
        key: SenderKey,
        interface: &Interface,
        echoes: Rc<Echoes>,
        rates: SendRates,
    ) -> Result<Self, TransmitError> {
        let transmitter = Transmitter::open(key.group, interface, key.options)?;
        let id = echoes.number();
        echoes.add(key.group.is_ipv4(), transmitter.port(), id);
        Ok(Sender {
            id,
            key,
            echoes,
            rates,
            transmitter,
            interface: RefCell::new(interface.name.clone()),
            accepted: Cell::new(0),
            sent: Cell::new(0),
            refused: Cell::default(),
            replies: Cell::new(0),
            replies_lost: Cell::new(0),
        })
    }

    /// What it was made for.
    #[must_use]
    pub fn key(&self) -> &SenderKey {
        &self.key
    }

    /// Its number, by which its echoes are known.
    #[must_use]
    pub fn id(&self) -> SenderId {
        self.id
    }

    /// Puts one datagram into a batch that holds this sender's alone, to leave with [`Sender::send`], or says and counts why
    /// not. `now` is for the rates.
    ///
    /// # Errors
    /// [`OverRate`].
    pub fn put(&self, batch: &mut TransmitBatch, payload: &[u8], now: Instant) -> Result<(), OverRate> {
        self.accepted.set(self.accepted.get() + 1);
        let room = self.find_room(payload.len(), now);
        if room.is_ok() {
            batch.push(payload);
        } else {
            let mut refused = self.refused.get();
            refused.rate += 1;
            self.refused.set(refused);
        }
        room
    }

    /// Sends all datagrams of a batch, in order, counts each, and leaves it empty.
    pub fn send(&self, batch: &mut TransmitBatch) {
        let mut refused = self.refused.get();
        let sent = self.transmitter.send_batch(batch, |datagrams, error| {
            refused.kernel += datagrams as u64;
            debug!(%error, datagrams, "the kernel refused datagrams");
        });
        self.sent.set(self.sent.get() + sent as u64);
        self.refused.set(refused);
    }

    /// Counts a frame that was too large to be sent.
    pub fn refuse_size(&self) {
        self.accepted.set(self.accepted.get() + 1);
        let mut refused = self.refused.get();
        refused.size += 1;
        self.refused.set(refused);
    }

    /// Waits for unicast replies and gives each, with its source, to `take`, which says whether it had room for it. `scratch` is borrowed
    /// only while a reply is handed over.
    ///
    /// # Errors
    /// What the kernel says.
    pub async fn reply(
        &self,
        scratch: &RefCell<Vec<u8>>,
        mut take: impl FnMut(&[u8], SocketAddr) -> bool,
    ) -> std::io::Result<()> {
        self.transmitter.readable().await?;
        let mut scratch = scratch.borrow_mut();
        if let Some((length, source)) = self.transmitter.take_reply(&mut scratch)? {
            if take(&scratch[..length], source) {
                self.replies.set(self.replies.get() + 1);
            } else {
                self.replies_lost.set(self.replies_lost.get() + 1);
            }
        }
        Ok(())
    }

    /// What was not sent so far.
    #[must_use]
    pub fn refused(&self) -> RefusedSends {
        self.refused.get()
    }

    /// The interface that it sends on, by name.
    #[must_use]
    pub fn interface(&self) -> String {
        self.interface.borrow().clone()
    }

    /// Our address and port as receivers will see them; the unspecified address where the interface has none.
    #[must_use]
    pub fn source(&self) -> SocketAddr {
        let any: IpAddr = if self.key.group.is_ipv4() {
            Ipv4Addr::UNSPECIFIED.into()
        } else {
            Ipv6Addr::UNSPECIFIED.into()
        };
        self.transmitter.source().unwrap_or_else(|| SocketAddr::new(any, self.transmitter.port()))
    }

    /// Follows the interface. While it is away, sends are refused by the kernel and counted.
    pub fn reconcile(&self, interfaces: &Interfaces) {
        let Some(interface) = interfaces.find(&self.key.interface) else { return };
        match self.transmitter.follow(interface) {
            Ok(()) => interface.name.clone_into(&mut self.interface.borrow_mut()),
            Err(error) => tracing::debug!(%error, "the sender stays on its old interface"),
        }
    }

    /// Its books.
    #[must_use]
    pub fn status(&self) -> SenderStatus {
        SenderStatus {
            group: self.key.group.to_string(),
            interface: self.interface.borrow().clone(),
            source: self
                .transmitter
                .source()
                .map_or_else(|| format!("port {}", self.transmitter.port()), |source| source.to_string()),
            accepted: self.accepted.get(),
            sent: self.sent.get(),
            refused: self.refused.get(),
            replies: self.replies.get(),
            replies_lost: self.replies_lost.get(),
        }
    }

    fn find_room(&self, length: usize, now: Instant) -> Result<(), OverRate> {
        let headers = if self.key.group.is_ipv4() { 28 } else { 48 };
        let bits = (length as u64 + headers) * 8;
        if !self.rates.session.as_ref().is_none_or(|bucket| bucket.borrow_mut().take(1, now)) {
            return Err(OverRate::Own);
        }
        let SendRates { group, gateway, bandwidth, .. } = &self.rates;
        if group.take(1, now) && gateway.take(1, now) && bandwidth.take(bits, now) {
            return Ok(());
        }
        Err(OverRate::Shared)
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.echoes.remove(self.key.group.is_ipv4(), self.transmitter.port());
    }
}
