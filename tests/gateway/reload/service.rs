//! What a service manager sees: readiness, reloads, the watchdog, the end.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::{Configured, FIRST};
use crate::support::gateway::TestGateway;
use crate::support::lab::{Lab, PATIENCE, lab_test, lacks, skip, wait_for};

/// A notify socket, as systemd has one.
struct NotifySocket {
    socket: UnixDatagram,
    path: String,
    _folder: tempfile::TempDir,
}

impl NotifySocket {
    fn open() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notify").to_str().expect("UTF-8").to_owned();
        let socket = UnixDatagram::bind(&path).expect("a notify socket");
        NotifySocket { socket, path, _folder: folder }
    }

    /// The next message within `patience`.
    fn next(&self, patience: Duration) -> Option<String> {
        self.socket.set_read_timeout(Some(patience)).expect("set a deadline");
        let mut buffer = [0; 4096];
        let length = self.socket.recv(&mut buffer).ok()?;
        Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
    }

    /// Waits for a message with this line; the message.
    fn told(&self, line: &str) -> String {
        loop {
            let message = self.next(PATIENCE).unwrap_or_else(|| panic!("systemd is not told {line}"));
            if message.lines().any(|one| one == line) {
                return message;
            }
        }
    }
}

fn gateway<'a>(
    lab: &'a Lab,
    notify: &NotifySocket,
    environment: &[(&str, &str)],
    more: &[&str],
) -> TestGateway<'a> {
    let arguments =
        ["--listen", "10.9.0.1:0", "--no-auth", "--allow-receive", "239.0.0.0/8", "--interface", "lan0"];
    let environment = [&[("NOTIFY_SOCKET", notify.path.as_str())], environment].concat();
    TestGateway::start_in(lab, &[&arguments[..], more].concat(), &environment)
}

lab_test! {
    fn systemd_is_told_of_the_start_each_reload_and_the_end(lab) {
        let notify = NotifySocket::open();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("wscast.toml");
        std::fs::write(&file, "allow-send = [\"239.1.2.3:5000\"]\n").unwrap();
        let mut gateway = gateway(lab, &notify, &[], &["--config", file.to_str().unwrap()]);
        notify.told("READY=1");
        gateway.signal("HUP");
        let reloading = notify.told("RELOADING=1");
        let since = reloading.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC=")?.parse::<u64>().ok());
        assert!(since.is_some_and(|since| since > 0), "systemd 253 wants the time: {reloading}");
        assert!(notify.told("READY=1").contains("STATUS=serving, configuration 2"));
        std::fs::write(&file, "allow-send = [7.5]\n").unwrap();
        gateway.signal("HUP");
        notify.told("RELOADING=1");
        let ready = notify.told("READY=1");
        assert!(ready.contains("STATUS=serving the configuration from before: ") && ready.contains("wscast.toml:1:"), "{ready}");
        gateway.signal("TERM");
        notify.told("STOPPING=1");
        assert_eq!(gateway.wait().code(), Some(0));
    }
}

/// Stops one thread of a process, and lets it go on when it is dropped. A debugger's system call: no signal stops one thread.
struct Frozen(Child);

