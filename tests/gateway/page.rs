//! The gateway's own page, in a real browser.

mod video;

use serde_json::{Value, json};

use crate::peers::browser::Browser;
use crate::peers::chromium::Chromium;
use crate::peers::ends;
use crate::peers::firefox::Firefox;
use crate::players::announce;
use crate::support::gateway::TestGateway;
use crate::support::lab::{lab_test, skip};

const GROUP: &str = "239.1.2.3:5000";

lab_test! {
    fn a_group_that_is_typed_is_joined_and_shown_as_text_json_hex_and_chart(lab) {
        if skip("chromium", "chromium") {
            return;
        }
        let gateway = TestGateway::start(lab, &["--interface", "lan0"]);
        let (source, _) = ends(lab);
        let mut page = Chromium::open(lab, &format!("http://{}/", gateway.address));
        page.text("#link[data-state=open]");
        assert!(page.text("#streams-empty").contains("type a group above"));
        page.watch(GROUP);
        gateway.await_joined("gw-lan0", GROUP);
        page.text("#live-state[data-state=silent]");
        assert_eq!(page.text("#live-group"), "on lan0");

        source.send(br#"{"celsius":21.5,"room":"<b>attic</b>"}"#);
        let shown = page.text("#messages li[data-kind=json] pre");
        let shown: Value = serde_json::from_str(&shown).expect("JSON as text");
        assert_eq!(shown, json!({ "celsius": 21.5, "room": "<b>attic</b>" }));
        assert_eq!(page.evaluate("document.querySelectorAll('#messages li').length"), 1);
        assert_eq!(page.text("#kind"), "JSON");
        assert!(page.text("#messages .source").starts_with("10.1.0.2:"));
        page.text("#live-state[data-state=receiving]");

        page.click("#tab-hex");
        assert!(page.text("#messages pre.hex").starts_with("0000  7b 22 63 65 6c 73 69 75"));
        page.click("#tab-text");
        assert_eq!(page.text("#messages pre.text"), r#"{"celsius":21.5,"room":"<b>attic</b>"}"#);
        source.send(br#"{"celsius":19,"room":"cellar"}"#);
        page.wait("both rooms", "document.querySelectorAll('#messages pre.text').length === 2");
        page.click("#tab-chart");
        page.wait("two lines", "document.querySelectorAll('#chart-legend li').length === 2");
        assert_eq!(page.evaluate("document.querySelector('#chart-field').value"), "celsius");
        assert_eq!(page.evaluate("document.querySelector('#chart-split').value"), "room");
        assert!(page.text("#chart-legend").contains("cellar19"), "the last value of each");

        // What the gateway says of it, and the page with it.
        page.wait("the stream in the list", "document.querySelector('#streams tbody')?.textContent.includes('10.1.0.2')");
        let row = page.text("#streams tbody tr");
        for words in [GROUP, "JSON", "receiving", "on lan0", "none"] {
            assert!(row.contains(words), "{words} is not in {row}");
        }
        assert!(page.text("#sessions tbody tr").contains("wscast.v1"));
        let interfaces = page.text("#interfaces tbody");
        for words in ["lan0", "lan1", "10.1.0.1", "up"] {
            assert!(interfaces.contains(words), "{words} is not in {interfaces}");
        }

        // The same elsewhere.
        page.click("#live-links");
        let address = gateway.address;
        let curl = page.text("#links pre[data-snippet=curl]");
        assert_eq!(curl, format!("curl -gN 'http://{address}/udp/{GROUP}'"));
        let script = page.text("#links pre[data-snippet=JavaScript]");
        assert!(script.contains(&format!("connect('http://{address}')")) && script.contains(GROUP), "{script}");
    }
}

lab_test! {
    fn what_is_announced_is_a_click_away(lab) {
        if skip("chromium", "chromium") {
            return;
        }
        let gateway = TestGateway::start(lab, &["--interface", "lan0", "--announcements", "lan0"]);
        gateway.await_joined("gw-lan0", "239.255.255.255:9875");
        let text = "v=0\r\no=- 1 1 IN IP4 10.1.0.2\r\ns=<b>News</b>\r\ni=At eight\r\nc=IN IP4 239.1.2.3/8\r\nt=0 0\r\n\
                    m=video 5000 RTP/AVP 33\r\n";
        announce(lab, false, text);
        let mut page = Chromium::open(lab, &format!("http://{}/", gateway.address));
        let row = page.text("#announced tbody tr");
        for words in ["<b>News</b>", "At eight", GROUP, "rtp", "video", "10.1.0.2", "on lan0"] {
            assert!(row.contains(words), "{words} is not in {row}");
        }
        page.click("#announced .watch");
        gateway.await_joined("gw-lan0", GROUP);
        assert_eq!(page.text("#live-title"), GROUP);
    }
}

lab_test! {
    fn what_is_sent_on_the_page_reaches_the_group_and_comes_back_marked(lab) {
        if skip("chromium", "chromium") {
            return;
        }
        let gateway = TestGateway::start(lab, &["--interface", "lan0", "--allow-send", "239.0.0.0/8:5000"]);
        let (_, receiver) = ends(lab);
        let mut page = Chromium::open(lab, &format!("http://{}/#watch=/udp/{GROUP}", gateway.address));
        page.text("#live-state[data-state=silent]");
        page.fill("#send-text", "grüße vom Dach");
        page.click("#send-button");
        let received = receiver.recv();
        assert_eq!(String::from_utf8_lossy(&received.payload), "grüße vom Dach");
        assert_eq!(received.source.ip().to_string(), "10.1.0.1");
        assert!(page.text("#sent").contains("16 bytes"));
        let own = page.text("#messages li.own");
        assert!(own.contains("grüße vom Dach") && own.contains("sent through this gateway"), "{own}");

        page.evaluate("document.querySelector('#send-kind').value = 'hex'");
        page.fill("#send-text", "00 ff 7");
        page.click("#send-button");
        assert!(page.text("#send-error").contains("no hex"));
        page.fill("#send-text", "00 ff 70");
        page.click("#send-button");
        assert_eq!(receiver.recv().payload, [0, 0xff, 0x70]);
        page.wait("the error to go", "document.querySelector('#send-error').hidden");
    }
}

lab_test! {
    fn the_page_says_what_was_refused_and_how_to_allow_it(lab) {
        if skip("chromium", "chromium") {
            return;
        }
        let gateway = TestGateway::start(lab, &["--interface", "lan0"]);
        let mut page = Chromium::open(lab, &format!("http://{}/", gateway.address));
        page.text("#link[data-state=open]");
        page.watch("239.1.2.3");
        assert!(page.text("#target-error").contains("write 239.1.2.3:5000"));
        page.watch("224.0.0.251:5353");
        let error = page.text("#live-error");
        assert!(error.contains("does not allow receiving 224.0.0.251:5353"), "{error}");
        assert_eq!(page.text("#live-error code"), "--allow-receive 224.0.0.251:5353");
        assert!(!page.visible("#tabs"), "there is nothing to look at");
        page.watch(GROUP);
        page.text("#live-state[data-state=silent]");
        assert!(page.visible("#tabs") && !page.visible("#live-error") && !page.visible("#send-form"));
        assert_eq!(page.text("#send-flag"), format!("--allow-send {GROUP}"));
        // A link may say anything.
        page.evaluate("location.hash = '#watch=/udp/%3Cb%3E'");
        page.wait("the link to be refused", "!document.querySelector('#target-error').hidden");
        assert_eq!(page.evaluate("document.querySelectorAll('#target-error b').length"), 0);
    }
}

lab_test! {
    fn the_page_fits_a_phone_is_dark_where_it_is_wanted_and_goes_by_keyboard(lab) {
        if skip("chromium", "chromium") {
            return;
        }
        let gateway = TestGateway::start(lab, &["--interface", "lan0"]);
        let (source, _) = ends(lab);
        let mut page = Chromium::open(lab, &format!("http://{}/#watch=/udp/{GROUP}", gateway.address));
        page.text("#live-state[data-state=silent]");
        source.send(&[0xff; 1000]);
        page.text("#messages pre.hex");
        let lightness = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number).reduce((a, b) => a + b)";
        for (scheme, dark) in [("dark", true), ("light", false)] {
            let feature = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
            page.call("Emulation.setEmulatedMedia", &feature);
            let sum = page.evaluate(lightness).as_u64().expect("a colour");
            assert_eq!(sum < 200, dark, "{scheme}: {sum}");
        }
        for width in [320, 390, 768, 1280] {
            let size = json!({ "width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 600 });
            page.call("Emulation.setDeviceMetricsOverride", &size);
            let wide = page.evaluate("document.documentElement.scrollWidth").as_u64().expect("a width");
            assert!(wide <= width, "{wide} pixels on a screen of {width}");
        }
        // From the address to Watch, to the tabs, and from tab to tab.
        page.evaluate("document.querySelector('#tab-hex').focus()");
        page.key("ArrowLeft");
        assert_eq!(page.evaluate("document.activeElement.id"), "tab-json");
        assert_eq!(page.evaluate("document.querySelector('#tab-json').ariaSelected"), "true");
        page.evaluate("document.querySelector('#target').focus()");
        for next in ["interface", "watch-button", "replay", "pause"] {
            page.key("Tab");
            assert_eq!(page.evaluate("document.activeElement.id"), next);
        }
        let unnamed = "[...document.querySelectorAll('button, input, select, canvas, [role=tabpanel], table')].filter((one) => \
                       !one.ariaLabel && !one.textContent.trim() && !one.labels?.length && !one.hasAttribute('aria-labelledby')).length";
        assert_eq!(page.evaluate(unnamed), 0, "everything has a name");
    }
}

lab_test! {
    fn the_page_comes_back_after_the_gateway_and_shows_the_gap(lab) {
        if skip("chromium", "chromium") {
            return;
        }
        let mut gateway = TestGateway::start(lab, &["--interface", "lan0"]);
        let (source, _) = ends(lab);
        let mut page = Chromium::open(lab, &format!("http://{}/#watch=/udp/{GROUP}", gateway.address));
        gateway.await_joined("gw-lan0", GROUP);
        source.send(b"before");
        page.wait("the first", "document.querySelector('#messages')?.textContent.includes('before')");

        let address = gateway.address.to_string();
        gateway.signal("TERM");
        gateway.wait();
        assert!(page.text("#banner[data-state=warn]").contains("comes back by itself"));
        drop(gateway);
        let flags = ["--listen", &address, "--no-auth", "--allow-receive", "239.0.0.0/8", "--interface", "lan0"];
        let gateway = TestGateway::start_with(lab, &flags);
        page.evaluate("globalThis.since = performance.now()");
        page.text("#link[data-state=open]");
        println!("the page was back after {} ms", page.evaluate("Math.round(performance.now() - since)"));
        gateway.await_joined("gw-lan0", GROUP);
        assert!(page.text("#messages li.gap").contains("is unknown"));
        assert!(page.text("#lost").contains("unknown in one gap"));
        source.send(b"after");
        page.wait("the next", "document.querySelector('#messages')?.textContent.includes('after')");
        assert!(page.text("#banner[data-state=good]").contains("started anew"));
    }
}

lab_test! {
    fn in_firefox_the_page_shows_what_arrives_and_what_is_sent(lab) {
        if skip("firefox-esr", "firefox-esr") {
            return;
        }
        let gateway = TestGateway::start(lab, &["--interface", "lan0", "--allow-send", GROUP]);
        let (source, receiver) = ends(lab);
        let mut page = Firefox::open(lab, &format!("http://{}/", gateway.address));
        page.text("#link[data-state=open]");
        page.watch(GROUP);
        gateway.await_joined("gw-lan0", GROUP);
        let datagram = br#"{"celsius":21.5,"room":"<b>attic</b>"}"#;
        source.send(datagram);
        assert_eq!(receiver.recv().payload, datagram, "the receiver, on the same host, hears the source too");
        let shown = page.text("#messages li[data-kind=json] pre");
        let shown: Value = serde_json::from_str(&shown).expect("JSON as text");
        assert_eq!(shown, json!({ "celsius": 21.5, "room": "<b>attic</b>" }));
        page.wait("the stream in the list", "document.querySelector('#streams tbody')?.textContent.includes('10.1.0.2')");
        page.evaluate("document.querySelector('#send-text').value = 'from Firefox'");
        page.evaluate("document.querySelector('#send-button').click()");
        assert_eq!(receiver.recv().payload, b"from Firefox");
        assert!(page.text("#messages li.own").contains("sent through this gateway"));
    }
}

impl Chromium {
    fn fill(&mut self, selector: &str, text: &str) {
        self.evaluate(&format!("document.querySelector({selector:?}).value = {text:?}"));
    }

    fn click(&mut self, selector: &str) {
        self.evaluate(&format!("document.querySelector({selector:?}).click()"));
    }

    pub(crate) fn visible(&mut self, selector: &str) -> bool {
        let expression = format!("document.querySelector({selector:?}).checkVisibility()");
        self.evaluate(&expression).as_bool().expect("true or false")
    }

    pub(crate) fn key(&mut self, key: &str) {
        let code = match key {
            "Tab" => 9,
            "Enter" => 13,
            "ArrowLeft" => 37,
            _ => panic!("which code has {key}?"),
        };
        // Only a key with a text presses a button.
        let down = if key == "Enter" { "keyDown" } else { "rawKeyDown" };
        for kind in [down, "keyUp"] {
            let mut event = json!({ "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code });
            if kind == "keyDown" {
                event["text"] = json!("\r");
            }
            self.call("Input.dispatchKeyEvent", &event);
        }
    }
}
