//! Keeps one link of our own up: connects, greets, and comes back for as long as it is polled.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::timeout;
use tracing::{debug, warn};

use crate::client::{self, Identity, Options, TokenFile, Trust};
use crate::link::connection::{self, End};
use crate::link::exchange::Exchange;
use crate::link::link::{Link, Place, Standing};
use crate::model::link::message::{Answer, Call, LinkMessage, Opened};
use crate::model::link::{Credentials, LinkConfig};
use crate::sys::random;

/// Connecting may take this long: a lost SYN is sent anew after 1 s, and a link shall be back 3 s after a cut.
const CONNECTING: Duration = Duration::from_millis(2500);
/// The longest pause before the next attempt, with full jitter.
const PAUSE: Duration = Duration::from_millis(500);
/// The pause after a refusal that somebody has to do something about.
const REFUSED: Duration = Duration::from_secs(10);

/// Why an attempt came to nothing.
struct Failed {
    reason: String,
    /// Whether only a person can help.
    is_final: bool,
}

/// Keeps `link` up.
pub(super) async fn keep_up(exchange: Rc<Exchange>, link: Rc<Link>, config: LinkConfig) {
    loop {
        let pause = match connect(&exchange, &link, &config).await {
            Ok(End::Lost(reason)) => {
                link.down(Standing::Away(reason));
                jittered()
            }
            Ok(End::Replaced) => return,
            Err(Failed { reason, is_final: false }) => {
                link.down(Standing::Away(reason));
                jittered()
            }
            Err(Failed { reason, is_final: true }) => {
                link.down(Standing::Refused(reason));
                REFUSED
            }
        };
        tokio::time::sleep(pause).await;
    }
}

async fn connect(exchange: &Exchange, link: &Rc<Link>, config: &LinkConfig) -> Result<End, Failed> {
    let failed = |reason: String| Failed { reason, is_final: false };
    let options = options(config).map_err(|reason| Failed { reason, is_final: true })?;
    let connecting = timeout(CONNECTING, client::connect_link(&config.url, &options)).await;
    let connected = connecting
        .map_err(|_| failed(format!("connecting to {}: no answer for {CONNECTING:?}", config.url)))?;
    let (mut socket, gateway) =
        connected.map_err(|error| Failed { reason: error.to_string(), is_final: error.is_final() })?;
    let gateway =
        u64::from_str_radix(&gateway, 16).map_err(|_| failed("its hello names no run".to_owned()))?;
    let Place { after, first } = link.place();
    let call = Call {
        gateway: format!("{:016x}", exchange.gateway),
        name: link.name.clone(),
        session: format!("{:016x}", link.session),
        after,
        first,
        groups: link.channels.clone(),
    };
    connection::said(&mut socket, LinkMessage::Link(call).encode()).await.map_err(failed)?;
    let answer = match connection::heard(&mut socket).await.map_err(failed)? {
        LinkMessage::Linked(answer) => answer,
        LinkMessage::Error(refusal) => {
            return Err(Failed { reason: refusal.message, is_final: !refusal.retry });
        }
        LinkMessage::Link(_) | LinkMessage::Stopped(_) => {
            return Err(failed("it answers with something else".to_owned()));
        }
    };
    let Answer { resumed, after, first, groups } = answer;
    for (channel, opened) in groups.iter().enumerate() {
        match opened {
            Opened::Mirrored { interface } => debug!(link = link.name, channel, interface, "mirrored"),
            Opened::Refused { error } => {
                warn!(link = link.name, channel, error, "the other gateway does not mirror a group");
            }
        }
    }
    link.up(gateway, Place { after, first }, resumed);
    Ok(connection::converse(socket, link).await)
}

/// Reads what the link shows and trusts.
fn options(config: &LinkConfig) -> Result<Options, String> {
    let Credentials { token_file, token, ca, client_cert, client_key } = &config.credentials;
    let token = match token_file {
        None => token.clone(),
        Some(file) => {
            let read = TokenFile::read(file).map_err(|error| error.to_string())?;
            if let Some(warning) = read.warning(file) {
                warn!(link = config.name, "{warning}");
            }
            Some(read.token)
        }
    };
    let trust = config.url.starts_with("wss://").then(|| {
        let identity = client_cert.as_deref().zip(client_key.as_deref());
        let identity = identity.map(|(certificate, key)| Identity { certificate, key });
        Trust::read(ca.as_deref(), identity).map_err(|error| error.to_string())
    });
    Ok(Options { token, trust: trust.transpose()?, ..Options::default() })
}

fn jittered() -> Duration {
    PAUSE.mul_f64(random::number() as f64 / u64::MAX as f64)
}
