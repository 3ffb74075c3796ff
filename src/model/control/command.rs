//! What a client says.

use std::net::IpAddr;
use std::time::Duration;

use thiserror::Error;

use super::fields::Fields;
use super::wire::Wire;
use super::{ErrorCode, ErrorNotice, LONGEST_WATCH, SHORTEST_WATCH};
use crate::model::group::Group;
use crate::model::name::{NameError, check_name};
use crate::model::quantity::parse_duration;
use crate::model::request::{LONGEST_LATENCY, Overflow, Replay};
use crate::model::selector::InterfaceSelector;
use crate::model::source::SourceFilter;
use crate::model::text::quote;
use crate::model::token::Token;

/// One text message from a client, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The client's own number, echoed in the answer; at most [`LARGEST_ID`](super::LARGEST_ID).
    pub id: Option<u64>,
    /// What it wants.
    pub action: Action,
}

/// What a client can want.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Hear a group. Answered with `joined`.
    Join(Box<Join>),
    /// Hear a stream that the configuration names: `join` with `name`. Answered with `joined`.
    JoinNamed(Box<JoinNamed>),
    /// Hear a stream no more. Answered with `left`.
    Leave {
        /// The stream's number.
        stream: u32,
    },
    /// Send to a group. Answered with `sender`.
    OpenSend(OpenSend),
    /// Send to a stream that the configuration names: `open_send` with `name`. Answered with `sender`.
    OpenSendNamed(OpenSendNamed),
    /// Send there no more. Answered with `sender_closed`.
    CloseSend {
        /// The sender's number.
        sender: u32,
    },
    /// Say who is there.
    Auth {
        /// The secret.
        token: Token,
    },
    /// Ask for a sign of life. Answered with `pong`.
    Ping,
    /// Take so many records of a stream more, and then be slow.
    Credit {
        /// The stream's number.
        stream: u32,
        /// Records.
        datagrams: u32,
    },
    /// See the gateway's status again and again. Answered with `status`, each time.
    Watch {
        /// How often, [`SHORTEST_WATCH`]..=[`LONGEST_WATCH`]; `None` ends it.
        interval: Option<Duration>,
    },
}

/// A group to hear, and how. The filter fits the group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Join {
    /// The group.
    pub group: Group,
    /// Whom to hear: `sources` or `exclude`.
    pub filter: SourceFilter,
    /// Where to join; `None` for the gateway's default.
    pub interface: Option<InterfaceSelector>,
    /// Hear what this session sent itself.
    pub echo: bool,
    /// What happens when this client is too slow.
    pub overflow: Overflow,
    /// How far back to begin.
    pub replay: Replay,
    /// How long a datagram may be held so that several go in one write, at most [`LONGEST_LATENCY`]; `None` for the
    /// gateway's default.
    pub latency: Option<Duration>,
    /// Where an earlier subscription ended, so that what the log still holds is heard; `replay` counts where it holds
    /// nothing of it.
    pub resume: Option<Resume>,
}

/// A stream to hear by its name, and how. The fields are those of [`Join`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinNamed {
    /// The stream's name in the gateway's configuration.
    pub name: String,
    /// Whom not to hear, besides those whom the configuration leaves out.
    pub exclude: Vec<IpAddr>,
    /// As [`Join::interface`]; `None` for what the configuration says.
    pub interface: Option<InterfaceSelector>,
    /// As [`Join::echo`].
    pub echo: bool,
    /// As [`Join::overflow`].
    pub overflow: Overflow,
    /// As [`Join::replay`].
    pub replay: Replay,
    /// As [`Join::latency`].
    pub latency: Option<Duration>,
    /// As [`Join::resume`].
    pub resume: Option<Resume>,
}

/// Where an earlier subscription ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resume {
    /// `gateway` of the `hello` then.
    pub gateway: String,
    /// The stream's number then.
    pub stream: u32,
    /// The last sequence that came.
    pub after: u32,
}

