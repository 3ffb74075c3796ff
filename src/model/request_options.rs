//! The options behind the `?` of a stream's URL.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use super::percent;
use super::quantity::parse_duration;
use super::request::{Beginning, LONGEST_LATENCY, Overflow, Replay, RequestError, StreamOptions};
use super::source::{SourceFilter, parse_sources};
use super::text::{is_digits, quote};

/// Every option that a stream's URL may carry.
const KNOWN: [&str; 13] = [
    "interface",
    "overflow",
    "replay",
    "latency",
    "exclude",
    "echo",
    "replies",
    "ttl",
    "loop",
    "receive",
    "start",
    "fec",
    "token",
];

/// Reads the options. Unknown and repeated ones are errors, so that a typo is seen and not silently the
/// default.
pub(super) fn parse_options(query: &str) -> Result<StreamOptions, RequestError> {
    let mut options = StreamOptions::default();
    let mut seen = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let key = decode(key)?;
        let Some(&known) = KNOWN.iter().find(|&&known| known == key) else {
            let list = KNOWN.join(", ");
            return Err(RequestError::malformed(format!("unknown option {}: known are {list}", quote(&key))));
        };
        if seen.contains(&known) {
            return Err(RequestError::malformed(format!("option {known} is given twice: give it once")));
        }
        seen.push(known);
        // A ticket: whoever checks who may is to look at it. Not here, where a mistake would be repeated in the log.
        if known != "token" {
            set(&mut options, known, &decode(value)?)?;
        }
    }
    if options.start == Beginning::Keyframe && options.replay != Replay::None {
        let fix = "start=keyframe begins at a picture: leave replay= out";
        return Err(RequestError::malformed(fix));
    }
    Ok(options)
}

fn set(options: &mut StreamOptions, key: &str, value: &str) -> Result<(), RequestError> {
    match key {
        "interface" => options.interface = Some(value.parse().map_err(RequestError::malformed)?),
        "overflow" => options.overflow = value.parse().map_err(RequestError::malformed)?,
        "replay" => options.replay = value.parse().map_err(RequestError::malformed)?,
        "latency" => options.latency = Some(latency(value)?),
        "exclude" => {
            let filter =
                parse_sources(value).and_then(SourceFilter::exclude).map_err(RequestError::malformed)?;
            options.exclude = filter.sources().to_vec();
        }
        "echo" => options.echo = switch(key, value)?,
        "replies" => options.replies = switch(key, value)?,
        "ttl" => options.ttl = Some(ttl(value)?),
        "loop" => options.loopback = Some(switch(key, value)?),
        "receive" => options.receive = switch(key, value)?,
        "fec" => options.fec = Some(switch(key, value)?),
        "start" => options.start = start(value)?,
        _ => {}
    }
    Ok(())
}

fn decode(text: &str) -> Result<std::borrow::Cow<'_, str>, RequestError> {
    percent::decode(text).ok_or_else(|| {
        RequestError::malformed(format!("{} has a broken percent encoding or is not UTF-8", quote(text)))
    })
}

fn refuse(key: &str, value: &str, fix: impl Display) -> RequestError {
    RequestError::malformed(format!("{key}={} is not understood: {fix}", quote(value)))
}

fn switch(key: &str, value: &str) -> Result<bool, RequestError> {
    match value {
        "0" => Ok(false),
        "1" => Ok(true),
        _ => Err(refuse(key, value, format_args!("write {key}=0 or {key}=1"))),
    }
}

fn latency(value: &str) -> Result<Duration, RequestError> {
    let latency =
        parse_duration(value).map_err(|error| RequestError::malformed(format!("latency: {error}")))?;
    if latency > LONGEST_LATENCY {
        return Err(refuse("latency", value, "write 0 to 50ms"));
    }
    Ok(latency)
}

fn ttl(value: &str) -> Result<u8, RequestError> {
    let ttl = if is_digits(value) { value.parse().ok() } else { None };
    ttl.filter(|&ttl| ttl != 0).ok_or_else(|| {
        refuse("ttl", value, "a TTL is 1 to 255 (0 can leak out of this host); 1 stays on the link")
    })
}

