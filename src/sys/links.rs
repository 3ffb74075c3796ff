//! Links and routes as route netlink tells them (rtnetlink(7)), asked once and without privileges.

use std::io;
use std::net::{IpAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

/// One link, as `ip -details -statistics link` would show it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Index.
    pub index: u32,
    /// Name.
    pub name: String,
    /// MTU in bytes.
    pub mtu: u32,
    /// `veth`, `bridge`, `macvlan`, ...; `None` for hardware.
    pub kind: Option<String>,
    /// Index of the link that this one is enslaved to.
    pub master: Option<u32>,
    /// How often the carrier came or went.
    pub carrier_changes: u32,
    /// Of a bridge, how it treats multicast.
    pub bridge: Option<Bridge>,
    /// What it received.
    pub received: Received,
}

/// Settings of a bridge for multicast.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bridge {
    /// It forwards groups only to ports that asked for them.
    pub snooping: bool,
    /// It asks who wants what, so that memberships stay known.
    pub querier: bool,
}

/// What a link received, in frames, since it exists (`rtnl_link_stats64`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// Taken in.
    pub frames: u64,
    /// Broken: length, checksum, framing.
    pub errors: u64,
    /// Thrown away by the kernel before any protocol saw them; frames of protocols that nobody speaks count too.
    pub dropped: u64,
    /// Lost in the hardware, for want of room.
    pub missed: u64,
}

/// A longer wait than the kernel ever needs to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// The kernel fills a part of a dump up to 32 KiB where it is offered the room.
const ROOM: usize = 64 << 10;
/// `nlmsghdr`, `ifinfomsg`, `rtmsg` (linux/netlink.h, linux/rtnetlink.h).
const HEADER: usize = 16;
const LINK_INFO: usize = 16;
const ROUTE_INFO: usize = 12;
/// `IFLA_BR_MCAST_SNOOPING` and `IFLA_BR_MCAST_QUERIER` (linux/if_link.h).
const BRIDGE_SNOOPING: u16 = 23;
const BRIDGE_QUERIER: u16 = 25;

/// Every link of the calling thread's network namespace.
///
/// # Errors
/// As the kernel gives them.
pub fn links() -> io::Result<Vec<Link>> {
    let mut found = Vec::new();
    // `ifinfomsg` of zeros: any.
    let flags = libc::NLM_F_REQUEST | libc::NLM_F_DUMP;
    ask(libc::RTM_GETLINK, flags, &[0; LINK_INFO], |kind, body| {
        if kind == libc::RTM_NEWLINK
            && let Some(link) = link(body)
        {
            found.push(link);
        }
    })?;
    Ok(found)
}

/// Index of the interface that the routing table sends to `address` by; `None` where it has no way there.
///
/// # Errors
/// As the kernel gives them.
pub fn route(address: IpAddr) -> io::Result<Option<u32>> {
    let (family, octets) = match address {
        IpAddr::V4(four) => (libc::AF_INET, four.octets().to_vec()),
        IpAddr::V6(six) => (libc::AF_INET6, six.octets().to_vec()),
    };
    let bits = u8::try_from(octets.len() * 8).unwrap_or(u8::MAX);
    let mut request = vec![u8::try_from(family).unwrap_or(0), bits];
    request.resize(ROUTE_INFO, 0);
    let length = u16::try_from(4 + octets.len()).unwrap_or(0);
    request.extend_from_slice(&length.to_ne_bytes());
    request.extend_from_slice(&libc::RTA_DST.to_ne_bytes());
    request.extend_from_slice(&octets);
    let mut out = None;
    let asked = ask(libc::RTM_GETROUTE, libc::NLM_F_REQUEST, &request, |kind, body| {
        if kind == libc::RTM_NEWROUTE {
            out = attributes(body.get(ROUTE_INFO..).unwrap_or_default())
                .find(|(kind, _)| *kind == libc::RTA_OIF)
                .and_then(|(_, value)| word(value, 0));
        }
    });
    match asked {
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EACCES | libc::EINVAL)
            ) =>
        {
            Ok(None)
        }
        other => other.map(|()| out),
    }
}

