//! Receives many datagrams with one system call (`recvmmsg`), each with all that the kernel knows of it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd};

/// Datagrams taken by one call at most.
pub const BATCH: usize = 64;
/// Room for one datagram: more than the largest UDP payload (65,507 over IPv4, 65,527 over IPv6).
const ROOM: usize = 65536;
/// Room for the control messages of one datagram; those asked for take 152 bytes at most.
const CONTROL: usize = 256;

/// Buffers for one batch. A shard needs one: it is emptied before the next call.
///
/// The 4 MiB of payload room are untouched memory until datagrams of such sizes come.
pub struct ReceiveBatch {
    payloads: Vec<u8>,
    names: Vec<libc::sockaddr_storage>,
    controls: Vec<Control>,
    parts: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
}

/// Control messages start with a `cmsghdr`, so their room has its alignment.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL]);

/// One received datagram, borrowed from the batch.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// The UDP payload.
    pub payload: &'a [u8],
    /// Who sent it; the port is 0 and the address unspecified where the kernel did not say.
    pub source: SocketAddr,
    /// The address it was sent to and the index of the interface it came in by.
    pub destination: Option<(IpAddr, u32)>,
    /// TTL or hop limit on arrival.
    pub ttl: Option<u8>,
    /// Arrival at the kernel in nanoseconds since 1970; 0 where the kernel did not say.
    pub arrival: u64,
    /// The socket's drop count when this one was queued (`SO_RXQ_OVFL`); absent until it has dropped something.
    pub drops: Option<u32>,
    /// True when the payload was cut off.
    pub truncated: bool,
}

impl Default for ReceiveBatch {
    fn default() -> Self {
        Self::new()
    }
}

impl ReceiveBatch {
    /// Makes the buffers.
    #[must_use]
    pub fn new() -> Self {
        // SAFETY: all-zero is a valid value of each of these C structs.
        let (name, part, header) = unsafe {
            (
                std::mem::zeroed::<libc::sockaddr_storage>(),
                std::mem::zeroed::<libc::iovec>(),
                std::mem::zeroed::<libc::mmsghdr>(),
            )
        };
        ReceiveBatch {
            payloads: vec![0; BATCH * ROOM],
            names: vec![name; BATCH],
            controls: vec![Control([0; CONTROL]); BATCH],
            parts: vec![part; BATCH],
            headers: vec![header; BATCH],
        }
    }

    /// Takes what the socket holds, at most [`BATCH`] datagrams, without waiting; says how many.
    ///
    /// # Errors
    /// `WouldBlock` when there is nothing; else as the kernel gives them.
    pub fn receive(&mut self, socket: &impl AsFd) -> io::Result<usize> {
        for i in 0..BATCH {
            self.parts[i] =
                libc::iovec { iov_base: self.payloads[i * ROOM..].as_mut_ptr().cast(), iov_len: ROOM };
            // The kernel shortens the lengths of name and control data, so they are set anew for each call.
            let header = &mut self.headers[i].msg_hdr;
            header.msg_name = (&raw mut self.names[i]).cast();
            header.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            header.msg_iov = &raw mut self.parts[i];
            header.msg_iovlen = 1;
            header.msg_control = self.controls[i].0.as_mut_ptr().cast();
            // C libraries differ in the types of this and of flags.
            header.msg_controllen = CONTROL as _;
            header.msg_flags = 0;
        }
        // SAFETY: each header points into the vectors of `self`, whose rooms have the lengths said and outlive the call.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_fd().as_raw_fd(),
                self.headers.as_mut_ptr(),
                BATCH as libc::c_uint,
                libc::MSG_DONTWAIT as _,
                std::ptr::null_mut(),
            )
        };
        usize::try_from(count).map_err(|_| io::Error::last_os_error())
    }

    /// Number `i` of the last batch.
    ///
    /// # Panics
    /// When `i` is not below [`BATCH`].
    #[must_use]
    pub fn received(&self, i: usize) -> Received<'_> {
        let header = &self.headers[i];
        let length = (header.msg_len as usize).min(ROOM);
        let mut received = Received {
            payload: &self.payloads[i * ROOM..][..length],
            source: address(&self.names[i]),
            destination: None,
            ttl: None,
            arrival: 0,
            drops: None,
            truncated: header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
        };
        // SAFETY: the kernel filled control data and its length; the macros stay inside it.
        let mut message = unsafe { libc::CMSG_FIRSTHDR(&raw const header.msg_hdr) };
        while !message.is_null() {
            // SAFETY: `message` is a whole cmsghdr inside the control data.
            let (kind, data) = unsafe {
                (((*message).cmsg_level, (*message).cmsg_type), libc::CMSG_DATA(message).cast_const())
            };
            // SAFETY: for each kind the kernel writes exactly the struct read here; it may be unaligned.
            unsafe {
                match kind {
                    (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                        let info = data.cast::<libc::in_pktinfo>().read_unaligned();
                        let to = Ipv4Addr::from(info.ipi_addr.s_addr.to_ne_bytes());
                        received.destination = Some((to.into(), info.ipi_ifindex.cast_unsigned()));
                    }
                    (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                        let info = data.cast::<libc::in6_pktinfo>().read_unaligned();
                        let to = Ipv6Addr::from(info.ipi6_addr.s6_addr);
                        received.destination = Some((to.into(), info.ipi6_ifindex));
                    }
                    (libc::IPPROTO_IP, libc::IP_TTL) | (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT) => {
                        received.ttl = u8::try_from(data.cast::<libc::c_int>().read_unaligned()).ok();
                    }
                    (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => {
                        let time = data.cast::<libc::timespec>().read_unaligned();
                        received.arrival = u64::try_from(time.tv_sec)
                            .unwrap_or(0)
                            .saturating_mul(1_000_000_000)
                            .saturating_add(u64::try_from(time.tv_nsec).unwrap_or(0));
                    }
                    (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => {
                        received.drops = Some(data.cast::<u32>().read_unaligned());
                    }
                    _ => {}
                }
                message = libc::CMSG_NXTHDR(&raw const header.msg_hdr, message);
            }
        }
        received
    }
}

/// The Rust form of a sender's address.
fn address(storage: &libc::sockaddr_storage) -> SocketAddr {
    let storage = std::ptr::from_ref(storage);
    // SAFETY: the family says which of the two structs the kernel wrote; both fit and are aligned in a storage.
    unsafe {
        match libc::c_int::from((*storage).ss_family) {
            libc::AF_INET => {
                let v4 = &*storage.cast::<libc::sockaddr_in>();
                SocketAddrV4::new(Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes()), u16::from_be(v4.sin_port))
                    .into()
            }
            libc::AF_INET6 => {
                let v6 = &*storage.cast::<libc::sockaddr_in6>();
                SocketAddrV6::new(
                    Ipv6Addr::from(v6.sin6_addr.s6_addr),
                    u16::from_be(v6.sin6_port),
                    0,
                    v6.sin6_scope_id,
                )
                .into()
            }
            _ => SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0),
        }
    }
}
