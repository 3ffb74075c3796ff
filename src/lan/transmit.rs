//! One socket that sends to one group on one interface, and hears the unicast answers to what it sent.

use std::cell::Cell;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use socket2::{Domain, SockAddr, Socket, Type};
use thiserror::Error;
use tokio::net::UdpSocket;

use crate::lan::interface::Interface;
use crate::model::group::Group;
use crate::sys::socket;
use crate::sys::transmit_batch::{TransmitBatch, can_segment};

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
    can_segment: bool,
    /// MTU of the interface; 0 where it is not known.
    mtu: Cell<u32>,
    /// Bytes of payload up to which datagrams of equal size leave as one message; 0 for none.
    segment: Cell<usize>,
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
/// How often a datagram is tried again that an error left over from another one came up at.
const TRIES: u32 = 4;

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
        Self::open_from(group, interface, options, None)
    }

    /// The same from a `port` that programs of this host may use too, where one is given.
    ///
    /// # Errors
    /// [`TransmitError`].
    pub fn open_from(
        group: Group,
        interface: &Interface,
        options: TransmitOptions,
        port: Option<u16>,
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
            if port.is_some() {
                socket.set_reuse_address(true)?;
            }
            socket.bind(&SocketAddr::new(any, port.unwrap_or(0)).into())?;
            let socket = UdpSocket::from_std(socket.into())?;
            let port = socket.local_addr()?.port();
            let (index, source) = (Cell::new(interface.index), Cell::new(source_address(interface, ipv4)));
            let can_segment = can_segment(&socket);
            let (mtu, segment) = (Cell::new(0), Cell::new(0));
            let transmitter = Transmitter { socket, group, port, index, source, can_segment, mtu, segment };
            transmitter.measure(interface, false);
            Ok(transmitter)
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
        let same = interface.index == self.index.get();
        if !same {
            socket::send_by_index(&self.socket, interface.index, ipv4).map_err(|source| TransmitError {
                group: self.group,
                interface: interface.name.clone(),
                source,
            })?;
            self.index.set(interface.index);
        }
        self.source.set(source_address(interface, ipv4));
        self.measure(interface, same);
        Ok(())
    }

    /// Finds out what size of datagrams the interface takes whole. What it has been found not to segment it is not asked to
    /// again while it stays the `same`.
    fn measure(&self, interface: &Interface, same: bool) {
        let mtu = socket::mtu(&interface.name).unwrap_or(0);
        if self.can_segment && !(same && mtu == self.mtu.get()) {
            let headers = if self.group.is_ipv4() { 28 } else { 48 };
            self.mtu.set(mtu);
            self.segment.set((mtu as usize).saturating_sub(headers));
        }
    }

    /// Hands one datagram to the kernel; never waits.
    ///
    /// # Errors
    /// What the kernel says: `ENOBUFS` queue full, `EPERM` firewall, `ENETUNREACH` or `ENODEV` interface away,
    /// `EMSGSIZE` too large. An error left over from an earlier datagram is not blamed on this one.
    pub fn send(&self, payload: &[u8]) -> io::Result<()> {
        let to = self.destination();
        for _ in 0..TRIES {
            // Straight to the kernel: a UDP socket is writable but for a full send buffer, which is a loss to count.
            let result = socket2::SockRef::from(&self.socket).send_to(payload, &to);
            match result {
                Ok(_) => return Ok(()),
                Err(error) if self.is_left_over(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::from_raw_os_error(libc::EIO))
    }

    /// Hands one datagram for a single host to the kernel; never waits.
    ///
    /// # Errors
    /// As [`Transmitter::send`].
    pub fn send_to(&self, payload: &[u8], host: SocketAddr) -> io::Result<()> {
        let to = SockAddr::from(host);
        for _ in 0..TRIES {
            match socket2::SockRef::from(&self.socket).send_to(payload, &to) {
                Ok(_) => return Ok(()),
                Err(error) if self.is_left_over(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::from_raw_os_error(libc::EIO))
    }

    /// Asks for `bytes` of receive buffer, where more than a few replies may come at once.
    pub fn expect_replies(&self, bytes: usize) {
        // What the kernel grants is what there is.
        let _ = socket2::SockRef::from(&self.socket).set_recv_buffer_size(bytes);
    }

    /// Hands all datagrams of a batch to the kernel, in order, and empties it; never waits. Says how many it took; `refused`
    /// hears of the others, how many and why, as [`Transmitter::send`] would say.
    pub fn send_batch(&self, batch: &mut TransmitBatch, mut refused: impl FnMut(usize, io::Error)) -> usize {
        let to = self.destination();
        let (mut sent, mut tries) = (0, 1);
        while !batch.is_empty() {
            match batch.send(&self.socket, &to, self.segment.get()) {
                Ok(datagrams) => {
                    sent += datagrams;
                    tries = 1;
                }
                Err(refusal) if tries < TRIES && self.is_left_over(&refusal.error) => tries += 1,
                Err(refusal) if refusal.datagrams > 1 && forbids_segments(&refusal.error) => {
                    self.segment.set(0);
                }
                Err(refusal) => {
                    batch.skip(refusal.datagrams);
                    refused(refusal.datagrams, refusal.error);
                    tries = 1;
                }
            }
        }
        sent
    }

    /// Whether an error was reported that belongs to an earlier datagram, and is now taken away. `ENOBUFS` is always a
    /// datagram's own; everything else in the queue came from the network.
    fn is_left_over(&self, error: &io::Error) -> bool {
        socket::take_error(&self.socket) && error.raw_os_error() != Some(libc::ENOBUFS)
    }

    fn destination(&self) -> SockAddr {
        match self.group.address() {
            IpAddr::V6(address) if self.group.is_link_scoped() => {
                SocketAddrV6::new(address, self.group.port(), 0, self.index.get()).into()
            }
            _ => self.group.socket_address().into(),
        }
    }

    /// Waits until there may be a unicast reply.
    ///
    /// # Errors
    /// When the runtime is shutting down.
    pub async fn readable(&self) -> io::Result<()> {
        self.socket.readable().await
    }

    /// Takes one unicast reply into `buffer`; says how long it is and who sent it, or `None` when there is none after all.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn take_reply(&self, buffer: &mut [u8]) -> io::Result<Option<(usize, SocketAddr)>> {
        match self.socket.try_recv_from(buffer) {
            Ok(received) => Ok(Some(received)),
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

/// Whether the kernel says that it does not cut messages for this interface: the MTU has just become less, the interface
/// has no checksum offload (`EIO`), a policy of IPsec applies. The datagrams themselves may be fine.
fn forbids_segments(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EINVAL | libc::EIO | libc::EOPNOTSUPP | libc::ENOPROTOOPT | libc::EMSGSIZE)
    )
}
