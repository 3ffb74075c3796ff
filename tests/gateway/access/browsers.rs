//! What a real browser sends for pages that may not ask, and for one that may.

use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde_json::{Value, json};

use super::{ADMIN, VIEWER, WALL, site, start};
use crate::peers::browser::Browser as _;
use crate::peers::chromium::Chromium;
use crate::support::gateway::TestGateway;
use crate::support::lab::{Multicast, Receiver, lab_test, skip};

/// Names that other sites have, all of them on this host; and no guard of the browser's own in front of ours.
const NAMES: [&str; 2] = [
    "--host-resolver-rules=MAP *.example 10.9.0.1",
    "--disable-features=LocalNetworkAccessChecks,LocalNetworkAccessChecksWebSockets",
];

/// Opens a WebSocket in the page; what came of it: its first message, or its close.
fn attempt(page: &mut Chromium, url: &str, protocols: &Value) -> Value {
    page.resolve(&format!(
        "new Promise((done) => {{
            const socket = new WebSocket({url:?}, {protocols});
            let opened = false;
            socket.onopen = () => (opened = true);
            socket.onmessage = ({{ data }}) => done({{ opened, text: typeof data === 'string' ? data : 'binary' }});
            socket.onclose = ({{ code, reason }}) => done({{ opened, code, reason }});
        }})"
    ))
}

/// Goes to another place, and waits until the page is there.
fn go(page: &mut Chromium, url: &str) {
    page.evaluate("globalThis.before = true");
    page.call("Page.navigate", &json!({ "url": url }));
    page.wait(
        url,
        "!globalThis.before && document.readyState === 'complete' && location.href !== 'about:blank'",
    );
}

/// Types a token into the gateway's page.
fn give(page: &mut Chromium, token: &str) {
    page.evaluate(&format!("document.querySelector('#token').value = {token:?}"));
    page.evaluate("document.querySelector('#token-form').requestSubmit()");
}

lab_test! {
    fn the_page_asks_for_a_token_and_shows_what_it_opens(lab) {
        if skip("chromium", "chromium") {
            return;
        }
        let (gateway, _folder) = start(lab, &site(""), &[]);
        let url = format!("http://{}/", gateway.address);
        let mut page = Chromium::open(lab, &url);
        let asked = |page: &mut Chromium, words: &str| {
            page.wait(words, &format!("document.querySelector('#token-form')?.checkVisibility() && document.querySelector('#token-words').textContent.includes({words:?})"));
        };
        asked(&mut page, "wants a token");
        give(&mut page, "something-wrong");
        asked(&mut page, "does not take this token");
        give(&mut page, VIEWER);
        page.wait("the stream by its name", "document.querySelector('#streams tbody')?.textContent.includes('camera')");
        let shown = "['#token-form', '#sessions-part', '#interfaces-part', '#json'].filter((one) => document.querySelector(one).checkVisibility()).join()";
        assert_eq!(page.evaluate(shown), "");
        assert!(page.text("#facts").contains("as viewer"));
        let row = page.text("#streams tbody");
        assert!(!row.contains("secret") && !row.contains("239.1.2.3"), "{row}");

        page.watch("camera");
        gateway.await_joined("gw-lan0", "239.1.2.3:5000");
        let source = lab.on("srca", || Multicast::sender("eth0", "239.1.2.3:5000".parse().unwrap(), 1));
        source.send(b"a picture of the door");
        page.wait("the datagram", "document.querySelector('#messages')?.textContent.includes('a picture of the door')");
        assert_eq!(page.text("#live-title"), "camera");
        assert_eq!(page.evaluate("document.querySelector('#send-form').checkVisibility()"), false);
        assert_eq!(page.text("#send-flag"), "send-streams = [\"camera\"]");
        let kept = "[location.href, document.cookie, JSON.stringify(localStorage)].join()";
        assert!(!page.evaluate(kept).as_str().expect("text").contains(VIEWER));

        // The same tab comes back without being asked, to the same stream.
        page.evaluate("globalThis.before = true");
        page.call("Page.reload", &json!({}));
        page.wait("the page anew", "!globalThis.before && document.querySelector('#live-state')?.dataset.state === 'receiving'");
        page.evaluate("document.querySelector('#token-forget').click()");
        asked(&mut page, "wants a token");
        assert_eq!(page.evaluate("sessionStorage.length"), 0);

        // One who may send to it, and one who sees all.
        give(&mut page, WALL);
        page.wait("the stream again", "document.querySelector('#send-form')?.checkVisibility()");
        let receiver = lab.on("srca", || Receiver::join("eth0", "239.1.2.3:5000".parse().unwrap()));
        lab.await_member("srca-eth0", "239.1.2.3".parse().unwrap());
        page.evaluate("document.querySelector('#send-text').value = 'from the page'");
        page.evaluate("document.querySelector('#send-form').requestSubmit()");
        assert_eq!(receiver.recv().payload, b"from the page");
        page.evaluate("document.querySelector('#token-forget').click()");
        asked(&mut page, "wants a token");
        give(&mut page, ADMIN);
        page.wait("the sessions", "document.querySelector('#sessions tbody')?.textContent.includes('wscast.v1')");
        assert!(page.text("#streams tbody").contains("secret"));
        assert!(!gateway.log().contains(VIEWER));
    }
}

