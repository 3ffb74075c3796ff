//! What a stream's URL asks for.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use thiserror::Error;

use super::group::Group;
use super::name::check_name;
use super::percent;
use super::request_options::parse_options;
use super::selector::InterfaceSelector;
use super::source::{SourceFilter, parse_sources};
use super::text::quote;
use super::transport::Transport;

/// What a reader gets who is too slow for its stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    /// The oldest datagrams are lost, and counted.
    #[default]
    Skip,
    /// A jump to the newest datagram.
    Latest,
    /// The connection closes with 4508.
    Close,
}

/// How far back a subscription begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Replay {
    /// With the next datagram.
    #[default]
    None,
    /// With the last so many datagrams that are still held; never 0.
    Datagrams(u32),
    /// With what arrived within this time and is still held; never 0.
    Age(Duration),
}

/// Where in the stream a subscription begins, `replay` apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Beginning {
    /// Where it is now.
    #[default]
    Now,
    /// At a picture that needs no other, with the tables that a player wants first (MPEG-TS).
    Keyframe,
}

/// Which stream is meant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// `/udp/...`, `/rtp/...`: a group, and whom to hear. The filter fits the group.
    Group {
        /// The group.
        group: Group,
        /// Sources of `SOURCE@`, or those of `exclude=`.
        filter: SourceFilter,
    },
    /// `/streams/NAME`: a stream of the configuration, by a name that [`check_name`] accepts.
    Named(String),
}

/// A stream's URL, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamRequest {
    /// Which stream.
    pub target: Target,
    /// Whether RTP is taken off. For [`Target::Named`] the configuration says so, and `fec=` on top of it.
    pub transport: Transport,
    /// How.
    pub options: StreamOptions,
}

/// The options behind the `?`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamOptions {
    /// Where to join and send; `None` for the gateway's default.
    pub interface: Option<InterfaceSelector>,
    /// What happens when this client is too slow.
    pub overflow: Overflow,
    /// How far back to begin.
    pub replay: Replay,
    /// Where to begin.
    pub start: Beginning,
    /// How long a datagram may be held so that several go in one write, at most [`LONGEST_LATENCY`]; `None`
    /// for the gateway's default.
    pub latency: Option<Duration>,
    /// Sources not to hear, sorted, without duplicates. For [`Target::Group`] the filter holds them already;
    /// for [`Target::Named`] whoever looks the name up joins them with the stream's own filter.
    pub exclude: Vec<IpAddr>,
    /// Hear what this client sent itself.
    pub echo: bool,
    /// Pass on unicast answers to what this client sent.
    pub replies: bool,
    /// TTL or hop limit of what this client sends, 1..=255; `None` for the default of 1.
    pub ttl: Option<u8>,
    /// Whether this host hears what this client sends (`loop=`); `None` for the default, yes.
    pub loopback: Option<bool>,
    /// Join and receive; false is send only.
    pub receive: bool,
    /// Whether to join the forward error correction beside an RTP stream, where it was said.
    pub fec: Option<bool>,
}

/// The longest `latency` (and `--hold`).
pub const LONGEST_LATENCY: Duration = Duration::from_millis(50);

/// Whose path it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// A stream's.
    Stream(StreamRequest),
    /// Not a stream's: somebody else's, or nobody's.
    NotAStream,
}

/// A stream's URL that can't be served. The message is one line, repeats at most 64 characters of the URL,
/// control characters escaped, and names the fix.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct RequestError {
    /// What is wrong and how to write it, one line.
    pub message: String,
}

impl RequestError {
    pub(super) fn malformed(message: impl fmt::Display) -> RequestError {
        RequestError { message: message.to_string() }
    }
}

