//! `wscast record`: groups of the local network into a capture file.

use std::fs::File;
use std::future::poll_fn;
use std::io::{self, BufWriter, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::pin::pin;
use std::task::Poll;
use std::time::Instant;

use crate::cli::RecordArgs;
use crate::lan::membership::Membership;
use crate::model::group::Group;
use crate::sys::batch::{ReceiveBatch, Received};
use crate::tools::capture::writer::{CaptureWriter, Recorded};
use crate::tools::counters::{LiveLine, REFRESH, Traffic, say};
use crate::tools::failure::Failure;
use crate::tools::lan_tap::LanTarget;
use crate::tools::place::Place;
use crate::tools::serve::block_on;
use crate::tools::stop::Stop;
use crate::tools::timestamp;

/// Groups in one recording.
const GROUPS: usize = 256;
/// Bytes of receive buffer to ask for, for each group.
const RECEIVE_BUFFER: usize = 4 << 20;
/// Bytes that are written to the file at once.
const WRITE: usize = 256 << 10;

/// Records until the count is reached, the time is over, a signal comes or nobody reads what is written.
///
/// # Errors
/// [`Failure::Usage`] for what is no group, [`Failure::Running`] where nothing can be heard or written.
pub fn run(arguments: &RecordArgs) -> Result<(), Failure> {
    if arguments.groups.len() > GROUPS {
        let words = format!("recording {} groups: at most {GROUPS} at once", arguments.groups.len());
        return Err(Failure::Usage(words));
    }
    let targets: Vec<_> =
        arguments.groups.iter().map(|text| LanTarget::parse(text, &[], &[])).collect::<Result<_, _>>()?;
    block_on(record(arguments, targets))
}

/// One group on one interface.
struct Joined {
    membership: Membership,
    group: Group,
    name: String,
    /// Its number in the file.
    interface: u32,
    received: u64,
}

async fn record(arguments: &RecordArgs, targets: Vec<LanTarget>) -> Result<(), Failure> {
    let path = arguments.output.as_path();
    let writing = |error: &io::Error| Failure::doing(&format!("writing {}", path.display()), error);
    let stop = Stop::at_signal()?.or_after(arguments.duration);
    let comment = format!("wscast record {}", arguments.groups.join(" "));
    let mut writer = open(path)
        .and_then(|file| CaptureWriter::new(BufWriter::with_capacity(WRITE, file), &comment))
        .map_err(|error| writing(&error))?;
    let mut joined = join(arguments, targets, &mut writer)?;
    let mut batch = ReceiveBatch::new();
    let mut traffic = Traffic::default();
    let mut left = arguments.count.unwrap_or(u64::MAX);
    let mut live = LiveLine::on_terminal();
    let mut refresh = tokio::time::interval(REFRESH);
    let mut stop = pin!(stop.wait());
    while left > 0 {
        tokio::select! {
            biased;
            () = &mut stop => break,
            _ = refresh.tick(), if live.is_some() => {
                if let Some(live) = &mut live {
                    live.show(&traffic, &troubles(&joined), Instant::now());
                }
                continue;
            }
            ready = readable(&joined) => ready.map_err(|error| Failure::doing("waiting for datagrams", &error))?,
        }
        let written = take(&mut joined, &mut batch, &mut writer, &mut traffic, &mut left);
        // Somebody may watch the file, or the pipe, as it grows.
        match written?.and_then(|()| writer.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            other => other.map_err(|error| writing(&error))?,
        }
    }
    if let Some(live) = &mut live {
        live.clear();
    }
    let statistics = statistics(&joined);
    match writer.finish(&statistics) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(writing(&error)),
        _ => {}
    }
    say(format_args!("recorded {traffic}"));
    let lost = troubles(&joined);
    if !lost.is_empty() {
        say(format_args!(
            "wscast: {lost}, because this program did not take them in time; for a larger receive buffer: `sysctl -w \
             net.core.rmem_max={RECEIVE_BUFFER}`"
        ));
    }
    Ok(())
}

