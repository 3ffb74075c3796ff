//! What listeners speak TLS with.

use std::path::PathBuf;

use thiserror::Error;

use super::setting::parse_host;

/// Certificates of one gateway at most.
pub const CERTIFICATES: usize = 64;

/// What listeners speak TLS with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    /// The certificates; the first is for clients that ask for no name, or for one that none has.
    pub certificates: Vec<CertificateFiles>,
    /// Names of a certificate that is made at start, in front of the others; `None` for none.
    pub dev: Option<Vec<String>>,
    /// The authorities whose client certificates are taken, PEM; `None` where none is asked for.
    pub client_authorities: Option<PathBuf>,
    /// Whether a client without a certificate is turned away.
    pub client_required: bool,
}

/// A certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate and those between it and its authority, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
}

/// Settings that don't go together.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TlsSettingsError {
    /// Not one key for each certificate.
    #[error(
        "{certificates} certificates and {keys} keys: give a --tls-key for each --tls-cert, in the same order \
         (in a file: cert and key under [tls])"
    )]
    Pairs {
        /// How many certificates there are.
        certificates: usize,
        /// How many keys.
        keys: usize,
    },
    /// TLS is wanted and there is nothing to speak it with.
    #[error(
        "TLS without a certificate: give --tls-cert and --tls-key, or --dev-cert for one that is made up"
    )]
    NoCertificate,
    /// More than [`CERTIFICATES`].
    #[error("{0} certificates are more than 64")]
    TooMany(usize),
    /// On a unix socket.
    #[error("unix sockets speak no TLS: leave tls out there")]
    OnUnix,
    /// A proxy's header could come from anybody.
    #[error(
        "the PROXY protocol at {0} needs to know whose: give --trusted-proxy with the proxies' addresses \
         (in a file: trusted-proxy)"
    )]
    Untrusted(String),
}

/// What flags and file say of TLS, before it is put together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsParts {
    /// Certificates.
    pub certificates: Vec<PathBuf>,
    /// Their keys, in the same order.
    pub keys: Vec<PathBuf>,
    /// [`TlsSettings::dev`].
    pub dev: Option<Vec<String>>,
    /// [`TlsSettings::client_authorities`].
    pub client_authorities: Option<PathBuf>,
    /// [`TlsSettings::client_required`].
    pub client_required: Option<bool>,
}

/// A name for a certificate that is made at start: a DNS name, or an address.
///
/// # Errors
/// What can be written, in words.
pub fn parse_certificate_name(text: &str) -> Result<String, String> {
    let name = parse_host(text).map_err(|error| error.to_string())?;
    // Only in URLs and `Host` has an IPv6 address brackets.
    Ok(name.trim_matches(['[', ']']).to_owned())
}

impl TlsParts {
    /// These where they say something, `below` elsewhere. Certificates and keys go together.
    #[must_use]
    pub fn over(self, below: TlsParts) -> TlsParts {
        let paired = !(self.certificates.is_empty() && self.keys.is_empty());
        let (certificates, keys) =
            if paired { (self.certificates, self.keys) } else { (below.certificates, below.keys) };
        TlsParts {
            certificates,
            keys,
            dev: self.dev.or(below.dev),
            client_authorities: self.client_authorities.or(below.client_authorities),
            client_required: self.client_required.or(below.client_required),
        }
    }

    /// The whole; `None` where no TLS is wanted.
    ///
    /// # Errors
    /// [`TlsSettingsError`].
    pub fn settings(self) -> Result<Option<TlsSettings>, TlsSettingsError> {
        let (certificates, keys) = (self.certificates.len(), self.keys.len());
        if certificates != keys {
            return Err(TlsSettingsError::Pairs { certificates, keys });
        }
        if certificates > CERTIFICATES {
            return Err(TlsSettingsError::TooMany(certificates));
        }
        if certificates == 0 && self.dev.is_none() {
            let nothing = self.client_authorities.is_none();
            return if nothing { Ok(None) } else { Err(TlsSettingsError::NoCertificate) };
        }
        let pairs = self.certificates.into_iter().zip(self.keys);
        Ok(Some(TlsSettings {
            certificates: pairs.map(|(certificate, key)| CertificateFiles { certificate, key }).collect(),
            dev: self.dev,
            client_required: self.client_required.unwrap_or(false) && self.client_authorities.is_some(),
            client_authorities: self.client_authorities,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(names: &[&str]) -> Vec<PathBuf> {
        names.iter().map(PathBuf::from).collect()
    }

    #[test]
    fn each_certificate_has_its_key() {
        let parts = |certificates: &[&str], keys: &[&str]| TlsParts {
            certificates: paths(certificates),
            keys: paths(keys),
            ..TlsParts::default()
        };
        assert_eq!(TlsParts::default().settings(), Ok(None));
        let both = parts(&["a", "b"], &["c", "d"]).settings().expect("valid").expect("some");
        assert_eq!(both.certificates[1].key, PathBuf::from("d"));
        assert!(matches!(parts(&["a"], &[]).settings(), Err(TlsSettingsError::Pairs { .. })));
        let over = parts(&["a"], &["b"]).over(parts(&["c", "d"], &["e", "f"])).settings();
        assert_eq!(over.expect("valid").expect("some").certificates.len(), 1);
        let alone = TlsParts { client_authorities: Some("ca".into()), ..TlsParts::default() };
        assert_eq!(alone.settings(), Err(TlsSettingsError::NoCertificate));
    }
}
