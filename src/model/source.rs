//! Which senders a stream hears.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use thiserror::Error;

use super::group::Group;
use super::text::quote;

/// The most sources that one filter names. The kernel's own bounds (`igmp_max_msf` 10, `mld_max_msf` 64) are
/// settings of the machine and show when a stream is joined.
pub const MAX_SOURCES: usize = 64;

/// The senders of a group that are heard, as the kernel filters them (RFC 3376, RFC 3678).
///
/// The lists are sorted and without duplicates when made by [`include`](Self::include) and
/// [`exclude`](Self::exclude), so that equal filters are equal keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SourceFilter {
    /// Everybody.
    #[default]
    Any,
    /// Only these; never empty.
    Include(Box<[IpAddr]>),
    /// Everybody but these; never empty.
    Exclude(Box<[IpAddr]>),
}

/// What can't be a source, or not for that group.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SourceError {
    /// Not an IP address.
    #[error("source {} is not an IP address", quote(.0))]
    Malformed(String),
    /// A zone id (RFC 4007).
    #[error("source {} has a zone id: leave it out and use interface=", quote(.0))]
    Zone(String),
    /// Multicast, broadcast or unspecified: nobody sends from there.
    #[error("{0} can't be a source: a source is one sender's unicast address")]
    NotUnicast(IpAddr),
    /// An IPv4 address in IPv6 clothes.
    #[error("source {0} is an IPv4-mapped address: write the IPv4 address itself")]
    Mapped(Ipv6Addr),
    /// An empty list of the sources to hear would hear nobody.
    #[error("no source is named: leave the sources out to hear everybody")]
    Empty,
    /// More than [`MAX_SOURCES`].
    #[error(
        "more than {MAX_SOURCES} sources, and the kernel takes fewer (net.ipv4.igmp_max_msf, net.ipv6.mld_max_msf): leave some out"
    )]
    TooMany,
    /// IPv4 and IPv6 in one list.
    #[error("{0} and {1} are of different IP versions: name sources of the group's version only")]
    MixedFamilies(IpAddr, IpAddr),
    /// IPv4 sources for an IPv6 group or the reverse.
    #[error("source {0} can't send to {1}: the IP versions differ")]
    OtherFamily(IpAddr, Group),
    /// A source-specific group without a source.
    #[error("{} is source-specific (RFC 4607): write SOURCE@GROUP:PORT", source_specific(.0))]
    SourceMissing(Group),
}

impl SourceFilter {
    /// Only `sources`. Fails for an empty list, more than [`MAX_SOURCES`], mixed IP versions, and addresses
    /// that are not unicast or are IPv4-mapped.
    pub fn include(sources: Vec<IpAddr>) -> Result<SourceFilter, SourceError> {
        let sources = settle(sources)?;
        if sources.is_empty() { Err(SourceError::Empty) } else { Ok(SourceFilter::Include(sources)) }
    }

    /// Everybody but `sources`; an empty list is [`Any`](Self::Any). Fails as [`include`](Self::include).
    pub fn exclude(sources: Vec<IpAddr>) -> Result<SourceFilter, SourceError> {
        let sources = settle(sources)?;
        Ok(if sources.is_empty() { SourceFilter::Any } else { SourceFilter::Exclude(sources) })
    }

    /// The addresses of the list, sorted; empty for [`Any`](Self::Any).
    pub fn sources(&self) -> &[IpAddr] {
        match self {
            SourceFilter::Any => &[],
            SourceFilter::Include(sources) | SourceFilter::Exclude(sources) => sources,
        }
    }

    /// Checks that this filter makes sense for `group`: the same IP version, and sources named where the
    /// group is source-specific (RFC 4607: the kernel would accept such a join, and hear nothing or too
    /// much).
    pub fn check_against(&self, group: &Group) -> Result<(), SourceError> {
        if let Some(&source) = self.sources().iter().find(|source| source.is_ipv4() != group.is_ipv4()) {
            return Err(SourceError::OtherFamily(source, *group));
        }
        if group.needs_source() && !matches!(self, SourceFilter::Include(_)) {
            return Err(SourceError::SourceMissing(*group));
        }
        Ok(())
    }
}

/// Addresses between commas, IPv6 with or without brackets; at most [`MAX_SOURCES`]. An empty text is an
/// error.
pub fn parse_sources(text: &str) -> Result<Vec<IpAddr>, SourceError> {
    let sources = text.split(',').take(MAX_SOURCES + 1).map(parse_source).collect::<Result<Vec<_>, _>>()?;
    if sources.len() > MAX_SOURCES { Err(SourceError::TooMany) } else { Ok(sources) }
}

/// One unicast address, IPv6 with or without brackets. Fails for what is no address and for what nobody sends
/// from.
pub fn parse_source(text: &str) -> Result<IpAddr, SourceError> {
    if text.contains('%') {
        return Err(SourceError::Zone(text.to_owned()));
    }
    let address = match text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) => inner.parse().map(IpAddr::V6).ok(),
        None => text.parse().ok(),
    };
    let address = address.ok_or_else(|| SourceError::Malformed(text.to_owned()))?;
    check_unicast(address)?;
    Ok(address)
}

