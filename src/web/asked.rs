//! What a request asked for, checked against the policy, at its opening and again when the configuration changes.

use hyper::StatusCode;

use crate::hub::sender::SenderKey;
use crate::model::config::{Config, NamedStream};
use crate::model::grant::Grant;
use crate::model::group::Group;
use crate::model::name::Names;
use crate::model::policy::{Denied, Permit};
use crate::model::request::{StreamOptions, StreamRequest, Target};
use crate::model::selector::InterfaceSelector;
use crate::model::source::SourceFilter;
use crate::model::transport::Transport;
use crate::web::asking;
use crate::web::connection::Connection;
use crate::web::opening::{Opening, check_ttl, holds_on};
use crate::web::refusal::Refusal;
use crate::web::server::Server;

/// A stream that a request asked for, and may have.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The group.
    pub group: Group,
    /// Whom to hear.
    pub filter: SourceFilter,
    /// Where it is heard, or sent to.
    pub(super) interfaces: Vec<InterfaceSelector>,
    /// Whether RTP is taken off.
    pub transport: Transport,
    target: Target,
    options: StreamOptions,
}

/// Where something may be received and sent to.
#[derive(Clone, Debug)]
pub struct Permits<'a> {
    /// Where it may be received; everywhere where that was not asked for.
    pub receive: Permit<'a>,
    /// Where it may be sent to, or why not.
    pub send: Result<Permit<'a>, String>,
}

/// A right that is gone: how its conversation is closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revoked {
    /// The close code.
    pub code: u16,
    /// A stable word, and the rest of the reason.
    pub reason: String,
}

impl Asked {
    /// Checks what `request` asks for, interfaces apart, under a grant.
    ///
    /// # Errors
    /// 400 for what makes no sense, 403 for what is not allowed, 404 for what there is not.
    pub fn check<'a>(
        request: StreamRequest,
        config: &Config,
        grant: &'a Grant,
    ) -> Result<(Self, Permits<'a>), Refusal> {
        let StreamRequest { target, mut transport, options } = request;
        let by_name = |names: &Names| match &target {
            Target::Named(name) => names.contain(name),
            Target::Group { .. } => false,
        };
        let (heard, sent_to) = (by_name(&grant.streams), by_name(&grant.send_streams));
        let (group, filter) = match &target {
            Target::Group { group, filter } => (*group, filter.clone()),
            Target::Named(name) => {
                // Who may not see it learns no more than of one that is not there.
                let stream = config
                    .streams
                    .get(name)
                    .filter(|_| heard || sent_to)
                    .ok_or_else(|| Refusal::not_found("there is no stream of that name"))?;
                transport = transported(stream, &options)?;
                (stream.group, narrowed(stream, &options)?)
            }
        };
        filter.check_against(&group).map_err(|error| Refusal::malformed(error.to_string()))?;
        options.ttl.map_or(Ok(()), |ttl| check_ttl(ttl, config, grant))?;
        let send = match sent_to {
            true => Ok(Permit::anywhere()),
            false => grant.policy.send(&group).map_err(|denied| denied.to_string()),
        };
        let fec = match options.receive {
            true => transport.fec_groups(group).map_err(|error| Refusal::malformed(error.to_string()))?,
            false => Default::default(),
        };
        let receive = match heard || !options.receive {
            true => Permit::anywhere(),
            false => {
                let denied = |denied: Denied| Refusal::not_allowed(denied.to_string());
                for group in &fec {
                    grant.policy.receive(group, &filter).map_err(denied)?;
                }
                grant.policy.receive(&group, &filter).map_err(denied)?
            }
        };
        if let (false, Err(denied)) = (options.receive, &send) {
            return Err(Refusal::not_allowed(denied.clone()));
        }
        let asked = Asked { group, filter, interfaces: Vec::new(), transport, target, options };
        Ok((asked, Permits { receive, send }))
    }

    /// How it was asked for.
    #[must_use]
    pub fn options(&self) -> &StreamOptions {
        &self.options
    }

    /// The stream of the configuration that was asked for by name.
    #[must_use]
    pub fn named<'a>(&self, config: &'a Config) -> Option<&'a NamedStream> {
        match &self.target {
            Target::Named(name) => config.streams.get(name),
            Target::Group { .. } => None,
        }
    }

    /// Why it may not go on under what holds now, if so.
    #[must_use]
    pub fn revoked(&self, server: &Server, connection: &Connection) -> Option<Revoked> {
        let setup = server.setup();
        if let Err(refusal) = connection.check_again(&setup) {
            return Some(Revoked::by(&refusal));
        }
        let Some(identity) = connection.identity() else { return Some(Revoked::by(&asking::wanted())) };
        match Asked::check(self.request(), &setup.config, identity.grant()) {
            Err(refusal) => Some(Revoked::by(&refusal)),
            Ok((_, permits)) if self.options.receive && !self.holds(&permits.receive, server) => {
                let reason = format!("{} is not allowed on this interface any more", self.group);
                Some(Revoked::by(&Refusal::not_allowed(reason)))
            }
            Ok((now, _))
                if (now.group, &now.filter, now.transport) != (self.group, &self.filter, self.transport) =>
            {
                let reason = "reloaded: this name is another stream now; connect again".to_owned();
                Some(Revoked { code: 1001, reason })
            }
            Ok(_) => None,
        }
    }

    fn holds(&self, permit: &Permit<'_>, server: &Server) -> bool {
        let interfaces = server.hub().interfaces();
        self.interfaces.iter().all(|interface| holds_on(permit, interface, &interfaces))
    }

    fn request(&self) -> StreamRequest {
        // Of a named stream the configuration says it anew.
        let (target, options) = (self.target.clone(), self.options.clone());
        StreamRequest { target, transport: self.transport, options }
    }

    /// How it may be sent to under what holds now.
    ///
    /// # Errors
    /// Why it may not.
    pub fn sending(&self, server: &Server, connection: &Connection) -> Result<SenderKey, String> {
        let identity = connection.identity().ok_or_else(|| asking::wanted().words().to_owned())?;
        Opening::check(self.request(), &server.config(), identity.grant(), &server.hub().interfaces())
            .map_err(|refusal| refusal.words().to_owned())?
            .sending
    }
}

