//! Who may ask at all: Host, then Origin, on every request.
//!
//! "Origin equals Host" alone is no defence: under DNS rebinding both carry the attacker's name. So the Host is on an
//! allow list first.

use std::net::{IpAddr, SocketAddr};

use hyper::Request;
use hyper::header::{HOST, HeaderMap, HeaderValue, ORIGIN};

use crate::web::refusal::Refusal;

/// What is said to whom calls us by a name that is not ours.
const FOREIGN_HOST: &str = "this Host is not one of ours (--allow-host)";

/// What the configuration allows besides our own addresses.
#[derive(Clone, Debug, Default)]
pub struct Gate {
    /// Host names, lower case, with or without a port.
    pub hosts: Vec<String>,
    /// Origins: whole, or `https://*.example.org`.
    pub origins: Vec<String>,
}

/// A caller that passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The page's origin, where a browser told it.
    pub origin: Option<HeaderValue>,
    /// The name that it called us by, in lower case.
    pub host: String,
    /// How it came: `http` or `https`.
    pub scheme: &'static str,
}

impl Gate {
    /// Checks a request that came to our address `local` by `scheme`, `http` or `https`.
    ///
    /// # Errors
    /// 400 without exactly one Host, 403 for a Host or Origin that is not allowed.
    pub fn check<B>(
        &self,
        request: &Request<B>,
        local: SocketAddr,
        scheme: &'static str,
    ) -> Result<Caller, Refusal> {
        let headers = request.headers();
        let host = self.check_host(request, local)?;
        let Some(origin) =
            only(headers, &ORIGIN).map_err(|()| Refusal::not_allowed("the Origin header stands twice"))?
        else {
            return Ok(Caller { origin: None, host, scheme });
        };
        self.check_origin(origin, scheme, &host)?;
        Ok(Caller { origin: Some(origin.clone()), host, scheme })
    }

    /// Checks somebody who passed once, under what holds now.
    ///
    /// # Errors
    /// 403.
    pub fn check_again(&self, caller: &Caller, local: SocketAddr) -> Result<(), Refusal> {
        if !self.allows_host(&caller.host, local.ip()) {
            return Err(Refusal::not_allowed(FOREIGN_HOST));
        }
        caller.origin.as_ref().map_or(Ok(()), |origin| self.check_origin(origin, caller.scheme, &caller.host))
    }

    fn check_origin(&self, origin: &HeaderValue, scheme: &str, host: &str) -> Result<(), Refusal> {
        if self.allows_origin(origin.to_str().unwrap_or(""), scheme, host) {
            Ok(())
        } else {
            Err(Refusal::not_allowed("this Origin is not allowed (--allow-origin)"))
        }
    }

    /// Checks the Host alone, in lower case: for what every page may load.
    ///
    /// # Errors
    /// 400 without exactly one Host, 403 for one that is not allowed.
    pub fn check_host<B>(&self, request: &Request<B>, local: SocketAddr) -> Result<String, Refusal> {
        let headers = request.headers();
        let host = only(headers, &HOST)
            .map_err(|()| Refusal::malformed("the Host header stands twice"))?
            .ok_or_else(|| Refusal::malformed("the Host header is missing"))?;
        let host = host
            .to_str()
            .map_err(|_| Refusal::malformed("the Host header is not text"))?
            .to_ascii_lowercase();
        if let Some(authority) = request.uri().authority()
            && authority.as_str().to_ascii_lowercase() != host
        {
            return Err(Refusal::malformed("the Host header and the request's address differ"));
        }
        if !self.allows_host(&host, local.ip()) {
            return Err(Refusal::not_allowed(FOREIGN_HOST));
        }
        Ok(host)
    }

    fn allows_host(&self, host: &str, local: IpAddr) -> bool {
        let name = without_port(host);
        let literal = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok();
        let local = local.to_canonical();
        match literal {
            // An address can't be rebound: it is ours or it isn't.
            Some(address) if address.to_canonical() == local => return true,
            Some(address) if address.is_loopback() && local.is_loopback() => return true,
            Some(_) => {}
            None if name == "localhost" && local.is_loopback() => return true,
            None => {}
        }
        self.hosts.iter().any(|allowed| allowed == host || allowed == name)
    }

