//! A multicast address and UDP port, checked when it is made.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use thiserror::Error;

use super::text::{is_digits, parse_port, quote, serde_as_text};

/// A multicast address (RFC 1112: 224/4; RFC 4291: ff00::/8) and a UDP port, never 0.
///
/// Printed and parsed as `239.1.2.3:5000` and `[ff15::42]:5000`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Group {
    address: IpAddr,
    port: u16,
}

/// What is not a group.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum GroupError {
    /// The address is unicast or broadcast.
    #[error("{0} is not a multicast address: groups are 224.0.0.0/4 and ff00::/8")]
    NotMulticast(IpAddr),
    /// An IPv4 address in IPv6 clothes: it would pass rules that are written for the one or the other.
    #[error("{0} is an IPv4-mapped address: write the IPv4 address itself")]
    Mapped(Ipv6Addr),
    /// The port is 0, not a number or more than 65535.
    #[error("a group wants a port of 1 to 65535, not {}", quote(.0))]
    BadPort(String),
    /// There is an address and no port.
    #[error("{} has no port: write GROUP:PORT, as 239.1.2.3:5000", quote(.0))]
    PortMissing(String),
    /// An IPv6 address with colons all over: where does the port begin?
    #[error("{} wants brackets around the IPv6 address: write [ff15::42]:5000", quote(.0))]
    BracketsMissing(String),
    /// A zone id (RFC 4007): the interface has an option of its own.
    #[error("{} has a zone id: leave it out and use interface=", quote(.0))]
    Zone(String),
    /// Anything else.
    #[error("{} is not a group: write 239.1.2.3:5000 or [ff15::42]:5000", quote(.0))]
    Malformed(String),
}

impl Group {
    /// A group. Fails for an address that is not multicast, for an IPv4-mapped one and for port 0.
    pub fn new(address: IpAddr, port: u16) -> Result<Group, GroupError> {
        if let IpAddr::V6(six) = address
            && six.to_ipv4_mapped().is_some()
        {
            return Err(GroupError::Mapped(six));
        }
        if !address.is_multicast() {
            return Err(GroupError::NotMulticast(address));
        }
        if port == 0 {
            return Err(GroupError::BadPort("0".to_owned()));
        }
        Ok(Group { address, port })
    }

    /// The multicast address.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// The UDP port, never 0.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// True for IPv4.
    pub fn is_ipv4(&self) -> bool {
        self.address.is_ipv4()
    }

    /// Address and port as the standard library has them; flow and scope are 0.
    pub fn socket_address(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.port)
    }

    /// True where a receiver has to name its sources: 232/8 and ff3x::/32 (RFC 4607 section 1).
    pub fn needs_source(&self) -> bool {
        match self.address {
            IpAddr::V4(four) => four.octets()[0] == 232,
            IpAddr::V6(six) => six.segments()[0] & 0xfff0 == 0xff30 && six.segments()[1] == 0,
        }
    }

    /// True for IPv6 groups that mean something only together with an interface: scope 1 (interface-local) or
    /// 2 (link-local) whatever the flags (RFC 4291 section 2.7), so ff01 and ff02 but also ff12. The kernel
    /// wants a scope id for them.
    pub fn is_link_scoped(&self) -> bool {
        match self.address {
            IpAddr::V4(_) => false,
            IpAddr::V6(six) => matches!(six.segments()[0] & 0xf, 1 | 2),
        }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.socket_address().fmt(formatter)
    }
}

impl FromStr for Group {
    type Err = GroupError;