impl Revoked {
    /// What `refusal` would have answered to the request.
    #[must_use]
    pub fn by(refusal: &Refusal) -> Self {
        Revoked { code: refusal.close_code().unwrap_or(4403), reason: refusal.to_string() }
    }

    /// The answer to a request whose right went while it waited.
    #[must_use]
    pub fn refusal(self) -> Refusal {
        let status = match self.code {
            4401 => StatusCode::UNAUTHORIZED,
            4404 => StatusCode::NOT_FOUND,
            1001 => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::FORBIDDEN,
        };
        Refusal::new(status, self.reason)
    }
}

/// How a named stream comes, with what the request says of its FEC.
fn transported(stream: &NamedStream, options: &StreamOptions) -> Result<Transport, Refusal> {
    match options.fec {
        None => Ok(stream.transport),
        Some(_) if stream.transport == Transport::Udp => {
            Err(Refusal::malformed("fec= repairs RTP, and this stream is none: leave it out"))
        }
        Some(fec) => Ok(Transport::rtp(fec)),
    }
}

/// The filter of a named stream with what the request excludes besides.
fn narrowed(stream: &NamedStream, options: &StreamOptions) -> Result<SourceFilter, Refusal> {
    if options.exclude.is_empty() {
        return Ok(stream.filter.clone());
    }
    let excluded = match &stream.filter {
        SourceFilter::Any => options.exclude.clone(),
        SourceFilter::Exclude(already) => already.iter().chain(&options.exclude).copied().collect(),
        SourceFilter::Include(_) => {
            return Err(Refusal::malformed("this stream names its sources: exclude= does not go with them"));
        }
    };
    SourceFilter::exclude(excluded).map_err(|error| Refusal::malformed(error.to_string()))
}