/// A group to send to, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenSend {
    /// The group.
    pub group: Group,
    /// Where to send, never `all`; `None` for the gateway's default.
    pub interface: Option<InterfaceSelector>,
    /// TTL or hop limit, 1..=255; `None` for the default of 1.
    pub ttl: Option<u8>,
    /// Whether the gateway's host hears what is sent (`loop`); `None` for the default, yes.
    pub loopback: Option<bool>,
    /// Hear unicast answers to what is sent, as records of kind 2.
    pub replies: bool,
}

/// A stream to send to by its name, and how. The fields are those of [`OpenSend`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenSendNamed {
    /// The stream's name in the gateway's configuration.
    pub name: String,
    /// As [`OpenSend::interface`]; `None` for what the configuration says.
    pub interface: Option<InterfaceSelector>,
    /// As [`OpenSend::ttl`].
    pub ttl: Option<u8>,
    /// As [`OpenSend::loopback`].
    pub loopback: Option<bool>,
    /// As [`OpenSend::replies`].
    pub replies: bool,
}

/// What can't be understood, ready to be answered.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{code}: {message}")]
pub struct CommandError {
    /// The client's own number, where it could be read.
    pub id: Option<u64>,
    /// What kind of mistake.
    pub code: ErrorCode,
    /// What is wrong and what to change, one line; repeats little of what was sent, control characters escaped.
    pub message: String,
}

const GROUP: &str = r#"a multicast address, as "239.1.2.3" or "ff15::42", with the port in port"#;
const NAME: &str = r#"a stream's name, as "camera""#;
const TYPES: &str = "join, leave, open_send, close_send, auth, ping, credit or watch";

impl Command {
    /// Reads one text message. Unknown fields are ignored; `null` is as good as absent.
    ///
    /// # Errors
    /// With [`ErrorCode::TooLong`], [`ErrorCode::BadJson`], [`ErrorCode::UnknownType`] or [`ErrorCode::BadField`].
    pub fn decode(text: &str) -> Result<Command, CommandError> {
        let fields = Fields::parse(text)?;
        let kind = fields.text("type", TYPES)?.ok_or_else(|| fields.wrong("type", TYPES))?;
        let stream = || fields.needed_number("stream", 0, u32::MAX);
        let action = match kind {
            "join" => match fields.text("name", NAME)? {
                Some(name) => Action::JoinNamed(Box::new(JoinNamed::read(name, &fields)?)),
                None => Action::Join(Box::new(Join::read(&fields)?)),
            },
            "leave" => Action::Leave { stream: stream()? },
            "open_send" => match fields.text("name", NAME)? {
                Some(name) => Action::OpenSendNamed(OpenSendNamed::read(name, &fields)?),
                None => Action::OpenSend(OpenSend::read(&fields)?),
            },
            "close_send" => Action::CloseSend { sender: fields.needed_number("sender", 0, u32::MAX)? },
            "auth" => {
                let token = fields.text("token", "the token as text")?;
                let token = token.ok_or_else(|| fields.wrong("token", "the token as text"))?;
                Action::Auth { token: Token(token.to_owned()) }
            }
            "ping" => Action::Ping,
            "credit" => Action::Credit {
                stream: stream()?,
                datagrams: fields.needed_number("datagrams", 1, u32::MAX)?,
            },
            "watch" => Action::Watch { interval: watch_interval(&fields)? },
            other => {
                let message = format!("there is no type {}: write {TYPES}", quote(other));
                return Err(fields.refuse(ErrorCode::UnknownType, message));
            }
        };
        Ok(Command { id: fields.id, action })
    }

    /// The message's text; what has its default is left out.
    #[must_use]
    pub fn encode(&self) -> String {
        serde_json::to_string(&Wire::of(self)).expect("texts, numbers and lists of them are always JSON")
    }
}

