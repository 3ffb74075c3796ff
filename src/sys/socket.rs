//! Socket options of Linux that socket2 lacks: joins by interface index with source filters for both families,
//! ancillary data of received datagrams, drop counts.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use socket2::SockRef;

/// Tells whether a group is joined, left, or one source of it is filtered (RFC 3678 section 5, `linux/in.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupCall {
    /// Join any-source (`MCAST_JOIN_GROUP`).
    Join,
    /// Leave (`MCAST_LEAVE_GROUP`).
    Leave,
    /// Join one source (`MCAST_JOIN_SOURCE_GROUP`).
    JoinSource(IpAddr),
    /// Stop hearing one source of an any-source membership (`MCAST_BLOCK_SOURCE`).
    BlockSource(IpAddr),
}

/// Changes the memberships of `socket` for `group` on the interface with `index`.
///
/// # Errors
/// As the kernel gives them; `lan::membership` puts them into words.
pub fn group(socket: &impl AsFd, index: u32, group: IpAddr, call: GroupCall) -> io::Result<()> {
    let level = level(group);
    let request = |option: libc::c_int, source: Option<IpAddr>| match source {
        None => set(
            socket,
            level,
            option,
            &libc::group_req { gr_interface: index, gr_group: storage(SocketAddr::new(group, 0)) },
        ),
        Some(source) => set(
            socket,
            level,
            option,
            &libc::group_source_req {
                gsr_interface: index,
                gsr_group: storage(SocketAddr::new(group, 0)),
                gsr_source: storage(SocketAddr::new(source, 0)),
            },
        ),
    };
    match call {
        GroupCall::Join => request(libc::MCAST_JOIN_GROUP, None),
        GroupCall::Leave => request(libc::MCAST_LEAVE_GROUP, None),
        GroupCall::JoinSource(source) => request(libc::MCAST_JOIN_SOURCE_GROUP, Some(source)),
        GroupCall::BlockSource(source) => request(libc::MCAST_BLOCK_SOURCE, Some(source)),
    }
}

/// One send that waits for nothing: the bytes taken, or the error number negated, as [`crate::sys::uring`] has it.
#[must_use]
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8]) -> i32 {
    let sent = SockRef::from(&socket).send_with_flags(bytes, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL);
    match sent {
        Ok(taken) => i32::try_from(taken).unwrap_or(i32::MAX),
        Err(error) => -error.raw_os_error().unwrap_or(libc::EIO),
    }
}

/// Asks for packet info, TTL, kernel timestamp and the overflow count with each datagram.
///
/// # Errors
/// As the kernel gives them.
pub fn receive_details(socket: &impl AsFd, ipv4: bool) -> io::Result<()> {
    let on: libc::c_int = 1;
    if ipv4 {
        set(socket, libc::IPPROTO_IP, libc::IP_PKTINFO, &on)?;
        set(socket, libc::IPPROTO_IP, libc::IP_RECVTTL, &on)?;
    } else {
        set(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, &on)?;
        set(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVHOPLIMIT, &on)?;
    }
    set(socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, &on)?;
    set(socket, libc::SOL_SOCKET, libc::SO_RXQ_OVFL, &on)
}

/// Ties the socket to the interface with `index` (`SO_BINDTOIFINDEX`, Linux 5.1; unprivileged and once only since 5.7).
///
/// # Errors
/// `EPERM` on kernels before 5.7 without `CAP_NET_RAW`; `ENODEV` where there is no such interface.
pub fn bind_to_index(socket: &impl AsFd, index: u32) -> io::Result<()> {
    const SO_BINDTOIFINDEX: libc::c_int = 62;
    let index = libc::c_int::try_from(index).map_err(|_| io::Error::from_raw_os_error(libc::ENODEV))?;
    set(socket, libc::SOL_SOCKET, SO_BINDTOIFINDEX, &index)
}

/// Chooses the interface that multicast leaves by.
///
/// # Errors
/// `EADDRNOTAVAIL` (IPv4) or `ENODEV` (IPv6) where there is no such interface.
pub fn send_by_index(socket: &impl AsFd, index: u32, ipv4: bool) -> io::Result<()> {
    let index = libc::c_int::try_from(index).map_err(|_| io::Error::from_raw_os_error(libc::ENODEV))?;
    if ipv4 {
        let any = libc::in_addr { s_addr: 0 };
        let request = libc::ip_mreqn { imr_multiaddr: any, imr_address: any, imr_ifindex: index };
        set(socket, libc::IPPROTO_IP, libc::IP_MULTICAST_IF, &request)
    } else {
        set(socket, libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_IF, &index)
    }
}

