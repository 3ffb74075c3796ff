//! One client's connection, as everything behind the listener reads and writes it: TCP or a unix socket, with TLS or
//! without.

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
use crate::web::tls::Layer;

/// A connection that never waits by itself.
#[derive(Debug)]
pub struct Socket {
    carrier: Carrier,
    layer: Option<Layer>,
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
        Socket::new(carrier, None)
    }

    /// A connection; with a `layer`, whose handshake is done, its bytes are encrypted.
    #[must_use]
    pub fn new(carrier: Carrier, layer: Option<Layer>) -> Self {
        Socket { carrier, layer }
    }

    /// The descriptor for whoever writes past this type: only where the bytes are what they are.
    #[must_use]
    pub fn direct(&self) -> Option<BorrowedFd<'_>> {
        self.layer.is_none().then(|| self.carrier.as_fd())
    }

    /// Writes what it takes of `bytes` without waiting.
    ///
    /// # Errors
    /// `WouldBlock` where it takes nothing now.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match &self.layer {
            None => self.carrier.try_write(bytes),
            Some(layer) => layer.write(&self.carrier, &[IoSlice::new(bytes)]),
        }
    }

    /// Writes what it takes of `parts`, one behind the other, without waiting.
    ///
    /// # Errors
    /// `WouldBlock` where it takes nothing now.
    pub fn try_write_vectored(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        match &self.layer {
            None => self.carrier.try_write_vectored(parts),
            Some(layer) => layer.write(&self.carrier, parts),
        }
    }

    /// Whether some of what was taken is yet to be written.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.layer.as_ref().is_some_and(Layer::holds)
    }

    /// Writes what can be of what it has taken and [holds](Socket::holds); how many bytes that were.
    ///
    /// # Errors
    /// `WouldBlock` where nothing can.
    pub fn try_flush(&self) -> io::Result<usize> {
        self.layer.as_ref().map_or(Ok(0), |layer| layer.flush(&self.carrier))
    }

    /// Reads what is there without waiting; 0 where the peer has ended.
    ///
    /// # Errors
    /// `WouldBlock` where nothing is there.
    pub fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match &self.layer {
            None => self.carrier.try_read(buffer),
            Some(layer) => layer.read(&self.carrier, buffer),
        }
    }

    /// Whether there may be something to read although the socket says nothing of it.
    #[must_use]
    pub fn may_hold_input(&self) -> bool {
        self.layer.is_some()
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
        if let Some(layer) = &self.layer {
            layer.end(&self.carrier);
        }
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
    pub(super) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        either!(self, stream => stream.try_write(bytes))
    }

    pub(super) fn try_write_vectored(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        either!(self, stream => stream.try_write_vectored(parts))
    }

    pub(super) fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        either!(self, stream => stream.try_read(buffer))
    }
}

impl AsFd for Carrier {
    fn as_fd(&self) -> BorrowedFd<'_> {
        either!(self, stream => stream.as_fd())
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
    fn flush_all(&self) -> io::Result<()> {
        self.try_flush()?;
        if self.holds() { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
    }

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

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_with(context, || self.flush_all())
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_with(context, || self.flush_all()))?;
        self.end_writing();
        Poll::Ready(Ok(()))
    }
}
