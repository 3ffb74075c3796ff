//! What the kernel tells about its network in `/proc`: settings, counters, memberships' versions, who holds a port.
//!
//! Every look is at the network namespace of the calling thread. What can't be read is `None` or left out, never zero.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

/// Processes looked through for the holder of a port; more are not looked at.
const MOST_PROCESSES: usize = 65536;

/// A number under `/proc/sys`, by its path there: `net/ipv4/conf/all/rp_filter`.
#[must_use]
pub fn setting(path: &str) -> Option<u64> {
    fs::read_to_string(Path::new("/proc/sys").join(path)).ok()?.trim().parse().ok()
}

/// Files that this process may have open at most, if it asks for it.
#[must_use]
pub fn most_files() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/limits").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// The host-wide counters of loss.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters(BTreeMap<String, u64>);

impl Counters {
    /// As they are now.
    #[must_use]
    pub fn now() -> Self {
        let read =
            |name: &str| fs::read_to_string(format!("/proc/thread-self/net/{name}")).unwrap_or_default();
        let mut all = pairs(&read("netstat"));
        all.extend(pairs(&read("snmp")));
        all.extend(plain(&read("snmp6")));
        Counters(all)
    }

    /// How much the one called `name` grew since `before`, as `TcpExtIPReversePathFilter` or `UdpRcvbufErrors`.
    #[must_use]
    pub fn grown(&self, before: &Counters, name: &str) -> u64 {
        let at = |counters: &Counters| counters.0.get(name).copied().unwrap_or(0);
        at(self).saturating_sub(at(before))
    }

    /// With one counter set, for diagnoses of made-up facts.
    #[must_use]
    pub fn with(mut self, name: &str, value: u64) -> Self {
        self.0.insert(name.to_owned(), value);
        self
    }
}

/// `/proc/net/snmp` and `netstat`: a line of names, then a line of values, each behind the same first word.
fn pairs(text: &str) -> BTreeMap<String, u64> {
    let lines: Vec<&str> = text.lines().collect();
    let named = lines.chunks_exact(2).filter_map(|pair| {
        let ((group, names), (_, values)) = (pair[0].split_once(':')?, pair[1].split_once(':')?);
        Some((group, names.split_whitespace().zip(values.split_whitespace())))
    });
    named
        .flat_map(|(group, pairs)| {
            pairs.filter_map(move |(name, value)| Some((format!("{group}{name}"), value.parse().ok()?)))
        })
        .collect()
}

/// `/proc/net/snmp6`: a name and a value on each line.
fn plain(text: &str) -> BTreeMap<String, u64> {
    let pair = |line: &str| {
        let mut words = line.split_whitespace();
        Some((words.next()?.to_owned(), words.next()?.parse().ok()?))
    };
    text.lines().filter_map(pair).collect()
}

/// MLD queries that the interface called `name` has received, behind the firewall.
#[must_use]
pub fn mld_queries(name: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/thread-self/net/dev_snmp6/{name}")).ok()?;
    plain(&text).get("Icmp6InGroupMembQueries").copied()
}

/// The version of IGMP that this host speaks on each interface, by index: that of the oldest querier it heard.
#[must_use]
pub fn igmp_versions() -> HashMap<u32, u8> {
    fs::read_to_string("/proc/thread-self/net/igmp").map(|text| versions(&text)).unwrap_or_default()
}

fn versions(text: &str) -> HashMap<u32, u8> {
    let entry = |line: &str| {
        let index = line.split_whitespace().next()?.parse().ok()?;
        Some((index, line.rsplit_once('V')?.1.trim().parse().ok()?))
    };
    text.lines().skip(1).filter(|line| !line.starts_with(char::is_whitespace)).filter_map(entry).collect()
}

/// Names of the interfaces that are wireless.
#[must_use]
pub fn wireless() -> Vec<String> {
    let text = fs::read_to_string("/proc/thread-self/net/wireless").unwrap_or_default();
    // Two lines of headings, then `name: values`.
    let names = text.lines().skip(2).filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned()));
    names.collect()
}

/// An IPv6 address of an interface and how far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv6State {
    /// The address.
    pub address: Ipv6Addr,
    /// Index of its interface.
    pub index: u32,
    /// Duplicate address detection is not over, or has found a duplicate (RFC 4862): it can't be sent from.
    pub tentative: bool,
}

/// Every IPv6 address of this host.
#[must_use]
pub fn ipv6_states() -> Vec<Ipv6State> {
    fs::read_to_string("/proc/thread-self/net/if_inet6").map(|text| states(&text)).unwrap_or_default()
}

fn states(text: &str) -> Vec<Ipv6State> {
    const DAD_FAILED: u32 = 0x08;
    const TENTATIVE: u32 = 0x40;
    let entry = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let flags = u32::from_str_radix(words.get(4)?, 16).ok()?;
        Some(Ipv6State {
            address: u128::from_str_radix(words.first()?, 16).ok()?.into(),
            index: u32::from_str_radix(words.get(1)?, 16).ok()?,
            tentative: flags & (TENTATIVE | DAD_FAILED) != 0,
        })
    };
    text.lines().filter_map(entry).collect()
}

