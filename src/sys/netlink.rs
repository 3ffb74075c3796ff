//! Wakes when interfaces or addresses change. What a message says is not trusted to be complete: it means "look again".
//! Only a deletion is read out, since an interface that came back with its old index looks unchanged otherwise.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// What happened since the last look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Indices of interfaces that were deleted or moved away.
    pub deleted: Vec<u32>,
    /// Messages were lost: anything may have happened.
    pub overflow: bool,
}

/// A route netlink socket (rtnetlink(7)) subscribed to links and addresses.
pub struct InterfaceEvents {
    // tokio offers no netlink type; any datagram socket can be waited for through this one.
    socket: UdpSocket,
}

impl InterfaceEvents {
    /// Opens the socket in the network namespace of the calling thread, inside a tokio runtime.
    ///
    /// # Errors
    /// As the kernel gives them.
    pub fn open() -> io::Result<Self> {
        let socket = Socket::new(
            Domain::from(libc::AF_NETLINK),
            Type::RAW,
            Some(Protocol::from(libc::NETLINK_ROUTE)),
        )?;
        socket.set_nonblocking(true)?;
        let groups = libc::RTMGRP_LINK | libc::RTMGRP_IPV4_IFADDR | libc::RTMGRP_IPV6_IFADDR;
        // SAFETY: the closure fills a sockaddr_nl, which fits a sockaddr_storage, and says its length.
        let ((), address) = unsafe {
            SockAddr::try_init(|storage, length| {
                let address = storage.cast::<libc::sockaddr_nl>();
                (*address).nl_family = libc::AF_NETLINK as libc::sa_family_t;
                (*address).nl_pid = 0;
                (*address).nl_groups = groups.cast_unsigned();
                *length = size_of::<libc::sockaddr_nl>() as libc::socklen_t;
                Ok(())
            })?
        };
        socket.bind(&address)?;
        let socket = std::net::UdpSocket::from(OwnedFd::from(socket));
        Ok(InterfaceEvents { socket: UdpSocket::from_std(socket)? })
    }

    /// Waits until something changed, and takes all messages that are there.
    ///
    /// # Errors
    /// As the kernel gives them; lost messages are no error but [`Changes::overflow`].
    pub async fn changed(&self) -> io::Result<Changes> {
        loop {
            self.socket.readable().await?;
            let taken = self.socket.try_io(Interest::READABLE, || self.take());
            match taken {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                other => return other,
            }
        }
    }

    fn take(&self) -> io::Result<Changes> {
        let mut changes = Changes::default();
        let mut buffer = [0u8; 16384];
        let mut any = false;
        loop {
            // SAFETY: the kernel writes at most the buffer's length into it.
            let length = unsafe {
                libc::recv(
                    self.socket.as_raw_fd(),
                    buffer.as_mut_ptr().cast(),
                    buffer.len(),
                    libc::MSG_DONTWAIT,
                )
            };
            if let Ok(length) = usize::try_from(length) {
                any = true;
                deletions(&buffer[..length], &mut changes.deleted);
                continue;
            }
            let error = io::Error::last_os_error();
            match error.raw_os_error() {
                Some(libc::ENOBUFS) => {
                    any = true;
                    changes.overflow = true;
                }
                Some(libc::EINTR) => {}
                _ if any && error.kind() == io::ErrorKind::WouldBlock => return Ok(changes),
                _ => return Err(error),
            }
        }
    }
}

/// Adds the indices of deleted links from the netlink messages in `bytes` (netlink(7): `nlmsghdr`, then `ifinfomsg`).
fn deletions(mut bytes: &[u8], deleted: &mut Vec<u32>) {
    const HEADER: usize = 16;
    while bytes.len() >= HEADER {
        let length = u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize;
        let kind = u16::from_ne_bytes([bytes[4], bytes[5]]);
        if length < HEADER || length > bytes.len() {
            return;
        }
        // Leaving a bridge is also told as a deletion, with family AF_BRIDGE; only AF_UNSPEC is the link itself.
        if kind == libc::RTM_DELLINK
            && length >= HEADER + 8
            && i32::from(bytes[HEADER]) == libc::AF_UNSPEC
            && let Ok(index) = <[u8; 4]>::try_from(&bytes[HEADER + 4..HEADER + 8])
        {
            deleted.push(u32::from_ne_bytes(index));
        }
        let step = length.next_multiple_of(4);
        if step >= bytes.len() {
            return;
        }
        bytes = &bytes[step..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_deletions_of_links_are_read_out() {
        let mut found = Vec::new();
        let stream = [
            message(libc::RTM_NEWLINK, 0, 3),
            message(libc::RTM_DELLINK, 0, 7),
            message(libc::RTM_DELLINK, 7, 9),
            message(libc::RTM_DELLINK, 0, 11),
        ]
        .concat();
        deletions(&stream, &mut found);
        assert_eq!(found, [7, 11]);
    }

    #[test]
    fn broken_lengths_end_the_walk() {
        let mut found = Vec::new();
        let mut stream = message(libc::RTM_DELLINK, 0, 7);
        stream[0] = 3;
        deletions(&stream, &mut found);
        stream[0] = 255;
        deletions(&stream, &mut found);
        deletions(&stream[..9], &mut found);
        assert!(found.is_empty());
    }

    fn message(kind: u16, family: u8, index: u32) -> Vec<u8> {
        let mut bytes = vec![0; 32];
        bytes[..4].copy_from_slice(&32u32.to_ne_bytes());
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[16] = family;
        bytes[20..24].copy_from_slice(&index.to_ne_bytes());
        bytes
    }
}
