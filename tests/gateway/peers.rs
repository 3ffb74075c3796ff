//! Programs and libraries of others: each receives what is sent to a group, and sends to it.

pub(crate) mod browser;
pub(crate) mod chromium;
pub(crate) mod firefox;

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use crate::support::gateway::{TestGateway, assert_session_balances};
use crate::support::lab::{Lab, Multicast, PATIENCE, Receiver, lab_test, lacks, skip};

const GROUP: &str = "239.1.2.3:5000";
const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/gateway/peers");

lab_test! {
    fn websocat_receives_and_sends(lab) {
        let Some(websocat) = tool("bin/websocat") else { return };
        converse(lab, |url| {
            let mut command = lab.command("cli", &websocat);
            command.args(["--linemode-strip-newlines", url]);
            command
        });
    }
}

lab_test! {
    fn the_ws_package_of_node_receives_and_sends(lab) {
        node(lab, "ws", "binary");
    }
}

lab_test! {
    fn the_websocket_that_is_built_into_node_receives_and_sends(lab) {
        node(lab, "undici", "text");
    }
}

lab_test! {
    fn the_websockets_package_of_python_receives_and_sends(lab) {
        let Some(python) = tool("python/bin/python") else { return };
        converse(lab, |url| {
            let mut command = lab.command("cli", &python);
            command.args([&format!("{SCRIPTS}/client.py"), url]).env("PYTHONUTF8", "1");
            command
        });
    }
}

lab_test! {
    fn curl_receives(lab) {
        if skip("curl", "curl") {
            return;
        }
        let gateway = TestGateway::start(lab, &["--interface", "lan0"]);
        let mut command = lab.command("cli", "curl");
        command.args(["-gsSN", &format!("http://{}/udp/{GROUP}", gateway.address)]);
        let mut curl = Peer::start(command);
        gateway.await_joined("gw-lan0", GROUP);
        let (source, _) = ends(lab);
        for part in ["two datagrams, ", "one line\n"] {
            source.send(part.as_bytes());
        }
        assert_eq!(curl.hears(), "two datagrams, one line");
    }
}

fn node(lab: &Lab, package: &str, kind: &str) {
    if skip("node", "nodejs") {
        return;
    }
    let Some(package) = tool(&format!("node/node_modules/{package}")) else { return };
    converse(lab, |url| {
        let mut command = lab.command("cli", "node");
        command.arg(format!("{SCRIPTS}/client.js")).arg(&package).args([url, kind]);
        command
    });
}

/// A client that prints what it gets and sends what it is told, line by line, gets a datagram and sends one.
fn converse(lab: &Lab, client: impl FnOnce(&str) -> Command) {
    converse_at(lab, "ws", &[], client);
}

/// The same with a gateway that is started with further arguments, by another scheme.
pub(crate) fn converse_at(lab: &Lab, scheme: &str, arguments: &[&str], client: impl FnOnce(&str) -> Command) {
    let own = ["--interface", "lan0", "--allow-send", GROUP];
    let gateway = TestGateway::start(lab, &[&own[..], arguments].concat());
    let (source, receiver) = ends(lab);
    let mut peer = Peer::start(client(&format!("{scheme}://{}/udp/{GROUP}", gateway.address)));
    gateway.await_joined("gw-lan0", GROUP);

    peer.says("grüße vom Client");
    let received = receiver.recv();
    assert_eq!(String::from_utf8_lossy(&received.payload), "grüße vom Client");
    assert_eq!(received.source.ip().to_string(), "10.1.0.1");

    // Had it heard itself, that would come first.
    source.send("grüße vom LAN".as_bytes());
    assert_eq!(peer.hears(), "grüße vom LAN");

    peer.ends();
    let session = gateway.closed(1).remove(0);
    // 1005: some close without a code.
    assert!(session["code"] == 1000 || session["code"] == 1005, "{session:#}");
    assert_eq!(session["closed_by"], "client", "{session:#}");
    assert_eq!(assert_session_balances(&session), (2, 1, 0), "{session:#}");
    assert_eq!(session["sender"]["sent"], 1, "{session:#}");
}

/// A plain sender and a plain receiver on `srca`.
pub(crate) fn ends(lab: &Lab) -> (Multicast, Receiver) {
    let group = GROUP.parse().expect("a group");
    let ends = lab.on("srca", || (Multicast::sender("eth0", group, 1), Receiver::join("eth0", group)));
    lab.await_member("srca-eth0", group.ip());
    ends
}

/// A program that `tests/run` puts beside the tests, because Debian has none or an old one.
pub(crate) fn tool(path: &str) -> Option<PathBuf> {
    let tool = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).with_file_name("test-tools").join(path);
    if !tool.exists() {
        lacks(&format!("{} (tests/run installs it)", tool.display()));
        return None;
    }
    Some(tool)
}

/// A running program that is talked to in lines; killed when dropped.
pub(crate) struct Peer {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Peer {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("start the peer");
        let output = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            // Whoever would hear it has gone when this fails.
            output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Peer { child, lines }
    }

    pub(crate) fn says(&mut self, line: &str) {
        let input = self.child.stdin.as_mut().expect("stdin is piped");
        // In one write: what a peer makes of half a line is its own affair.
        input.write_all(format!("{line}\n").as_bytes()).expect("write to the peer");
    }

    pub(crate) fn hears(&mut self) -> String {
        self.lines.recv_timeout(PATIENCE).unwrap_or_else(|error| panic!("the peer printed nothing: {error}"))
    }

    /// Tells it that there is nothing more to send: it closes its connection.
    pub(crate) fn ends(&mut self) {
        drop(self.child.stdin.take());
        let ended = self.child.wait().expect("wait for the peer");
        assert!(ended.success(), "the peer ended with {ended}");
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
