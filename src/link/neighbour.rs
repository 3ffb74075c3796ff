//! A gateway that announces itself on a LAN of ours, as mDNS has told of it.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use mdns_sd::{IfKind, ResolvedService, ServiceDaemon, ServiceEvent};

use crate::link::announcement::{SERVICE, interfaces};
use crate::model::selector::InterfaceSelector;

/// The most neighbours that one search takes note of: anybody on the LAN can announce anything.
const MOST: usize = 64;
/// Letters of a neighbour's name that are kept.
const LONGEST_NAME: usize = 63;

/// A gateway that announces itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    name: String,
    id: String,
    /// Where it is, IPv4 first.
    addresses: Vec<SocketAddr>,
    tls: bool,
    links: bool,
}

/// Asks on `interface` (`None`: on every one but the loopback) and listens for `time`; by name, [`MOST`] at most.
///
/// # Errors
/// Where the thread that asks can't be had.
pub fn find(interface: Option<&InterfaceSelector>, time: Duration) -> Result<Vec<Neighbour>, mdns_sd::Error> {
    let daemon = ServiceDaemon::new()?;
    daemon.disable_interface(IfKind::All)?;
    daemon.enable_interface(interfaces(interface))?;
    let events = daemon.browse(SERVICE)?;
    let end = Instant::now() + time;
    let mut found = BTreeMap::new();
    while let Ok(event) = events.recv_deadline(end) {
        match event {
            ServiceEvent::ServiceResolved(service) if found.len() < MOST => {
                if let Some(neighbour) = Neighbour::read(&service) {
                    found.insert(service.fullname.clone(), neighbour);
                }
            }
            ServiceEvent::ServiceRemoved(_, name) => drop(found.remove(&name)),
            _ => {}
        }
    }
    // It ends with this; nobody waits for it.
    let _ = daemon.shutdown();
    let mut found: Vec<Neighbour> = found.into_values().collect();
    found.sort_by(|one, other| (&one.name, &one.id).cmp(&(&other.name, &other.id)));
    Ok(found)
}

impl Neighbour {
    /// What a service says, if it is a gateway that can be reached.
    fn read(service: &ResolvedService) -> Option<Neighbour> {
        let label = service.fullname.strip_suffix(SERVICE)?.trim_end_matches('.');
        let addresses = service.addresses.iter().map(mdns_sd::ScopedIp::to_ip_addr);
        let text = |key| service.get_property_val_str(key).unwrap_or("");
        Neighbour::of(label, text("id"), addresses.collect(), service.port, text("tls"), text("links"))
    }

    fn of(
        label: &str,
        id: &str,
        mut addresses: Vec<IpAddr>,
        port: u16,
        tls: &str,
        links: &str,
    ) -> Option<Neighbour> {
        // What a URL can't hold leads nowhere: link-local addresses want an interface beside them.
        addresses.retain(|address| match address {
            IpAddr::V4(four) => !four.is_unspecified() && !four.is_multicast() && !four.is_broadcast(),
            IpAddr::V6(six) => !six.is_unspecified() && !six.is_multicast() && !six.is_unicast_link_local(),
        });
        addresses.sort();
        let is_run = id.len() == 16 && id.bytes().all(|digit| digit.is_ascii_hexdigit());
        if addresses.is_empty() || port == 0 || !is_run {
            return None;
        }
        // It goes into a terminal and a file.
        let plain = |letter: &char| letter.is_ascii_alphanumeric() || "-_. ".contains(*letter);
        let name: String = label.chars().filter(plain).take(LONGEST_NAME).collect();
        Some(Neighbour {
            name: if name.trim().is_empty() { id.to_owned() } else { name.trim().to_owned() },
            id: id.to_ascii_lowercase(),
            addresses: addresses.into_iter().map(|address| SocketAddr::new(address, port)).collect(),
            tls: tls == "1",
            links: links == "1",
        })
    }

    /// Whether others may link to it.
    #[must_use]
    pub fn accepts_links(&self) -> bool {
        self.links
    }

    fn url(&self) -> String {
        format!("{}://{}", if self.tls { "wss" } else { "ws" }, self.addresses[0])
    }

    /// The lines of a configuration file that link to it, through `interface` where one is named.
    #[must_use]
    pub fn lines(&self, interface: Option<&InterfaceSelector>) -> String {
        let mut lines = format!("# {self}\n");
        if !self.links {
            lines.push_str("# It accepts no links: start it with --accept-links.\n");
            return lines;
        }
        if self.tls {
            lines.push_str("# Its certificate has to be for what stands in the URL: put its name there.\n");
        }
        // Infallible: a String takes everything. Nothing here has quotes or backslashes.
        let _ = write!(lines, "[[link]]\nname = \"{}\"\nurl = \"{}\"\n", self.name, self.url());
        if let Some(interface) = interface {
            let _ = writeln!(lines, "interface = \"{interface}\"");
        }
        lines.push_str(
            "[[link.group]]\ngroup = \"239.1.2.3:5000\"  # what to mirror: one such section for each group\n",
        );
        lines
    }
}

impl fmt::Display for Neighbour {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}, run {}, at", self.name, self.id)?;
        for (at, address) in self.addresses.iter().enumerate() {
            write!(formatter, "{} {address}", if at > 0 { "," } else { "" })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::config::{Config, Overrides};

    const ID: &str = "0123456789abcdef";

    fn of(label: &str, addresses: &[&str], links: &str) -> Option<Neighbour> {
        let addresses = addresses.iter().map(|address| address.parse().expect("an address")).collect();
        Neighbour::of(label, ID, addresses, 8080, "0", links)
    }

    #[test]
    fn the_lines_are_a_configuration() {
        let neighbour =
            of("a \"b\"\n\u{1b}[31m[[link]]", &["fd00::1", "10.0.0.9", "fe80::1"], "1").expect("a neighbour");
        let interface = "lan0".parse().expect("an interface");
        let lines = neighbour.lines(Some(&interface));
        assert!(
            lines.starts_with("# a b31mlink, run 0123456789abcdef, at 10.0.0.9:8080, [fd00::1]:8080\n"),
            "{lines}"
        );
        let config = Config::build(Some(("f", &lines)), Overrides::default()).expect("a configuration");
        assert_eq!((config.links.len(), config.links[0].url.as_str()), (1, "ws://10.0.0.9:8080"));
        assert_eq!(config.links[0].groups[0].interface, Some(interface));
        let closed = of("b", &["10.0.0.9"], "0").expect("a neighbour");
        assert!(closed.lines(None).lines().all(|line| line.starts_with('#')));
    }

    #[test]
    fn what_leads_nowhere_is_no_neighbour() {
        assert_eq!(of("a", &["fe80::1", "224.0.0.1", "0.0.0.0"], "1"), None);
        let address = vec!["10.0.0.9".parse().expect("an address")];
        for (id, port) in [("", 8080), ("0123456789abcdeg", 8080), (ID, 0)] {
            assert_eq!(Neighbour::of("a", id, address.clone(), port, "0", "1"), None, "{id} {port}");
        }
        assert_eq!(of("", &["10.0.0.9"], "1").expect("a neighbour").name, ID);
    }
}
