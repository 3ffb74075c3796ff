//! Where the file says to listen, and what with.

use std::path::PathBuf;
use std::str::FromStr;

use toml::Spanned;

use super::{File, Value};
use crate::model::config::ConfigError;
use crate::model::listener::{ListenAddress, ListenerParts, parse_mode};
use crate::model::tls::{TlsParts, parse_certificate_name};

/// `"ADDR:PORT"`, or a table with more of it.
#[derive(serde::Deserialize)]
#[serde(
    untagged,
    expecting = "a listener is \"ADDR:PORT\", \"unix:/PATH\" or { address = \"...\", tls = true, \
                               proxy-protocol = true, mode = \"660\" }"
)]
pub(super) enum RawListener {
    Address(String),
    Table(RawListenerTable),
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawListenerTable {
    address: String,
    tls: Option<bool>,
    proxy_protocol: Option<bool>,
    mode: Option<String>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawTls {
    cert: Option<Paths>,
    key: Option<Paths>,
    dev_cert: Option<Vec<Value>>,
    client_ca: Option<PathBuf>,
    client_required: Option<bool>,
}

/// One path, or several.
#[derive(serde::Deserialize)]
#[serde(untagged, expecting = "write a file's path, or a list of them")]
enum Paths {
    One(PathBuf),
    Several(Vec<PathBuf>),
}

impl Paths {
    fn list(paths: Option<Paths>) -> Vec<PathBuf> {
        match paths {
            None => Vec::new(),
            Some(Paths::One(path)) => vec![path],
            Some(Paths::Several(paths)) => paths,
        }
    }
}

impl File<'_> {
    pub(super) fn listeners(&self, raw: &[Spanned<RawListener>]) -> Result<Vec<ListenerParts>, ConfigError> {
        let listener = |raw: &Spanned<RawListener>| {
            let address =
                |text: &str| ListenAddress::from_str(text).map_err(|error| self.error(raw.span(), error));
            let mode = |text: &str| parse_mode(text).map_err(|error| self.error(raw.span(), error));
            Ok(match raw.as_ref() {
                RawListener::Address(text) => ListenerParts::at(address(text)?),
                RawListener::Table(table) => ListenerParts {
                    at: address(&table.address)?,
                    tls: table.tls,
                    proxy_protocol: table.proxy_protocol,
                    mode: table.mode.as_deref().map(mode).transpose()?,
                },
            })
        };
        raw.iter().map(listener).collect()
    }

    pub(super) fn tls(&self, raw: RawTls) -> Result<TlsParts, ConfigError> {
        Ok(TlsParts {
            certificates: Paths::list(raw.cert),
            keys: Paths::list(raw.key),
            dev: self.list(raw.dev_cert.as_ref(), parse_certificate_name)?,
            client_authorities: raw.client_ca,
            client_required: raw.client_required,
        })
    }
}
