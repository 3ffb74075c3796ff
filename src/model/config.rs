//! Everything that a gateway is told before it starts.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use super::config_file::{self, FileSettings};
use super::grant::Grant;
use super::group::Group;
use super::jwt::JwtRules;
use super::limits::{LimitError, LimitSetting, Limits};
use super::link::{LinkConfig, LinkError, MOST_LINKS};
use super::listener::{ListenAddress, Listener, ListenerParts};
use super::policy::{Policy, ReceiveRule, Spec};
use super::prefix::AddressPrefix;
use super::principal::Principals;
use super::selector::InterfaceSelector;
pub use super::setting::{IoUring, LogFormat, LogLevel};
use super::setting::{
    SettingError, check_hold, check_linger, check_max_ttl, check_receive_buffer, check_threads, parse_host,
    parse_origin,
};
use super::source::SourceFilter;
use super::status::NamedStreamStatus;
use super::tls::{TlsParts, TlsSettings, TlsSettingsError};
use super::transport::Transport;

/// A gateway's configuration, complete and checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where it listens, at least one; port 0 picks a free one. Default 127.0.0.1:8080.
    pub listen: Vec<Listener>,
    /// What listeners that do speak TLS with.
    pub tls: Option<TlsSettings>,
    /// Who may say for whom it connects: in a header of the PROXY protocol, or in `Forwarded` and `X-Forwarded-For`.
    pub trusted_proxies: Vec<AddressPrefix>,
    /// Where streams are joined and sent that don't say; `None` for what the routing table names.
    pub interface: Option<InterfaceSelector>,
    /// Which groups clients may receive and send to that show no token, where such are served.
    pub policy: Policy,
    /// Who may come in, and what each may do.
    pub principals: Principals,
    /// What is wanted of a JWT, where they are taken.
    pub jwt: Option<JwtRules>,
    /// Names that requests may have in `Host` besides our own addresses and `localhost`: lower case, without
    /// port.
    pub allow_host: Vec<String>,
    /// Origins that may come in besides our own, as browsers serialise them; `https://*.example.org` stands
    /// for one label.
    pub allow_origin: Vec<String>,
    /// No token is wanted, in so many words.
    pub no_auth: bool,
    /// How many shards, at most 64. Default 1.
    pub threads: NonZeroUsize,
    /// How long a datagram may be held so that several go in one write, at most 50 ms. `None`, the default, is
    /// adaptive: as long as the last write to all clients took, at most 5 ms.
    pub hold: Option<Duration>,
    /// Whether sends to many clients are batched through io_uring. Default: where the kernel allows it.
    pub io_uring: IoUring,
    /// What clients may take.
    pub limits: Limits,
    /// How log lines look.
    pub log_format: LogFormat,
    /// What is logged, where `RUST_LOG` does not say. Default: info.
    pub log_level: LogLevel,
    /// Bytes of receive buffer to ask for on each stream's socket, 4 KiB to 256 MiB. Default 4 MiB: the
    /// kernel's own default holds 92 datagrams of video.
    pub receive_buffer: usize,
    /// The largest TTL that clients may send with, 1..=255. Default 32.
    pub max_ttl: u8,
    /// How long a stream stays joined after its last subscriber, at most 60 s. Default 2 s: a page that is
    /// loaded again sends no leave and join to the switch.
    pub linger: Duration,
    /// A file that the page gets as `/player.js`: the player mpegts.js, where the operator has it.
    pub player: Option<PathBuf>,
    /// Path of the unix socket at which `wscast reload` asks, where there is one.
    pub control: Option<PathBuf>,
    /// Where to listen to announcements of sessions (SAP); empty, the default, for nowhere.
    pub announcements: Vec<InterfaceSelector>,
    /// Streams at `/streams/NAME`.
    pub streams: BTreeMap<String, NamedStream>,
    /// Links to other gateways, at most [`MOST_LINKS`].
    pub links: Vec<LinkConfig>,
    /// Whether other gateways may link to this one, within [`Config::policy`].
    pub accept_links: bool,
    /// Whether the gateway announces itself by mDNS.
    pub announce: bool,
}

