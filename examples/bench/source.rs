//! The source: numbered, stamped datagrams, evenly paced.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use wscast::lan::interface::Interfaces;
use wscast::lan::transmit::{TransmitOptions, Transmitter};
use wscast::model::group::Group;
use wscast::model::selector::InterfaceSelector;

use crate::{Outcome, STAMP, SourceArguments, clock};

/// Sends, and prints what it sent as a line of JSON.
pub(crate) fn run(arguments: &SourceArguments) -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let _inside = runtime.enter();
    let interfaces = Interfaces::now()?;
    let interface = interfaces
        .find(&InterfaceSelector::Name(arguments.interface.clone()))
        .ok_or("there is no such interface")?;
    let group = Group::new(arguments.group.ip(), arguments.group.port())?;
    let options = TransmitOptions { ttl: 1, loopback: false };
    let transmitter = Transmitter::open(group, interface, options)?;
    let mut payload = vec![b'x'; arguments.size.max(STAMP)];
    let start = Instant::now();
    let (mut sent, mut failed) = (0u64, 0u64);
    let wanted = (f64::from(arguments.rate) * arguments.seconds) as u64;
    while sent + failed < wanted {
        let due = start + Duration::from_secs_f64((sent + failed) as f64 / f64::from(arguments.rate));
        if let Some(early) = due.checked_duration_since(Instant::now()) {
            thread::sleep(early);
        }
        payload[..8].copy_from_slice(&(sent + failed).to_le_bytes());
        payload[8..STAMP].copy_from_slice(&clock().to_le_bytes());
        match transmitter.send(&payload) {
            Ok(()) => sent += 1,
            Err(_) => failed += 1,
        }
    }
    println!("{}", json!({"sent": sent, "failed": failed, "seconds": start.elapsed().as_secs_f64()}));
    Ok(())
}
