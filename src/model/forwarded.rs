//! What trusted proxies say of a request in `X-Forwarded-For` and `Forwarded` (RFC 7239): who asks, and how.
//!
//! Every proxy appends the address that it was asked from, so what stands on the right was written by our own proxies,
//! and what stands left of the first address that is no trusted proxy's was written by anybody.

use std::net::{IpAddr, SocketAddr};

use thiserror::Error;

use super::prefix::AddressPrefix;

/// Hops that are looked at; whoever stands behind more is the last of them.
const HOPS: usize = 32;

/// What the headers say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forwarded {
    /// Who asked the outermost trusted proxy; `None` where that isn't said.
    pub client: Option<IpAddr>,
    /// Whether the client spoke TLS; `None` where that isn't said.
    pub secure: Option<bool>,
}

/// Headers that contradict each other: one of them was written by the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "Forwarded and X-Forwarded-For name different clients: let the proxy remove the one that it does not write"
)]
pub struct Contradiction;

/// Reads the values of `X-Forwarded-For`, `X-Forwarded-Proto` and `Forwarded`, each in the order in which they stand.
///
/// # Errors
/// [`Contradiction`].
pub fn read<'a>(
    forwarded_for: impl DoubleEndedIterator<Item = &'a str>,
    forwarded_proto: impl DoubleEndedIterator<Item = &'a str>,
    forwarded: impl DoubleEndedIterator<Item = &'a str>,
    trusted: &[AddressPrefix],
) -> Result<Forwarded, Contradiction> {
    let hops = forwarded_for.rev().flat_map(|value| value.rsplit(','));
    let by_x = client(hops.map(|hop| Some(hop.trim())), trusted);
    let mut elements = forwarded.rev().flat_map(|value| value.rsplit(',')).peekable();
    let newest = elements.peek().copied();
    let by_rfc = client(elements.map(|element| parameter(element, "for")), trusted);
    let client = match (by_x, by_rfc) {
        (Some(one), Some(other)) if one != other => return Err(Contradiction),
        (one, other) => one.or(other),
    };
    let mut proto = forwarded_proto.rev().flat_map(|value| value.rsplit(','));
    let proto = proto.next().map(str::trim).or_else(|| parameter(newest?, "proto"));
    let secure = match proto {
        Some(proto) if proto.eq_ignore_ascii_case("https") || proto.eq_ignore_ascii_case("wss") => Some(true),
        Some(proto) if proto.eq_ignore_ascii_case("http") || proto.eq_ignore_ascii_case("ws") => Some(false),
        _ => None,
    };
    Ok(Forwarded { client, secure })
}

/// The first address, from the newest hop on, that is no trusted proxy's; the last trusted one where what comes behind
/// it is no address.
fn client<'a>(hops: impl Iterator<Item = Option<&'a str>>, trusted: &[AddressPrefix]) -> Option<IpAddr> {
    let mut last = None;
    for hop in hops.take(HOPS) {
        let Some(address) = hop.and_then(address) else { break };
        last = Some(address);
        if !trusted.iter().any(|prefix| prefix.contains(address)) {
            break;
        }
    }
    last
}

/// An address, with or without a port; IPv6 with one, or in `Forwarded`, in brackets.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().ok().or_else(|| text.parse().ok().map(|with: SocketAddr| with.ip()));
    address.map(|address: IpAddr| address.to_canonical())
}

/// A parameter of one element of `Forwarded`, without its quotes. None of the values meant here has a comma, a semicolon
/// or an escape.
fn parameter<'a>(element: &'a str, name: &str) -> Option<&'a str> {
    element.split(';').find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        let value = value.trim();
        let value = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value);
        key.trim().eq_ignore_ascii_case(name).then_some(value)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(x: &[&str], proto: &[&str], forwarded: &[&str]) -> Result<Forwarded, Contradiction> {
        let trusted = ["10.0.0.0/8", "::1"].map(|text| text.parse().expect("a prefix"));
        let (x, proto, forwarded) = (x.iter().copied(), proto.iter().copied(), forwarded.iter().copied());
        read(x, proto, forwarded, &trusted)
    }

    #[test]
    fn the_rightmost_address_that_is_not_trusted_counts() {
        let client = |x: &[&str]| {
            parse(x, &[], &[]).expect("no contradiction").client.map(|client| client.to_string())
        };
        for (headers, expected) in [
            (&["192.0.2.1"][..], Some("192.0.2.1")),
            (&["6.6.6.6, 192.0.2.1, 10.0.0.2"], Some("192.0.2.1")),
            (&["6.6.6.6", "192.0.2.1", "10.0.0.2,10.9.9.9"], Some("192.0.2.1")),
            (&["192.0.2.1:5123,[::1]:80"], Some("192.0.2.1")),
            (&["2001:db8::7, ::ffff:10.0.0.1"], Some("2001:db8::7")),
            (&["10.0.0.1, 10.0.0.2"], Some("10.0.0.1")),
            (&["192.0.2.1, nonsense, 10.0.0.2"], Some("10.0.0.2")),
            (&["nonsense"], None),
            (&[""], None),
            (&[], None),
        ] {
            assert_eq!(client(headers).as_deref(), expected, "{headers:?}");
        }
        let many = vec!["10.0.0.1"; 1000].join(",");
        assert_eq!(client(&["192.0.2.1", &many]).as_deref(), Some("10.0.0.1"));
    }

    #[test]
    fn the_header_of_the_rfc_means_the_same() {
        let read = parse(
            &[],
            &[],
            &[r#"for=6.6.6.6, For="[2001:db8::7]:4711";proto=https, for=10.0.0.1;proto=http"#],
        );
        let expected = Forwarded { client: "2001:db8::7".parse().ok(), secure: Some(false) };
        assert_eq!(read, Ok(expected));
        assert_eq!(parse(&["192.0.2.1"], &[], &["for=192.0.2.2"]), Err(Contradiction));
        assert_eq!(
            parse(&["192.0.2.1"], &["http, https"], &["for=192.0.2.1"]).map(|read| read.secure),
            Ok(Some(true))
        );
    }

    proptest! {
        #[test]
        fn never_panics(x in "[0-9a-f:., \\[\\]]{0,40}", forwarded in "[fortp=\"0-9;,. \\[\\]:]{0,60}") {
            let _ = parse(&[&x], &[&x], &[&forwarded]);
        }
    }
}
