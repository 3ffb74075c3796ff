//! One membership: one bound socket joined to (interface, group, filter); it leaves when dropped.

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::AsFd;

use socket2::{Domain, Socket, Type};
use thiserror::Error;
use tokio::io::Interest;
use tokio::net::UdpSocket;

use crate::lan::interface::Interface;
use crate::model::group::Group;
use crate::model::source::SourceFilter;
use crate::sys::batch::ReceiveBatch;
use crate::sys::socket::{self, GroupCall};

/// Kernel state: a socket that hears one group on one interface through one filter, and nothing else.
///
/// It is bound to the group's own address and port, so that neither other groups nor unicast get in; tied to the
/// interface, because `IPV6_MULTICAST_ALL=0` ignores it; and joined alone on its socket, so that no limit of
/// memberships per socket is met.
#[derive(Debug)]
pub struct Membership {
    socket: UdpSocket,
    group: Group,
    index: u32,
    granted: usize,
}

/// A membership that no runtime has taken up yet: whoever does, on whatever thread, finds what has come since.
#[derive(Debug)]
pub struct OpenMembership {
    socket: std::net::UdpSocket,
    group: Group,
    index: u32,
    granted: usize,
}

/// A join that failed, in words, with the fix where one is known.
#[derive(Debug, Error)]
#[error("joining {group} on {interface}: {reason}")]
pub struct JoinError {
    group: Group,
    interface: String,
    reason: String,
    /// What would have to change.
    pub remedy: Remedy,
    /// What the kernel said.
    #[source]
    pub source: io::Error,
}

/// What would have to change for a failed join to succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// The interface: it makes sense to wait for it.
    Interface,
    /// The request: the kernel takes no such join as it is set up.
    Request,
    /// The gateway's privileges.
    Privilege,
    /// What others have taken: a port, memory. It may be free later.
    Others,
}

impl OpenMembership {
    /// Joins. `receive_buffer` is asked for in bytes; see [`Membership::receive_buffer`].
    ///
    /// # Errors
    /// [`JoinError`] with the step that failed and how to mend it.
    pub fn join(
        group: Group,
        filter: &SourceFilter,
        interface: &Interface,
        receive_buffer: usize,
    ) -> Result<Self, JoinError> {
        let failed = |step: Step, source: io::Error| {
            let (remedy, reason) = reason(step, &source, group, filter);
            JoinError { group, interface: interface.name.clone(), reason, remedy, source }
        };
        let domain = if group.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
        let open = || -> io::Result<Socket> {
            let socket = Socket::new(domain, Type::DGRAM.nonblocking().cloexec(), None)?;
            socket.set_reuse_address(true)?;
            if group.is_ipv4() {
                socket.set_multicast_all_v4(false)?;
            } else {
                socket.set_only_v6(true)?;
                // Linux 4.20; without it the device binding and the check of the packet info still hold.
                let _ = socket.set_multicast_all_v6(false);
            }
            socket::receive_details(&socket, group.is_ipv4())?;
            Ok(socket)
        };
        let socket = open().map_err(|error| failed(Step::Open, error))?;
        // Above net.core.rmem_max the kernel grants less without an error.
        let _ = socket.set_recv_buffer_size(receive_buffer);
        let granted = socket.recv_buffer_size().unwrap_or(0);
        match socket::bind_to_index(&socket, interface.index) {
            // Before Linux 5.7 this needs a capability, before 5.1 there is none; the packet info decides in `accepts`.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EPERM | libc::ENOPROTOOPT)) => {}
            other => other.map_err(|error| failed(Step::Device, error))?,
        }
        // Joined and blocked first, bound last: between a join and a block an excluded source would be heard.
        for call in calls(filter) {
            socket::group(&socket, interface.index, group.address(), call)
                .map_err(|error| failed(Step::Join, error))?;
        }
        let address = bind_address(group, interface.index);
        socket.bind(&address.into()).map_err(|error| failed(Step::Bind, error))?;
        Ok(OpenMembership { socket: socket.into(), group, index: interface.index, granted })
    }

    /// Index of the interface it is joined on.
    #[must_use]
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Takes it up, inside a tokio runtime.
    ///
    /// # Errors
    /// [`JoinError`] when the runtime has no room for the socket.
    pub fn take_up(self, interface: &Interface) -> Result<Membership, JoinError> {
        let OpenMembership { socket, group, index, granted } = self;
        let socket = UdpSocket::from_std(socket).map_err(|source| {
            let (remedy, reason) = reason(Step::Open, &source, group, &SourceFilter::Any);
            JoinError { group, interface: interface.name.clone(), reason, remedy, source }
        })?;
        Ok(Membership { socket, group, index, granted })
    }
}

