//! The lab: a private network of several hosts for each test, made by `netns-scripts/lab`.
//!
//! ```ignore
//! #[path = "../support/mod.rs"]
//! mod support;
//! use support::lab::lab_test;
//!
//! lab_test! {
//!     fn a_group_reaches_the_gateway(lab) {
//!         let group = "239.1.2.3:5000".parse().expect("a group");
//!         let receiver = lab.on("gw", || Receiver::join("lan0", group));
//!         lab.await_member("gw-lan0", group.ip());
//!         lab.on("srca", || Multicast::sender("eth0", group, 1)).send(b"hello");
//!         assert_eq!(receiver.recv().payload, b"hello");
//!     }
//! }
//! ```
//!
//! The macro makes an ordinary `#[test]` that runs the test binary once more, for that one test, inside a
//! lab of its own; so tests run in parallel, and whatever a test starts or configures ends with it, also
//! when the test binary is killed. `#[ignore]` can be put above the `fn`, `#[should_panic]` cannot.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};

/// Set to the test's name in the copy of the test binary that runs inside a lab.
const INSIDE: &str = "WSCAST_LAB_TEST";

/// When set, a test that cannot run here fails, where it otherwise says so and passes. For CI.
const NO_SKIPS: &str = "WSCAST_NO_SKIPS";

/// Where the lab's scripts are, if not in this checkout.
const SCRIPTS: &str = "WSCAST_LAB_SCRIPTS";

/// How long the helpers wait for something that should happen at once, on a machine under load.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Makes a `#[test]` whose body runs inside a fresh lab, with a [`Lab`] under the name given.
macro_rules! lab_test {
    ($(#[$attribute:meta])* fn $name:ident($lab:ident) $body:block) => {
        $(#[$attribute])*
        #[test]
        fn $name() {
            $crate::support::lab::enter(
                concat!(module_path!(), "::", stringify!($name)),
                |$lab: &$crate::support::lab::Lab| $body,
            );
        }
    };
}
pub(crate) use lab_test;

/// Runs `body` in a fresh lab, by running this test binary again for the test at `path` alone. Use
/// [`lab_test!`], which knows the path.
pub fn enter(path: &str, body: impl FnOnce(&Lab)) {
    if std::env::var_os(INSIDE).is_some() {
        return body(&Lab { _built_by_the_script: () });
    }
    // The test harness names tests without their crate.
    let test = path.split_once("::").map_or(path, |(_, test)| test);
    if let Err(reason) = available() {
        return skipped(test, reason);
    }
    let output = lab_script()
        // One stream for both, to keep their order, and to show them only if the test fails.
        .args(["run", "sh", "-c", "exec \"$0\" \"$@\" 2>&1"])
        .arg(std::env::current_exe().expect("this test binary has a path"))
        .args([test, "--exact", "--include-ignored", "--nocapture"])
        .env(INSIDE, test)
        .stdin(Stdio::null())
        .output()
        .expect("start the lab");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    print!("{said}");
    for line in said.lines().filter(|line| line.starts_with("SKIPPED ")) {
        say(line);
    }
    assert!(output.status.success(), "{test} failed in its lab: {}", output.status);
    assert!(said.contains("1 passed"), "the test binary, run again, found no test named {test}");
}

/// Whether labs can be built on this machine, or what forbids it and how to allow it.
pub fn available() -> Result<(), &'static str> {
    static ANSWER: OnceLock<Result<(), String>> = OnceLock::new();
    ANSWER
        .get_or_init(|| {
            let check = lab_script().arg("check").output().map_err(|error| error.to_string())?;
            if check.status.success() {
                return Ok(());
            }
            let reason = String::from_utf8_lossy(&check.stderr).trim().to_owned();
            Err(reason.strip_prefix("lab: ").map_or(reason.clone(), str::to_owned))
        })
        .as_ref()
        .map(|&()| ())
        .map_err(String::as_str)
}

/// `netns-scripts/lab`, which ends when the thread that started it does: a killed test leaves no lab.
pub fn lab_script() -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(scripts().join("lab"));
    command
}

/// The folder of the lab's scripts.
pub fn scripts() -> PathBuf {
    std::env::var_os(SCRIPTS)
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/netns-scripts")), PathBuf::from)
}

