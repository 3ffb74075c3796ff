//! What a gateway says to the questions that its clients would ask.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::cli::TrustArgs;
use crate::client::{Protected, Trust};
use crate::model::source::SourceFilter;
use crate::model::token::Token;
use crate::tools::failure::Failure;
use crate::tools::lan_tap::LanTarget;
use crate::tools::trust::{token, trust as tools_trust};

/// Where the gateway is, and as whom it is asked.
#[derive(Clone, Debug)]
pub struct GatewayAddress {
    url: String,
    /// With TLS, and whom it trusts.
    trust: Option<Trust>,
    /// `HOST:PORT`, as it goes into `Host`.
    authority: String,
    /// The same for connecting, with its port.
    dial: String,
    origin: Option<String>,
    token: Option<Token>,
}

/// What was found at a gateway's address.
#[derive(Clone, Debug, Default)]
pub struct GatewayFacts {
    /// The address as it was given.
    pub url: String,
    /// How far it got.
    pub reached: Reached,
    /// The answer to `/healthz`, which asks for nothing but the right Host.
    pub health: Option<Answer>,
    /// The answer to `/readyz`.
    pub ready: Option<Answer>,
    /// The answer to a stream's `HEAD`, for each group asked about.
    pub streams: Vec<(String, Answer)>,
    /// The answer to a question with the page's Origin, where one was given.
    pub origin: Option<(String, Answer)>,
    /// The status, or why it is not told.
    pub status: Option<Result<Value, Answer>>,
}

/// How far a connection got.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Reached {
    /// It was not tried.
    #[default]
    Untried,
    /// Not even TCP.
    Nobody(String),
    /// TCP, and no TLS.
    NoTls(String),
    /// Something that speaks no HTTP.
    NoHttp(String),
    /// It answers.
    Answers,
}

/// An HTTP answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Status code.
    pub code: u16,
    /// The first line of the body, where one came: the reason of a refusal.
    pub reason: String,
    body: Vec<u8>,
}

/// Connecting and each answer take this long at most.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of an answer that are read: a status with all its streams and sessions.
const LONGEST_ANSWER: usize = 16 << 20;
/// Characters of a reason that are shown.
const SHOWN: usize = 200;

impl GatewayAddress {
    /// Reads `http://HOST:PORT` or `ws://HOST:PORT` (`https`, `wss` with TLS), with or without a path.
    ///
    /// # Errors
    /// [`Failure::Usage`] with what to write instead.
    pub fn parse(url: &str, origin: Option<&str>, trust: &TrustArgs) -> Result<GatewayAddress, Failure> {
        let usage = || {
            Failure::Usage(format!(
                "asking the gateway at {url}: write http://HOST:PORT or https://HOST:PORT"
            ))
        };
        let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
        let secure = match scheme {
            "http" | "ws" => false,
            "https" | "wss" => true,
            _ => return Err(usage()),
        };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or("");
        let plain = authority.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'@');
        let host = authority.rsplit_once(']').map_or(authority, |(_, port)| port);
        if authority.is_empty() || !plain || (authority.starts_with('[') && !authority.contains(']')) {
            return Err(usage());
        }
        let dial = match host.rsplit_once(':') {
            Some((_, port)) if port.parse::<u16>().is_ok() => authority.to_owned(),
            Some(_) => return Err(usage()),
            None => format!("{authority}:{}", if secure { 443 } else { 80 }),
        };
        let printable = |text: &&str| text.bytes().all(|byte| byte.is_ascii_graphic());
        if !origin.iter().all(printable) {
            return Err(Failure::Usage(
                "asking the gateway: an origin has no spaces and no control characters".to_owned(),
            ));
        }
        let scheme = if secure { "wss" } else { "ws" };
        let address = format!("{scheme}://{authority}");
        let (trust, token) = (tools_trust(&address, trust)?, token(&address, trust)?);
        Ok(GatewayAddress {
            url: url.to_owned(),
            trust,
            authority: authority.to_owned(),
            dial,
            origin: origin.map(str::to_owned),
            token,
        })
    }

    /// Asks everything, inside a tokio runtime. Joins nothing there.
    pub async fn ask(&self, targets: &[LanTarget]) -> GatewayFacts {
        let mut facts = GatewayFacts { url: self.url.clone(), ..GatewayFacts::default() };
        match self.request("GET", "/healthz", None).await {
            Ok(answer) => {
                facts.reached = Reached::Answers;
                facts.health = Some(answer);
            }
            Err(reached) => {
                facts.reached = reached;
                return facts;
            }
        }
        facts.ready = self.request("GET", "/readyz", None).await.ok();
        for target in targets {
            let path = path(target);
            if let Ok(answer) = self.request("HEAD", &path, None).await {
                // A HEAD has no body, and thus no reason.
                let answer = match answer.code {
                    400.. => self.request("GET", &path, None).await.unwrap_or(answer),
                    _ => answer,
                };
                facts.streams.push((target.group.to_string(), answer));
            }
        }
        if let Some(origin) = &self.origin
            && let Ok(answer) = self.request("GET", "/api/v1/status", Some(origin)).await
        {
            facts.origin = Some((origin.clone(), answer));
        }
        if let Ok(answer) = self.request("GET", "/api/v1/status", None).await {
            facts.status = Some(match serde_json::from_slice(&answer.body) {
                Ok(status) if answer.code == 200 => Ok(status),
                _ => Err(answer),
            });
        }
        facts
    }

    async fn request(&self, method: &str, path: &str, origin: Option<&str>) -> Result<Answer, Reached> {
        let mut request =
            format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.authority);
        if let Some(origin) = origin {
            let _ = write!(request, "Origin: {origin}\r\n");
        }
        if let Some(token) = &self.token {
            let _ = write!(request, "Authorization: Bearer {}\r\n", token.0);
        }
        request.push_str("\r\n");
        let mut stream = self.connect().await?;
        let exchange = async {
            stream.write_all(request.as_bytes()).await?;
            let mut answer = Vec::new();
            (&mut stream).take(LONGEST_ANSWER as u64).read_to_end(&mut answer).await.map(|_| answer)
        };
        let late = || Reached::NoHttp(format!("no answer within {PATIENCE:?}"));
        let bytes = tokio::time::timeout(PATIENCE, exchange).await.map_err(|_| late())?;
        let bytes = bytes.map_err(|error| Reached::NoHttp(error.to_string()))?;
        Answer::read(&bytes).ok_or_else(|| {
            let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(40)]).into_owned();
            Reached::NoHttp(format!("it answers {shown:?}"))
        })
    }

    async fn connect(&self) -> Result<Box<dyn Protected>, Reached> {
        let connecting = tokio::time::timeout(PATIENCE, TcpStream::connect(&self.dial)).await;
        let stream = match connecting {
            Ok(stream) => {
                stream.map_err(|error| Reached::Nobody(format!("connecting to {}: {error}", self.dial)))?
            }
            Err(_) => {
                return Err(Reached::Nobody(format!(
                    "connecting to {}: no answer within {PATIENCE:?}",
                    self.dial
                )));
            }
        };
        let Some(trust) = &self.trust else { return Ok(Box::new(stream)) };
        let host = self.dial.rsplit_once(':').map_or(self.dial.as_str(), |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        match tokio::time::timeout(PATIENCE, trust.protect(stream, host)).await {
            Ok(stream) => stream.map_err(|error| Reached::NoTls(format!("TLS with {host}: {error}"))),
            Err(_) => Err(Reached::NoTls(format!("TLS with {host}: no answer within {PATIENCE:?}"))),
        }
    }
}

