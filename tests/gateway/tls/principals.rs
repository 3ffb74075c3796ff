//! Who is known by a client certificate.

use std::fs;

use super::{GATEWAY, GROUP, on_cli};
use crate::support::gateway::TestGateway;
use crate::support::lab::{Multicast, lab_test, skip};
use crate::support::tls::{Authority, Files, text};

lab_test! {
    fn a_client_certificate_is_a_principal(lab) {
        if skip("curl", "curl") {
            return;
        }
        let (ours, others) = (Authority::new(), Authority::new());
        let server = ours.issue("gw", &[GATEWAY]);
        let wall = ours.issue("wall", &["wall.example.org"]);
        let operator = ours.issue("operator", &["anything.example"]);
        let nobody = ours.issue("nobody", &["other.example.org"]);
        let stranger = others.issue("eve", &["wall.example.org"]);
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("wscast.toml");
        let configuration = |walls: &str| {
            format!(
                "listen = [\"{GATEWAY}:0\"]\ninterface = \"lan0\"\n\
                 [tls]\ncert = \"{}\"\nkey = \"{}\"\nclient-ca = \"{}\"\n\
                 [principals.wall]\ncertificates = [\"{walls}\"]\nreceive = [\"{GROUP}\"]\n\
                 [principals.operator]\ncertificates = [\"anything.example\"]\nstatus = true\n",
                text(&server.certificate),
                text(&server.key),
                text(&ours.file()),
            )
        };
        fs::write(&path, configuration("wall.example.org")).expect("write the configuration");
        let gateway = TestGateway::start_with(lab, &["--config", text(&path)]);
        let ask = |files: Option<&Files>, path: &str| {
            let shown = files.map_or_else(String::new, |files| {
                format!("--cert {} --key {}", text(&files.certificate), text(&files.key))
            });
            let curl = format!("curl -sS --max-time 10 -o /dev/null -w '%{{http_code}}' --cacert {} {shown}", text(&ours.file()));
            on_cli(lab, &format!("{curl} https://{}{path} 2>&1; true", gateway.address))
        };
        let stream = format!("/udp/{GROUP} -I");
        for (files, path, status) in [
            (Some(&wall), &*stream, "200"),
            (Some(&wall), "/udp/239.9.9.9:1 -I", "403"),
            (Some(&wall), "/api/v1/status", "403"),
            (Some(&operator), "/api/v1/status", "200"),
            (Some(&operator), &stream, "403"),
            (Some(&nobody), &stream, "401"),
            (None, &stream, "401"),
        ] {
            assert_eq!(ask(files, path), status, "{path} with {:?}", files.map(|files| &files.certificate));
        }
        let refused = ask(Some(&stranger), &stream);
        assert!(refused.contains("alert"), "{refused}");

        // A session of `wscast.v1` needs no further word, and ends when its principal does.
        let listening = lab
            .command("cli", env!("CARGO_BIN_EXE_wscast"))
            .args(["listen", &format!("wss://{}/udp/{GROUP}", gateway.address), "--raw", "--count", "1", "--seconds", "10"])
            .args(["--ca", text(&ours.file()), "--client-cert", text(&wall.certificate), "--client-key", text(&wall.key)])
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .expect("listen");
        gateway.logged("joined");
        gateway.await_joined("gw-lan0", GROUP);
        let source = lab.on("srca", || Multicast::sender("eth0", GROUP.parse().expect("a group"), 1));
        let mut listening = listening;
        crate::support::lab::wait_for("a datagram", crate::support::lab::PATIENCE, || {
            source.send(b"heard");
            listening.try_wait().expect("wait for wscast listen")
        });
        let heard = listening.wait_with_output().expect("wait");
        assert_eq!(heard.stdout, b"heard", "{}", String::from_utf8_lossy(&heard.stderr));

        fs::write(&path, configuration("another.example.org")).expect("write the configuration");
        gateway.signal("HUP");
        crate::support::lab::wait_for("the certificate to mean nothing", crate::support::lab::PATIENCE, || {
            (ask(Some(&wall), &stream) == "401").then_some(())
        });
    }
}
