//! Another configuration for a running gateway: what goes on, what ends, and what is said about it.

mod load;
mod service;

use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::process::Output;

use serde_json::{Value, json};

use crate::support::flow::Flow;
use crate::support::gateway::{Answer, TestGateway};
use crate::support::lab::{Lab, Multicast, lab_test};
use crate::support::raw::{BINARY, Raw, frame, handshake};
use crate::support::v1::{Event, V1Client, join_message, number_in, open_send_message};

const KEPT: &str = "239.1.2.3:5000";
const OTHER: &str = "239.2.0.1:5000";
const ORIGIN: &str = "Origin: https://app.example.org";

/// What stands in every file here.
const COMMON: &str = "no-auth = true\ninterface = \"lan0\"\nlog-level = \"debug\"\n";
/// What the first file allows besides the group that is kept throughout.
const FIRST: &str = "allow-receive = [\"239.1.0.0/16\", \"239.2.0.0/16\"]\nallow-send = [\"239.1.2.3:5000\", \"239.2.0.1:5000\"]\n\
    allow-origin = [\"https://app.example.org\"]\n\
    [limits]\nall = \"off\"\n\
    [streams.gone]\ngroup = \"239.1.0.7:5000\"\n[streams.moved]\ngroup = \"239.1.0.8:5000\"\n[streams.same]\ngroup = \"239.3.0.1:5000\"\n";
/// What the second file leaves of it.
const SECOND: &str = "allow-receive = [\"239.1.0.0/16\"]\nallow-send = [\"239.1.2.3:5000\"]\n\
    [limits]\nall = \"off\"\nmessage-size = \"128KiB\"\n\
    [streams.moved]\ngroup = \"239.1.0.9:5000\"\n[streams.same]\ngroup = \"239.3.0.1:5000\"\n";

/// A gateway with a configuration file that can be written anew, and a control socket.
struct Configured<'a> {
    lab: &'a Lab,
    folder: tempfile::TempDir,
    gateway: TestGateway<'a>,
}

impl<'a> Configured<'a> {
    fn start(lab: &'a Lab, text: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("wscast.toml");
        std::fs::write(&file, text_of(text, folder.path())).expect("write the file");
        let file = file.to_str().expect("a path in UTF-8");
        let arguments = ["--config", file, "--listen", "10.9.0.1:0"];
        let gateway = TestGateway::start_without(lab, &arguments, "RUST_LOG");
        Configured { lab, folder, gateway }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("wscast.toml")
    }

    fn write(&self, text: &str) {
        std::fs::write(self.file(), text_of(text, self.folder.path())).expect("write the file");
    }

    /// Runs `wscast reload` with these arguments.
    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = self.lab.command("gw", env!("CARGO_BIN_EXE_wscast"));
        command.arg("reload").args(arguments).output().expect("run wscast reload")
    }

    /// Reloads what [`Configured::write`] has written; the gateway's answer.
    fn reload(&self) -> Value {
        let control = self.folder.path().join("control");
        let output = self.run(&["--json", "--control", control.to_str().expect("UTF-8")]);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
    }

    fn configuration(&self) -> Value {
        self.gateway.status()["gateway"]["configuration"].clone()
    }
}

fn text_of(text: &str, folder: &std::path::Path) -> String {
    format!("control = \"{}/control\"\n{COMMON}{text}", folder.display())
}

