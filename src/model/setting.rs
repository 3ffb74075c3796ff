//! Single settings and their bounds, the same for flags, environment and configuration file.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;

use super::quantity::{format_duration, format_size, parse_duration, parse_size};
use super::request::LONGEST_LATENCY;
use super::text::{is_digits, quote};

/// How many shards there may be.
pub const THREADS: RangeInclusive<usize> = 1..=64;

/// How many bytes of receive buffer may be asked for.
pub const RECEIVE_BUFFER: RangeInclusive<usize> = 4 << 10..=256 << 20;

/// How long a stream without subscribers may stay joined, at most.
pub const LONGEST_LINGER: Duration = Duration::from_secs(60);

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// What is logged: this and everything graver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogLevel {
    /// What failed.
    Error,
    /// What an operator may want to mend.
    Warn,
    /// Starts, ends, sessions, interfaces.
    #[default]
    Info,
    /// Refusals besides.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    /// As it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            LogLevel::Error => "error",
            LogLevel::Warn => "warn",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
            LogLevel::Trace => "trace",
        }
    }
}

/// Whether sends to many clients are batched through io_uring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IoUring {
    /// Where the kernel allows it.
    #[default]
    Auto,
    /// Yes, or there is no start.
    On,
    /// No.
    Off,
}

/// A value that a setting can't have.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{setting} {} is not possible: {fix}", quote(.value))]
pub struct SettingError {
    /// The setting's name, as the flag and the key in the file have it.
    setting: &'static str,
    /// The value given.
    value: String,
    /// What can be written.
    fix: String,
}

impl SettingError {
    fn new(setting: &'static str, value: impl Into<String>, fix: impl Into<String>) -> SettingError {
        SettingError { setting, value: value.into(), fix: fix.into() }
    }
}

impl FromStr for IoUring {
    type Err = SettingError;

    fn from_str(text: &str) -> Result<IoUring, SettingError> {
        match text {
            "auto" => Ok(IoUring::Auto),
            "on" => Ok(IoUring::On),
            "off" => Ok(IoUring::Off),
            _ => Err(SettingError::new("io-uring", text, "write auto, on or off")),
        }
    }
}

impl FromStr for LogFormat {
    type Err = SettingError;

    fn from_str(text: &str) -> Result<LogFormat, SettingError> {
        match text {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            _ => Err(SettingError::new("log-format", text, "write text or json")),
        }
    }
}

impl FromStr for LogLevel {
    type Err = SettingError;

    fn from_str(text: &str) -> Result<LogLevel, SettingError> {
        [LogLevel::Error, LogLevel::Warn, LogLevel::Info, LogLevel::Debug, LogLevel::Trace]
            .into_iter()
            .find(|level| level.name() == text)
            .ok_or_else(|| SettingError::new("log-level", text, "write error, warn, info, debug or trace"))
    }
}

/// An address and port to listen on; port 0 picks a free one.
pub fn parse_listen(text: &str) -> Result<SocketAddr, SettingError> {
    text.parse().map_err(|_| SettingError::new("listen", text, "write ADDR:PORT, as 127.0.0.1:8080"))
}

/// The number of shards, within [`THREADS`].
pub fn parse_threads(text: &str) -> Result<NonZeroUsize, SettingError> {
    let threads = Some(text).filter(|text| is_digits(text)).and_then(|text| text.parse().ok());
    let refused = || SettingError::new("threads", text, "write 1 to 64");
    check_threads(threads.ok_or_else(refused)?)
}

/// Checks a number of shards against [`THREADS`].
pub fn check_threads(threads: NonZeroUsize) -> Result<NonZeroUsize, SettingError> {
    let fits = THREADS.contains(&threads.get());
    fits.then_some(threads).ok_or_else(|| SettingError::new("threads", threads.to_string(), "write 1 to 64"))
}

/// How long a datagram may be held so that several go in one write, at most [`LONGEST_LATENCY`].
pub fn parse_hold(text: &str) -> Result<Duration, SettingError> {
    parse_duration(text)
        .map_err(|_| SettingError::new("hold", text, "write 0 to 50ms, as 5ms"))
        .and_then(check_hold)
}

/// Checks a hold against [`LONGEST_LATENCY`].
pub fn check_hold(hold: Duration) -> Result<Duration, SettingError> {
    let refused = || SettingError::new("hold", format_duration(hold), "write 0 to 50ms, as 5ms");
    (hold <= LONGEST_LATENCY).then_some(hold).ok_or_else(refused)
}

/// How long a stream stays joined after its last subscriber, at most [`LONGEST_LINGER`].
pub fn parse_linger(text: &str) -> Result<Duration, SettingError> {
    parse_duration(text)
        .map_err(|_| SettingError::new("linger", text, "write 0 to 60s, as 2s"))
        .and_then(check_linger)
}