impl Frozen {
    /// `None` where this machine lets nobody trace.
    fn thread(lab: &Lab, pid: u32, name: &str) -> Option<Self> {
        let thread = lab.sh(&format!("grep -lx '{name}' /proc/{pid}/task/*/comm"));
        let thread = thread.trim().split('/').nth_back(1).expect("a thread's folder").to_owned();
        // PTRACE_SEIZE, PTRACE_INTERRUPT; the thread goes on when the tracer is gone.
        let program = "import ctypes, os, sys\n\
            libc = ctypes.CDLL(None, use_errno=True)\n\
            thread = int(sys.argv[1])\n\
            for request in (0x4206, 0x4207):\n\
            \x20   if libc.ptrace(request, thread, None, None) != 0:\n\
            \x20       print('refused', os.strerror(ctypes.get_errno()), flush=True); sys.exit(1)\n\
            os.waitpid(thread, 0x40000000)\n\
            print('stopped', flush=True)\n\
            sys.stdin.read()\n";
        let mut tracer = lab.command("gw", "python3");
        tracer.args(["-c", program, &thread]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = tracer.spawn().expect("start python3");
        let mut said = String::new();
        let output = child.stdout.as_mut().expect("stdout is piped");
        std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut said).expect("a line");
        if said.trim() == "stopped" {
            return Some(Frozen(child));
        }
        let _ = child.wait();
        println!("tracing {thread}: {said}");
        None
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

lab_test! {
    fn the_watchdog_is_fed_only_while_every_shard_and_the_acceptor_get_round(lab) {
        if skip("python3", "python3") {
            return;
        }
        let notify = NotifySocket::open();
        let gateway = gateway(lab, &notify, &[("WATCHDOG_USEC", "900000")], &["--threads", "2"]);
        // Each has its turn at being stopped: a shard that serves nobody too.
        for name in ["shard-0", "shard-1", "wscast"] {
            notify.told("WATCHDOG=1");
            notify.told("WATCHDOG=1");
            let Some(frozen) = Frozen::thread(lab, gateway.pid(), name) else {
                return lacks("leave to trace threads (ptrace)");
            };
            // What was under way when it was stopped may still come.
            while notify.next(Duration::ZERO.max(Duration::from_millis(1))).is_some() {}
            let told = notify.next(Duration::from_millis(1500));
            assert!(told.is_none(), "{name} is stopped, and systemd is told {told:?}");
            drop(frozen);
        }
        notify.told("WATCHDOG=1");
        gateway.logged("shard 1 does not answer");
    }
}

lab_test! {
    fn the_control_socket_is_the_operator_s_alone(lab) {
        let configured = Configured::start(lab, FIRST);
        let path = configured.folder.path().join("control");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        // One who says nothing, and one who talks nonsense, hold nobody up.
        let silent = UnixStream::connect(&path).unwrap();
        let mut nonsense = UnixStream::connect(&path).unwrap();
        std::io::Write::write_all(&mut nonsense, &[b'x'; 1000]).unwrap();
        assert_eq!(configured.reload()["result"], "taken_over");
        drop(silent);

        // A second gateway does not take it away.
        let mut second = lab.command("gw", env!("CARGO_BIN_EXE_wscast"));
        second.args(["serve", "--listen", "127.0.0.1:0", "--control", path.to_str().unwrap()]);
        let output = second.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(3) && said.contains("another gateway answers there"), "{said}");
        assert_eq!(configured.reload()["result"], "taken_over");

        // One that was killed leaves it behind, and the next takes it over.
        configured.gateway.signal("KILL");
        wait_for("nobody to answer", PATIENCE, || UnixStream::connect(&path).is_err().then_some(()));
        assert!(path.exists());
        let output = configured.run(&["--control", path.to_str().unwrap()]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && said.contains("asking the gateway at"), "{said}");
        let mut next = TestGateway::start_with(lab, &["--listen", "127.0.0.1:0", "--control", path.to_str().unwrap()]);
        let output = configured.run(&["--control", path.to_str().unwrap()]);
        assert!(output.status.success(), "{output:?}");
        next.signal("TERM");
        next.wait();
        assert!(!path.exists(), "it is taken away at the end");
    }
}

#[test]
fn the_unit_is_hardened_and_systemd_finds_no_fault() {
    if skip("systemd-analyze", "systemd") {
        return;
    }
    let unit = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/systemd/wscast.service");
    let analyze = |arguments: &[&str]| {
        let output = Command::new("systemd-analyze").args(arguments).output().expect("run systemd-analyze");
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    };
    // In tenths: an exposure of 1.5 at most.
    let (accepted, said) = analyze(&["security", "--offline=yes", "--threshold=15", "--no-pager", unit]);
    assert!(accepted, "{said}");

    // With the program that was built, and without the manual page, which is not installed here.
    let folder = tempfile::tempdir().expect("a folder");
    let text = std::fs::read_to_string(unit).expect("the unit");
    let text = text.replace("/usr/bin/wscast", env!("CARGO_BIN_EXE_wscast")).replace("man:wscast(1) ", "");
    let file = folder.path().join("wscast.service");
    std::fs::write(&file, &text).expect("write the unit");
    let (accepted, said) = analyze(&["verify", file.to_str().expect("UTF-8")]);
    // Of the machine's own units it says what it likes.
    let ours = said.lines().filter(|line| line.contains("wscast")).collect::<Vec<_>>();
    assert!(accepted && ours.is_empty(), "{said}");

    // What it runs is what the program takes.
    for line in [
        "ExecStart=/usr/bin/wscast serve --config /etc/wscast.toml",
        "ExecReload=/usr/bin/wscast reload --config /etc/wscast.toml",
    ] {
        assert!(std::fs::read_to_string(unit).expect("the unit").contains(&format!("\n{line}\n")), "{line}");
    }
}
