//! Who gets through the handshake, and who does not.

use std::io::{Read as _, Write as _};
use std::time::Instant;

use super::{GATEWAY, on_cli, start};
use crate::support::gateway::{Answer, TestGateway};
use crate::support::lab::{PATIENCE, lab_test, skip};
use crate::support::tls::{Authority, text};

lab_test! {
    fn plain_http_is_told_to_come_back_and_garbage_is_closed(lab) {
        let gateway = start(lab, &Authority::new().issue("gw", &[GATEWAY]), &["--interface", "lan0"]);
        let mut plain = gateway.connect();
        let answer = Answer::to(&mut plain, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(answer.status, 400);
        assert!(answer.body.contains("this port speaks TLS: write https://"), "{answer:?}");
        // A record that is none, a ClientHello cut short, and one that says it is longer than any.
        for garbage in [&[22, 3, 1, 0, 4, 9, 9, 9, 9][..], &[22, 3, 1, 0xff, 0xff, 1, 0], &[22, 0, 0, 0, 0]] {
            let mut stream = gateway.connect();
            stream.write_all(garbage).unwrap();
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest);
            // At most an alert.
            assert!(rest.is_empty() || rest[0] == 21, "{rest:?}");
        }
        assert_eq!(gateway.fetch("/healthz").body, "ok\n");
    }
}

lab_test! {
    fn who_takes_too_long_for_a_handshake_is_gone(lab) {
        let gateway = start(lab, &Authority::new().issue("gw", &[GATEWAY]), &["--limit", "tls-time=500ms"]);
        let begun = [&b""[..], &[22], &[22, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]].map(|bytes| {
            let mut stream = gateway.connect();
            stream.write_all(bytes).unwrap();
            stream
        });
        assert_eq!(gateway.fetch("/healthz").status, 200, "others are not kept waiting");
        let start = Instant::now();
        for mut stream in begun {
            let mut byte = [0];
            assert!(matches!(stream.read(&mut byte), Ok(0) | Err(_)));
        }
        assert!(start.elapsed() < PATIENCE);
        let admission = |status: &serde_json::Value| status["gateway"]["admission"]["handshakes"] == 0;
        gateway.status_with("no unfinished handshakes", admission);
    }
}

lab_test! {
    fn the_name_that_is_asked_for_chooses_the_certificate(lab) {
        if skip("openssl", "openssl") {
            return;
        }
        let authority = Authority::new();
        let (first, second) = (authority.issue("a", &["a.example", GATEWAY]), authority.issue("b", &["*.b.example"]));
        let flags = [first.flags(), second.flags()].concat();
        let gateway = TestGateway::start(lab, &flags);
        let shown = |name: &str| {
            let ask = format!("openssl s_client -connect {} {name} </dev/null 2>/dev/null", gateway.address);
            on_cli(lab, &format!("{ask} | openssl x509 -noout -ext subjectAltName"))
        };
        assert!(shown("-servername a.example").contains("DNS:a.example"));
        assert!(shown("-servername tv.b.example").contains("DNS:*.b.example"));
        assert!(shown("-servername deep.tv.b.example").contains("DNS:a.example"));
        assert!(shown("-noservername").contains("DNS:a.example"));
    }
}

lab_test! {
    fn client_certificates_are_asked_for_and_checked(lab) {
        if skip("curl", "curl") {
            return;
        }
        let (ours, others) = (Authority::new(), Authority::new());
        let server = ours.issue("gw", &[GATEWAY]);
        let (right, wrong) = (ours.issue("alice", &["alice.example"]), others.issue("eve", &["alice.example"]));
        let (ca, asked) = (ours.file(), ["--tls-client-ca"]);
        let optional = start(lab, &server, &[asked[0], text(&ca)]);
        let required = start(lab, &server, &[asked[0], text(&ca), "--tls-client-required"]);
        let get = |gateway: &TestGateway<'_>, files: Option<&crate::support::tls::Files>| {
            let shown = files.map_or_else(String::new, |files| {
                format!("--cert {} --key {}", files.certificate.display(), files.key.display())
            });
            let curl = format!("curl -sS --max-time 10 --cacert {} {shown}", ca.display());
            on_cli(lab, &format!("{curl} https://{}/healthz 2>&1; true", gateway.address))
        };
        for gateway in [&optional, &required] {
            assert_eq!(get(gateway, Some(&right)), "ok\n");
            let refused = get(gateway, Some(&wrong));
            assert!(!refused.contains("ok\n") && refused.contains("alert"), "{refused}");
        }
        assert_eq!(get(&optional, None), "ok\n");
        let refused = get(&required, None);
        assert!(refused.contains("alert"), "{refused}");
    }
}

lab_test! {
    fn files_that_do_not_go_together_are_named(lab) {
        let authority = Authority::new();
        let (one, other) = (authority.issue("one", &[GATEWAY]), authority.issue("other", &[GATEWAY]));
        let serve = |arguments: &[&str]| {
            let output = lab
                .command("gw", env!("CARGO_BIN_EXE_wscast"))
                .args(["serve", "--listen", "127.0.0.1:0"])
                .args(arguments)
                .output()
                .expect("serve");
            (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
        };
        let (certificate, key) = (text(&one.certificate), text(&one.key));
        for (arguments, words) in [
            (&["--tls-cert", certificate][..], "1 certificates and 0 keys"),
            (&["--tls-cert", certificate, "--tls-key", text(&other.key)], "it is not the key of"),
            (&["--tls-cert", key, "--tls-key", key], "there is no BEGIN CERTIFICATE"),
            (&["--tls-cert", certificate, "--tls-key", certificate], "it must have a private key"),
            (&["--tls-cert", "/nowhere", "--tls-key", key], "/nowhere: No such file"),
            (&["--tls-client-ca", certificate], "TLS without a certificate"),
            (&["--proxy-protocol"], "--trusted-proxy"),
            (&["--listen", "unix:/no/such/folder/socket"], "there is no folder /no/such/folder"),
        ] {
            let (code, said) = serve(arguments);
            assert!(said.contains(words) && matches!(code, Some(2 | 3)), "{code:?} {said}");
        }
    }
}
