//! The configuration file: TOML whose keys are the flags' names, and errors that show the place.

mod links;
mod listening;
mod principals;

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error, Visitor};
use toml::Spanned;

use super::config::{ConfigError, NamedStream};
use super::deny::{Opens, denied};
use super::grant::Grant;
use super::group::Group;
use super::jwt::JwtRules;
use super::limits::Limits;
use super::link::LinkConfig;
use super::listener::ListenerParts;
use super::name::check_name;
use super::policy::{Direction, Spec};
use super::prefix::AddressPrefix;
use super::principal::Principal;
use super::selector::InterfaceSelector;
use super::setting::{
    IoUring, LogFormat, LogLevel, parse_hold, parse_host, parse_linger, parse_max_ttl, parse_origin,
    parse_receive_buffer, parse_threads,
};
use super::source::{SourceFilter, parse_source};
use super::tls::TlsParts;
use super::transport::Transport;
use listening::{RawListener, RawTls};

/// What a file sets; `None` where it says nothing.
#[derive(Clone, Debug, Default)]
pub(super) struct FileSettings {
    pub(super) listen: Option<Vec<ListenerParts>>,
    pub(super) tls: TlsParts,
    pub(super) trusted_proxy: Option<Vec<AddressPrefix>>,
    pub(super) proxy_protocol: Option<bool>,
    pub(super) interface: Option<InterfaceSelector>,
    pub(super) allow_receive: Option<Vec<Spec>>,
    pub(super) allow_send: Option<Vec<Spec>>,
    pub(super) allow_host: Option<Vec<String>>,
    pub(super) allow_origin: Option<Vec<String>>,
    pub(super) no_auth: Option<bool>,
    pub(super) threads: Option<NonZeroUsize>,
    pub(super) hold: Option<Duration>,
    pub(super) limits: Limits,
    pub(super) io_uring: Option<IoUring>,
    pub(super) log_format: Option<LogFormat>,
    pub(super) log_level: Option<LogLevel>,
    pub(super) receive_buffer: Option<usize>,
    pub(super) max_ttl: Option<u8>,
    pub(super) announcements: Option<Vec<InterfaceSelector>>,
    pub(super) linger: Option<Duration>,
    pub(super) player: Option<PathBuf>,
    pub(super) control: Option<PathBuf>,
    pub(super) streams: BTreeMap<String, NamedStream>,
    pub(super) principals: Vec<Principal>,
    /// `[principals.anonymous]`.
    pub(super) anonymous: Option<Grant>,
    pub(super) jwt: Option<JwtRules>,
    pub(super) links: Vec<LinkConfig>,
    pub(super) accept_links: Option<bool>,
    pub(super) announce: Option<bool>,
}

/// The file as TOML has it, before any value is understood.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Raw {
    listen: Option<Vec<Spanned<RawListener>>>,
    tls: Option<RawTls>,
    trusted_proxy: Option<List>,
    proxy_protocol: Option<bool>,
    interface: Option<Value>,
    allow_receive: Option<List>,
    allow_send: Option<List>,
    allow_host: Option<List>,
    allow_origin: Option<List>,
    no_auth: Option<bool>,
    threads: Option<Value>,
    hold: Option<Value>,
    #[serde(default)]
    limits: BTreeMap<Spanned<String>, Value>,
    io_uring: Option<Value>,
    log_format: Option<Value>,
    log_level: Option<Value>,
    receive_buffer: Option<Value>,
    max_ttl: Option<Value>,
    announcements: Option<List>,
    linger: Option<Value>,
    player: Option<PathBuf>,
    control: Option<PathBuf>,
    #[serde(default)]
    streams: BTreeMap<Spanned<String>, RawStream>,
    #[serde(default)]
    principals: BTreeMap<Spanned<String>, principals::RawPrincipal>,
    jwt: Option<Spanned<principals::RawJwt>>,
    #[serde(default)]
    link: Vec<Spanned<links::RawLink>>,
    accept_links: Option<bool>,
    announce: Option<bool>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawStream {
    group: Value,
    sources: Option<Spanned<List>>,
    exclude: Option<Spanned<List>>,
    interface: Option<Value>,
    rtp: Option<bool>,
    fec: Option<Spanned<bool>>,
}

type Value = Spanned<Scalar>;
type List = Vec<Value>;

