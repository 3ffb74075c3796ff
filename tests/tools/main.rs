//! The command line's tools keep what their help says: `listen`, `send` and `demo`, on the hosts of a lab.
#![allow(clippy::unwrap_used)] // a failed one fails its test
mod capture;
mod demo;
mod doctor;
#[path = "../support/mod.rs"]
mod support;
mod through_gateway;
mod tokens;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{IpAddr, TcpStream};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use support::lab::{Lab, PATIENCE, lab_test, skip, wait_for};

const WSCAST: &str = env!("CARGO_BIN_EXE_wscast");

/// A running `wscast`, killed when the test lets go of it.
struct Running(Option<Child>);

impl Running {
    /// Starts `wscast` with `words` on `host`.
    fn start(lab: &Lab, host: &str, words: &str) -> Self {
        let mut command = wscast(lab, host, words);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Running(Some(command.spawn().expect("start wscast")))
    }

    /// Starts `wscast listen` on gw's `lan0` and waits until datagrams for `group` get there.
    fn listening(lab: &Lab, group: &str, words: &str) -> Self {
        let running = Self::start(lab, "gw", &format!("listen {words} --interface lan0"));
        lab.await_member("gw-lan0", group.parse::<IpAddr>().expect("a group's address"));
        running
    }

    /// Waits for its end.
    fn output(mut self) -> Said {
        let child = self.0.take().expect("it is taken once");
        Said::of(&child.wait_with_output().expect("wscast ends"))
    }

    /// Interrupts it, as Ctrl-C does, and waits for its end.
    fn interrupt(self) -> Said {
        self.signal();
        self.output()
    }

    fn signal(&self) {
        let id = self.0.as_ref().expect("it runs").id();
        let id = i32::try_from(id).ok().and_then(rustix::process::Pid::from_raw).expect("a process id");
        rustix::process::kill_process(id, rustix::process::Signal::INT).expect("it can be interrupted");
    }

    fn has_ended(&mut self) -> bool {
        self.0.as_mut().is_none_or(|child| child.try_wait().expect("our child").is_some())
    }

