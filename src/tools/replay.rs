//! `wscast replay`: the datagrams of a capture onto the local network, at the times they had.

mod clock;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::{Duration, Instant};

use crate::cli::{ReplayArgs, Speed};
use crate::lan::interface::Interface;
use crate::lan::transmit::{TransmitOptions, Transmitter};
use crate::model::group::Group;
use crate::model::policy::{Denied, Policy, ReceiveRule};
use crate::model::selector::InterfaceSelector;
use crate::tools::capture::packet::{Carried, Skip};
use crate::tools::capture::reader::CaptureReader;
use crate::tools::counters::{LiveLine, REFRESH, Traffic, say};
use crate::tools::failure::Failure;
use crate::tools::place::Place;
use crate::tools::refusal;
use crate::tools::replay::clock::Clock;
use crate::tools::serve::block_on;
use crate::tools::stop::Stop;

/// Senders of one capture: each has a socket, and a port of its own.
const SENDERS: usize = 256;
/// How long to wait where a socket's own buffer is full; the interface empties it.
const FULL: Duration = Duration::from_millis(1);
/// Datagrams sent before signals get their turn.
const TURN: u32 = 64;

/// Sends the capture to its end, until the count is reached or a signal comes.
///
/// # Errors
/// [`Failure::Usage`] for flags that don't go together, [`Failure::Running`] where the file can't be read, the kernel
/// refuses, or nothing of the file could be sent.
pub fn run(arguments: &ReplayArgs) -> Result<(), Failure> {
    if arguments.interface == Some(InterfaceSelector::All) {
        let words = "--interface all is for receiving; to send, name one: its name, address or index";
        return Err(Failure::Usage(words.to_owned()));
    }
    block_on(replay(arguments))
}

async fn replay(arguments: &ReplayArgs) -> Result<(), Failure> {
    let stop = Stop::at_signal()?;
    let mut replaying = Replaying::new(arguments);
    let mut live = LiveLine::on_terminal();
    let mut refresh = tokio::time::interval(REFRESH);
    let mut stop = pin!(stop.wait());
    let mut file = CaptureReader::open(&arguments.file)?;
    let result = loop {
        tokio::select! {
            biased;
            () = &mut stop => break Ok(()),
            _ = refresh.tick(), if live.is_some() => {
                if let Some(live) = &mut live {
                    live.show(&replaying.sent, "", Instant::now());
                }
            }
            turn = replaying.turn(&mut file) => match turn {
                Ok(true) => {}
                Ok(false) if arguments.repeat && replaying.left > 0 && replaying.sent_of_round() => {
                    match CaptureReader::open(&arguments.file) {
                        Ok(again) => file = again,
                        Err(failure) => break Err(failure),
                    }
                    replaying.begin_round();
                }
                Ok(false) => break Ok(()),
                Err(failure) => break Err(failure),
            }
        }
    };
    if let Some(live) = &mut live {
        live.clear();
    }
    replaying.summarize();
    result?;
    if replaying.sent.datagrams() == 0 {
        let words = format!("replaying {}: nothing of it could be sent", arguments.file.display());
        return Err(Failure::Running(words));
    }
    Ok(())
}

/// A replay, on its way.
struct Replaying<'a> {
    arguments: &'a ReplayArgs,
    policy: Policy,
    senders: HashMap<(Group, SocketAddr), Sender>,
    clock: Clock,
    /// Read, due and not sent yet: where to, by whom, what.
    waiting: Option<(Group, SocketAddr, Vec<u8>)>,
    due: Option<Instant>,
    left: u64,
    sent: Traffic,
    sent_before_round: u64,
    skipped: BTreeMap<Skip, u64>,
    /// Datagrams that the interface's queue had no room for.
    full: u64,
}

struct Sender {
    transmitter: Transmitter,
    interface: Interface,
}

impl<'a> Replaying<'a> {
    fn new(arguments: &'a ReplayArgs) -> Self {
        // What may be received may be sent again: the deny list holds, and a SPEC of address and port opens it.
        let rule = match arguments.only.is_empty() {
            true => ReceiveRule::AnyButDenied,
            false => ReceiveRule::listed(arguments.only.clone()),
        };
        Replaying {
            arguments,
            policy: Policy::new(rule, Vec::new()),
            senders: HashMap::new(),
            clock: Clock::new(match arguments.speed {
                Speed::Times(factor) => Some(factor),
                Speed::Max => None,
            }),
            waiting: None,
            due: None,
            left: arguments.count.unwrap_or(u64::MAX),
            sent: Traffic::default(),
            sent_before_round: 0,
            skipped: BTreeMap::new(),
            full: 0,
        }
    }

    fn sent_of_round(&self) -> bool {
        self.sent.datagrams() > self.sent_before_round
    }

    fn begin_round(&mut self) {
        self.sent_before_round = self.sent.datagrams();
        self.clock.begin_again();
    }