/// Reads a request's path and query (without the `?`), both as they stand in the request line.
///
/// Takes `/udp/[SOURCE[,SOURCE...]@]GROUP:PORT`, the same behind `/rtp/`, and `/streams/NAME`, with or without a trailing slash and
/// percent encoding, as udpxy's clients write them.
pub fn parse(path: &str, query: Option<&str>) -> Result<Route, RequestError> {
    let behind = |place: &str| match path.strip_prefix(place) {
        Some("") => Some(""),
        rest => rest.and_then(|rest| rest.strip_prefix('/')),
    };
    let (udp, rtp, named) = (behind("/udp"), behind("/rtp"), path.strip_prefix("/streams/"));
    let Some(rest) = udp.or(rtp).or(named) else { return Ok(Route::NotAStream) };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let rest = percent::decode(rest).ok_or_else(|| {
        RequestError::malformed(format!("{} has a broken percent encoding or is not UTF-8", quote(rest)))
    })?;
    let target = if named.is_some() {
        check_name(&rest).map_err(RequestError::malformed)?;
        Target::Named(rest.into_owned())
    } else {
        parse_group(&rest)?
    };
    let options = parse_options(query.unwrap_or(""))?;
    if udp.is_some() && options.fec.is_some() {
        return Err(RequestError::malformed("fec= repairs RTP: write /rtp/ for /udp/, or leave it out"));
    }
    let transport = if rtp.is_some() { Transport::rtp(options.fec == Some(true)) } else { Transport::Udp };
    Ok(Route::Stream(StreamRequest { target: exclude(target, &options.exclude)?, transport, options }))
}

/// `[SOURCE[,SOURCE...]@]GROUP:PORT`. That the sources fit the group is checked later, with `exclude=` known.
fn parse_group(text: &str) -> Result<Target, RequestError> {
    if text.is_empty() {
        return Err(RequestError::malformed("no group: write /udp/GROUP:PORT, as /udp/239.1.2.3:5000"));
    }
    let (sources, group) =
        text.rsplit_once('@').map_or((None, text), |(sources, group)| (Some(sources), group));
    let group = group.parse().map_err(RequestError::malformed)?;
    let filter = match sources {
        Some("") => return Err(RequestError::malformed("no source before the @: write SOURCE@GROUP:PORT")),
        Some(sources) => parse_sources(sources).and_then(SourceFilter::include),
        None => Ok(SourceFilter::Any),
    };
    Ok(Target::Group { group, filter: filter.map_err(RequestError::malformed)? })
}

fn exclude(target: Target, exclude: &[IpAddr]) -> Result<Target, RequestError> {
    let Target::Group { group, filter } = target else { return Ok(target) };
    let filter = match filter {
        filter if exclude.is_empty() => filter,
        SourceFilter::Include(_) => {
            return Err(RequestError::malformed(
                "exclude= and SOURCE@ exclude each other: leave exclude= out",
            ));
        }
        SourceFilter::Any | SourceFilter::Exclude(_) => {
            SourceFilter::exclude(exclude.to_vec()).map_err(RequestError::malformed)?
        }
    };
    filter.check_against(&group).map_err(RequestError::malformed)?;
    Ok(Target::Group { group, filter })
}

impl Default for StreamOptions {
    fn default() -> StreamOptions {
        StreamOptions {
            interface: None,
            overflow: Overflow::Skip,
            replay: Replay::None,
            start: Beginning::Now,
            latency: None,
            exclude: Vec::new(),
            echo: false,
            replies: false,
            ttl: None,
            loopback: None,
            receive: true,
            fec: None,
        }
    }
}

impl Target {
    /// The path of its URL, with the query that says the rest.
    #[must_use]
    pub fn path(&self, transport: Transport, interface: Option<&str>) -> String {
        let mut path = self.to_string();
        if transport != Transport::Udp
            && let Some(group) = path.strip_prefix("/udp/")
        {
            path = format!("/rtp/{group}");
        }
        let mut options: Vec<String> = Vec::new();
        options.extend(interface.map(|interface| format!("interface={}", percent::encode(interface))));
        if let Target::Group { filter: SourceFilter::Exclude(sources), .. } = self {
            let sources: Vec<String> = sources.iter().map(ToString::to_string).collect();
            options.push(format!("exclude={}", sources.join(",")));
        }
        if transport == Transport::RtpFec {
            options.push("fec=1".to_owned());
        }
        if options.is_empty() { path } else { format!("{path}?{}", options.join("&")) }
    }
}