lab_test! {
    fn pages_that_may_not_ask_are_refused_and_an_allowed_one_is_served(lab) {
        if skip("chromium", "chromium") {
            return;
        }
        // Another site is another gateway's page here: what matters is the origin that the browser tells.
        let open = ["--listen", "10.9.0.1:0", "--no-auth", "--allow-receive", "239.0.0.0/8"];
        let names = ["--allow-host", "evil.example", "--allow-host", "app.example"];
        let other = TestGateway::start_with(lab, &[&open[..], &names[..]].concat());
        let port = other.address.port();
        let allowed = format!("allow-origin = [\"http://app.example:{port}\"]\n");
        let (gateway, folder) = start(lab, &site(&allowed), &[]);
        let host = gateway.address;
        let (raw, v1) = (format!("ws://{host}/streams/camera"), format!("ws://{host}/v1"));
        let token = |protocol: &str, token: &str| json!([protocol, format!("wscast.bearer.{}", BASE64.encode(token))]);
        let refusals = |words: &str| gateway.log().matches(words).count();

        // A token does not help a page that may not ask: somebody may have left it in a browser.
        let file = folder.path().join("page.html");
        fs::write(&file, "<p>a page from disk</p>").expect("write the page");
        let places = [
            format!("http://evil.example:{port}/healthz"),
            "data:text/html,<p>an origin that is null</p>".to_owned(),
            format!("file://{}", file.display()),
        ];
        let mut page = Chromium::open_with(lab, &places[0], &NAMES);
        for place in &places {
            go(&mut page, place);
            for (url, protocols) in [(&raw, token("wscast.raw", VIEWER)), (&v1, token("wscast.v1", ADMIN))] {
                let before = refusals("this Origin is not allowed");
                let end = attempt(&mut page, url, &protocols);
                assert_eq!((&end["opened"], &end["code"]), (&json!(false), &json!(1006)), "{place}: {end}");
                assert!(refusals("this Origin is not allowed") > before, "{place}: not by the gateway");
            }
            let read = page.resolve(&format!(
                "fetch('http://{host}/api/v1/status', {{ headers: {{ Authorization: 'Bearer {ADMIN}' }} }}).then(() => 'read', () => 'refused')"
            ));
            assert_eq!(read, "refused", "{place}");
        }

        // A name of somebody else's that has come to mean our address.
        let before = refusals("this Host is not one of ours");
        go(&mut page, &format!("http://rebind.example:{}/", host.port()));
        let text = page.evaluate("document.body.innerText");
        assert!(text.as_str().expect("text").contains("this Host is not one of ours"), "{text}");
        assert_eq!(page.resolve("fetch('/api/v1/status').then((answer) => answer.status)"), 403);
        let end = attempt(&mut page, &format!("ws://rebind.example:{}/v1", host.port()), &token("wscast.v1", ADMIN));
        assert_eq!((&end["opened"], &end["code"]), (&json!(false), &json!(1006)), "{end}");
        assert!(refusals("this Host is not one of ours") >= before + 3);

        // Typed into the address bar there is no origin, and no token.
        go(&mut page, &format!("http://{host}/streams/camera"));
        let text = page.evaluate("document.body.innerText");
        assert!(text.as_str().expect("text").contains("this gateway wants a token"), "{text}");

        // The allowed one is served, and told what is missing.
        go(&mut page, &format!("http://app.example:{port}/healthz"));
        let end = attempt(&mut page, &raw, &json!([]));
        assert_eq!((&end["opened"], &end["code"]), (&json!(true), &json!(4401)), "{end}");
        assert!(end["reason"].as_str().expect("words").contains("wants a token"), "{end}");
        let end = attempt(&mut page, &format!("ws://{host}/streams/secret"), &token("wscast.raw", VIEWER));
        assert_eq!(end["code"], 4404, "{end}");
        let hello = attempt(&mut page, &v1, &token("wscast.v1", VIEWER));
        assert!(hello["text"].as_str().expect("a hello").contains("\"type\":\"hello\""), "{hello}");
        let status = page.resolve(&format!(
            "fetch('http://{host}/api/v1/status', {{ headers: {{ Authorization: 'Bearer {ADMIN}' }} }}).then((answer) => answer.status)"
        ));
        assert_eq!(status, 200);
        let ticket = page.resolve(&format!(
            "fetch('http://{host}/api/v1/tickets', {{ method: 'POST', headers: {{ Authorization: 'Bearer {VIEWER}' }} }})
                .then((answer) => answer.json()).then(({{ ticket }}) => ticket)"
        ));
        let ticket = ticket.as_str().expect("a ticket");
        page.evaluate(&format!(
            "globalThis.heard = new Promise((done) => {{
                const socket = new WebSocket('{raw}?token={ticket}');
                socket.binaryType = 'arraybuffer';
                socket.onmessage = ({{ data }}) => done(new TextDecoder().decode(data));
                socket.onclose = ({{ code }}) => done(code);
            }}); 0"
        ));
        gateway.await_joined("gw-lan0", "239.1.2.3:5000");
        let source = lab.on("srca", || Multicast::sender("eth0", "239.1.2.3:5000".parse().unwrap(), 1));
        source.send("über das Netz".as_bytes());
        assert_eq!(page.resolve("heard"), "über das Netz");
    }
}
