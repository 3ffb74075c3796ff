//! A range of groups, as the command line and the configuration write it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use thiserror::Error;

use super::group::Group;
use super::text::{is_digits, parse_port, quote, serde_as_text};

/// `PREFIX[:PORT[-PORT]]`: multicast addresses with one prefix, and ports.
///
/// Printed and parsed as `239.0.0.0/8`, `239.1.2.3:5000`, `[ff15::]/16:5000-5999`; without ports it means
/// every port. IPv6 addresses want brackets or a prefix length, because `ff15::42:5000` is an address and not
/// what its writer meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Spec {
    prefix: IpAddr,
    length: u8,
    first: u16,
    last: u16,
}

/// A text that is no range of groups.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SpecError {
    /// Not the form.
    #[error(
        "{} is not PREFIX[:PORT[-PORT]]: write 239.0.0.0/8, 239.1.2.3:5000 or [ff15::]/16:5000-5999",
        quote(.0)
    )]
    Malformed(String),
    /// An IPv6 address with neither brackets nor prefix length.
    #[error("{} wants brackets around the IPv6 address: write [ff15::42]:5000 or ff15::/16", quote(.0))]
    BracketsMissing(String),
    /// A zone id (RFC 4007).
    #[error("{} has a zone id: leave it out; rules hold on every interface", quote(.0))]
    Zone(String),
    /// An IPv4 address in IPv6 clothes.
    #[error("{0} is an IPv4-mapped address: write the IPv4 address itself")]
    Mapped(Ipv6Addr),
    /// The prefix reaches outside of multicast.
    #[error("{0}/{1} reaches beyond multicast: prefixes lie within 224.0.0.0/4 or ff00::/8")]
    NotMulticast(IpAddr, u8),
    /// A prefix length larger than the address.
    #[error("prefix length {length} is more than the {} bits of {prefix}", bits(*.prefix))]
    TooLong {
        /// The address.
        prefix: IpAddr,
        /// The length asked for.
        length: u8,
    },
    /// Bits set behind the prefix.
    #[error("{0}/{1} has bits behind its prefix: write {masked}/{1}, or {0} alone", masked = mask(*.0, *.1))]
    HostBits(IpAddr, u8),
    /// Port 0, over 65535, or not a number.
    #[error("{} is not a port or range: write 1 to 65535, as 5000 or 5000-5999", quote(.0))]
    BadPorts(String),
}

impl Spec {
    /// The spec that means `group` and nothing else.
    pub fn exactly(group: Group) -> Spec {
        let prefix = group.address();
        Spec { prefix, length: bits(prefix), first: group.port(), last: group.port() }
    }

    /// True where `group` lies within the prefix and the ports.
    pub fn matches(&self, group: &Group) -> bool {
        self.prefix.is_ipv4() == group.is_ipv4()
            && mask(group.address(), self.length) == self.prefix
            && (self.first..=self.last).contains(&group.port())
    }

    /// True where this means `group` and nothing else: a whole address and a single port.
    pub fn names_exactly(&self, group: &Group) -> bool {
        *self == Spec::exactly(*group)
    }
}

impl FromStr for Spec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Spec, SpecError> {
        let malformed = || SpecError::Malformed(text.to_owned());
        if text.contains('%') {
            return Err(SpecError::Zone(text.to_owned()));
        }
        let (prefix, rest) = split_address(text)?;
        let (length, ports) = match rest.strip_prefix('/') {
            Some(rest) => {
                let (length, ports) = split_ports(rest);
                let length = Some(length).filter(|length| is_digits(length)).ok_or_else(malformed)?;
                (length.parse().map_err(|_| malformed())?, ports)
            }
            None if rest.is_empty() => (bits(prefix), None),
            None => (bits(prefix), Some(rest.strip_prefix(':').ok_or_else(malformed)?)),
        };
        check_prefix(prefix, length)?;
        let (first, last) = match ports {
            Some(ports) => parse_ports(ports).ok_or_else(|| SpecError::BadPorts(ports.to_owned()))?,
            None => (1, u16::MAX),
        };
        Ok(Spec { prefix, length, first, last })
    }
}