lab_test! {
    fn what_is_not_allowed_any_more_ends_and_the_rest_goes_on(lab) {
        let configured = Configured::start(lab, FIRST);
        let gateway = &configured.gateway;
        let raw = |path: &str| Raw::open(gateway.connect(), gateway.address, path);
        let mut flow = Flow::start(lab, gateway, KEPT);
        let mut revoked = raw(&format!("/udp/{OTHER}"));
        let mut gone = raw("/streams/gone");
        let mut moved = raw("/streams/moved");
        let mut same = gateway.open("/streams/same");
        let path = format!("/udp/{KEPT}");
        let mut page = Raw::begin(gateway.connect(), handshake(gateway.address, &path, &[ORIGIN]).as_bytes());
        let mut only = V1Client::open(gateway);
        only.join(OTHER, &json!({}));
        let mut one_of_two = V1Client::open(gateway);
        let (kept, lost) = (one_of_two.join(KEPT, &json!({})), one_of_two.join(OTHER, &json!({"id": 2})));
        let sender = one_of_two.ask(&open_send_message(OTHER, &json!({"id": 3})), "sender");
        let mut body = gateway.connect();
        write!(body, "GET /udp/{OTHER} HTTP/1.1\r\nHost: {}\r\n\r\n", gateway.address).unwrap();
        let mut quiet = raw(&format!("/udp/{OTHER}?receive=0"));
        gateway.status_with("ten sessions", |status| status["sessions"].as_array().is_some_and(|all| all.len() == 10));
        flow.send(10, 100);
        let before = gateway.stream(KEPT);

        configured.write(SECOND);
        let answer = configured.reload();
        assert_eq!((&answer["result"], &answer["generation"]), (&json!("taken_over"), &json!(2)), "{answer}");
        assert_eq!(answer["closed"], 7, "{answer}");
        let changes = &answer["changes"];
        assert_eq!(changes["applied"], json!(["allow-receive", "allow-send", "allow-origin", "streams"]), "{answer}");
        assert_eq!(changes["for_new_sessions"], json!(["limits.message-size"]), "{answer}");

        let (code, reason) = revoked.closed();
        assert!(code == 4403 && reason.starts_with("not_allowed: not in the receive list"), "{code} {reason}");
        let (code, reason) = gone.closed();
        assert!(code == 4404 && reason.starts_with("not_found: there is no stream of that name"), "{code} {reason}");
        assert_eq!(moved.closed(), (1001, "reloaded: this name is another stream now; connect again".to_owned()));
        let (code, reason) = page.closed();
        assert!(code == 4403 && reason.contains("Origin"), "{code} {reason}");
        let (code, reason) = quiet.closed();
        assert!(code == 4403 && reason.starts_with("not_allowed: not in the send list"), "{code} {reason}");
        let mut text = String::new();
        body.read_to_string(&mut text).expect("an end in order");
        assert!(text.ends_with("\r\n0\r\n\r\n"), "{text:?}");
        assert_eq!(only.closed().0, 4403, "nothing is left of what it had");

        // Told, and the rest of the same session goes on.
        let error = one_of_two.notice("error");
        assert_eq!((&error["code"], &error["stream"]), (&json!("not_allowed"), &lost["stream"]), "{error}");
        assert_eq!(number_in(&one_of_two.notice("left")), number_in(&lost));
        let error = one_of_two.notice("error");
        assert_eq!((&error["code"], &error["sender"]), (&json!("not_allowed"), &sender["sender"]), "{error}");
        assert_eq!(one_of_two.notice("sender_closed")["sender"], sender["sender"]);
        flow.send(10, 100);
        for _ in 0..20 {
            one_of_two.record_of(&kept);
        }
        let source = lab.on("srca", || Multicast::sender("eth0", "239.3.0.1:5000".parse().unwrap(), 1));
        source.send(b"still here");
        assert_eq!(same.recv(), b"still here");
        assert_eq!(gateway.stream(KEPT)["number"], before["number"], "the same run of the stream");

        // What comes now finds the new configuration.
        let head = |path: &str| {
            gateway.ask(&format!("HEAD {path} HTTP/1.0\r\nHost: {}\r\n\r\n", gateway.address)).status
        };
        assert_eq!((head(&format!("/udp/{OTHER}")), head("/streams/gone"), head("/streams/moved")), (403, 404, 200));
        let refused = one_of_two.refused(&join_message(OTHER, &json!({"id": 9})));
        assert_eq!(refused["code"], "not_allowed", "{refused}");
        let status = gateway.status();
        assert_eq!(status["gateway"]["policy"]["receive"][0], "239.1.0.0/16", "{status}");
        assert_eq!(status["gateway"]["configuration"]["last_reload"]["taken_over"], true, "{status}");
    }
}

