//! Sends a datagram to a scratch group on an interface and listens for it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use crate::lan::interface::Interface;
use crate::lan::membership::Membership;
use crate::lan::transmit::{TransmitOptions, Transmitter};
use crate::model::group::Group;
use crate::model::source::SourceFilter;
use crate::sys::batch::ReceiveBatch;
use crate::sys::random;
use crate::tools::doctor::facts::SelfTest;
use crate::tools::refusal;

/// Our own datagram comes back at once, or not at all.
const PATIENCE: Duration = Duration::from_millis(700);
const RECEIVE_BUFFER: usize = 64 << 10;
const OPTIONS: TransmitOptions = TransmitOptions { ttl: 1, loopback: true };

/// Tries it over one IP version, inside a tokio runtime.
pub async fn run(interface: &Interface, ipv4: bool) -> SelfTest {
    let group = scratch(ipv4, random::number());
    match attempt(interface, group).await {
        Ok(outcome) => outcome,
        Err(words) => SelfTest::Impossible(words),
    }
}

async fn attempt(interface: &Interface, group: Group) -> Result<SelfTest, String> {
    let membership = Membership::join(group, &SourceFilter::Any, interface, RECEIVE_BUFFER)
        .map_err(|error| error.to_string())?;
    let transmitter = Transmitter::open(group, interface, OPTIONS).map_err(|error| error.to_string())?;
    let token = format!("wscast doctor {:016x}", random::number());
    if let Err(error) = transmitter.send(token.as_bytes()) {
        return match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => Ok(SelfTest::Refused),
            _ => {
                let reason = refusal::reason(&error, token.len(), group, interface);
                Err(format!("sending to {group} on {}: {reason}", interface.name))
            }
        };
    }
    let mut batch = ReceiveBatch::new();
    let hearing = async {
        while membership.readable().await.is_ok() {
            let count = membership.receive(&mut batch).unwrap_or(0);
            if (0..count).any(|i| batch.received(i).payload == token.as_bytes()) {
                return;
            }
        }
    };
    Ok(match tokio::time::timeout(PATIENCE, hearing).await {
        Ok(()) => SelfTest::Passed,
        Err(_) => SelfTest::NotHeard,
    })
}

/// A group that nobody else uses: of the local scope (RFC 2365: 239.255/16; RFC 7346: site, not assigned by anybody), at a
/// port above the well-known ones.
fn scratch(ipv4: bool, number: u64) -> Group {
    let [a, b, c, d, e, f, g, h] = number.to_be_bytes();
    let address: IpAddr = if ipv4 {
        // Not 239.255.255.x, where SSDP and SAP are.
        Ipv4Addr::new(239, 255, a & 0x7f, b).into()
    } else {
        let pair = |high, low| u16::from_be_bytes([high, low]);
        Ipv6Addr::new(0xff15, 0, 0, 0, pair(a, b), pair(c, d), pair(e, f), pair(g, h)).into()
    };
    let port = 20_000 + u16::from_be_bytes([g, h]) % 30_000;
    Group::new(address, port).expect("both ranges are multicast, and the port is above 0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scratch_groups_are_local_and_denied_nowhere() {
        for number in [0, u64::MAX, 0x1234_5678_9abc_def0] {
            let IpAddr::V4(four) = scratch(true, number).address() else { panic!("IPv4") };
            assert!(four.octets()[..2] == [239, 255] && four.octets()[2] != 255, "{four}");
            let group = scratch(false, number);
            assert!(group.address().to_string().starts_with("ff15:") && group.port() >= 20_000, "{group}");
        }
    }
}