/// The address in front, and the rest from its `/` or `:` on.
fn split_address(text: &str) -> Result<(IpAddr, &str), SpecError> {
    let malformed = || SpecError::Malformed(text.to_owned());
    if let Some(rest) = text.strip_prefix('[') {
        let (inner, rest) = rest.split_once(']').ok_or_else(malformed)?;
        return Ok((inner.parse::<Ipv6Addr>().map_err(|_| malformed())?.into(), rest));
    }
    if text.parse::<Ipv6Addr>().is_ok() {
        return Err(SpecError::BracketsMissing(text.to_owned()));
    }
    if let Some(slash) = text.find('/')
        && let Ok(six) = text[..slash].parse::<Ipv6Addr>()
    {
        return Ok((six.into(), &text[slash..]));
    }
    let (four, rest) = text.split_at(text.find(['/', ':']).unwrap_or(text.len()));
    Ok((four.parse::<Ipv4Addr>().map_err(|_| malformed())?.into(), rest))
}

fn split_ports(text: &str) -> (&str, Option<&str>) {
    text.split_once(':').map_or((text, None), |(length, ports)| (length, Some(ports)))
}

fn parse_ports(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (parse_port(first)?, parse_port(last)?);
    (first <= last).then_some((first, last))
}

fn check_prefix(prefix: IpAddr, length: u8) -> Result<(), SpecError> {
    if let IpAddr::V6(six) = prefix
        && six.to_ipv4_mapped().is_some()
    {
        return Err(SpecError::Mapped(six));
    }
    if length > bits(prefix) {
        return Err(SpecError::TooLong { prefix, length });
    }
    let shortest = if prefix.is_ipv4() { 4 } else { 8 };
    if !prefix.is_multicast() || length < shortest {
        return Err(SpecError::NotMulticast(prefix, length));
    }
    if mask(prefix, length) != prefix {
        return Err(SpecError::HostBits(prefix, length));
    }
    Ok(())
}

/// How many bits an address of this IP version has.
fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// The address with everything behind the prefix cleared.
fn mask(address: IpAddr, length: u8) -> IpAddr {
    let behind = u32::from(bits(address).saturating_sub(length));
    match address {
        IpAddr::V4(four) => Ipv4Addr::from(four.to_bits() & u32::MAX.checked_shl(behind).unwrap_or(0)).into(),
        IpAddr::V6(six) => Ipv6Addr::from(six.to_bits() & u128::MAX.checked_shl(behind).unwrap_or(0)).into(),
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (every_port, whole) =
            ((self.first, self.last) == (1, u16::MAX), self.length == bits(self.prefix));
        if self.prefix.is_ipv6() && (whole || !every_port) {
            write!(formatter, "[{}]", self.prefix)?;
        } else {
            write!(formatter, "{}", self.prefix)?;
        }
        if !whole {
            write!(formatter, "/{}", self.length)?;
        }
        match (every_port, self.first == self.last) {
            (true, _) => Ok(()),
            (false, true) => write!(formatter, ":{}", self.first),
            (false, false) => write!(formatter, ":{}-{}", self.first, self.last),
        }
    }
}