lab_test! {
    fn a_sender_that_may_not_send_any_more_goes_on_receiving(lab) {
        let configured = Configured::start(lab, FIRST);
        let gateway = &configured.gateway;
        let mut flow = Flow::start(lab, gateway, OTHER);
        let mut client = Raw::open(gateway.connect(), gateway.address, &format!("/udp/{OTHER}"));
        client.send(&frame(BINARY, b"sent"));
        assert_eq!(flow.witness_any(), b"sent");
        configured.write(&FIRST.replace("allow-send = [\"239.1.2.3:5000\", \"239.2.0.1:5000\"]", "allow-send = []"));
        assert_eq!(configured.reload()["closed"], 0);
        flow.send(1, 100);
        while client.frame().payload.len() != 100 {}
        let status = gateway.status();
        let books = status["sessions"].as_array().unwrap().iter().find_map(|one| one.get("ended").filter(|ended| ended.is_object()));
        assert_eq!(books.expect("the sender's books stay")["sent"], 1, "{status:#}");
        client.send(&frame(BINARY, b"again"));
        let (code, reason) = client.closed();
        assert!(code == 4403 && reason.contains("sending is off"), "{code} {reason}");
        // And the other way round: what becomes allowed may be done by who is there.
        let mut late = Raw::open(gateway.connect(), gateway.address, &format!("/udp/{OTHER}"));
        configured.write(FIRST);
        configured.reload();
        late.send(&frame(BINARY, b"now"));
        assert_eq!(flow.witness_any(), b"now");
    }
}

lab_test! {
    fn a_file_that_is_wrong_changes_nothing_and_says_why(lab) {
        let configured = Configured::start(lab, FIRST);
        let gateway = &configured.gateway;
        let mut flow = Flow::start(lab, gateway, KEPT);
        let mut client = Raw::open(gateway.connect(), gateway.address, &format!("/udp/{OTHER}"));
        for (text, words) in [
            ("allow-receive = [\"239.1.0.0/33\"]", "wscast.toml:5:18: "),
            ("allow-recieve = []", "unknown field"),
            ("player = \"/nowhere/mpegts.js\"\nallow-receive = [\"239.1.0.0/16\"]", "reading the player /nowhere/mpegts.js"),
            ("allow-send = [\"239.1.2.3:5000\"]", "listening on 10.9.0.1"),
        ] {
            configured.write(text);
            let answer = configured.reload();
            assert_eq!(answer["result"], "refused", "{text}: {answer}");
            assert!(answer["reason"].as_str().is_some_and(|reason| reason.contains(words)), "{text}: {answer}");
            gateway.logged("reload refused, nothing has changed");
            let standing = configured.configuration();
            assert_eq!((&standing["generation"], &standing["last_reload"]["taken_over"]), (&json!(1), &json!(false)));
            assert!(standing["last_reload"]["result"].as_str().is_some_and(|why| why.contains(words)), "{standing}");
        }
        assert_eq!(configured.configuration()["reloads_refused"], 4);
        flow.send(10, 100);
        client.send(&frame(0x89, b"there?"));
        assert_eq!(client.frame().payload, b"there?", "its group is allowed as before");

        // Who names the file is told before the gateway is asked.
        configured.write("allow-receive = [\"239.1.0.0/33\"]");
        let file = configured.file();
        let output = configured.run(&["--config", file.to_str().unwrap()]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && said.contains("wscast.toml:5:18"), "{said}");
        assert_eq!(configured.configuration()["reloads_refused"], 4, "it was not asked");
        // And who has mended it, that all is well.
        configured.write(FIRST);
        let output = configured.run(&["--config", file.to_str().unwrap()]);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && said == "reloaded, generation 2: nothing has changed\n", "{said}");
    }
}

lab_test! {
    fn what_only_a_restart_changes_is_named(lab) {
        let configured = Configured::start(lab, "allow-receive = [\"239.1.0.0/16\"]\nthreads = 1\n");
        configured.write("allow-receive = [\"239.0.0.0/8\"]\nthreads = 3\nio-uring = \"off\"\nlog-format = \"json\"\n");
        let answer = configured.reload();
        let named = answer["changes"]["after_restart"].as_array().cloned().unwrap_or_default();
        // What the suite itself sets in the environment stands above the file.
        for (name, variable) in
            [("threads", "WSCAST_THREADS"), ("io-uring", "WSCAST_IO_URING"), ("log-format", "WSCAST_LOG_FORMAT")]
        {
            let expected = std::env::var_os(variable).is_none();
            assert_eq!(named.contains(&json!(name)), expected, "{answer}");
        }
        assert_eq!(answer["changes"]["applied"], json!(["allow-receive"]), "{answer}");
        configured.gateway.logged("not in force before a restart");
        // It is named again, as long as it is not so.
        let output = configured.run(&["--config", configured.file().to_str().unwrap()]);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.contains("generation 3: NOT in force before a restart: "), "{said}");
    }
}

