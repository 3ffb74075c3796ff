//! Flags of what is spoken at the listeners, and of who stands in front of them.

use std::path::PathBuf;

use clap::Args;
use clap::builder::BoolishValueParser;

use crate::model::prefix::AddressPrefix;
use crate::model::tls::{TlsParts, parse_certificate_name};

/// TLS, and proxies.
#[derive(Clone, Debug, Default, Args)]
pub struct ListeningArgs {
    /// Certificate to speak TLS with, PEM, with those between it and its authority behind it; repeatable: which one is
    /// shown goes by the name that a client asks for
    #[arg(long, value_name = "FILE", env = "WSCAST_TLS_CERT", value_delimiter = ',')]
    pub tls_cert: Vec<PathBuf>,

    /// The private key of each --tls-cert, PEM, in the same order
    #[arg(long, value_name = "FILE", env = "WSCAST_TLS_KEY", value_delimiter = ',')]
    pub tls_key: Vec<PathBuf>,

    /// Take certificates of clients that these authorities have signed, PEM
    #[arg(long, value_name = "FILE", env = "WSCAST_TLS_CLIENT_CA")]
    pub tls_client_ca: Option<PathBuf>,

    /// Turn clients away that show no certificate
    #[arg(
        long,
        value_name = "BOOL",
        env = "WSCAST_TLS_CLIENT_REQUIRED",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        hide_possible_values = true,
        value_parser = BoolishValueParser::new()
    )]
    pub tls_client_required: Option<bool>,

    /// Make a certificate at start, for localhost and these names, and print its SHA-256: to try things out
    #[arg(
        long,
        value_name = "NAME",
        env = "WSCAST_DEV_CERT",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "",
        value_delimiter = ',',
        value_parser = parse_dev_name
    )]
    pub dev_cert: Option<Vec<String>>,

    /// Address or prefix of a proxy that may say for whom it connects: in Forwarded, X-Forwarded-For, or with
    /// --proxy-protocol; repeatable
    #[arg(long, value_name = "PREFIX", env = "WSCAST_TRUSTED_PROXY", value_delimiter = ',')]
    pub trusted_proxy: Vec<AddressPrefix>,

    /// Every connection begins with a header of the PROXY protocol, version 1 or 2
    #[arg(
        long,
        value_name = "BOOL",
        env = "WSCAST_PROXY_PROTOCOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        hide_possible_values = true,
        value_parser = BoolishValueParser::new()
    )]
    pub proxy_protocol: Option<bool>,
}

impl ListeningArgs {
    /// What is said of TLS.
    pub fn tls(&self) -> TlsParts {
        let names = |names: &Vec<String>| names.iter().filter(|name| !name.is_empty()).cloned().collect();
        TlsParts {
            certificates: self.tls_cert.clone(),
            keys: self.tls_key.clone(),
            dev: self.dev_cert.as_ref().map(names),
            client_authorities: self.tls_client_ca.clone(),
            client_required: self.tls_client_required,
        }
    }
}

/// A name, or nothing: `--dev-cert` alone.
fn parse_dev_name(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Ok(String::new());
    }
    parse_certificate_name(text)
}
