//! `wscast send`: a program or person that sends to a group.

use std::io::{self, IsTerminal};
use std::path::Path;
use std::pin::pin;
use std::time::{Duration, Instant};

use crate::cli::{SendArgs, SendTarget};
use crate::lan::interface::Interface;
use crate::lan::transmit::{TransmitOptions, Transmitter};
use crate::model::group::Group;
use crate::model::selector::InterfaceSelector;
use crate::tools::content::{Content, Cut, Numbering};
use crate::tools::counters::{LiveLine, REFRESH, Traffic, say};
use crate::tools::failure::Failure;
use crate::tools::gateway_outlet::{Destination, GatewayOutlet};
use crate::tools::pace::Pace;
use crate::tools::place::Place;
use crate::tools::refusal;
use crate::tools::serve::block_on;
use crate::tools::stop::Stop;

/// Bytes of a datagram that is cut from input: seven MPEG-TS packets, which fit every Ethernet.
const CUT: usize = 1316;
/// Bytes of a datagram that is made up.
const FILLER: usize = 100;
/// Datagrams sent before signals and the terminal get their turn.
const TURN: usize = 64;
/// How long to wait where the socket's own buffer is full; the interface empties it.
const FULL: Duration = Duration::from_millis(1);

/// Sends until the input ends, the count is reached or a signal comes.
///
/// # Errors
/// [`Failure::Usage`] for flags that don't go together, [`Failure::Running`] where the kernel refuses.
pub fn run(arguments: &SendArgs) -> Result<(), Failure> {
    check(arguments)?;
    block_on(send(arguments))
}

async fn send(arguments: &SendArgs) -> Result<(), Failure> {
    let stop = Stop::at_signal()?;
    let (outlet, destination) = Outlet::open(arguments).await?;
    let interval = arguments.interval.or(arguments.rate.map(Pace::interval)).unwrap_or_default();
    let mut sending = Sending {
        outlet,
        content: content(arguments)?,
        pace: Pace::new(interval, Instant::now()),
        taken: None,
        left: count(arguments),
        sent: Traffic::default(),
        full: 0,
    };
    let mut live = LiveLine::on_terminal();
    let mut refresh = tokio::time::interval(REFRESH);
    let mut stop = pin!(stop.wait());
    let result = loop {
        tokio::select! {
            biased;
            () = &mut stop => break Ok(()),
            _ = refresh.tick(), if live.is_some() => {
                if let Some(live) = &mut live {
                    live.show(&sending.sent, &sending.troubles(), Instant::now());
                }
            }
            turn = sending.turn() => match turn {
                Ok(true) => {}
                Ok(false) => break Ok(()),
                Err(failure) => break Err(failure),
            },
        }
    };
    if let Some(live) = &mut live {
        live.clear();
    }
    say(format_args!("sent {}{}", sending.sent, sending.losses()));
    let Sending { outlet, sent, full, .. } = sending;
    if let Outlet::Gateway(gateway) = outlet {
        let (refused, words) = gateway.close().await;
        if refused > 0 {
            let words = format!("sending to {destination}: the gateway refused {refused} of them: {words}");
            return result.and(Err(Failure::Running(words)));
        }
    }
    result?;
    if sent.datagrams() == 0 && full > 0 {
        return Err(Failure::Running(format!("sending to {destination}: nothing could be sent")));
    }
    Ok(())
}

/// One sending, on its way.
struct Sending {
    outlet: Outlet,
    content: Content,
    pace: Pace,
    /// Taken from the content and not sent yet.
    taken: Option<Vec<u8>>,
    /// How many may still be taken.
    left: u64,
    sent: Traffic,
    /// Datagrams that the interface's queue had no room for, or that came while the gateway was away.
    full: u64,
}

/// What datagrams leave through.
enum Outlet {
    /// An interface of this host.
    Lan(Transmitter, Interface, Group),
    /// A gateway.
    Gateway(Box<GatewayOutlet>),
}

impl Outlet {
    /// Opens it and says so; with what is sent to.
    async fn open(arguments: &SendArgs) -> Result<(Outlet, Destination), Failure> {
        let group = match &arguments.target {
            SendTarget::Gateway(url) => {
                let (gateway, destination) = GatewayOutlet::open(url, arguments).await?;
                return Ok((Outlet::Gateway(Box::new(gateway)), destination));
            }
            SendTarget::Group(group) => *group,
        };
        let place = Place::find(&group, arguments.interface.as_ref())?.swap_remove(0);
        if let Some(doubt) = place.doubt() {
            say(format_args!("wscast: {doubt}"));
        }
        let options = TransmitOptions { ttl: arguments.ttl, loopback: !arguments.no_loop };
        let transmitter = Transmitter::open(group, &place.interface, options)
            .map_err(|error| Failure::Running(error.to_string()))?;
        say(format_args!("sending to {group} on {} (chosen by {})", place.interface.name, place.chosen_by));
        Ok((Outlet::Lan(transmitter, place.interface, group), Destination::Group(group)))
    }
}