    fn from_str(text: &str) -> Result<Group, GroupError> {
        let malformed = || GroupError::Malformed(text.to_owned());
        if text.contains('%') {
            return Err(GroupError::Zone(text.to_owned()));
        }
        let (address, port): (IpAddr, &str) = if let Some(rest) = text.strip_prefix('[') {
            let (inner, after) = rest.split_once(']').ok_or_else(malformed)?;
            let six: Ipv6Addr = inner.parse().map_err(|_| malformed())?;
            (six.into(), if after.is_empty() { "" } else { after.strip_prefix(':').ok_or_else(malformed)? })
        } else if text.parse::<Ipv6Addr>().is_ok() {
            return Err(GroupError::BracketsMissing(text.to_owned()));
        } else {
            let (address, port) = text.split_once(':').unwrap_or((text, ""));
            let four: Ipv4Addr = address.parse().map_err(|_| malformed())?;
            (four.into(), port)
        };
        // The address first: a wrong address with a wrong port is better called a wrong address.
        Group::new(address, 1)?;
        if port.is_empty() {
            return Err(GroupError::PortMissing(text.to_owned()));
        }
        match parse_port(port) {
            Some(port) => Group::new(address, port),
            None if is_digits(port) => Err(GroupError::BadPort(port.to_owned())),
            None => Err(malformed()),
        }
    }
}

serde_as_text!(Group);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn group(text: &str) -> Group {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    fn refusal(text: &str) -> String {
        text.parse::<Group>().expect_err("refused").to_string()
    }

    #[test]
    fn prints_what_it_parses() {
        for text in ["224.0.0.1:1", "239.255.255.255:65535", "[ff15::42]:5000"] {
            assert_eq!(group(text).to_string(), text);
        }
        assert_eq!(serde_json::to_string(&group("239.1.2.3:5000")).expect("valid"), "\"239.1.2.3:5000\"");
        assert_eq!(serde_json::from_str::<Group>("\"[ff15::42]:5\"").expect("valid"), group("[ff15::42]:5"));
    }

    #[test]
    fn knows_its_kind() {
        assert!(group("232.1.2.3:1").needs_source() && group("[ff35::1]:1").needs_source());
        assert!(!group("[ff35:1::1]:1").needs_source() && !group("233.1.2.3:1").needs_source());
        assert!(group("[ff02::1]:1").is_link_scoped() && group("[ff12::1]:1").is_link_scoped());
        assert!(!group("[ff05::1]:1").is_link_scoped() && !group("224.0.0.1:1").is_link_scoped());
        assert!(group("239.1.2.3:1").is_ipv4() && !group("[ff15::1]:1").is_ipv4());
    }

    #[test]
    fn refuses_with_the_fix() {
        for (text, words) in [
            ("10.0.0.1:5000", "10.0.0.1 is not a multicast address"),
            ("10.0.0.1", "10.0.0.1 is not a multicast address"),
            ("255.255.255.255:5000", "not a multicast address"),
            ("[fe80::1]:5000", "fe80::1 is not a multicast address"),
            ("[::ffff:239.1.2.3]:5000", "IPv4-mapped address: write the IPv4 address"),
            ("239.1.2.3:0", "1 to 65535, not \"0\""),
            ("239.1.2.3:65536", "1 to 65535, not \"65536\""),
            ("239.1.2.3", "has no port"),
            ("239.1.2.3:", "has no port"),
            ("[ff15::42]", "has no port"),
            ("ff15::42", "wants brackets"),
            ("ff15::42:5000", "wants brackets"),
            ("[ff02::1%eth0]:5000", "use interface="),
            ("239.1.2.3:+5000", "is not a group"),
            ("[239.1.2.3]:5000", "is not a group"),
            ("239.01.2.3:5000", "is not a group"),
            ("[ff15::42]5000", "is not a group"),
            ("", "is not a group"),
        ] {
            assert!(refusal(text).contains(words), "{text}: {}", refusal(text));
        }
    }

    proptest! {
        #[test]
        fn round_trips(low in 0xe000_0000_u32..=0xefff_ffff, six in any::<u128>(), port in 1_u16..) {
            let six = Ipv6Addr::from(six >> 8 | 0xff << 120);
            for address in [IpAddr::from(Ipv4Addr::from(low)), six.into()] {
                let group = Group::new(address, port).expect("valid");
                prop_assert_eq!(group.to_string().parse::<Group>(), Ok(group));
            }
        }

        #[test]
        fn never_panics(text in ".*") {
            let _ = text.parse::<Group>();
        }
    }
}
