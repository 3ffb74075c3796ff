//! `/playlist.m3u`: the streams that the caller may receive, for players.

use hyper::Response;
use serde::Serialize;

use crate::model::announcement::Counts;
use crate::model::announcement::sdp::Announcement;
use crate::model::grant::Grant;
use crate::model::group::Group;
use crate::model::playlist::{self, Entry};
use crate::model::policy::Permit;
use crate::model::request::Target;
use crate::model::selector::InterfaceSelector;
use crate::model::source::SourceFilter;
use crate::model::transport::Transport;
use crate::web::answer::made;
use crate::web::body::Body;
use crate::web::opening::holds_on;
use crate::web::refusal::Refusal;
use crate::web::server::Server;

/// What the query asks for.
#[derive(Clone, Copy, Default)]
struct Wish {
    /// URLs of `/rtp/` for streams whose transport the configuration does not say.
    rtp: bool,
    /// Each begins at a picture.
    keyframe: bool,
}

/// The playlist for whoever has `grant`, with URLs below `base`.
///
/// # Errors
/// 400 for a query that is not understood.
pub fn page(
    server: &Server,
    grant: &Grant,
    query: Option<&str>,
    base: &str,
) -> Result<Response<Body>, Refusal> {
    let wish = Wish::read(query.unwrap_or(""))?;
    let config = server.config();
    let mut entries: Vec<Entry> = Vec::new();
    for (name, stream) in config.streams.iter().filter(|(name, _)| grant.streams.contain(name)) {
        let interface = stream.interface.as_ref();
        // Only by its group can it be had in another way than it is configured.
        let by_group = wish.rtp
            && stream.transport == Transport::Udp
            && may_receive(server, grant, &stream.group, &stream.filter, interface);
        let path = if by_group {
            let target = Target::Group { group: stream.group, filter: stream.filter.clone() };
            target.path(Transport::Rtp, interface.map(ToString::to_string).as_deref())
        } else {
            format!("/streams/{name}")
        };
        entries.push(Entry { name: name.clone(), path: wish.of(path) });
    }
    let announced = server.facts().announced();
    for (interface, session) in announced.iter() {
        let streams = &session.session.streams;
        for stream in streams.iter().filter(|stream| may_have(server, grant, stream, interface)) {
            let kind = if streams.len() > 1 { format!(" ({})", stream.kind) } else { String::new() };
            let name = format!("{}{kind}", session.session.name);
            entries.push(Entry { name, path: wish.of(stream.path(interface)) });
        }
    }
    drop(announced);
    made(server, "audio/x-mpegurl; charset=utf-8", playlist::write(&entries, base).into_bytes())
}

/// Whether `grant` allows what is announced on `interface`.
fn may_have(server: &Server, grant: &Grant, stream: &Announcement, interface: &str) -> bool {
    let interface = InterfaceSelector::Name(interface.to_owned());
    may_receive(server, grant, &stream.group, &stream.filter, Some(&interface))
}

/// Whether `grant` allows to choose a group there; without an interface, somewhere.
fn may_receive(
    server: &Server,
    grant: &Grant,
    group: &Group,
    filter: &SourceFilter,
    interface: Option<&InterfaceSelector>,
) -> bool {
    let interfaces = server.hub().interfaces();
    let holds = |permit: Permit<'_>| interface.is_none_or(|on| holds_on(&permit, on, &interfaces));
    grant.policy.receive(group, filter).is_ok_and(holds)
}

impl Wish {
    fn read(query: &str) -> Result<Self, Refusal> {
        let mut wish = Wish::default();
        for option in query.split('&').filter(|option| !option.is_empty()) {
            match option {
                "rtp" | "rtp=1" => wish.rtp = true,
                "start=keyframe" => wish.keyframe = true,
                ticket if ticket.starts_with("token=") => {}
                _ => {
                    let fix = "a playlist takes rtp and start=keyframe, and nothing else";
                    return Err(Refusal::malformed(fix));
                }
            }
        }
        Ok(wish)
    }

    fn of(self, path: String) -> String {
        match (self.keyframe, path.contains('?')) {
            (false, _) => path,
            (true, false) => format!("{path}?start=keyframe"),
            (true, true) => format!("{path}&start=keyframe"),
        }
    }
}

/// What `/api/v1/announcements` says.
#[derive(Debug, Serialize)]
pub struct AnnouncementsStatus {
    announcements: Vec<SessionAnnounced>,
    #[serde(flatten)]
    counts: Counts,
}

#[derive(Debug, Serialize)]
struct SessionAnnounced {
    name: String,
    information: String,
    interface: String,
    announcer: String,
    streams: Vec<StreamAnnounced>,
}

#[derive(Debug, Serialize)]
struct StreamAnnounced {
    kind: String,
    path: String,
    group: String,
    transport: &'static str,
}

/// The sessions announced, as far as whoever has `grant` may receive their streams.
#[must_use]
pub fn announcements(server: &Server, grant: &Grant) -> AnnouncementsStatus {
    let announced = server.facts().announced();
    let sessions = announced.iter().filter_map(|(interface, announced)| {
        let streams = announced.session.streams.iter();
        let allowed = streams.filter(|stream| may_have(server, grant, stream, interface));
        let streams: Vec<_> = allowed
            .map(|stream| StreamAnnounced {
                kind: stream.kind.clone(),
                path: stream.path(interface),
                group: stream.group.to_string(),
                transport: stream.transport.name(),
            })
            .collect();
        (!streams.is_empty()).then(|| SessionAnnounced {
            name: announced.session.name.clone(),
            information: announced.session.information.clone(),
            interface: interface.to_owned(),
            announcer: announced.announcer.to_string(),
            streams,
        })
    });
    AnnouncementsStatus { announcements: sessions.collect(), counts: announced.counts() }
}
