//! What a gateway says of itself to its neighbours: a service `_wscast._tcp` in mDNS (RFC 6762, RFC 6763).

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use mdns_sd::{IfKind, IfPredicate, ServiceDaemon, ServiceInfo};

use crate::model::listener::Listener;
use crate::model::selector::InterfaceSelector;

/// The service's type.
pub(super) const SERVICE: &str = "_wscast._tcp.local.";
/// Where clients and links connect: the value of `path`.
const PATH: &str = "/v1";
/// How long saying goodbye may take, for each service.
const GOODBYE: Duration = Duration::from_millis(300);
/// Bytes of a host's name that go into that of the service: a label has 63 at most, and a run and a port go in too.
const HOST_NAME: usize = 32;

/// What is announced.
#[derive(Clone, Debug)]
pub struct Presence {
    /// The gateway's run, 16 hexadecimal digits.
    pub id: String,
    /// Where it listens; what other machines can't reach, or only a proxy, is not announced.
    pub listen: Vec<Listener>,
    /// Where it is announced for a listener at all addresses; `None` for every interface but the loopback.
    pub interface: Option<InterfaceSelector>,
    /// Whether it accepts links.
    pub links: bool,
}

/// An announcement that stands; says goodbye when dropped, which takes [`GOODBYE`] at most for each port.
pub struct Announcement {
    daemon: ServiceDaemon,
    names: Vec<String>,
}

impl Announcement {
    /// Announces on the network of the calling thread, from a thread of its own.
    ///
    /// # Errors
    /// Where that thread can't be had, or the announcement can't be worded.
    pub fn start(presence: &Presence) -> Result<Announcement, mdns_sd::Error> {
        let daemon = ServiceDaemon::new()?;
        // It begins on all interfaces.
        daemon.disable_interface(IfKind::All)?;
        let open = presence.listen.iter().filter(|listener| listener.is_open());
        let listen: Vec<(SocketAddr, bool)> =
            open.filter_map(|listener| Some((listener.at.tcp()?, listener.tls))).collect();
        // By port and by what is spoken there.
        let services: BTreeSet<(u16, bool)> = listen.iter().map(|(at, tls)| (at.port(), *tls)).collect();
        let mut announcement = Announcement { daemon, names: Vec::new() };
        for &(port, tls) in &services {
            let name = presence.name((services.len() > 1).then_some(port));
            let of_service = listen.iter().filter(|(at, spoken)| (at.port(), *spoken) == (port, tls));
            let addresses: Vec<IpAddr> = of_service.map(|(at, _)| at.ip().to_canonical()).collect();
            announcement.announce(presence, &name, &addresses, (port, tls))?;
        }
        Ok(announcement)
    }

    fn announce(
        &mut self,
        presence: &Presence,
        name: &str,
        addresses: &[IpAddr],
        (port, tls): (u16, bool),
    ) -> Result<(), mdns_sd::Error> {
        let is_everywhere = addresses.iter().any(IpAddr::is_unspecified);
        let interfaces: Vec<IfKind> = if is_everywhere {
            interfaces(presence.interface.as_ref())
        } else {
            addresses.iter().map(|address| IfKind::Addr(*address)).collect()
        };
        self.daemon.enable_interface(interfaces.clone())?;
        let flag = |is: bool| if is { "1" } else { "0" };
        let told =
            [("path", PATH), ("id", &presence.id), ("tls", flag(tls)), ("links", flag(presence.links))];
        // A name of its own: that of the machine belongs to the machine's own responder.
        let host = format!("wscast-{}.local.", presence.id);
        let fixed: &[IpAddr] = if is_everywhere { &[] } else { addresses };
        let mut service = ServiceInfo::new(SERVICE, name, &host, fixed, port, &told[..])?;
        if is_everywhere {
            service = service.enable_addr_auto();
        }
        service.set_interfaces(interfaces);
        self.names.push(service.get_fullname().to_owned());
        self.daemon.register(service)
    }
}

impl Drop for Announcement {
    fn drop(&mut self) {
        for name in &self.names {
            // Where the thread is gone there is nobody to say it.
            if let Ok(said) = self.daemon.unregister(name) {
                let _ = said.recv_timeout(GOODBYE);
            }
        }
        if let Ok(ended) = self.daemon.shutdown() {
            let _ = ended.recv_timeout(GOODBYE);
        }
    }
}

impl Presence {
    /// The machine's name with the run behind it: two gateways of one machine, or of machines that are called the same, are two.
    fn name(&self, port: Option<u16>) -> String {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let host = host.split('.').next().unwrap_or_default().trim();
        let host: String = host.chars().filter(char::is_ascii_graphic).take(HOST_NAME).collect();
        let host = if host.is_empty() { "wscast" } else { &host };
        let run = self.id.get(..8).unwrap_or(&self.id);
        port.map_or_else(|| format!("{host}-{run}"), |port| format!("{host}-{run}-{port}"))
    }
}

/// The interfaces that a selector means, those that come later included.
pub(super) fn interfaces(selector: Option<&InterfaceSelector>) -> Vec<IfKind> {
    match selector {
        Some(InterfaceSelector::Name(name)) => vec![IfKind::Name(name.clone())],
        Some(InterfaceSelector::Address(address)) => vec![IfKind::Addr(*address)],
        Some(InterfaceSelector::Index(index)) => vec![IfKind::IndexV4(*index), IfKind::IndexV6(*index)],
        Some(InterfaceSelector::All) | None => {
            vec![IfKind::Predicate(IfPredicate::new(|interface| !interface.is_loopback()))]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_labels_and_differ_by_run_and_port() {
        let of = |id: &str| Presence { id: id.to_owned(), listen: Vec::new(), interface: None, links: true };
        let (one, other) = (of("0123456789abcdef"), of("fedcba9876543210"));
        assert_ne!(one.name(None), other.name(None));
        assert!(one.name(None).ends_with("-01234567"));
        assert!(one.name(Some(65535)).ends_with("-01234567-65535") && one.name(Some(65535)).len() <= 63);
    }
}
