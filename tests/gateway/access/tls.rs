//! Who may, over TLS and behind a proxy: certificates, tokens and tickets.

use serde_json::Value;

use super::{VIEWER, WALL, bearer, site, start};
use crate::support::gateway::TestGateway;
use crate::support::lab::{Lab, Multicast, lab_test, skip};
use crate::support::tls::{Authority, Files, text};

/// What a host of the lab prints.
fn on_cli(lab: &Lab, script: &str) -> String {
    let output = lab.command("cli", "sh").args(["-c", script]).output().expect("a shell");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

lab_test! {
    fn a_certificate_is_as_good_as_a_token(lab) {
        if skip("curl", "curl") {
            return;
        }
        let (ours, others) = (Authority::new(), Authority::new());
        let server = ours.issue("gw", &["10.9.0.1"]);
        let right = ours.issue("viewer", &["viewer.example"]);
        let (unknown, wrong) = (ours.issue("nobody", &["nobody.example"]), others.issue("eve", &["viewer.example"]));
        let ca = ours.file();
        let grants = "streams = [\"cam*\"]\nsessions = 2";
        let site = site("").replace(grants, &format!("certificates = [\"viewer.example\"]\n{grants}"));
        let client_ca = ["--tls-client-ca", text(&ca)];
        let (gateway, _folder) = start(lab, &site, &[&server.flags()[..], &client_ca].concat());
        let url = format!("https://{}", gateway.address);
        let curl = |shown: Option<&Files>, more: &str| {
            let shown = shown.map_or_else(String::new, |files| {
                format!("--cert {} --key {}", files.certificate.display(), files.key.display())
            });
            let what = "-o /dev/null -w '%{http_code}'";
            on_cli(lab, &format!("curl -sSI --http1.1 --max-time 10 --cacert {} {shown} {what} {more} 2>&1; true", ca.display()))
        };
        let camera = format!("{url}/streams/camera");
        assert_eq!(curl(Some(&right), &camera), "200");
        assert_eq!(curl(Some(&right), &format!("{url}/streams/secret")), "404");
        assert_eq!(curl(Some(&unknown), &camera), "401", "signed, and nobody's");
        assert_eq!(curl(None, &camera), "401");
        let refused = curl(Some(&wrong), &camera);
        assert!(refused.contains("alert"), "{refused}");
        // A token counts before a certificate, a wrong one too.
        let group = format!("{url}/udp/239.7.2.3:5000");
        assert_eq!((curl(Some(&right), &group), curl(Some(&right), &format!("-H '{}' {group}", bearer(WALL)))), ("403".into(), "200".into()));
        assert_eq!(curl(Some(&right), &format!("-H '{}' {camera}", bearer("wrong"))), "401");
        // A ticket, and a conversation of each kind.
        let ticket = on_cli(lab, &format!("curl -sS --cacert {} -X POST -H '{}' {url}/api/v1/tickets", ca.display(), bearer(VIEWER)));
        let ticket: Value = serde_json::from_str(&ticket).expect("JSON");
        let ticket = ticket["ticket"].as_str().expect("a ticket").to_owned();
        assert_eq!(curl(None, &format!("'{camera}?token={ticket}'")), "200");
        assert_eq!(curl(None, &format!("'{camera}?token={ticket}'")), "401");
        let wss = format!("wss://{}/streams/camera", gateway.address);
        let (certificate, key) = (text(&right.certificate).to_owned(), text(&right.key).to_owned());
        let shown = ["--client-cert", &certificate, "--client-key", &key];
        let listener = |shown: &[&str], token: Option<&str>| {
            let mut command = lab.command("cli", env!("CARGO_BIN_EXE_wscast"));
            command.args(["listen", &wss, "--count", "1", "--raw", "--ca", text(&ca)]).args(shown);
            if let Some(token) = token {
                command.env("WSCAST_TOKEN", token);
            }
            command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
            command.spawn().expect("start wscast")
        };
        let listeners = [listener(&shown, None), listener(&[], Some(WALL))];
        let source = lab.on("srca", || Multicast::sender("eth0", "239.1.2.3:5000".parse().unwrap(), 1));
        let request = format!("-H '{}' {url}/api/v1/status", bearer(super::ADMIN));
        crate::support::lab::wait_for("both to be subscribed", crate::support::lab::PATIENCE, || {
            let status = on_cli(lab, &format!("curl -sS --cacert {} {request}", ca.display()));
            let status: Value = serde_json::from_str(&status).expect("JSON");
            (status["streams"][0]["subscribers"] == 2).then_some(())
        });
        source.send(b"over wss");
        for listener in listeners {
            let output = listener.wait_with_output().expect("wscast ends");
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!((&output.stdout[..], said.contains("as it is")), (&b"over wss"[..], false), "{said}");
        }
    }
}

lab_test! {
    fn behind_a_proxy_wrong_tokens_are_counted_by_the_address_that_it_names(lab) {
        let (gateway, _folder) = start(lab, &site(""), &["--trusted-proxy", "10.9.0.0/24"]);
        let as_of = |gateway: &TestGateway<'_>, address: &str, token: &str| {
            let forwarded = format!("X-Forwarded-For: {address}");
            super::ask(gateway, "HEAD /streams/camera", &[&bearer(token), &forwarded]).status
        };
        for attempt in 0..5 {
            assert_eq!(as_of(&gateway, "192.0.2.1", "wrong"), 401, "{attempt}");
        }
        assert_eq!(as_of(&gateway, "192.0.2.1", VIEWER), 429);
        assert_eq!(as_of(&gateway, "192.0.2.2", VIEWER), 200, "another client of the same proxy");
    }
}
