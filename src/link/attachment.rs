//! A link's part in a mirrored group: which way, how fast.

use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::link::link::Link;
use crate::link::outgoing::HELD_BYTES;
use crate::model::bucket::TokenBucket;
use crate::model::link::message::{LinkMessage, Stopped};
use crate::model::link::record::LinkHeader;

/// A link's part in a mirrored group.
pub(super) struct Attachment {
    pub(super) link: Rc<Link>,
    channel: u32,
    /// Whether datagrams go to the link.
    pub(super) gives: bool,
    /// Whether datagrams come from it.
    pub(super) takes: bool,
    /// TTL of what is sent to the LAN.
    pub(super) ttl: u8,
    giving: TokenBucket,
    taking: TokenBucket,
    over_rate: u64,
}

impl Attachment {
    /// Within `rate` bits of payload a second each way, and a quarter of it at once.
    pub(super) fn new(link: Rc<Link>, channel: u32, ways: (bool, bool), ttl: u8, rate: u64) -> Attachment {
        let now = Instant::now();
        let giving = TokenBucket::new(rate, (rate / 4).max(8 * 65536), now);
        // The other side keeps the cap; this only bounds one that does not. What it held for us may come at once.
        let taking = TokenBucket::new(rate, rate.saturating_add(16 * HELD_BYTES as u64), now);
        let (gives, takes) = ways;
        Attachment { link, channel, gives, takes, ttl, giving, taking, over_rate: 0 }
    }

    /// Puts a datagram into the link's log, or counts it.
    pub(super) fn give(&mut self, header: LinkHeader, payload: &[u8], now: Instant) {
        if self.giving.take(8 * payload.len() as u64, now) {
            self.link.put(LinkHeader { channel: self.channel, ..header }, payload, now);
        } else {
            self.over_rate += 1;
        }
    }

    /// Puts an answer into the link's log: answers are few.
    pub(super) fn lead_back(&mut self, header: LinkHeader, payload: &[u8]) {
        self.link.put(LinkHeader { channel: self.channel, ..header }, payload, Instant::now());
    }

    /// Whether a datagram from the link is within the rate.
    pub(super) fn may_take(&mut self, length: usize, now: Instant) -> bool {
        self.taking.take(8 * length as u64, now)
    }

    /// Datagrams that were over the cap.
    pub(super) fn over_rate(&self) -> u64 {
        self.over_rate
    }

    /// Tells the other side that the group is stopped.
    pub(super) fn tell_stopped(&self, time: Duration) {
        let seconds = u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
        self.link.say(&LinkMessage::Stopped(Stopped { channel: self.channel, seconds }));
    }
}
