//! What somebody is told that they may.

use std::collections::BTreeMap;

use serde::Serialize;

use super::PolicyStatus;
use crate::model::config::Config;
use crate::model::grant::Grant;
use crate::model::moment::Moment;

/// The answer of `/api/v1/grant`. Of the configuration it has what this caller may see, and no more.
#[derive(Clone, Debug, Serialize)]
pub struct GrantStatus<'a> {
    /// Who it is, by the name in the gateway's configuration.
    pub principal: &'a str,
    /// Until when the token is good, in seconds since 1970; `null` for ever.
    pub expires: Option<u64>,
    /// Whether it may see `/api/v1/status` and what else is for operators.
    pub status: bool,
    /// Groups that it may choose, the deny list apart.
    #[serde(flatten)]
    pub policy: PolicyStatus,
    /// The named streams that it sees, each with what it may do there.
    pub streams: BTreeMap<&'a str, NamedGrant>,
}

/// What somebody may do with a named stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct NamedGrant {
    /// Hear it.
    pub receive: bool,
    /// Send to it.
    pub send: bool,
}

impl<'a> GrantStatus<'a> {
    /// What `principal` may under `grant`.
    #[must_use]
    pub fn new(
        principal: &'a str,
        expires: Option<Moment>,
        grant: &Grant,
        config: &'a Config,
    ) -> GrantStatus<'a> {
        let streams = config.streams.iter().filter_map(|(name, stream)| {
            let receive = grant.streams.contain(name);
            let may_send = |sent_to: bool| sent_to || grant.policy.may_send(&stream.group).is_ok();
            let sent_to = grant.send_streams.contain(name);
            (receive || sent_to).then(|| (name.as_str(), NamedGrant { receive, send: may_send(sent_to) }))
        });
        GrantStatus {
            principal,
            expires: expires.map(|moment| moment.0),
            status: grant.status,
            policy: grant.policy.status(),
            streams: streams.collect(),
        }
    }
}