impl Answer {
    fn read(bytes: &[u8]) -> Option<Answer> {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
        let head = std::str::from_utf8(&bytes[..end]).ok()?;
        let code = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
        let body = bytes[end + 4..].to_vec();
        let text = String::from_utf8_lossy(&body[..body.len().min(4 * SHOWN)]).into_owned();
        let reason: String = text.lines().next().unwrap_or("").chars().take(SHOWN).collect();
        Some(Answer { code, reason: reason.escape_debug().to_string(), body })
    }
}

/// The path of a stream.
fn path(target: &LanTarget) -> String {
    let group = target.group;
    let listed = |sources: &[std::net::IpAddr]| {
        let texts = sources.iter().map(|source| match source {
            std::net::IpAddr::V4(four) => four.to_string(),
            std::net::IpAddr::V6(six) => format!("[{six}]"),
        });
        texts.collect::<Vec<_>>().join(",")
    };
    match &target.filter {
        SourceFilter::Any => format!("/udp/{group}"),
        SourceFilter::Include(sources) => format!("/udp/{}@{group}", listed(sources)),
        SourceFilter::Exclude(sources) => format!("/udp/{group}?exclude={}", listed(sources)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str, origin: Option<&str>) -> Result<GatewayAddress, Failure> {
        GatewayAddress::parse(url, origin, &TrustArgs::default())
    }

    #[test]
    fn addresses_are_read_with_and_without_port() {
        for (url, dial, secure) in [
            ("http://gateway.lan", "gateway.lan:80", false),
            ("ws://[::1]:8080/v1", "[::1]:8080", false),
            ("wss://gateway.lan/udp/239.1.2.3:5", "gateway.lan:443", true),
            ("https://[2001:db8::1]", "[2001:db8::1]:443", true),
            ("127.0.0.1:8080", "127.0.0.1:8080", false),
        ] {
            let address = parse(url, None);
            if secure && address.is_err() {
                // Built without TLS, or on a machine without authorities.
                continue;
            }
            let address = address.expect(url);
            assert_eq!((address.dial.as_str(), address.trust.is_some()), (dial, secure), "{url}");
        }
        for url in ["ftp://a", "http://", "http://a:b", "http://a b", "http://u@a", "http://[::1"] {
            assert!(parse(url, None).is_err(), "{url}");
        }
        assert!(parse("http://a", Some("https://a\r\nX: y")).is_err());
    }

    #[test]
    fn an_answer_has_a_code_and_a_reason() {
        let answer =
            Answer::read(b"HTTP/1.1 403 Forbidden\r\nA: b\r\n\r\nnot_allowed: this Host\nmore").expect("one");
        assert_eq!((answer.code, answer.reason.as_str()), (403, "not_allowed: this Host"));
        assert_eq!(Answer::read(b"SSH-2.0-x\r\n\r\n"), None);
    }
}