lab_test! {
    fn a_hangup_reloads_too_and_the_log_says_so(lab) {
        let configured = Configured::start(lab, "allow-receive = [\"239.1.0.0/16\"]\n");
        let gateway = &configured.gateway;
        gateway.fetch("/nothing-1");
        gateway.logged("/nothing-1");
        let quieter = std::fs::read_to_string(configured.file()).unwrap().replace("log-level = \"debug\"", "log-level = \"info\"");
        std::fs::write(configured.file(), quieter + "allow-send = [\"239.1.2.3:5000\"]\n").unwrap();
        gateway.signal("HUP");
        gateway.status_with("the second generation", |status| status["gateway"]["configuration"]["generation"] == 2);
        assert!(gateway.logged("configuration taken over").contains("in force: allow-send, log-level"));
        // Refusals are logged at debug.
        gateway.fetch("/nothing-2");
        configured.write("");
        gateway.signal("HUP");
        gateway.logged("reload refused, nothing has changed");
        assert!(!gateway.log().contains("/nothing-2"), "{}", gateway.log());
    }
}

lab_test! {
    fn limits_hold_from_the_reload_on(lab) {
        let text = |limits: &str| format!("allow-receive = [\"239.0.0.0/8\"]\nallow-send = [\"{KEPT}\"]\nmax-ttl = 4\n[limits]\n{limits}");
        let configured = Configured::start(lab, &text("all = \"off\"\n"));
        let gateway = &configured.gateway;
        let mut flow = Flow::start(lab, gateway, KEPT);
        let second = gateway.open("/udp/239.1.2.4:5000");
        assert_eq!(gateway.status()["gateway"]["memory_bound_bytes"], json!(null));
        configured.write(&text("streams = 2\nconnections = 64\nlag-bytes = \"256KiB\"\nreplay-bytes = 0\n"));
        assert_eq!(configured.reload()["closed"], 0);
        let bound = gateway.status()["gateway"]["memory_bound_bytes"].as_u64();
        // Without limits there was none; 32 MiB of it are room for answers that wait.
        assert!(bound.is_some_and(|bytes| bytes < 256 << 20), "{bound:?}");
        let answer = Answer::to(&mut gateway.connect(), &handshake(gateway.address, "/udp/239.1.2.5:5000", &[]));
        assert_eq!((answer.status, answer.body.contains("--limit streams")), (503, true), "{answer:?}");
        // The log has shrunk, and nobody who keeps up has lost anything.
        flow.send(600, 1000);
        let log = &gateway.stream(KEPT)["log"];
        assert!(log["bytes"].as_u64().is_some_and(|bytes| bytes <= 256 << 10), "{log}");
        second.close();
        configured.write(&text("connections = 1\n"));
        configured.reload();
        let mut refused = gateway.connect();
        assert_eq!(Answer::to(&mut refused, "").status, 503, "one connection is there, and stays");
        flow.send(10, 100);
        // A rate for all senders, at once.
        configured.write(&text("all = \"off\"\nsend-rate = 1\n"));
        gateway.signal("HUP");
        gateway.logged("limits.send-rate");
        let mut sender = Raw::open(gateway.connect(), gateway.address, &format!("/udp/{KEPT}?receive=0"));
        for _ in 0..10 {
            sender.send(&frame(BINARY, b"x"));
        }
        gateway.status_with("most of ten refused", |status| {
            status["sessions"].as_array().is_some_and(|all| all.iter().any(|one| one["sender"]["refused"]["rate"].as_u64() >= Some(7)))
        });
        let mut v1 = V1Client::open(gateway);
        v1.say(&json!({"type": "ping", "id": 1}));
        assert!(matches!(v1.next(), Event::Notice(pong) if pong["type"] == "pong"));
    }
}