/// Says so and returns true when the machine lacks a program that the test needs:
/// `if skip("ffmpeg", "ffmpeg") { return; }`. Fails the test where skipping is not allowed.
#[must_use]
pub fn skip(program: &str, package: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    if std::env::split_paths(&path).any(|folder| folder.join(program).is_file()) {
        return false;
    }
    lacks(&format!("{program} (Debian package {package})"));
    true
}

/// Says that the test that calls it is skipped because the machine has no `what`, or fails it where that is not allowed.
pub fn lacks(what: &str) {
    let test = std::env::var(INSIDE)
        .unwrap_or_else(|_| std::thread::current().name().unwrap_or("a test").to_owned());
    skipped(&test, &format!("needs {what}"));
}

/// Says that `test` is skipped, or fails it where that is not allowed.
pub fn skipped(test: &str, reason: &str) {
    let line = format!("SKIPPED {test}: {reason}");
    assert!(std::env::var_os(NO_SKIPS).is_none(), "{line} (and {NO_SKIPS} is set)");
    say(&line);
}

/// Past the test harness's capture, which hides what tests that pass print.
fn say(line: &str) {
    // A closed standard error must not fail the test.
    let _ = writeln!(io::stderr(), "{line}");
}

/// Asks `condition` every 5 ms until it answers, and panics with `what` when `deadline` has passed.
pub fn wait_for<T>(what: &str, deadline: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = condition() {
            return answer;
        }
        assert!(start.elapsed() < deadline, "waited {deadline:?} in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The lab a test runs in. Its hosts and addresses: `netns-scripts/lab show`.
pub struct Lab {
    _built_by_the_script: (),
}

#[allow(clippy::unused_self, reason = "having a `Lab` is the proof that there is one to act on")]
impl Lab {
    /// A command that will run `program` on `host`, as one process: killing the child kills the program.
    pub fn command(&self, host: &str, program: impl AsRef<OsStr>) -> Command {
        // Not nsenter: this also shows the program the host's own interfaces in /sys/class/net.
        let mut command = Command::new("ip");
        command.args(["netns", "exec", host]).arg(program);
        command
    }

    /// Runs `closure` on a thread in `host`'s network namespace. Sockets stay where they were opened, so
    /// they can be handed out; threads and runtimes started by the closure live on `host` too. A panic
    /// passes on. (`/sys` is not the host's; `/proc/thread-self/net` is.)
    pub fn on<T: Send>(&self, host: &str, closure: impl FnOnce() -> T + Send) -> T {
        let namespace =
            File::open(format!("/run/netns/{host}")).unwrap_or_else(|error| panic!("host {host}: {error}"));
        let inside = move || {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
                .unwrap_or_else(|error| panic!("entering {host}: {error}"));
            closure()
        };
        std::thread::scope(|scope| {
            scope.spawn(inside).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Runs a shell script in the lab, beside its hosts (`ip -n HOST ...`, `ip netns exec HOST ...`), and
    /// returns what it printed. Panics, with what it said, when a command of it fails.
    pub fn sh(&self, script: &str) -> String {
        self.try_sh(script).unwrap_or_else(|complaint| panic!("{complaint}"))
    }

    /// As [`Lab::sh`], returning the script's complaint.
    pub fn try_sh(&self, script: &str) -> Result<String, String> {
        output(Command::new("sh").args(["-euc", script])).map_err(|said| format!("{script}\n{said}"))
    }

    /// Spoils what `host` receives on `interface`: `loss=every:10`, `loss=5% dup=1%`, `clear`, ...; all of
    /// them: `netns-scripts/impair`.
    pub fn impair(&self, host: &str, interface: &str, knobs: &str) {
        let mut command = Command::new(scripts().join("impair"));
        command.args([host, interface]).args(knobs.split_whitespace());
        output(&mut command).unwrap_or_else(|said| panic!("{said}"));
    }

    /// Waits until the switch knows that the host behind `port` (as `gw-lan0`) wants `group`: from then on
    /// what is sent to the group arrives there.
    pub fn await_member(&self, port: &str, group: IpAddr) {
        wait_for(&format!("the switch to see {group} joined on {port}"), PATIENCE, || {
            self.is_member(port, group).then_some(())
        });
    }

    /// Whether the switch forwards `group` to the host behind `port`.
    pub fn is_member(&self, port: &str, group: IpAddr) -> bool {
        let (port, group) = (format!(" port {port} "), format!(" grp {group} "));
        self.sh("bridge -n sw mdb show").lines().any(|line| line.contains(&port) && line.contains(&group))
    }
}

fn output(command: &mut Command) -> Result<String, String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{command:?}: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(said);
    }
    Err(format!("{said}{}({})", String::from_utf8_lossy(&output.stderr), output.status))
}

/// A plain multicast sender. Make it on a host of the lab: `lab.on("srca", || Multicast::sender(...))`.
pub struct Multicast {
    socket: UdpSocket,
    group: SocketAddr,
}

impl Multicast {
    /// Sends to `group` on `interface`, from the interface's first address of the family and any port.
    pub fn sender(interface: &str, group: SocketAddr, ttl: u32) -> Self {
        Self::from(interface, SocketAddr::new(unspecified(group), 0), group, ttl)
    }

    /// As [`Multicast::sender`], from an address, and port unless 0, of this host.
    pub fn from(interface: &str, source: SocketAddr, group: SocketAddr, ttl: u32) -> Self {
        let at = Place::of(interface);
        let socket = udp_socket(group);
        // Several senders may share a source port: receivers may pick streams by it.
        socket.set_reuse_address(true).expect("SO_REUSEADDR");
        if group.is_ipv4() {
            let own = at.v4.unwrap_or_else(|| panic!("{interface} has no IPv4 address"));
            socket.set_multicast_if_v4(&own).expect("IP_MULTICAST_IF");
            socket.set_multicast_ttl_v4(ttl).expect("IP_MULTICAST_TTL");
        } else {
            socket.set_multicast_if_v6(at.index).expect("IPV6_MULTICAST_IF");
            socket.set_multicast_hops_v6(ttl).expect("IPV6_MULTICAST_HOPS");
        }
        let source = at.scoped(source);
        socket.bind(&source.into()).unwrap_or_else(|error| panic!("binding {source}: {error}"));
        Self { socket: socket.into(), group: at.scoped(group) }
    }

    /// Sends one datagram. Panics when the kernel refuses it.
    pub fn send(&self, payload: &[u8]) {
        let sent = self.socket.send_to(payload, self.group);
        let sent = sent.unwrap_or_else(|error| panic!("sending to {}: {error}", self.group));
        assert_eq!(sent, payload.len(), "a datagram is sent whole");
    }

    /// The next unicast answer to what it sent, and who sent it.
    pub fn answer(&self) -> (Vec<u8>, SocketAddr) {
        self.socket.set_read_timeout(Some(PATIENCE)).expect("SO_RCVTIMEO");
        let mut buffer = vec![0; 65536];
        let (length, source) =
            self.socket.recv_from(&mut buffer).unwrap_or_else(|error| panic!("no answer: {error}"));
        buffer.truncate(length);
        (buffer, source)
    }

    /// Where it sends from; the address is the unspecified one unless it was given.
    pub fn source(&self) -> SocketAddr {
        self.socket.local_addr().expect("a bound socket has an address")
    }
}

/// What a [`Receiver`] got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The datagram's payload.
    pub payload: Vec<u8>,
    /// Who sent it.
    pub source: SocketAddr,
}

/// A plain multicast receiver that hears its group on its interface and nothing else. Make it on a host of
/// the lab.
pub struct Receiver {
    socket: UdpSocket,
}

impl Receiver {
    /// Joins `group` on `interface`, from any source.
    pub fn join(interface: &str, group: SocketAddr) -> Self {
        Self::joined(interface, group, |socket, at| match group.ip() {
            IpAddr::V4(group) => {
                socket.join_multicast_v4_n(&group, &InterfaceIndexOrAddress::Index(at.index))
            }
            IpAddr::V6(group) => socket.join_multicast_v6(&group, at.index),
        })
    }

    /// Joins an IPv4 `group` on `interface` for the datagrams of one `source`.
    pub fn join_source(interface: &str, group: SocketAddr, source: Ipv4Addr) -> Self {
        let IpAddr::V4(address) = group.ip() else { panic!("{group}: only IPv4 here") };
        Self::joined(interface, group, |socket, at| {
            socket.join_ssm_v4(&source, &address, &at.v4.unwrap_or(Ipv4Addr::UNSPECIFIED))
        })
    }

    fn joined(
        interface: &str,
        group: SocketAddr,
        join: impl FnOnce(&Socket, &Place) -> io::Result<()>,
    ) -> Self {
        let at = Place::of(interface);
        let socket = udp_socket(group);
        // As much as the machine grants: a burst waits for the test to read it.
        let _ = socket.set_recv_buffer_size(4 << 20);
        socket.set_reuse_address(true).expect("SO_REUSEADDR");
        if group.is_ipv6() {
            // IPv6 does not look at the interface a datagram came in by.
            socket.bind_device(Some(interface.as_bytes())).expect("SO_BINDTODEVICE");
            socket.set_multicast_all_v6(false).expect("IPV6_MULTICAST_ALL");
        } else {
            socket.set_multicast_all_v4(false).expect("IP_MULTICAST_ALL");
        }
        socket
            .bind(&at.scoped(group).into())
            .and_then(|()| join(&socket, &at))
            .unwrap_or_else(|error| panic!("joining {group} on {interface}: {error}"));
        Self { socket: socket.into() }
    }

    /// The next datagram, or a panic when there is none for [`PATIENCE`].
    pub fn recv(&self) -> Received {
        self.recv_within(PATIENCE).unwrap_or_else(|| panic!("no datagram for {PATIENCE:?}"))
    }

    /// The next datagram, if one comes within `patience`.
    pub fn recv_within(&self, patience: Duration) -> Option<Received> {
        self.socket.set_read_timeout(Some(patience)).expect("SO_RCVTIMEO");
        self.read()
    }

    /// The next datagram, if one is there already.
    pub fn take(&self) -> Option<Received> {
        self.socket.set_nonblocking(true).expect("O_NONBLOCK");
        let received = self.read();
        self.socket.set_nonblocking(false).expect("O_NONBLOCK");
        received
    }

    fn read(&self) -> Option<Received> {
        let mut buffer = vec![0; 65536];
        match self.socket.recv_from(&mut buffer) {
            Ok((length, source)) => {
                buffer.truncate(length);
                Some(Received { payload: buffer, source })
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) => panic!("receiving: {error}"),
        }
    }

    /// All datagrams up to and without the one whose payload is `last`: how a test shows that something
    /// else did *not* arrive, without waiting for nothing.
    pub fn recv_until(&self, last: &[u8]) -> Vec<Received> {
        std::iter::from_fn(|| Some(self.recv()).filter(|received| received.payload != last)).collect()
    }
}

/// An interface, as sockets want it named.
struct Place {
    index: u32,
    v4: Option<Ipv4Addr>,
}

impl Place {
    fn of(interface: &str) -> Self {
        let addresses = getifaddrs::getifaddrs().expect("list the interfaces");
        let v4 = addresses.filter(|one| one.name == interface).find_map(|one| match one.address.ip_addr() {
            Some(IpAddr::V4(address)) => Some(address),
            _ => None,
        });
        let index = getifaddrs::if_nametoindex(interface)
            .unwrap_or_else(|error| panic!("no interface {interface} here: {error}"));
        Self { index, v4 }
    }

    /// The address with this interface as its scope, where the kernel asks for one.
    fn scoped(&self, address: SocketAddr) -> SocketAddr {
        match address {
            SocketAddr::V6(v6) if needs_scope(*v6.ip()) => {
                SocketAddr::V6(SocketAddrV6::new(*v6.ip(), v6.port(), 0, self.index))
            }
            other => other,
        }
    }
}

fn needs_scope(address: Ipv6Addr) -> bool {
    address.is_unicast_link_local()
        || (address.is_multicast() && matches!(address.segments()[0] & 0xf, 1 | 2))
}

fn udp_socket(group: SocketAddr) -> Socket {
    Socket::new(Domain::for_address(group), Type::DGRAM, Some(Protocol::UDP)).expect("a UDP socket")
}

fn unspecified(group: SocketAddr) -> IpAddr {
    if group.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() }
}
