//! A session's description (SDP, RFC 4566): of it what a gateway can join.

use std::net::IpAddr;

use crate::model::group::Group;
use crate::model::request::Target;
use crate::model::source::SourceFilter;
use crate::model::transport::Transport;

/// Characters of a name or a piece of information that are kept.
const TEXT: usize = 100;
/// Lines that are read.
const LINES: usize = 500;
/// Streams of one session.
const STREAMS: usize = 8;
/// From the time of NTP, which SDP counts in, to that of Unix, in seconds (RFC 4566 section 5.9).
const NTP: u64 = 2_208_988_800;

/// A session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// What stays the same when it is described anew: who made it, and its number.
    pub origin: String,
    /// Its name; control characters are spaces.
    pub name: String,
    /// What it is about; may be empty.
    pub information: String,
    /// When it ends, in seconds since 1970; `None` for never.
    pub stop: Option<u64>,
    /// Its streams, at least one.
    pub streams: Vec<Announcement>,
}

/// One stream of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// `video`, `audio` and the like.
    pub kind: String,
    /// Where, and whom to hear.
    pub group: Group,
    /// Whom to hear; it fits the group.
    pub filter: SourceFilter,
    /// Whether it is RTP.
    pub transport: Transport,
}

impl Announcement {
    /// The path of its URL, on `interface`.
    #[must_use]
    pub fn path(&self, interface: &str) -> String {
        let target = Target::Group { group: self.group, filter: self.filter.clone() };
        target.path(self.transport, Some(interface))
    }
}

impl Session {
    /// Reads a description; `None` where there is nothing in it that can be joined.
    #[must_use]
    pub fn parse(description: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(description);
        let mut session = Session {
            origin: String::new(),
            name: String::new(),
            information: String::new(),
            stop: None,
            streams: Vec::new(),
        };
        // What stands before the first stream holds for all that say nothing else.
        let mut common = Medium::default();
        let mut medium: Option<Medium> = None;
        for (key, value) in lines(&text) {
            let inside = medium.is_some();
            let place = medium.as_mut().unwrap_or(&mut common);
            match key {
                'o' => session.origin = identity(value)?,
                's' => session.name = shown(value),
                'i' if !inside => session.information = shown(value),
                't' => {
                    let stop = value.split(' ').nth(1).and_then(|stop| stop.parse::<u64>().ok());
                    session.stop = stop.and_then(|stop| stop.checked_sub(NTP)).or(session.stop);
                }
                'c' => place.address = connection(value),
                'a' => {
                    if let Some(rule) = value.strip_prefix("source-filter:") {
                        place.rules.push(rule.trim().to_owned());
                    }
                }
                'm' => {
                    session.add(medium.take());
                    let mut next = Medium { rules: common.rules.clone(), ..Medium::default() };
                    next.address = common.address;
                    next.media(value);
                    medium = Some(next);
                }
                _ => {}
            }
        }
        session.add(medium);
        if session.name.trim().is_empty() {
            session.name = session.streams.first()?.group.to_string();
        }
        (!session.origin.is_empty() && !session.streams.is_empty()).then_some(session)
    }

    fn add(&mut self, medium: Option<Medium>) {
        if self.streams.len() < STREAMS {
            self.streams.extend(medium.and_then(Medium::stream));
        }
    }
}

/// The origin that a description, or the end of one, names.
#[must_use]
pub fn origin(description: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(description);
    lines(&text).find(|(key, _)| *key == 'o').and_then(|(_, value)| identity(value))
}

fn lines(text: &str) -> impl Iterator<Item = (char, &str)> {
    let pair = |line: &'_ str| -> Option<(char, usize)> {
        let mut characters = line.chars();
        let key = characters.next()?;
        (characters.next() == Some('=')).then_some((key, key.len_utf8() + 1))
    };
    text.lines().take(LINES).filter_map(move |line| pair(line).map(|(key, from)| (key, &line[from..])))
}

/// `<username> <sess-id> <sess-version> <nettype> <addrtype> <address>` without the version.
fn identity(value: &str) -> Option<String> {
    let words: Vec<&str> = value.split_ascii_whitespace().collect();
    let [user, number, _, net, family, address] = words[..] else { return None };
    Some(shown(&[user, number, net, family, address].join(" ")))
}

/// As it may be shown anywhere.
fn shown(text: &str) -> String {
    text.trim().chars().take(TEXT).map(|shown| if shown.is_control() { ' ' } else { shown }).collect()
}

/// `IN IP4 239.1.2.3/127`, `IN IP6 ff15::1/3`: the first address.
fn connection(value: &str) -> Option<IpAddr> {
    let mut words = value.split_ascii_whitespace();
    let (net, family, address) = (words.next()?, words.next()?, words.next()?);
    let address: IpAddr = address.split('/').next()?.parse().ok()?;
    let fits = if address.is_ipv4() { family == "IP4" } else { family == "IP6" };
    (net == "IN" && fits).then_some(address)
}

