//! All links of a gateway and all that they mirror: who takes part in what, opened and closed together.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use crate::lan::interface::Interfaces;
use crate::link::attachment::Attachment;
use crate::link::link::Link;
use crate::link::mirror::Mirror;
use crate::link::segment::Segment;
use crate::model::group::Group;
use crate::model::link::message::{Call, Channel, Opened};
use crate::model::link::{LinkConfig, MOST_GROUPS, MOST_LINKS};
use crate::model::policy::Policy;
use crate::model::selector::InterfaceSelector;
use crate::model::status::LinksStatus;
use crate::sys::batch::ReceiveBatch;
use crate::sys::netlink::InterfaceEvents;
use crate::sys::random;

/// How long a link that another gateway opened is kept, with all that it mirrors, while that gateway is away.
pub(super) const KEPT: Duration = Duration::from_secs(60);
/// Between two looks at everything that is due by time.
pub(super) const TICK: Duration = Duration::from_millis(100);
/// How long after a change of the interfaces they are looked at, and how long without any.
const DEBOUNCE: Duration = Duration::from_millis(50);
const SAFETY_NET: Duration = Duration::from_secs(2);

/// What links may do here.
#[derive(Clone, Debug)]
pub struct Rules {
    /// What other gateways may mirror: what clients may receive and send.
    pub policy: Policy,
    /// The largest TTL that they may ask for.
    pub max_ttl: u8,
    /// Where groups are mirrored that don't say; `None` for what the routing table names.
    pub interface: Option<InterfaceSelector>,
    /// Bytes of receive buffer to ask for on each group's socket.
    pub receive_buffer: usize,
}

/// All links and mirrors of one gateway.
pub(super) struct Exchange {
    /// Our run.
    pub(super) gateway: u64,
    rules: RefCell<Rules>,
    interfaces: RefCell<Interfaces>,
    batch: RefCell<ReceiveBatch>,
    segments: RefCell<Vec<Rc<Segment>>>,
    mirrors: RefCell<Vec<Rc<Mirror>>>,
    links: RefCell<Vec<Rc<Link>>>,
    runs: Cell<u32>,
}

/// One group as a link wants it mirrored here.
struct Wish {
    group: Group,
    interface: Option<InterfaceSelector>,
    /// Whether the interface may come later.
    waits: bool,
    gives: bool,
    takes: bool,
    ttl: u8,
    rate: u64,
}

impl Exchange {
    pub(super) fn new(gateway: u64, rules: Rules) -> Rc<Exchange> {
        let exchange = Exchange {
            gateway,
            rules: RefCell::new(rules),
            interfaces: RefCell::default(),
            batch: RefCell::default(),
            segments: RefCell::default(),
            mirrors: RefCell::default(),
            links: RefCell::default(),
            // What was injected before a restart has another gateway's number; within one, no number comes twice.
            runs: Cell::new(random::number() as u32),
        };
        exchange.refresh();
        Rc::new(exchange)
    }

    /// The interfaces as they were seen last.
    pub(super) fn interfaces(&self) -> Interfaces {
        self.interfaces.borrow().clone()
    }

    /// Lends the receive buffers, with the interfaces.
    pub(super) fn with_batch<T>(&self, act: impl FnOnce(&mut ReceiveBatch, &Interfaces) -> T) -> T {
        act(&mut self.batch.borrow_mut(), &self.interfaces.borrow())
    }

    /// Bytes of receive buffer to ask for.
    pub(super) fn receive_buffer(&self) -> usize {
        self.rules.borrow().receive_buffer
    }

    /// From now on other rules hold: links of others that they do not allow are ended, and asked for anew.
    pub(super) fn adopt(&self, rules: Rules) {
        self.rules.replace(rules);
        let allowed = |channel: &Channel| self.wish(channel).is_ok();
        let links = self.links.borrow().clone();
        for link in links.into_iter().filter(|link| link.opened == "in") {
            let changed = link
                .channels
                .iter()
                .zip(link.opened_channels())
                .any(|(channel, opened)| allowed(channel) != matches!(opened, Opened::Mirrored { .. }));
            if changed {
                info!(link = link.name, "what other gateways may mirror is another: the link begins anew");
                self.close(&link);
            }
        }
    }

