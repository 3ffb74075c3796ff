//! `wscast listen`: a program or person that hears a group, or a gateway's stream.

use std::io::{self, IsTerminal};
use std::pin::{Pin, pin};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncWriteExt, Stdout};

use crate::cli::ListenArgs;
use crate::client::{Losses, Options};
use crate::tools::counters::{LiveLine, REFRESH, Traffic, say};
use crate::tools::failure::Failure;
use crate::tools::form::{Arrival, Form};
use crate::tools::gateway_tap::{self, GatewayTap};
use crate::tools::lan_tap::{LanTap, LanTarget};
use crate::tools::sequence::{SequenceCounts, Sequences};
use crate::tools::serve::block_on;
use crate::tools::stop::Stop;
use crate::tools::trust::{token, trust};
use crate::tools::v1_tap::{V1Tap, V1Target};

/// What was heard so far, and what of it is to be written.
#[derive(Debug)]
pub struct Heard {
    form: Form,
    left: u64,
    traffic: Traffic,
    sequences: Sequences,
    pending: Vec<u8>,
}

/// Whether there can be more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hearing {
    /// More may come.
    GoesOn,
    /// The other end has said goodbye in order.
    Over,
}

/// How long a write that is under way may take after the end.
const GRACE: Duration = Duration::from_millis(200);

enum Target {
    Lan(LanTarget),
    Gateway(String),
}

enum Tap {
    Lan(LanTap),
    Gateway(Box<GatewayTap>),
    V1(Box<V1Tap>),
}

/// Listens until the count is reached, the time is over, a signal comes or nobody reads what is written.
///
/// # Errors
/// [`Failure::Usage`] for what is no group or URL, [`Failure::Running`] where nothing can be heard, or no longer.
pub fn run(arguments: &ListenArgs) -> Result<(), Failure> {
    let target = Target::parse(arguments)?;
    block_on(listen(arguments, target))
}

async fn listen(arguments: &ListenArgs, target: Target) -> Result<(), Failure> {
    let stop = Stop::at_signal()?.or_after(arguments.seconds);
    let mut tap = match &target {
        Target::Lan(lan) => Tap::Lan(LanTap::open(lan, arguments.interface.as_ref(), arguments.quiet)?),
        Target::Gateway(url) => Tap::at(url, arguments).await?,
    };
    let mut heard = Heard::new(form(arguments), arguments.count.unwrap_or(u64::MAX));
    let free = arguments.quiet || !io::stdout().is_terminal();
    let mut live = if free { LiveLine::on_terminal() } else { None };
    let mut refresh = tokio::time::interval(REFRESH);
    let mut stdout = tokio::io::stdout();
    let mut stop = pin!(stop.wait());
    let result = loop {
        let hearing = tokio::select! {
            biased;
            () = &mut stop => break Ok(()),
            _ = refresh.tick(), if live.is_some() => {
                if let Some(live) = &mut live {
                    live.show(&heard.traffic, &heard.troubles(tap.drops()), Instant::now());
                }
                continue;
            }
            hearing = tap.hear(&mut heard) => hearing,
        };
        // What was heard before an end is written all the same.
        let Some(written) = write_until(&mut heard, &mut stdout, stop.as_mut()).await else { break Ok(()) };
        match (written, hearing) {
            (Err(error), _) if error.kind() == io::ErrorKind::BrokenPipe => break Ok(()),
            (Err(error), _) => break Err(Failure::doing("writing to standard output", &error)),
            (Ok(()), Ok(Hearing::GoesOn)) if heard.left > 0 => {}
            (Ok(()), Ok(_)) => break Ok(()),
            (Ok(()), Err(failure)) => break Err(failure),
        }
    };
    if let Some(live) = &mut live {
        live.clear();
    }
    heard.summarize(&tap);
    if arguments.json {
        say(heard.object(&tap));
    }
    if result.is_ok() {
        tap.close().await;
    }
    result
}

/// Writes what is pending; `None` when it is to stop. A reader that reads then gets the rest all the same, and one that
/// does not read holds us no longer than [`GRACE`].
async fn write_until(
    heard: &mut Heard,
    stdout: &mut Stdout,
    stop: Pin<&mut impl Future<Output = ()>>,
) -> Option<io::Result<()>> {
    let bytes = heard.pending.len();
    let mut writing = pin!(heard.write(stdout));
    tokio::select! {
        written = &mut writing => return Some(written),
        () = stop => {}
    }
    if tokio::time::timeout(GRACE, writing).await.is_err() {
        say(format_args!("wscast: nobody reads standard output: up to {bytes} bytes are not written"));
    }
    None
}

impl Target {
    fn parse(arguments: &ListenArgs) -> Result<Self, Failure> {
        let ListenArgs { target, interface, source, exclude, .. } = arguments;
        if !target.contains("://") {
            return LanTarget::parse(target, source, exclude).map(Target::Lan);
        }
        gateway_tap::check(target)?;
        let given = [
            (interface.is_some(), "--interface", "?interface=NAME behind the URL"),
            (!source.is_empty(), "--source", "SOURCE@GROUP:PORT in the URL"),
            (!exclude.is_empty(), "--exclude", "?exclude=SOURCE behind the URL"),
        ];
        match given.iter().find(|(given, ..)| *given) {
            Some((_, flag, instead)) => Err(Failure::Usage(format!(
                "listening to {target}: {flag} is for joining here: write {instead}"
            ))),
            None => Ok(Target::Gateway(target.clone())),
        }
    }
}

