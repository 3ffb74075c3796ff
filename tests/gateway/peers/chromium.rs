//! Headless Chromium on host `cli`, told what to do through its DevTools protocol.

use std::fs;
use std::net::TcpStream;
use std::process::{Child, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_tungstenite::tungstenite::{self, Message, WebSocket};

use crate::peers::browser::Browser;
use crate::support::lab::{Lab, PATIENCE, wait_for};

/// A browser with one page; killed when dropped.
pub(crate) struct Chromium {
    child: Child,
    devtools: WebSocket<TcpStream>,
    page: String,
    calls: u64,
    _home: TempDir,
}

impl Chromium {
    /// Starts the browser and opens `url`.
    pub(crate) fn open(lab: &Lab, url: &str) -> Self {
        Self::open_with(lab, url, &[])
    }

    /// The same with more arguments for the browser.
    pub(crate) fn open_with(lab: &Lab, url: &str, arguments: &[&str]) -> Self {
        let home = tempfile::tempdir().expect("a home for the browser");
        let child = lab
            .command("cli", "chromium")
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
            .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
            .args(["--disable-dev-shm-usage", "--remote-debugging-port=0"])
            .args(arguments)
            .arg(format!("--user-data-dir={}", home.path().join("data").display()))
            .arg("about:blank")
            .env("HOME", home.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("start chromium");
        let (port, path) = wait_for("Chromium to say where its DevTools are", 3 * PATIENCE, || {
            let said = fs::read_to_string(home.path().join("data/DevToolsActivePort")).ok()?;
            let (port, path) = said.split_once('\n')?;
            Some((port.parse::<u16>().ok()?, path.trim().to_owned()))
        });
        let stream = lab.on("cli", || TcpStream::connect(("127.0.0.1", port)).expect("connect to Chromium"));
        stream.set_read_timeout(Some(3 * PATIENCE)).expect("set a deadline");
        let (devtools, _) = tungstenite::client(format!("ws://127.0.0.1:{port}{path}"), stream)
            .unwrap_or_else(|error| panic!("opening Chromium's DevTools: {error}"));
        let mut browser = Chromium { child, devtools, page: String::new(), calls: 0, _home: home };
        let target = browser.call("Target.createTarget", &json!({ "url": url }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let session = browser.call("Target.attachToTarget", &attach);
        session["sessionId"].as_str().expect("a session").clone_into(&mut browser.page);
        browser
    }

    /// Calls a method of the protocol; the events between it and its answer are of no interest here.
    pub(crate) fn call(&mut self, method: &str, parameters: &Value) -> Value {
        self.try_call(method, parameters).unwrap_or_else(|error| panic!("{method}: {error:#}"))
    }

    fn try_call(&mut self, method: &str, parameters: &Value) -> Result<Value, Value> {
        self.calls += 1;
        let mut call = json!({ "id": self.calls, "method": method, "params": parameters });
        if !self.page.is_empty() {
            call["sessionId"] = json!(self.page);
        }
        self.devtools.send(Message::text(call.to_string())).expect("write to Chromium");
        loop {
            let message = self.devtools.read().unwrap_or_else(|error| panic!("{method}: {error}"));
            let Message::Text(text) = message else { continue };
            let mut answer: Value = serde_json::from_str(&text).expect("JSON from Chromium");
            if answer["id"] == self.calls {
                return match answer["error"].take() {
                    Value::Null => Ok(answer["result"].take()),
                    error => Err(error),
                };
            }
        }
    }
}

impl Browser for Chromium {
    fn value(&mut self, expression: &str, waits: bool) -> Value {
        let how = json!({ "expression": expression, "returnByValue": true, "awaitPromise": waits });
        let answer = match self.try_call("Runtime.evaluate", &how) {
            // Between two pages there is none to ask.
            Err(error) if error["message"] == "Cannot find default execution context" => return Value::Null,
            answer => answer.unwrap_or_else(|error| panic!("{expression}: {error:#}")),
        };
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {answer:#}");
        answer["result"]["value"].clone()
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
