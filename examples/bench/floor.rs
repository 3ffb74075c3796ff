//! The floor: what a relay costs that does nothing but its system calls. One thread drains the group's socket, frames what
//! it got into one buffer, and writes that once to each client. Slow clients are not served: they are cut.

use std::io::{self, Write};
use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};

use socket2::{Domain, InterfaceIndexOrAddress, Socket, Type};
use wscast::lan::interface::Interfaces;
use wscast::model::frame::{self, Opcode};
use wscast::model::selector::InterfaceSelector;

use crate::{Outcome, RelayArguments};

/// Datagrams taken before the clients are written to.
const BATCH: usize = 64;

/// Relays until it is killed.
pub(crate) fn run(arguments: &RelayArguments) -> Outcome<()> {
    let group = join(arguments)?;
    let listener = TcpListener::bind(arguments.listen)?;
    let clients = Arc::new(Mutex::new(Vec::<TcpStream>::new()));
    let joining = Arc::clone(&clients);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let Ok(accepted) = tokio_tungstenite::tungstenite::accept(stream) else { continue };
            let stream = accepted.get_ref().try_clone();
            if let Ok(stream) = stream
                && stream.set_nodelay(true).is_ok()
                && stream.set_nonblocking(true).is_ok()
            {
                joining.lock().unwrap_or_else(PoisonError::into_inner).push(stream);
            }
        }
    });
    let mut datagram = vec![0; 65536];
    let mut frames = Vec::with_capacity(1 << 20);
    loop {
        frames.clear();
        group.set_nonblocking(false)?;
        let length = group.recv(&mut datagram)?;
        frame::put(&mut frames, Opcode::Binary, &datagram[..length]);
        group.set_nonblocking(true)?;
        for _ in 1..BATCH {
            let Ok(length) = group.recv(&mut datagram) else { break };
            frame::put(&mut frames, Opcode::Binary, &datagram[..length]);
        }
        let mut clients = clients.lock().unwrap_or_else(PoisonError::into_inner);
        clients.retain_mut(|client| write_all(client, &frames));
    }
}

/// Writes everything, waiting for a full socket; false when the client is gone.
fn write_all(client: &mut TcpStream, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        match client.write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::yield_now(),
            Err(_) => return false,
        }
    }
    true
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
