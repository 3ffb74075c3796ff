//! Whether what was opened may go on: asked again when the configuration has changed.

use crate::hub::key::StreamKey;
use crate::hub::sender::SenderKey;
use crate::lan::interface::Interfaces;
use crate::model::config::Config;
use crate::model::grant::Grant;
use crate::model::group::Group;
use crate::model::selector::InterfaceSelector;
use crate::web::opening::{check_ttl, holds_on};
use crate::web::refusal::Refusal;

/// What holds now.
#[derive(Clone, Copy, Debug)]
pub struct Rights<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// What the caller may.
    pub grant: &'a Grant,
    /// The host's interfaces.
    pub interfaces: &'a Interfaces,
}

impl Rights<'_> {
    /// Whether a stream may be heard on, that was asked for by `name` or by its group.
    ///
    /// # Errors
    /// 404 for a name that is gone, out of sight, or another stream now; 403 for a group that is not allowed.
    pub fn receive(&self, key: &StreamKey, name: Option<&str>) -> Result<(), Refusal> {
        if let Some(name) = name {
            let stream = self.config.streams.get(name).filter(|_| self.grant.streams.contain(name));
            return match stream {
                Some(stream) if stream.group == key.group => Ok(()),
                Some(_) | None => Err(Refusal::not_found("there is no stream of that name")),
            };
        }
        let permit = self.grant.policy.receive(&key.group, &key.filter);
        let permit = permit.map_err(|denied| Refusal::not_allowed(denied.to_string()))?;
        holds(holds_on(&permit, &key.interface, self.interfaces), key.group, &key.interface)
    }

    /// Whether a group may be sent to on, that was asked for by `name` or itself.
    ///
    /// # Errors
    /// 404 for a name that is gone, out of sight, or another stream now; 403 for what is not allowed.
    pub fn send(&self, key: &SenderKey, name: Option<&str>) -> Result<(), Refusal> {
        if let Some(name) = name {
            let sent_to = self.grant.send_streams.contain(name);
            let seen = sent_to || self.grant.streams.contain(name);
            let stream = self.config.streams.get(name).filter(|stream| seen && stream.group == key.group);
            stream.ok_or_else(|| Refusal::not_found("there is no stream of that name"))?;
            if sent_to {
                return check_ttl(key.options.ttl, self.config, self.grant);
            }
        }
        let permit =
            self.grant.policy.send(&key.group).map_err(|denied| Refusal::not_allowed(denied.to_string()))?;
        check_ttl(key.options.ttl, self.config, self.grant)?;
        holds(holds_on(&permit, &key.interface, self.interfaces), key.group, &key.interface)
    }
}

fn holds(holds: bool, group: Group, interface: &InterfaceSelector) -> Result<(), Refusal> {
    if holds { Ok(()) } else { Err(Refusal::not_allowed(format!("{group} is not allowed on {interface}"))) }
}