impl Membership {
    /// Joins and takes it up, inside a tokio runtime.
    ///
    /// # Errors
    /// As [`OpenMembership::join`].
    pub fn join(
        group: Group,
        filter: &SourceFilter,
        interface: &Interface,
        receive_buffer: usize,
    ) -> Result<Self, JoinError> {
        OpenMembership::join(group, filter, interface, receive_buffer)?.take_up(interface)
    }

    /// Index of the interface it is joined on.
    #[must_use]
    pub fn index(&self) -> u32 {
        self.index
    }

    /// The receive buffer that the kernel granted, in bytes as it accounts them: twice what can be asked for, and
    /// bounded by `net.core.rmem_max`.
    #[must_use]
    pub fn receive_buffer(&self) -> usize {
        self.granted
    }

    /// Logs how to mend it when the kernel granted less than the `asked` bytes.
    pub fn warn_of_small_buffer(&self, asked: usize) {
        // The kernel accounts twice what is asked for (socket(7)).
        if self.granted < asked.saturating_mul(2) {
            tracing::warn!(
                asked,
                granted = self.granted / 2,
                "the kernel granted a smaller receive buffer, bursts may be lost: raise it with \
                 `sysctl -w net.core.rmem_max={asked}`"
            );
        }
    }

    /// Waits until there may be datagrams.
    ///
    /// # Errors
    /// When the runtime is shutting down.
    pub async fn readable(&self) -> io::Result<()> {
        self.socket.readable().await
    }

    /// Takes what is there into `batch`; says how many.
    ///
    /// # Errors
    /// `WouldBlock` when there is nothing; else what the kernel says.
    pub fn receive(&self, batch: &mut ReceiveBatch) -> io::Result<usize> {
        self.socket.try_io(Interest::READABLE, || batch.receive(&self.socket))
    }

    /// Leaves now, while the socket may still be in use: nothing more gets into it, what it holds can still be taken.
    pub fn leave(&self) {
        // Where the kernel has forgotten the membership, that is what is wanted.
        let _ = socket::group(&self.socket, self.index, self.group.address(), GroupCall::Leave);
    }

    /// The last [`Membership::receive`] has emptied the socket: saves the call that would find it empty. What came since is
    /// a new event for the runtime, which has not been told of it yet.
    pub fn emptied(&self) {
        let _ = self
            .socket
            .try_io(Interest::READABLE, || io::Result::<()>::Err(io::ErrorKind::WouldBlock.into()));
    }

    /// Takes what is there without regard to the runtime's readiness: for the last look before the socket goes.
    ///
    /// # Errors
    /// As [`Membership::receive`].
    pub fn receive_rest(&self, batch: &mut ReceiveBatch) -> io::Result<usize> {
        batch.receive(&self.socket)
    }

    /// Whether a datagram that came to `destination` belongs to this membership.
    #[must_use]
    pub fn accepts(&self, destination: Option<(IpAddr, u32)>) -> bool {
        destination.is_none_or(|(address, index)| address == self.group.address() && index == self.index)
    }

    /// Datagrams that the kernel dropped for want of buffer so far; wraps at 2^32.
    #[must_use]
    pub fn drops(&self) -> u32 {
        socket::drops(&self.socket.as_fd()).unwrap_or(0)
    }
}

/// The memberships that the kernel holds now: one look for all streams.
///
/// Moving or re-creating an interface under the same index loses a membership without a word.
#[derive(Debug, Default)]
pub struct KernelMemberships {
    /// `None` where the table can't be read; then everything counts as held.
    v4: Option<HashSet<(u32, IpAddr)>>,
    v6: Option<HashSet<(u32, IpAddr)>>,
}

impl KernelMemberships {
    /// Reads the tables of the calling thread's network namespace.
    #[must_use]
    pub fn now() -> Self {
        // `thread-self`: `/proc/net` shows the namespace of the process's first thread.
        let table = |name: &str| std::fs::read_to_string(format!("/proc/thread-self/net/{name}")).ok();
        KernelMemberships {
            v4: table("igmp").map(|text| igmp(&text)),
            v6: table("igmp6").map(|text| igmp6(&text)),
        }
    }

    /// Whether some socket of this host is a member of `group` on the interface with `index`.
    #[must_use]
    pub fn hold(&self, group: Group, index: u32) -> bool {
        let table = if group.is_ipv4() { &self.v4 } else { &self.v6 };
        table.as_ref().is_none_or(|table| table.contains(&(index, group.address())))
    }
}

/// The calls that make up a filter, in the order that never hears too much.
fn calls(filter: &SourceFilter) -> Vec<GroupCall> {
    match filter {
        SourceFilter::Any => vec![GroupCall::Join],
        SourceFilter::Include(sources) => sources.iter().copied().map(GroupCall::JoinSource).collect(),
        SourceFilter::Exclude(sources) => std::iter::once(GroupCall::Join)
            .chain(sources.iter().copied().map(GroupCall::BlockSource))
            .collect(),
    }
}

