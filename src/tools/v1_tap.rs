//! What `wscast listen` hears at a gateway over `wscast.v1`: datagrams with their circumstances, losses and states.

use futures_util::FutureExt;

use crate::client::{self, ClientError, Event, Gateway, Losses, Options, Subscription};
use crate::model::control::{Join, JoinNamed};
use crate::model::request::{Beginning, Route, StreamOptions, StreamRequest, Target, parse};
use crate::model::transport::Transport;
use crate::tools::counters::say;
use crate::tools::failure::Failure;
use crate::tools::form::Arrival;
use crate::tools::listen::{Heard, Hearing};
use crate::tools::timestamp;
use crate::tools::trust::explain;

/// A subscription at a gateway, by its stream's URL.
pub struct V1Tap {
    gateway: Gateway,
    subscription: Subscription,
    url: String,
    quiet: bool,
}

/// A stream's URL as `wscast.v1` asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct V1Target {
    gateway: String,
    wanted: Wanted,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Wanted {
    Group(Join),
    Named(JoinNamed),
}

/// Events taken at once, before they are written.
const TURN: usize = 256;

impl V1Target {
    /// What `url` asks for, where `wscast.v1` can: options that are for players and for sending, it can't.
    #[must_use]
    pub fn of(url: &str) -> Option<V1Target> {
        let (scheme, rest) = url.split_once("://").filter(|(scheme, _)| matches!(*scheme, "ws" | "wss"))?;
        let (authority, rest) = rest.split_once('/')?;
        let (path, query) = rest.split_once('?').map_or((rest, None), |(path, query)| (path, Some(query)));
        if query.is_some_and(|query| query.contains("token=")) {
            return None;
        }
        let Ok(Route::Stream(StreamRequest { target, transport: Transport::Udp, options })) =
            parse(&format!("/{path}"), query)
        else {
            return None;
        };
        // The sources of `exclude=` stand in the filter.
        let StreamOptions { interface, overflow, replay, latency, exclude, echo, .. } = options.clone();
        let wanted = match target {
            Target::Group { group, filter } => {
                Wanted::Group(Join { filter, interface, echo, overflow, replay, latency, ..Join::of(group) })
            }
            Target::Named(name) => {
                let join = JoinNamed::of(&name).ok()?;
                Wanted::Named(JoinNamed { exclude, interface, echo, overflow, replay, latency, ..join })
            }
        };
        let rest = (options.replies, options.ttl, options.loopback, options.receive);
        if options.start != Beginning::default() || options.fec.is_some() {
            return None;
        }
        let gateway = format!("{scheme}://{authority}");
        (rest == (false, None, None, true)).then_some(V1Target { gateway, wanted })
    }
}

impl V1Tap {
    /// Connects and joins; `None` where no `wscast.v1` is spoken.
    ///
    /// # Errors
    /// [`Failure::Running`] where nobody answers, or with the gateway's words.
    pub async fn open(
        url: &str,
        target: V1Target,
        options: Options,
        quiet: bool,
    ) -> Result<Option<V1Tap>, Failure> {
        let gateway = match client::connect(&target.gateway, options).await {
            Ok(gateway) => gateway,
            Err(ClientError::NotSpoken { .. } | ClientError::Refused { status: 400 | 404 | 426, .. }) => {
                return Ok(None);
            }
            Err(error) => return Err(Failure::Running(explain(&error))),
        };
        let joined = match target.wanted {
            Wanted::Group(join) => gateway.join(join).await,
            Wanted::Named(join) => gateway.join_named(join).await,
        };
        let subscription = match joined {
            Ok(subscription) => subscription,
            Err(error) => return Err(Failure::Running(format!("listening to {url}: {error}"))),
        };
        Ok(Some(V1Tap { gateway, subscription, url: url.to_owned(), quiet }))
    }

    /// Waits for events and takes what is there.
    ///
    /// # Errors
    /// [`Failure::Running`] where the gateway ended it for good; a connection that is lost is tried again.
    pub async fn hear(&mut self, heard: &mut Heard) -> Result<Hearing, Failure> {
        let mut next = self.subscription.next().await;
        for _ in 0..TURN {
            match next {
                Some(Event::Datagram(datagram)) => heard.take(&Arrival {
                    time: if datagram.arrival > 0 { datagram.arrival } else { timestamp::now() },
                    source: Some(datagram.source).filter(|source| source.port() > 0),
                    interface: Some(&datagram.interface),
                    ttl: datagram.ttl,
                    sequence: Some(datagram.sequence),
                    payload: &datagram.payload,
                }),
                Some(Event::State { state, interface }) if !self.quiet => {
                    say(format_args!("{}: {state} on {interface} there", self.url));
                }
                Some(Event::State { .. }) => {}
                Some(Event::Lost(loss)) => say(format_args!("wscast: {loss}")),
                Some(Event::Away) => say("wscast: the connection is lost: trying again"),
                Some(Event::Ended(reason)) => {
                    return Err(Failure::Running(format!("listening to {}: {}", self.url, explain(&reason))));
                }
                None => return Ok(Hearing::Over),
            }
            next = match self.subscription.next().now_or_never() {
                Some(next) => next,
                None => break,
            };
        }
        Ok(Hearing::GoesOn)
    }

    /// What was lost on the way.
    #[must_use]
    pub fn losses(&self) -> Losses {
        self.subscription.losses()
    }

    /// Says goodbye, and waits a second at most for the answer.
    pub async fn close(self) {
        self.gateway.close().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_that_v1_can_ask_for_are_told_apart() {
        let target =
            V1Target::of("ws://[::1]:8080/udp/10.0.0.5@232.1.2.3:5000?interface=lan0&replay=5&echo=1");
        let V1Target { gateway, wanted: Wanted::Group(join) } = target.expect("it can") else {
            panic!("a group");
        };
        assert_eq!((&*gateway, join.group.to_string()), ("ws://[::1]:8080", "232.1.2.3:5000".to_owned()));
        assert!(join.echo && join.interface.is_some() && join.filter.sources().len() == 1);
        let named = V1Target::of("ws://a/streams/camera?replay=5").expect("it can").wanted;
        assert!(matches!(named, Wanted::Named(join) if join.name == "camera"));
        for url in [
            "ws://a/streams/b?start=keyframe",
            "ws://a/udp/239.1.2.3:5000?receive=0",
            "ws://a/udp/239.1.2.3:5000?replies=1",
            "ws://a/udp/239.1.2.3:5000?token=x",
            "ws://a/udp/nonsense",
            "ws://a",
        ] {
            assert_eq!(V1Target::of(url), None, "{url}");
        }
    }
}
