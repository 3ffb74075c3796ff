//! TLS at the listeners: with what people use to speak it, and with what others try.

mod data;
mod handshakes;
mod principals;

use serde_json::Value;

use crate::peers::browser::Browser;
use crate::peers::chromium::Chromium;
use crate::peers::{converse_at, ends, tool};
use crate::support::gateway::TestGateway;
use crate::support::lab::{Lab, lab_test, skip};
use crate::support::tls::{Authority, Files, text};

const GROUP: &str = "239.1.2.3:5000";
/// Where the lab's gateway listens.
const GATEWAY: &str = "10.9.0.1";

lab_test! {
    fn curl_and_openssl_speak_tls_and_nothing_older_than_1_2(lab) {
        if skip("curl", "curl") || skip("openssl", "openssl") {
            return;
        }
        let authority = Authority::new();
        let gateway = start(lab, &authority.issue("gw", &[GATEWAY]), &["--interface", "lan0"]);
        let (address, ca) = (gateway.address, authority.file());
        let curl = format!("curl -sS --http1.1 --max-time 10 --cacert {}", ca.display());
        assert_eq!(on_cli(lab, &format!("{curl} https://{address}/healthz")).trim(), "ok");
        assert_eq!(on_cli(lab, &format!("{curl} --tls-max 1.2 https://{address}/healthz")).trim(), "ok");
        // Nobody whom the authority did not sign.
        assert!(on_cli(lab, &format!("curl -sS --max-time 10 https://{address}/healthz 2>&1; true")).contains("certificate"));

        let ask = |flags: &str| {
            let openssl = format!("openssl s_client -connect {address} -CAfile {} {flags}", ca.display());
            on_cli(lab, &format!("{openssl} </dev/null 2>&1; true"))
        };
        for (flags, version) in [("-tls1_3 -alpn http/1.1", "TLSv1.3"), ("-tls1_2 -alpn http/1.1", "TLSv1.2")] {
            let said = ask(flags);
            assert!(said.contains(version) && said.contains("Verification: OK"), "{said}");
            assert!(said.contains("ALPN protocol: http/1.1"), "{said}");
        }
        // Debian's openssl wants to be asked twice for what is old.
        let old = ask("-tls1_1 -cipher DEFAULT@SECLEVEL=0");
        assert!(old.contains("alert") || old.contains("no protocols available"), "{old}");
        assert!(old.contains("Cipher is (NONE)"), "{old}");
        assert!(ask("-alpn h2").contains("alert no application protocol"));
        let status = gateway.status();
        assert_eq!(status["gateway"]["listen"][0], address.to_string());
    }
}

lab_test! {
    fn a_python_program_receives_and_sends_over_wss(lab) {
        let Some(python) = tool("python/bin/python") else { return };
        let authority = Authority::new();
        let files = authority.issue("gw", &[GATEWAY]);
        converse_at(lab, "wss", &files.flags(), |url| {
            let mut command = lab.command("cli", &python);
            let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/gateway/peers/client.py");
            command.args([script, url]).env("PYTHONUTF8", "1").env("SSL_CERT_FILE", authority.file());
            command
        });
    }
}

lab_test! {
    fn our_own_tools_listen_and_send_over_wss(lab) {
        let authority = Authority::new();
        let files = authority.issue("gw", &[GATEWAY]);
        let ca = authority.file();
        let arguments = ["--interface", "lan0", "--allow-send", GROUP];
        let gateway = start(lab, &files, &arguments);
        let (source, receiver) = ends(lab);
        let url = format!("wss://{}/udp/{GROUP}", gateway.address);
        let sent = lab
            .command("cli", env!("CARGO_BIN_EXE_wscast"))
            .args(["send", &url, "--count", "3", "--number", "--ca", text(&ca)])
            .output()
            .expect("send");
        assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));
        assert!(receiver.recv().payload.starts_with(b"0 "));
        for form in [&[][..], &["--no-v1"]] {
            let listening = lab
                .command("cli", env!("CARGO_BIN_EXE_wscast"))
                .args(["listen", &url, "--raw", "--count", "1", "--seconds", "10", "--ca", text(&ca)])
                .args(form)
                .stdout(std::process::Stdio::piped())
                .stderr(std::process::Stdio::piped())
                .spawn()
                .expect("listen");
            gateway.status_with("a listener", |status| {
                let sessions = status["sessions"].as_array().into_iter().flatten();
                sessions.filter_map(|session| session["subscriptions"].as_array()).any(|all| !all.is_empty())
            });
            gateway.await_joined("gw-lan0", GROUP);
            source.send(b"heard");
            let heard = listening.wait_with_output().expect("wait");
            assert_eq!(heard.stdout, b"heard", "{}", String::from_utf8_lossy(&heard.stderr));
        }
        // The system's authorities know nothing of this one.
        let refused = lab
            .command("cli", env!("CARGO_BIN_EXE_wscast"))
            .args(["listen", &url, "--ca", text(&files.key)])
            .output()
            .expect("listen");
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(2), "{said}");
        assert!(said.contains("no BEGIN CERTIFICATE"), "{said}");
        let stranger = Authority::new();
        let refused = lab
            .command("cli", env!("CARGO_BIN_EXE_wscast"))
            .args(["listen", &url, "--ca", text(&stranger.file())])
            .output()
            .expect("listen");
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(refused.status.code() == Some(1) && said.contains("invalid peer certificate"), "{said}");
    }
}

lab_test! {
    fn a_browser_shows_the_page_over_https_with_a_certificate_that_was_made(lab) {
        if skip("chromium", "chromium") {
            return;
        }
        let gateway = TestGateway::start(lab, &["--interface", "lan0", "--dev-cert=10.9.0.1"]);
        let url = format!("https://{}/#watch=/udp/{GROUP}", gateway.address);
        let mut page = Chromium::open_with(lab, &url, &["--ignore-certificate-errors"]);
        page.text("#link[data-state=open]");
        gateway.await_joined("gw-lan0", GROUP);
        let (source, _) = ends(lab);
        source.send(br#"{"over":"https"}"#);
        assert!(page.text("#messages li[data-kind=json] pre").contains("https"));
        // What browsers keep for pages that nobody can have changed on the way.
        assert_eq!(page.evaluate("isSecureContext && typeof VideoDecoder"), Value::from("function"));
        assert_eq!(page.evaluate("location.protocol"), "https:");
    }
}

/// A gateway that speaks TLS with a certificate.
fn start<'a>(lab: &'a Lab, files: &Files, arguments: &[&str]) -> TestGateway<'a> {
    TestGateway::start(lab, &[&files.flags()[..], arguments].concat())
}

fn on_cli(lab: &Lab, script: &str) -> String {
    let output = lab.command("cli", "sh").args(["-c", script]).output().expect("a shell");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}
