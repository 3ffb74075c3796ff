//! Links to other gateways: what the configuration says of them, what they say to each other, and their records.

pub mod message;
pub mod record;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::group::Group;
use super::quantity::split_unit;
use super::selector::InterfaceSelector;
use super::text::{is_digits, quote};
use super::token::Token;

/// Links that one gateway has at most, those that others opened included.
pub const MOST_LINKS: usize = 16;
/// Groups that one link mirrors at most.
pub const MOST_GROUPS: usize = 64;
/// Links that a datagram may pass.
pub const MOST_HOPS: u8 = 4;
/// The cap of a mirrored group where none is given, in bits of payload a second.
pub const DEFAULT_RATE: u64 = 100_000_000;
/// The largest cap, in bits of payload a second.
pub const LARGEST_RATE: u64 = 10_000_000_000;

/// A link that this gateway keeps up: it connects to the other one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkConfig {
    /// What people call it; by default the host of its URL.
    pub name: String,
    /// The other gateway, as `ws://HOST:PORT`.
    pub url: String,
    /// What it shows there, and whom it trusts.
    pub credentials: Credentials,
    /// What it mirrors, at least one group and at most [`MOST_GROUPS`].
    pub groups: Vec<Mirrored>,
}

/// What a link shows and trusts; files are read anew for each connection, so that they may be replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    /// Its first line is the token.
    pub token_file: Option<PathBuf>,
    /// The token itself, where no file has it: from the environment, never from a configuration.
    pub token: Option<Token>,
    /// Certificates of authorities to trust, PEM; `None` for those of the system.
    pub ca: Option<PathBuf>,
    /// Our own certificate, PEM.
    pub client_cert: Option<PathBuf>,
    /// Its private key, PEM.
    pub client_key: Option<PathBuf>,
}

/// One group that a link mirrors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirrored {
    /// The group on our side.
    pub group: Group,
    /// Where, on our side; `None` for the gateway's default.
    pub interface: Option<InterfaceSelector>,
    /// Which way.
    pub direction: Direction,
    /// The group on the other side.
    pub remote_group: Group,
    /// Where, on the other side; `None` for that gateway's default.
    pub remote_interface: Option<InterfaceSelector>,
    /// TTL or hop limit with which it is sent anew, on both sides, 1..=255.
    pub ttl: u8,
    /// Bits of payload a second that may pass in each direction, at most [`LARGEST_RATE`].
    pub rate: u64,
}

/// Which way a group is mirrored, seen from the gateway that connects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// From there to here.
    Pull,
    /// From here to there.
    Push,
    /// Both ways.
    #[default]
    Both,
}

/// A value that a link can't have.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LinkError {
    /// No direction.
    #[error("direction {} is not possible: write pull (from there to here), push (from here to there) or both", quote(.0))]
    Direction(String),
    /// No rate.
    #[error("rate {} is not possible: write bits a second, 1000 to 10Gbit/s, as 20Mbit/s", quote(.0))]
    Rate(String),
    /// No TTL.
    #[error("ttl {} is not possible: write 1 to 255", quote(.0))]
    Ttl(String),
    /// IPv4 here and IPv6 there, or the other way round.
    #[error("group {0} and remote-group {1} are of different IP versions, and replies could not find back")]
    Versions(Group, Group),
    /// A group that wants its sources named.
    #[error(
        "{0} is source-specific (RFC 4607), and on the other side the gateway is the source: mirror it to another group"
    )]
    SourceSpecific(Group),
    /// An entry that is not `GROUP:PORT[=GROUP:PORT]`.
    #[error("{0} is not to be mirrored: {1}")]
    Entry(String, String),
    /// Nothing to mirror, or too much.
    #[error("a link mirrors 1 to {MOST_GROUPS} groups, not {0}: write a [[link.group]] for each")]
    Groups(usize),
    /// Too many links.
    #[error("{0} links are more than the {MOST_LINKS} that one gateway keeps")]
    Links(usize),
    /// Two entries for one group on one interface of one link.
    #[error("{0} is mirrored twice by this link: leave one entry out, or name different interfaces")]
    Twice(Group),
    /// Half of a pair of files.
    #[error("client-cert and client-key go together: give both, or neither")]
    HalfIdentity,
    /// Not a gateway's URL.
    #[error("url {} is not a gateway's: write ws://HOST:PORT or wss://HOST:PORT", quote(.0))]
    Url(String),
}

