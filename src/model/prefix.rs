//! A range of unicast addresses, as `10.0.0.0/8`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use thiserror::Error;

/// All addresses that begin with the same bits. IPv4-mapped addresses are what they map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressPrefix {
    address: IpAddr,
    bits: u8,
}

/// What is no prefix.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{text:?} is no address or prefix: {fix}")]
pub struct AddressPrefixError {
    text: String,
    fix: String,
}

impl AddressPrefix {
    /// Whether `address` begins with these bits.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        masked(address.to_canonical(), self.bits) == Some(self.address)
    }
}

impl fmt::Display for AddressPrefix {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.address, self.bits)
    }
}

impl FromStr for AddressPrefix {
    type Err = AddressPrefixError;

    fn from_str(text: &str) -> Result<AddressPrefix, AddressPrefixError> {
        let refused = |fix: String| AddressPrefixError { text: text.to_owned(), fix };
        let form = || refused("write ADDRESS or ADDRESS/BITS, as 10.0.0.0/8 or fd00::/8".to_owned());
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| form())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            Some(bits) => bits.parse().ok().filter(|bits| *bits <= most).ok_or_else(form)?,
            None => most,
        };
        match masked(address, bits) {
            Some(first) if first == address => Ok(AddressPrefix { address, bits }),
            Some(first) => Err(refused(format!("bits behind the prefix are set: write {first}/{bits}"))),
            None => Err(form()),
        }
    }
}

/// The address with everything behind its first `bits` cleared; `None` where it has not so many.
fn masked(address: IpAddr, bits: u8) -> Option<IpAddr> {
    Some(match address {
        IpAddr::V4(four) => {
            let clear = 32_u32.checked_sub(bits.into())?;
            IpAddr::V4((four.to_bits() & u32::MAX.checked_shl(clear).unwrap_or(0)).into())
        }
        IpAddr::V6(six) => {
            let clear = 128_u32.checked_sub(bits.into())?;
            IpAddr::V6((six.to_bits() & u128::MAX.checked_shl(clear).unwrap_or(0)).into())
        }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn prefixes_contain_what_begins_with_them() {
        let prefix = |text: &str| text.parse::<AddressPrefix>().expect("a prefix");
        let within = |text: &str, address: &str| prefix(text).contains(address.parse().expect("an address"));
        assert!(within("10.0.0.0/8", "10.255.1.2") && !within("10.0.0.0/8", "11.0.0.1"));
        assert!(within("10.0.0.0/8", "::ffff:10.1.2.3") && within("0.0.0.0/0", "9.9.9.9"));
        assert!(within("::1", "::1") && !within("::1", "::2") && !within("::/0", "10.0.0.1"));
        assert!(within("fd00::/8", "fdff::1") && !within("10.0.0.0/8", "fd00::1"));
        assert_eq!(prefix("127.0.0.1").to_string(), "127.0.0.1/32");
        let error = "10.0.0.1/8".parse::<AddressPrefix>().expect_err("refused").to_string();
        assert!(error.contains("write 10.0.0.0/8"), "{error}");
    }

    proptest! {
        #[test]
        fn never_panics(text in "[0-9a-f:./]{0,24}", address in any::<u128>()) {
            if let Ok(prefix) = text.parse::<AddressPrefix>() {
                prop_assert_eq!(prefix.to_string().parse::<AddressPrefix>(), Ok(prefix));
                let _ = prefix.contains(std::net::Ipv6Addr::from_bits(address).into());
            }
        }
    }
}
