//! Tokens at the command line: made, signed, checked, and shown to gateways without `ps` seeing them.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use serde_json::Value;
use tempfile::TempDir;
use wscast::model::token::TokenDigest;

use super::{Running, Said, run, run_with_input, wscast};
use crate::support::gateway::TestGateway;
use crate::support::lab::{Lab, PATIENCE, Receiver, lab_test, wait_for};

const TOKEN: &str = "wscast_a-token-of-somebody-who-may-do-this";
const GROUP: &str = "239.1.1.1:5000";

/// A folder with a configuration that knows [`TOKEN`], a file with that and one with another.
fn site() -> (TempDir, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let digest = TokenDigest::of(TOKEN.as_bytes());
    let text = format!(
        "listen = [\"10.9.0.1:0\"]\ninterface = \"lan0\"\n[streams.camera]\ngroup = \"{GROUP}\"\n\
         [streams.secret]\ngroup = \"239.1.1.2:5000\"\n\
         [principals.wall]\ntokens = [\"{digest}\"]\nstreams = [\"camera\"]\nsend-streams = [\"camera\"]\nstatus = true\n"
    );
    let path = folder.path().display().to_string();
    for (name, text) in [("wscast.toml", text.as_str()), ("token", TOKEN), ("wrong", "something-else")] {
        let file = folder.path().join(name);
        fs::write(&file, text).expect("write a file");
        fs::set_permissions(&file, Permissions::from_mode(0o600)).expect("set its mode");
    }
    (folder, path)
}

/// `words`, with a token in the environment.
fn run_as(lab: &Lab, token: &str, words: &str) -> Said {
    let mut command = wscast(lab, "cli", words);
    Said::of(&command.env("WSCAST_TOKEN", token).stdin(Stdio::null()).output().expect("run wscast"))
}

lab_test! {
    fn a_token_from_a_file_or_the_environment_opens_a_gateway(lab) {
        let (folder, path) = site();
        let gateway = TestGateway::start_with(lab, &["--config", &format!("{path}/wscast.toml")]);
        let url = format!("ws://{}/streams/camera", gateway.address);
        let listener = Running::start(lab, "cli", &format!("listen {url} --token-file {path}/token --json --count 2"));
        let player = Running::start(lab, "cli", &format!("listen {url} --token-file {path}/token --no-v1 --count 2"));
        gateway.await_joined("gw-lan0", GROUP);
        let receiver = lab.on("srca", || Receiver::join("eth0", GROUP.parse().unwrap()));
        lab.await_member("srca-eth0", "239.1.1.1".parse().unwrap());
        let host = gateway.address;
        let request = format!("GET /api/v1/status HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {TOKEN}\r\nConnection: close\r\n\r\n");
        wait_for("both to be subscribed", PATIENCE, || {
            let status: Value = serde_json::from_str(&gateway.ask(&request).body).expect("JSON");
            (status["streams"][0]["subscribers"] == 2).then_some(())
        });
        let sent = run_as(lab, TOKEN, &format!("send {url} --number --count 2")).assert_code(0);
        assert!(sent.stderr.contains("sending to camera through ") && sent.stderr.contains("use TLS"), "{sent:?}");
        assert!(receiver.recv().payload.starts_with(b"0 ") && receiver.recv().payload.starts_with(b"1 "));
        let heard = listener.output().assert_code(0);
        assert_eq!(heard.summary()["lost"]["gateway"], 0, "over wscast.v1: {heard:?}");
        player.output().assert_code(0);

        for (words, code, said) in [
            (format!("listen {url}"), 1, "--token-file FILE"),
            (format!("listen {url} --no-v1"), 1, "--token-file FILE"),
            (format!("listen {url} --token-file {path}/wrong"), 1, "401"),
            (format!("listen {url} --no-v1 --token-file {path}/wrong"), 1, "401"),
            (format!("listen {url} --token-file {path}/none"), 2, "reading the token in "),
            (format!("send {url} --count 1"), 1, "--token-file FILE"),
            (format!("listen ws://{}/streams/secret --token-file {path}/token", gateway.address), 1, "no stream of that name"),
            (format!("send ws://{}/streams/secret --count 1 --token-file {path}/token", gateway.address), 1, "no stream of that name"),
            (format!("send ws://{}/udp/239.7.1.1:5000 --count 1 --token-file {path}/token", gateway.address), 1, "not_allowed"),
        ] {
            let output = run(lab, "cli", &words).assert_code(code);
            assert!(output.stderr.contains(said) && !output.stderr.contains(TOKEN), "{words}: {output:?}");
        }
        fs::set_permissions(folder.path().join("token"), Permissions::from_mode(0o644)).expect("set its mode");
        let asked = format!("doctor --listen 0 --json --gateway http://{}", gateway.address);
        let refused = run(lab, "cli", &asked);
        assert!(refused.text().contains("gateway-token-refused") && refused.text().contains("--token-file FILE"), "{refused:?}");
        let open = run(lab, "cli", &format!("listen {url} --seconds 0.2 --token-file {path}/token")).assert_code(0);
        assert!(open.stderr.contains("others on this machine may read the token"), "{open:?}");
        assert!(!gateway.log().contains(TOKEN));
    }
}

