//! What `wscast listen` hears on the local network itself.

use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::task::Poll;

use crate::lan::membership::Membership;
use crate::model::group::Group;
use crate::model::selector::InterfaceSelector;
use crate::model::source::{SourceFilter, parse_sources};
use crate::sys::batch::ReceiveBatch;
use crate::tools::counters::say;
use crate::tools::failure::Failure;
use crate::tools::form::Arrival;
use crate::tools::listen::Heard;
use crate::tools::place::Place;
use crate::tools::timestamp;

/// A group joined on one interface or several.
pub struct LanTap {
    joined: Vec<(Membership, String)>,
    batch: ReceiveBatch,
}

/// What to hear on the local network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LanTarget {
    /// The group.
    pub group: Group,
    /// Whom to hear; it fits the group.
    pub filter: SourceFilter,
}

/// Bytes of receive buffer to ask for: a burst of some 3,000 datagrams of video.
const RECEIVE_BUFFER: usize = 4 << 20;

impl LanTarget {
    /// Reads `[SOURCE[,SOURCE...]@]GROUP:PORT`, with the sources of `--source` and `--exclude`.
    ///
    /// # Errors
    /// [`Failure::Usage`] for what is no group or source, and for sources given both ways.
    pub fn parse(text: &str, sources: &[IpAddr], exclude: &[IpAddr]) -> Result<Self, Failure> {
        let usage = |error: &dyn std::fmt::Display| Failure::Usage(format!("listening to {text}: {error}"));
        let given = !sources.is_empty() || !exclude.is_empty();
        let (named, group) = match text.rsplit_once('@') {
            Some(_) if given => {
                return Err(usage(&"SOURCE@ names the senders already: leave --source and --exclude out"));
            }
            Some((named, group)) => (parse_sources(named).map_err(|error| usage(&error))?, group),
            None => (Vec::new(), text),
        };
        let group: Group = group.parse().map_err(|error| usage(&error))?;
        let include = [named, sources.to_vec()].concat();
        let filter = match include.is_empty() {
            true => SourceFilter::exclude(exclude.to_vec()),
            false => SourceFilter::include(include),
        };
        let filter = filter.map_err(|error| usage(&error))?;
        filter.check_against(&group).map_err(|error| usage(&error))?;
        Ok(LanTarget { group, filter })
    }
}

impl LanTap {
    /// Joins, inside a tokio runtime, and says where unless `quiet`. On `all` interfaces, one that can't be joined is
    /// said and left out.
    ///
    /// # Errors
    /// [`Failure::Running`] where there is no such interface or no join succeeded.
    pub fn open(
        target: &LanTarget,
        interface: Option<&InterfaceSelector>,
        quiet: bool,
    ) -> Result<Self, Failure> {
        let LanTarget { group, filter } = target;
        let mut joined = Vec::new();
        let mut refused = None;
        for place in Place::find(group, interface)? {
            match Membership::join(*group, filter, &place.interface, RECEIVE_BUFFER) {
                Ok(membership) => {
                    let name = place.interface.name.clone();
                    if !quiet {
                        say(format_args!("joined {group} on {name} (chosen by {})", place.chosen_by));
                    }
                    if let Some(doubt) = place.doubt() {
                        say(format_args!("wscast: {doubt}"));
                    }
                    joined.push((membership, name));
                }
                Err(error) => {
                    let failure = Failure::Running(error.to_string());
                    if let Some(earlier) = refused.replace(failure) {
                        say(format_args!("wscast: {earlier}"));
                    }
                }
            }
        }
        match refused {
            Some(failure) if joined.is_empty() => return Err(failure),
            Some(failure) => say(format_args!("wscast: {failure}")),
            None => {}
        }
        Ok(LanTap { joined, batch: ReceiveBatch::new() })
    }