impl Tap {
    /// Over `wscast.v1` where the gateway speaks it and the URL can be asked for so; it tells more and mends itself.
    async fn at(url: &str, arguments: &ListenArgs) -> Result<Tap, Failure> {
        let (trust, token) = (trust(url, &arguments.trust)?, token(url, &arguments.trust)?);
        let options = Options { trust: trust.clone(), token: token.clone(), ..Options::default() };
        let target = if arguments.no_v1 { None } else { V1Target::of(url) };
        if let Some(target) = target
            && let Some(tap) = V1Tap::open(url, target, options, arguments.quiet).await?
        {
            return Ok(Tap::V1(Box::new(tap)));
        }
        Ok(Tap::Gateway(Box::new(
            GatewayTap::open(url, trust.as_ref(), token.as_ref(), arguments.quiet).await?,
        )))
    }

    async fn hear(&mut self, heard: &mut Heard) -> Result<Hearing, Failure> {
        match self {
            Tap::Lan(lan) => lan.hear(heard).await.map(|()| Hearing::GoesOn),
            Tap::Gateway(gateway) => gateway.hear(heard).await,
            Tap::V1(v1) => v1.hear(heard).await,
        }
    }

    /// What the kernel dropped; `None` where that can't be known.
    fn drops(&self) -> Option<u64> {
        match self {
            Tap::Lan(lan) => Some(lan.drops()),
            Tap::Gateway(_) | Tap::V1(_) => None,
        }
    }

    /// What was lost between the network and here, where a gateway tells.
    fn losses(&self) -> Option<Losses> {
        match self {
            Tap::V1(v1) => Some(v1.losses()),
            Tap::Lan(_) | Tap::Gateway(_) => None,
        }
    }

    async fn close(self) {
        match self {
            Tap::Lan(_) => {}
            Tap::Gateway(gateway) => gateway.close().await,
            Tap::V1(v1) => v1.close().await,
        }
    }
}

impl Heard {
    /// Nothing yet, and at most `left` datagrams to come.
    #[must_use]
    pub fn new(form: Form, left: u64) -> Self {
        Heard {
            form,
            left,
            traffic: Traffic::default(),
            sequences: Sequences::default(),
            pending: Vec::new(),
        }
    }

    /// Counts one datagram and keeps what is to be written for it; beyond the count, nothing.
    pub fn take(&mut self, arrival: &Arrival<'_>) {
        if self.left == 0 {
            return;
        }
        self.left -= 1;
        self.traffic.count(arrival.payload.len(), Instant::now());
        self.sequences.take(arrival.source, arrival.payload);
        self.form.write(arrival, &mut self.pending);
    }

    async fn write(&mut self, stdout: &mut Stdout) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        stdout.write_all(&self.pending).await?;
        self.pending.clear();
        stdout.flush().await
    }

    /// For the live line.
    fn troubles(&self, drops: Option<u64>) -> String {
        let counts = self.sequences.counts();
        // Shorter than the summary's words: it shares a line of 80 characters.
        let numbered = match counts {
            SequenceCounts { numbered: 0, .. } => String::new(),
            SequenceCounts { gaps, duplicates, reordered, .. } => {
                format!("gaps {gaps} dup {duplicates} reord {reordered}")
            }
        };
        match drops {
            Some(drops) if drops > 0 => format!("{numbered} dropped {drops}"),
            _ => numbered,
        }
    }

    /// Says on standard error what came of it.
    fn summarize(&self, tap: &Tap) {
        let (traffic, counts, drops) = (&self.traffic, self.sequences.counts(), tap.drops());
        say(format_args!("received {traffic}"));
        if let Some(losses) = tap.losses().filter(|losses| *losses != Losses::default()) {
            say(losses);
        }
        if counts.numbered > 0 {
            say(format_args!("of {} numbered: {counts}", counts.numbered));
        }
        if let Some(drops) = drops.filter(|drops| *drops > 0) {
            say(format_args!("the kernel dropped {drops} that were not taken in time"));
            if let Tap::Lan(lan) = tap
                && let Some(advice) = lan.advice()
            {
                say(advice);
            }
        }
    }

    /// The summary for programs.
    fn object(&self, tap: &Tap) -> serde_json::Value {
        let (traffic, counts) = (&self.traffic, self.sequences.counts());
        json!({
            "received": traffic.datagrams(),
            "bytes": traffic.bytes(),
            "seconds": traffic.seconds(),
            "datagrams_per_second": traffic.datagrams_per_second(),
            "bits_per_second": traffic.bits_per_second(),
            "sequence": (counts.numbered > 0).then_some(counts),
            "kernel_drops": tap.drops(),
            "lost": tap.losses(),
        })
    }
}

fn form(arguments: &ListenArgs) -> Form {
    match arguments {
        ListenArgs { quiet: true, .. } => Form::Nothing,
        ListenArgs { json: true, .. } => Form::Json,
        ListenArgs { hex: true, .. } => Form::Hex,
        ListenArgs { raw: true, .. } => Form::Raw,
        _ => Form::Line,
    }
}
