//! Unicast addresses with one prefix: `10.0.0.0/8`, `2001:db8::/32`, `10.0.0.5`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use thiserror::Error;

use super::text::{is_digits, quote, serde_as_text};

/// A range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AddressPrefix {
    address: IpAddr,
    length: u8,
}

/// A text that is no range of addresses.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{} is no address or prefix: write 10.0.0.5, 10.0.0.0/8 or 2001:db8::/32", quote(.0))]
pub struct PrefixError(String);

impl AddressPrefix {
    /// Whether `address` is one of these; an IPv4-mapped one is what it maps.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.address.is_ipv4() && mask(address, self.length) == self.address
    }
}

impl FromStr for AddressPrefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<AddressPrefix, PrefixError> {
        let refused = || PrefixError(text.to_owned());
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| refused())?;
        let length = match length {
            Some(length) => {
                Some(length).filter(|length| is_digits(length)).and_then(|length| length.parse().ok())
            }
            None => Some(bits(address)),
        };
        let length = length.filter(|&length| length <= bits(address)).ok_or_else(refused)?;
        if mask(address, length) != address || address.to_canonical() != address {
            return Err(refused());
        }
        Ok(AddressPrefix { address, length })
    }
}

impl fmt::Display for AddressPrefix {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(formatter)?;
        if self.length == bits(self.address) { Ok(()) } else { write!(formatter, "/{}", self.length) }
    }
}

serde_as_text!(AddressPrefix);

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_hold_their_addresses() {
        for (prefix, address, inside) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.0/8", "::ffff:10.0.0.1", true),
            ("10.0.0.5", "10.0.0.5", true),
            ("10.0.0.5", "10.0.0.6", false),
            ("2001:db8::/32", "2001:db8:1::1", true),
            ("2001:db8::/32", "10.0.0.1", false),
            ("::/0", "fe80::1", true),
            ("0.0.0.0/0", "1.2.3.4", true),
        ] {
            let parsed: AddressPrefix = prefix.parse().expect(prefix);
            assert_eq!(parsed.contains(address.parse().expect(address)), inside, "{prefix} {address}");
            assert_eq!(parsed.to_string(), prefix);
        }
        for bad in ["", "10.0.0.1/8", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/+8", "::ffff:10.0.0.1", "a/8"] {
            assert!(bad.parse::<AddressPrefix>().is_err(), "{bad}");
        }
    }
}