    /// The lines that it prints.
    fn lines(&mut self) -> impl Iterator<Item = String> + use<> {
        let stdout = self.0.as_mut().and_then(|child| child.stdout.take()).expect("a pipe, taken once");
        BufReader::new(stdout).lines().map(|line| line.expect("text"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// How it ended.
#[derive(Debug)]
struct Said {
    code: Option<i32>,
    stdout: Vec<u8>,
    stderr: String,
}

impl Said {
    fn of(output: &Output) -> Self {
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        Said { code: output.status.code(), stdout: output.stdout.clone(), stderr }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// The summary of `listen --json`.
    fn summary(&self) -> Value {
        let last = self.stderr.lines().last().unwrap_or_default();
        serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {}", self.stderr))
    }

    fn assert_code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        self
    }
}

fn wscast(lab: &Lab, host: &str, words: &str) -> Command {
    let mut command = lab.command(host, WSCAST);
    command.args(words.split_whitespace());
    command
}

/// Runs `wscast` with `words` on `host`, to its end.
fn run(lab: &Lab, host: &str, words: &str) -> Said {
    Said::of(&wscast(lab, host, words).stdin(Stdio::null()).output().expect("run wscast"))
}

/// The same with `input` on its standard input.
fn run_with_input(lab: &Lab, host: &str, words: &str, input: &[u8]) -> Said {
    let mut child = wscast(lab, host, words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start wscast");
    child.stdin.take().expect("a pipe").write_all(input).expect("wscast reads");
    Said::of(&child.wait_with_output().expect("wscast ends"))
}

lab_test! {
    fn what_is_sent_is_heard_over_both_ip_versions(lab) {
        for (address, group, source) in [
            ("239.1.1.1", "239.1.1.1:5000", "10.1.0.2:"),
            ("ff15::1:1", "[ff15::1:1]:5000", "[fd01::2]:"),
            ("ff02::1:2", "[ff02::1:2]:5000", "[fe80::"),
        ] {
            let listener = Running::listening(lab, address, &format!("{group} --count 2"));
            let input = b"hello\n\x1bworld\nmore\n";
            run_with_input(lab, "srca", &format!("send {group} --interface eth0 --line"), input).assert_code(0);
            let said = listener.output().assert_code(0);
            let lines: Vec<_> = said.text().lines().map(str::to_owned).collect();
            assert_eq!(lines.len(), 2, "{said:?}");
            assert!(lines[0].contains(&format!("Z {source}")) && lines[0].ends_with(" 5 hello"), "{lines:?}");
            assert!(lines[1].ends_with(" 6 \\u{1b}world"), "{lines:?}");
            assert!(said.stderr.contains("on lan0 (chosen by --interface)"), "{said:?}");
            assert!(said.stderr.contains("received 2 datagrams, 11 bytes"), "{said:?}");
        }
    }
}

lab_test! {
    fn only_the_source_asked_for_is_heard(lab) {
        for words in ["232.1.1.1:5000 --source 10.1.0.3", "10.1.0.3@232.1.1.1:5000"] {
            let listener = Running::listening(lab, "232.1.1.1", &format!("{words} --json --count 1"));
            let send = "send 232.1.1.1:5000 --interface eth0 --line";
            run_with_input(lab, "srca", send, b"from srca").assert_code(0);
            run_with_input(lab, "srcc", send, b"from srcc").assert_code(0);
            let said = listener.output().assert_code(0);
            let heard: Value = serde_json::from_str(&said.text()).expect("one object");
            assert_eq!((&heard["text"], &heard["ttl"]), (&"from srcc".into(), &1.into()), "{said:?}");
            assert_eq!((&heard["interface"], &heard["length"]), (&"lan0".into(), &9.into()), "{said:?}");
            assert!(heard["source"].as_str().is_some_and(|source| source.starts_with("10.1.0.3:")), "{said:?}");
            assert_eq!(said.summary()["received"], 1);
        }
    }
}

lab_test! {
    fn all_interfaces_are_heard(lab) {
        let listener = Running::start(lab, "gw", "listen 239.1.1.5:5000 --interface all --json --count 2");
        for (host, port) in [("srca", "gw-lan0"), ("srcb", "gw-lan1")] {
            lab.await_member(port, "239.1.1.5".parse().expect("an address"));
            run(lab, host, "send 239.1.1.5:5000 --interface eth0").assert_code(0);
        }
        let said = listener.output().assert_code(0);
        let interfaces: Vec<Value> = said
            .text()
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).expect("JSON")["interface"].clone())
            .collect();
        assert_eq!(interfaces, ["lan0", "lan1"]);
    }
}

lab_test! {
    fn a_file_arrives_byte_by_byte(lab) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("recording");
        // Every byte value, in no period of 1316; the last datagram is shorter.
        let bytes: Vec<u8> = (0..1316_usize * 200 + 77).map(|i| (i * 31 % 251) as u8).collect();
        std::fs::write(&path, &bytes).expect("a file");
        let listener = Running::listening(lab, "239.1.1.2", "239.1.1.2:5000 --raw --count 201");
        let send = format!(
            "send 239.1.1.2:5000 --interface eth0 --rate 2000 --size 1316 {}",
            path.display()
        );
        let sent = run(lab, "srca", &send).assert_code(0);
        assert!(sent.stderr.contains(&format!("sent 201 datagrams, {} bytes", bytes.len())), "{sent:?}");
        let said = listener.output().assert_code(0);
        assert!(said.stdout == bytes, "{} of {} bytes; {}", said.stdout.len(), bytes.len(), said.stderr);
    }
}

lab_test! {
    fn the_pace_is_kept(lab) {
        let listener = Running::listening(lab, "239.1.1.6", "239.1.1.6:5000 --quiet --json --count 201");
        run(lab, "srca", "send 239.1.1.6:5000 --interface eth0 --interval 5ms --count 201").assert_code(0);
        let said = listener.output().assert_code(0);
        assert_eq!(said.text(), "");
        let summary = said.summary();
        let seconds = summary["seconds"].as_f64().expect("a number");
        // Deadlines are kept from the start on; a machine under load may be late, never early.
        assert!((0.95..5.0).contains(&seconds), "{summary}");
        assert_eq!((&summary["bytes"], &summary["sequence"]), (&20100.into(), &Value::Null), "{summary}");
    }
}

lab_test! {
    fn gaps_in_numbered_datagrams_are_counted(lab) {
        if skip("nft", "nftables") || skip("tc", "iproute2") {
            return;
        }
        let mut listener = Running::listening(lab, "239.1.1.3", "239.1.1.3:5000 --json");
        lab.impair("gw", "lan0", "loss=every:10");
        let send = "send 239.1.1.3:5000 --interface eth0 --number --count 100 --rate 2000 --size 60";
        run(lab, "srca", send).assert_code(0);
        lab.impair("gw", "lan0", "clear");
        // The last one of the hundred is lost too, which nothing after it shows.
        let heard: Vec<_> = listener.lines().take(90).collect();
        assert!(heard[9].contains(r#""length":60,"text":"10 abcdef"#), "{}", heard[9]);
        let said = listener.interrupt().assert_code(0);
        let (summary, counts) = (said.summary(), said.summary()["sequence"].clone());
        assert_eq!((&summary["received"], &counts["numbered"]), (&90.into(), &90.into()), "{summary}");
        assert_eq!((&counts["gaps"], &counts["duplicates"]), (&9.into(), &0.into()), "{summary}");
        assert_eq!((&counts["reordered"], &summary["kernel_drops"]), (&0.into(), &0.into()), "{summary}");
    }
}

lab_test! {
    fn repeated_and_reordered_datagrams_are_counted(lab) {
        if skip("nft", "nftables") || skip("tc", "iproute2") {
            return;
        }
        let mut listener = Running::listening(lab, "239.1.1.7", "239.1.1.7:5000 --json");
        let mut lines = listener.lines();
        let send = "send 239.1.1.7:5000 --interface eth0 --line";
        let input: Vec<u8> = b"1\n3\n2\n3\n4\nend\n".to_vec();
        run_with_input(lab, "srca", send, &input).assert_code(0);
        lines.find(|line| line.contains(r#""text":"end""#)).expect("the end");
        let counts = listener.interrupt().assert_code(0).summary()["sequence"].clone();
        assert_eq!((&counts["numbered"], &counts["gaps"]), (&5.into(), &0.into()), "{counts}");
        assert_eq!((&counts["duplicates"], &counts["reordered"]), (&1.into(), &1.into()), "{counts}");
    }
}

lab_test! {
    fn errors_name_what_and_the_fix(lab) {
        for (words, code, said) in [
            ("listen 10.0.0.1:5000", 2, "not a multicast address"),
            ("listen 239.1.1.1", 2, "has no port"),
            ("listen 232.1.1.1:5000", 2, "write SOURCE@GROUP:PORT"),
            ("listen http://127.0.0.1/udp/239.1.1.1:5000", 2, "write ws://127.0.0.1/"),
            ("listen ws://127.0.0.1/udp/239.1.1.1:5000 --interface lan0", 2, "?interface="),
            ("send 10.0.0.1:5000", 2, "not a multicast address"),
            ("send 239.1.1.1:5000 --interface all", 2, "name one"),
            ("send 239.1.1.1:5000 --line --size 5", 2, "--size"),
            ("send 239.1.1.1:5000 --interface lan0 /nonexistent", 1, "opening /nonexistent: No such file"),
            ("send 239.1.1.1:5000 --interface lan0 --size 65507 --count 1 --ttl 300", 2, "1..=255"),
            ("demo --listen 0.0.0.0:8080", 2, "this machine only"),
            ("listen ws://127.0.0.1:9/udp/239.1.1.1:5000", 1, "Connection refused"),
        ] {
            let output = run(lab, "gw", words).assert_code(code);
            assert!(output.stderr.contains(said), "{words}: {output:?}");
        }
        for verb in ["listen", "send"] {
            for (flag, said) in [("--interface eth7", "there is no eth7"), ("", "say which with --interface")] {
                let output = run(lab, "gw", &format!("{verb} 239.1.1.1:5000 {flag}")).assert_code(1);
                let there_are = "there are: lo (127.0.0.1), ";
                assert!(output.stderr.contains(said) && output.stderr.contains(there_are), "{output:?}");
                assert!(output.stderr.contains("lan0 (10.1.0.1)"), "{output:?}");
            }
        }
    }
}

/// Has a firewall on `host` drop what is sent to `address`.
fn drop_sent_to(lab: &Lab, host: &str, hook: &str, address: &str) {
    lab.sh(&format!(
        "ip netns exec {host} nft 'add table ip t; add chain ip t c {{ type filter hook {hook} priority 0; }}; \
         add rule ip t c ip daddr {address} drop'"
    ));
}

lab_test! {
    fn refused_datagrams_are_explained(lab) {
        let send = "send 239.1.1.1:5000 --interface eth0";
        lab.sh("ip -n srca link set eth0 mtu 1400; ip -n srca link set eth0 down");
        let said = run(lab, "srca", send).assert_code(1);
        assert!(said.stderr.contains("eth0 is down") && said.stderr.contains("`ip link set eth0 up`"), "{said:?}");
        if skip("nft", "nftables") {
            return;
        }
        drop_sent_to(lab, "srcc", "output", "239.1.1.1");
        let said = run(lab, "srcc", send).assert_code(1);
        assert!(said.stderr.contains("a firewall on this host forbids it"), "{said:?}");
        assert!(said.stderr.contains("sent 0 datagrams"), "{said:?}");
    }
}

lab_test! {
    fn a_reader_that_goes_away_is_a_success(lab) {
        let mut listener = Running::listening(lab, "239.1.1.8", "239.1.1.8:5000");
        drop(listener.lines());
        run(lab, "srca", "send 239.1.1.8:5000 --interface eth0").assert_code(0);
        listener.output().assert_code(0);
    }
}

lab_test! {
    fn a_reader_that_does_not_read_holds_nobody(lab) {
        let mut listener = Running::listening(lab, "239.1.1.9", "239.1.1.9:5000 --raw");
        // More than a pipe holds.
        let send = "send 239.1.1.9:5000 --interface eth0 --size 1400 --count 200 --rate 5000";
        run(lab, "srca", send).assert_code(0);
        listener.signal();
        wait_for("wscast to end", PATIENCE, || listener.has_ended().then_some(()));
        let said = listener.output().assert_code(0);
        assert!(said.stderr.contains("received ") && said.stderr.contains("nobody reads"), "{said:?}");
    }
}

lab_test! {
    fn time_ends_it(lab) {
        let said = run(lab, "gw", "listen 239.1.1.4:5000 --interface lan0 --seconds 50ms").assert_code(0);
        assert!(said.stderr.contains("received 0 datagrams, 0 bytes\n"), "{said:?}");
    }
}

lab_test! {
    fn standard_input_waits_for_nobody(lab) {
        let mut command = wscast(lab, "srca", "send 239.1.1.4:5000 --interface eth0 -");
        let mut child =
            command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("start wscast");
        let mut line = String::new();
        let mut stderr = BufReader::new(child.stderr.take().expect("a pipe"));
        stderr.read_line(&mut line).expect("text");
        assert!(line.starts_with("sending to 239.1.1.4:5000 on eth0"), "{line}");
        let input = child.stdin.take();
        let said = Running(Some(child)).interrupt().assert_code(0);
        drop((input, said));
        stderr.read_to_string(&mut line).expect("text");
        assert!(line.contains("sent 0 datagrams"), "{line}");
    }
}

/// Starts the demo on gw and reads the port that it listens on.
fn demo(lab: &Lab, words: &str) -> (Running, u16, impl Iterator<Item = String> + use<>) {
    let mut running = Running::start(lab, "gw", words);
    let mut lines = running.lines();
    let first = lines.next().unwrap_or_default();
    let port = first.strip_prefix("listening on http://127.0.0.1:").and_then(|port| port.parse().ok());
    match port {
        Some(port) => (running, port, lines),
        None => panic!("{first}: {:?}", running.output()),
    }
}

/// What the demo answers to a plain GET, up to `bytes`.
fn fetch(lab: &Lab, port: u16, path: &str, bytes: usize) -> String {
    let mut stream = lab.on("gw", || TcpStream::connect(("127.0.0.1", port))).expect("connect");
    stream.set_read_timeout(Some(PATIENCE)).expect("SO_RCVTIMEO");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n").expect("send the request");
    let mut answer = vec![0; bytes];
    let mut length = 0;
    while length < bytes {
        match stream.read(&mut answer[length..]).expect("an answer") {
            0 => break,
            read => length += read,
        }
    }
    String::from_utf8_lossy(&answer[..length]).into_owned()
}

lab_test! {
    fn the_demo_runs_without_any_network(lab) {
        let (running, port, lines) = demo(lab, "demo --listen 127.0.0.1:0");
        let said: Vec<String> = lines.take_while(|line| !line.starts_with("Ctrl-C")).collect();
        let said = said.join("\n");
        assert!(said.contains(&format!("Open this page:  http://127.0.0.1:{port}/")), "{said}");
        for name in ["sensors", "ticker", "counter", "chat"] {
            assert!(said.contains(&format!("curl -N http://127.0.0.1:{port}/streams/{name}")), "{said}");
        }
        assert!(said.contains("The IPv6 stream is left out") && said.contains("`ip -6 route add local"), "{said}");
        assert!(fetch(lab, port, "/", 15).starts_with("HTTP/1.1 200 OK"));
        let readings = fetch(lab, port, "/streams/sensors", 1200);
        let reading = readings.lines().find(|line| line.starts_with(r#"{"sensor":"#)).expect("a reading");
        let reading: Value = serde_json::from_str(reading).expect("JSON");
        assert!(reading["temperature"].is_f64(), "{reading}");
        let url = format!("ws://127.0.0.1:{port}");
        let counter = run(lab, "gw", &format!("listen {url}/streams/counter --json --quiet --count 20"));
        let summary = counter.assert_code(0).summary();
        assert_eq!((&summary["received"], &summary["sequence"]["gaps"]), (&20.into(), &0.into()), "{summary}");
        let refused = run(lab, "gw", &format!("listen {url}/streams/nothing")).assert_code(1);
        assert!(refused.stderr.contains("no stream of that name (no_such_stream)"), "{refused:?}");
        let refused = run(lab, "gw", &format!("listen {url}/streams/nothing --no-v1")).assert_code(1);
        assert!(refused.stderr.contains("refused with 404") && refused.stderr.contains("not_found:"), "{refused:?}");
        let mut chat = Running::start(lab, "gw", &format!("listen {url}/streams/chat --count 1"));
        let chatting = "send 239.255.77.4:5004 --interface lo --line";
        lab.on("gw", || wait_for("the chat to be joined", PATIENCE, || {
            let table = std::fs::read_to_string("/proc/thread-self/net/igmp").expect("the table");
            table.contains("044DFFEF").then_some(())
        }));
        // Joined is not yet subscribed, so it is said until it is heard.
        wait_for("the chat to be heard", PATIENCE, || {
            run_with_input(lab, "gw", chatting, b"hello").assert_code(0);
            chat.has_ended().then_some(())
        });
        assert!(chat.output().assert_code(0).text().ends_with(" 5 hello\n"));
        running.interrupt().assert_code(0);
    }
}
