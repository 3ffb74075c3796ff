//! Listens to what senders announce: a subscriber of the streams that announcements come by.

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tracing::warn;

use crate::hub::hub::Hub;
use crate::hub::key::StreamKey;
use crate::hub::log::Log;
use crate::hub::subscription::{Encoding, Subscriber, Subscription};
use crate::model::announcement::{Announcements, sap};
use crate::model::group::Group;
use crate::model::selector::InterfaceSelector;
use crate::model::source::SourceFilter;
use crate::model::transport::Transport;

/// From one look at what is over, and at the interfaces, to the next.
const LOOK: Duration = Duration::from_secs(5);
/// From one join to the next: what clients join has its rate, and this is not to use it up.
const APART: Duration = Duration::from_millis(500);

/// One stream of announcements.
struct Listener {
    interface: String,
    epoch: std::time::Instant,
    next: Cell<u64>,
    heard: Arc<Mutex<Announcements>>,
}

impl Subscriber for Listener {
    fn flush(&self, log: &Log, _: usize) {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let mut datagram = Vec::new();
        for sequence in self.next.get().max(log.first_sequence())..log.head_sequence() {
            datagram.clear();
            log.copy_payload(sequence, &mut datagram);
            heard.hear(&datagram, &self.interface, self.epoch.elapsed());
        }
        self.next.set(log.head_sequence());
    }

    fn fail(&self) {}

    fn evicting(&self, log: &Log, slot: usize, _: u64) {
        self.flush(log, slot);
    }
}

/// Listens on `interfaces` for as long as it is polled.
pub async fn listen(hub: Rc<Hub>, interfaces: Vec<InterfaceSelector>, heard: Arc<Mutex<Announcements>>) {
    if interfaces.is_empty() {
        return;
    }
    let epoch = std::time::Instant::now();
    let mut joined: HashMap<StreamKey, Subscription> = HashMap::new();
    let mut failed: HashMap<StreamKey, String> = HashMap::new();
    loop {
        let wanted = wanted(&hub, &interfaces);
        joined.retain(|key, _| wanted.contains(key));
        for key in wanted {
            if joined.contains_key(&key) {
                continue;
            }
            match hub.stream(&key) {
                Ok(stream) => {
                    let next = Cell::new(stream.log().head_sequence());
                    let (interface, heard) = (stream.interface(), Arc::clone(&heard));
                    let listener = Rc::new(Listener { interface, epoch, next, heard });
                    let subscription = Subscription::new(stream, Encoding::Raw, listener as _, 0, None);
                    joined.insert(key, subscription);
                }
                Err(error) => {
                    let reason = error.to_string();
                    if failed.get(&key) != Some(&reason) {
                        warn!(group = %key.group, interface = %key.interface, reason, "listening to announcements: trying again");
                        failed.insert(key, reason);
                    }
                }
            }
            tokio::time::sleep(APART).await;
        }
        let unix = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs());
        heard.lock().unwrap_or_else(PoisonError::into_inner).expire(epoch.elapsed(), unix);
        tokio::time::sleep(LOOK).await;
    }
}

fn wanted(hub: &Hub, interfaces: &[InterfaceSelector]) -> Vec<StreamKey> {
    let known = hub.interfaces();
    let mut selectors: Vec<InterfaceSelector> = Vec::new();
    for selector in interfaces {
        if *selector == InterfaceSelector::All {
            selectors.extend(known.for_all().map(|found| InterfaceSelector::Name(found.name.clone())));
        } else {
            selectors.push(selector.clone());
        }
    }
    let key = |selector: &InterfaceSelector, address| {
        let group = Group::new(address, sap::PORT).ok()?;
        // Of a family that the interface has.
        let fits = known
            .find(selector)
            .is_none_or(|found| found.addresses.iter().any(|own| own.is_ipv4() == group.is_ipv4()));
        let interface = selector.clone();
        fits.then_some(StreamKey { interface, group, filter: SourceFilter::Any, transport: Transport::Udp })
    };
    let all = selectors.iter().flat_map(|selector| sap::GROUPS.map(|address| key(selector, address)));
    all.flatten().collect()
}