lab_test! {
    fn tokens_and_keys_are_made_signed_and_checked(lab) {
        let (folder, path) = site();
        let check = |token: &str| run_with_input(lab, "gw", &format!("token check {path}/wscast.toml"), token.as_bytes());
        let good = check(TOKEN).assert_code(0);
        for words in ["principal: wall", "static token, good for ever", "streams:   camera, and sends to camera", "status:    yes"] {
            assert!(good.text().contains(words), "{words} is not in {good:?}");
        }
        let bad = check("something-else\n").assert_code(1);
        assert!(bad.stderr.contains("this token is not good") && !bad.stderr.contains("something-else"), "{bad:?}");

        // What is secret stands alone on standard output; what goes into the configuration says nothing of it.
        let made = run(lab, "gw", "token new --expires 2999-01-31").assert_code(0);
        let token = made.text().trim().to_owned();
        assert!(token.len() > 40 && !made.stderr.contains(&token), "{made:?}");
        let digest = TokenDigest::of(token.as_bytes()).to_string();
        assert!(made.stderr.contains(&digest) && made.stderr.contains("expires = \"2999-01-31"), "{made:?}");
        let other = run(lab, "gw", "token new").assert_code(0);
        assert_ne!(other.text().trim(), token);
        let line = made.stderr.lines().last().expect("a line");
        let config = folder.path().join("wscast.toml");
        let known = fs::read_to_string(&config).unwrap() + &format!("[principals.new]\n{line}\nreceive = [\"239.5.0.0/16\"]\n");
        fs::write(&config, &known).unwrap();
        let good = check(&format!("{token}\n")).assert_code(0);
        assert!(good.text().contains("principal: new") && good.text().contains("good until 2999-01-31"), "{good:?}");

        // A key, its public side for the gateway, and JWTs that it signs.
        let made = run(lab, "gw", &format!("token key {path}/signing.pem")).assert_code(0);
        assert!(!made.text().contains("\"d\""), "the private side stays in its file");
        let mode = fs::metadata(folder.path().join("signing.pem")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let again = run(lab, "gw", &format!("token key {path}/signing.pem")).assert_code(2);
        assert!(again.stderr.contains("writing the key ") && again.stderr.contains("exists"), "{again:?}");
        fs::write(folder.path().join("jwks.json"), made.stdout).unwrap();
        let jwt = format!("[jwt]\nkeys = \"{path}/jwks.json\"\naudience = \"wscast\"\nclaim = \"groups\"\n");
        fs::write(&config, known + "subjects = [\"viewers\"]\n" + &jwt).unwrap();
        let sign = |more: &str| {
            let said = run(lab, "gw", &format!("token sign {path}/signing.pem --claim groups {more}")).assert_code(0);
            said.text().trim().to_owned()
        };
        let good = check(&sign("--subject cooks --subject viewers --audience wscast --for 8h")).assert_code(0);
        assert!(good.text().contains("a JWT of cooks, viewers") && good.text().contains("principal: new"), "{good:?}");
        for (token, words) in [
            (sign("--subject viewers"), "it has no aud"),
            (sign("--subject cooks --audience wscast"), "no principal has its subject"),
        ] {
            let bad = check(&token).assert_code(1);
            assert!(bad.stderr.contains(words), "{bad:?}");
        }
        let bad = run(lab, "gw", &format!("token sign {path}/jwks.json --subject a")).assert_code(2);
        assert!(bad.stderr.contains("PKCS#8"), "{bad:?}");

        // The check of a configuration looks into the file of keys.
        let checked = run(lab, "gw", &format!("check-config {path}/wscast.toml")).assert_code(0);
        assert!(checked.text().ends_with("ok, 2 named streams, one key for JWTs\n"), "{checked:?}");
        for text in [Some("{\"keys\": 5}"), None] {
            match text {
                Some(text) => fs::write(folder.path().join("jwks.json"), text).unwrap(),
                None => fs::remove_file(folder.path().join("jwks.json")).unwrap(),
            }
            let checked = run(lab, "gw", &format!("check-config {path}/wscast.toml")).assert_code(2);
            assert!(checked.stderr.contains("reading the keys of [jwt]") && checked.stderr.contains("jwks.json"), "{checked:?}");
        }
    }
}