impl Join {
    /// Everybody of `group`, on the gateway's default interface, from now on.
    #[must_use]
    pub fn of(group: Group) -> Join {
        Join {
            group,
            filter: SourceFilter::Any,
            interface: None,
            echo: false,
            overflow: Overflow::Skip,
            replay: Replay::None,
            latency: None,
            resume: None,
        }
    }

    fn read(fields: &Fields) -> Result<Join, CommandError> {
        let group = group(fields)?;
        let (sources, exclude) = (fields.addresses("sources")?, fields.addresses("exclude")?);
        let (field, filter) = match (sources.is_empty(), exclude.is_empty()) {
            (false, false) => {
                let message = "sources and exclude exclude each other: leave one out";
                return Err(fields.refuse(ErrorCode::BadField, message));
            }
            (false, true) => ("sources", SourceFilter::include(sources)),
            (true, _) => ("exclude", SourceFilter::exclude(exclude)),
        };
        let filter = filter.map_err(|error| fields.impossible(field, error))?;
        if group.needs_source() && !matches!(filter, SourceFilter::Include(_)) {
            let words = r#"group is source-specific (RFC 4607): name its sources, as "sources":["10.0.0.5"]"#;
            return Err(fields.refuse(ErrorCode::BadField, words));
        }
        filter.check_against(&group).map_err(|error| fields.impossible(field, error))?;
        Ok(Join {
            group,
            filter,
            interface: interface(fields)?,
            echo: fields.switch("echo")?.unwrap_or(false),
            overflow: fields.parsed("overflow", r#""skip", "latest" or "close""#)?.unwrap_or_default(),
            replay: fields.parsed("replay", r#"datagrams ("20") or a time ("500ms")"#)?.unwrap_or_default(),
            latency: latency(fields)?,
            resume: resume(fields)?,
        })
    }
}

impl JoinNamed {
    /// Everybody whom the configuration lets be heard, where it says, from now on.
    ///
    /// # Errors
    /// Where `name` can't be one.
    pub fn of(name: &str) -> Result<JoinNamed, NameError> {
        check_name(name)?;
        Ok(JoinNamed {
            name: name.to_owned(),
            exclude: Vec::new(),
            interface: None,
            echo: false,
            overflow: Overflow::Skip,
            replay: Replay::None,
            latency: None,
            resume: None,
        })
    }

    fn read(name: &str, fields: &Fields) -> Result<JoinNamed, CommandError> {
        check_named(name, fields)?;
        let exclude = SourceFilter::exclude(fields.addresses("exclude")?);
        let exclude = exclude.map_err(|error| fields.impossible("exclude", error))?.sources().to_vec();
        Ok(JoinNamed {
            name: name.to_owned(),
            exclude,
            interface: interface(fields)?,
            echo: fields.switch("echo")?.unwrap_or(false),
            overflow: fields.parsed("overflow", r#""skip", "latest" or "close""#)?.unwrap_or_default(),
            replay: fields.parsed("replay", r#"datagrams ("20") or a time ("500ms")"#)?.unwrap_or_default(),
            latency: latency(fields)?,
            resume: resume(fields)?,
        })
    }
}

impl OpenSend {
    /// To `group`, on the gateway's default interface, with its defaults, and without replies.
    #[must_use]
    pub fn to(group: Group) -> OpenSend {
        OpenSend { group, interface: None, ttl: None, loopback: None, replies: false }
    }

    fn read(fields: &Fields) -> Result<OpenSend, CommandError> {
        let interface = one_interface(fields)?;
        Ok(OpenSend {
            group: group(fields)?,
            interface,
            ttl: fields.number("ttl", 1, 255)?,
            loopback: fields.switch("loop")?,
            replies: fields.switch("replies")?.unwrap_or(false),
        })
    }
}

impl OpenSendNamed {
    /// To the stream `name`, where the configuration says, with the gateway's defaults, and without replies.
    ///
    /// # Errors
    /// Where `name` can't be one.
    pub fn to(name: &str) -> Result<OpenSendNamed, NameError> {
        check_name(name)?;
        let name = name.to_owned();
        Ok(OpenSendNamed { name, interface: None, ttl: None, loopback: None, replies: false })
    }

    fn read(name: &str, fields: &Fields) -> Result<OpenSendNamed, CommandError> {
        check_named(name, fields)?;
        Ok(OpenSendNamed {
            name: name.to_owned(),
            interface: one_interface(fields)?,
            ttl: fields.number("ttl", 1, 255)?,
            loopback: fields.switch("loop")?,
            replies: fields.switch("replies")?.unwrap_or(false),
        })
    }
}

impl CommandError {
    /// The answer.
    #[must_use]
    pub fn notice(&self) -> ErrorNotice<'_> {
        ErrorNotice { id: self.id, ..ErrorNotice::new(self.code, self.message.as_str()) }
    }
}

fn group(fields: &Fields) -> Result<Group, CommandError> {
    let address = fields.text("group", GROUP)?.ok_or_else(|| fields.wrong("group", GROUP))?;
    let address: IpAddr = address.parse().map_err(|_| fields.wrong("group", GROUP))?;
    // The address first: a wrong address with a wrong port is better called a wrong address.
    Group::new(address, 1).map_err(|error| fields.impossible("group", error))?;
    let port = fields.needed_number("port", 1, u16::MAX)?;
    Group::new(address, port).map_err(|error| fields.impossible("group", error))
}

/// Of a stream that is asked for by name, the configuration says which it is.
fn check_named(name: &str, fields: &Fields) -> Result<(), CommandError> {
    check_name(name).map_err(|error| fields.impossible("name", error))?;
    if fields.has("group") || fields.has("port") || fields.has("sources") {
        let message = "the configuration says group, port and sources of a name: leave them out";
        return Err(fields.refuse(ErrorCode::BadField, message));
    }
    Ok(())
}

fn one_interface(fields: &Fields) -> Result<Option<InterfaceSelector>, CommandError> {
    match interface(fields)? {
        Some(InterfaceSelector::All) => {
            Err(fields.wrong("interface", "one interface to send on: all is for receiving"))
        }
        one => Ok(one),
    }
}

fn interface(fields: &Fields) -> Result<Option<InterfaceSelector>, CommandError> {
    fields.parsed("interface", r#"a name, address, index or all, as "lan0""#)
}

fn latency(fields: &Fields) -> Result<Option<Duration>, CommandError> {
    const WRITE: &str = r#""0" to "50ms""#;
    let Some(text) = fields.text("latency", WRITE)? else { return Ok(None) };
    let latency = parse_duration(text).map_err(|error| fields.impossible("latency", error))?;
    if latency > LONGEST_LATENCY { Err(fields.wrong("latency", WRITE)) } else { Ok(Some(latency)) }
}

fn resume(fields: &Fields) -> Result<Option<Resume>, CommandError> {
    const WRITE: &str = r#"{"gateway":"...","stream":7,"after":123}"#;
    let Some(inner) = fields.object("resume", WRITE)? else { return Ok(None) };
    let gateway = inner.text("gateway", "the gateway of hello")?;
    Ok(Some(Resume {
        gateway: gateway.ok_or_else(|| inner.wrong("gateway", "the gateway of hello"))?.to_owned(),
        stream: inner.needed_number("stream", 0, u32::MAX)?,
        after: inner.needed_number("after", 0, u32::MAX)?,
    }))
}

fn watch_interval(fields: &Fields) -> Result<Option<Duration>, CommandError> {
    const MOST: u64 = LONGEST_WATCH.as_millis() as u64;
    let interval = Duration::from_millis(fields.needed_number("interval_ms", 0, MOST)?);
    if interval.is_zero() {
        return Ok(None);
    }
    if interval < SHORTEST_WATCH {
        return Err(fields.wrong("interval_ms", "250 to 60000 milliseconds, or 0 to stop"));
    }
    Ok(Some(interval))
}

#[cfg(test)]
mod tests;