/// Sends one request and hands every message of the answer to `take`: its type, and what follows the header.
fn ask(kind: u16, flags: libc::c_int, body: &[u8], mut take: impl FnMut(u16, &[u8])) -> io::Result<()> {
    let socket =
        Socket::new(Domain::from(libc::AF_NETLINK), Type::RAW, Some(Protocol::from(libc::NETLINK_ROUTE)))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    // The standard library has no netlink type; sending and receiving bytes is the same for every datagram socket.
    let socket = UdpSocket::from(OwnedFd::from(socket));
    let mut message = Vec::with_capacity(HEADER + body.len());
    message.extend_from_slice(&u32::try_from(HEADER + body.len()).unwrap_or(u32::MAX).to_ne_bytes());
    message.extend_from_slice(&kind.to_ne_bytes());
    message.extend_from_slice(&u16::try_from(flags).unwrap_or(0).to_ne_bytes());
    message.extend_from_slice(&[0; 8]);
    message.extend_from_slice(body);
    socket.send(&message)?;
    let mut buffer = vec![0; ROOM];
    loop {
        let length = socket.recv(&mut buffer)?;
        let mut rest = &buffer[..length];
        while rest.len() >= HEADER {
            let size = word(rest, 0).unwrap_or(0) as usize;
            let kind = u16::from_ne_bytes([rest[4], rest[5]]);
            let several = u16::from_ne_bytes([rest[6], rest[7]]) & libc::NLM_F_MULTI as u16 != 0;
            if size < HEADER || size > rest.len() {
                return Err(io::ErrorKind::InvalidData.into());
            }
            let body = &rest[HEADER..size];
            match libc::c_int::from(kind) {
                libc::NLMSG_DONE => return Ok(()),
                libc::NLMSG_ERROR => {
                    let code = word(body, 0).map_or(0, u32::cast_signed);
                    return if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(-code)) };
                }
                _ => take(kind, body),
            }
            if !several {
                return Ok(());
            }
            rest = rest.get(size.next_multiple_of(4)..).unwrap_or_default();
        }
    }
}

fn link(body: &[u8]) -> Option<Link> {
    let mut link = Link { index: word(body, 4)?, ..Link::default() };
    for (kind, value) in attributes(body.get(LINK_INFO..)?) {
        match kind {
            libc::IFLA_IFNAME => link.name = text(value),
            libc::IFLA_MTU => link.mtu = word(value, 0)?,
            libc::IFLA_MASTER => link.master = word(value, 0),
            libc::IFLA_CARRIER_CHANGES => link.carrier_changes = word(value, 0)?,
            libc::IFLA_STATS64 => {
                // linux/if_link.h: packets, bytes and errors in pairs of received and sent, then the finer counts.
                let count = |number: usize| wide(value, number * 8).unwrap_or(0);
                link.received = Received {
                    frames: count(0),
                    errors: count(4),
                    dropped: count(6),
                    missed: count(14) + count(15),
                };
            }
            libc::IFLA_LINKINFO => {
                for (kind, value) in attributes(value) {
                    match kind {
                        libc::IFLA_INFO_KIND => link.kind = Some(text(value)),
                        libc::IFLA_INFO_DATA if link.kind.as_deref() == Some("bridge") => {
                            link.bridge = Some(bridge(value));
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    Some(link)
}

fn bridge(data: &[u8]) -> Bridge {
    let on = |wanted: u16| {
        attributes(data).any(|(kind, value)| kind == wanted && value.first().is_some_and(|one| *one != 0))
    };
    Bridge { snooping: on(BRIDGE_SNOOPING), querier: on(BRIDGE_QUERIER) }
}

/// The attributes in `bytes`, by type, without the flags that a type may carry.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes([*bytes.first()?, *bytes.get(1)?]));
        let kind = u16::from_ne_bytes([*bytes.get(2)?, *bytes.get(3)?]) & 0x3fff;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn wide(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_is_a_link_with_a_route() {
        let links = links().expect("netlink answers everybody");
        let loopback = links.iter().find(|link| link.name == "lo").expect("lo is everywhere");
        assert!(loopback.mtu > 0 && loopback.kind.is_none() && loopback.bridge.is_none(), "{loopback:?}");
        assert_eq!(route("127.0.0.1".parse().unwrap()).unwrap(), Some(loopback.index));
    }

    #[test]
    fn attributes_end_where_they_are_cut_off() {
        let whole = [5, 0, 3, 0, b'x', 0, 0, 0, 8, 0, 4, 0x80, 1, 0, 0, 0];
        let found: Vec<_> = attributes(&whole).collect();
        if cfg!(target_endian = "little") {
            assert_eq!(found, [(3, &b"x"[..]), (4, &[1, 0, 0, 0][..])]);
        }
        for cut in 0..whole.len() {
            assert!(attributes(&whole[..cut]).count() <= 1);
        }
        assert_eq!(attributes(&[2, 0, 1, 0]).count(), 0);
    }
}
