//! What senders announce on the LAN: sessions, by SAP (RFC 2974) and SDP (RFC 4566), bounded and expiring.

pub mod sap;
pub mod sdp;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use serde::Serialize;

use crate::model::announcement::sap::Packet;
use crate::model::announcement::sdp::Session;

/// Sessions remembered.
pub const SESSIONS: usize = 256;
/// An announcement that was not repeated for ten times its own interval is over, but not before this (RFC 2974 section 4).
const SHORTEST: Duration = Duration::from_secs(3600);

/// Everything that is announced now.
#[derive(Debug, Default)]
pub struct Announcements {
    sessions: BTreeMap<Key, Announced>,
    counts: Counts,
}

/// What was heard; nothing ever goes down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Datagrams: all of them.
    pub heard: u64,
    /// Those that were no SAP or SDP, too long, or announced nothing that can be received here.
    pub malformed: u64,
    /// Those that were encrypted or compressed.
    pub unreadable: u64,
    /// Those of new sessions when there were as many as are remembered.
    pub full: u64,
}

/// One session is what one origin says on one interface: the same on another is another way to it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    interface: String,
    origin: String,
}

/// A session that is announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announced {
    /// What is announced.
    pub session: Session,
    /// By whom.
    pub announcer: IpAddr,
    /// When it was heard last, on the caller's clock.
    pub heard: Duration,
    /// From one announcement to the next, the longest so far.
    interval: Duration,
}

impl Announcements {
    /// Takes a datagram that came to a group of SAP on `interface`, at `now` on the caller's clock.
    pub fn hear(&mut self, datagram: &[u8], interface: &str, now: Duration) {
        self.counts.heard += 1;
        let packet = match Packet::parse(datagram) {
            Ok(packet) => packet,
            Err(sap::Unusable::Malformed) => return self.counts.malformed += 1,
            Err(sap::Unusable::Unreadable) => return self.counts.unreadable += 1,
        };
        if packet.deletes {
            // Its own announcer may end it, nobody else.
            let origin = sdp::origin(packet.payload);
            self.sessions.retain(|key, announced| {
                announced.announcer != packet.announcer
                    || key.interface != interface
                    || Some(&key.origin) != origin.as_ref()
            });
            return;
        }
        let Some(session) = Session::parse(packet.payload) else { return self.counts.malformed += 1 };
        let key = Key { interface: interface.to_owned(), origin: session.origin.clone() };
        let full = self.sessions.len() >= SESSIONS;
        match self.sessions.get_mut(&key) {
            Some(known) => {
                known.interval = known.interval.max(now.saturating_sub(known.heard));
                known.heard = now;
                // The newest description counts, from its own announcer.
                if known.announcer == packet.announcer {
                    known.session = session;
                }
            }
            None if full => self.counts.full += 1,
            None => {
                let announcer = packet.announcer;
                let announced = Announced { session, announcer, heard: now, interval: Duration::ZERO };
                self.sessions.insert(key, announced);
            }
        }
    }

    /// Forgets what is over: not repeated for long enough, or past its own end; `unix` is the time in seconds since 1970.
    pub fn expire(&mut self, now: Duration, unix: u64) {
        self.sessions.retain(|_, announced| {
            let silent = now.saturating_sub(announced.heard);
            silent <= SHORTEST.max(announced.interval * 10)
                && announced.session.stop.is_none_or(|stop| stop > unix)
        });
    }

    /// The sessions, each with its interface, by interface and origin.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Announced)> {
        self.sessions.iter().map(|(key, announced)| (key.interface.as_str(), announced))
    }

    /// What was counted.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sap(first: u8, announcer: u8, text: &str) -> Vec<u8> {
        [&[first, 0, 0x12, 0x34, 10, 0, 0, announcer][..], b"application/sdp\0", text.as_bytes()].concat()
    }

    fn sdp(id: u32, stop: u64) -> String {
        format!(
            "v=0\r\no=- {id} 1 IN IP4 10.0.0.5\r\ns=Channel {id}\r\nc=IN IP4 239.1.2.3/16\r\nt=0 {stop}\r\n\
             m=video 5004 RTP/AVP 33\r\n"
        )
    }

    #[test]
    fn sessions_come_are_renewed_end_and_expire() {
        let at = Duration::from_secs;
        let mut all = Announcements::default();
        let names = |all: &Announcements| {
            all.iter().map(|(_, announced)| announced.session.name.clone()).collect::<Vec<_>>()
        };
        all.hear(&sap(0x20, 5, &sdp(1, 0)), "lan0", at(0));
        all.hear(&sap(0x20, 5, &sdp(1, 0)), "lan0", at(600));
        // Until 1000 s of Unix time, which NTP begins earlier.
        all.hear(&sap(0x20, 5, &sdp(2, 2_208_988_800 + 1000)), "lan0", at(600));
        assert_eq!(names(&all), ["Channel 1", "Channel 2"]);
        all.expire(at(700), 999);
        assert_eq!(names(&all).len(), 2);
        all.expire(at(700), 1000);
        assert_eq!(names(&all), ["Channel 1"]);
        // Only who announced it ends it.
        all.hear(&sap(0x24, 6, "o=- 1 1 IN IP4 10.0.0.5\r\n"), "lan0", at(700));
        assert_eq!(names(&all), ["Channel 1"]);
        all.expire(at(6600), 0);
        assert_eq!(names(&all), ["Channel 1"]);
        all.expire(at(6601), 0);
        assert!(names(&all).is_empty());
        all.hear(&sap(0x20, 5, &sdp(1, 0)), "lan0", at(0));
        all.hear(&sap(0x24, 5, "o=- 1 1 IN IP4 10.0.0.5\r\n"), "lan0", at(1));
        assert!(names(&all).is_empty());
        assert_eq!((all.counts().heard, all.counts().malformed), (6, 0));
    }

    #[test]
    fn as_many_as_are_remembered_and_no_more() {
        let mut all = Announcements::default();
        for id in 0..300 {
            all.hear(&sap(0x20, 5, &sdp(id, 0)), "lan0", Duration::ZERO);
        }
        all.hear(b"nonsense", "lan0", Duration::ZERO);
        all.hear(&sap(0x22, 5, "encrypted"), "lan0", Duration::ZERO);
        let counts = Counts { heard: 302, malformed: 1, unreadable: 1, full: 44 };
        assert_eq!((all.iter().count(), all.counts()), (SESSIONS, counts));
    }
}