/// A stream that the configuration names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedStream {
    /// The group.
    pub group: Group,
    /// Whom to hear; it fits the group.
    pub filter: SourceFilter,
    /// Where; `None` for the gateway's default.
    pub interface: Option<InterfaceSelector>,
    /// Whether RTP is taken off.
    pub transport: Transport,
}

/// What flags and environment say. An empty list and `None` leave what the file says; a list that is given
/// replaces the file's list; limits are set one by one on top of the file's.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overrides {
    /// [`Config::listen`].
    pub listen: Vec<ListenAddress>,
    /// What [`Config::tls`] is made of.
    pub tls: TlsParts,
    /// [`Config::trusted_proxies`].
    pub trusted_proxy: Vec<AddressPrefix>,
    /// [`Listener::proxy_protocol`] of those that don't say.
    pub proxy_protocol: Option<bool>,
    /// [`Config::interface`].
    pub interface: Option<InterfaceSelector>,
    /// What clients may receive.
    pub allow_receive: Vec<Spec>,
    /// What clients may send to.
    pub allow_send: Vec<Spec>,
    /// [`Config::allow_host`].
    pub allow_host: Vec<String>,
    /// [`Config::allow_origin`].
    pub allow_origin: Vec<String>,
    /// [`Config::no_auth`].
    pub no_auth: Option<bool>,
    /// [`Config::threads`].
    pub threads: Option<NonZeroUsize>,
    /// [`Config::hold`].
    pub hold: Option<Duration>,
    /// Changes to [`Config::limits`], in this order.
    pub limits: Vec<LimitSetting>,
    /// [`Config::io_uring`].
    pub io_uring: Option<IoUring>,
    /// [`Config::log_format`].
    pub log_format: Option<LogFormat>,
    /// [`Config::log_level`].
    pub log_level: Option<LogLevel>,
    /// [`Config::receive_buffer`], in bytes.
    pub receive_buffer: Option<usize>,
    /// [`Config::max_ttl`].
    pub max_ttl: Option<u8>,
    /// [`Config::announcements`].
    pub announcements: Vec<InterfaceSelector>,
    /// [`Config::linger`].
    pub linger: Option<Duration>,
    /// [`Config::player`].
    pub player: Option<PathBuf>,
    /// [`Config::accept_links`].
    pub accept_links: Option<bool>,
    /// [`Config::announce`].
    pub announce: Option<bool>,
    /// [`Config::control`].
    pub control: Option<PathBuf>,
}

/// A configuration that no gateway starts with.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// Something in the file.
    #[error("{file}:{line}:{column}: {message}\n{excerpt}")]
    InFile {
        /// The file's name as the caller gave it.
        file: String,
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
        /// What is wrong and how to write it.
        message: String,
        /// The line with carets under what is wrong.
        excerpt: String,
    },
    /// A value given by flag, environment or program.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// Limits that don't go together.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// TLS, or a proxy, that lacks something.
    #[error(transparent)]
    Tls(#[from] TlsSettingsError),
    /// Links that can't be.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// `listen = []`.
    #[error("no address to listen on: write listen = [\"127.0.0.1:8080\"], or leave it out")]
    NowhereToListen,
    /// Announced to others, who could not come in.
    #[error(
        "announcing a gateway that only this machine can connect to: add --listen 0.0.0.0:8080 (in a file: listen), or leave \
         announce out"
    )]
    NothingToAnnounce,
    /// Other machines could come in and nothing says that they may.
    #[error(
        "listening on {listen} lets other machines in, and nothing says what they may do: add {add}\n\
         (in a file: allow-receive and no-auth, or [principals.NAME] with tokens: docs/access.md), or listen on 127.0.0.1"
    )]
    Exposed {
        /// The address that is not loopback.
        listen: ListenAddress,
        /// The flags that are missing.
        add: &'static str,
    },
    /// What callers without a token may is said twice.
    #[error(
        "[principals.anonymous] says what callers without a token may do, and so do {0}: leave one of them out"
    )]
    AnonymousTwice(&'static str),
}

