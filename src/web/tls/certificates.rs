//! Certificates with their keys: read, made, and chosen by the name that a client asks for.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::model::tls::CertificateFiles;
use crate::web::tls::TlsError;

/// Bytes of a PEM file.
const PEM: u64 = 1 << 20;
/// How long a certificate that is made is good for: browsers take no longer ones.
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
/// Clocks differ.
const DAY: Duration = Duration::from_secs(24 * 3600);
/// Names that a certificate that is made has in any case.
const LOCAL: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Chooses by name.
#[derive(Debug)]
pub(super) struct ByName(Vec<Arc<CertifiedKey>>);

/// A certificate that nobody signed but itself.
pub(super) struct Made {
    certificate: CertificateDer<'static>,
    key: PrivatePkcs8KeyDer<'static>,
}

impl fmt::Debug for Made {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Made { .. }")
    }
}

impl ByName {
    /// The first is for whoever asks for no other.
    pub(super) fn new(certificates: Vec<Arc<CertifiedKey>>) -> Self {
        ByName(certificates)
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let schemes = hello.signature_schemes();
        let usable = |certified: &&Arc<CertifiedKey>| certified.key.choose_scheme(schemes).is_some();
        let named = hello.server_name().and_then(|name| {
            self.0
                .iter()
                .filter(usable)
                .find(|certified| certified.cert.first().is_some_and(|der| is_for(der, name)))
        });
        named.or_else(|| self.0.iter().find(usable)).or_else(|| self.0.first()).cloned()
    }
}

impl Made {
    /// For `localhost` and `names`.
    pub(super) fn new(names: &[String]) -> Result<Self, TlsError> {
        let error = |error: rcgen::Error| TlsError::Making {
            names: names.join(", "),
            reason: format!("{error}: give DNS names and addresses"),
        };
        let all: Vec<String> = LOCAL.iter().map(ToString::to_string).chain(names.iter().cloned()).collect();
        let mut parameters = CertificateParams::new(all).map_err(error)?;
        let now = SystemTime::now();
        (parameters.not_before, parameters.not_after) = ((now - DAY).into(), (now + YEAR).into());
        parameters.distinguished_name = DistinguishedName::new();
        parameters.distinguished_name.push(DnType::CommonName, "wscast development certificate");
        let key = KeyPair::generate().map_err(error)?;
        let certificate = parameters.self_signed(&key).map_err(error)?;
        Ok(Made {
            certificate: certificate.der().clone(),
            key: PrivatePkcs8KeyDer::from(key.serialize_der()),
        })
    }

    pub(super) fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    pub(super) fn certified(&self, provider: &CryptoProvider) -> Result<Arc<CertifiedKey>, TlsError> {
        let key = PrivateKeyDer::Pkcs8(self.key.clone_key());
        CertifiedKey::from_der(vec![self.certificate.clone()], key, provider)
            .map(Arc::new)
            .map_err(|error| TlsError::Setup(error.to_string()))
    }
}

/// Reads a certificate and its key, and checks that they belong together.
pub(super) fn read(
    files: &CertificateFiles,
    provider: &CryptoProvider,
) -> Result<Arc<CertifiedKey>, TlsError> {
    let chain = read_certificates(&files.certificate)?;
    let of_key = |reason: String| TlsError::File { file: files.key.clone(), reason };
    let key = PrivateKeyDer::from_pem_slice(&read_pem(&files.key)?)
        .map_err(|error| of_key(format!("{error}: it must have a private key as PEM, without a password")))?;
    let certified = CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            of_key(format!("it is not the key of {}", files.certificate.display()))
        }
        error => of_key(error.to_string()),
    })?;
    Ok(Arc::new(certified))
}

/// Reads all certificates of a file, at least one.
pub(super) fn read_certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let error = |reason: String| TlsError::File { file: file.to_owned(), reason };
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&read_pem(file)?)
        .collect::<Result<_, _>>()
        .map_err(|failed| error(failed.to_string()))?;
    let Some(first) = certificates.first() else {
        return Err(error("there is no BEGIN CERTIFICATE: it must be PEM".to_owned()));
    };
    ParsedCertificate::try_from(first).map_err(|failed| error(failed.to_string()))?;
    Ok(certificates)
}

/// Whether a certificate is for `name`.
pub(super) fn is_for(der: &CertificateDer<'_>, name: &str) -> bool {
    let (Ok(name), Ok(parsed)) = (ServerName::try_from(name), ParsedCertificate::try_from(der)) else {
        return false;
    };
    rustls::client::verify_server_name(&parsed, &name).is_ok()
}

fn read_pem(path: &Path) -> Result<Vec<u8>, TlsError> {
    let error = |reason: String| TlsError::File { file: path.to_owned(), reason };
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(PEM + 1).read_to_end(&mut bytes))
        .map_err(|failed| error(failed.to_string()))?;
    if bytes.len() as u64 > PEM {
        return Err(error("it has more than 1 MiB".to_owned()));
    }
    Ok(bytes)
}
