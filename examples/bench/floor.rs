//! The floor: what a relay costs that does nothing but its system calls. One thread drains the group's socket, frames what
//! it got at the end of one buffer, and writes each client what it lacks, in one call.

use std::io::{self, Write};
use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::net::RecvFlags;
use socket2::{Domain, InterfaceIndexOrAddress, Socket, Type};
use wscast::lan::interface::Interfaces;
use wscast::model::frame::{self, Opcode};
use wscast::model::selector::InterfaceSelector;

use crate::{Outcome, RelayArguments};

/// Datagrams taken before the clients are written to.
const BATCH: usize = 64;
/// How far a client may be behind; who is further is cut.
const BEHIND: usize = 8 << 20;
/// How long a client whose socket is full waits when nothing else happens.
const RETRY: Duration = Duration::from_millis(1);

struct Client {
    stream: TcpStream,
    /// What of the buffer it has.
    written: usize,
}

/// Relays until it is killed.
pub(crate) fn run(arguments: &RelayArguments) -> Outcome<()> {
    let group = join(arguments)?;
    let listener = TcpListener::bind(arguments.listen)?;
    let joining = Arc::new(Mutex::new(Vec::<TcpStream>::new()));
    let joined = Arc::clone(&joining);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let Ok(accepted) = tokio_tungstenite::tungstenite::accept(stream) else { continue };
            if let Ok(stream) = accepted.get_ref().try_clone()
                && stream.set_nodelay(true).is_ok()
                && stream.set_nonblocking(true).is_ok()
            {
                joined.lock().unwrap_or_else(PoisonError::into_inner).push(stream);
            }
        }
    });
    let mut clients: Vec<Client> = Vec::new();
    let mut datagram = vec![0; 65536];
    let mut frames = Vec::with_capacity(2 * BEHIND + (BATCH << 16));
    let (mut waiting, mut timeout) = (false, None);
    loop {
        if timeout != waiting.then_some(RETRY) {
            timeout = waiting.then_some(RETRY);
            group.set_read_timeout(timeout)?;
        }
        let mut flags = RecvFlags::empty();
        for _ in 0..BATCH {
            let Ok((length, _)) = rustix::net::recv(&group, &mut datagram[..], flags) else { break };
            frame::put(&mut frames, Opcode::Binary, &datagram[..length]);
            flags = RecvFlags::DONTWAIT;
        }
        let new = std::mem::take(&mut *joining.lock().unwrap_or_else(PoisonError::into_inner));
        clients.extend(new.into_iter().map(|stream| Client { stream, written: 0 }));
        clients.retain_mut(|client| client.write(&frames));
        let least = clients.iter().map(|client| client.written).min().unwrap_or(frames.len());
        waiting = least < frames.len();
        if !waiting {
            frames.clear();
            clients.iter_mut().for_each(|client| client.written = 0);
        } else if frames.len() > 2 * BEHIND {
            let gone = frames.len() - BEHIND;
            clients.retain(|client| client.written >= gone);
            frames.drain(..gone);
            clients.iter_mut().for_each(|client| client.written -= gone);
        }
    }
}

impl Client {
    /// Writes what its socket takes; false when it is gone.
    fn write(&mut self, frames: &[u8]) -> bool {
        if self.written == frames.len() {
            return true;
        }
        match self.stream.write(&frames[self.written..]) {
            Ok(written) => self.written += written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return false,
        }
        true
    }
}

/// A plain socket joined to the group.
pub(crate) fn join(arguments: &RelayArguments) -> Outcome<UdpSocket> {
    let interfaces = Interfaces::now()?;
    let interface = interfaces
        .find(&InterfaceSelector::Name(arguments.interface.clone()))
        .ok_or("there is no such interface")?;
    let domain = Domain::for_address(arguments.group);
    let socket = Socket::new(domain, Type::DGRAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_recv_buffer_size(4 << 20)?;
    socket.bind(&arguments.group.into())?;
    match arguments.group.ip() {
        IpAddr::V4(address) => {
            socket.join_multicast_v4_n(&address, &InterfaceIndexOrAddress::Index(interface.index))?;
        }
        IpAddr::V6(address) => socket.join_multicast_v6(&address, interface.index)?,
    }
    Ok(socket.into())
}