/// The canonical path, without the query: `/udp/10.0.0.5@232.1.2.3:5000`, `/streams/NAME`.
impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (group, filter) = match self {
            Target::Group { group, filter } => (group, filter),
            Target::Named(name) => return write!(formatter, "/streams/{name}"),
        };
        formatter.write_str("/udp/")?;
        if let SourceFilter::Include(sources) = filter {
            for (position, source) in sources.iter().enumerate() {
                formatter.write_str(if position == 0 { "" } else { "," })?;
                match source {
                    IpAddr::V4(four) => four.fmt(formatter)?,
                    IpAddr::V6(six) => write!(formatter, "[{six}]")?,
                }
            }
            formatter.write_str("@")?;
        }
        group.fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    fn target(path: &str) -> String {
        match parse(path, None) {
            Ok(Route::Stream(request)) => request.target.to_string(),
            other => panic!("{path}: {other:?}"),
        }
    }

    fn refusal(path: &str, query: &str) -> String {
        let error = parse(path, Some(query)).expect_err(path);
        error.message
    }

    #[test]
    fn takes_every_spelling() {
        for (path, canonical) in [
            ("/udp/239.1.2.3:5000", "/udp/239.1.2.3:5000"),
            ("/udp/239.1.2.3:5000/", "/udp/239.1.2.3:5000"),
            ("/udp/239.1.2.3%3A5000", "/udp/239.1.2.3:5000"),
            ("/udp/10.0.0.5@232.1.2.3:5000", "/udp/10.0.0.5@232.1.2.3:5000"),
            ("/udp/10.0.0.5%40232.1.2.3:5000/", "/udp/10.0.0.5@232.1.2.3:5000"),
            ("/udp/10.0.0.6,10.0.0.5@232.1.2.3:5000", "/udp/10.0.0.5,10.0.0.6@232.1.2.3:5000"),
            ("/udp/[ff15::42]:5000", "/udp/[ff15::42]:5000"),
            ("/udp/%5Bff15::42%5d%3a5000", "/udp/[ff15::42]:5000"),
            ("/udp/[2001:db8::5]@[ff35::1]:5000", "/udp/[2001:db8::5]@[ff35::1]:5000"),
            ("/udp/2001:db8::5@[ff35::1]:5000", "/udp/[2001:db8::5]@[ff35::1]:5000"),
            ("/rtp/239.1.2.3:5000/", "/udp/239.1.2.3:5000"),
            ("/rtp/10.0.0.5%40232.1.2.3%3A5000", "/udp/10.0.0.5@232.1.2.3:5000"),
            ("/streams/camera-1", "/streams/camera-1"),
            ("/streams/camera%2d1/", "/streams/camera-1"),
        ] {
            assert_eq!(target(path), canonical);
            assert_eq!(target(canonical), canonical);
        }
    }

    #[test]
    fn leaves_other_paths_alone() {
        for path in
            ["", "/", "/rtpx", "/udpx", "/UDP/239.1.2.3:5000", "/streams", "/v1", "udp/239.1.2.3:5000"]
        {
            assert_eq!(parse(path, Some("nonsense")), Ok(Route::NotAStream), "{path}");
        }
    }

    #[test]
    fn refuses_with_the_fix() {
        for (path, words) in [
            ("/rtp", "write /udp/GROUP:PORT"),
            ("/udp", "write /udp/GROUP:PORT"),
            ("/udp/", "write /udp/GROUP:PORT"),
            ("/udp/239.1.2.3", "has no port"),
            ("/udp/239.1.2.3:5000//", "is not a group"),
            ("/udp/10.0.0.1:5000", "not a multicast address"),
            ("/udp/232.1.2.3:5000", "write SOURCE@GROUP:PORT"),
            ("/udp/@239.1.2.3:5000", "no source before the @"),
            ("/udp/239.1.2.4@239.1.2.3:5000", "unicast"),
            ("/udp/10.0.0.1,@239.1.2.3:5000", "\"\" is not an IP address"),
            ("/udp/::1@239.1.2.3:5000", "IP versions differ"),
            ("/udp/[ff02::1%25eth0]:5000", "use interface="),
            ("/udp/239.1.2.3%", "broken percent encoding"),
            ("/udp/%ff", "broken percent encoding"),
            ("/streams/", "can't name a stream"),
            ("/streams/a/b", "can't name a stream"),
            ("/streams/..", "can't name a stream"),
        ] {
            assert!(refusal(path, "").contains(words), "{path}: {}", refusal(path, ""));
        }
    }

    #[test]
    fn says_whether_rtp_is_taken_off() {
        let transport = |path: &str, query: &str| match parse(path, Some(query)) {
            Ok(Route::Stream(request)) => request.transport,
            other => panic!("{path}: {other:?}"),
        };
        assert_eq!(transport("/udp/239.1.2.3:5000", ""), Transport::Udp);
        assert_eq!(transport("/rtp/239.1.2.3:5000", ""), Transport::Rtp);
        assert_eq!(transport("/rtp/239.1.2.3:5000", "fec=0"), Transport::Rtp);
        assert_eq!(transport("/rtp/239.1.2.3:5000", "fec=1"), Transport::RtpFec);
        assert!(refusal("/udp/239.1.2.3:5000", "fec=1").contains("write /rtp/"));
    }

    #[test]
    fn repeats_little_and_nothing_harmful() {
        let message = refusal(&format!("/udp/%0d%0a{}", "x".repeat(4000)), "");
        assert!(message.len() < 200 && !message.contains(['\r', '\n']), "{message}");
    }

    #[test]
    fn excluded_sources_make_the_filter() {
        let Ok(Route::Stream(request)) = parse("/udp/239.1.2.3:5000", Some("exclude=10.0.0.9,10.0.0.1"))
        else {
            panic!("a stream")
        };
        let excluded: Vec<IpAddr> =
            vec!["10.0.0.1".parse().expect("valid"), "10.0.0.9".parse().expect("valid")];
        assert_eq!(request.options.exclude, excluded);
        let Target::Group { filter, .. } = request.target else { panic!("a group") };
        assert_eq!(filter, SourceFilter::Exclude(excluded.into()));
        assert!(refusal("/udp/10.0.0.5@239.1.2.3:5000", "exclude=10.0.0.9").contains("exclude each other"));
        assert!(refusal("/udp/239.1.2.3:5000", "exclude=::1").contains("IP versions differ"));
        assert!(matches!(parse("/streams/a", Some("exclude=::1")), Ok(Route::Stream(_))));
    }

    proptest! {
        #[test]
        fn never_panics(path in "/(udp|rtp|streams)/.*", query in ".*") {
            if let Err(error) = parse(&path, Some(&query)) {
                prop_assert!(!error.message.contains(char::is_control));
            }
        }

        #[test]
        fn round_trips(
            group in 0xef00_0000_u32..=0xefff_ffff,
            port in 1_u16..,
            sources in prop::collection::vec(0x0100_0000_u32..=0xdfff_ffff, 0..9),
        ) {
            let address = |bits| IpAddr::from(Ipv4Addr::from_bits(bits));
            let group = Group::new(address(group), port).expect("valid");
            let sources = sources.into_iter().map(address).collect();
            let filter = SourceFilter::include(sources).unwrap_or_default();
            let target = Target::Group { group, filter };
            let transport = Transport::Udp;
            let options = StreamOptions::default();
            let expected = StreamRequest { target: target.clone(), transport, options };
            prop_assert_eq!(parse(&target.to_string(), None), Ok(Route::Stream(expected)));
        }
    }
}