/// Checks a linger against [`LONGEST_LINGER`].
pub fn check_linger(linger: Duration) -> Result<Duration, SettingError> {
    let refused = || SettingError::new("linger", format_duration(linger), "write 0 to 60s, as 2s");
    (linger <= LONGEST_LINGER).then_some(linger).ok_or_else(refused)
}

/// A receive buffer in bytes, within [`RECEIVE_BUFFER`].
pub fn parse_receive_buffer(text: &str) -> Result<usize, SettingError> {
    parse_size(text)
        .map_err(|_| SettingError::new("receive-buffer", text, "write 4KiB to 256MiB, as 4MiB"))
        .and_then(check_receive_buffer)
}

/// Checks a receive buffer against [`RECEIVE_BUFFER`].
pub fn check_receive_buffer(bytes: usize) -> Result<usize, SettingError> {
    let refused = || SettingError::new("receive-buffer", format_size(bytes), "write 4KiB to 256MiB, as 4MiB");
    RECEIVE_BUFFER.contains(&bytes).then_some(bytes).ok_or_else(refused)
}

/// The largest TTL that a client may ask for, 1..=255.
pub fn parse_max_ttl(text: &str) -> Result<u8, SettingError> {
    let ttl = Some(text).filter(|text| is_digits(text)).and_then(|text| text.parse().ok());
    check_max_ttl(ttl.ok_or_else(|| SettingError::new("max-ttl", text, "write 1 to 255"))?)
}

/// Checks that a TTL is not 0, which can leak out of the host.
pub fn check_max_ttl(ttl: u8) -> Result<u8, SettingError> {
    if ttl == 0 { Err(SettingError::new("max-ttl", "0", "write 1 to 255")) } else { Ok(ttl) }
}

