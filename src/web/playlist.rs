//! `/playlist.m3u`: the streams that the caller may receive, for players.

use bytes::Bytes;
use hyper::Response;
use hyper::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use serde::Serialize;

use crate::model::announcement::Counts;
use crate::model::playlist::{self, Entry};
use crate::model::request::Target;
use crate::model::transport::Transport;
use crate::web::body::Body;
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

/// The playlist, with URLs below `base`.
///
/// # Errors
/// 400 for a query that is not understood.
pub fn page(server: &Server, query: Option<&str>, base: &str) -> Result<Response<Body>, Refusal> {
    let wish = Wish::read(query.unwrap_or(""))?;
    let config = server.config();
    let mut entries: Vec<Entry> = Vec::new();
    for (name, stream) in &config.streams {
        if config.policy.may_receive(&stream.group).is_err() {
            continue;
        }
        let path = if wish.rtp && stream.transport == Transport::Udp {
            let target = Target::Group { group: stream.group, filter: stream.filter.clone() };
            let interface = stream.interface.as_ref().map(ToString::to_string);
            target.path(Transport::Rtp, interface.as_deref())
        } else {
            format!("/streams/{name}")
        };
        entries.push(Entry { name: name.clone(), path: wish.of(path) });
    }
    let announced = server.facts().announced();
    for (interface, session) in announced.iter() {
        let streams = &session.session.streams;
        for stream in streams {
            if config.policy.may_receive(&stream.group).is_err() {
                continue;
            }
            let kind = if streams.len() > 1 { format!(" ({})", stream.kind) } else { String::new() };
            let name = format!("{}{kind}", session.session.name);
            entries.push(Entry { name, path: wish.of(stream.path(interface)) });
        }
    }
    drop(announced);
    let text = Bytes::from(playlist::write(&entries, base));
    let length = text.len();
    let mut response = Response::new(Body::full(text));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("audio/x-mpegurl; charset=utf-8"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

impl Wish {
    fn read(query: &str) -> Result<Self, Refusal> {
        let mut wish = Wish::default();
        for option in query.split('&').filter(|option| !option.is_empty()) {
            match option {
                "rtp" | "rtp=1" => wish.rtp = true,
                "start=keyframe" => wish.keyframe = true,
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

/// The sessions announced, as far as their streams may be received.
#[must_use]
pub fn announcements(server: &Server) -> AnnouncementsStatus {
    let config = server.config();
    let announced = server.facts().announced();
    let sessions = announced.iter().filter_map(|(interface, announced)| {
        let streams = announced.session.streams.iter();
        let allowed = streams.filter(|stream| config.policy.may_receive(&stream.group).is_ok());
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
