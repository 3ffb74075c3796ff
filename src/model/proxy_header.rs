//! The header that a proxy writes in front of a connection to say whose it is (PROXY protocol, versions 1 and 2).
//!
//! <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use thiserror::Error;

/// Bytes that tell which version it is; no header is shorter.
pub const START: usize = 12;
/// Bytes of a header of version 1 at most, with its line end (section 2.1).
pub const LONGEST_LINE: usize = 107;
/// Bytes behind the first 16 of a header of version 2: addresses, and what a proxy may tell besides.
pub const LONGEST_TAIL: usize = 1024;

const SIGNATURE: &[u8; START] = b"\r\n\r\n\0\r\nQUIT\n";

/// Whose connection it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proxied {
    /// The proxy's own: a health check, or a client whose address it doesn't know.
    Unknown,
    /// A client's.
    Client {
        /// The client.
        from: SocketAddr,
        /// Where it connected to.
        to: SocketAddr,
    },
}

/// How a header goes on behind its first [`START`] bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// With text, up to the end of the line.
    Line,
    /// With 4 bytes, of which the last two say how many come behind them.
    Binary,
}

/// What is no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("no PROXY protocol: {0}")]
pub struct ProxyHeaderError(&'static str);

/// Tells the versions apart.
///
/// # Errors
/// Neither.
pub fn version(start: &[u8; START]) -> Result<Version, ProxyHeaderError> {
    if start == SIGNATURE {
        Ok(Version::Binary)
    } else if start.starts_with(b"PROXY ") {
        Ok(Version::Line)
    } else {
        Err(ProxyHeaderError("it begins with something else"))
    }
}

/// Reads a whole line, its end included.
///
/// # Errors
/// What is wrong with it.
pub fn parse_line(line: &[u8]) -> Result<Proxied, ProxyHeaderError> {
    let wrong = ProxyHeaderError("the line is not `PROXY TCP4|TCP6 FROM TO PORT PORT`");
    let line = line.strip_suffix(b"\r\n").ok_or(wrong)?;
    let text = std::str::from_utf8(line).map_err(|_| wrong)?;
    let mut words = text.strip_prefix("PROXY ").ok_or(wrong)?.split(' ');
    let family = words.next();
    if family == Some("UNKNOWN") {
        return Ok(Proxied::Unknown);
    }
    let mut next = || words.next().ok_or(wrong);
    let (from, to) = match family {
        Some("TCP4") => {
            (parsed::<Ipv4Addr>(next()?, wrong)?.into(), parsed::<Ipv4Addr>(next()?, wrong)?.into())
        }
        Some("TCP6") => {
            (parsed::<Ipv6Addr>(next()?, wrong)?.into(), parsed::<Ipv6Addr>(next()?, wrong)?.into())
        }
        _ => return Err(wrong),
    };
    let (from_port, to_port) = (port(next()?, wrong)?, port(next()?, wrong)?);
    if words.next().is_some() {
        return Err(wrong);
    }
    Ok(client(from, from_port, to, to_port))
}

/// How many bytes come behind the 4 that follow a binary header's start.
///
/// # Errors
/// Another version, or more than [`LONGEST_TAIL`].
pub fn tail(head: [u8; 4]) -> Result<usize, ProxyHeaderError> {
    if head[0] >> 4 != 2 {
        return Err(ProxyHeaderError("a version that is not 2"));
    }
    let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
    if length > LONGEST_TAIL { Err(ProxyHeaderError("more than 1024 bytes")) } else { Ok(length) }
}

/// Reads a binary header whole: the 4 bytes behind its start, and its tail.
///
/// # Errors
/// What is wrong with it.
pub fn parse_binary(head: [u8; 4], tail: &[u8]) -> Result<Proxied, ProxyHeaderError> {
    match (head[0], head[1]) {
        // The proxy's own connection; whatever stands behind is to be passed over.
        (0x20, _) => Ok(Proxied::Unknown),
        (0x21, 0x11) => {
            let (from, to) = (part::<4>(tail, 0)?, part::<4>(tail, 4)?);
            let (from_port, to_port) = (part::<2>(tail, 8)?, part::<2>(tail, 10)?);
            let (from_port, to_port) = (u16::from_be_bytes(from_port), u16::from_be_bytes(to_port));
            Ok(client(Ipv4Addr::from(from).into(), from_port, Ipv4Addr::from(to).into(), to_port))
        }
        (0x21, 0x21) => {
            let (from, to) = (part::<16>(tail, 0)?, part::<16>(tail, 16)?);
            let (from_port, to_port) = (part::<2>(tail, 32)?, part::<2>(tail, 34)?);
            let (from_port, to_port) = (u16::from_be_bytes(from_port), u16::from_be_bytes(to_port));
            Ok(client(Ipv6Addr::from(from).into(), from_port, Ipv6Addr::from(to).into(), to_port))
        }
        // Unspecified, and a client of a unix socket.
        (0x21, 0x00 | 0x31) => Ok(Proxied::Unknown),
        (0x21, _) => Err(ProxyHeaderError("a family that is not TCP")),
        _ => Err(ProxyHeaderError("a command that is neither LOCAL nor PROXY")),
    }
}

fn client(from: IpAddr, from_port: u16, to: IpAddr, to_port: u16) -> Proxied {
    Proxied::Client { from: SocketAddr::new(from, from_port), to: SocketAddr::new(to, to_port) }
}

fn parsed<T: FromStr>(text: &str, wrong: ProxyHeaderError) -> Result<T, ProxyHeaderError> {
    text.parse().map_err(|_| wrong)
}

/// Digits without a needless zero in front.
fn port(text: &str, wrong: ProxyHeaderError) -> Result<u16, ProxyHeaderError> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if digits { parsed(text, wrong) } else { Err(wrong) }
}

