//! Where the gateway listens, and what is spoken there.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use thiserror::Error;

use super::prefix::AddressPrefix;
use super::tls::TlsSettingsError;

/// Bytes of a unix socket's path (`sun_path`, with its final 0, has 108).
const PATH: usize = 107;

/// One listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Where.
    pub at: ListenAddress,
    /// Whether TLS is spoken there. Never on unix sockets.
    pub tls: bool,
    /// Whether each connection begins with a header of the PROXY protocol, which says who the client is.
    pub proxy_protocol: bool,
    /// Permission bits of a unix socket's file, at most 0777.
    pub mode: u32,
}

/// A listener as it was written, before what stands elsewhere is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerParts {
    /// [`Listener::at`].
    pub at: ListenAddress,
    /// [`Listener::tls`].
    pub tls: Option<bool>,
    /// [`Listener::proxy_protocol`].
    pub proxy_protocol: Option<bool>,
    /// [`Listener::mode`].
    pub mode: Option<u32>,
}

/// An address and port, or a unix socket's path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// TCP; port 0 picks a free one.
    Tcp(SocketAddr),
    /// The path of a unix socket, absolute, at most 107 bytes.
    Unix(PathBuf),
}

/// What is no address to listen on.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("listen {text:?} is not possible: {fix}")]
pub struct ListenAddressError {
    text: String,
    fix: &'static str,
}

impl Listener {
    /// Owner and group may connect.
    pub const MODE: u32 = 0o660;

    /// A listener without TLS and without a proxy's header.
    #[must_use]
    pub fn plain(at: ListenAddress) -> Listener {
        Listener { at, tls: false, proxy_protocol: false, mode: Listener::MODE }
    }

    /// Whether only this machine can connect.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.at.is_local()
    }

    /// Whether other machines can connect, without a proxy between.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.is_local() && !self.proxy_protocol
    }

    /// As a browser's address line takes it: `https://ADDR:PORT`; `unix:/PATH` where there is no such form.
    #[must_use]
    pub fn url(&self) -> String {
        match (&self.at, self.tls) {
            (ListenAddress::Unix(_), _) => self.at.to_string(),
            (at, true) => format!("https://{at}"),
            (at, false) => format!("http://{at}"),
        }
    }
}

impl ListenerParts {
    /// A listener of which nothing else is said.
    #[must_use]
    pub fn at(at: ListenAddress) -> ListenerParts {
        ListenerParts { at, tls: None, proxy_protocol: None, mode: None }
    }

    /// The whole: TCP listeners speak TLS where there is a certificate, and unix sockets never do.
    ///
    /// # Errors
    /// TLS without a certificate or on a unix socket; a proxy's header from nobody knows whom.
    pub fn listener(
        self,
        certified: bool,
        proxied: bool,
        trusted: &[AddressPrefix],
    ) -> Result<Listener, TlsSettingsError> {
        let unix = self.at.tcp().is_none();
        let tls = match self.tls {
            Some(true) if unix => return Err(TlsSettingsError::OnUnix),
            Some(true) if !certified => return Err(TlsSettingsError::NoCertificate),
            Some(tls) => tls,
            None => certified && !unix,
        };
        let proxy_protocol = self.proxy_protocol.unwrap_or(proxied);
        // Who may connect to a unix socket is the file's affair.
        if proxy_protocol && !unix && trusted.is_empty() {
            return Err(TlsSettingsError::Untrusted(self.at.to_string()));
        }
        Ok(Listener { at: self.at, tls, proxy_protocol, mode: self.mode.unwrap_or(Listener::MODE) })
    }
}

impl ListenAddress {
    /// Whether only this machine can connect; an IPv4-mapped address is what it maps.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            ListenAddress::Tcp(address) => address.ip().to_canonical().is_loopback(),
            ListenAddress::Unix(_) => true,
        }
    }

    /// The address, where it is one.
    #[must_use]
    pub fn tcp(&self) -> Option<SocketAddr> {
        match self {
            ListenAddress::Tcp(address) => Some(*address),
            ListenAddress::Unix(_) => None,
        }
    }

    /// What stands for the peer, and for us, on a unix socket that says nothing of addresses: this machine.
    #[must_use]
    pub fn nobody() -> SocketAddr {
        SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0)
    }
}

impl From<SocketAddr> for ListenAddress {
    fn from(address: SocketAddr) -> ListenAddress {
        ListenAddress::Tcp(address)
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenAddress::Tcp(address) => address.fmt(formatter),
            ListenAddress::Unix(path) => write!(formatter, "unix:{}", path.display()),
        }
    }
}

impl FromStr for ListenAddress {
    type Err = ListenAddressError;

    fn from_str(text: &str) -> Result<ListenAddress, ListenAddressError> {
        let refused = |fix| Err(ListenAddressError { text: text.to_owned(), fix });
        let Some(path) = text.strip_prefix("unix:") else {
            let address = text.parse().map(ListenAddress::Tcp);
            return address.or_else(|_| refused("write ADDR:PORT, as 127.0.0.1:8080, or unix:/PATH"));
        };
        if !Path::new(path).is_absolute() || path.ends_with('/') || path.contains('\0') {
            return refused("write the whole path of a file, as unix:/run/wscast/socket");
        }
        if path.len() > PATH {
            return refused("a unix socket's path has at most 107 bytes");
        }
        Ok(ListenAddress::Unix(PathBuf::from(path)))
    }
}

/// Permission bits as `660` or `0660`, in octal.
///
/// # Errors
/// What can be written, in words.
pub fn parse_mode(text: &str) -> Result<u32, String> {
    let mode = Some(text).filter(|text| (3..=4).contains(&text.len()));
    let mode = mode.and_then(|text| u32::from_str_radix(text, 8).ok()).filter(|mode| *mode <= 0o777);
    mode.ok_or_else(|| format!("mode {text:?} is not possible: write three octal digits, as \"660\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_paths_are_told_apart() {
        let address: ListenAddress = "[::1]:8443".parse().expect("an address");
        assert_eq!((address.to_string(), address.is_local()), ("[::1]:8443".to_owned(), true));
        let path: ListenAddress = "unix:/run/wscast/socket".parse().expect("a path");
        assert_eq!((path.to_string(), path.tcp()), ("unix:/run/wscast/socket".to_owned(), None));
        assert!(path.is_local());
        assert!(!"0.0.0.0:80".parse::<ListenAddress>().expect("an address").is_local());
        let long = format!("unix:/{}", "a".repeat(107));
        for (bad, words) in [
            ("localhost:80", "write ADDR:PORT"),
            ("unix:socket", "whole path"),
            ("unix:/run/", "of a file"),
            ("unix:", "whole path"),
            (&long, "107 bytes"),
        ] {
            let error = bad.parse::<ListenAddress>().expect_err(bad).to_string();
            assert!(error.contains(words) && error.contains(" is not possible: "), "{error}");
        }
    }

    #[test]
    fn modes_are_octal() {
        assert_eq!((parse_mode("660"), parse_mode("0777")), (Ok(0o660), Ok(0o777)));
        for bad in ["", "66", "888", "1777", "-66", "00660"] {
            assert!(parse_mode(bad).is_err(), "{bad}");
        }
    }
}
