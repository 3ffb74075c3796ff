//! What stands for TLS in a program that is built without it: nothing that there could ever be one of.

use std::io::{self, IoSlice};
use std::sync::Arc;

use thiserror::Error;
use tokio::net::TcpStream;

use crate::model::tls::TlsSettings;
use crate::web::socket::Carrier;

/// No bytes are held.
pub const UNSENT: usize = 0;
/// No memory is taken.
pub const CLIENT: usize = 0;

/// There is none.
#[derive(Debug)]
pub enum Tls {}

/// There is none.
#[derive(Debug)]
pub enum Layer {}

/// There is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientCertificate {}

/// Why there is no TLS.
#[derive(Debug, Error)]
#[error("setting up TLS: this program was built without the feature tls")]
pub struct TlsError;

impl ClientCertificate {
    /// Its SHA-256 in hex, lower case.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        match *self {}
    }

    /// Whether it is for `name`.
    #[must_use]
    pub fn is_for(&self, _: &str) -> bool {
        match *self {}
    }
}

impl Tls {
    /// Fails.
    ///
    /// # Errors
    /// Always.
    pub fn new(_: &TlsSettings) -> Result<Self, TlsError> {
        Err(TlsError)
    }

    /// Reads the files again.
    ///
    /// # Errors
    /// None: there is no TLS.
    pub fn reload(&self, _: &TlsSettings) -> Result<(), TlsError> {
        match *self {}
    }

    /// SHA-256 of the certificates.
    #[must_use]
    pub fn fingerprints(&self) -> Arc<[String]> {
        match *self {}
    }

    /// SHA-256 of the certificate that was made at start.
    #[must_use]
    pub fn made_fingerprint(&self) -> Option<String> {
        match *self {}
    }

    /// The handshake.
    ///
    /// # Errors
    /// None: there is no TLS.
    pub async fn accept(&self, _: TcpStream) -> io::Result<(TcpStream, Layer, Option<ClientCertificate>)> {
        match *self {}
    }
}

impl Layer {
    /// Whether some of what was taken has not reached the socket.
    #[must_use]
    pub fn holds(&self) -> bool {
        match *self {}
    }

    /// Writes.
    ///
    /// # Errors
    /// None: there is no TLS.
    pub fn write(&self, _: &Carrier, _: &[IoSlice<'_>]) -> io::Result<usize> {
        match *self {}
    }

    /// Writes what is held.
    ///
    /// # Errors
    /// None: there is no TLS.
    pub fn flush(&self, _: &Carrier) -> io::Result<usize> {
        match *self {}
    }

    /// Reads.
    ///
    /// # Errors
    /// None: there is no TLS.
    pub fn read(&self, _: &Carrier, _: &mut [u8]) -> io::Result<usize> {
        match *self {}
    }

    /// Says that nothing more will be written.
    pub fn end(&self, _: &Carrier) {
        match *self {}
    }
}
