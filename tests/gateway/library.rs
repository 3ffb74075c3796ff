//! The JavaScript library and `UDPSocket` in a real browser, in a page and in a worker, against the built gateway.

mod flood;
mod runtimes;

use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::front::{ask, assert_refused};
use crate::peers::browser::Browser;
use crate::peers::chromium::Chromium;
use crate::peers::firefox::Firefox;
use crate::support::gateway::TestGateway;
use crate::support::lab::{Lab, Multicast, PATIENCE, Receiver, lab_test, skip, wait_for};

const GROUP: &str = "239.1.2.3:5000";

lab_test! {
    fn any_page_may_load_the_library_s_files(lab) {
        let gateway = crate::front::start(lab, &[]);
        for (path, kind, words) in [
            ("/wscast.js", "text/javascript; charset=utf-8", "export function connect"),
            ("/wscast.d.ts", "application/typescript; charset=utf-8", "export declare function connect"),
            ("/wscast-udpsocket.js", "text/javascript; charset=utf-8", "export class UDPSocket"),
            ("/wscast-udpsocket.d.ts", "application/typescript; charset=utf-8", "export declare class UDPSocket"),
        ] {
            for origin in ["https://anybody.example", "null"] {
                let lines = ["Host: HOST", &format!("Origin: {origin}"), "Connection: close"];
                let answer = ask(&gateway, &format!("GET {path}"), &lines);
                assert_eq!(answer.status, 200, "{path}: {answer:?}");
                assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
                assert_eq!(answer.header("content-type"), Some(kind));
                assert!(answer.body.contains(words), "{words:?} is not in {path}");
            }
            assert_refused(&ask(&gateway, &format!("GET {path}"), &["Host: evil.example"]), 403, "Host");
            assert_refused(&ask(&gateway, &format!("POST {path}"), &["Host: HOST"]), 405, "GET, HEAD");
        }
        let script = gateway.fetch("/wscast.js").body;
        assert!(script.lines().count() < 500, "{} lines in wscast.js", script.lines().count());
        assert!(!script.contains("import ") && !script.contains("import {"), "wscast.js depends on nothing");
    }
}

lab_test! {
    fn in_a_page_streams_are_joined_read_and_left(lab) {
        let started = start(lab, Place::Page, &["--allow-send", GROUP]);
        joins_reads_and_leaves(lab, started);
    }
}

lab_test! {
    fn in_a_worker_streams_are_joined_read_and_left(lab) {
        let started = start(lab, Place::Worker, &["--allow-send", GROUP]);
        joins_reads_and_leaves(lab, started);
    }
}

lab_test! {
    fn in_a_page_of_firefox_streams_are_joined_read_and_left(lab) {
        let started = start_in_firefox(lab, Place::Page, &["--allow-send", GROUP]);
        joins_reads_and_leaves(lab, started);
    }
}

lab_test! {
    fn in_a_worker_of_firefox_streams_are_joined_read_and_left(lab) {
        let started = start_in_firefox(lab, Place::Worker, &["--allow-send", GROUP]);
        joins_reads_and_leaves(lab, started);
    }
}

