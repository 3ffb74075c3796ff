//! What an interface receives before firewall and reverse-path filter see it (packet(7)), and IGMP behind them (raw(7)).
//! Both need `CAP_NET_RAW`.

use std::io;
use std::os::fd::OwnedFd;

use socket2::{Domain, Protocol, SockAddr, SockFilter, Socket, Type};
use tokio::net::UdpSocket;

use super::socket;

/// Multicast packets as they come in by one interface, from the network header on. What this host sends is not among them.
#[derive(Debug)]
pub struct Tap {
    // tokio offers no packet type; any datagram socket can be waited for through this one.
    socket: UdpSocket,
}

/// IGMP as the host's own programs get it: what a firewall drops is missing.
#[derive(Debug)]
pub struct IgmpTap {
    socket: UdpSocket,
}

/// Bytes of a packet that are looked at; a filter in the kernel cuts off the rest.
pub const SNAP: usize = 192;
/// Bytes of buffer: some thousand packets that wait.
const RECEIVE_BUFFER: usize = 1 << 20;
const ETH_P_ALL: u16 = 3;
/// `PACKET_IGNORE_OUTGOING` (linux/if_packet.h, Linux 4.20).
const IGNORE_OUTGOING: libc::c_int = 23;

impl Tap {
    /// Opens one on the interface with `index`, inside a tokio runtime.
    ///
    /// # Errors
    /// `EPERM` without `CAP_NET_RAW`, else as the kernel gives them.
    pub fn open(index: u32) -> io::Result<Tap> {
        let index = libc::c_int::try_from(index).map_err(|_| io::Error::from_raw_os_error(libc::ENODEV))?;
        // Without a protocol nothing comes before the filter is in place.
        let socket = Socket::new(Domain::from(libc::AF_PACKET), Type::DGRAM, None)?;
        socket.set_nonblocking(true)?;
        let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
        socket.attach_filter(&multicast_only())?;
        socket::set(&socket, libc::SOL_PACKET, IGNORE_OUTGOING, &1)?;
        // A querier's question about a group that was just left is sent to that group: without this, hardware drops it.
        let all = libc::packet_mreq {
            mr_ifindex: index,
            mr_type: libc::PACKET_MR_ALLMULTI as libc::c_ushort,
            mr_alen: 0,
            mr_address: [0; 8],
        };
        socket::set(&socket, libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, &all)?;
        // SAFETY: the closure fills a sockaddr_ll, which fits a sockaddr_storage, and says its length.
        let ((), address) = unsafe {
            SockAddr::try_init(|storage, length| {
                let address = storage.cast::<libc::sockaddr_ll>();
                (*address).sll_family = libc::AF_PACKET as libc::c_ushort;
                (*address).sll_protocol = ETH_P_ALL.to_be();
                (*address).sll_ifindex = index;
                *length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
                Ok(())
            })?
        };
        socket.bind(&address)?;
        Ok(Tap { socket: asynchronous(socket)? })
    }

    /// Waits for a packet and puts its beginning into `buffer`; says how many bytes.
    ///
    /// # Errors
    /// As the kernel gives them: `ENETDOWN` when the interface goes down.
    pub async fn next(&self, buffer: &mut [u8; SNAP]) -> io::Result<usize> {
        self.socket.recv(buffer).await
    }
}

impl IgmpTap {
    /// Opens one on the interface with `index`, inside a tokio runtime.
    ///
    /// # Errors
    /// As [`Tap::open`].
    pub fn open(index: u32) -> io::Result<IgmpTap> {
        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(libc::IPPROTO_IGMP)))?;
        socket.set_nonblocking(true)?;
        socket::bind_to_index(&socket, index)?;
        Ok(IgmpTap { socket: asynchronous(socket)? })
    }

    /// Waits for a packet and puts its beginning into `buffer`, IP header first; says how many bytes.
    ///
    /// # Errors
    /// As the kernel gives them.
    pub async fn next(&self, buffer: &mut [u8; SNAP]) -> io::Result<usize> {
        self.socket.recv(buffer).await
    }
}

fn asynchronous(socket: Socket) -> io::Result<UdpSocket> {
    UdpSocket::from_std(std::net::UdpSocket::from(OwnedFd::from(socket)))
}

/// Lets pass IPv4 to 224.0.0.0/4 and IPv6 to ff00::/8 (bpf(4), from the network header on), [`SNAP`] bytes of each.
fn multicast_only() -> [SockFilter; 10] {
    let code = |code: u32| code as u16;
    let load = code(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS);
    let and = code(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K);
    let equal = code(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K);
    let answer = code(libc::BPF_RET | libc::BPF_K);
    [
        SockFilter::new(load, 0, 0, 0),
        SockFilter::new(and, 0, 0, 0xf0),
        SockFilter::new(equal, 0, 3, 0x40),
        // IPv4: the first byte of the destination.
        SockFilter::new(load, 0, 0, 16),
        SockFilter::new(and, 0, 0, 0xf0),
        SockFilter::new(equal, 2, 3, 0xe0),
        // IPv6, or neither: then the byte at 24 is 0xff by chance at most.
        SockFilter::new(load, 0, 0, 24),
        SockFilter::new(equal, 0, 1, 0xff),
        SockFilter::new(answer, 0, 0, SNAP as u32),
        SockFilter::new(answer, 0, 0, 0),
    ]
}
