//! TLS of listeners: certificates by name, replaced while the gateway runs, and handshakes.

mod certificates;
mod layer;

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use crate::model::tls::TlsSettings;
use crate::web::tls::certificates::{ByName, Made, read_certificates};

pub use crate::web::tls::layer::Layer;

/// Bytes that rustls may hold for a client whose socket is full: two records of the longest.
pub const UNSENT: usize = 32 << 10;
/// Memory that a client's TLS takes besides: its state, and the room for a record that is being read.
pub const CLIENT: usize = 24 << 10;

/// What listeners speak TLS with now.
#[derive(Debug)]
pub struct Tls {
    current: RwLock<Current>,
    /// Made once: a reload keeps the certificate that people have accepted.
    made: Option<Made>,
}

#[derive(Clone, Debug)]
struct Current {
    config: Arc<ServerConfig>,
    fingerprints: Arc<[String]>,
}

/// Why there is no TLS.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file of a certificate, key or authority.
    #[error("reading {}: {reason}", .file.display())]
    File {
        /// Which.
        file: PathBuf,
        /// What is wrong, and how to mend it.
        reason: String,
    },
    /// A certificate that was to be made.
    #[error("making a certificate for {names}: {reason}")]
    Making {
        /// For whom.
        names: String,
        /// What is wrong.
        reason: String,
    },
    /// The library.
    #[error("setting up TLS: {0}")]
    Setup(String),
}

/// Who a client says that it is, by a certificate that one of our authorities signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    der: CertificateDer<'static>,
}

impl ClientCertificate {
    /// Its SHA-256 in hex, lower case.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        hex(&self.der, "")
    }

    /// Whether it is for `name`: a DNS name or IP address among its subject alternative names.
    #[must_use]
    pub fn is_for(&self, name: &str) -> bool {
        certificates::is_for(&self.der, name)
    }
}

impl Tls {
    /// Reads what `settings` name.
    ///
    /// # Errors
    /// [`TlsError`], with the file.
    pub fn new(settings: &TlsSettings) -> Result<Self, TlsError> {
        let made = settings.dev.as_deref().map(Made::new).transpose()?;
        let current = Current::read(settings, made.as_ref())?;
        Ok(Tls { current: RwLock::new(current), made })
    }

    /// Reads again what `settings` name, for handshakes from now on. Connections go on as they are. A certificate that
    /// was made at start stays; where none was made, none is now.
    ///
    /// # Errors
    /// [`TlsError`]; then nothing has changed.
    pub fn reload(&self, settings: &TlsSettings) -> Result<(), TlsError> {
        let current = Current::read(settings, self.made.as_ref())?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = current;
        Ok(())
    }

    /// SHA-256 of the certificates, as browsers show it.
    #[must_use]
    pub fn fingerprints(&self) -> Arc<[String]> {
        self.current().fingerprints
    }

    /// SHA-256 of the certificate that was made at start.
    #[must_use]
    pub fn made_fingerprint(&self) -> Option<String> {
        self.made.as_ref().map(|made| fingerprint(made.certificate()))
    }

    /// The handshake. The caller bounds its time.
    ///
    /// # Errors
    /// What the client got wrong, in rustls' words; it has been told by an alert.
    pub async fn accept(
        &self,
        stream: TcpStream,
    ) -> io::Result<(TcpStream, Layer, Option<ClientCertificate>)> {
        let acceptor = TlsAcceptor::from(self.current().config);
        let accepted =
            acceptor.accept_with(stream, |connection| connection.set_buffer_limit(Some(UNSENT))).await?;
        let (stream, connection) = accepted.into_inner();
        let certificate = connection.peer_certificates().and_then(|chain| chain.first());
        let certificate = certificate.map(|der| ClientCertificate { der: der.clone().into_owned() });
        Ok((stream, Layer::new(connection), certificate))
    }

    fn current(&self) -> Current {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Current {
    fn read(settings: &TlsSettings, made: Option<&Made>) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut certificates = Vec::new();
        if settings.dev.is_some() {
            certificates.extend(made.map(|made| made.certified(&provider)).transpose()?);
        }
        for files in &settings.certificates {
            certificates.push(certificates::read(files, &provider)?);
        }
        if certificates.is_empty() {
            return Err(TlsError::Setup("there is no certificate".to_owned()));
        }
        let fingerprints = certificates
            .iter()
            .filter_map(|certified| certified.cert.first())
            .map(|der| fingerprint(der))
            .collect();
        let config = server_config(settings, &provider, ByName::new(certificates))?;
        Ok(Current { config: Arc::new(config), fingerprints })
    }
}

fn server_config(
    settings: &TlsSettings,
    provider: &Arc<CryptoProvider>,
    certificates: ByName,
) -> Result<ServerConfig, TlsError> {
    let setup = |error: &dyn std::fmt::Display| TlsError::Setup(error.to_string());
    let builder = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|error| setup(&error))?;
    let builder = match &settings.client_authorities {
        None => builder.with_no_client_auth(),
        Some(file) => {
            let roots = Arc::new(authorities(file)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider));
            let verifier = if settings.client_required { verifier } else { verifier.allow_unauthenticated() };
            builder.with_client_cert_verifier(verifier.build().map_err(|error| setup(&error))?)
        }
    };
    let mut config = builder.with_cert_resolver(Arc::new(certificates));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // Who comes back shows a ticket; nothing is kept for anybody here.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = rustls::crypto::ring::Ticketer::new().map_err(|error| setup(&error))?;
    config.send_tls13_tickets = 1;
    Ok(config)
}

fn authorities(file: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in read_certificates(file)? {
        roots.add(certificate).map_err(|error| TlsError::File {
            file: file.to_owned(),
            reason: format!("it has what is no authority's certificate: {error}"),
        })?;
    }
    Ok(roots)
}

/// As browsers show it: upper case, with colons.
fn fingerprint(der: &[u8]) -> String {
    hex(der, ":").to_ascii_uppercase()
}

fn hex(der: &[u8], between: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, der);
    let mut text = String::with_capacity(95);
    for byte in digest.as_ref() {
        if !text.is_empty() {
            text.push_str(between);
        }
        let _ = write!(text, "{byte:02x}");
    }
    text
}
