//! Gateways that announce themselves, and who finds them.

use crate::peers::tool;
use crate::support::gateway::TestGateway;
use crate::support::lab::{Lab, PATIENCE, lab_test, wait_for};
use crate::support::sites::Sites;

/// What `wscast ARGUMENTS` prints on `host`: exit code, output, complaints.
fn wscast(lab: &Lab, host: &str, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output =
        lab.command(host, env!("CARGO_BIN_EXE_wscast")).args(arguments).output().expect("run wscast");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// A gateway on `host` that announces itself on `lan0`, at port 8080 of all its addresses.
fn announced<'a>(lab: &'a Lab, host: &str, more: &[&str]) -> TestGateway<'a> {
    let flags = [
        "--listen",
        "0.0.0.0:8080",
        "--no-auth",
        "--allow-receive",
        "239.0.0.0/8",
        "--allow-send",
        "239.0.0.0/8",
    ];
    TestGateway::start_on(lab, host, &[&flags[..], &["--announce", "--interface", "lan0"], more].concat())
}

lab_test! {
    fn gateways_are_found_by_mdns_and_what_is_printed_links_to_them(lab) {
        let sites = Sites::build(lab, &[(&["ga", "gb", "gc"], &["ha"])]);
        let quiet = ["--listen", "0.0.0.0:8080", "--no-auth", "--allow-receive", "239.0.0.0/8", "--interface", "lan0"];
        let _a = announced(lab, "ga", &["--accept-links"]);
        let b = announced(lab, "gb", &[]);
        let unannounced = TestGateway::start_on(lab, "gc", &quiet);
        let (code, said, complaint) = wait_for("both to be found", 3 * PATIENCE, || {
            let (code, said, complaint) = wscast(lab, "ha", &["link", "--discover", "--interface", "eth0"]);
            (said.matches(", run ").count() >= 2).then_some((code, said, complaint))
        });
        assert_eq!((code, complaint.as_str()), (Some(0), ""), "{said}");
        // Where it listens at all addresses, those of the interface that it is announced on.
        assert!(said.contains("at 10.50.0.1:8080") && said.contains("at 10.50.0.2:8080"), "{said}");
        assert!(!said.contains("10.99.0.") && !said.contains("10.50.0.3"), "{said}");
        assert_eq!(said.matches("[[link]]").count(), 1, "one of them accepts links: {said}");
        assert!(said.contains("# It accepts no links: start it with --accept-links."), "{said}");
        // The lines, as they are, in a file.
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), &said).expect("write the lines");
        let path = file.path().to_str().expect("a plain path");
        let (code, checked, complaint) = wscast(lab, "ha", &["check-config", path]);
        assert_eq!(code, Some(0), "{checked}{complaint}");
        drop(unannounced);
        let linked = sites.gateway("gc", 3, &said.replace("eth0", "lan0"));
        linked.ready(1);
        // Who stops says so: nobody finds it any more, long before its records grow old.
        drop_in_order(b);
        wait_for("the one that has stopped to be forgotten", 3 * PATIENCE, || {
            let (_, said, _) = wscast(lab, "ha", &["link", "--discover", "--interface", "eth0"]);
            (said.contains("10.50.0.1") && !said.contains("10.50.0.2:8080")).then_some(())
        });
    }
}

lab_test! {
    fn zeroconf_finds_a_gateway_that_announces_itself(lab) {
        let Some(python) = tool("python/bin/python") else { return };
        let _sites = Sites::build(lab, &[(&["ga"], &["ha"])]);
        let gateway = announced(lab, "ga", &["--accept-links"]);
        let finding = r#"
import threading
from zeroconf import ServiceBrowser, Zeroconf
here = Zeroconf(interfaces=["10.50.0.2"])
found, gone = threading.Event(), threading.Event()
class Listener:
    def add_service(self, zeroconf, kind, name):
        info = zeroconf.get_service_info(kind, name, timeout=8000)
        texts = {key.decode(): value.decode() for key, value in info.properties.items()}
        print(info.port, info.parsed_addresses()[0], texts["path"], texts["tls"], texts["links"], texts["id"], flush=True)
        found.set()
    def update_service(self, *_): pass
    def remove_service(self, *_): gone.set()
browser = ServiceBrowser(here, "_wscast._tcp.local.", Listener())
assert found.wait(15), "not found"
assert gone.wait(15), "no goodbye"
print("gone", flush=True)
"#;
        let mut child = lab
            .command("ha", &python)
            .args(["-c", finding])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("start python");
        let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().expect("piped")));
        let mut line = || lines.next().expect("a line").expect("text");
        let id = gateway.ask_from("ga", "10.50.0.1:8080".parse().expect("an address"), "GET /api/v1/status HTTP/1.1\r\nHost: 10.50.0.1:8080\r\nConnection: close\r\n\r\n");
        let status: serde_json::Value = serde_json::from_str(&id.body).expect("JSON");
        let id = status["gateway"]["id"].as_str().expect("a run");
        assert_eq!(line(), format!("8080 10.50.0.1 /v1 0 1 {id}"));
        drop_in_order(gateway);
        assert_eq!(line(), "gone");
        assert!(child.wait().expect("python ends").success());
    }
}

lab_test! {
    fn who_finds_nobody_is_told_what_to_do(lab) {
        let (code, said, complaint) = wscast(lab, "srca", &["link", "--discover", "--interface", "eth0"]);
        assert_eq!((code, said.as_str()), (Some(1), ""));
        assert!(complaint.contains("--announce") && complaint.contains("5353"), "{complaint}");
    }
}

/// Stops a gateway as its operator does.
fn drop_in_order(mut gateway: TestGateway<'_>) {
    gateway.signal("TERM");
    gateway.wait();
}
