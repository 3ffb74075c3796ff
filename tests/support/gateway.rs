//! The built gateway, running on a host of the lab, and what it says of itself.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use super::client::WebSocket;
use super::lab::{Lab, PATIENCE, wait_for};
use super::tls::Line;

/// What lets everything in the lab be received, and asked for as often as a waiting test does: the tests that are about
/// policy say their own.
const OPEN: [&str; 9] = [
    "--no-auth",
    "--allow-receive",
    "239.0.0.0/8",
    "--allow-receive",
    "232.0.0.0/8",
    "--allow-receive",
    "ff00::/8",
    "--limit",
    "connection-rate-per-address=off",
];

/// A gateway; killed when dropped.
pub struct TestGateway<'a> {
    lab: &'a Lab,
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
    /// Whether it speaks TLS there.
    secure: bool,
    log: Arc<Mutex<String>>,
}

/// An HTTP answer whose body goes on.
pub struct Body {
    /// Head in lower case.
    pub head: String,
    /// The connection, from the body's first byte on.
    pub stream: TcpStream,
}

/// An HTTP answer.
#[derive(Debug)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Head in lower case, a field a line.
    pub head: String,
    /// Body, whole.
    pub body: String,
}

impl<'a> TestGateway<'a> {
    /// On host `gw`, reachable from `cli`, open to receive everything but the denied groups.
    pub fn start(lab: &'a Lab, arguments: &[&str]) -> Self {
        let listen = ["--listen", "10.9.0.1:0"];
        Self::start_with(lab, &[&listen[..], &OPEN[..], arguments].concat())
    }

    /// The same at an address: where one was that has ended.
    pub fn start_at(lab: &'a Lab, address: SocketAddr, arguments: &[&str]) -> Self {
        let address = address.to_string();
        Self::start_with(lab, &[&["--listen", &address][..], &OPEN[..], arguments].concat())
    }

    /// On host `gw`, with these arguments of `wscast serve` and no others.
    pub fn start_with(lab: &'a Lab, arguments: &[&str]) -> Self {
        Self::start_in(lab, arguments, &[])
    }

    /// The same with environment variables.
    pub fn start_in(lab: &'a Lab, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        Self::spawn(lab, arguments, |command| command.envs(environment.iter().copied()))
    }

    /// The same without one that the suite was started with.
    pub fn start_without(lab: &'a Lab, arguments: &[&str], variable: &str) -> Self {
        Self::spawn(lab, arguments, |command| command.env_remove(variable))
    }

    /// The same on another host than `gw`.
    pub fn start_on(lab: &'a Lab, host: &str, arguments: &[&str]) -> Self {
        Self::spawn_on(lab, host, arguments, |command| command)
    }

    fn spawn(lab: &'a Lab, arguments: &[&str], prepare: impl FnOnce(&mut Command) -> &mut Command) -> Self {
        Self::spawn_on(lab, "gw", arguments, prepare)
    }

    fn spawn_on(
        lab: &'a Lab,
        host: &str,
        arguments: &[&str],
        prepare: impl FnOnce(&mut Command) -> &mut Command,
    ) -> Self {
        let mut command = lab.command(host, env!("CARGO_BIN_EXE_wscast"));
        let mut child = prepare(command.arg("serve").args(arguments).env("RUST_LOG", "debug"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("start wscast");
        let log = Arc::new(Mutex::new(String::new()));
        let errors = BufReader::new(child.stderr.take().expect("stderr is piped"));
        let keep = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in errors.lines().map_while(Result::ok) {
                let mut log = keep.lock().expect("nobody panics holding the log");
                log.push_str(&line);
                log.push('\n');
            }
        });
        let mut first = String::new();
        BufReader::new(child.stdout.take().expect("stdout is piped"))
            .read_line(&mut first)
            .expect("read the first line");
        let url = first.trim().strip_prefix("listening on ").and_then(|url| url.split_once("://"));
        let (secure, address) = match url.map(|(scheme, address)| (scheme, address.parse())) {
            Some((scheme @ ("http" | "https"), Ok(address))) => (scheme == "https", Some(address)),
            _ => (false, None),
        };
        let Some(address) = address else {
            let status = child.wait().expect("wait for wscast");
            panic!("wscast {arguments:?} did not start: {status}, said {first:?}");
        };
        TestGateway { lab, child, address, secure, log }
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.log.lock().expect("nobody panics holding the log").clone()
    }

