//! Whom a program trusts on `wss://`, and who it says that it is.

use std::fmt;
use std::io;
use std::path::Path;

use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
#[cfg(feature = "tls")]
use tokio_tungstenite::connect_async_tls_with_config;
#[cfg(not(feature = "tls"))]
use tokio_tungstenite::connect_async_with_config;
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Response;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream};

/// Trust in gateways' certificates, and a certificate of one's own.
#[derive(Clone)]
pub struct Trust {
    connector: Connector,
}

/// A file that a program's trust can't be read from.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{doing}: {reason}")]
pub struct TrustError {
    doing: String,
    reason: String,
}

/// The files of a certificate of one's own.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    /// The certificate and those between it and its authority, PEM.
    pub certificate: &'a Path,
    /// Its private key, PEM.
    pub key: &'a Path,
}

impl fmt::Debug for Trust {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Trust { .. }")
    }
}

impl TrustError {
    fn new(doing: impl Into<String>, reason: impl fmt::Display) -> TrustError {
        TrustError { doing: doing.into(), reason: reason.to_string() }
    }
}

impl Trust {
    /// Connects: without TLS where there is no `trust`, which is for URLs that want none.
    ///
    /// # Errors
    /// As the WebSocket library gives them.
    pub(crate) async fn connect(
        trust: Option<&Trust>,
        request: impl IntoClientRequest + Unpin,
        config: WebSocketConfig,
    ) -> Result<(WebSocketStream<MaybeTlsStream<TcpStream>>, Response), tungstenite::Error> {
        #[cfg(feature = "tls")]
        {
            let connector = trust.map_or(Connector::Plain, |trust| trust.connector.clone());
            connect_async_tls_with_config(request, Some(config), true, Some(connector)).await
        }
        #[cfg(not(feature = "tls"))]
        {
            // Nobody can make one.
            let _ = trust.map(|trust| &trust.connector);
            connect_async_with_config(request, Some(config), true).await
        }
    }
}

/// A connection that TLS protects.
pub trait Protected: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Protected for T {}

#[cfg(feature = "tls")]
mod with_tls {
    use std::sync::Arc;

    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use rustls::{ClientConfig, RootCertStore};

    use super::{Connector, Identity, Path, Protected, TcpStream, Trust, TrustError, io};

    impl Trust {
        /// Opens TLS on `stream` to `host`, which its certificate has to name: without WebSocket, for plain requests.
        ///
        /// # Errors
        /// Why the certificate is not trusted, or what the connection says.
        pub async fn protect(&self, stream: TcpStream, host: &str) -> io::Result<Box<dyn Protected>> {
            let Connector::Rustls(config) = &self.connector else { return Ok(Box::new(stream)) };
            let name = host.to_owned().try_into().map_err(io::Error::other)?;
            let connector = tokio_rustls::TlsConnector::from(Arc::clone(config));
            Ok(Box::new(connector.connect(name, stream).await?))
        }

        /// Trusts the authorities in the PEM file `authorities`, or those of the system where none is given; shows
        /// `identity` to gateways that ask.
        ///
        /// # Errors
        /// [`TrustError`] with the file and what is wrong with it.
        pub fn read(authorities: Option<&Path>, identity: Option<Identity<'_>>) -> Result<Trust, TrustError> {
            let roots = match authorities {
                Some(file) => listed(file)?,
                None => of_the_system()?,
            };
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let config = ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .map_err(|error| TrustError::new("setting up TLS", error))?
                .with_root_certificates(roots);
            let mut config = match identity {
                None => config.with_no_client_auth(),
                Some(identity) => {
                    let file = identity.certificate.display();
                    let key = PrivateKeyDer::from_pem_file(identity.key).map_err(|error| {
                        TrustError::new(format!("reading the key {}", identity.key.display()), error)
                    })?;
                    config
                        .with_client_auth_cert(certificates(identity.certificate)?, key)
                        .map_err(|error| TrustError::new(format!("taking the certificate {file}"), error))?
                }
            };
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
            Ok(Trust { connector: Connector::Rustls(Arc::new(config)) })
        }
    }

    fn listed(file: &Path) -> Result<RootCertStore, TrustError> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(file)? {
            let doing = || format!("trusting the certificates in {}", file.display());
            roots.add(certificate).map_err(|error| TrustError::new(doing(), error))?;
        }
        Ok(roots)
    }

    fn of_the_system() -> Result<RootCertStore, TrustError> {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            let reason = found.errors.first().map_or_else(|| "there is none".to_owned(), ToString::to_string);
            let fix = "install the package ca-certificates, or name a file with --ca";
            return Err(TrustError::new(
                "reading the system's certificate authorities",
                format!("{reason}: {fix}"),
            ));
        }
        Ok(roots)
    }

    fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TrustError> {
        let doing = || format!("reading the certificates in {}", file.display());
        let certificates: Vec<_> = CertificateDer::pem_file_iter(file)
            .and_then(Iterator::collect)
            .map_err(|error| TrustError::new(doing(), error))?;
        if certificates.is_empty() {
            return Err(TrustError::new(doing(), "there is no BEGIN CERTIFICATE: it must be PEM"));
        }
        Ok(certificates)
    }
}

#[cfg(not(feature = "tls"))]
impl Trust {
    /// Hands `stream` back: there is no trust without TLS.
    ///
    /// # Errors
    /// None.
    pub async fn protect(&self, stream: TcpStream, _: &str) -> io::Result<Box<dyn Protected>> {
        Ok(Box::new(stream))
    }

    /// Fails: this program was built without TLS.
    ///
    /// # Errors
    /// Always.
    pub fn read(_: Option<&Path>, _: Option<Identity<'_>>) -> Result<Trust, TrustError> {
        Err(TrustError::new("setting up TLS", "this program was built without the feature tls"))
    }
}
