//! One socket that sends to one group on one interface, and hears the unicast answers to what it sent.

use std::cell::Cell;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use socket2::{Domain, Socket, Type};
use thiserror::Error;
use tokio::net::UdpSocket;

use crate::lan::interface::Interface;
use crate::model::group::Group;
use crate::sys::socket;

/// How datagrams leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransmitOptions {
    /// TTL or hop limit, 1 to 255; 0 is refused at parse because it can leak to the wire.
    pub ttl: u8,
    /// Whether this host's own programs hear it too (the sender's option on Linux, ip(7)).
    pub loopback: bool,
}

/// A socket with a source port of its own, so that unicast replies come back to it and to nobody else.
#[derive(Debug)]
pub struct Transmitter {
    socket: UdpSocket,
    group: Group,
    port: u16,
    index: Cell<u32>,
    source: Cell<Option<IpAddr>>,
}

/// A socket that could not be made.
#[derive(Debug, Error)]
#[error("opening a socket that sends to {group} on {interface}: {source}")]
pub struct TransmitError {
    group: Group,
    interface: String,
    source: io::Error,
}

/// Bytes of receive buffer for replies.
const REPLY_BUFFER: usize = 64 << 10;

impl Transmitter {
    /// Opens the socket, inside a tokio runtime.
    ///
    /// # Errors
    /// [`TransmitError`] with what the kernel said.
    pub fn open(
        group: Group,
        interface: &Interface,
        options: TransmitOptions,
    ) -> Result<Self, TransmitError> {
        let open = || -> io::Result<Self> {
            let ipv4 = group.is_ipv4();
            let domain = if ipv4 { Domain::IPV4 } else { Domain::IPV6 };
            let socket = Socket::new(domain, Type::DGRAM.nonblocking().cloexec(), None)?;
            if ipv4 {
                socket.set_multicast_ttl_v4(u32::from(options.ttl))?;
                socket.set_multicast_loop_v4(options.loopback)?;
                // Or it would hear groups that other sockets of this host have joined, should ports coincide.
                socket.set_multicast_all_v4(false)?;
            } else {
                socket.set_only_v6(true)?;
                socket.set_multicast_hops_v6(u32::from(options.ttl))?;
                socket.set_multicast_loop_v6(options.loopback)?;
                let _ = socket.set_multicast_all_v6(false);
            }
            socket::send_by_index(&socket, interface.index, ipv4)?;
            socket::report_errors(&socket, ipv4)?;
            let _ = socket.set_recv_buffer_size(REPLY_BUFFER);
            // The loopback interface has no route for multicast and lends no source address by itself.
            let any: IpAddr = match (ipv4, interface.loopback) {
                (true, true) => Ipv4Addr::LOCALHOST.into(),
                (true, false) => Ipv4Addr::UNSPECIFIED.into(),
                (false, _) => Ipv6Addr::UNSPECIFIED.into(),
            };
            socket.bind(&SocketAddr::new(any, 0).into())?;
            let socket = UdpSocket::from_std(socket.into())?;
            let port = socket.local_addr()?.port();
            let (index, source) = (Cell::new(interface.index), Cell::new(source_address(interface, ipv4)));
            Ok(Transmitter { socket, group, port, index, source })
        };
        open().map_err(|source| TransmitError { group, interface: interface.name.clone(), source })
    }

    /// Sends on `interface` from now on: the one that was re-created, or has another address. The socket stays, and with
    /// it the port that replies come to.
    ///
    /// # Errors
    /// [`TransmitError`]; then it stays where it was.
    pub fn follow(&self, interface: &Interface) -> Result<(), TransmitError> {
        let ipv4 = self.group.is_ipv4();
        if interface.index != self.index.get() {
            socket::send_by_index(&self.socket, interface.index, ipv4).map_err(|source| TransmitError {
                group: self.group,
                interface: interface.name.clone(),
                source,
            })?;
            self.index.set(interface.index);
        }
        self.source.set(source_address(interface, ipv4));
        Ok(())
    }

    /// Hands one datagram to the kernel; never waits.
    ///
    /// # Errors
    /// What the kernel says: `ENOBUFS` queue full, `EPERM` firewall, `ENETUNREACH` or `ENODEV` interface away,
    /// `EMSGSIZE` too large. An error left over from an earlier datagram is not blamed on this one.
    pub fn send(&self, payload: &[u8]) -> io::Result<()> {
        let to = match self.group.address() {
            IpAddr::V6(address) if self.group.is_link_scoped() => {
                SocketAddrV6::new(address, self.group.port(), 0, self.index.get()).into()
            }
            _ => self.group.socket_address(),
        };
        for _ in 0..4 {
            // Straight to the kernel: a UDP socket is writable but for a full send buffer, which is a loss to count.
            let result = socket2::SockRef::from(&self.socket).send_to(payload, &to.into());
            match result {
                Ok(_) => return Ok(()),
                Err(error) if socket::take_error(&self.socket) => {
                    // ENOBUFS is this datagram's own fate; everything else in the queue came from the network.
                    if error.raw_os_error() == Some(libc::ENOBUFS) {
                        return Err(error);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::from_raw_os_error(libc::EIO))
    }

    /// Waits until there may be a unicast reply.
    ///
    /// # Errors
    /// When the runtime is shutting down.
    pub async fn readable(&self) -> io::Result<()> {
        self.socket.readable().await
    }

    /// Takes one unicast reply into `buffer`; says how long it is, or `None` when there is none after all.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn take_reply(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match self.socket.try_recv(buffer) {
            Ok(length) => Ok(Some(length)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            // ICMP errors of earlier sends come up here; they are no end of the conversation.
            Err(_) if socket::take_error(&self.socket) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The source port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Our address and port as receivers will see them, where the interface has an address of the family.
    #[must_use]
    pub fn source(&self) -> Option<SocketAddr> {
        self.source.get().map(|address| SocketAddr::new(address, self.port))
    }
}

/// The address that the kernel will most likely choose on an interface.
fn source_address(interface: &Interface, ipv4: bool) -> Option<IpAddr> {
    interface.addresses.iter().copied().find(|address| address.is_ipv4() == ipv4)
}