impl Mirrored {
    /// `group`, both ways, the same on both sides, with TTL 1.
    #[must_use]
    pub fn both(group: Group) -> Mirrored {
        Mirrored {
            group,
            interface: None,
            direction: Direction::Both,
            remote_group: group,
            remote_interface: None,
            ttl: 1,
            rate: DEFAULT_RATE,
        }
    }

    /// Checks what only two values together can break.
    ///
    /// # Errors
    /// [`LinkError::Versions`], and [`LinkError::SourceSpecific`] where a group is to be sent to that receivers join by source.
    pub fn check(&self) -> Result<(), LinkError> {
        if self.group.is_ipv4() != self.remote_group.is_ipv4() {
            return Err(LinkError::Versions(self.group, self.remote_group));
        }
        match [self.group, self.remote_group].into_iter().find(Group::needs_source) {
            Some(group) => Err(LinkError::SourceSpecific(group)),
            None => Ok(()),
        }
    }
}

impl LinkConfig {
    /// Checks the whole.
    ///
    /// # Errors
    /// [`LinkError`].
    pub fn check(&self) -> Result<(), LinkError> {
        let host = ["ws://", "wss://"].iter().find_map(|scheme| self.url.strip_prefix(scheme));
        if host.is_none_or(|host| host.is_empty() || host.starts_with('/')) {
            return Err(LinkError::Url(self.url.clone()));
        }
        if self.credentials.client_cert.is_some() != self.credentials.client_key.is_some() {
            return Err(LinkError::HalfIdentity);
        }
        if !(1..=MOST_GROUPS).contains(&self.groups.len()) {
            return Err(LinkError::Groups(self.groups.len()));
        }
        for (place, one) in self.groups.iter().enumerate() {
            one.check()?;
            let same = |other: &Mirrored| other.group == one.group && other.interface == one.interface;
            if self.groups[..place].iter().any(same) {
                return Err(LinkError::Twice(one.group));
            }
        }
        Ok(())
    }

    /// A name from a URL: its host and port.
    #[must_use]
    pub fn name_of(url: &str) -> String {
        let host = url.split_once("://").map_or(url, |(_, rest)| rest);
        host.split('/').next().unwrap_or(host).to_owned()
    }
}

impl Direction {
    /// Whether datagrams go from the gateway that connects to the other one.
    #[must_use]
    pub fn pushes(self) -> bool {
        self != Direction::Pull
    }

    /// Whether datagrams come to the gateway that connects.
    #[must_use]
    pub fn pulls(self) -> bool {
        self != Direction::Push
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Direction::Pull => "pull",
            Direction::Push => "push",
            Direction::Both => "both",
        })
    }
}

impl FromStr for Direction {
    type Err = LinkError;

    fn from_str(text: &str) -> Result<Direction, LinkError> {
        match text {
            "pull" => Ok(Direction::Pull),
            "push" => Ok(Direction::Push),
            "both" => Ok(Direction::Both),
            _ => Err(LinkError::Direction(text.to_owned())),
        }
    }
}

/// `GROUP:PORT`, or `GROUP:PORT=GROUP:PORT` for another group on the other side.
///
/// # Errors
/// [`LinkError::Entry`], and what [`Mirrored::check`] finds.
pub fn parse_mirrored(text: &str) -> Result<Mirrored, LinkError> {
    let (here, there) = text.split_once('=').unwrap_or((text, text));
    let group = |part: &str| {
        part.parse::<Group>().map_err(|error| LinkError::Entry(text.to_owned(), error.to_string()))
    };
    let mirrored = Mirrored { remote_group: group(there)?, ..Mirrored::both(group(here)?) };
    mirrored.check().map(|()| mirrored)
}

