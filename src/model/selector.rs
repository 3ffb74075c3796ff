//! How people name a network interface.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use thiserror::Error;

use super::text::{is_digits, quote, serde_as_text};

/// The interface that somebody means; which one that is now, the LAN side finds out.
///
/// Printed and parsed as `lan0`, `10.0.0.1`, `3` and `all`. An interface really called `all`, or by a number,
/// can be named by its index or address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum InterfaceSelector {
    /// By name, 1 to 15 bytes (`IFNAMSIZ` less the final NUL); follows the name to a new index.
    Name(String),
    /// The one that has this address.
    Address(IpAddr),
    /// By index, never 0.
    Index(u32),
    /// Every interface that can multicast; it receives only.
    All,
}

/// A text that names no interface.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SelectorError {
    /// The number is 0, or more than an index can be.
    #[error("interface index {} is not 1 to 4294967295", quote(.0))]
    BadIndex(String),
    /// No interface has such an address.
    #[error("{0} can't be an interface's address: give a unicast address that the interface has")]
    BadAddress(IpAddr),
    /// Linux would not take this name either (`dev_valid_name`).
    #[error(
        "{} can't be an interface: write a name (1 to 15 bytes, no space, / or :), address, index or all",
        quote(.0)
    )]
    BadName(String),
}

impl FromStr for InterfaceSelector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<InterfaceSelector, SelectorError> {
        if text == "all" {
            return Ok(InterfaceSelector::All);
        }
        if is_digits(text) {
            let index = text.parse().ok().filter(|&index| index != 0);
            return index
                .map(InterfaceSelector::Index)
                .ok_or_else(|| SelectorError::BadIndex(text.to_owned()));
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            let possible = !address.is_multicast()
                && !address.is_unspecified()
                && !matches!(address, IpAddr::V6(six) if six.to_ipv4_mapped().is_some());
            return if possible {
                Ok(InterfaceSelector::Address(address))
            } else {
                Err(SelectorError::BadAddress(address))
            };
        }
        let allowed = |character: char| {
            !character.is_whitespace() && !character.is_control() && !"/:".contains(character)
        };
        let fits = (1..=15).contains(&text.len()) && text.chars().all(allowed);
        if fits && text != "." && text != ".." {
            Ok(InterfaceSelector::Name(text.to_owned()))
        } else {
            Err(SelectorError::BadName(text.to_owned()))
        }
    }
}

impl fmt::Display for InterfaceSelector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InterfaceSelector::Name(name) => name.fmt(formatter),
            InterfaceSelector::Address(address) => address.fmt(formatter),
            InterfaceSelector::Index(index) => index.fmt(formatter),
            InterfaceSelector::All => formatter.write_str("all"),
        }
    }
}

serde_as_text!(InterfaceSelector);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn takes_each_kind() {
        for (text, selector) in [
            ("lan0", InterfaceSelector::Name("lan0".to_owned())),
            ("eth0.100", InterfaceSelector::Name("eth0.100".to_owned())),
            ("10.0.0.1", InterfaceSelector::Address("10.0.0.1".parse().expect("valid"))),
            ("fe80::1", InterfaceSelector::Address("fe80::1".parse().expect("valid"))),
            ("3", InterfaceSelector::Index(3)),
            ("all", InterfaceSelector::All),
        ] {
            assert_eq!(text.parse(), Ok(selector.clone()));
            assert_eq!(selector.to_string(), text);
        }
    }

    #[test]
    fn refuses_what_linux_refuses() {
        for bad in ["", ".", "..", "a/b", "a b", "a\0b", "eth0:1", "0", "4294967296", "sixteen-bytes-xx"] {
            assert!(bad.parse::<InterfaceSelector>().is_err(), "{bad}");
        }
        for bad in ["239.1.2.3", "0.0.0.0", "::ffff:10.0.0.1"] {
            assert!(matches!(bad.parse::<InterfaceSelector>(), Err(SelectorError::BadAddress(_))), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn round_trips_or_refuses(text in ".{0,20}") {
            if let Ok(selector) = text.parse::<InterfaceSelector>() {
                prop_assert_eq!(selector.to_string().parse(), Ok(selector));
            }
        }
    }
}
