//! Links over TLS: who the other gateway is, and who this one is.

use std::time::Duration;

use serde_json::Value;

use crate::support::gateway::TestGateway;
use crate::support::lab::{Lab, PATIENCE, lab_test, wait_for};
use crate::support::sites::{SiteGateway, Sites, list, number};
use crate::support::tls::{Authority, text};

const GROUP: &str = "239.1.2.3:5000";
const TOKEN: &str = "a-token-of-the-west-that-nobody-guesses";

/// The SHA-256 of [`TOKEN`], as `wscast token hash` prints it.
fn digest() -> String {
    use sha2::{Digest as _, Sha256};
    Sha256::digest(TOKEN).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Two sites: the west's gateway can be started with any link, the east's speaks TLS and wants to know who comes.
struct Secure<'a> {
    sites: Sites<'a>,
    authority: Authority,
    folder: tempfile::TempDir,
    _east: TestGateway<'a>,
}

impl<'a> Secure<'a> {
    /// `principals`: whom the east lets in.
    fn build(lab: &'a Lab, principals: &str) -> Self {
        let sites = Sites::build(lab, &[(&["ga"], &["ha"]), (&["gb"], &["hb"])]);
        let authority = Authority::new();
        let folder = tempfile::tempdir().expect("a folder");
        let own = authority.issue("east", &["10.99.0.2"]);
        let config = folder.path().join("east.toml");
        std::fs::write(&config, principals).expect("write the configuration");
        let (config, ca) = (text(&config), authority.file());
        let open = ["--allow-receive", "239.0.0.0/8", "--allow-send", "239.0.0.0/8"];
        let arguments =
            ["--config", config, "--listen", "10.99.0.2:8443", "--interface", "lan0", "--accept-links"];
        let tls = ["--tls-client-ca", text(&ca)];
        let all = [&arguments[..], &open[..], &own.flags()[..], &tls[..]].concat();
        let east = TestGateway::start_on(lab, "gb", &all);
        Secure { sites, authority, folder, _east: east }
    }

    /// The west's gateway, linked with `credentials`.
    fn west(&self, credentials: &str) -> SiteGateway<'a> {
        let link = format!(
            "[[link]]\nname = \"east\"\nurl = \"wss://10.99.0.2:8443\"\ninterface = \"lan0\"\n{credentials}\n\
             [[link.group]]\ngroup = \"{GROUP}\"\n"
        );
        self.sites.gateway("ga", 1, &link)
    }

    /// A file with a token.
    fn token(&self, token: &str) -> String {
        let path = self.folder.path().join("token");
        std::fs::write(&path, format!("{token}\n")).expect("write the token");
        format!("token-file = \"{}\"\n", path.display())
    }

    fn ca(&self) -> String {
        format!("ca = \"{}\"\n", self.authority.file().display())
    }

    /// Datagrams each way over the link. Only an operator sees the east's status, so what is sent before its mirror speaks is sent again.
    fn converse(&self) {
        for (from, to) in [("ha", "hb"), ("hb", "ha")] {
            let (sender, receiver) = (self.sites.sender(from, GROUP), self.sites.receiver(to, GROUP));
            let words = format!("from {from}");
            wait_for(&format!("{to} to hear what {from} sends"), PATIENCE, || {
                sender.send(words.as_bytes());
                let heard = receiver.recv_within(Duration::from_millis(100))?;
                assert_eq!(heard.payload, words.as_bytes());
                Some(())
            });
        }
    }
}

/// Waits until the one link is refused or away for a reason of its own; the state and the reason.
fn refusal(gateway: &SiteGateway<'_>) -> (String, String) {
    let link = |status: &Value| list(status, "links")[0].clone();
    let refused = |status: &Value| {
        let link = link(status);
        link["reason"].as_str().is_some_and(|reason| reason != "not connected yet")
    };
    let link = link(&gateway.status_with("a link that is refused", refused));
    assert_eq!(number(&link["connections"]), 0, "{link:#}");
    let word = |name: &str| link[name].as_str().unwrap_or("").to_owned();
    (word("state"), word("reason"))
}

lab_test! {
    fn a_link_over_tls_shows_its_token(lab) {
        let digest = digest();
        let secure = Secure::build(lab, &format!(
            "[principals.west]\ntokens = [\"sha256:{digest}\"]\nlink = true\n"
        ));
        let west = secure.west(&(secure.ca() + &secure.token(TOKEN)));
        west.ready(1);
        secure.converse();
        let log = west.inner().log();
        assert!(!log.contains(TOKEN), "a token in the log");
        drop(west);

        // Nothing shown, something wrong, and an authority that did not sign the east's certificate.
        let (state, reason) = refusal(&secure.west(&secure.ca()));
        assert!(state == "refused" && reason.contains("token"), "{state}: {reason}");
        let (state, reason) = refusal(&secure.west(&(secure.ca() + &secure.token("a-guess"))));
        assert!(state == "refused" && reason.contains("token"), "{state}: {reason}");
        let stranger = Authority::new();
        let (_, reason) = refusal(&secure.west(&format!("ca = \"{}\"", stranger.file().display())));
        assert!(reason.contains("certificate"), "{reason}");
    }
}