    fn allows_origin(&self, origin: &str, scheme: &str, host: &str) -> bool {
        // Browsers leave out the port where it is the scheme's own.
        let default = if scheme == "https" { ":443" } else { ":80" };
        let own = host.strip_suffix(default).unwrap_or(host);
        if origin
            .strip_prefix(scheme)
            .and_then(|rest| rest.strip_prefix("://"))
            .is_some_and(|rest| rest == own)
        {
            return true;
        }
        self.origins.iter().any(|allowed| {
            allowed == origin
                || allowed.split_once("://*.").is_some_and(|(scheme, domain)| {
                    origin
                        .strip_prefix(scheme)
                        .and_then(|rest| rest.strip_prefix("://"))
                        .and_then(|rest| rest.split_once('.'))
                        .is_some_and(|(label, rest)| !label.is_empty() && rest == domain)
                })
        })
    }
}

/// Whether a request without Origin says that another site's page caused it, with an image tag for instance.
#[must_use]
pub fn is_cross_site(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    !headers.contains_key(ORIGIN) && matches!(site, Some(b"cross-site" | b"same-site"))
}

/// The header's only value; an error when it stands more than once.
fn only<'a>(headers: &'a HeaderMap, name: &hyper::header::HeaderName) -> Result<Option<&'a HeaderValue>, ()> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        (_, Some(_)) => Err(()),
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port))
            if port.bytes().all(|byte| byte.is_ascii_digit())
                && (!name.contains(':') || name.ends_with(']')) =>
        {
            name
        }
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate() -> Gate {
        Gate {
            hosts: vec!["tv.example.org".to_owned()],
            origins: vec![
                "https://app.example.org".to_owned(),
                "https://*.example.net".to_owned(),
                "null".to_owned(),
            ],
        }
    }

    fn check(local: &str, headers: &[(&str, &str)]) -> Option<u16> {
        let mut request = Request::get("/");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(()).unwrap();
        gate().check(&request, local.parse().unwrap(), "http").err().map(|refusal| refusal.status().as_u16())
    }

    #[test]
    fn hosts_are_our_addresses_and_the_names_allowed() {
        let local = "127.0.0.1:8080";
        for host in [
            "127.0.0.1:8080",
            "localhost",
            "LOCALHOST:8080",
            "[::1]:8080",
            "tv.example.org",
            "tv.example.org:80",
        ] {
            assert_eq!(check(local, &[("host", host)]), None, "{host}");
        }
        for host in ["evil.example", "10.0.0.1", "localhost.evil.example", "tv.example.org.evil", ""] {
            assert_eq!(check(local, &[("host", host)]), Some(403), "{host}");
        }
        assert_eq!(check("10.9.0.1:8080", &[("host", "10.9.0.1:8080")]), None);
        assert_eq!(check("10.9.0.1:8080", &[("host", "localhost")]), Some(403));
        assert_eq!(check("[fd09::1]:8080", &[("host", "[fd09::1]:8080")]), None);
        assert_eq!(check(local, &[]), Some(400));
        assert_eq!(check(local, &[("host", "localhost"), ("host", "localhost")]), Some(400));
    }

    #[test]
    fn origins_are_compared_whole() {
        let host = ("host", "localhost:8080");
        for origin in ["http://localhost:8080", "https://app.example.org", "https://a.example.net", "null"] {
            assert_eq!(check("127.0.0.1:8080", &[host, ("origin", origin)]), None, "{origin}");
        }
        for origin in [
            "http://evil.example",
            "file://",
            "https://localhost:8080",
            "http://localhost",
            "https://app.example.org.evil",
            "https://a.b.example.net",
            "https://.example.net",
            "http://a.example.net",
        ] {
            assert_eq!(check("127.0.0.1:8080", &[host, ("origin", origin)]), Some(403), "{origin}");
        }
    }

    #[test]
    fn our_own_origin_has_the_scheme_that_was_come_by() {
        let check = |scheme: &'static str, host: &str, origin: &str| {
            let request = Request::get("/").header("host", host).header("origin", origin).body(()).unwrap();
            gate().check(&request, "127.0.0.1:8443".parse().unwrap(), scheme).is_ok()
        };
        assert!(check("https", "localhost:8443", "https://localhost:8443"));
        assert!(check("https", "localhost:443", "https://localhost"));
        assert!(!check("https", "localhost:8443", "http://localhost:8443"));
        assert!(!check("http", "localhost:8443", "https://localhost:8443"));
        assert!(!check("https", "localhost:80", "https://localhost"));
    }

    #[test]
    fn rebinding_fails_at_the_host() {
        let headers = [("host", "evil.example:8080"), ("origin", "http://evil.example:8080")];
        assert_eq!(check("127.0.0.1:8080", &headers), Some(403));
    }
}
