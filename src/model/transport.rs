//! How a stream's datagrams carry what its clients get.

use super::group::{Group, GroupError};

/// How a stream's datagrams carry what its clients get.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Transport {
    /// The payload of each datagram, as it is.
    #[default]
    Udp,
    /// RTP (RFC 3550), whose payloads clients get in the sender's order.
    Rtp,
    /// RTP with forward error correction beside it (SMPTE 2022-1).
    RtpFec,
}

/// From a stream's port to that of its FEC columns, and to that of its rows (SMPTE 2022-1 section 7).
const FEC_PORTS: [u16; 2] = [2, 4];

impl Transport {
    /// RTP, with what stands beside it.
    #[must_use]
    pub fn rtp(fec: bool) -> Transport {
        if fec { Transport::RtpFec } else { Transport::Rtp }
    }

    /// Its name in the status: `udp`, `rtp` or `rtp+fec`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Transport::Udp => "udp",
            Transport::Rtp => "rtp",
            Transport::RtpFec => "rtp+fec",
        }
    }

    /// Where the FEC for `group` comes: columns, then rows. None without it.
    ///
    /// # Errors
    /// Where there is no such port behind that of `group`.
    pub fn fec_groups(self, group: Group) -> Result<Vec<Group>, GroupError> {
        let behind = |step: &u16| {
            let port = group.port().checked_add(*step);
            let past = || GroupError::BadPort(format!("{}+{step}", group.port()));
            port.ok_or_else(past).and_then(|port| Group::new(group.address(), port))
        };
        if self == Transport::RtpFec { FEC_PORTS.iter().map(behind).collect() } else { Ok(Vec::new()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fec_stands_two_and_four_ports_behind() {
        let group: Group = "239.1.2.3:5000".parse().expect("a group");
        let texts = |transport: Transport| {
            transport.fec_groups(group).map(|groups| groups.iter().map(Group::to_string).collect::<Vec<_>>())
        };
        assert_eq!(texts(Transport::Rtp), Ok(vec![]));
        assert_eq!(
            texts(Transport::RtpFec),
            Ok(vec!["239.1.2.3:5002".to_owned(), "239.1.2.3:5004".to_owned()])
        );
        let last = "239.1.2.3:65533".parse().expect("a group");
        assert!(Transport::RtpFec.fec_groups(last).is_err());
    }
}
