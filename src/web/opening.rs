//! From what a URL asks for to the streams that serve it: policy, interface, join.

use std::rc::Rc;

use hyper::StatusCode;

use crate::hub::cursor::Cursor;
use crate::hub::hub::Hub;
use crate::hub::key::StreamKey;
use crate::hub::sender::SenderKey;
use crate::hub::stream::Stream;
use crate::hub::subscribe_error::SubscribeError;
use crate::lan::interface::Interfaces;
use crate::lan::membership::Remedy;
use crate::lan::transmit::TransmitOptions;
use crate::model::config::{Config, NamedStream};
use crate::model::control::OpenSend;
use crate::model::grant::Grant;
use crate::model::group::Group;
use crate::model::policy::Permit;
use crate::model::request::{Beginning, StreamOptions, StreamRequest};
use crate::model::selector::InterfaceSelector;
use crate::model::transport::Transport;
use crate::web::asked::{Asked, Permits};
use crate::web::beginning;
use crate::web::reading::Reading;
use crate::web::refusal::Refusal;

/// A stream request that was checked against policy and limits and found its interfaces. Nothing is joined yet.
#[derive(Debug)]
pub struct Opening {
    /// What was asked for, and what that meant.
    pub asked: Asked,
    /// The group.
    pub group: Group,
    /// What was asked for besides.
    pub options: StreamOptions,
    /// One stream for each interface; none where only sending was asked for.
    pub keys: Vec<StreamKey>,
    /// The interfaces by name, for `Wscast-Interface`.
    pub interface: String,
    /// How to send; the error where this request can't.
    pub sending: Result<SenderKey, String>,
}

impl Opening {
    /// Checks `request` and finds its interfaces.
    ///
    /// # Errors
    /// 400 for what makes no sense, 403 for what is not allowed, 404 for what there is not.
    pub fn check(
        request: StreamRequest,
        config: &Config,
        grant: &Grant,
        interfaces: &Interfaces,
    ) -> Result<Self, Refusal> {
        let (mut asked, Permits { receive, send }) = Asked::check(request, config, grant)?;
        let (group, filter) = (asked.group, asked.filter.clone());
        let (transport, options) = (asked.transport, asked.options().clone());
        let permit = match (options.receive, &send) {
            (true, _) => &receive,
            (false, Ok(send)) => send,
            (false, Err(denied)) => return Err(Refusal::not_allowed(denied.clone())),
        };
        let selectors = selectors(group, &options, asked.named(config), config, interfaces, permit)?;
        asked.interfaces.clone_from(&selectors);
        let may_send = send.and_then(|permit| match &selectors[..] {
            [selector, ..] if !holds_on(&permit, selector, interfaces) => {
                Err(format!("sending to {group} is not allowed on {selector}"))
            }
            _ => Ok(()),
        });
        let own = grant.streams_per_session.or(config.limits.streams_per_session);
        let most = own.unwrap_or(u32::MAX);
        if selectors.len() > most as usize {
            let reason = format!(
                "{} interfaces are more than the {most} streams a session may have (--limit streams-per-session)",
                selectors.len()
            );
            return Err(Refusal::not_allowed(reason));
        }
        if selectors.len() > 1 && options.start == Beginning::Keyframe {
            let fix = "start=keyframe is of one stream: name one interface for interface=all";
            return Err(Refusal::malformed(fix));
        }
        let interface = selectors
            .iter()
            .map(|selector| {
                interfaces.find(selector).map_or_else(|| selector.to_string(), |found| found.name.clone())
            })
            .collect::<Vec<_>>()
            .join(", ");
        let sending = match (&selectors[..], &options.interface, may_send) {
            (_, _, Err(denied)) => Err(denied),
            _ if transport != Transport::Udp => {
                Err("an RTP stream receives only: send to /udp/, with RTP headers of your own".to_owned())
            }
            (_, Some(InterfaceSelector::All), _) => {
                Err("interface=all receives only: name one to send".to_owned())
            }
            ([selector, ..], _, Ok(())) => {
                let ttl = options.ttl.unwrap_or(1);
                let loopback = options.loopback.unwrap_or(true);
                let options = TransmitOptions { ttl, loopback };
                Ok(SenderKey { group, interface: selector.clone(), options })
            }
            ([], _, _) => Err("there is no interface to send on".to_owned()),
        };
        if let (false, Err(reason)) = (options.receive, &sending) {
            return Err(Refusal::not_allowed(reason.clone()));
        }
        let keys = if options.receive {
            selectors
                .into_iter()
                .map(|interface| StreamKey { interface, group, filter: filter.clone(), transport })
                .collect()
        } else {
            Vec::new()
        };
        Ok(Opening { asked, group, options, keys, interface, sending })
    }

