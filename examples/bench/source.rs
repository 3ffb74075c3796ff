//! The source: numbered, stamped datagrams, evenly paced, to one group after the other.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use wscast::lan::interface::Interfaces;
use wscast::lan::transmit::{TransmitOptions, Transmitter};
use wscast::model::group::Group;
use wscast::model::selector::InterfaceSelector;

use crate::{Outcome, STAMP, SourceArguments, clock, nth_group};

/// Sends, and prints what it sent as a line of JSON. Datagrams shorter than [`STAMP`] have neither number nor stamp.
pub(crate) fn run(arguments: &SourceArguments) -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let _inside = runtime.enter();
    let interfaces = Interfaces::now()?;
    let interface = interfaces
        .find(&InterfaceSelector::Name(arguments.interface.clone()))
        .ok_or("there is no such interface")?;
    let options = TransmitOptions { ttl: 1, loopback: false };
    let transmitters = (0..arguments.streams)
        .map(|number| {
            let group = nth_group(arguments.group, number);
            Ok(Transmitter::open(Group::new(group.ip(), group.port())?, interface, options)?)
        })
        .collect::<Outcome<Vec<_>>>()?;
    let mut payload = vec![b'x'; arguments.size];
    let streams = arguments.streams as u64;
    // Whole rounds, so that every stream has as many.
    let rounds = ((f64::from(arguments.rate) * arguments.seconds) as u64 / streams).max(1);
    let start = Instant::now();
    let (mut sent, mut failed) = (0u64, 0u64);
    for round in 0..rounds {
        for (position, transmitter) in transmitters.iter().enumerate() {
            let number = round * streams + position as u64;
            let due = start + Duration::from_secs_f64(number as f64 / f64::from(arguments.rate));
            if let Some(early) = due.checked_duration_since(Instant::now()) {
                thread::sleep(early);
            }
            if let Some(stamp) = payload.get_mut(..STAMP) {
                stamp[..8].copy_from_slice(&round.to_le_bytes());
                stamp[8..].copy_from_slice(&clock().to_le_bytes());
            }
            match transmitter.send(&payload) {
                Ok(()) => sent += 1,
                Err(_) => failed += 1,
            }
        }
    }
    println!("{}", json!({"sent": sent, "failed": failed, "seconds": start.elapsed().as_secs_f64()}));
    Ok(())
}