/// A string, or an integer as its digits: `threads = 2` and `hold = "5ms"` are read by the same functions as
/// flags.
struct Scalar(String);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Scalar, D::Error> {
        struct ScalarVisitor;

        impl Visitor<'_> for ScalarVisitor {
            type Value = Scalar;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a string or an integer")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Scalar, E> {
                Ok(Scalar(text.to_owned()))
            }

            fn visit_i64<E: Error>(self, integer: i64) -> Result<Scalar, E> {
                Ok(Scalar(integer.to_string()))
            }
        }

        deserializer.deserialize_any(ScalarVisitor)
    }
}

/// Reads the file's text; `name` is what errors call it.
pub(super) fn read(name: &str, text: &str) -> Result<FileSettings, ConfigError> {
    let file = File { name, text };
    let raw: Raw =
        toml::from_str(text).map_err(|error| file.error(error.span().unwrap_or(0..0), error.message()))?;
    let streams = file.streams(&raw.streams)?;
    let (principals, anonymous) = file.principals(&raw.principals, &streams)?;
    let jwt = file.jwt(raw.jwt.as_ref(), &raw.principals)?;
    Ok(FileSettings {
        listen: raw.listen.map(|all| file.listeners(&all)).transpose()?,
        tls: raw.tls.map_or_else(|| Ok(TlsParts::default()), |tls| file.tls(tls))?,
        trusted_proxy: file.list(raw.trusted_proxy.as_ref(), AddressPrefix::from_str)?,
        proxy_protocol: raw.proxy_protocol,
        interface: file.value(raw.interface.as_ref(), InterfaceSelector::from_str)?,
        allow_receive: file.list(raw.allow_receive.as_ref(), Spec::from_str)?,
        allow_send: file.list(raw.allow_send.as_ref(), Spec::from_str)?,
        allow_host: file.list(raw.allow_host.as_ref(), parse_host)?,
        allow_origin: file.list(raw.allow_origin.as_ref(), parse_origin)?,
        no_auth: raw.no_auth,
        threads: file.value(raw.threads.as_ref(), parse_threads)?,
        hold: file.value(raw.hold.as_ref(), parse_hold)?,
        limits: file.limits(&raw.limits)?,
        io_uring: file.value(raw.io_uring.as_ref(), IoUring::from_str)?,
        log_format: file.value(raw.log_format.as_ref(), LogFormat::from_str)?,
        log_level: file.value(raw.log_level.as_ref(), LogLevel::from_str)?,
        receive_buffer: file.value(raw.receive_buffer.as_ref(), parse_receive_buffer)?,
        max_ttl: file.value(raw.max_ttl.as_ref(), parse_max_ttl)?,
        announcements: file.list(raw.announcements.as_ref(), InterfaceSelector::from_str)?,
        linger: file.value(raw.linger.as_ref(), parse_linger)?,
        player: raw.player,
        control: raw.control,
        streams,
        principals,
        anonymous,
        jwt,
        links: file.links(&raw.link)?,
        accept_links: raw.accept_links,
        announce: raw.announce,
    })
}

/// The text that spans point into.
struct File<'a> {
    name: &'a str,
    text: &'a str,
}