/// A UDP socket of this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UdpSocket {
    /// The address it is bound to.
    pub address: IpAddr,
    /// Its user.
    pub uid: u32,
    /// Datagrams that its full buffer has cost.
    pub drops: u64,
    /// Number of the socket's file.
    pub inode: u64,
    /// The program that has it, as `vlc (pid 4711)`; unknown where it is another user's.
    pub program: Option<String>,
}

/// The UDP sockets bound to `port`, of either IP version, with their programs where this user may know.
#[must_use]
pub fn udp_sockets(port: u16) -> Vec<UdpSocket> {
    let read = |name: &str| fs::read_to_string(format!("/proc/thread-self/net/{name}")).unwrap_or_default();
    let mut found = sockets(&read("udp"), port);
    found.extend(sockets(&read("udp6"), port));
    if !found.is_empty() {
        let programs = programs();
        for socket in &mut found {
            socket.program = programs.get(&socket.inode).cloned();
        }
    }
    found
}

fn sockets(text: &str, port: u16) -> Vec<UdpSocket> {
    let entry = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (address, at) = words.get(1)?.split_once(':')?;
        if u16::from_str_radix(at, 16).ok()? != port {
            return None;
        }
        Some(UdpSocket {
            address: hexadecimal(address)?,
            uid: words.get(7)?.parse().ok()?,
            inode: words.get(9)?.parse().ok()?,
            drops: words.get(12)?.parse().ok()?,
            program: None,
        })
    };
    text.lines().skip(1).filter_map(entry).collect()
}

/// Addresses in `/proc/net/udp` are words in network order, printed as this host's numbers.
fn hexadecimal(text: &str) -> Option<IpAddr> {
    let word = |at: usize| Some(u32::from_str_radix(text.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    match text.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let mut octets = [0; 16];
            for (i, four) in octets.chunks_exact_mut(4).enumerate() {
                four.copy_from_slice(&word(i * 8)?);
            }
            Some(Ipv6Addr::from(octets).into())
        }
        _ => None,
    }
}

/// The programs behind the sockets that this user may look at, by the number of the socket's file.
fn programs() -> HashMap<u64, String> {
    let mut found = HashMap::new();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    for process in processes.take(MOST_PROCESSES) {
        let folder = process.path();
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let Ok(files) = fs::read_dir(folder.join("fd")) else { continue };
        for target in files.flatten().filter_map(|file| fs::read_link(file.path()).ok()) {
            let inode = target
                .to_str()
                .and_then(|text| text.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok());
            if let Some(inode) = inode {
                let name = fs::read_to_string(folder.join("comm")).unwrap_or_default();
                found.entry(inode).or_insert_with(|| format!("{} (pid {pid})", name.trim().escape_debug()));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_by_their_line_and_name() {
        let text = "Udp: InDatagrams RcvbufErrors\nUdp: 5 7\nTcpExt: A IPReversePathFilter\nTcpExt: 1 3\n";
        let now = Counters(pairs(text));
        assert_eq!(now.grown(&Counters::default(), "UdpRcvbufErrors"), 7);
        assert_eq!(
            now.grown(&Counters::default().with("TcpExtIPReversePathFilter", 1), "TcpExtIPReversePathFilter"),
            2
        );
        assert_eq!(now.grown(&Counters::default(), "Nothing"), 0);
        assert_eq!(plain("Udp6RcvbufErrors   \t9\n").get("Udp6RcvbufErrors"), Some(&9));
    }

    #[test]
    fn versions_stand_behind_the_interface() {
        let text = "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n\
                    2\teth0      :     1      V2\n\t\t\t\t010101EF     1 0:00000000\t\t0\n";
        assert_eq!(versions(text), HashMap::from([(2, 2)]));
    }

    #[test]
    fn sockets_are_found_by_port() {
        let text = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n\
             12: 030201EF:1388 00000000:0000 07 00000000:00000000 00:00000000 00000000  1000        0 4242 2 0000000000000000 6\n";
        let found = sockets(text, 5000);
        assert!(sockets(text, 5001).is_empty());
        if cfg!(target_endian = "little") {
            let UdpSocket { address, uid, drops, inode, .. } = &found[0];
            assert_eq!((address.to_string().as_str(), *uid, *drops, *inode), ("239.1.2.3", 1000, 6, 4242));
        }
        let own = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let held = udp_sockets(own.local_addr().expect("an address").port());
        let program = held[0].program.as_deref().expect("our own program");
        assert!(program.ends_with(&format!("(pid {})", std::process::id())), "{program}");
    }

    #[test]
    fn tentative_addresses_are_told() {
        let text = "fe800000000000000000000000000001 02 40 20 c0 eth0\n00000000000000000000000000000001 01 80 10 80 lo\n";
        let found = states(text);
        assert!(found[0].tentative && !found[1].tentative);
        assert_eq!((found[1].address, found[1].index), (Ipv6Addr::LOCALHOST, 1));
    }
}