impl NamedStream {
    /// For the status, with the path of its URL.
    #[must_use]
    pub fn status(&self, name: &str) -> NamedStreamStatus {
        let texts = |addresses: &[IpAddr]| addresses.iter().map(ToString::to_string).collect();
        let (sources, exclude) = match &self.filter {
            SourceFilter::Any => (Vec::new(), Vec::new()),
            SourceFilter::Include(sources) => (texts(sources), Vec::new()),
            SourceFilter::Exclude(sources) => (Vec::new(), texts(sources)),
        };
        NamedStreamStatus {
            path: format!("/streams/{name}"),
            group: self.group.to_string(),
            transport: self.transport.name(),
            sources,
            exclude,
            interface: self.interface.as_ref().map(ToString::to_string),
        }
    }
}

impl Config {
    /// Puts the file (its name for errors, and its text) and the overrides together and checks the whole.
    ///
    /// Fails for what the file can't say, for values out of bounds, and for a listener that is not loopback
    /// where nothing says what may be received or nothing says that no token is wanted.
    pub fn build(file: Option<(&str, &str)>, overrides: Overrides) -> Result<Config, ConfigError> {
        let file = match file {
            Some((name, text)) => config_file::read(name, text)?,
            None => FileSettings::default(),
        };
        let mut limits = file.limits;
        for setting in &overrides.limits {
            limits.apply(setting);
        }
        limits.check()?;

        let default_listen = || vec![ListenerParts::at(SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)).into())];
        let listen = given(overrides.listen).map(|all| all.into_iter().map(ListenerParts::at).collect());
        let listen = listen.or(file.listen).unwrap_or_else(default_listen);
        let tls = overrides.tls.over(file.tls).settings()?;
        let trusted_proxies = given(overrides.trusted_proxy).or(file.trusted_proxy).unwrap_or_default();
        let proxied = overrides.proxy_protocol.or(file.proxy_protocol).unwrap_or(false);
        let listener = |parts: ListenerParts| parts.listener(tls.is_some(), proxied, &trusted_proxies);
        let listen = listen.into_iter().map(listener).collect::<Result<Vec<_>, _>>()?;
        let no_auth = overrides.no_auth.or(file.no_auth).unwrap_or(false);
        let receive = given(overrides.allow_receive).or(file.allow_receive);
        let send = given(overrides.allow_send).or(file.allow_send);
        if file.anonymous.is_some() && (receive.is_some() || send.is_some()) {
            return Err(ConfigError::AnonymousTwice("allow-receive and allow-send"));
        }
        let known = !file.principals.is_empty();
        // Where somebody is known by a token, others come in only where that is said.
        let said = known || file.anonymous.is_some();
        let announce = overrides.announce.or(file.announce).unwrap_or(false);
        if announce && !listen.iter().any(Listener::is_open) {
            return Err(ConfigError::NothingToAnnounce);
        }
        check_exposure(&listen, no_auth, said, receive.is_some() || !file.streams.is_empty())?;

        let outside = listen.iter().any(|listen| !listen.is_local());
        let receive = match receive {
            None if !outside && (no_auth || !known) => ReceiveRule::AnyButDenied,
            listed => ReceiveRule::listed(listed.unwrap_or_default()),
        };
        let mut policy = Policy::new(receive, send.unwrap_or_default());
        for stream in file.streams.values() {
            policy.name_group(stream.group);
            for fec in stream.transport.fec_groups(stream.group).into_iter().flatten() {
                policy.name_group(fec);
            }
        }
        let (anonymous, policy) = match file.anonymous {
            Some(grant) => (Some(grant.clone()), grant.policy),
            None => ((no_auth || !known).then(|| Grant::open(policy.clone())), policy),
        };

        let allow_host = given(overrides.allow_host).or(file.allow_host).unwrap_or_default();
        let allow_origin = given(overrides.allow_origin).or(file.allow_origin).unwrap_or_default();
        Ok(Config {
            listen,
            tls,
            trusted_proxies,
            interface: overrides.interface.or(file.interface),
            policy,
            principals: Principals::new(file.principals, anonymous),
            jwt: file.jwt,
            allow_host: allow_host.iter().map(|host| parse_host(host)).collect::<Result<_, _>>()?,
            allow_origin: allow_origin.iter().map(|origin| parse_origin(origin)).collect::<Result<_, _>>()?,
            no_auth,
            threads: check_threads(overrides.threads.or(file.threads).unwrap_or(NonZeroUsize::MIN))?,
            hold: overrides.hold.or(file.hold).map(check_hold).transpose()?,
            io_uring: overrides.io_uring.or(file.io_uring).unwrap_or_default(),
            limits,
            log_format: overrides.log_format.or(file.log_format).unwrap_or_default(),
            log_level: overrides.log_level.or(file.log_level).unwrap_or_default(),
            receive_buffer: check_receive_buffer(
                overrides.receive_buffer.or(file.receive_buffer).unwrap_or(4 << 20),
            )?,
            max_ttl: check_max_ttl(overrides.max_ttl.or(file.max_ttl).unwrap_or(32))?,
            announcements: given(overrides.announcements).or(file.announcements).unwrap_or_default(),
            linger: check_linger(overrides.linger.or(file.linger).unwrap_or(Duration::from_secs(2)))?,
            player: overrides.player.or(file.player),
            control: overrides.control.or(file.control),
            streams: file.streams,
            links: check_links(file.links)?,
            accept_links: overrides.accept_links.or(file.accept_links).unwrap_or(false),
            announce,
        })
    }

    /// The control socket that a file names, however incomplete the file is without flags.
    ///
    /// # Errors
    /// [`ConfigError::InFile`].
    pub fn control_in(name: &str, text: &str) -> Result<Option<PathBuf>, ConfigError> {
        Ok(config_file::read(name, text)?.control)
    }

    /// The named streams for the status, by name.
    #[must_use]
    pub fn named_streams(&self) -> BTreeMap<String, NamedStreamStatus> {
        self.streams.iter().map(|(name, stream)| (name.clone(), stream.status(name))).collect()
    }
}

fn check_links(links: Vec<LinkConfig>) -> Result<Vec<LinkConfig>, ConfigError> {
    if links.len() > MOST_LINKS {
        return Err(LinkError::Links(links.len()).into());
    }
    Ok(links)
}

/// A list of flags, where any was given.
fn given<T>(list: Vec<T>) -> Option<Vec<T>> {
    Some(list).filter(|list| !list.is_empty())
}

/// `said`: a section says who may come in, and thereby what they may.
fn check_exposure(
    listen: &[Listener],
    no_auth: bool,
    said: bool,
    receive_given: bool,
) -> Result<(), ConfigError> {
    if listen.is_empty() {
        return Err(ConfigError::NowhereToListen);
    }
    let Some(listen) = listen.iter().find(|listen| !listen.is_local()) else { return Ok(()) };
    let add = match (receive_given, no_auth) {
        (true, true) => return Ok(()),
        (_, false) if said => return Ok(()),
        (false, false) => "--allow-receive 239.0.0.0/8 --no-auth",
        (false, true) => "--allow-receive 239.0.0.0/8",
        (true, false) => "--no-auth",
    };
    Err(ConfigError::Exposed { listen: listen.at.clone(), add })
}

#[cfg(test)]
mod tests;
