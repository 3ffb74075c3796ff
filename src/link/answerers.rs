//! The sockets that give unicast answers to who asked on this LAN: one for each far host, so that hosts can be told apart.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// Far hosts that answer at a time; the one that was silent longest gives way.
const ANSWERERS: usize = 64;
/// How long a far host keeps its port here.
const LIFETIME: Duration = Duration::from_secs(60);

/// The sockets of one mirrored group.
#[derive(Debug, Default)]
pub(super) struct Answerers {
    open: HashMap<SocketAddr, (UdpSocket, Instant)>,
}

impl Answerers {
    /// Sends what `responder` answered to `asker`, from a port of our address `own`; false where that can't be.
    pub(super) fn deliver(
        &mut self,
        own: IpAddr,
        responder: SocketAddr,
        asker: SocketAddr,
        payload: &[u8],
    ) -> bool {
        let now = Instant::now();
        if !self.open.contains_key(&responder) {
            if self.open.len() >= ANSWERERS {
                let oldest =
                    self.open.iter().min_by_key(|(_, (_, used))| *used).map(|(responder, _)| *responder);
                if let Some(oldest) = oldest {
                    self.open.remove(&oldest);
                }
            }
            let Ok(socket) = UdpSocket::bind((own, 0)) else { return false };
            if socket.set_nonblocking(true).is_err() {
                return false;
            }
            self.open.insert(responder, (socket, now));
        }
        let Some((socket, used)) = self.open.get_mut(&responder) else { return false };
        *used = now;
        socket.send_to(payload, asker).is_ok()
    }

    /// Closes what has been silent for too long.
    pub(super) fn tick(&mut self, now: Instant) {
        self.open.retain(|_, (_, used)| now.saturating_duration_since(*used) < LIFETIME);
    }
}
