//! Wakes when interfaces or addresses change. What a message says is not trusted to be complete: it means "look again".
//! Only what a look can't show any more is read out: an interface that was deleted and came back with its old index, or
//! was without carrier for a moment.

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
    /// Indices of interfaces that were down or without carrier, if only for a moment.
    pub interrupted: Vec<u32>,
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
                changes.read(&buffer[..length]);
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

impl Changes {
    /// Adds what came after these.
    pub fn extend(&mut self, later: Changes) {
        self.deleted.extend(later.deleted);
        self.interrupted.extend(later.interrupted);
        self.overflow |= later.overflow;
    }

    /// Reads the netlink messages in `bytes` (netlink(7), rtnetlink(7): `nlmsghdr`, then `ifinfomsg`).
    fn read(&mut self, mut bytes: &[u8]) {
        const HEADER: usize = 16;
        const INFO: usize = 16;
        let word = |bytes: &[u8], at: usize| {
            u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        while bytes.len() >= HEADER {
            let length = word(bytes, 0) as usize;
            let kind = u16::from_ne_bytes([bytes[4], bytes[5]]);
            if length < HEADER || length > bytes.len() {
                return;
            }
            // Leaving a bridge is also told as a deletion, with family AF_BRIDGE; only AF_UNSPEC is the link itself.
            if length >= HEADER + INFO && i32::from(bytes[HEADER]) == libc::AF_UNSPEC {
                let (index, flags) = (word(bytes, HEADER + 4), word(bytes, HEADER + 8));
                match kind {
                    libc::RTM_DELLINK => self.deleted.push(index),
                    libc::RTM_NEWLINK if flags & libc::IFF_RUNNING.cast_unsigned() == 0 => {
                        self.interrupted.push(index);
                    }
                    _ => {}
                }
            }
            let step = length.next_multiple_of(4);
            if step >= bytes.len() {
                return;
            }
            bytes = &bytes[step..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_deleted_and_interrupted_links_are_read_out() {
        let mut found = Changes::default();
        let mut running = message(libc::RTM_NEWLINK, 0, 4);
        running[24..28].copy_from_slice(&libc::IFF_RUNNING.to_ne_bytes());
        let stream = [
            message(libc::RTM_NEWLINK, 0, 3),
            running,
            message(libc::RTM_NEWADDR, 0, 5),
            message(libc::RTM_DELLINK, 0, 7),
            message(libc::RTM_DELLINK, 7, 9),
            message(libc::RTM_DELLINK, 0, 11),
        ]
        .concat();
        found.read(&stream);
        assert_eq!(found, Changes { deleted: vec![7, 11], interrupted: vec![3], overflow: false });
    }

    #[test]
    fn broken_lengths_end_the_walk() {
        let mut found = Changes::default();
        let mut stream = message(libc::RTM_DELLINK, 0, 7);
        stream[0] = 3;
        found.read(&stream);
        stream[0] = 255;
        found.read(&stream);
        found.read(&stream[..9]);
        assert_eq!(found, Changes::default());
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