serde_as_text!(Spec);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn spec(text: &str) -> Spec {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    fn group(text: &str) -> Group {
        text.parse().expect("a group")
    }

    #[test]
    fn prints_the_shortest_form() {
        for (text, printed) in [
            ("239.0.0.0/8", "239.0.0.0/8"),
            ("239.1.2.3", "239.1.2.3"),
            ("239.1.2.3:5000", "239.1.2.3:5000"),
            ("239.1.2.3/32:5000-5010", "239.1.2.3:5000-5010"),
            ("224.0.0.0/4:1-65535", "224.0.0.0/4"),
            ("[ff15::]/16:5000-5999", "[ff15::]/16:5000-5999"),
            ("ff15::/16:5000", "[ff15::]/16:5000"),
            ("[ff15::42]:5000", "[ff15::42]:5000"),
            ("ff15::/16", "ff15::/16"),
            ("[ff15::42]", "[ff15::42]"),
            ("ff15::42/128", "[ff15::42]"),
        ] {
            assert_eq!(spec(text).to_string(), printed);
            assert_eq!(spec(printed), spec(text));
        }
    }

    #[test]
    fn matches_prefix_and_ports() {
        assert!(spec("239.0.0.0/8").matches(&group("239.255.1.2:1")));
        assert!(!spec("239.0.0.0/9").matches(&group("239.128.0.0:1")));
        assert!(spec("239.1.2.3:5-6").matches(&group("239.1.2.3:6")));
        assert!(!spec("239.1.2.3:5-6").matches(&group("239.1.2.3:7")));
        assert!(spec("ff15::/16").matches(&group("[ff15:1::1]:9")));
        assert!(!spec("ff00::/8").matches(&group("239.1.2.3:9")));
        assert!(!spec("224.0.0.0/4").matches(&group("[ff15::1]:9")));
    }

    #[test]
    fn only_one_address_and_port_is_exact() {
        let group = group("239.1.2.3:5000");
        assert!(spec("239.1.2.3/32:5000-5000").names_exactly(&group));
        for wider in ["239.1.2.3", "239.1.2.2/31:5000", "239.1.2.3:5000-5001", "239.1.2.4:5000"] {
            assert!(!spec(wider).names_exactly(&group), "{wider}");
        }
    }

    #[test]
    fn refuses_with_the_fix() {
        for (text, words) in [
            ("239.1.2.3/8", "write 239.0.0.0/8, or 239.1.2.3 alone"),
            ("[ff15::42]/16:5", "write ff15::/16"),
            ("10.0.0.0/8", "beyond multicast"),
            ("224.0.0.0/3", "beyond multicast"),
            ("ff00::/7", "beyond multicast"),
            ("0.0.0.0/0", "beyond multicast"),
            ("239.0.0.0/33", "more than the 32 bits"),
            ("ff15::42", "wants brackets"),
            ("ff15::42:5000", "wants brackets"),
            ("ff02::1%eth0/128", "zone id"),
            ("[::ffff:239.1.2.3]:5", "IPv4-mapped"),
            ("239.1.2.3:0", "not a port"),
            ("239.1.2.3:", "not a port"),
            ("239.1.2.3:6-5", "not a port"),
            ("239.1.2.3:1-2-3", "not a port"),
            ("239.1.2.3/:5", "is not PREFIX"),
            ("239.1.2.3/+8", "is not PREFIX"),
            ("239.1.2", "is not PREFIX"),
            ("", "is not PREFIX"),
        ] {
            let error = text.parse::<Spec>().expect_err(text).to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn round_trips(
            six in any::<u128>(),
            four in any::<u32>(),
            length in 0_u8..=120,
            (first, last) in (1_u16.., 1_u16..),
        ) {
            let (first, last) = (first.min(last), first.max(last));
            let four = IpAddr::from(Ipv4Addr::from(four >> 4 | 0xe << 28));
            let six = IpAddr::from(Ipv6Addr::from(six >> 8 | 0xff << 120));
            for (address, length) in [(four, 4 + length % 29), (six, 8 + length)] {
                let spec = Spec { prefix: mask(address, length), length, first, last };
                prop_assert_eq!(spec.to_string().parse::<Spec>(), Ok(spec));
            }
        }

        #[test]
        fn never_panics(text in "[0-9a-f:./\\[\\]-]{0,40}") {
            let _ = text.parse::<Spec>();
        }
    }
}