    /// Checks what is to be sent to, and finds its interface.
    ///
    /// # Errors
    /// As [`Opening::check`].
    pub fn sender_key(
        open: &OpenSend,
        config: &Config,
        grant: &Grant,
        interfaces: &Interfaces,
    ) -> Result<SenderKey, Refusal> {
        let (group, ttl) = (open.group, open.ttl.unwrap_or(1));
        let permit = grant.policy.send(&group).map_err(|denied| Refusal::not_allowed(denied.to_string()))?;
        check_ttl(ttl, config, grant)?;
        let options = StreamOptions { interface: open.interface.clone(), ..StreamOptions::default() };
        let interface = selectors(group, &options, None, config, interfaces, &permit)?
            .into_iter()
            .next()
            .ok_or_else(|| Refusal::not_found("there is no interface to send on"))?;
        let options = TransmitOptions { ttl, loopback: open.loopback.unwrap_or(true) };
        Ok(SenderKey { group, interface, options })
    }

    /// Joins, or finds joined, each stream, with a place in its log: where the request says, for which it may wait.
    /// `reports_kind` says whether it also waits a moment to see what the stream carries.
    ///
    /// # Errors
    /// 503 when the gateway has joined as many streams, or as fast, as it may, or others hold what it needs; 400 or 403
    /// when the kernel takes no such join at all.
    pub async fn join(&self, hub: &Hub, reports_kind: bool) -> Result<Joined, Refusal> {
        let streams = self.keys.iter().map(|key| stream(hub, key)).collect::<Result<Vec<_>, _>>()?;
        let start = match (&streams[..], self.options.start) {
            ([stream], Beginning::Keyframe) => beginning::picture(stream, hub.replay_bounds()).await,
            _ => None,
        };
        let cursor = |stream: &Rc<Stream>| match &start {
            Some(start) => Cursor::since(&stream.log(), start.sequence, hub.replay_bounds(), stream.now()),
            None => Cursor::new(&stream.log(), self.options.replay, hub.replay_bounds(), stream.now()),
        };
        // Before the wait for what it carries: what comes meanwhile is the reader's too.
        let readings: Vec<_> = streams
            .iter()
            .map(|stream| Reading { cursor: cursor(stream), stream: Rc::clone(stream) })
            .collect();
        let carries_ts = match &streams[..] {
            [stream] if reports_kind => start.is_some() || beginning::carries_ts(stream).await,
            _ => false,
        };
        Ok(Joined { readings, tables: start.map(|start| start.tables).unwrap_or_default(), carries_ts })
    }
}

/// The streams that a request reads, and where it begins.
pub struct Joined {
    /// Each with a place in its log.
    pub readings: Vec<Reading>,
    /// What a player wants before the first datagram; empty where it asked for nothing.
    pub tables: Vec<u8>,
    /// Whether it is known that they carry MPEG-TS.
    pub carries_ts: bool,
}

fn stream(hub: &Hub, key: &StreamKey) -> Result<Rc<Stream>, Refusal> {
    hub.stream(key).map_err(|error| match error {
        SubscribeError::Streams(_) | SubscribeError::Subscriptions(_) | SubscribeError::JoinRate => {
            Refusal::overload(error.to_string())
        }
        SubscribeError::Memory => Refusal::memory(),
        SubscribeError::Join(failed) => match failed.remedy {
            Remedy::Request => Refusal::malformed(failed.to_string()),
            Remedy::Privilege => Refusal::not_allowed(failed.to_string()),
            Remedy::Interface | Remedy::Others => {
                Refusal::new(StatusCode::SERVICE_UNAVAILABLE, format!("unavailable: {failed}"))
            }
        },
    })
}