/// Bits a second: `20Mbit/s`, `500kbit/s`, `1Gbit/s` or a number.
///
/// # Errors
/// [`LinkError::Rate`].
pub fn parse_rate(text: &str) -> Result<u64, LinkError> {
    let refused = || LinkError::Rate(text.to_owned());
    let (number, unit) = split_unit(text);
    let factor = match unit {
        "" | "bit/s" => 1_u64,
        "kbit/s" => 1_000,
        "Mbit/s" => 1_000_000,
        "Gbit/s" => 1_000_000_000,
        _ => return Err(refused()),
    };
    let number =
        Some(number).filter(|number| is_digits(number)).and_then(|number| number.parse::<u64>().ok());
    let rate = number.and_then(|number| number.checked_mul(factor)).ok_or_else(refused)?;
    if (1000..=LARGEST_RATE).contains(&rate) { Ok(rate) } else { Err(refused()) }
}

/// A TTL, 1 to 255.
///
/// # Errors
/// [`LinkError::Ttl`].
pub fn parse_ttl(text: &str) -> Result<u8, LinkError> {
    let ttl = Some(text).filter(|text| is_digits(text)).and_then(|text| text.parse().ok());
    ttl.filter(|ttl| *ttl > 0).ok_or_else(|| LinkError::Ttl(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_bounds() {
        assert_eq!(parse_rate("20Mbit/s"), Ok(20_000_000));
        assert_eq!(parse_rate("1000"), Ok(1000));
        for bad in ["", "999", "11Gbit/s", "5MB", "-5", "99999999999999999999"] {
            assert!(parse_rate(bad).is_err(), "{bad}");
        }
        assert_eq!((parse_ttl("255"), parse_ttl("1")), (Ok(255), Ok(1)));
        for bad in ["0", "256", "", "+1"] {
            assert!(parse_ttl(bad).is_err(), "{bad}");
        }
        for direction in [Direction::Pull, Direction::Push, Direction::Both] {
            assert_eq!(direction.to_string().parse(), Ok(direction));
        }
    }

    #[test]
    fn entries_name_one_group_or_two() {
        let same = parse_mirrored("239.1.2.3:5000").expect("valid");
        assert_eq!((same.group, same.direction, same.ttl), (same.remote_group, Direction::Both, 1));
        let other = parse_mirrored("[ff15::1]:5=[ff15::2]:6").expect("valid");
        assert_eq!(other.remote_group.to_string(), "[ff15::2]:6");
        for (bad, words) in [
            ("239.1.2.3", "has no port"),
            ("239.1.2.3:5=[ff15::2]:6", "different IP versions"),
            ("239.1.2.3:5=232.1.1.1:6", "source-specific"),
        ] {
            assert!(parse_mirrored(bad).expect_err(bad).to_string().contains(words), "{bad}");
        }
    }

    #[test]
    fn links_are_checked_as_a_whole() {
        let group = parse_mirrored("239.1.2.3:5000").expect("valid");
        let link = |url: &str, groups: Vec<Mirrored>| LinkConfig {
            name: "a".to_owned(),
            url: url.to_owned(),
            credentials: Credentials::default(),
            groups,
        };
        assert_eq!(link("ws://a:80", vec![group.clone()]).check(), Ok(()));
        assert!(matches!(link("http://a:80", vec![group.clone()]).check(), Err(LinkError::Url(_))));
        assert!(matches!(link("ws://a:80", vec![]).check(), Err(LinkError::Groups(0))));
        assert!(matches!(link("ws://a:80", vec![group.clone(), group]).check(), Err(LinkError::Twice(_))));
        assert_eq!(LinkConfig::name_of("wss://a.example:80/v1"), "a.example:80");
    }
}
