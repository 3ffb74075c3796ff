//! What another configuration changes in a running gateway, and what of it only a restart does.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::config::Config;

/// Settings by name, as the file has them; limits with `limits.` before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    /// In force from now on.
    pub applied: Vec<String>,
    /// In force for sessions that open from now on; those that are open keep what they have.
    pub for_new_sessions: Vec<String>,
    /// As before until the gateway is started again.
    pub after_restart: Vec<String>,
}

/// Limits that a session has from its opening to its end.
const OF_A_SESSION: [&str; 8] = [
    "message-size",
    "fragments",
    "control-frames",
    "control-messages",
    "send-rate-per-session",
    "lag-bytes",
    "lag-datagrams",
    "lag-age",
];

impl Changes {
    /// What `wanted` changes in a gateway that runs with `running`.
    #[must_use]
    pub fn between(running: &Config, wanted: &Config) -> Self {
        let mut changes = Changes::default();
        // Every field by name: a new one does not compile before it says what a reload does with it.
        let Config {
            listen,
            tls,
            trusted_proxies,
            interface,
            policy,
            allow_host,
            allow_origin,
            no_auth,
            threads,
            hold,
            io_uring,
            limits,
            log_format,
            log_level,
            receive_buffer,
            max_ttl,
            linger,
            announcements,
            player,
            control,
            streams,
            principals,
            jwt,
            links,
            accept_links,
            announce,
        } = wanted;
        let (receive, send) = policy.differs(&running.policy);
        for (name, differs) in [
            ("interface", *interface != running.interface),
            ("allow-receive", receive),
            ("allow-send", send),
            ("allow-host", *allow_host != running.allow_host),
            ("allow-origin", *allow_origin != running.allow_origin),
            ("no-auth", *no_auth != running.no_auth),
            ("hold", *hold != running.hold),
            ("log-level", *log_level != running.log_level),
            ("receive-buffer", *receive_buffer != running.receive_buffer),
            ("max-ttl", *max_ttl != running.max_ttl),
            ("linger", *linger != running.linger),
            ("player", *player != running.player),
            ("streams", *streams != running.streams),
            ("tls", *tls != running.tls && tls.is_some() == running.tls.is_some()),
            // What flags say for whoever shows nothing is among them too, and named above.
            ("principals", *principals != running.principals && !receive && !send),
            ("jwt", *jwt != running.jwt),
        ] {
            if differs {
                changes.applied.push(name.to_owned());
            }
        }
        for name in limits.differing(&running.limits) {
            let list = if OF_A_SESSION.contains(&name) {
                &mut changes.for_new_sessions
            } else {
                &mut changes.applied
            };
            list.push(format!("limits.{name}"));
        }
        for (name, differs) in [
            ("listen", *listen != running.listen),
            ("tls", tls.is_some() != running.tls.is_some()),
            ("trusted-proxy", *trusted_proxies != running.trusted_proxies),
            ("threads", *threads != running.threads),
            ("io-uring", *io_uring != running.io_uring),
            ("log-format", *log_format != running.log_format),
            ("announcements", *announcements != running.announcements),
            ("control", *control != running.control),
            ("link", *links != running.links),
            ("accept-links", *accept_links != running.accept_links),
            ("announce", *announce != running.announce),
        ] {
            if differs {
                changes.after_restart.push(name.to_owned());
            }
        }
        changes
    }
}

impl Changes {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Changes::default()
    }
}

impl Config {
    /// This configuration with what only a restart changes as in `running`.
    #[must_use]
    pub fn without_restart(self, running: &Config) -> Config {
        Config {
            listen: running.listen.clone(),
            tls: self.tls.filter(|_| running.tls.is_some()).or_else(|| running.tls.clone()),
            trusted_proxies: running.trusted_proxies.clone(),
            threads: running.threads,
            io_uring: running.io_uring,
            log_format: running.log_format,
            announcements: running.announcements.clone(),
            control: running.control.clone(),
            links: running.links.clone(),
            accept_links: running.accept_links,
            announce: running.announce,
            ..self
        }
    }
}

impl fmt::Display for Changes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut begun = false;
        for (names, what) in [
            (&self.applied, "in force"),
            (&self.for_new_sessions, "in force for sessions that open from now on"),
            (&self.after_restart, "NOT in force before a restart"),
        ] {
            if !names.is_empty() {
                write!(formatter, "{}{what}: {}", if begun { "; " } else { "" }, names.join(", "))?;
                begun = true;
            }
        }
        if begun { Ok(()) } else { formatter.write_str("nothing has changed") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::config::Overrides;

    fn config(text: &str) -> Config {
        Config::build(Some(("f", text)), Overrides::default()).expect("valid")
    }

    #[test]
    fn says_what_is_live_what_is_for_new_sessions_and_what_needs_a_restart() {
        let running = config("");
        assert_eq!(Changes::between(&running, &running).to_string(), "nothing has changed");
        let wanted = config(
            "listen = [\"127.0.0.1:1\"]\nthreads = 2\nallow-send = [\"239.1.2.3:5000\"]\nhold = 0\n\
             [limits]\nstreams = 3\nmessage-size = \"1MiB\"\n[streams.a]\ngroup = \"239.1.2.3:5\"",
        );
        let changes = Changes::between(&running, &wanted);
        assert_eq!(
            changes.to_string(),
            "in force: allow-receive, allow-send, hold, streams, limits.streams; in force for sessions that open from \
             now on: limits.message-size; NOT in force before a restart: listen, threads"
        );
        let applied = wanted.without_restart(&running);
        assert_eq!((applied.threads, &applied.listen), (running.threads, &running.listen));
        assert_eq!(applied.limits.streams, Some(3));
    }
}
