//! One client's connection, as everything behind the listener reads and writes it: TCP or a unix socket.

use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::sys::socket;

/// A connection that never waits by itself.
#[derive(Debug)]
pub struct Socket {
    carrier: Carrier,
}

/// What carries the bytes.
#[derive(Debug)]
pub enum Carrier {
    /// TCP.
    Tcp(TcpStream),
    /// A unix stream socket.
    Unix(UnixStream),
}

/// Does the same with either kind of stream.
macro_rules! either {
    ($carrier:expr, $stream:ident => $call:expr) => {
        match $carrier {
            Carrier::Tcp($stream) => $call,
            Carrier::Unix($stream) => $call,
        }
    };
}

impl Socket {
    /// A connection whose bytes are what they are.
    #[must_use]
    pub fn plain(carrier: Carrier) -> Self {
        Socket { carrier }
    }

    /// The descriptor for whoever writes past this type: only where the bytes are what they are.
    #[must_use]
    pub fn direct(&self) -> Option<BorrowedFd<'_>> {
        Some(self.as_fd())
    }

    /// Writes what it takes of `bytes` without waiting.
    ///
    /// # Errors
    /// `WouldBlock` where it takes nothing now.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.carrier.try_write(bytes)
    }

    /// Writes what it takes of `parts`, one behind the other, without waiting.
    ///
    /// # Errors
    /// `WouldBlock` where it takes nothing now.
    pub fn try_write_vectored(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.carrier.try_write_vectored(parts)
    }

    /// Reads what is there without waiting; 0 where the peer has ended.
    ///
    /// # Errors
    /// `WouldBlock` where nothing is there.
    pub fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.carrier.try_read(buffer)
    }

    /// Waits until there may be something to read.
    ///
    /// # Errors
    /// Where the runtime is going away.
    pub async fn readable(&self) -> io::Result<()> {
        either!(&self.carrier, stream => stream.readable().await)
    }

    /// Waits until it may take something.
    ///
    /// # Errors
    /// Where the runtime is going away.
    pub async fn writable(&self) -> io::Result<()> {
        either!(&self.carrier, stream => stream.writable().await)
    }

    /// Says that nothing more will be written.
    pub fn end_writing(&self) {
        let _ = SockRef::from(&self.carrier).shutdown(Shutdown::Write);
    }

    /// Dropping it from now on is a reset: the kernel keeps nothing for a peer who does not take it.
    pub fn reset_when_dropped(&self) {
        let _ = SockRef::from(&self.carrier).set_linger(Some(Duration::ZERO));
    }

    /// Whether the peer has everything that was written.
    #[must_use]
    pub fn is_delivered(&self) -> bool {
        socket::unacknowledged(&self.carrier).is_ok_and(|bytes| bytes == 0)
    }
}

impl Carrier {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        either!(self, stream => stream.try_write(bytes))
    }

    fn try_write_vectored(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        either!(self, stream => stream.try_write_vectored(parts))
    }

    fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        either!(self, stream => stream.try_read(buffer))
    }
}

impl AsFd for Carrier {
    fn as_fd(&self) -> BorrowedFd<'_> {
        either!(self, stream => stream.as_fd())
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.carrier.as_fd()
    }
}

/// For hyper, which reads requests and writes answers.
impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            match self.try_read(buffer.initialize_unfilled()) {
                Ok(read) => {
                    buffer.advance(read);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(either!(&self.carrier, stream => stream.poll_read_ready(context)))?;
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl Socket {
    fn poll_with<T>(
        &self,
        context: &mut Context<'_>,
        mut write: impl FnMut() -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        loop {
            match write() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(either!(&self.carrier, stream => stream.poll_write_ready(context)))?;
                }
                result => return Poll::Ready(result),
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_with(context, || self.try_write(bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_with(context, || self.try_write_vectored(parts))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.end_writing();
        Poll::Ready(Ok(()))
    }
}
