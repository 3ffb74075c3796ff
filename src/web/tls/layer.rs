//! What TLS does with a connection's bytes after the handshake, without waiting.
//!
//! What is written is encrypted from where it lies, and no more of it than the socket is about to take: at most
//! [`UNSENT`](super::UNSENT) bytes wait here for a socket that is full.

use std::cell::RefCell;
use std::fmt;
use std::io::{self, IoSlice, Read, Write};

use rustls::ServerConnection;

use crate::web::socket::Carrier;

/// Parts that are encrypted in one go.
const PARTS: usize = 16;

/// The state of one connection.
pub struct Layer {
    connection: Box<RefCell<ServerConnection>>,
}

impl fmt::Debug for Layer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Layer { .. }")
    }
}

impl Layer {
    pub(super) fn new(connection: ServerConnection) -> Self {
        Layer { connection: Box::new(RefCell::new(connection)) }
    }

    /// Whether some of what was taken has not reached the socket.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.connection.borrow().wants_write()
    }

    /// Encrypts and writes what the socket takes of the first [`PARTS`] of `parts`. What is taken and does not go out yet is
    /// [held](Layer::holds), and goes first next time.
    ///
    /// # Errors
    /// `WouldBlock` where nothing is taken; what the socket says.
    pub fn write(&self, carrier: &Carrier, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut connection = self.connection.borrow_mut();
        let mut room = [IoSlice::new(&[]); PARTS];
        let count = parts.len().min(PARTS);
        room[..count].copy_from_slice(&parts[..count]);
        let (mut rest, mut taken) = (&mut room[..count], 0);
        let mut left: usize = rest.iter().map(|part| part.len()).sum();
        loop {
            match flush(&mut connection, carrier) {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                _ => {}
            }
            match (connection.wants_write(), taken) {
                (true, 0) => return Err(io::ErrorKind::WouldBlock.into()),
                (true, taken) => return Ok(taken),
                (false, taken) if left == 0 => return Ok(taken),
                (false, _) => {}
            }
            let more = match &rest[..] {
                [part] => connection.writer().write(part)?,
                parts => connection.writer().write_vectored(parts)?,
            };
            IoSlice::advance_slices(&mut rest, more);
            (taken, left) = (taken + more, left - more);
        }
    }

    /// Writes what the socket takes of what is held; how many bytes that were.
    ///
    /// # Errors
    /// `WouldBlock` where it takes nothing.
    pub fn flush(&self, carrier: &Carrier) -> io::Result<usize> {
        flush(&mut self.connection.borrow_mut(), carrier)
    }

    /// Decrypts what is there, until `buffer` is full or the socket empty; 0 where the peer has ended.
    ///
    /// # Errors
    /// `WouldBlock` where nothing is there; `InvalidData` for what is no TLS, with an alert on its way.
    pub fn read(&self, carrier: &Carrier, buffer: &mut [u8]) -> io::Result<usize> {
        let mut connection = self.connection.borrow_mut();
        let mut filled = 0;
        loop {
            match connection.reader().read(&mut buffer[filled..]) {
                Ok(0) => return Ok(filled),
                Ok(read) => {
                    filled += read;
                    if filled == buffer.len() {
                        return Ok(filled);
                    }
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // Without a close_notify; WebSocket and HTTP say themselves where they end.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(filled),
                Err(error) => return Err(error),
            }
            match connection.read_tls(&mut Direct(carrier)) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && filled > 0 => return Ok(filled),
                Err(error) => return Err(error),
            }
            let processed = connection.process_new_packets();
            if connection.wants_write() {
                // An answer of the protocol's own; where the socket is full it goes with what is written next.
                let _ = flush(&mut connection, carrier);
            }
            processed.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        }
    }

    /// Says that nothing more will be written.
    pub fn end(&self, carrier: &Carrier) {
        let mut connection = self.connection.borrow_mut();
        connection.send_close_notify();
        let _ = flush(&mut connection, carrier);
    }
}

fn flush(connection: &mut ServerConnection, carrier: &Carrier) -> io::Result<usize> {
    let mut flushed = 0;
    while connection.wants_write() {
        match connection.write_tls(&mut Direct(carrier)) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => flushed += written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && flushed > 0 => break,
            Err(error) => return Err(error),
        }
    }
    Ok(flushed)
}

/// The socket as rustls reads and writes it.
struct Direct<'a>(&'a Carrier);

impl Read for Direct<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }
}

impl Write for Direct<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        match parts {
            [part] => self.0.try_write(part),
            parts => self.0.try_write_vectored(parts),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