/// Makes the kernel report datagrams that its own queue drops (`IP_RECVERR`); without it a full queue is silent.
///
/// # Errors
/// As the kernel gives them.
pub fn report_errors(socket: &impl AsFd, ipv4: bool) -> io::Result<()> {
    let on: libc::c_int = 1;
    if ipv4 {
        set(socket, libc::IPPROTO_IP, libc::IP_RECVERR, &on)
    } else {
        set(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVERR, &on)
    }
}

/// Takes one entry from the socket's error queue, so that an error condition does not stay; false when it is empty.
pub fn take_error(socket: &impl AsFd) -> bool {
    let mut byte = 0u8;
    let mut part = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    // SAFETY: all-zero is a valid msghdr: no name, no control data, no parts.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    // SAFETY: `header` points to one byte that outlives the call; name and control are empty.
    let taken = unsafe {
        libc::recvmsg(socket.as_fd().as_raw_fd(), &raw mut header, libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT)
    };
    taken >= 0
}

/// Datagrams that this socket's receive queue has dropped so far (`SO_MEMINFO` word 8, Linux 4.12); wraps at 2^32.
///
/// # Errors
/// As the kernel gives them.
pub fn drops(socket: &impl AsFd) -> io::Result<u32> {
    const SK_MEMINFO_DROPS: usize = 8;
    let words: [u32; 9] = get(socket, libc::SOL_SOCKET, libc::SO_MEMINFO)?;
    Ok(words[SK_MEMINFO_DROPS])
}

/// Bytes of a TCP socket that its peer has not acknowledged yet (`SIOCOUTQ`).
///
/// # Errors
/// As the kernel gives them.
pub fn unacknowledged(socket: &impl AsFd) -> io::Result<usize> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: TIOCOUTQ (= SIOCOUTQ on sockets) writes one int, which outlives the call.
    let result = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(usize::try_from(bytes).unwrap_or(0)) }
}

/// MTU of the interface called `name`, in bytes.
///
/// # Errors
/// `ENODEV` where there is no such interface.
pub fn mtu(name: &str) -> io::Result<u32> {
    if name.len() >= libc::IFNAMSIZ {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    let any = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None)?;
    // SAFETY: all-zero is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    // SAFETY: SIOCGIFMTU reads the name and writes the MTU, both inside `request`.
    let result = unsafe { libc::ioctl(any.as_raw_fd(), libc::SIOCGIFMTU as _, &raw mut request) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: SIOCGIFMTU has filled this member of the union.
    Ok(unsafe { request.ifr_ifru.ifru_mtu }.cast_unsigned())
}

/// Protocol level of the options for an address's family.
fn level(address: IpAddr) -> libc::c_int {
    if address.is_ipv4() { libc::IPPROTO_IP } else { libc::IPPROTO_IPV6 }
}

/// The C form of an address.
fn storage(address: SocketAddr) -> libc::sockaddr_storage {
    let address = socket2::SockAddr::from(address);
    // SAFETY: all-zero is a valid sockaddr_storage, and `SockAddr` is never longer than one.
    unsafe {
        let mut storage: libc::sockaddr_storage = std::mem::zeroed();
        std::ptr::copy_nonoverlapping(
            address.as_ptr().cast::<u8>(),
            (&raw mut storage).cast::<u8>(),
            address.len() as usize,
        );
        storage
    }
}

pub(super) fn set<T>(
    socket: &impl AsFd,
    level: libc::c_int,
    option: libc::c_int,
    value: &T,
) -> io::Result<()> {
    // SAFETY: `value` is a plain C struct that outlives the call, and its own size is passed.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            option,
            std::ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn get<T: Copy + Default>(socket: &impl AsFd, level: libc::c_int, option: libc::c_int) -> io::Result<T> {
    let mut value = T::default();
    let mut length = size_of::<T>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes into `value`, which is made of integers only.
    let result = unsafe {
        libc::getsockopt(socket.as_fd().as_raw_fd(), level, option, (&raw mut value).cast(), &raw mut length)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(value) }
}