    /// Opens a link of our own configuration.
    pub(super) fn open(self: &Rc<Self>, config: &LinkConfig) -> Rc<Link> {
        let channels = config.groups.iter().map(Channel::of).collect();
        let link = Link::new(random::number(), config.name.clone(), "out", config.url.clone(), channels);
        let mirrors = config.groups.iter().enumerate().map(|(channel, mirrored)| {
            let wish = Wish {
                group: mirrored.group,
                interface: mirrored.interface.clone(),
                waits: true,
                gives: mirrored.direction.pushes(),
                takes: mirrored.direction.pulls(),
                ttl: mirrored.ttl,
                rate: mirrored.rate,
            };
            let mirror = self.attach(&link, channel, &wish);
            if let Err(error) = &mirror {
                warn!(link = link.name, group = %mirrored.group, error, "a group of the link is not mirrored");
            }
            mirror
        });
        link.mirror(mirrors.collect());
        self.links.borrow_mut().push(Rc::clone(&link));
        link
    }

    /// Answers another gateway's call: the link, and whether it was known.
    ///
    /// # Errors
    /// A stable word, what is wrong in words, and whether it may be different later.
    pub(super) fn answer(
        self: &Rc<Self>,
        call: Call,
        peer: SocketAddr,
    ) -> Result<(Rc<Link>, bool), (&'static str, String, bool)> {
        let (gateway, session) = call.understood().map_err(|error| ("bad_field", error, false))?;
        if gateway == self.gateway {
            let message = "this is the gateway itself: a link leads to another one".to_owned();
            return Err(("same_gateway", message, false));
        }
        let known = self.links.borrow().iter().find(|link| link.session == session).cloned();
        if let Some(link) = known {
            if link.is_called(&call) && link.gateway() == Some(gateway) {
                link.is_at(peer.to_string());
                return Ok((link, true));
            }
            // Another configuration, or another run of that gateway.
            self.close(&link);
        }
        if self.links.borrow().len() >= MOST_LINKS {
            let message = format!("there are {MOST_LINKS} links here already, as many as there may be");
            return Err(("overloaded", message, true));
        }
        let link = Link::new(session, call.name, "in", peer.to_string(), call.groups);
        let mirrors: Vec<_> = link
            .channels
            .iter()
            .enumerate()
            .map(|(channel, asked)| self.wish(asked).and_then(|wish| self.attach(&link, channel, &wish)))
            .collect();
        for error in mirrors.iter().filter_map(|mirror| mirror.as_ref().err()) {
            warn!(link = link.name, %peer, error, "a group that another gateway asks for is not mirrored");
        }
        link.mirror(mirrors);
        self.links.borrow_mut().push(Rc::clone(&link));
        Ok((link, false))
    }

    /// Ends a link and what only it mirrored.
    pub(super) fn close(&self, link: &Rc<Link>) {
        self.links.borrow_mut().retain(|other| other.session != link.session);
        for mirror in link.close() {
            if mirror.detach(link.session) {
                self.mirrors.borrow_mut().retain(|other| !Rc::ptr_eq(other, &mirror));
                if mirror.segment.remove(mirror.group) {
                    mirror.segment.say_goodbye();
                    self.segments.borrow_mut().retain(|segment| !Rc::ptr_eq(segment, &mirror.segment));
                }
            }
        }
    }

    /// Ends all links, and says goodbye on the LANs.
    pub(super) fn close_all(&self) {
        for segment in self.segments.borrow().iter() {
            segment.say_goodbye();
        }
        for link in self.links.take() {
            self.close(&link);
        }
    }