    /// Waits until its log has `words`; the line with them.
    pub fn logged(&self, words: &str) -> String {
        wait_for(&format!("{words:?} in the log"), PATIENCE, || {
            self.log().lines().find(|line| line.contains(words)).map(str::to_owned)
        })
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by name: `TERM`, `INT`.
    pub fn signal(&self, name: &str) {
        self.lab.sh(&format!("kill -{name} {}", self.pid()));
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        wait_for("the gateway to end", Duration::from_secs(15), || {
            self.child.try_wait().expect("wait for wscast")
        })
    }

    /// A TCP connection from `cli`.
    pub fn connect(&self) -> TcpStream {
        let stream = self.lab.on("cli", || TcpStream::connect(self.address).expect("connect to the gateway"));
        stream.set_read_timeout(Some(PATIENCE)).expect("set a deadline");
        stream
    }

    /// A WebSocket from `cli` at `path`.
    pub fn open(&self, path: &str) -> WebSocket {
        WebSocket::open_over(self.line(self.connect()), self.address, path)
    }

    /// What is spoken on a connection: TLS where the gateway does.
    pub fn line(&self, stream: TcpStream) -> Line {
        if self.secure { Line::secure(stream) } else { Line::Plain(stream) }
    }

    /// `GET path` from `cli`, on a connection of its own.
    pub fn fetch(&self, path: &str) -> Answer {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.address))
    }

    /// `GET path` from `cli` as HTTP/1.0, whose body is the stream and nothing else; the head read, which says 200.
    pub fn get(&self, path: &str) -> Body {
        let mut stream = self.connect();
        write!(stream, "GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", self.address).expect("ask");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("read the head");
            head.push(byte[0]);
        }
        let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
        assert!(head.starts_with("http/1.0 200"), "{head}");
        Body { head, stream }
    }

    /// Sends `request` as it is and reads the answer to its end.
    pub fn ask(&self, request: &str) -> Answer {
        self.ask_from("cli", self.address, request)
    }

    /// The same from another host, at another of its addresses.
    pub fn ask_from(&self, host: &str, address: SocketAddr, request: &str) -> Answer {
        let stream = self.lab.on(host, || TcpStream::connect(address).expect("connect to the gateway"));
        stream.set_read_timeout(Some(PATIENCE)).expect("set a deadline");
        Answer::to(&mut self.line(stream), request)
    }

    /// `/api/v1/status`.
    pub fn status(&self) -> Value {
        let answer = self.fetch("/api/v1/status");
        serde_json::from_str(&answer.body).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
    }

    /// Waits until the status satisfies `condition`; the status.
    pub fn status_with(&self, what: &str, condition: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait_for(what, PATIENCE, || {
                last = self.status();
                condition(&last).then(|| last.clone())
            })
        }));
        found.unwrap_or_else(|_| panic!("no {what} in the status:\n{last:#}\nlog:\n{}", self.log()))
    }

    /// The stream of `group` in the status.
    pub fn stream(&self, group: &str) -> Value {
        stream_in(&self.status(), group).unwrap_or_else(|| panic!("no stream {group}: {:#}", self.status()))
    }

    /// Waits until the stream of `group` is joined on the lab's switch behind `port` (`gw-lan0`).
    pub fn await_joined(&self, port: &str, group: &str) {
        let group: SocketAddr = group.parse().expect("a group");
        self.lab.await_member(port, group.ip());
    }

    /// The books of the last closed session, after waiting for `count` to have closed.
    pub fn closed(&self, count: usize) -> Vec<Value> {
        let enough = |status: &Value| status["closed"].as_array().is_some_and(|closed| closed.len() >= count);
        let status = self.status_with(&format!("{count} closed sessions"), enough);
        status["closed"].as_array().cloned().unwrap_or_default()
    }
}

impl Drop for TestGateway<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- the gateway's log:\n{}---", self.log());
        }
    }
}

impl Answer {
    /// Sends `request` as it is and reads the answer to its end; of a 101, the head alone.
    pub fn to(stream: &mut (impl Read + Write), request: &str) -> Self {
        stream.write_all(request.as_bytes()).expect("write the request");
        let mut bytes = Vec::new();
        let mut byte = [0];
        while !(bytes.ends_with(b"\r\n\r\n") && bytes.starts_with(b"HTTP/1.1 101 ")) {
            match stream.read(&mut byte) {
                // A reset behind the answer is none of the answer's business.
                Ok(0) | Err(_) => break,
                Ok(_) => bytes.push(byte[0]),
            }
        }
        Answer::parse(&String::from_utf8_lossy(&bytes))
    }

    fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.unwrap_or_else(|| panic!("not an HTTP answer: {text:?}"));
        Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }

    /// A header's value, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
    }
}

/// The stream of `group` in a status.
pub fn stream_in(status: &Value, group: &str) -> Option<Value> {
    status["streams"].as_array()?.iter().find(|stream| stream["group"] == group).cloned()
}

/// Asserts that the books of a stream balance: received = published + refused, and for RTP what became of each packet.
pub fn assert_stream_balances(stream: &Value) {
    let number = |value: &Value| value.as_u64().unwrap_or_else(|| panic!("a number is missing: {stream:#}"));
    let refused = number(&stream["refused"]["truncated"]) + number(&stream["refused"]["wrong_destination"]);
    let rtp = &stream["rtp"];
    let (mut received, mut elsewhere) = (number(&stream["received"]), refused);
    if !rtp.is_null() {
        received += number(&rtp["repaired"]);
        let causes = ["malformed", "duplicate", "late", "other_sender", "empty", "held"];
        elsewhere += causes.iter().map(|cause| number(&rtp[*cause])).sum::<u64>();
    }
    assert_eq!(received, number(&stream["published"]) + elsewhere, "{stream:#}");
    if !rtp["fec"].is_null() {
        let fec = &rtp["fec"];
        let spent =
            ["malformed", "unneeded", "waiting"].iter().map(|cause| number(&fec[*cause])).sum::<u64>();
        assert_eq!(number(&fec["received"]), spent + number(&rtp["repaired"]), "{stream:#}");
    }
}

/// Asserts that the books of a session's subscription balance, and gives back (published, written, lost by all causes).
pub fn assert_session_balances(session: &Value) -> (u64, u64, u64) {
    let number = |value: &Value| value.as_u64().unwrap_or_else(|| panic!("a number is missing: {session:#}"));
    let mut sums = (0, 0, 0);
    for books in session["subscriptions"].as_array().expect("a list of subscriptions") {
        let lost = ["bytes", "datagrams", "age", "closed"].map(|cause| number(&books["lost"][cause]));
        let withheld = number(&books["withheld"]["echo"]) + number(&books["withheld"]["latest"]);
        let (published, written) = (number(&books["published"]), number(&books["written"]));
        let lost: u64 = lost.iter().sum();
        assert_eq!(published, written + withheld + lost + number(&books["pending"]), "{session:#}");
        sums = (sums.0 + published, sums.1 + written, sums.2 + lost);
    }
    sums
}