    /// Waits for datagrams and takes what is there, a batch from each interface.
    ///
    /// # Errors
    /// [`Failure::Running`] with what the kernel says.
    pub async fn hear(&mut self, heard: &mut Heard) -> Result<(), Failure> {
        let receiving =
            |name: &str, error: &io::Error| Failure::doing(&format!("receiving on {name}"), error);
        readable(&self.joined).await.map_err(|error| Failure::doing("waiting for datagrams", &error))?;
        for (membership, name) in &self.joined {
            let count = match membership.receive(&mut self.batch) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(receiving(name, &error)),
            };
            let received = (0..count).map(|i| self.batch.received(i));
            for received in received.filter(|received| membership.accepts(received.destination)) {
                heard.take(&Arrival {
                    time: if received.arrival == 0 { timestamp::now() } else { received.arrival },
                    source: Some(received.source),
                    interface: Some(name),
                    ttl: received.ttl,
                    sequence: None,
                    payload: received.payload,
                });
            }
        }
        Ok(())
    }

    /// Datagrams that the kernel dropped because this program did not take them in time.
    #[must_use]
    pub fn drops(&self) -> u64 {
        self.joined.iter().map(|(membership, _)| u64::from(membership.drops())).sum()
    }

    /// How to lose less, where the kernel granted less room than was asked for.
    #[must_use]
    pub fn advice(&self) -> Option<String> {
        let granted = self.joined.iter().map(|(membership, _)| membership.receive_buffer()).min()?;
        // The kernel reports twice what it grants, for its own bookkeeping.
        (granted < 2 * RECEIVE_BUFFER)
            .then(|| format!("for a larger receive buffer: `sysctl -w net.core.rmem_max={RECEIVE_BUFFER}`"))
    }
}

/// Waits until one of the memberships may have datagrams.
async fn readable(joined: &[(Membership, String)]) -> io::Result<()> {
    let mut waits: Vec<_> = joined.iter().map(|(membership, _)| Box::pin(membership.readable())).collect();
    poll_fn(|context| {
        for wait in &mut waits {
            if let Poll::Ready(ready) = wait.as_mut().poll(context) {
                return Poll::Ready(ready);
            }
        }
        Poll::Pending
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, sources: &[&str], exclude: &[&str]) -> Result<LanTarget, String> {
        let addresses =
            |list: &[&str]| list.iter().map(|one| one.parse().expect("an address")).collect::<Vec<_>>();
        LanTarget::parse(text, &addresses(sources), &addresses(exclude))
            .map_err(|failure| failure.to_string())
    }

    #[test]
    fn both_spellings_of_a_source_are_the_same() {
        let one = parse("10.0.0.5@232.1.2.3:5000", &[], &[]).expect("valid");
        assert_eq!(parse("232.1.2.3:5000", &["10.0.0.5"], &[]), Ok(one));
        let six = parse("[2001:db8::5]@[ff35::1]:5000", &[], &[]).expect("valid");
        assert_eq!(parse("[ff35::1]:5000", &["2001:db8::5"], &[]), Ok(six));
        let excluding = parse("239.1.2.3:5000", &[], &["10.0.0.9"]).expect("valid");
        assert!(matches!(excluding.filter, SourceFilter::Exclude(_)));
        assert_eq!(parse("239.1.2.3:5000", &[], &[]).expect("valid").filter, SourceFilter::Any);
    }

    #[test]
    fn refuses_with_the_fix() {
        for (text, sources, words) in [
            ("10.0.0.1:5000", &[][..], "not a multicast address"),
            ("239.1.2.3", &[], "has no port"),
            ("232.1.2.3:5000", &[], "write SOURCE@GROUP:PORT"),
            ("239.1.2.3:5000", &["::1"], "IP versions differ"),
            ("10.0.0.1@239.1.2.3:5000", &["10.0.0.2"], "leave --source"),
            ("@239.1.2.3:5000", &[], "is not an IP address"),
        ] {
            let error = parse(text, sources, &[]).expect_err(text);
            assert!(error.starts_with(&format!("listening to {text}: ")) && error.contains(words), "{error}");
        }
    }
}