fn joins_reads_and_leaves(lab: &Lab, started: Option<(TestGateway<'_>, Library)>) {
    let Some((gateway, mut library)) = started else { return };
    let source = lab.on("srca", || Multicast::sender("eth0", GROUP.parse().unwrap(), 1));
    let joined = library.call("join", &json!([GROUP]));
    assert_eq!(joined, json!({ "number": 0, "on": "lan0" }));
    gateway.await_joined("gw-lan0", GROUP);
    for text in ["eins", "zwei", "grüße"] {
        source.send(text.as_bytes());
    }
    library.texts(0, &["eins", "zwei", "grüße"]);

    let receiver = lab.on("srca", || Receiver::join("eth0", GROUP.parse().unwrap()));
    lab.await_member("srca-eth0", "239.1.2.3".parse().unwrap());
    let address = library.call("send", &json!([GROUP, ["from the browser"]]));
    let received = receiver.recv();
    assert_eq!(received.payload, b"from the browser");
    assert_eq!(json!(received.source.to_string()), address);
    // A unicast answer comes back to the sender.
    let answering = lab.on("srca", || std::net::UdpSocket::bind("10.1.0.2:0").unwrap());
    answering.send_to(b"an answer", received.source).unwrap();
    let reply = library.call("reply", &json!([]));
    assert_eq!(
        (&reply["text"], &reply["kind"], &reply["source"]),
        (&json!("an answer"), &json!("reply"), &json!("10.1.0.2"))
    );

    assert_eq!(library.call("status", &json!([])), json!([GROUP]));
    let refused = library.call("refused", &json!(["224.0.0.251:5353"]));
    assert_eq!(refused["code"], "not_allowed", "{refused}");
    let refused = library.call("refused", &json!([GROUP, { "interface": "nope0" }]));
    assert_eq!(refused["code"], "no_interface", "{refused}");
    library.call("leave", &json!([0]));
    gateway.status_with("a stream without subscribers", |status| status["streams"][0]["subscribers"] != 1);
    source.send(b"for nobody");
    library.texts(0, &["eins", "zwei", "grüße"]);
}

lab_test! {
    fn sixteen_streams_flow_on_one_connection_and_come_and_go(lab) {
        let Some((gateway, mut library)) = start(lab, Place::Page, &[]) else { return };
        let (mut targets, mut sources) = (Vec::new(), Vec::new());
        for (interface, host, v4, v6) in [("lan0", "srca", "10.1.0.2", "fd01::2"), ("lan1", "srcb", "10.2.0.2", "fd02::2")] {
            for number in 1..=2 {
                for (source, group) in [
                    (String::new(), format!("239.1.2.{number}:5000")),
                    (format!("{v4}@"), format!("232.1.2.{number}:5000")),
                    (String::new(), format!("[ff15::{number}]:5000")),
                    (format!("[{v6}]@"), format!("[ff35::{number}]:5000")),
                ] {
                    targets.push(json!([format!("{source}{group}"), { "interface": interface }]));
                    let parsed = group.parse().unwrap();
                    sources.push((lab.on(host, || Multicast::sender("eth0", parsed, 1)), group, format!("gw-{interface}")));
                }
            }
        }
        // More at once than the gateway takes in a second: what is told to come later comes later.
        let joined = library.call("joinAll", &json!([targets]));
        assert_eq!(joined.as_array().map(Vec::len), Some(16), "{joined}");
        for (_, group, port) in &sources {
            gateway.await_joined(port, group);
        }
        for round in ["first", "second"] {
            for (place, (source, ..)) in sources.iter().enumerate() {
                source.send(format!("{round} to {place}").as_bytes());
            }
        }
        let all = |place: usize| [format!("first to {place}"), format!("second to {place}")];
        for joined in joined.as_array().unwrap() {
            let number = joined["number"].as_u64().unwrap();
            assert!(number < 16);
        }
        for place in 0..16 {
            let texts = all(place);
            library.texts(place, &[&texts[0], &texts[1]]);
        }
        for place in 0..8 {
            library.call("leave", &json!([place]));
        }
        gateway.status_with("one session with eight streams", |status| {
            status["sessions"].as_array().is_some_and(|sessions| {
                sessions.len() == 1 && sessions[0]["subscriptions"].as_array().is_some_and(|all| all.len() == 8)
            })
        });
        for (place, (source, ..)) in sources.iter().enumerate() {
            source.send(format!("third to {place}").as_bytes());
        }
        for place in 8..16 {
            let texts = all(place);
            library.texts(place, &[&texts[0], &texts[1], &format!("third to {place}")]);
        }
        for place in 0..8 {
            let texts = all(place);
            library.texts(place, &[&texts[0], &texts[1]]);
        }
    }
}

lab_test! {
    fn after_a_restart_of_the_gateway_the_page_is_back_within_three_seconds_and_tells_the_gap(lab) {
        comes_back(lab, Duration::from_secs(3));
    }
}

lab_test! {
    // After half a minute a page asks less often.
    #[ignore = "takes half a minute"]
    fn after_an_outage_of_nearly_half_a_minute_the_page_is_back_within_three_seconds(lab) {
        comes_back(lab, Duration::from_secs(25));
    }
}

/// The gateway is away until the page has tried for so long to come back.
fn comes_back(lab: &Lab, outage: Duration) {
    let Some((mut gateway, mut library)) = start(lab, Place::Page, &[]) else { return };
    library.call("join", &json!([GROUP]));
    gateway.await_joined("gw-lan0", GROUP);
    let source = lab.on("srca", || Multicast::sender("eth0", GROUP.parse().unwrap(), 1));
    source.send(b"before");
    library.texts(0, &["before"]);

    gateway.signal("TERM");
    gateway.wait();
    source.send(b"meanwhile");
    wait_for("the page to try for so long", outage + PATIENCE, || {
        let states = library.call("events", &json!(["state"]));
        let mut tries = states.as_array()?.iter().filter(|event| event["state"] == "waiting");
        let (first, last) = (tries.next()?["at"].as_f64()?, tries.next_back()?["at"].as_f64()?);
        (last - first >= outage.as_secs_f64() * 1000.0).then_some(())
    });
    let listen = gateway.address.to_string();
    let gateway = TestGateway::start_with(
        lab,
        &["--listen", &listen, "--no-auth", "--allow-receive", "239.0.0.0/8", "--interface", "lan0"],
    );
    let returned = Instant::now();
    wait_for("the page to be back", Duration::from_secs(3), || {
        (library.call("events", &json!(["reconnect"])).as_array()?.len() == 1).then_some(())
    });
    println!("back {:?} after the gateway", returned.elapsed());
    gateway.await_joined("gw-lan0", GROUP);
    wait_for("the gap", PATIENCE, || {
        (!library.call("events", &json!(["lost"])).as_array()?.is_empty()).then_some(())
    });
    let lost = library.call("events", &json!(["lost"]));
    assert_eq!(lost.as_array().map(Vec::len), Some(1), "told once: {lost}");
    assert_eq!((&lost[0]["datagrams"], &lost[0]["where"]), (&Value::Null, &json!("unknown")), "{lost}");
    assert!(lost[0]["seconds"].as_f64().is_some_and(|seconds| seconds > 0.0), "{lost}");
    assert_eq!(library.call("events", &json!(["reconnect"]))[0]["same"], false);
    source.send(b"after");
    library.texts(0, &["before", "after"]);
}

lab_test! {
    fn chromium_s_own_multicast_cases_pass_in_an_ordinary_page(lab) {
        passes_the_multicast_cases(start(lab, Place::Page, &CASES));
    }
}

lab_test! {
    fn chromium_s_own_multicast_cases_pass_in_firefox(lab) {
        passes_the_multicast_cases(start_in_firefox(lab, Place::Page, &CASES));
    }
}

/// What the gateway has to allow for them.
const CASES: [&str; 4] =
    ["--allow-send", GROUP, "--limit", "join-rate=off,send-rate-per-session=off,send-rate-per-group=off"];

fn passes_the_multicast_cases(started: Option<(TestGateway<'_>, Library)>) {
    let Some((_gateway, mut library)) = started else { return };
    let expression = format!("({})(origin)", include_str!("library/udpsocket.js"));
    let said = library.browser.resolve(&expression);
    let said = said.as_object().expect("what each case said");
    assert!(said.len() >= 8, "{said:?}");
    for (case, result) in said {
        assert_eq!(result, "ok", "{case}");
    }
}

lab_test! {
    fn a_page_kept_for_going_back_has_no_connection_and_comes_back_with_its_streams(lab) {
        if skip("chromium", "chromium") || skip("python3", "python3") {
            return;
        }
        let gateway = TestGateway::start(lab, &["--interface", "lan0", "--allow-origin", "http://127.0.0.1:8000"]);
        let _pages = Pages::serve(lab);
        let source = lab.on("srca", || Multicast::sender("eth0", GROUP.parse().unwrap(), 1));
        let sessions = |status: &Value, count: usize| status["sessions"].as_array().is_some_and(|all| all.len() == count);
        let url = format!("http://127.0.0.1:8000/subscribe.html?gateway=http://{}&group={GROUP}", gateway.address);
        let mut browser = Chromium::open(lab, &url);
        gateway.await_joined("gw-lan0", GROUP);
        source.send(b"before");
        assert!(browser.text("#datagrams li").ends_with(" before"));
        browser.evaluate("globalThis.kept = 'since the page was loaded'");
        browser.call("Page.navigate", &json!({"url": "http://127.0.0.1:8000/style.css"}));
        gateway.status_with("no session of a page that nobody sees", |status| sessions(status, 0));
        browser.evaluate("history.back()");
        browser.wait("the same page, not a new one", "globalThis.kept");
        gateway.status_with("a session of the page that is back", |status| sessions(status, 1));
        gateway.status_with("its stream", |status| status["streams"][0]["subscribers"] == 1);
        source.send(b"after");
        browser.wait("what came after", "document.querySelector('#datagrams').textContent.includes(' after')");
    }
}

lab_test! {
    fn the_examples_show_what_arrives(lab) {
        if skip("chromium", "chromium") || skip("python3", "python3") {
            return;
        }
        let gateway = TestGateway::start(lab, &["--interface", "lan0", "--allow-origin", "http://127.0.0.1:8000"]);
        let _pages = Pages::serve(lab);
        let source = lab.on("srca", || Multicast::sender("eth0", GROUP.parse().unwrap(), 1));
        let url = |page: &str| format!("http://127.0.0.1:8000/{page}.html?gateway=http://{}&group={GROUP}", gateway.address);

        let mut browser = Chromium::open(lab, &url("subscribe"));
        gateway.await_joined("gw-lan0", GROUP);
        source.send(b"<b>hello</b>");
        assert!(browser.text("#datagrams li").ends_with(" <b>hello</b>"));

        let mut browser = Chromium::open(lab, &url("sensors"));
        gateway.status_with("two subscribers", |status| status["streams"][0]["subscribers"] == 2);
        source.send(br#"{"sensor":"attic","celsius":21.5}"#);
        assert_eq!(browser.text("#legend li"), "attic: celsius 21.5");
        assert!(browser.text("#state").starts_with("open, "));
    }
}

/// The web server of the examples, at `127.0.0.1:8000` of `cli`; killed when dropped.
struct Pages(Child);

impl Pages {
    fn serve(lab: &Lab) -> Self {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/browser");
        let serving = ["-m", "http.server", "8000", "--bind", "127.0.0.1", "--directory", folder];
        let pages = Pages(lab.command("cli", "python3").args(serving).stderr(Stdio::null()).spawn().unwrap());
        wait_for("the pages", PATIENCE, || lab.on("cli", || TcpStream::connect("127.0.0.1:8000")).ok());
        pages
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Where the library runs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Page,
    Worker,
}

/// The library in a browser, with `programs.js`.
struct Library {
    browser: Box<dyn Browser>,
    place: Place,
}

/// A gateway with these flags besides the ordinary, and the library, connected; nothing where there is no browser.
fn start<'a>(lab: &'a Lab, place: Place, flags: &[&str]) -> Option<(TestGateway<'a>, Library)> {
    if skip("chromium", "chromium") {
        return None;
    }
    start_in(lab, |lab, url| Box::new(Chromium::open(lab, url)), place, flags)
}

/// The same in Firefox.
fn start_in_firefox<'a>(lab: &'a Lab, place: Place, flags: &[&str]) -> Option<(TestGateway<'a>, Library)> {
    if skip("firefox-esr", "firefox-esr") {
        return None;
    }
    start_in(lab, |lab, url| Box::new(Firefox::open(lab, url)), place, flags)
}

/// The same in a browser of choice.
fn start_in<'a>(
    lab: &'a Lab,
    open: impl FnOnce(&Lab, &str) -> Box<dyn Browser>,
    place: Place,
    flags: &[&str],
) -> Option<(TestGateway<'a>, Library)> {
    let gateway = TestGateway::start(lab, &[&["--interface", "lan0"][..], flags].concat());
    // A document without a policy of its own: what is imported and started here is the tests' affair.
    let mut browser = open(lab, &format!("http://{}/healthz", gateway.address));
    wait_for("the document", PATIENCE, || {
        (browser.evaluate("location.pathname + document.readyState") == "/healthzcomplete").then_some(())
    });
    let programs = include_str!("library/programs.js");
    match place {
        Place::Page => browser.evaluate(&format!("var origin = location.origin; {programs}; globalThis.programs = programs; null")),
        Place::Worker => browser.evaluate(&format!(
            "globalThis.worker = new Worker(URL.createObjectURL(new Blob([{}], {{ type: 'text/javascript' }})), {{ type: 'module' }}); null",
            json!(format!(
                "const origin = 'http://{}'; {programs}
                 onmessage = async ({{ data: [name, given], ports: [port] }}) => {{
                   try {{ port.postMessage([await programs[name](...given), null]); }}
                   catch (error) {{ port.postMessage([null, String(error)]); }}
                 }};",
                gateway.address
            ))
        )),
    };
    let mut library = Library { browser, place };
    let hello = library.call("open", &json!([]));
    assert_eq!(hello["heartbeat"], 20, "{hello}");
    Some((gateway, library))
}

impl Library {
    /// What a program of `programs.js` returns.
    fn call(&mut self, program: &str, arguments: &Value) -> Value {
        let expression = match self.place {
            Place::Page => format!("(async () => programs[{program:?}](...{arguments}))()"),
            Place::Worker => format!(
                "new Promise((resolve, reject) => {{
                   const {{ port1, port2 }} = new MessageChannel();
                   port1.onmessage = ({{ data: [value, error] }}) => error ? reject(error) : resolve(value);
                   worker.postMessage([{program:?}, {arguments}], [port2]);
                 }})"
            ),
        };
        self.browser.resolve(&expression)
    }

    /// Waits until the subscription has read exactly `texts`.
    fn texts(&mut self, number: usize, texts: &[&str]) {
        let mut last = Value::Null;
        let wanted = json!(texts);
        let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait_for("datagrams in the page", PATIENCE, || {
                last = self.call("texts", &json!([number]));
                (last == wanted).then_some(())
            });
        }));
        assert!(found.is_ok(), "subscription {number} read {last}, and not {wanted}");
    }
}
