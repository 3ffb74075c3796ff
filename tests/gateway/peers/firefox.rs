//! Headless Firefox on host `cli`, told what to do through WebDriver BiDi (<https://www.w3.org/TR/webdriver-bidi/>).

use std::fs;
use std::net::TcpStream;
use std::process::{Child, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_tungstenite::tungstenite::{self, Message, WebSocket};

use crate::peers::browser::Browser;
use crate::support::lab::{Lab, PATIENCE, wait_for};

/// Nothing but what the tests ask for: Firefox looks for a captive portal, updates and experiments on its own.
const PREFERENCES: &str = r#"
user_pref("network.captive-portal-service.enabled", false);
user_pref("network.connectivity-service.enabled", false);
user_pref("app.update.enabled", false);
user_pref("app.normandy.enabled", false);
user_pref("browser.safebrowsing.malware.enabled", false);
user_pref("browser.safebrowsing.phishing.enabled", false);
user_pref("datareporting.policy.dataSubmissionEnabled", false);
user_pref("services.settings.server", "data:,");
user_pref("media.autoplay.default", 0);
"#;

/// A browser with one page; killed when dropped.
pub(crate) struct Firefox {
    child: Child,
    bidi: WebSocket<TcpStream>,
    page: Value,
    calls: u64,
    _home: TempDir,
}

impl Firefox {
    /// Starts the browser and opens `url`.
    pub(crate) fn open(lab: &Lab, url: &str) -> Self {
        let home = tempfile::tempdir().expect("a home for the browser");
        let profile = home.path().join("profile");
        fs::create_dir(&profile).expect("a profile");
        fs::write(profile.join("user.js"), PREFERENCES).expect("the profile's preferences");
        let child = lab
            .command("cli", "firefox-esr")
            .args(["--headless", "--no-remote", "--remote-debugging-port=0", "--profile"])
            .arg(&profile)
            .arg("about:blank")
            .env("HOME", home.path())
            .env("MOZ_CRASHREPORTER_DISABLE", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("start firefox-esr");
        let port = wait_for("Firefox to say where its BiDi is", 3 * PATIENCE, || {
            let said = fs::read_to_string(profile.join("WebDriverBiDiServer.json")).ok()?;
            let said: Value = serde_json::from_str(&said).ok()?;
            u16::try_from(said["ws_port"].as_u64()?).ok().filter(|port| *port > 0)
        });
        let stream = wait_for("Firefox to listen", 3 * PATIENCE, || {
            lab.on("cli", || TcpStream::connect(("127.0.0.1", port))).ok()
        });
        stream.set_read_timeout(Some(3 * PATIENCE)).expect("set a deadline");
        let (bidi, _) = tungstenite::client(format!("ws://127.0.0.1:{port}/session"), stream)
            .unwrap_or_else(|error| panic!("opening Firefox's BiDi: {error}"));
        let mut browser = Firefox { child, bidi, page: Value::Null, calls: 0, _home: home };
        browser.call("session.new", &json!({ "capabilities": {} }));
        let tree = browser.call("browsingContext.getTree", &json!({}));
        browser.page = tree["contexts"][0]["context"].clone();
        let open = json!({ "context": browser.page, "url": url, "wait": "complete" });
        browser.call("browsingContext.navigate", &open);
        browser
    }

    /// Calls a method of the protocol; the events between it and its answer are of no interest here.
    fn call(&mut self, method: &str, parameters: &Value) -> Value {
        self.calls += 1;
        let call = json!({ "id": self.calls, "method": method, "params": parameters });
        self.bidi.send(Message::text(call.to_string())).expect("write to Firefox");
        loop {
            let message = self.bidi.read().unwrap_or_else(|error| panic!("{method}: {error}"));
            let Message::Text(text) = message else { continue };
            let mut answer: Value = serde_json::from_str(&text).expect("JSON from Firefox");
            if answer["id"] == self.calls {
                assert_eq!(answer["type"], "success", "{method}: {answer:#}");
                return answer["result"].take();
            }
        }
    }
}

impl Browser for Firefox {
    fn value(&mut self, expression: &str, waits: bool) -> Value {
        // BiDi has a form of its own for values; as a string they keep the one they have.
        let whole = if waits {
            format!("(async () => JSON.stringify(await ({expression})))()")
        } else {
            format!("JSON.stringify((0, eval)({}))", json!(expression))
        };
        let how = json!({ "expression": whole, "target": { "context": self.page }, "awaitPromise": true });
        let answer = self.call("script.evaluate", &how);
        assert_eq!(answer["type"], "success", "{expression}: {answer:#}");
        answer["result"]["value"]
            .as_str()
            .map_or(Value::Null, |json| serde_json::from_str(json).expect("JSON"))
    }
}

impl Drop for Firefox {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
