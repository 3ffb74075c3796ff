//! Where `wscast send` sends through a gateway, over `wscast.v1`.

use std::fmt;

use bytes::Bytes;

use crate::cli::SendArgs;
use crate::client::{self, Gateway, Options, SendError, Sender};
use crate::model::control::{OpenSend, OpenSendNamed};
use crate::model::group::Group;
use crate::model::request::{Route, StreamRequest, Target, parse};
use crate::tools::counters::say;
use crate::tools::failure::Failure;
use crate::tools::trust::{explain, token, trust};

/// What is sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// A group.
    Group(Group),
    /// A stream that the gateway's configuration names.
    Named(String),
}

/// What is asked of the gateway.
enum Wanted {
    Group(OpenSend),
    Named(OpenSendNamed),
}

/// A sender at a gateway.
pub struct GatewayOutlet {
    gateway: Gateway,
    sender: Sender,
    url: String,
}

impl GatewayOutlet {
    /// Connects to the gateway of `url`, opens a sender to the group or the name in its path, and says so.
    ///
    /// # Errors
    /// [`Failure::Usage`] for what is no such URL, [`Failure::Running`] where nobody answers, or with the gateway's words.
    pub async fn open(url: &str, arguments: &SendArgs) -> Result<(GatewayOutlet, Destination), Failure> {
        let (gateway, open) = target(url, arguments)?;
        let (trust, token) = (trust(&gateway, &arguments.trust)?, token(&gateway, &arguments.trust)?);
        let options = Options { trust, token, ..Options::default() };
        let running =
            |error: client::ClientError| Failure::Running(format!("sending to {url}: {}", explain(&error)));
        let gateway = client::connect(&gateway, options).await.map_err(running)?;
        let (sender, destination) = match open {
            Wanted::Group(open) => {
                let destination = Destination::Group(open.group);
                (gateway.sender(open).await, destination)
            }
            Wanted::Named(open) => {
                let destination = Destination::Named(open.name.clone());
                (gateway.sender_named(open).await, destination)
            }
        };
        let sender = sender.map_err(running)?;
        if let Some((source, interface)) = sender.source() {
            say(format_args!("sending to {destination} through {url}, from {source} on {interface} there"));
        }
        Ok((GatewayOutlet { gateway, sender, url: url.to_owned() }, destination))
    }

    /// Sends one datagram; false where the connection is away, and the datagram lost.
    ///
    /// # Errors
    /// [`Failure::Running`] for a datagram that is too large, and where the gateway ended the sender.
    pub async fn send(&self, payload: &[u8]) -> Result<bool, Failure> {
        match self.sender.send(Bytes::copy_from_slice(payload)).await {
            Ok(()) => Ok(true),
            Err(SendError::Away) => Ok(false),
            Err(error) => Err(Failure::Running(format!("sending to {}: {error}", self.url))),
        }
    }

    /// Writes what is still to be written and says goodbye; how many datagrams the gateway refused, and its words.
    pub async fn close(self) -> (u64, String) {
        let GatewayOutlet { gateway, sender, .. } = self;
        gateway.close().await;
        (sender.refused(), sender.refusal().unwrap_or_default())
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Destination::Group(group) => group.fmt(formatter),
            Destination::Named(name) => formatter.write_str(name),
        }
    }
}

/// The gateway's address, and what is asked of it.
fn target(url: &str, arguments: &SendArgs) -> Result<(String, Wanted), Failure> {
    let usage = |words: String| Failure::Usage(format!("sending to {url}: {words}"));
    let malformed = || usage("write ws://HOST:PORT/udp/GROUP:PORT or ws://HOST:PORT/streams/NAME".to_owned());
    if arguments.interface.is_some() {
        return Err(usage(
            "--interface is for sending here: write ?interface=NAME behind the URL".to_owned(),
        ));
    }
    let (scheme, rest) =
        url.split_once("://").filter(|(scheme, _)| matches!(*scheme, "ws" | "wss")).ok_or_else(malformed)?;
    let (authority, rest) = rest.split_once('/').ok_or_else(malformed)?;
    let (path, query) = rest.split_once('?').map_or((rest, None), |(path, query)| (path, Some(query)));
    let route = parse(&format!("/{path}"), query).map_err(|error| usage(error.to_string()))?;
    let Route::Stream(StreamRequest { target, options, .. }) = route else {
        return Err(malformed());
    };
    let (interface, ttl) = (options.interface, options.ttl.or(Some(arguments.ttl)));
    let loopback = if arguments.no_loop { Some(false) } else { options.loopback };
    let open = match target {
        Target::Group { group, .. } => {
            Wanted::Group(OpenSend { interface, ttl, loopback, ..OpenSend::to(group) })
        }
        Target::Named(name) => {
            let open = OpenSendNamed::to(&name).map_err(|error| usage(error.to_string()))?;
            Wanted::Named(OpenSendNamed { interface, ttl, loopback, ..open })
        }
    };
    Ok((format!("{scheme}://{authority}"), open))
}