    /// Does what is due by time, for as long as it is polled.
    pub(super) async fn keep_time(self: Rc<Self>) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut hello = Instant::now();
        loop {
            ticks.tick().await;
            let now = Instant::now();
            for segment in self.segments.borrow().iter() {
                segment.tick(now);
            }
            for mirror in self.mirrors.borrow().iter() {
                mirror.tick(now);
            }
            if now >= hello {
                hello = now + crate::link::election::HELLO;
                for segment in self.segments.borrow().iter() {
                    segment.say_hello(now);
                }
            }
            self.tick_links(now);
        }
    }

    /// Follows the interfaces for as long as it is polled.
    pub(super) async fn follow_interfaces(self: Rc<Self>) {
        let events = InterfaceEvents::open();
        loop {
            let changed = async {
                match &events {
                    Ok(events) => events.changed().await.map(drop),
                    Err(_) => std::future::pending().await,
                }
            };
            // Without a change, should one have been missed.
            let failed =
                tokio::time::timeout(SAFETY_NET, changed).await.is_ok_and(|changed| changed.is_err());
            tokio::time::sleep(if failed { SAFETY_NET } else { DEBOUNCE }).await;
            self.refresh();
            let (interfaces, now) = (self.interfaces(), Instant::now());
            let segments = self.segments.borrow().clone();
            for segment in segments {
                segment.look(&interfaces, now);
            }
        }
    }

    /// For the status.
    pub(super) fn status(&self) -> LinksStatus {
        LinksStatus {
            links: self.links.borrow().iter().map(|link| link.status()).collect(),
            mirrors: self.mirrors.borrow().iter().map(|mirror| mirror.status()).collect(),
        }
    }

    fn tick_links(&self, now: Instant) {
        let mut over = Vec::new();
        for link in self.links.borrow().iter() {
            link.tick(now);
            let away = link.away_since().map(|since| now.saturating_duration_since(since));
            if link.opened == "in" && away.is_some_and(|away| away >= KEPT) {
                over.push(Rc::clone(link));
            }
        }
        for link in over {
            info!(link = link.name, "the other gateway did not come back: the link is forgotten");
            self.close(&link);
        }
    }

    /// What another gateway asks for, as far as it may.
    fn wish(&self, channel: &Channel) -> Result<Wish, String> {
        let rules = self.rules.borrow();
        let (group, interface) = channel.understood()?;
        let (takes, gives) = (channel.direction.pushes(), channel.direction.pulls());
        if gives {
            rules.policy.may_receive(&group).map_err(|denied| denied.to_string())?;
        }
        if takes {
            rules.policy.may_send(&group).map_err(|denied| denied.to_string())?;
        }
        if channel.ttl > rules.max_ttl {
            let (ttl, most) = (channel.ttl, rules.max_ttl);
            return Err(format!("a TTL of {ttl} is above the {most} allowed here (--max-ttl)"));
        }
        Ok(Wish { group, interface, waits: false, gives, takes, ttl: channel.ttl, rate: channel.rate })
    }

    fn attach(self: &Rc<Self>, link: &Rc<Link>, channel: usize, wish: &Wish) -> Result<Rc<Mirror>, String> {
        let mirror = self.mirror(wish)?;
        let channel = u32::try_from(channel).unwrap_or(u32::MAX);
        let ways = (wish.gives, wish.takes);
        mirror.attach(Attachment::new(Rc::clone(link), channel, ways, wish.ttl, wish.rate));
        Ok(mirror)
    }

    /// The mirror of a group on an interface, begun where there is none.
    fn mirror(self: &Rc<Self>, wish: &Wish) -> Result<Rc<Mirror>, String> {
        let selector = self.selector(wish)?;
        let known = |mirror: &&Rc<Mirror>| mirror.group == wish.group && mirror.segment.selector == selector;
        if let Some(mirror) = self.mirrors.borrow().iter().find(known) {
            return Ok(Rc::clone(mirror));
        }
        if self.mirrors.borrow().len() >= MOST_GROUPS {
            return Err(format!("{MOST_GROUPS} groups are mirrored here already, as many as there may be"));
        }
        let segment = self.segment(selector);
        let run = self.runs.get().wrapping_add(1);
        self.runs.set(run);
        let mirror = Mirror::new(wish.group, Rc::clone(&segment), self.gateway, run, Instant::now());
        segment.add(&mirror);
        self.mirrors.borrow_mut().push(Rc::clone(&mirror));
        Ok(mirror)
    }

    fn segment(self: &Rc<Self>, selector: InterfaceSelector) -> Rc<Segment> {
        let known = self.segments.borrow().iter().find(|segment| segment.selector == selector).cloned();
        known.unwrap_or_else(|| {
            let segment = Segment::new(self, selector);
            self.segments.borrow_mut().push(Rc::clone(&segment));
            segment
        })
    }

    /// The interface that is meant, by name where it is there: two that mean the same must not be two.
    fn selector(&self, wish: &Wish) -> Result<InterfaceSelector, String> {
        self.refresh();
        let interfaces = self.interfaces.borrow();
        let rules = self.rules.borrow();
        let asked = wish.interface.as_ref().or(rules.interface.as_ref());
        let found = match asked {
            Some(InterfaceSelector::All) => {
                return Err("a group is mirrored on one interface: name it, all is for receiving".to_owned());
            }
            Some(asked) => interfaces.find(asked),
            None => interfaces.routed(&wish.group),
        };
        match (found, asked) {
            (Some(interface), _) => Ok(InterfaceSelector::Name(interface.name.clone())),
            (None, Some(asked)) if wish.waits => Ok(asked.clone()),
            (None, Some(asked)) => Err(format!("no interface {asked}; there are: {}", interfaces.names())),
            (None, None) => Err(format!(
                "the routing table has no interface for {}: name one; there are: {}",
                wish.group,
                interfaces.names()
            )),
        }
    }

    fn refresh(&self) {
        match Interfaces::now() {
            Ok(interfaces) => drop(self.interfaces.replace(interfaces)),
            Err(error) => warn!(%error, "listing the interfaces"),
        }
    }
}
