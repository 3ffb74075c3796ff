//! What a client says, as it is written: one flat JSON object.

use std::net::IpAddr;

use serde::Serialize;

use super::LONGEST_WATCH;
use super::command::{Action, Command, Join, JoinNamed, Resume};
use crate::model::quantity::format_duration;
use crate::model::request::{Overflow, Replay};
use crate::model::selector::InterfaceSelector;
use crate::model::source::SourceFilter;

/// Every field that a command can have, in the order of docs/protocol.md.
#[derive(Default, Serialize)]
pub(super) struct Wire<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    #[serde(skip_serializing_if = "<[IpAddr]>::is_empty")]
    sources: &'a [IpAddr],
    #[serde(skip_serializing_if = "Option::is_none")]
    interface: Option<&'a InterfaceSelector>,
    #[serde(skip_serializing_if = "<[IpAddr]>::is_empty")]
    exclude: &'a [IpAddr],
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    echo: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    overflow: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replay: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<u8>,
    #[serde(rename = "loop", skip_serializing_if = "Option::is_none")]
    loopback: Option<bool>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    replies: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sender: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    datagrams: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    interval_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resume: Option<WireResume<'a>>,
}

#[derive(Serialize)]
struct WireResume<'a> {
    gateway: &'a str,
    stream: u32,
    after: u32,
}

impl<'a> Wire<'a> {
    pub(super) fn of(command: &'a Command) -> Wire<'a> {
        Wire { id: command.id, ..Wire::of_action(&command.action) }
    }

    fn of_action(action: &'a Action) -> Wire<'a> {
        let kind = |kind| Wire { kind, ..Wire::default() };
        match action {
            Action::Join(join) => Wire::of_join(join),
            Action::JoinNamed(join) => Wire::of_named(join),
            Action::Leave { stream } => Wire { stream: Some(*stream), ..kind("leave") },
            Action::OpenSend(open) => Wire {
                group: Some(open.group.address()),
                port: Some(open.group.port()),
                interface: open.interface.as_ref(),
                ttl: open.ttl,
                loopback: open.loopback,
                replies: open.replies,
                ..kind("open_send")
            },
            Action::OpenSendNamed(open) => Wire {
                name: Some(&open.name),
                interface: open.interface.as_ref(),
                ttl: open.ttl,
                loopback: open.loopback,
                replies: open.replies,
                ..kind("open_send")
            },
            Action::CloseSend { sender } => Wire { sender: Some(*sender), ..kind("close_send") },
            Action::Auth { token } => Wire { token: Some(&token.0), ..kind("auth") },
            Action::Ping => kind("ping"),
            Action::Credit { stream, datagrams } => {
                Wire { stream: Some(*stream), datagrams: Some(*datagrams), ..kind("credit") }
            }
            Action::Watch { interval } => {
                let interval = interval.unwrap_or_default().min(LONGEST_WATCH).as_millis() as u64;
                Wire { interval_ms: Some(interval), ..kind("watch") }
            }
        }
    }

    fn of_join(join: &'a Join) -> Wire<'a> {
        let list = join.filter.sources();
        let (sources, exclude) = match join.filter {
            SourceFilter::Include(_) => (list, &[][..]),
            SourceFilter::Any | SourceFilter::Exclude(_) => (&[][..], list),
        };
        Wire {
            kind: "join",
            group: Some(join.group.address()),
            port: Some(join.group.port()),
            sources,
            exclude,
            interface: join.interface.as_ref(),
            echo: join.echo,
            overflow: overflow(join.overflow),
            replay: replay(join.replay),
            latency: join.latency.map(format_duration),
            resume: join.resume.as_ref().map(WireResume::of),
            ..Wire::default()
        }
    }

    fn of_named(join: &'a JoinNamed) -> Wire<'a> {
        Wire {
            kind: "join",
            name: Some(&join.name),
            exclude: &join.exclude,
            interface: join.interface.as_ref(),
            echo: join.echo,
            overflow: overflow(join.overflow),
            replay: replay(join.replay),
            latency: join.latency.map(format_duration),
            resume: join.resume.as_ref().map(WireResume::of),
            ..Wire::default()
        }
    }
}

impl<'a> WireResume<'a> {
    fn of(Resume { gateway, stream, after }: &'a Resume) -> WireResume<'a> {
        WireResume { gateway, stream: *stream, after: *after }
    }
}

fn overflow(overflow: Overflow) -> Option<&'static str> {
    match overflow {
        Overflow::Skip => None,
        Overflow::Latest => Some("latest"),
        Overflow::Close => Some("close"),
    }
}

fn replay(replay: Replay) -> Option<String> {
    match replay {
        Replay::None => None,
        Replay::Datagrams(datagrams) => Some(datagrams.to_string()),
        Replay::Age(age) => Some(format_duration(age)),
    }
}