pub(super) fn check_ttl(ttl: u8, config: &Config, grant: &Grant) -> Result<(), Refusal> {
    let most = grant.max_ttl.map_or(config.max_ttl, |most| most.min(config.max_ttl));
    if ttl <= most {
        return Ok(());
    }
    let reason = format!("a TTL of {ttl} is above the {most} allowed here (--max-ttl)");
    Err(Refusal::not_allowed(reason))
}

/// Where to join: what the URL says, else the named stream, else the configuration, else the routing table.
fn selectors(
    group: Group,
    options: &StreamOptions,
    named: Option<&NamedStream>,
    config: &Config,
    interfaces: &Interfaces,
    permit: &Permit<'_>,
) -> Result<Vec<InterfaceSelector>, Refusal> {
    let Some(allowed) = permit.interfaces() else {
        return any_selectors(group, options, named, config, interfaces);
    };
    let words = || {
        let allowed: Vec<String> = allowed.iter().map(ToString::to_string).collect();
        Refusal::not_allowed(format!("{group} is allowed on {} only", allowed.join(", ")))
    };
    // Where none is asked for, the first that is allowed is as good as any default; others are not named to anybody.
    let options = match &options.interface {
        Some(InterfaceSelector::All) => options.clone(),
        Some(asked) if !holds_on(permit, asked, interfaces) => return Err(words()),
        Some(_) => options.clone(),
        None => StreamOptions { interface: allowed.first().map(|&first| first.clone()), ..options.clone() },
    };
    let mut selectors = any_selectors(group, &options, named, config, interfaces)?;
    selectors.retain(|selector| holds_on(permit, selector, interfaces));
    if selectors.is_empty() { Err(words()) } else { Ok(selectors) }
}

/// Whether a permit holds on the interface that `selector` means now.
#[must_use]
pub fn holds_on(permit: &Permit<'_>, selector: &InterfaceSelector, interfaces: &Interfaces) -> bool {
    permit.holds_on(selector, |one, other| {
        let index = |selector| interfaces.find(selector).map(|found| found.index);
        index(one).is_some() && index(one) == index(other)
    })
}

fn any_selectors(
    group: Group,
    options: &StreamOptions,
    named: Option<&NamedStream>,
    config: &Config,
    interfaces: &Interfaces,
) -> Result<Vec<InterfaceSelector>, Refusal> {
    let configured = named.and_then(|named| named.interface.as_ref()).or(config.interface.as_ref());
    let selector = match (&options.interface, configured) {
        (Some(asked), _) if interfaces.find(asked).is_some() => asked,
        (Some(InterfaceSelector::All), _) | (None, Some(InterfaceSelector::All)) => {
            let all: Vec<_> = interfaces
                .for_all()
                .map(|interface| InterfaceSelector::Name(interface.name.clone()))
                .collect();
            return if all.is_empty() { Err(Refusal::not_found("no interface is up")) } else { Ok(all) };
        }
        // What the configuration names may appear later; what only a URL names must be there.
        (Some(asked), _) => {
            let known =
                config.interface.iter().chain(config.streams.values().filter_map(|s| s.interface.as_ref()));
            if known.into_iter().any(|known| known == asked) {
                asked
            } else {
                let reason = format!("no interface {asked}; there are: {}", interfaces.names());
                return Err(Refusal::not_found(reason));
            }
        }
        (None, Some(configured)) => configured,
        (None, None) => {
            let routed = interfaces.routed(&group).ok_or_else(|| {
                let reason = format!(
                    "the routing table has no interface for {group}: name one with ?interface=; there are: {}",
                    interfaces.names()
                );
                Refusal::new(StatusCode::NOT_FOUND, format!("no_interface: {reason}"))
            })?;
            return Ok(vec![InterfaceSelector::Name(routed.name.clone())]);
        }
    };
    Ok(vec![selector.clone()])
}