fn part<const N: usize>(tail: &[u8], at: usize) -> Result<[u8; N], ProxyHeaderError> {
    tail.get(at..at + N)
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or(ProxyHeaderError("too short for its addresses"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn from(proxied: Proxied) -> String {
        match proxied {
            Proxied::Client { from, to } => format!("{from} to {to}"),
            Proxied::Unknown => "unknown".to_owned(),
        }
    }

    #[test]
    fn lines_are_read_strictly() {
        let line = |text: &str| parse_line(text.as_bytes()).map(from);
        assert_eq!(
            line("PROXY TCP4 192.0.2.1 10.0.0.1 56324 443\r\n").as_deref(),
            Ok("192.0.2.1:56324 to 10.0.0.1:443")
        );
        assert_eq!(line("PROXY TCP6 2001:db8::1 ::1 1 2\r\n").as_deref(), Ok("[2001:db8::1]:1 to [::1]:2"));
        assert_eq!(line("PROXY UNKNOWN ffff:: whatever\r\n").as_deref(), Ok("unknown"));
        for bad in [
            "PROXY TCP4 192.0.2.1 10.0.0.1 56324 443\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 56324\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 056324 443\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 +5 443\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 5 443 \r\n",
            "PROXY TCP4 ::1 ::1 5 443\r\n",
            "PROXY TCP4  192.0.2.1 10.0.0.1 5 443\r\n",
            "PROXY TCP5 192.0.2.1 10.0.0.1 5 443\r\n",
            "proxy TCP4 192.0.2.1 10.0.0.1 5 443\r\n",
        ] {
            assert!(line(bad).is_err(), "{bad:?}");
        }
        assert_eq!(version(b"PROXY UNKNOW"), Ok(Version::Line));
        assert!(version(b"GET / HTTP/1").is_err());
    }

    #[test]
    fn binary_headers_are_read_strictly() {
        let tail4 = [192, 0, 2, 1, 10, 0, 0, 1, 0xdc, 4, 1, 0xbb, 4, 0, 0];
        let read = parse_binary([0x21, 0x11, 0, 15], &tail4).map(from);
        assert_eq!(read.as_deref(), Ok("192.0.2.1:56324 to 10.0.0.1:443"));
        let mut tail6 = [0; 36];
        (tail6[15], tail6[31], tail6[33]) = (1, 2, 9);
        assert_eq!(parse_binary([0x21, 0x21, 0, 36], &tail6).map(from).as_deref(), Ok("[::1]:9 to [::2]:0"));
        assert_eq!(parse_binary([0x20, 0, 0, 0], &[]), Ok(Proxied::Unknown));
        for bad in [[0x21, 0x11], [0x21, 0x21], [0x21, 0x12], [0x22, 0x11]] {
            assert!(parse_binary([bad[0], bad[1], 0, 4], &tail4[..4]).is_err());
        }
        assert_eq!(version(SIGNATURE), Ok(Version::Binary));
        assert_eq!((tail([0x21, 0x11, 0, 12]), tail([0x21, 0x11, 4, 0])), (Ok(12), Ok(1024)));
        assert!(tail([0x11, 0x11, 0, 12]).is_err() && tail([0x21, 0x11, 4, 1]).is_err());
    }

    proptest! {
        #[test]
        fn never_panics(line in prop::collection::vec(any::<u8>(), 0..120), text in "PROXY TCP[46] [0-9.: ]{0,60}\r\n", head: [u8; 4]) {
            let _ = (parse_line(&line), parse_line(text.as_bytes()), parse_binary(head, &line), tail(head));
        }
    }
}