fn open(path: &Path) -> io::Result<Box<dyn Write>> {
    Ok(if path == Path::new("-") { Box::new(io::stdout()) } else { Box::new(File::create(path)?) })
}

/// Joins all groups, each interface described in the file once.
fn join(
    arguments: &RecordArgs,
    targets: Vec<LanTarget>,
    writer: &mut CaptureWriter<impl Write>,
) -> Result<Vec<Joined>, Failure> {
    let mut joined: Vec<Joined> = Vec::new();
    let mut refused = None;
    for LanTarget { group, filter } in targets {
        for place in Place::find(&group, arguments.interface.as_ref())? {
            let membership = match Membership::join(group, &filter, &place.interface, RECEIVE_BUFFER) {
                Ok(membership) => membership,
                Err(error) => {
                    say(format_args!("wscast: {error}"));
                    refused = Some(Failure::Running(error.to_string()));
                    continue;
                }
            };
            let name = place.interface.name.clone();
            say(format_args!("joined {group} on {name} (chosen by {})", place.chosen_by));
            if let Some(doubt) = place.doubt() {
                say(format_args!("wscast: {doubt}"));
            }
            let known = joined.iter().find(|joined| joined.name == name).map(|joined| joined.interface);
            let interface = match known {
                Some(interface) => interface,
                None => writer
                    .interface(&name)
                    .map_err(|error| Failure::doing("writing the capture's header", &error))?,
            };
            joined.push(Joined { membership, group, name, interface, received: 0 });
        }
    }
    match refused {
        Some(failure) if joined.is_empty() => Err(failure),
        _ => Ok(joined),
    }
}

/// Takes a batch from each group; the inner error is one of writing.
fn take(
    joined: &mut [Joined],
    batch: &mut ReceiveBatch,
    writer: &mut CaptureWriter<impl Write>,
    traffic: &mut Traffic,
    left: &mut u64,
) -> Result<io::Result<()>, Failure> {
    for of in joined {
        let count = match of.membership.receive(batch) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(Failure::doing(&format!("receiving on {}", of.name), &error)),
        };
        for i in 0..count {
            let received = batch.received(i);
            if *left == 0 || received.truncated || !of.membership.accepts(received.destination) {
                continue;
            }
            *left -= 1;
            of.received += 1;
            traffic.count(received.payload.len(), Instant::now());
            if let Err(error) = writer.put(&recorded(of, &received)) {
                return Ok(Err(error));
            }
        }
    }
    Ok(Ok(()))
}

fn recorded<'a>(of: &Joined, received: &Received<'a>) -> Recorded<'a> {
    let unknown: IpAddr =
        if of.group.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let known = received.source.is_ipv4() == of.group.is_ipv4();
    Recorded {
        interface: of.interface,
        time: if received.arrival == 0 { timestamp::now() } else { received.arrival },
        source: if known { received.source } else { SocketAddr::new(unknown, received.source.port()) },
        destination: of.group.socket_address(),
        ttl: received.ttl.unwrap_or(1),
        payload: received.payload,
    }
}

/// What each interface's sockets received and dropped.
fn statistics(joined: &[Joined]) -> Vec<(u32, u64, u64)> {
    let interfaces = joined.iter().map(|joined| joined.interface).max().map_or(0, |last| last + 1);
    let sums = (0..interfaces).map(|interface| {
        let of = joined.iter().filter(|joined| joined.interface == interface);
        let sum = |sums: (u64, u64), joined: &Joined| {
            (sums.0 + joined.received, sums.1 + u64::from(joined.membership.drops()))
        };
        let (received, dropped) = of.fold((0, 0), sum);
        (interface, received, dropped)
    });
    sums.collect()
}

fn troubles(joined: &[Joined]) -> String {
    let dropped: u64 = joined.iter().map(|joined| u64::from(joined.membership.drops())).sum();
    if dropped == 0 { String::new() } else { format!("the kernel dropped {dropped}") }
}

/// Waits until one of the memberships may have datagrams.
async fn readable(joined: &[Joined]) -> io::Result<()> {
    let mut waits: Vec<_> = joined.iter().map(|joined| Box::pin(joined.membership.readable())).collect();
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
