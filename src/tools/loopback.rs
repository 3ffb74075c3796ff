//! Multicast on the loopback interface: whether it works here, and if not, why and what to do.

use std::time::Duration;

use crate::lan::interface::{Interface, Interfaces};
use crate::lan::membership::Membership;
use crate::lan::transmit::{TransmitOptions, Transmitter};
use crate::model::group::Group;
use crate::model::source::SourceFilter;
use crate::sys::batch::ReceiveBatch;
use crate::sys::random;
use crate::tools::failure::Failure;
use crate::tools::refusal;

/// How datagrams are sent that shall not leave this machine.
pub const OPTIONS: TransmitOptions = TransmitOptions { ttl: 1, loopback: true };

/// Our own datagram comes back within this time, or not at all.
const PATIENCE: Duration = Duration::from_secs(1);
/// Bytes of receive buffer for it.
const RECEIVE_BUFFER: usize = 64 << 10;

/// The loopback interface.
///
/// # Errors
/// [`Failure::Running`] where there is none, or it is down.
pub fn interface() -> Result<Interface, Failure> {
    let interfaces = Interfaces::now().map_err(|error| Failure::doing("listing the interfaces", &error))?;
    let found = interfaces.iter().find(|interface| interface.loopback);
    let Some(found) = found else {
        return Err(Failure::Running(format!(
            "looking for the loopback interface: there is none, only: {}; give this container or namespace one",
            interfaces.names()
        )));
    };
    if !found.up {
        let name = &found.name;
        return Err(Failure::Running(format!(
            "looking at the loopback interface: {name} is down: `ip link set {name} up` (as root)"
        )));
    }
    Ok(found.clone())
}

/// Joins `group` on the loopback interface, sends a datagram to it and waits for it, inside a tokio runtime.
///
/// # Errors
/// The step that failed, in words, with the fix.
pub async fn probe(group: Group, interface: &Interface) -> Result<(), String> {
    let name = &interface.name;
    let membership = Membership::join(group, &SourceFilter::Any, interface, RECEIVE_BUFFER)
        .map_err(|error| error.to_string())?;
    let transmitter = Transmitter::open(group, interface, OPTIONS).map_err(|error| error.to_string())?;
    let token = format!("wscast {:016x}", random::number());
    transmitter.send(token.as_bytes()).map_err(|error| {
        format!("sending to {group} on {name}: {}", refusal::reason(&error, token.len(), group, interface))
    })?;
    let mut batch = ReceiveBatch::new();
    let hearing = async {
        while membership.readable().await.is_ok() {
            let count = membership.receive(&mut batch).unwrap_or(0);
            if (0..count).any(|i| batch.received(i).payload == token.as_bytes()) {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, hearing).await.map_err(|_| {
        format!(
            "a datagram sent to {group} on {name} did not come back within {PATIENCE:?}: a firewall may drop it (see \
             `nft list ruleset` or `iptables -S`), or this container's network knows no multicast (gVisor, for one)"
        )
    })
}