impl File<'_> {
    fn parse<T, E: Display>(
        &self,
        value: &Value,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Result<T, ConfigError> {
        parse(&value.as_ref().0).map_err(|error| self.error(value.span(), error))
    }

    fn value<T, E: Display>(
        &self,
        value: Option<&Value>,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Result<Option<T>, ConfigError> {
        value.map(|value| self.parse(value, parse)).transpose()
    }

    fn list<T, E: Display>(
        &self,
        list: Option<&List>,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Result<Option<Vec<T>>, ConfigError> {
        list.map(|list| list.iter().map(|value| self.parse(value, &parse)).collect()).transpose()
    }

    /// `all` first, wherever it stands, so that what is named beside it holds.
    fn limits(&self, raw: &BTreeMap<Spanned<String>, Value>) -> Result<Limits, ConfigError> {
        let mut limits = Limits::default();
        let (all, named): (Vec<_>, Vec<_>) = raw.iter().partition(|(name, _)| name.as_ref() == "all");
        for (name, value) in all.into_iter().chain(named) {
            let span = name.span().start..value.span().end;
            limits.set_value(name.as_ref(), &value.as_ref().0).map_err(|error| self.error(span, error))?;
        }
        Ok(limits)
    }

    fn streams(
        &self,
        raw: &BTreeMap<Spanned<String>, RawStream>,
    ) -> Result<BTreeMap<String, NamedStream>, ConfigError> {
        raw.iter()
            .map(|(name, stream)| {
                check_name(name.as_ref()).map_err(|error| self.error(name.span(), error))?;
                Ok((name.as_ref().clone(), self.stream(stream)?))
            })
            .collect()
    }

    fn stream(&self, raw: &RawStream) -> Result<NamedStream, ConfigError> {
        let group: Group = self.parse(&raw.group, Group::from_str)?;
        let (filter, span) = match (&raw.sources, &raw.exclude) {
            (Some(_), Some(exclude)) => {
                let message = "sources and exclude exclude each other: leave exclude out";
                return Err(self.error(exclude.span(), message));
            }
            (Some(sources), None) => (self.filter(sources, SourceFilter::include)?, sources.span()),
            (None, Some(exclude)) => (self.filter(exclude, SourceFilter::exclude)?, exclude.span()),
            (None, None) => (SourceFilter::Any, raw.group.span()),
        };
        if group.needs_source() && !matches!(filter, SourceFilter::Include(_)) {
            let message = format!("{group} is source-specific (RFC 4607): add sources = [\"ADDRESS\"]");
            return Err(self.error(raw.group.span(), message));
        }
        if let Some(rule) = denied(&group, Direction::Receive).filter(|rule| rule.opens == Opens::Never) {
            let message = format!("{group} is denied: {}; nothing opens it", rule.words);
            return Err(self.error(raw.group.span(), message));
        }
        filter.check_against(&group).map_err(|error| self.error(span, error))?;
        let interface = self.value(raw.interface.as_ref(), InterfaceSelector::from_str)?;
        let transport = self.transport(raw, group)?;
        Ok(NamedStream { group, filter, interface, transport })
    }

    fn transport(&self, raw: &RawStream, group: Group) -> Result<Transport, ConfigError> {
        let transport = match (raw.rtp, &raw.fec) {
            (Some(true), fec) => Transport::rtp(fec.as_ref().is_some_and(|fec| *fec.as_ref())),
            (_, Some(fec)) if *fec.as_ref() => {
                return Err(self.error(fec.span(), "fec repairs RTP: add rtp = true, or leave it out"));
            }
            _ => Transport::Udp,
        };
        transport.fec_groups(group).map_err(|error| self.error(raw.group.span(), error))?;
        Ok(transport)
    }

    fn filter<E: Display>(
        &self,
        list: &Spanned<List>,
        make: impl Fn(Vec<IpAddr>) -> Result<SourceFilter, E>,
    ) -> Result<SourceFilter, ConfigError> {
        let sources = list.as_ref().iter().map(|value| self.parse(value, parse_source));
        make(sources.collect::<Result<_, _>>()?).map_err(|error| self.error(list.span(), error))
    }

    /// The place in the text at or before `position` where a character begins.
    fn boundary(&self, position: usize) -> usize {
        let position = position.min(self.text.len());
        (0..=position).rev().find(|&place| self.text.is_char_boundary(place)).unwrap_or(0)
    }

    /// The same without the line itself, which may hold a secret.
    fn error_unseen(&self, span: Range<usize>, message: impl Display) -> ConfigError {
        let mut error = self.error(span, message);
        if let ConfigError::InFile { excerpt, .. } = &mut error {
            *excerpt = "(the line is not shown: it may be a secret)".to_owned();
        }
        error
    }

    /// An error with its line, column (both from 1, the column in characters) and the line itself with carets
    /// under it.
    fn error(&self, span: Range<usize>, message: impl Display) -> ConfigError {
        let start = self.boundary(span.start);
        let begin = self.text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let rest = &self.text[begin..];
        let shown = rest.lines().next().unwrap_or("");
        let end = self.boundary(span.end.clamp(start, (begin + shown.len()).max(start)));
        let line = self.text[..begin].matches('\n').count() + 1;
        let before = self.text[begin..start].chars().count();
        let carets = self.text[start..end].chars().count().max(1);
        // A tab or an escape sequence would push the carets away from what they point at.
        let shown: String = shown.chars().map(|shown| if shown.is_control() { ' ' } else { shown }).collect();
        let gutter = " ".repeat(line.to_string().len());
        let excerpt =
            format!("{gutter} |\n{line} | {shown}\n{gutter} | {}{}", " ".repeat(before), "^".repeat(carets));
        ConfigError::InFile {
            file: self.name.to_owned(),
            line,
            column: before + 1,
            message: message.to_string().trim_end().to_owned(),
            excerpt,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refusal(text: &str) -> String {
        read("wscast.toml", text).expect_err("refused").to_string()
    }

    #[test]
    fn shows_the_place() {
        assert_eq!(
            refusal("no-auth = true\nlisten = [\"127.0.0.1:80\", \"localhost\"]\n"),
            "wscast.toml:2:27: \
             listen \"localhost\" is not possible: write ADDR:PORT, as 127.0.0.1:8080, or unix:/PATH\n  |\n\
             2 | listen = [\"127.0.0.1:80\", \"localhost\"]\n  |                           ^^^^^^^^^^^"
        );
    }

    #[test]
    fn refuses_with_line_and_column() {
        for (text, start, words) in [
            ("liste = []", "wscast.toml:1:1: ", "unknown field `liste`"),
            ("threads = 65", "wscast.toml:1:11: ", "write 1 to 64"),
            ("threads = -1", "wscast.toml:1:11: ", "write 1 to 64"),
            ("threads = 1.5", "wscast.toml:1:11: ", "a string or an integer"),
            ("no-auth = \"yes\"", "wscast.toml:1:11: ", "expected a boolean"),
            ("hold = \"1s\"", "wscast.toml:1:8: ", "write 0 to 50ms"),
            ("listen = \"127.0.0.1:1\"", "wscast.toml:1:10: ", "expected a sequence"),
            ("\n[limits]\nstream = 5", "wscast.toml:3:1: ", "no limit \"stream\""),
            ("[limits]\nstreams = 0", "wscast.toml:2:1: ", "at least 1, or off"),
            ("[streams.\"a/b\"]\ngroup = \"239.1.2.3:5\"", "wscast.toml:1:10: ", "can't name a stream"),
            ("[streams.a]\ngroup = \"239.1.2.3\"", "wscast.toml:2:9: ", "has no port"),
            ("[streams.a]\ngroup = \"232.1.2.3:5\"", "wscast.toml:2:9: ", "add sources = "),
            ("[streams.a]\ngruop = \"239.1.2.3:5\"", "wscast.toml:2:1: ", "unknown field `gruop`"),
            ("[streams.a]\nsources = []", "wscast.toml:1:", "missing field `group`"),
            (
                "[streams.a]\ngroup = \"239.1.2.3:5\"\nsources = []",
                "wscast.toml:3:11: ",
                "no source is named",
            ),
            (
                "[streams.a]\ngroup = \"239.1.2.3:5\"\nsources = [\"::1\"]",
                "wscast.toml:3:11: ",
                "versions differ",
            ),
            (
                "[streams.a]\ngroup = \"239.1.2.3:5\"\nsources = [\"10.0.0.1\"]\nexclude = [\"10.0.0.2\"]",
                "wscast.toml:4:11: ",
                "leave exclude out",
            ),
            ("listen = [", "wscast.toml:1:", ""),
            ("hold = \"5ms\"\nhold = \"6ms\"", "wscast.toml:2:1: ", "duplicate key"),
        ] {
            let error = refusal(text);
            assert!(
                error.starts_with(start) && error.contains(words) && error.contains('^'),
                "{text}\n{error}"
            );
        }
    }

    #[test]
    fn limits_take_strings_and_integers() {
        let text = "[limits]\nconnections = 5\njoin-rate = \"7/s\"\nall = \"off\"\nlag-bytes = \"1MiB\"";
        let limits = read("f", text).expect("valid").limits;
        assert_eq!((limits.connections, limits.join_rate, limits.streams), (Some(5), Some(7), None));
        assert_eq!(limits.lag_bytes, 1 << 20);
    }

    proptest! {
        #[test]
        fn never_panics(text in "(\\[streams.[aä\t]\\]|[\n\"=ä\t ]|hold|group|'|239.1.2.3:5){0,12}") {
            let _ = read("f", &text).map_err(|error| error.to_string());
        }
    }
}