/// A host that requests may name, in lower case: a DNS name or an IP address, without port; IPv6 gets its
/// brackets, as in the `Host` header (RFC 9110 section 7.2).
pub fn parse_host(text: &str) -> Result<String, SettingError> {
    let refused = |fix: &str| SettingError::new("allow-host", text, fix);
    let inner = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    if let Ok(six) = inner.unwrap_or(text).parse::<Ipv6Addr>() {
        return Ok(format!("[{six}]"));
    }
    if text.contains("://") {
        return Err(refused("write the name alone, as gateway.example.org"));
    }
    if text.contains(':') {
        return Err(refused("write the name without a port; it holds for every port"));
    }
    if text.contains('*') {
        return Err(refused("wildcards are not taken; write each name"));
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if !(1..=253).contains(&text.len()) || !text.bytes().all(allowed) {
        return Err(refused("write a DNS name (international ones as xn--) or an IP address"));
    }
    Ok(text.to_ascii_lowercase())
}

/// An origin as browsers serialise it (RFC 6454 section 6.2), compared byte by byte later.
///
/// Takes `scheme://host[:port]` in lower case without a default port, `https://*.example.org` (one whole
/// label on the left), `null`, `file://` and extensions' origins.
pub fn parse_origin(text: &str) -> Result<String, SettingError> {
    let refused = |fix: &str| SettingError::new("allow-origin", text, fix);
    if text == "null" || text == "file://" {
        return Ok(text.to_owned());
    }
    if text == "*" {
        return Err(refused("any page in the world could come in; name the origins, as https://example.org"));
    }
    let (scheme, rest) = text
        .split_once("://")
        .ok_or_else(|| refused("write scheme://host[:port], as https://example.org, or null"))?;
    let lower = text.to_ascii_lowercase();
    if lower != text {
        return Err(refused(&format!("browsers send lower case; write {lower}")));
    }
    if let Some((host, _)) = rest.split_once(['/', '?', '#']) {
        return Err(refused(&format!("an origin has no path; write {scheme}://{host}")));
    }
    if scheme == "ws" || scheme == "wss" {
        return Err(refused(&format!(
            "an origin is the page's; write {}://{rest}",
            scheme.replace("ws", "http")
        )));
    }
    let scheme_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    if !scheme.starts_with(|first: char| first.is_ascii_lowercase()) || !scheme.bytes().all(scheme_allowed) {
        return Err(refused("the scheme is not one; write https:// or http://"));
    }
    let (host, port) = split_authority(rest);
    if let Some(port) = port {
        let number = Some(port).filter(|port| is_digits(port) && !port.starts_with('0'));
        let number = number.and_then(|port| port.parse::<u16>().ok());
        if number.is_none() {
            return Err(refused("the port is 1 to 65535"));
        }
        if matches!((scheme, number), ("https", Some(443)) | ("http", Some(80))) {
            return Err(refused(&format!("browsers leave the default port out; write {scheme}://{host}")));
        }
    }
    if !is_origin_host(host) {
        return Err(refused("the host is a name, an address, or *.name with one label for the *"));
    }
    Ok(text.to_owned())
}

/// The host, IPv6 with its brackets, and the port where there is a colon for one.
fn split_authority(text: &str) -> (&str, Option<&str>) {
    let after_host = text.find(']').map_or(0, |bracket| bracket + 1);
    match text[after_host..].find(':') {
        Some(colon) => (&text[..after_host + colon], Some(&text[after_host + colon + 1..])),
        None => (text, None),
    }
}

/// True for a name, an IPv4 address, an IPv6 address in its canonical form, and `*.` before a name.
fn is_origin_host(host: &str) -> bool {
    if let Some(inner) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return inner.parse::<Ipv6Addr>().is_ok_and(|six| six.to_string() == inner);
    }
    let name = host.strip_prefix("*.").unwrap_or(host);
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    let is_name = name.split('.').all(|label| !label.is_empty() && label.bytes().all(allowed));
    let wildcard_address = name.len() != host.len() && name.parse::<IpAddr>().is_ok();
    is_name && name.len() <= 253 && !wildcard_address
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_have_bounds() {
        assert_eq!(parse_threads("64").map(NonZeroUsize::get), Ok(64));
        assert_eq!(parse_hold("50ms"), Ok(Duration::from_millis(50)));
        assert_eq!(parse_linger("60s"), Ok(Duration::from_secs(60)));
        assert_eq!(parse_receive_buffer("256MiB"), Ok(256 << 20));
        assert_eq!(parse_max_ttl("255"), Ok(255));
        assert_eq!("json".parse(), Ok(LogFormat::Json));
        assert_eq!("warn".parse(), Ok(LogLevel::Warn));
        for error in [
            parse_threads("0").expect_err("refused"),
            parse_threads("65").expect_err("refused"),
            parse_hold("51ms").expect_err("refused"),
            parse_hold("5").expect_err("refused"),
            parse_linger("61s").expect_err("refused"),
            parse_receive_buffer("4095").expect_err("refused"),
            parse_max_ttl("0").expect_err("refused"),
            parse_max_ttl("256").expect_err("refused"),
            parse_listen("localhost:80").map(|_| ()).expect_err("refused"),
            "xml".parse::<LogFormat>().expect_err("refused"),
            "loud".parse::<LogLevel>().expect_err("refused"),
        ] {
            assert!(error.to_string().contains(" is not possible: write "), "{error}");
        }
    }

    #[test]
    fn hosts_are_names_without_port() {
        for (text, host) in [
            ("Gateway.Example.ORG", "gateway.example.org"),
            ("10.0.0.1", "10.0.0.1"),
            ("::1", "[::1]"),
            ("[2001:DB8::0:1]", "[2001:db8::1]"),
        ] {
            assert_eq!(parse_host(text).as_deref(), Ok(host));
        }
        for bad in ["", "a:80", "http://a", "*.a", "a b", "ä", "[a]", "a/b"] {
            assert!(parse_host(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn origins_are_as_browsers_send_them() {
        for good in [
            "https://example.org",
            "http://10.0.0.1:8080",
            "http://[::1]:8080",
            "http://[2001:db8::1]",
            "https://*.example.org",
            "https://*.example.org:8443",
            "null",
            "file://",
            "chrome-extension://abcdefghijklmnop",
            "moz-extension://0f4b2a10-1111-2222-3333-444455556666",
        ] {
            assert_eq!(parse_origin(good).as_deref(), Ok(good));
        }
        for (bad, words) in [
            ("*", "any page in the world"),
            ("example.org", "write scheme://"),
            ("HTTPS://Example.org", "write https://example.org"),
            ("https://example.org/", "no path; write https://example.org"),
            ("https://example.org:443", "leave the default port out; write https://example.org"),
            ("https://example.org:0", "the port is"),
            ("https://example.org:", "the port is"),
            ("wss://example.org", "write https://example.org"),
            ("https://", "the host is"),
            ("https://a*.example.org", "the host is"),
            ("https://*.*.org", "the host is"),
            ("https://*", "the host is"),
            ("https://*.10.0.0.1", "the host is"),
            ("https://[::0:1]", "the host is"),
            ("https://user@example.org", "the host is"),
            ("://example.org", "the scheme is not one"),
        ] {
            let error = parse_origin(bad).expect_err(bad).to_string();
            assert!(error.contains(words), "{bad}: {error}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in "[a-z:/\\[\\]*.0-9]{0,20}|.*") {
            let _ = (parse_origin(&text), parse_host(&text), parse_threads(&text), parse_max_ttl(&text));
        }
    }
}