fn start(value: &str) -> Result<Beginning, RequestError> {
    match value {
        "now" => Ok(Beginning::Now),
        "keyframe" => Ok(Beginning::Keyframe),
        _ => Err(refuse("start", value, "write start=now or start=keyframe")),
    }
}

impl FromStr for Overflow {
    type Err = String;

    fn from_str(text: &str) -> Result<Overflow, String> {
        match text {
            "skip" => Ok(Overflow::Skip),
            "latest" => Ok(Overflow::Latest),
            "close" => Ok(Overflow::Close),
            _ => Err(format!("overflow={} is not understood: write skip, latest or close", quote(text))),
        }
    }
}

/// `20` datagrams, or `500ms`, `2s`, `1.5s`.
impl FromStr for Replay {
    type Err = String;

    fn from_str(text: &str) -> Result<Replay, String> {
        let refused = || {
            format!("replay={} is not understood: write datagrams (20) or a time (500ms, 2s)", quote(text))
        };
        if is_digits(text) {
            return match text.parse().map_err(|_| refused())? {
                0 => Ok(Replay::None),
                datagrams => Ok(Replay::Datagrams(datagrams)),
            };
        }
        match parse_duration(text).map_err(|_| refused())? {
            Duration::ZERO => Ok(Replay::None),
            age => Ok(Replay::Age(age)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::selector::InterfaceSelector;

    #[test]
    fn reads_every_option() {
        let all = "interface=lan0&overflow=latest&replay=500ms&latency=5ms&exclude=10.0.0.9&echo=1&replies=1\
            &ttl=255&loop=0&receive=0&fec=1&start=now&token=secret";
        let expected = StreamOptions {
            interface: Some(InterfaceSelector::Name("lan0".to_owned())),
            overflow: Overflow::Latest,
            replay: Replay::Age(Duration::from_millis(500)),
            start: Beginning::Now,
            latency: Some(Duration::from_millis(5)),
            exclude: vec!["10.0.0.9".parse().expect("valid")],
            echo: true,
            replies: true,
            ttl: Some(255),
            loopback: Some(false),
            receive: false,
            fec: Some(true),
        };
        assert_eq!(parse_options(all), Ok(expected));
        assert_eq!(parse_options(""), Ok(StreamOptions::default()));
        assert_eq!(parse_options("&&"), Ok(StreamOptions::default()));
        assert!(parse_options("%65cho=%31").expect("valid").echo);
    }

    #[test]
    fn replays_datagrams_or_time() {
        for (text, replay) in [
            ("0", Replay::None),
            ("0ms", Replay::None),
            ("20", Replay::Datagrams(20)),
            ("2s", Replay::Age(Duration::from_secs(2))),
            ("1.5s", Replay::Age(Duration::from_millis(1500))),
        ] {
            assert_eq!(text.parse(), Ok(replay), "{text}");
        }
        for bad in ["", "-1", "4294967296", "1x", "s"] {
            assert!(bad.parse::<Replay>().is_err(), "{bad}");
        }
    }

    #[test]
    fn refuses_with_the_fix() {
        for (query, words) in [
            ("sources=10.0.0.1", "unknown option \"sources\": known are interface, overflow"),
            ("echo=1&echo=1", "echo is given twice"),
            ("token=a&token=b", "token is given twice"),
            ("echo", "write echo=0 or echo=1"),
            ("receive=yes", "write receive=0"),
            ("ttl=0", "1 to 255 (0 can leak"),
            ("ttl=256", "1 to 255"),
            ("ttl=+1", "1 to 255"),
            ("latency=51ms", "write 0 to 50ms"),
            ("latency=5", "a number and a unit"),
            ("overflow=drop", "write skip, latest or close"),
            ("replay=soon", "replay=\"soon\""),
            ("exclude=", "not an IP address"),
            ("exclude=239.1.2.3", "unicast"),
            ("interface=", "can't be an interface"),
            ("start=later", "write start=now"),
            ("echo=%3", "broken percent encoding"),
        ] {
            let error = parse_options(query).expect_err(query);
            assert!(error.message.contains(words), "{query}: {error}");
        }
        let error = parse_options("start=keyframe&replay=5").expect_err("both").to_string();
        assert!(error.contains("leave replay= out"), "{error}");
        let options = parse_options("replay=0&start=keyframe").expect("valid");
        assert_eq!(options.start, Beginning::Keyframe);
    }
}
