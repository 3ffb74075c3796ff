//! The sockets that send mirrored datagrams to a LAN: one for each original sender, so that its unicast answers come back to
//! a port that is its own. The table of them is the table of who asked.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use tokio_util::task::AbortOnDropHandle;
use tracing::debug;

use crate::lan::interface::Interface;
use crate::lan::transmit::{TransmitOptions, Transmitter};
use crate::link::mirror::Mirror;
use crate::model::group::Group;

/// Original senders that one mirrored group has sockets for; the one that was silent longest gives way.
const EMITTERS: usize = 256;
/// How long a socket waits for answers after the last datagram.
const LIFETIME: Duration = Duration::from_secs(60);
/// How long the port of a closed socket is still known as ours: what was sent is on its way back.
const AFTERWARDS: Duration = Duration::from_secs(2);
/// Bytes of one answer.
const LONGEST: usize = 65536;

/// Somebody behind a link who sent to the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Asker {
    /// The gateway on whose LAN it is.
    pub(super) gateway: u64,
    /// Its address and port there.
    pub(super) address: SocketAddr,
}

/// The sockets of one mirrored group.
pub(super) struct Emitters {
    group: Group,
    open: HashMap<Key, Emitter>,
    /// Our ports, those just closed included.
    ports: HashMap<u16, Option<Instant>>,
}

/// Whose socket it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    Of(Asker),
    /// Of all who send from the port that the group has: the protocol wants that port (mDNS).
    Kept,
}

struct Emitter {
    transmitter: Rc<Transmitter>,
    used: Instant,
    asker: Rc<Cell<Asker>>,
    _answers: AbortOnDropHandle<()>,
}

impl Emitters {
    pub(super) fn new(group: Group) -> Emitters {
        Emitters { group, open: HashMap::new(), ports: HashMap::new() }
    }

    /// The socket for what `asker` sent, opened on `interface` where it is not open yet. Answers go to `mirror`.
    pub(super) fn of(
        &mut self,
        asker: Asker,
        interface: &Interface,
        ttl: u8,
        mirror: &Weak<Mirror>,
        now: Instant,
    ) -> Option<&Transmitter> {
        let keeps = asker.address.port() == self.group.port();
        let key = if keeps { Key::Kept } else { Key::Of(asker) };
        if !self.open.contains_key(&key) {
            if self.open.len() >= EMITTERS {
                let oldest = self.open.iter().min_by_key(|(_, one)| one.used).map(|(key, _)| *key);
                if let Some(oldest) = oldest {
                    self.close(oldest, now);
                }
            }
            let options = TransmitOptions { ttl, loopback: true };
            let port = keeps.then_some(self.group.port());
            let transmitter = match Transmitter::open_from(self.group, interface, options, port) {
                Ok(transmitter) => Rc::new(transmitter),
                Err(error) => {
                    debug!(%error, "opening a socket for a mirrored group");
                    return None;
                }
            };
            if !keeps {
                self.ports.insert(transmitter.port(), None);
            }
            let asker = Rc::new(Cell::new(asker));
            let waiting = pass_answers(Rc::clone(&transmitter), Rc::clone(&asker), Weak::clone(mirror));
            let answers = AbortOnDropHandle::new(tokio::task::spawn_local(waiting));
            self.open.insert(key, Emitter { transmitter, used: now, asker, _answers: answers });
        }
        let emitter = self.open.get_mut(&key)?;
        emitter.used = now;
        emitter.asker.set(asker);
        Some(&emitter.transmitter)
    }

    /// Whether a port of this host is one of ours alone.
    pub(super) fn has_port(&self, port: u16) -> bool {
        self.ports.contains_key(&port)
    }

    /// Whether the group's own port is used for sending too.
    pub(super) fn keeps_port(&self) -> bool {
        self.open.contains_key(&Key::Kept)
    }

    /// Closes what has been silent for too long.
    pub(super) fn tick(&mut self, now: Instant) {
        let over = self.open.iter().filter(|(_, one)| now.saturating_duration_since(one.used) >= LIFETIME);
        for key in over.map(|(key, _)| *key).collect::<Vec<_>>() {
            self.close(key, now);
        }
        self.ports.retain(|_, closed| closed.is_none_or(|at| now.saturating_duration_since(at) < AFTERWARDS));
    }

    /// The interface is another one: the sockets are opened anew there.
    pub(super) fn close_all(&mut self, now: Instant) {
        for key in self.open.keys().copied().collect::<Vec<_>>() {
            self.close(key, now);
        }
    }

    fn close(&mut self, key: Key, now: Instant) {
        if let Some(emitter) = self.open.remove(&key)
            && let Some(port) = self.ports.get_mut(&emitter.transmitter.port())
        {
            *port = Some(now);
        }
    }
}

/// Passes unicast answers on for as long as it is polled.
async fn pass_answers(transmitter: Rc<Transmitter>, asker: Rc<Cell<Asker>>, mirror: Weak<Mirror>) {
    let scratch = RefCell::new(vec![0; LONGEST]);
    while transmitter.readable().await.is_ok() {
        let Some(mirror) = mirror.upgrade() else { return };
        let mut scratch = scratch.borrow_mut();
        match transmitter.take_reply(&mut scratch) {
            Ok(Some((length, source))) => mirror.answered(asker.get(), source, &scratch[..length]),
            Ok(None) => {}
            Err(error) => {
                debug!(%error, "reading answers to a mirrored datagram");
                return;
            }
        }
    }
}
