//! The gateway's links: started with it where it has some or accepts some.

use std::io;

use tracing::{info, warn};

use crate::link::Rules;
use crate::link::announcement::{Announcement, Presence};
use crate::link::links::Links;
use crate::model::config::Config;
use crate::web::facts::Facts;

/// Starts the links of `config`, and shows the front the way to them.
///
/// # Errors
/// Where there is no thread to be had.
pub(super) fn start(facts: &Facts, config: &Config) -> io::Result<Option<Links>> {
    if config.links.is_empty() && !config.accept_links {
        return Ok(None);
    }
    let rules = rules(config);
    let gateway = u64::from_str_radix(&facts.id, 16).expect("a run's name is 16 hexadecimal digits");
    let links = Links::start(gateway, rules, config.links.clone())?;
    // Set here only, before anybody can connect.
    let _ = facts.links.set(links.door());
    Ok(Some(links))
}

/// Announces the gateway by mDNS, where it is to be. A gateway that can't be found serves those who know where it is.
pub(super) fn announce(facts: &Facts, config: &Config) -> Option<Announcement> {
    if !config.announce {
        return None;
    }
    let presence = Presence {
        id: facts.id.clone(),
        listen: facts.listen.clone(),
        interface: config.interface.clone(),
        links: config.accept_links,
    };
    match Announcement::start(&presence) {
        Ok(announcement) => {
            info!("announced to the local network by mDNS, as _wscast._tcp");
            Some(announcement)
        }
        Err(error) => {
            warn!(%error, "announcing the gateway by mDNS: it runs, and nobody finds it by --discover");
            None
        }
    }
}

/// Has the links that others opened follow another configuration.
pub(super) async fn adopt(facts: &Facts, config: &Config) {
    if let Some(door) = facts.links.get() {
        door.adopt(rules(config)).await;
    }
}

fn rules(config: &Config) -> Rules {
    Rules {
        policy: config.policy.clone(),
        max_ttl: config.max_ttl,
        interface: config.interface.clone(),
        receive_buffer: config.receive_buffer,
    }
}