    /// Sends what is due, at most [`TURN`] datagrams; false at the end. Dropped while it waits, it goes on where it was.
    async fn turn(&mut self, file: &mut CaptureReader) -> Result<bool, Failure> {
        for _ in 0..TURN {
            if self.waiting.is_none() && (self.left == 0 || !self.read(file)?) {
                return Ok(false);
            }
            if let Some(due) = self.due {
                // The rest is waited for on the thread: the runtime's timers tick in milliseconds.
                let early = due - clock::THREAD;
                if early > Instant::now() {
                    tokio::time::sleep_until(early.into()).await;
                }
                clock::wait(due);
            }
            self.send().await?;
        }
        tokio::task::yield_now().await;
        Ok(true)
    }

    /// Reads up to the next datagram that may be sent; false at the end of the file.
    fn read(&mut self, file: &mut CaptureReader) -> Result<bool, Failure> {
        while let Some(packet) = file.next_packet()? {
            let carried = match packet.cut_off {
                true => Err(Skip::CutOff),
                false => Carried::parse(packet.link, packet.bytes),
            };
            match carried.and_then(|carried| Ok((self.destination(carried.destination)?, carried))) {
                Ok((group, carried)) => {
                    self.due = self.clock.due(packet.time, Instant::now());
                    self.waiting = Some((group, carried.source, carried.payload.to_vec()));
                    return Ok(true);
                }
                Err(skip) => *self.skipped.entry(skip).or_default() += 1,
            }
        }
        Ok(false)
    }

    /// Where a datagram that went to `destination` is sent.
    fn destination(&self, destination: SocketAddr) -> Result<Group, Skip> {
        let went = Group::new(destination.ip(), destination.port());
        if let Some(to) = self.arguments.to {
            return match went {
                Ok(group) if !self.arguments.only.is_empty() => self.allowed(group).map(|_| to),
                Err(_) if !self.arguments.only.is_empty() => Err(Skip::NotWanted),
                _ => Ok(to),
            };
        }
        self.allowed(went.map_err(|_| Skip::NotMulticast)?)
    }

    fn allowed(&self, group: Group) -> Result<Group, Skip> {
        match self.policy.may_receive(&group) {
            Ok(()) => Ok(group),
            Err(Denied::OnDenyList { .. }) => Err(Skip::Denied),
            Err(_) => Err(Skip::NotWanted),
        }
    }

    /// Sends what waits. Dropped while the interface's queue is full, it still waits.
    async fn send(&mut self) -> Result<(), Failure> {
        if let Some((group, source, _)) = self.waiting
            && !self.senders.contains_key(&(group, source))
        {
            let sender = self.open(group)?;
            self.senders.insert((group, source), sender);
            // Opening takes its time, and must not be an error of the clock.
            self.clock.forgive(Instant::now());
        }
        while let Some((group, source, payload)) = &self.waiting {
            let Some(Sender { transmitter, interface }) = self.senders.get(&(*group, *source)) else { break };
            match transmitter.send(payload) {
                Ok(()) => {
                    let now = Instant::now();
                    self.clock.sent(now);
                    self.sent.count(payload.len(), now);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    tokio::time::sleep(FULL).await;
                    continue;
                }
                // The queue empties by itself: what it had no room for is lost, what comes later is not.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => self.full += 1,
                Err(error) => {
                    let size = payload.len();
                    let reason = refusal::reason(&error, size, *group, interface);
                    let words = format!("sending {size} bytes to {group} on {}: {reason}", interface.name);
                    return Err(Failure::Running(words));
                }
            }
            self.left -= 1;
            self.waiting = None;
        }
        Ok(())
    }

    /// A socket for another sender of the capture, so that receivers tell the senders apart by their ports.
    fn open(&mut self, group: Group) -> Result<Sender, Failure> {
        if self.senders.len() == SENDERS {
            let words = format!("replaying: more than {SENDERS} senders in the capture: choose with --only");
            return Err(Failure::Running(words));
        }
        let place = Place::find(&group, self.arguments.interface.as_ref())?.swap_remove(0);
        let options = TransmitOptions { ttl: self.arguments.ttl, loopback: !self.arguments.no_loop };
        let transmitter = Transmitter::open(group, &place.interface, options)
            .map_err(|error| Failure::Running(error.to_string()))?;
        if !self.senders.keys().any(|(known, _)| *known == group) {
            if let Some(doubt) = place.doubt() {
                say(format_args!("wscast: {doubt}"));
            }
            let name = &place.interface.name;
            say(format_args!("sending to {group} on {name} (chosen by {})", place.chosen_by));
        }
        Ok(Sender { transmitter, interface: place.interface })
    }

    fn summarize(&self) {
        say(format_args!("sent {}{}", self.sent, self.clock));
        for (skip, count) in &self.skipped {
            say(format_args!("not sent: {count} {skip}"));
        }
        if self.full > 0 {
            let full = self.full;
            say(format_args!(
                "wscast: {full} more found the interface's queue full and are lost: a lower --speed"
            ));
        }
    }
}