fn check_unicast(address: IpAddr) -> Result<(), SourceError> {
    if let IpAddr::V6(six) = address
        && six.to_ipv4_mapped().is_some()
    {
        return Err(SourceError::Mapped(six));
    }
    let nobody = address.is_multicast() || address.is_unspecified() || address == Ipv4Addr::BROADCAST;
    if nobody { Err(SourceError::NotUnicast(address)) } else { Ok(()) }
}

fn settle(mut sources: Vec<IpAddr>) -> Result<Box<[IpAddr]>, SourceError> {
    sources.sort_unstable();
    sources.dedup();
    if sources.len() > MAX_SOURCES {
        return Err(SourceError::TooMany);
    }
    for &source in &sources {
        check_unicast(source)?;
    }
    if let [first, .., last] = sources[..]
        && first.is_ipv4() != last.is_ipv4()
    {
        return Err(SourceError::MixedFamilies(first, last));
    }
    Ok(sources.into_boxed_slice())
}

fn source_specific(group: &Group) -> &'static str {
    if group.is_ipv4() { "232/8" } else { "ff3x::/32" }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn group(text: &str) -> Group {
        text.parse().expect("a group")
    }

    #[test]
    fn equal_filters_are_equal_keys() {
        let one = SourceFilter::include(parse_sources("10.0.0.2,10.0.0.1,10.0.0.2").expect("valid"))
            .expect("valid");
        let other = SourceFilter::include(vec![address("10.0.0.1"), address("10.0.0.2")]).expect("valid");
        assert_eq!(one, other);
        assert_eq!(one.sources(), [address("10.0.0.1"), address("10.0.0.2")]);
        assert_ne!(one, SourceFilter::exclude(one.sources().to_vec()).expect("valid"));
        assert_eq!(SourceFilter::exclude(vec![]), Ok(SourceFilter::Any));
        assert_eq!(SourceFilter::include(vec![]), Err(SourceError::Empty));
    }

    #[test]
    fn only_unicast_sends() {
        for bad in ["239.1.2.3", "0.0.0.0", "::", "255.255.255.255", "ff02::1"] {
            assert_eq!(SourceFilter::include(vec![address(bad)]), Err(SourceError::NotUnicast(address(bad))));
            assert_eq!(parse_source(bad), Err(SourceError::NotUnicast(address(bad))));
        }
        assert!(matches!(parse_source("::ffff:10.0.0.1"), Err(SourceError::Mapped(_))));
        assert!(matches!(parse_source("fe80::1%lan0"), Err(SourceError::Zone(_))));
        for bad in ["", "10.0.0", "[10.0.0.1]", "[::1", "x"] {
            assert!(matches!(parse_source(bad), Err(SourceError::Malformed(_))), "{bad}");
        }
        assert_eq!(parse_source("[2001:db8::5]"), Ok(address("2001:db8::5")));
    }

    #[test]
    fn versions_do_not_mix() {
        let mixed = SourceFilter::exclude(vec![address("::1"), address("10.0.0.1")]);
        assert!(matches!(mixed, Err(SourceError::MixedFamilies(..))));
        let filter = SourceFilter::include(vec![address("10.0.0.1")]).expect("valid");
        assert!(matches!(filter.check_against(&group("[ff15::1]:5")), Err(SourceError::OtherFamily(..))));
        assert_eq!(filter.check_against(&group("239.1.2.3:5")), Ok(()));
    }

    #[test]
    fn source_specific_groups_want_sources() {
        let error = SourceFilter::Any.check_against(&group("232.1.2.3:5")).expect_err("refused");
        assert_eq!(error.to_string(), "232/8 is source-specific (RFC 4607): write SOURCE@GROUP:PORT");
        let error = SourceFilter::Any.check_against(&group("[ff35::1]:5")).expect_err("refused");
        assert!(error.to_string().starts_with("ff3x::/32 is"));
        let exclude = SourceFilter::exclude(vec![address("10.0.0.1")]).expect("valid");
        assert!(exclude.check_against(&group("232.1.2.3:5")).is_err());
        let include = SourceFilter::include(vec![address("10.0.0.1")]).expect("valid");
        assert_eq!(include.check_against(&group("232.1.2.3:5")), Ok(()));
    }

    #[test]
    fn lists_are_bounded() {
        let many = |count: u8| (0..count).map(|last| format!("10.0.0.{last}")).collect::<Vec<_>>().join(",");
        assert_eq!(parse_sources(&many(64)).expect("valid").len(), 64);
        assert_eq!(parse_sources(&many(65)), Err(SourceError::TooMany));
    }

    proptest! {
        #[test]
        fn never_panics(text in ".*") {
            let _ = parse_sources(&text);
        }
    }
}