/// `ff01::` and `ff02::` groups are bound with their interface, or the kernel says EINVAL.
fn bind_address(group: Group, index: u32) -> SocketAddr {
    match group.address() {
        IpAddr::V6(address) if group.is_link_scoped() => {
            SocketAddrV6::new(address, group.port(), 0, index).into()
        }
        _ => group.socket_address(),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Open,
    Device,
    Join,
    Bind,
}

/// What an error number means at a step, and how to mend it.
fn reason(step: Step, error: &io::Error, group: Group, filter: &SourceFilter) -> (Remedy, String) {
    let sources = filter.sources().len();
    match (step, error.raw_os_error()) {
        (Step::Device | Step::Join, Some(libc::ENODEV)) => {
            (Remedy::Interface, "the interface has gone, or has no address of this family yet".to_owned())
        }
        (Step::Join, Some(libc::ENOBUFS)) if sources > 0 => {
            let (sysctl, usual) =
                if group.is_ipv4() { ("net.ipv4.igmp_max_msf", 10) } else { ("net.ipv6.mld_max_msf", 64) };
            let reason = format!(
                "{sources} sources are more than the kernel takes (usually {usual}): name fewer, or raise {sysctl} \
                 (`sysctl -w {sysctl}={sources}`)"
            );
            (Remedy::Request, reason)
        }
        (Step::Join, Some(libc::ENOBUFS | libc::ENOMEM)) => {
            let reason = "the kernel has no room for another membership: raise net.core.optmem_max";
            (Remedy::Others, reason.to_owned())
        }
        (Step::Join, Some(libc::EINVAL)) if !group.is_ipv4() => {
            let reason = "IPv6 is not usable there: it needs an MTU of 1280 or more and disable_ipv6=0";
            (Remedy::Interface, reason.to_owned())
        }
        (Step::Bind, Some(libc::EADDRINUSE)) => {
            let port = group.port();
            let reason = format!(
                "another program holds port {port} without SO_REUSEADDR: see who with `ss -ulpn 'sport = :{port}'`"
            );
            (Remedy::Others, reason)
        }
        (Step::Bind, Some(libc::EACCES)) => {
            let reason = format!("port {} is below 1024 and needs CAP_NET_BIND_SERVICE", group.port());
            (Remedy::Privilege, reason)
        }
        (Step::Open, _) => (Remedy::Others, format!("opening a socket: {error}")),
        (_, _) => (Remedy::Interface, error.to_string()),
    }
}

/// Reads `/proc/net/igmp`: a line for each interface starting with its index, then indented lines with a group each, as
/// the hexadecimal form of the network-order word read in host order.
fn igmp(text: &str) -> HashSet<(u32, IpAddr)> {
    let mut current = 0;
    let mut found = HashSet::new();
    for line in text.lines().skip(1) {
        let first = line.split_whitespace().next().unwrap_or("");
        if !line.starts_with(char::is_whitespace) {
            current = first.parse().unwrap_or(0);
        } else if let Ok(word) = u32::from_str_radix(first, 16) {
            found.insert((current, Ipv4Addr::from(word.to_ne_bytes()).into()));
        }
    }
    found
}

/// Reads `/proc/net/igmp6`: index, name, group as 32 hexadecimal digits, users and more on each line.
fn igmp6(text: &str) -> HashSet<(u32, IpAddr)> {
    let entry = |line: &str| {
        let mut words = line.split_whitespace();
        let index = words.next()?.parse().ok()?;
        let bits = u128::from_str_radix(words.nth(1)?, 16).ok()?;
        Some((index, Ipv6Addr::from_bits(bits).into()))
    };
    text.lines().filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn igmp_table_is_read_by_interface() {
        let text = "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n\
                    1\tlo        :     1      V3\n\t\t\t\t010000E0     1 0:00000000\t\t0\n\
                    2\teth0      :     2      V3\n\t\t\t\t010101EF     1 0:00000000\t\t0\n";
        let found = igmp(text);
        if cfg!(target_endian = "little") {
            assert!(found.contains(&(2, "239.1.1.1".parse().unwrap())));
            assert!(!found.contains(&(1, "239.1.1.1".parse().unwrap())));
        }
    }

    #[test]
    fn igmp6_table_is_read_by_interface() {
        let text = "2    eth0            ff150000000000000000000000000042     1 00000004 0\n";
        assert_eq!(igmp6(text), HashSet::from([(2, "ff15::42".parse().unwrap())]));
    }

    #[test]
    fn excluded_sources_are_blocked_after_the_join() {
        let source: IpAddr = "10.0.0.9".parse().unwrap();
        let filter = SourceFilter::exclude(vec![source]).unwrap();
        assert_eq!(calls(&filter), [GroupCall::Join, GroupCall::BlockSource(source)]);
    }
}
