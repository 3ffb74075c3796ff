//! Links to other gateways, and the groups that they mirror, in the status.

use serde::Serialize;

/// What the gateway tells of its links.
#[derive(Clone, Debug, Default, Serialize)]
pub struct LinksStatus {
    /// Every link, those that others opened included.
    pub links: Vec<LinkStatus>,
    /// Every mirrored group, by interface and group.
    pub mirrors: Vec<MirrorStatus>,
}

/// One link.
#[derive(Clone, Debug, Default, Serialize)]
pub struct LinkStatus {
    /// What its people call it.
    pub name: String,
    /// Names it through all its connections, 16 hexadecimal digits; the same on both sides.
    pub session: String,
    /// `out` where this gateway connects, `in` where the other one does.
    pub opened: &'static str,
    /// Where the other gateway is: a URL, or an address.
    pub peer: String,
    /// The other gateway's run; absent before it was there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<String>,
    /// `up`, `away` (and tried again) or `refused` (and tried again later).
    pub state: &'static str,
    /// Why it is not up, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Seconds in this state.
    pub seconds: f64,
    /// Connections that have stood.
    pub connections: u64,
    /// Time from a ping to its answer, in milliseconds; absent before the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub round_trip_ms: Option<f64>,
    /// What it mirrors.
    pub groups: Vec<LinkGroupStatus>,
    /// Records put into the log of this link: `sent = written + overrun + waiting`, but for those written a second time.
    pub sent: u64,
    /// Payload bytes of them.
    pub sent_bytes: u64,
    /// Records that gave way before they were written: the link was away or slow for too long.
    pub overrun: u64,
    /// Records that wait to be written.
    pub waiting: u64,
    /// Records that came.
    pub received: u64,
    /// Payload bytes of them.
    pub received_bytes: u64,
    /// Records that came a second time, after a break, and were passed over.
    pub repeated: u64,
    /// Records of the other side that never came: the exact number.
    pub lost: u64,
    /// Gaps of which nobody knows the size: the other side began anew.
    pub unknown_gaps: u64,
    /// How long the last break was, in seconds; 0 before the first.
    pub last_break_seconds: f64,
    /// Records lost in the last break.
    pub last_break_lost: u64,
}

/// One group of a link.
#[derive(Clone, Debug, Default, Serialize)]
pub struct LinkGroupStatus {
    /// The group here.
    pub group: String,
    /// The interface here.
    pub interface: String,
    /// `pull`, `push` or `both`, seen from the gateway that connects.
    pub direction: String,
    /// Why it is not mirrored, where it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// Datagrams that were over the cap on their way out.
    pub over_rate: u64,
}

/// One mirrored group on one interface.
///
/// The books balance: `heard = injected + ignored.*` and `arrived = emitted + handed + discarded.*`, exactly.
#[derive(Clone, Debug, Default, Serialize)]
pub struct MirrorStatus {
    /// `239.1.2.3:5000` or `[ff15::42]:5000`.
    pub group: String,
    /// Where.
    pub interface: String,
    /// `speaking` (hears for the links, sends what comes from them), `standby` (another gateway on this LAN does), `listening`
    /// (for the first second), `stopped` (a storm) or `waiting-for-interface`.
    pub state: &'static str,
    /// The gateway that speaks for the group on this LAN, where it is another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speaker: Option<String>,
    /// Seconds until the group goes on after a storm.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped_seconds: Option<f64>,
    /// Times that a storm stopped it.
    pub storms: u64,
    /// Other gateways on this LAN that mirror it.
    pub neighbours: usize,
    /// Datagrams read from the LAN.
    pub heard: u64,
    /// Datagrams of them that were given to the links.
    pub injected: u64,
    /// Those that were not.
    pub ignored: Ignored,
    /// Dropped by the kernel before they were read.
    pub lost_kernel: u64,
    /// Datagrams that came from links and neighbours.
    pub arrived: u64,
    /// Datagrams of them that were sent to the LAN.
    pub emitted: u64,
    /// Datagrams of them that were handed to the neighbour that speaks.
    pub handed: u64,
    /// Those that were neither.
    pub discarded: Discarded,
    /// Unicast answers.
    pub answers: AnswersStatus,
}

/// Datagrams that were heard and not given to the links.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Ignored {
    /// Sent by this gateway for its links.
    pub own: u64,
    /// Another gateway on the LAN hears for the links, or nobody does yet.
    pub standby: u64,
    /// The group is stopped.
    pub stopped: u64,
    /// Cut off by the receive buffer, or not for this group and interface.
    pub unfit: u64,
}

/// Datagrams that came from a link or neighbour and went no further.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Discarded {
    /// Were here already, or too old to know.
    pub duplicate: u64,
    /// Had passed too many links.
    pub hops: u64,
    /// The group is stopped.
    pub stopped: u64,
    /// The group is not mirrored in this direction.
    pub one_way: u64,
    /// Over the cap.
    pub rate: u64,
    /// Refused by the kernel, or there is no interface.
    pub kernel: u64,
    /// Nobody speaks for the group on this LAN yet.
    pub nobody: u64,
}

/// Unicast answers to what was sent for somebody behind a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AnswersStatus {
    /// Read from the LAN and given to the link that leads to the asker.
    pub sent: u64,
    /// Given to the asker on this LAN.
    pub delivered: u64,
    /// Passed on from one link to another.
    pub forwarded: u64,
    /// Nobody knew the way, it was too far, or the kernel refused.
    pub lost: u64,
}