impl Sending {
    /// Sends what is due, at most [`TURN`] datagrams, after waiting for the first; says whether there is more. Dropped
    /// while it waits, it goes on where it was.
    async fn turn(&mut self) -> Result<bool, Failure> {
        for _ in 0..TURN {
            if self.taken.is_none() {
                if self.left == 0 {
                    return Ok(false);
                }
                if self.pace.due() > Instant::now() {
                    tokio::time::sleep_until(self.pace.due().into()).await;
                }
                self.taken = self.content.next().await?;
                if self.taken.is_none() {
                    return Ok(false);
                }
                self.pace.take(Instant::now());
                self.left -= 1;
            }
            self.send().await?;
        }
        tokio::task::yield_now().await;
        Ok(true)
    }

    /// Sends the datagram that was taken.
    async fn send(&mut self) -> Result<(), Failure> {
        while let Some(payload) = &self.taken {
            let (transmitter, interface, group) = match &self.outlet {
                Outlet::Lan(transmitter, interface, group) => (transmitter, interface, *group),
                Outlet::Gateway(gateway) => {
                    if gateway.send(payload).await? {
                        self.sent.count(payload.len(), Instant::now());
                    } else {
                        self.full += 1;
                    }
                    self.taken = None;
                    continue;
                }
            };
            match transmitter.send(payload) {
                Ok(()) => self.sent.count(payload.len(), Instant::now()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    tokio::time::sleep(FULL).await;
                    continue;
                }
                // The queue empties by itself: what it had no room for is lost, what comes later is not.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => self.full += 1,
                Err(error) => {
                    let size = payload.len();
                    let reason = refusal::reason(&error, size, group, interface);
                    return Err(Failure::Running(format!(
                        "sending {size} bytes to {group} on {}: {reason}",
                        interface.name
                    )));
                }
            }
            self.taken = None;
        }
        Ok(())
    }

    /// For the live line.
    fn troubles(&self) -> String {
        match (self.full, &self.outlet) {
            (0, _) => String::new(),
            (full, Outlet::Lan(..)) => format!("queue full {full}"),
            (full, Outlet::Gateway(_)) => format!("gateway away {full}"),
        }
    }

    /// For the summary.
    fn losses(&self) -> String {
        match (self.full, &self.outlet) {
            (0, _) => String::new(),
            (full, Outlet::Lan(_, interface, _)) => format!(
                "; {full} more found the queue of {} full and are lost: send slower with --rate",
                interface.name
            ),
            (full, Outlet::Gateway(_)) => format!("; {full} more found the gateway away and are lost"),
        }
    }
}

fn check(arguments: &SendArgs) -> Result<(), Failure> {
    let has_input = arguments.file.is_some() || arguments.line;
    if arguments.interface == Some(InterfaceSelector::All) {
        let words = "--interface all is for receiving; to send, name one: its name, address or index";
        return Err(Failure::Usage(words.to_owned()));
    }
    if has_input && arguments.size == Some(0) {
        let words = "--size 0 would never come to the end of the input: give 1 to 65507";
        return Err(Failure::Usage(words.to_owned()));
    }
    Ok(())
}

/// How many datagrams to send at most.
fn count(arguments: &SendArgs) -> u64 {
    let has_input = arguments.file.is_some() || arguments.line;
    arguments.count.unwrap_or(if has_input { u64::MAX } else { 1 })
}

fn content(arguments: &SendArgs) -> Result<Content, Failure> {
    let numbering = if arguments.number { Numbering::Numbered } else { Numbering::Plain };
    let standard = Path::new("-");
    match (&arguments.file, arguments.line) {
        (None, false) => Ok(Content::filler(arguments.size.unwrap_or(FILLER), numbering)),
        (file, line) => {
            let path = file.as_deref().unwrap_or(standard);
            if path == standard && io::stdin().is_terminal() {
                say("sending what you type; end with Ctrl-D");
            }
            let cut = if line { Cut::Lines } else { Cut::Bytes(arguments.size.unwrap_or(CUT)) };
            Content::input(path, cut, numbering)
        }
    }
}
