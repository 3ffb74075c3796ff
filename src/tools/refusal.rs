//! Why the kernel refused to send a datagram, and how to mend it.

use std::io;

use crate::lan::interface::Interface;
use crate::model::group::Group;

/// `error` of sending `size` bytes to `group` on `interface`, in words.
#[must_use]
pub fn reason(error: &io::Error, size: usize, group: Group, interface: &Interface) -> String {
    let (name, address) = (&interface.name, group.address());
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => {
            "a firewall on this host forbids it: see `nft list ruleset` or `iptables -S OUTPUT`".to_owned()
        }
        Some(libc::EMSGSIZE) => {
            format!("{size} bytes are too large for a datagram there: choose a smaller --size")
        }
        Some(libc::ENETDOWN | libc::ENODEV | libc::ENXIO) => {
            format!("{name} is down or gone: `ip link set {name} up`")
        }
        Some(libc::ENETUNREACH | libc::EADDRNOTAVAIL) if interface.loopback && !group.is_ipv4() => format!(
            "{error}: IPv6 multicast on {name} wants a route: `ip -6 route add local {address}/128 dev {name}` (as root)"
        ),
        Some(libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EADDRNOTAVAIL) => {
            let version = if group.is_ipv4() { "IPv4" } else { "IPv6" };
            format!("{error}: {name} wants an {version} address to send from: see `ip address show {name}`")
        }
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_come_with_their_fix() {
        let mut interface = Interface {
            name: "lan0".to_owned(),
            index: 2,
            addresses: Vec::new(),
            up: true,
            running: true,
            multicast: true,
            loopback: false,
        };
        let said = |code, interface: &Interface| {
            let group = "[ff15::42]:5000".parse().expect("a group");
            reason(&io::Error::from_raw_os_error(code), 1400, group, interface)
        };
        for (code, words) in [
            (libc::EPERM, "firewall"),
            (libc::EMSGSIZE, "1400 bytes are too large"),
            (libc::ENETDOWN, "`ip link set lan0 up`"),
            (libc::ENETUNREACH, "lan0 wants an IPv6 address"),
            (libc::EIO, "Input/output error"),
        ] {
            assert!(said(code, &interface).contains(words), "{}", said(code, &interface));
        }
        interface.loopback = true;
        assert!(said(libc::ENETUNREACH, &interface).contains("`ip -6 route add local ff15::42/128 dev"));
    }
}