/// A stream that is being read.
#[derive(Debug, Default)]
struct Medium {
    kind: String,
    port: u16,
    transport: Option<Transport>,
    address: Option<IpAddr>,
    rules: Vec<String>,
}

impl Medium {
    /// `video 5004 RTP/AVP 33`, `video 5000/1 udp 33`.
    fn media(&mut self, value: &str) {
        let mut words = value.split_ascii_whitespace();
        self.kind = shown(words.next().unwrap_or(""));
        let port = words.next().and_then(|port| port.split('/').next());
        self.port = port.and_then(|port| port.parse().ok()).unwrap_or(0);
        self.transport = words.next().and_then(|protocol| match &protocol.to_ascii_uppercase()[..] {
            "RTP/AVP" | "RTP/AVPF" => Some(Transport::Rtp),
            "UDP" | "MP2T/UDP" | "MP2T/H2221/UDP" | "RAW/RAW/UDP" => Some(Transport::Udp),
            _ => None,
        });
    }

    fn stream(self) -> Option<Announcement> {
        let group = Group::new(self.address?, self.port).ok()?;
        let rule = self.rules.iter().find_map(|rule| filter(rule, &group));
        let filter = rule.unwrap_or_default();
        filter.check_against(&group).ok()?;
        Some(Announcement { kind: self.kind, group, filter, transport: self.transport? })
    }
}

/// `incl IN IP4 239.1.2.3 10.0.0.5 10.0.0.6` (RFC 4570), where it is of this group.
fn filter(rule: &str, group: &Group) -> Option<SourceFilter> {
    let mut words = rule.split_ascii_whitespace();
    let mode = words.next()?;
    let destination = words.nth(2)?;
    if destination != "*" && destination.parse() != Ok(group.address()) {
        return None;
    }
    let sources = words.map(str::parse).collect::<Result<Vec<IpAddr>, _>>().ok()?;
    match mode {
        "incl" => SourceFilter::include(sources).ok(),
        "excl" => SourceFilter::exclude(sources).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn paths(description: &str) -> Vec<String> {
        let session = Session::parse(description.as_bytes());
        session.iter().flat_map(|session| session.streams.iter().map(|stream| stream.path("lan0"))).collect()
    }

    #[test]
    fn finds_the_streams_of_a_session() {
        let head = "v=0\r\no=user 1 2 IN IP4 10.0.0.5\r\ns=News\u{1b}[2J\r\ni=The news\r\nt=0 0\r\n";
        let session =
            Session::parse(format!("{head}c=IN IP4 239.1.2.3/16\r\nm=video 5004 RTP/AVP 33\r\n").as_bytes());
        let session = session.expect("a session");
        assert_eq!((&*session.origin, &*session.name), ("user 1 IN IP4 10.0.0.5", "News [2J"));
        assert_eq!((&*session.information, session.stop), ("The news", None));
        for (rest, expected) in [
            ("c=IN IP4 239.1.2.3\nm=video 5000 udp 33\n", &["/udp/239.1.2.3:5000?interface=lan0"][..]),
            (
                "m=video 5004 RTP/AVP 96\nc=IN IP4 239.1.2.3/1/3\nm=audio 5006/2 RTP/AVP 97\nc=IN IP6 ff15::1\n",
                &["/rtp/239.1.2.3:5004?interface=lan0", "/rtp/[ff15::1]:5006?interface=lan0"],
            ),
            (
                "c=IN IP4 232.1.2.3/16\na=source-filter: incl IN IP4 232.1.2.3 10.0.0.5\nm=video 5004 RTP/AVP 33\n",
                &["/rtp/10.0.0.5@232.1.2.3:5004?interface=lan0"],
            ),
            (
                "c=IN IP4 239.1.2.3/16\na=source-filter:excl IN IP4 * 10.0.0.9\nm=video 5004 RTP/AVP 33\n",
                &["/rtp/239.1.2.3:5004?interface=lan0&exclude=10.0.0.9"],
            ),
            // A source-specific group without its source, a unicast address, encryption, no port: nothing to join.
            ("c=IN IP4 232.1.2.3/16\nm=video 5004 RTP/AVP 33\n", &[]),
            ("c=IN IP4 10.1.2.3\nm=video 5004 RTP/AVP 33\n", &[]),
            ("c=IN IP4 239.1.2.3\nm=video 5004 RTP/SAVP 33\nm=audio 0 RTP/AVP 0\n", &[]),
        ] {
            assert_eq!(paths(&format!("{head}{rest}")), expected, "{rest}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(lines in prop::collection::vec("[vosictam]=[ -~]{0,60}|.{0,20}", 0..30)) {
            if let Some(session) = Session::parse(lines.join("\n").as_bytes()) {
                prop_assert!(session.streams.len() <= STREAMS && !session.name.contains(char::is_control));
            }
        }
    }
}
